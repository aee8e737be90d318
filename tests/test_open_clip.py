"""open_clip's format: the reference model's weights in it give the same embeddings, scores and selections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from conftest import GOLDEN
from naive import relative
from safetensors.torch import load_file, save_file
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.site import Site, match_targets
from editkit.components.specs import ScorerSpec
from editkit.editing.input_scores import score_pairs
from editkit.errors import EditkitError, ModelError
from editkit.models.find import find_adapter, with_weights
from editkit.progress import silent
from editkit.testing import select
from editkit_clip.open_clip_format import OpenClip
from editkit_clip.open_clip_model import LoadedOpenClip

CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 16, "vocab_size": 99, "width": 64, "heads": 4, "layers": 2, "mlp_ratio": 2.0},
}
NAME = "editkit-golden"
CUSTOM = "editkit-golden-custom"
DEEPER = "editkit-golden-deeper"
TEXT = ("token_embedding", "positional_embedding", "transformer.", "ln_final", "text_projection")


def ported(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' CLIP tensors under open_clip's names: q, k and v in one tensor, projections transposed."""
    result = {
        "logit_scale": tensors["logit_scale"],
        "token_embedding.weight": tensors["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": tensors["text_model.embeddings.position_embedding.weight"],
        "text_projection": tensors["text_projection.weight"].T,
        "visual.class_embedding": tensors["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": tensors["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": tensors["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": tensors["visual_projection.weight"].T,
    }
    for part in ("weight", "bias"):
        result |= {
            f"ln_final.{part}": tensors[f"text_model.final_layer_norm.{part}"],
            f"visual.ln_pre.{part}": tensors[f"vision_model.pre_layrnorm.{part}"],
            f"visual.ln_post.{part}": tensors[f"vision_model.post_layernorm.{part}"],
        }
        for ours, theirs in (("transformer", "text_model"), ("visual.transformer", "vision_model")):
            for layer in range(2):
                new, old = f"{ours}.resblocks.{layer}", f"{theirs}.encoder.layers.{layer}"
                fused = [tensors[f"{old}.self_attn.{x}_proj.{part}"] for x in "qkv"]
                result |= {
                    f"{new}.attn.in_proj_{part}": torch.cat(fused),
                    f"{new}.attn.out_proj.{part}": tensors[f"{old}.self_attn.out_proj.{part}"],
                    f"{new}.ln_1.{part}": tensors[f"{old}.layer_norm1.{part}"],
                    f"{new}.ln_2.{part}": tensors[f"{old}.layer_norm2.{part}"],
                    f"{new}.mlp.c_fc.{part}": tensors[f"{old}.mlp.fc1.{part}"],
                    f"{new}.mlp.c_proj.{part}": tensors[f"{old}.mlp.fc2.{part}"],
                }
    return {name: tensor.contiguous() for name, tensor in result.items()}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return ported(load_file(GOLDEN / "model" / "model.safetensors"))


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the small architectures known to open_clip, by its own means."""
    folder = tmp_path_factory.mktemp("configs")
    deeper = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "layers": 3}}
    for name, config in ((NAME, CONFIG), (CUSTOM, {**CONFIG, "custom_text": True}), (DEEPER, deeper)):
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, Tensor]) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    save_file(weights, place / "open_clip_model.safetensors", metadata={"format": "pt"})
    return place


def opened(source: str | Path) -> tuple[LoadedOpenClip, list[Site]]:
    adapter = OpenClip()
    files = with_weights(adapter.open(str(source)), silent)
    model = adapter.load(files, device="cpu", dtype="float32", towers=("text", "vision"))
    return model, adapter.sites(files)


def uwm() -> dict[str, Any]:
    spec = default_host().resolve(ScorerSpec, "uwm")
    return {"uwm": spec.load()(spec.options())}


def scores_of(model: Any, sites: list[Site], tower: Any, target: str, batches: Any) -> dict[tuple[int, str], Tensor]:
    chosen = match_targets([target], sites)
    found = score_pairs(model, tower, chosen, uwm(), batches(model, tower, 5))["uwm"].scores
    return {(site.layer, site.role): scores for site, scores in found.items()}


# the same model


def test_the_same_weights_give_the_same_embeddings(clip: Any, folder: Path, reference: dict[str, Tensor]) -> None:
    model, _ = opened(folder)
    pixels, ids = {"pixel_values": reference["pixel_values"]}, {"input_ids": reference["input_ids"]}
    assert relative(model.encode_images(pixels), clip.encode_images(pixels)) <= 1e-5
    assert relative(model.encode_texts(ids), clip.encode_texts(ids)) <= 1e-5


def test_the_adapter_encodes_as_the_library_does(folder: Path, reference: dict[str, Tensor]) -> None:
    model, _ = opened(folder)
    images = model.module.encode_image(reference["pixel_values"], normalize=True)
    texts = model.module.encode_text(reference["input_ids"], normalize=True)
    assert relative(model.encode_images({"pixel_values": reference["pixel_values"]}), images) <= 1e-6
    assert relative(model.encode_texts({"input_ids": reference["input_ids"]}), texts) <= 1e-6


@pytest.mark.parametrize("custom", [False, True])
def test_a_short_caption_needs_no_padding_to_the_context(
    tmp_path: Path, weights: dict[str, Tensor], reference: dict[str, Tensor], custom: bool
) -> None:
    held = {f"text.{name}" if custom and name.startswith(TEXT) else name: t for name, t in weights.items()}
    save_file(held, tmp_path / "w.safetensors")
    model, sites = opened(f"open_clip:{CUSTOM if custom else NAME}@{tmp_path / 'w.safetensors'}")
    assert len(sites) == 26
    for ids, mask in zip(reference["input_ids"], reference["attention_mask"], strict=True):
        row = ids[mask.bool()].tolist()
        inputs, _ = model.text_inputs([row], "real")
        assert inputs["input_ids"].shape == (1, len(row))
        whole = torch.tensor([row + [0] * (16 - len(row))])
        assert relative(model.encode_texts(inputs), model.module.encode_text(whole, normalize=True)) <= 1e-6


def test_the_mask_ends_at_the_first_end_of_text_though_padding_is_a_word(folder: Path) -> None:
    model, _ = opened(folder)
    inputs, mask = model.text_inputs([[97, 0, 5, 98], [97, 98]], "real")  # id 0 is "!" as well as padding
    assert inputs["input_ids"].tolist() == [[97, 0, 5, 98], [97, 98, 0, 0]]
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    inputs, mask = model.text_inputs([[97, 98]], "all")
    assert (tuple(inputs["input_ids"].shape), bool(mask.all())) == ((1, 16), True)


# the same edit


@pytest.mark.parametrize(("tower", "target"), [("text", "text:attn.out"), ("vision", "vision:mlp.out")])
def test_both_formats_give_the_same_selection_at_the_default_targets(
    clip: Any,
    clip_sites: list[Site],
    folder: Path,
    reference: dict[str, Tensor],
    pair_batches: Callable[..., Any],
    tower: Any,
    target: str,
) -> None:
    adapter = OpenClip()
    assert target in adapter.default_targets(adapter.open(str(folder)))
    model, sites = opened(folder)
    theirs = scores_of(clip, clip_sites, tower, target, pair_batches)
    ours = scores_of(model, sites, tower, target, pair_batches)
    assert ours.keys() == theirs.keys()
    differing = 0
    for where, scores in ours.items():
        released = reference[f"uwm.{tower}.{where[0]}.score"]
        assert relative(scores, released) <= 1e-5
        differing += int((select("adaptive", scores) ^ select("adaptive", theirs[where])).sum())
    assert differing <= sum(scores.numel() for scores in ours.values()) / 100_000


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_every_site_scores_as_it_does_in_transformers_format(
    clip: Any, clip_sites: list[Site], folder: Path, pair_batches: Callable[..., Any], tower: Any
) -> None:
    model, sites = opened(folder)
    for roles in ("attn.*", "mlp.*"):  # q, k and v are rows of one tensor here, tensors of their own there
        theirs = scores_of(clip, clip_sites, tower, f"{tower}:{roles}", pair_batches)
        ours = scores_of(model, sites, tower, f"{tower}:{roles}", pair_batches)
        assert ours.keys() == theirs.keys()
        for where, scores in ours.items():
            assert relative(scores, theirs[where]) <= 1e-5, where


def test_calibrating_changes_neither_weights_nor_embeddings(
    folder: Path, reference: dict[str, Tensor], pair_batches: Callable[..., Any]
) -> None:
    model, sites = opened(folder)
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    embeddings = model.encode_images({"pixel_values": reference["pixel_values"]})
    scores_of(model, sites, "vision", "vision:attn.out", pair_batches)
    after = model.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert torch.equal(model.encode_images({"pixel_values": reference["pixel_values"]}), embeddings)
    assert {type(m).__name__ for m in model.module.modules() if isinstance(m, torch.nn.MultiheadAttention)} == {
        "MultiheadAttention"
    }


def test_sites_are_the_same_maps_as_in_transformers_format(clip: Any, clip_sites: list[Site], folder: Path) -> None:
    from editkit.models.site_tensors import weight_of

    model, sites = opened(folder)
    theirs = {site.name: site for site in clip_sites}
    assert {site.name for site in sites} == theirs.keys()
    for site in sites:
        ours = weight_of(model.parameter(site.key), site)
        assert tuple(ours.shape) == site.shape == theirs[site.name].shape
        assert torch.equal(ours, weight_of(clip.parameter(theirs[site.name].key), theirs[site.name]))
    assert {site.rows for site in sites if site.role == "attn.k"} == {(64, 128)}
    assert [site.name for site in sites if site.transposed] == ["text:proj", "vision:proj"]


# files


def test_a_folder_is_recognised_by_its_config(folder: Path) -> None:
    assert find_adapter(str(folder), default_host()).name == "open_clip"
    assert find_adapter(f"open_clip:{NAME}@x.pt", default_host()).name == "open_clip"


def test_a_checkpoint_beside_which_the_config_is_saved_loads_without_editkit(
    tmp_path: Path, weights: dict[str, Tensor], reference: dict[str, Tensor]
) -> None:
    place = tmp_path / "saved"
    place.mkdir()
    save_file(weights, place / "open_clip_model.safetensors")
    adapter = OpenClip()
    files = adapter.open(f"open_clip:{NAME}@{place / 'open_clip_model.safetensors'}")
    adapter.save_beside(files, place)
    library = open_clip.create_model(f"local-dir:{place}").eval()
    model, _ = opened(place)
    texts = library.encode_text(reference["input_ids"], normalize=True)
    assert relative(model.encode_texts({"input_ids": reference["input_ids"]}), texts) <= 1e-6


@pytest.mark.parametrize("wrapped", [False, True], ids=["state dict", "training checkpoint"])
def test_a_torch_archive_is_converted_once(
    tmp_path: Path, weights: dict[str, Tensor], own_cache: Path, reference: dict[str, Tensor], wrapped: bool
) -> None:
    archive = tmp_path / "weights.pt"
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 3, "state_dict": parallel} if wrapped else weights, archive)
    model, _ = opened(f"open_clip:{NAME}@{archive}")
    (made,) = own_cache.rglob("*.safetensors")
    first = (made.stat().st_mtime_ns, made.stat().st_ino)
    again, _ = opened(f"open_clip:{NAME}@{archive}")
    assert list(own_cache.rglob("*.safetensors")) == [made]
    assert (made.stat().st_mtime_ns, made.stat().st_ino) == first
    assert [path.name for path in own_cache.rglob("*") if "partial" in path.name] == []
    for loaded in (model, again):
        for name, tensor in weights.items():
            assert torch.equal(loaded.parameter(name), tensor), name


def test_an_archive_may_be_renamed(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "first.pt")
    (tmp_path / "second.pt").write_bytes((tmp_path / "first.pt").read_bytes())
    for name in ("first.pt", "second.pt"):
        model, _ = opened(f"open_clip:{NAME}@{tmp_path / name}")
        assert torch.equal(model.parameter("visual.proj"), weights["visual.proj"])


class Harmful:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_an_archive_that_holds_code_is_refused_and_the_code_never_runs(
    tmp_path: Path, weights: dict[str, Tensor], own_cache: Path
) -> None:
    archive, touched = tmp_path / "weights.pt", tmp_path / "touched"
    torch.save({**weights, "extra": Harmful(touched)}, archive)
    refused(f"open_clip:{NAME}@{archive}", "cannot be read as plain tensors")
    assert not touched.exists()
    assert list(own_cache.rglob("*.safetensors")) == []


# errors


def refused(source: str | Path, message: str) -> EditkitError:
    with pytest.raises(ModelError) as caught:
        opened(source)
    assert message in caught.value.problem
    assert str(caught.value).count("\n") == 1
    return caught.value


@pytest.fixture
def checkpoint(tmp_path: Path, weights: dict[str, Tensor]) -> Path:
    save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_an_unknown_architecture_is_named_with_the_closest(checkpoint: Path) -> None:
    refused(f"open_clip:ViT-B-31@{checkpoint}", "open_clip has no architecture 'ViT-B-31'. Did you mean 'ViT-B-3")
    refused("open_clip:ViT-B-3x/openai", "open_clip has no weights 'ViT-B-3x/openai'. Did you mean 'ViT-B-3")


def test_an_unknown_tag_is_named_with_the_closest_and_lists_what_there_is() -> None:
    error = refused("open_clip:ViT-B-32/openia", "open_clip has no weights 'ViT-B-32/openia'. Did you mean 'openai'?")
    assert "laion2b_s34b_b79k" in error.remedy


def test_an_architecture_without_a_tag_lists_its_tags() -> None:
    assert "openai" in refused("open_clip:ViT-B-32", "open_clip has no weights").remedy


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.pt"
    assert NAME not in refused(f"open_clip:{NAME}@{missing}", f"There is no checkpoint file {missing}.").problem


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"not a checkpoint")
    refused(f"open_clip:{NAME}@{tmp_path / 'weights.pt'}", "cannot be read as plain tensors")


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [1, 2], {"state_dict": {}}])
def test_an_archive_without_a_state_dict_is_an_error(tmp_path: Path, own_cache: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pt")
    refused(f"open_clip:{NAME}@{tmp_path / 'weights.pt'}", "holds no state dict")
    assert list(own_cache.rglob("*.safetensors")) == []


def test_weights_of_another_architecture_are_an_error(checkpoint: Path) -> None:
    refused(f"open_clip:{DEEPER}@{checkpoint}", "it lacks transformer.resblocks.2.")


def test_a_tensor_that_the_architecture_has_not_is_an_error(checkpoint: Path, weights: dict[str, Tensor]) -> None:
    save_file({**weights, "stranger": torch.zeros(2)}, checkpoint)
    refused(f"open_clip:{NAME}@{checkpoint}", "it holds stranger, which the architecture has not")


def test_a_tensor_of_another_shape_is_an_error(checkpoint: Path, weights: dict[str, Tensor]) -> None:
    save_file({**weights, "ln_final.weight": torch.zeros(63)}, checkpoint)
    refused(f"open_clip:{NAME}@{checkpoint}", "cannot be loaded")


@pytest.mark.parametrize("config", ["{", "[]", '{"preprocess_cfg": {}}'])
def test_a_folder_whose_config_says_no_architecture_is_an_error(folder: Path, config: str) -> None:
    (folder / "open_clip_config.json").write_text(config)
    refused(folder, "open_clip_config.json")


def test_a_folder_without_weights_is_an_error(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    refused(folder, str(folder))
