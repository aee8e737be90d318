"""timm's vision transformers: image encoders without a text tower."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from command_line import as_error, done, run
from models import table
from open_clip_models import SMALL_VIT, tiny_vit
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.site import Site, towers_of
from editkit.errors import ModelError
from editkit.models.find import find_adapter, weights_of
from editkit.models.site_tensors import bias_of, weight_of
from editkit.testing import check_adapter
from editkit_timm.timm_format import TimmEncoder

PUBLISHED: dict[str, dict[str, Any]] = {
    "vit_base_patch16_224": {"num_classes": 5},
    "vit_base_patch16_clip_224": {"num_classes": 0},
    "vit_base_patch16_siglip_224": {"num_classes": 0},
    "vit_small_patch14_reg4_dinov2": {"num_classes": 0},
    "vit_giant_patch14_dinov2": {"num_classes": 0},  # its mlp.fc1 makes two halves, the first of which gates the other
    "vit_small_patch16_dinov3": {"num_classes": 0},
    "eva02_base_patch14_224": {"num_classes": 5},
    "vit_medium_patch16_gap_256": {"num_classes": 5},
    "deit3_small_patch16_224": {"num_classes": 5},
}


def tiny_timm(folder: Path, architecture: str = "vit_base_patch16_224", *, archive: bool = False, **given: Any) -> Path:
    """A folder as the hub has them, written by timm."""
    arguments = {**SMALL_VIT, **PUBLISHED.get(architecture, {}), **given}
    model = tiny_vit(architecture, **arguments)
    size = arguments["img_size"]
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, size, size)}  # as newer releases of timm write it
    save_for_hf(model, folder, model_args=arguments, safe_serialization=not archive)
    return folder


def plain_timm(source: str) -> Callable[..., Tensor]:
    """What embeds images with timm alone, as its documentation does."""
    name, _, weights = source.removeprefix("timm:").partition("@")
    if weights:
        state = load_file(weights)
        model = timm.create_model(name, num_classes=len(state["head.weight"]))
        model.load_state_dict(state)
        model.reset_classifier(0)
    else:
        model = timm.create_model(f"local-dir:{source}", pretrained=True, num_classes=0)
    model.eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        assert tower == "vision"
        with torch.no_grad():
            return model(torch.stack([transform(item) for item in items]))

    return embed


def sites_of(source: str | Path) -> list[Site]:
    adapter = TimmEncoder()
    return adapter.sites(adapter.open(str(source)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_timm(tmp_path_factory.mktemp("timm") / "model")


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_timms_vision_transformers_keep_the_contract(architecture: str, tmp_path: Path) -> None:
    check_adapter("timm", tiny_timm(tmp_path / "model", architecture), library=plain_timm)


def test_a_folder_that_holds_a_torch_archive_keeps_it_too(tmp_path: Path) -> None:
    source = tiny_timm(tmp_path / "model", archive=True)
    assert [path.name for path in source.glob("*model*")] == ["pytorch_model.bin"]
    check_adapter("timm", source)


@pytest.mark.parametrize("tag", ["", ".noise"])
def test_a_checkpoint_with_its_architectures_name_keeps_it(folder: Path, tag: str) -> None:
    source = f"timm:vit_editkit_plain{tag}@{folder / 'model.safetensors'}"
    check_adapter("timm", source, library=plain_timm)
    assert weights_of(source, default_host()).checkpoint.root == folder


def test_a_folder_is_recognised_by_its_config(folder: Path, tmp_path: Path) -> None:
    assert find_adapter(str(folder), default_host()).name == "timm"
    assert find_adapter("timm:vit_base_patch16_224@x.pt", default_host()).name == "timm"


# sites


def test_q_k_and_v_are_thirds_of_one_tensor_and_the_classifier_is_no_site(folder: Path) -> None:
    sites = {site.name: site for site in sites_of(folder)}
    assert len(sites) == 18 and towers_of(list(sites.values())) == ("vision",)
    assert {site.role for site in sites.values()} == {"attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"}
    key = sites["vision:attn.k[1]"]
    assert (key.key, key.rows, key.shape) == ("blocks.1.attn.qkv.weight", (32, 64), (32, 32))
    assert not any(site.pooled for site in sites.values())


def test_a_pooling_head_sees_one_token_but_for_its_keys_and_values(tmp_path: Path) -> None:
    sites = sites_of(tiny_timm(tmp_path / "model", "vit_base_patch16_siglip_224"))
    pooled = {site.role for site in sites if site.pooled}
    assert pooled == {"pool.attn.q", "pool.attn.out", "pool.mlp.in", "pool.mlp.out"}
    assert {(site.role, site.rows) for site in sites if site.key == "attn_pool.kv.weight"} == {
        ("pool.attn.k", (0, 32)),
        ("pool.attn.v", (32, 64)),
    }
    assert {site.layer for site in sites if site.role.startswith("pool.")} == {0}


def test_a_pooling_head_that_is_published_but_not_used_is_no_site(tmp_path: Path) -> None:
    source = tiny_timm(tmp_path / "model", "vit_base_patch16_siglip_gap_224", num_classes=0)
    unused = tiny_timm(tmp_path / "map", "vit_base_patch16_siglip_224")
    both = load_file(unused / "model.safetensors") | load_file(source / "model.safetensors")
    save_file(both, source / "model.safetensors", metadata={"format": "pt"})
    assert not [site for site in sites_of(source) if site.role.startswith("pool.")]
    check_adapter("timm", source, library=plain_timm)


def test_eva_keeps_the_biases_of_q_and_v_apart_from_their_maps_and_has_none_of_k(tmp_path: Path) -> None:
    sites = {site.name: site for site in sites_of(tiny_timm(tmp_path / "fused", "eva_giant_patch14_224"))}
    biases = [(sites[f"vision:attn.{x}[1]"].rows, sites[f"vision:attn.{x}[1]"].bias) for x in "qkv"]
    assert biases == [((0, 32), "blocks.1.attn.q_bias"), ((32, 64), None), ((64, 96), "blocks.1.attn.v_bias")]
    sites = {site.name: site for site in sites_of(tiny_timm(tmp_path / "apart", "eva02_base_patch14_224"))}
    assert sites["vision:attn.k[1]"].key == "blocks.1.attn.k_proj.weight" and sites["vision:attn.k[1]"].rows is None


def test_an_edit_of_such_a_bias_changes_it_alone(tmp_path: Path) -> None:
    source = tiny_timm(tmp_path / "model", "eva_giant_patch14_224")
    pairs = table(tmp_path / "data", 4, columns=("safe_image", "unsafe_image"))
    edited = tmp_path / "edited"
    asked = ("--target", "vision:attn.v[1]", "--manipulator", "mean-ablate")
    done("edit", "--model", source, "--data", f"pairs:{pairs}", *asked, "-o", tmp_path / "p", "--save", edited)
    before, after = (load_file(place / "model.safetensors") for place in (source, edited))
    changed = {key: (before[key] != after[key]) for key in before if not torch.equal(before[key], after[key])}
    assert changed.keys() == {"blocks.1.attn.qkv.weight", "blocks.1.attn.v_bias"}
    assert not changed["blocks.1.attn.qkv.weight"][:64].any()


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("vit_giant_patch14_dinov2", {"mlp.gate": "mlp.fc1", "mlp.in": "mlp.fc1"}),
        ("vit_huge_plus_patch16_dinov3", {"mlp.gate": "mlp.fc1_g", "mlp.in": "mlp.fc1_x"}),
    ],
)
def test_what_gates_and_what_is_gated_are_told_apart(architecture: str, keys: dict[str, str], tmp_path: Path) -> None:
    source = tiny_timm(tmp_path / "model", architecture)
    adapter = TimmEncoder()
    model = adapter.load(adapter.open(str(source)), device="cpu", dtype="float32", towers=("vision",))
    mlp, x, seen = model.module.blocks[0].mlp, torch.randn(1, 2, 32), []
    mlp.fc2.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    mlp(x)
    for site in (site for site in sites_of(source) if site.role in keys and site.layer == 0):
        assert site.module == f"blocks.0.{keys[site.role]}"
        held = [weight_of(model.parameter(site.key), site), bias_of(model.parameter(str(site.bias)), site)]
        for tensor in held:
            tensor.neg_()
        mlp(x)
        assert torch.allclose(seen[-1], -seen[0]) == (site.role == "mlp.in")  # the map itself is not bent
        for tensor in held:
            tensor.neg_()


# images are prepared as the folder says


def test_preprocessing_follows_the_folders_pretrained_cfg(tmp_path: Path, folder: Path) -> None:
    adapter = TimmEncoder()
    found = {}
    for name, mean in (("first", 0.1), ("second", 0.6)):
        source = tiny_timm(tmp_path / name)
        config = json.loads((source / "config.json").read_text())
        config["pretrained_cfg"] |= {"mean": [mean] * 3, "std": [0.5] * 3, "crop_pct": 1.0, "interpolation": "bilinear"}
        (source / "config.json").write_text(json.dumps(config))
        files = adapter.open(str(source))
        model = adapter.load(files, device="cpu", dtype="float32", towers=("vision",))
        grey = model.image_preprocessor()(Image.new("RGB", (40, 50), (128, 128, 128)))["pixel_values"]
        assert tuple(grey.shape) == (3, 32, 32)
        assert torch.allclose(grey, torch.full_like(grey, (128 / 255 - mean) / 0.5))
        found[name] = files.settings
    assert found["first"] != found["second"]


# a whole edit, on images alone


def test_an_edit_on_pairs_of_images_reloads_with_timm_alone(tmp_path: Path, folder: Path) -> None:
    pairs = table(tmp_path / "data", 6, columns=("safe_image", "unsafe_image"))
    patch, edited = tmp_path / "patch", tmp_path / "edited"
    done("edit", "--model", folder, "--data", f"pairs:{pairs}", "-o", patch, "--save", edited, "--workers", 0)
    before, after = (load_file(place / "model.safetensors") for place in (folder, edited))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"blocks.{layer}.mlp.fc2.weight" for layer in range(3)}
    flipped = before["blocks.0.mlp.fc2.weight"] != after["blocks.0.mlp.fc2.weight"]
    assert torch.equal(after["blocks.0.mlp.fc2.weight"][flipped], -before["blocks.0.mlp.fc2.weight"][flipped])
    library = timm.create_model(f"local-dir:{edited}", pretrained=True).state_dict()
    assert all(torch.equal(library[key], after[key]) for key in after)


def test_a_checkpoint_that_was_edited_is_a_folder_for_timm(tmp_path: Path, folder: Path) -> None:
    pairs = table(tmp_path / "data", 4, columns=("safe_image", "unsafe_image"))
    source = f"timm:vit_editkit_plain@{folder / 'model.safetensors'}"
    edited = tmp_path / "edited"
    done("edit", "--model", source, "--data", f"pairs:{pairs}", "-o", tmp_path / "p", "--save", edited, "--workers", 0)
    library = timm.create_model(f"local-dir:{edited}", pretrained=True)
    assert library.num_classes == 5
    assert find_adapter(str(edited), default_host()).name == "timm"
    assert [site.name for site in sites_of(edited)] == [site.name for site in sites_of(source)]


def test_a_text_target_is_an_error_at_once(tmp_path: Path, folder: Path) -> None:
    pairs = table(tmp_path / "data", 2, columns=("safe_image", "unsafe_image"))
    ran = run("edit", "--model", folder, "--data", f"pairs:{pairs}", "--target", "text:attn.out", "-o", tmp_path / "p")
    assert "Target 'text:attn.out' matches no site" in as_error(ran)


@pytest.mark.parametrize("command", [("eval", "safeground"), ("edit", "--scorer", "gradient")])
def test_what_compares_images_with_captions_is_refused_with_the_reason(
    command: tuple[str, ...], tmp_path: Path, folder: Path
) -> None:
    output = ("-o", tmp_path / "out") if command[0] == "edit" else ()
    ran = run(*command, "--model", folder, "--data", f"pairs:{table(tmp_path / 'data', 2)}", *output)
    assert "has no text tower" in as_error(ran)


def test_its_text_tower_cannot_be_loaded(folder: Path) -> None:
    adapter = TimmEncoder()
    with pytest.raises(ModelError, match="has no text tower"):
        adapter.load(adapter.open(str(folder)), device="cpu", dtype="float32", towers=("text",))


# what is no vision transformer


def refused(source: str | Path, message: str) -> None:
    adapter = TimmEncoder()
    with pytest.raises(ModelError) as caught:
        files = adapter.open(str(source))
        adapter.sites(files)
        adapter.load(files, device="cpu", dtype="float32", towers=("vision",))
    assert message in caught.value.problem
    assert str(caught.value).count("\n") == 1 and caught.value.remedy


@pytest.mark.parametrize(
    ("architecture", "small", "reason"),
    [
        ("convnext_atto", {}, "is timm's 'convnext_atto', a ConvNeXt"),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1)}, "a SwinTransformer"),
        ("vit_small_patch16_18x2_224", {**SMALL_VIT, "depth": 1}, "there is no blocks.0.attn.qkv.weight"),
    ],
)
def test_other_architectures_are_refused_with_the_reason(
    architecture: str, small: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    save_for_hf(timm.create_model(architecture, **small), tmp_path / "model", safe_serialization=True)
    refused(tmp_path / "model", reason)


def test_an_unknown_architecture_is_named_with_the_closest(folder: Path) -> None:
    refused(f"timm:vit_base_patch16_225@{folder / 'model.safetensors'}", "Did you mean 'vit_base_patch16_22")


def test_a_missing_file_a_missing_tag_and_missing_weights_are_named(tmp_path: Path, folder: Path) -> None:
    refused(f"timm:vit_base_patch16_224@{tmp_path / 'none.pt'}", "There is no checkpoint file")
    refused(
        f"timm:vit_editkit_plain.other@{folder / 'model.safetensors'}", "knows no weights 'vit_editkit_plain.other'"
    )
    refused("timm:vit_base_patch16_224", "names an architecture of timm, but no weights")


def test_weights_of_another_architecture_are_an_error(tmp_path: Path, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for change, message in (({"stranger": torch.zeros(1)}, "holds stranger"), ({"norm.weight": None}, "lacks norm.w")):
        held = {key: tensor for key, tensor in (tensors | change).items() if tensor is not None}
        save_file(held, tmp_path / "weights.safetensors")
        refused(f"timm:vit_editkit_plain@{tmp_path / 'weights.safetensors'}", message)
    refused(f"timm:vit_tiny_patch16_224@{folder / 'model.safetensors'}", "cannot be loaded")


def test_a_model_without_pooling_has_no_embedding(tmp_path: Path) -> None:
    refused(tiny_timm(tmp_path / "model", num_classes=0, global_pool=""), "built without pooling")
