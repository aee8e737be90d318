"""The tests' repositories: what the libraries themselves make of them, and that editkit's commands find them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from command_line import as_error
from hub_open_clip_repositories import repository_of, small_architectures
from hub_repositories import DATA_SETS, MODELS, stock, write
from hub_server import Hub, serving
from models import table
from on_the_hub import on_the_hub, visiting
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, AutoTokenizer, CLIPModel

BASE = "openai/clip-vit-large-patch14"
LAION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
COCA = "laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k"
TIMM = ("timm/vit_base_patch16_clip_224.openai", "timm/vit_base_patch16_siglip_224.webli")
PAIRS = "someone/pairs"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


# The libraries alone


@pytest.mark.parametrize(
    "name",
    [
        BASE,
        *("openai/clip-vit-base-patch16", "someone/clip-sharded-bin", "someone/clip-finetuned"),
        *("aimagelab/safeclip_vit-l_14", LAION, "llava-hf/llava-1.5-7b-hf"),
        *("google/siglip-so400m-patch14-384", "google/siglip2-base-patch16-224", "google/siglip2-base-patch16-naflex"),
    ],
)
def test_transformers_finds_every_tensor_in_its_own_repositories(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, name)
    model, told = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert model.config.model_type == json.loads((folder / "config.json").read_text())["model_type"]
    assert not told["missing_keys"] and not told["mismatched_keys"]
    assert all(key.endswith("position_ids") or key.endswith("lm_head.weight") for key in told["unexpected_keys"])
    if not name.startswith("aimagelab"):
        assert AutoTokenizer.from_pretrained(folder)("a dog")["input_ids"]
        assert AutoProcessor.from_pretrained(folder)


def test_clip_has_the_settings_of_its_time(tmp_path: Path) -> None:
    folder = write(tmp_path, BASE)
    tensors = load_file(folder / "model.safetensors")
    assert tensors["text_model.embeddings.position_ids"].shape == (1, 77)
    archived = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert all(torch.equal(tensor, archived[key]) for key, tensor in tensors.items())
    assert json.loads((folder / "config.json").read_text())["text_config"]["eos_token_id"] == 2
    tokens = AutoTokenizer.from_pretrained(folder)("a photo of a dog")["input_ids"]
    assert tokens == [token for token in open_clip.tokenize("a photo of a dog")[0].tolist() if token]


def test_both_formats_of_one_repository_are_one_model(tmp_path: Path) -> None:
    folder = write(tmp_path, LAION)
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    ours = CLIPModel.from_pretrained(folder).eval()
    pixels, tokens = torch.randn(2, 3, 28, 28), open_clip.tokenize(["a dog", "a photo of two cats"])
    with torch.no_grad():
        found = ours(pixel_values=pixels, input_ids=tokens)
        pairs = ((theirs.encode_image(pixels), found.image_embeds), (theirs.encode_text(tokens), found.text_embeds))
    for one, other in pairs:
        assert torch.allclose(torch.nn.functional.normalize(one), other, atol=1e-5)


@pytest.mark.parametrize("name", [TIMM[0], "timm/vit_base_patch32_clip_224.openai", "timm/ViT-B-16-SigLIP", COCA])
def test_open_clip_opens_its_own_repositories(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, name)
    state = open_clip.create_model(f"local-dir:{folder}", load_weights=True).state_dict()
    stored = load_file(folder / "open_clip_model.safetensors")
    assert stored and all(torch.equal(state[key], tensor) for key, tensor in stored.items())


@pytest.mark.parametrize("name", TIMM)
def test_timm_opens_its_own_repositories(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, name)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, stored[key]) for key, tensor in model.state_dict().items())


def test_repositories_of_unknown_families_and_formats_are_what_they_look_like(tmp_path: Path) -> None:
    onnx = {path.suffix for path in write(tmp_path, "Xenova/clip-vit-base-patch32").rglob("*.*")}
    assert ".onnx" in onnx and not onnx & {".bin", ".safetensors"}
    known, code = (write(tmp_path, f"{owner}/Florence-2-base") for owner in ("florence-community", "microsoft"))
    configs = [json.loads((folder / "config.json").read_text()) for folder in (known, code)]
    assert [("auto_map" in config, config["model_type"]) for config in configs] == [
        (False, "florence2"),
        (True, "florence2"),
    ]
    assert list(code.glob("*.py")) and not list(known.glob("*.py"))


# On the hub


def test_everything_can_be_had_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    stocked = stock(hub, tmp_path, BASE, "someone/clip-finetuned", "clip-benchmark/wds_vtab-pets")
    with visiting(hub, tmp_path / "cache") as call:
        for repository in stocked:
            folder = Path(call(snapshot_download, repository.name, repo_type=repository.kind))
            got = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
            assert got == set(repository.commits[repository.branches["main"]])
    assert len(MODELS) > 15 and len(DATA_SETS) == 2


def test_commands_open_models_from_the_hub_and_by_open_clips_tags(hub: Hub, tmp_path: Path) -> None:
    tagged = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    stock(hub, tmp_path / "made", BASE, LAION)
    first = small_architectures(tmp_path / "small")
    flags = ("--data", table(tmp_path / "data", 2), "--json")
    hub.tokens.add("hf_known")
    commands = [("plan", "--model", source, *flags) for source in (BASE, tagged, "org/absent")]
    *found, absent = on_the_hub(hub, *commands, cache=tmp_path / "cache", token="hf_known", first=first)
    for ran in found:
        assert ran.code == 0, ran.err
        blocks = [one["site"] for one in ran.json["sites"] if one["site"].startswith("vision:mlp.out")]
        assert len(blocks) == 2, ran.json["sites"]
    assert absent.out == "" and "org/absent" in as_error(absent)
    assert [(one.token, one.status) for one in hub.asked("org/absent")][:1] == [("hf_known", 404)]
    assert hub.sent(LAION, "model.safetensors") == 0
    assert hub.sent(LAION, "open_clip_model.safetensors") > 0


def test_tags_of_open_clip_name_repositories_that_are_here() -> None:
    tags = {("ViT-B-16", "openai"), ("ViT-B-32", "openai"), ("ViT-B-32", "laion2b_s34b_b79k")}
    tags |= {("coca_ViT-L-14", "mscoco_finetuned_laion2b_s13b_b90k"), ("ViT-B-16-SigLIP", "webli")}
    assert {repository_of(name, tag) for name, tag in tags} <= set(MODELS)


def test_a_data_set_of_pairs_is_read_by_the_library_that_others_use(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    stock(hub, tmp_path, PAIRS)
    with visiting(hub, tmp_path / "cache") as call:
        [name, rows] = call(first_row, PAIRS, "test")
    assert name == ["id", "concept", "safe_text", "unsafe_text", "safe_image", "unsafe_image"]
    assert rows == 4


def first_row(name: str, split: str) -> tuple[list[str], int]:
    from datasets import load_dataset

    data = load_dataset(name, split=split)
    return data.column_names, len(data)
