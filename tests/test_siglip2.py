"""SigLIP 2: of one resolution with Gemma's tokens, and NaFlex, whose images are padded with patches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import torch
from command_line import done
from models import table
from PIL import Image
from siglip_models import CONTEXT, plain_inputs, plain_siglip, tiny_naflex, tiny_siglip2
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.site import match_targets
from editkit.components.specs import ScorerSpec
from editkit.editing.input_scores import score_pairs
from editkit.models.batches import Batch
from editkit.models.find import find_adapter
from editkit.testing import check_adapter
from editkit_siglip.transformers_format import TransformersSiglip
from editkit_siglip.transformers_model import LoadedSiglip

ADAPTER = TransformersSiglip()
TEXTS = ["A robot, with a KNIFE!", "", "a friendly cat with a watermelon at the school."]
WIDE, TALL, SQUARE, TINY = (40, 200), (210, 30), (64, 64), (9, 7)
PATCHES = 256


def images(*shapes: tuple[int, int]) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]


def loaded(folder: Path) -> LoadedSiglip:
    return ADAPTER.load(ADAPTER.open(str(folder)), device="cpu", dtype="float32", towers=("text", "vision"))


def batched(model: LoadedSiglip, given: list[Image.Image]) -> dict[str, Tensor]:
    made = [model.image_preprocessor()(image) for image in given]
    return {name: torch.stack([one[name] for one in made]) for name in made[0]}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip2(tmp_path_factory.mktemp("fixed") / "model")


@pytest.fixture(scope="module")
def naflex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_naflex(tmp_path_factory.mktemp("naflex") / "model")


# The contract


def test_siglip2_of_one_resolution_keeps_the_contract(fixed: Path) -> None:
    check_adapter("siglip", fixed, library=plain_siglip)


def test_naflex_keeps_the_contract_on_images_of_any_shape(naflex: Path) -> None:
    check_adapter("siglip", naflex, images=images(WIDE, TALL, SQUARE, TINY), library=plain_siglip)


def test_both_model_types_lead_to_the_adapter(fixed: Path, naflex: Path) -> None:
    types = [json.loads((folder / "config.json").read_text())["model_type"] for folder in (fixed, naflex)]
    assert types == ["siglip", "siglip2"]
    assert {find_adapter(str(folder), default_host()).name for folder in (fixed, naflex)} == {"siglip"}


# Captions


def test_only_naflex_lowers_the_case_of_captions_as_the_librarys_tokenizers_do(fixed: Path, naflex: Path) -> None:
    upper, lower = loaded(fixed).tokenize(["A Dog", "a dog"])
    assert upper != lower
    upper, lower = loaded(naflex).tokenize(["A Dog", "a dog"])
    assert upper == lower


def test_captions_have_no_begin_and_one_end_which_a_cut_keeps(fixed: Path) -> None:
    ids = loaded(fixed).tokenize([*TEXTS, "a robot with a knife " * 40])
    assert ids[1] == [1] and len(ids[3]) == CONTEXT
    assert all(row.index(1) == len(row) - 1 and 2 not in row and 0 not in row for row in ids)


def test_padding_is_not_the_end_of_text(fixed: Path) -> None:
    inputs, real = loaded(fixed).text_inputs([[70, 80, 1], [1]], "real")
    last = CONTEXT - 1
    assert inputs["input_ids"].tolist() == [[70, 80, 1] + [0] * (CONTEXT - 3), [1] + [0] * last]
    assert real.int().tolist() == [[1] * 3 + [0] * (CONTEXT - 4) + [1], [1] + [0] * (last - 1) + [1]]
    _, released = loaded(fixed).text_inputs([[70, 80, 1]], "released")
    assert released.int().tolist() == [[1, 1, 0] + [1] * (CONTEXT - 3)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_side_is_padded(naflex: Path, tmp_path: Path, side: str) -> None:
    from transformers import AutoProcessor

    copy = shutil.copytree(naflex, tmp_path / "model")
    settings = json.loads((copy / "tokenizer_config.json").read_text()) | {"padding_side": side}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    model = loaded(copy)
    inputs, real = model.text_inputs(model.tokenize(TEXTS), "real")
    expected = plain_inputs(AutoProcessor.from_pretrained(copy), TEXTS, images(SQUARE))
    assert torch.equal(inputs["input_ids"], expected["input_ids"])
    shown = expected["input_ids"] != 0
    shown[:, -1] = True
    assert torch.equal(real, shown)


# Images of one resolution and of any shape


def test_of_one_resolution_every_patch_counts(fixed: Path) -> None:
    model = loaded(fixed)
    inputs = batched(model, images(WIDE, TALL))
    assert set(inputs) == {"pixel_values"}
    assert model.image_mask(inputs) is None


def test_naflex_counts_the_patches_of_the_images_own_grid(naflex: Path) -> None:
    model = loaded(naflex)
    inputs = batched(model, images(WIDE, TALL, SQUARE))
    mask = model.image_mask(inputs)
    assert mask is not None and mask.dtype == torch.bool and tuple(mask.shape) == (3, PATCHES)
    for row, (height, width) in zip(mask.tolist(), inputs["spatial_shapes"].tolist(), strict=True):
        assert row == [True] * height * width + [False] * (PATCHES - height * width)
    assert len({tuple(shape) for shape in inputs["spatial_shapes"].tolist()}) == 3
    assert mask.sum(dim=1).tolist() != [PATCHES] * 3


def test_what_stands_in_padding_patches_changes_no_embedding(naflex: Path) -> None:
    model = loaded(naflex)
    inputs = batched(model, images(WIDE, TALL))
    mask = model.image_mask(inputs)
    assert mask is not None and not bool(mask.all())
    noisy = inputs | {"pixel_values": inputs["pixel_values"].masked_fill(~mask[:, :, None], 9.0)}
    with torch.no_grad():
        torch.testing.assert_close(model.encode_images(noisy), model.encode_images(inputs), rtol=0, atol=1e-6)


def test_uwm_of_naflex_equals_naive_loops_over_the_images_own_patches(naflex: Path) -> None:
    model = loaded(naflex)
    (site,) = match_targets(["vision:attn.out[0]"], ADAPTER.sites(ADAPTER.open(str(naflex))))
    inputs = batched(model, images(WIDE, SQUARE, TALL, TINY))  # two safe ones, two unsafe ones
    seen: list[Tensor] = []
    module = model.module.get_submodule(site.module)
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model.encode_images(inputs)
    hook.remove()
    own = [[True] * h * w + [False] * (PATCHES - h * w) for h, w in inputs["spatial_shapes"].tolist()]
    assert not all(map(all, own))

    def found(mask: Tensor | None) -> Tensor:
        spec = default_host().resolve(ScorerSpec, "uwm")
        scorers: dict[str, Any] = {"uwm": spec.load()(spec.options())}
        batches = [Batch((0, 1), inputs, mask)]
        return score_pairs(model, "vision", [site], scorers, batches)["uwm"].scores[site]

    x = seen[0]
    expected = naive.score("uwm", module.weight, x[:2], own[:2], x[2:], own[2:], tower="vision")
    assert naive.relative(found(model.image_mask(inputs)), expected) <= 1e-5
    assert naive.relative(found(None), expected) > 1e-3


def test_naflex_is_edited_and_evaluated_from_the_command_line(naflex: Path, tmp_path: Path) -> None:
    flags = ("--model", naflex, "--data", table(tmp_path), "--workers", 1)
    done("edit", *flags, "--target", "vision:mlp.out", "--target", "vision:pool.attn.v", "-o", tmp_path / "patch")
    report = done("eval", "safeground", *flags, "--patch", tmp_path / "patch", "--knowledge", "none", "--json").json
    assert [row["name"] for row in report["models"]][:2] == ["base", "patch"]
