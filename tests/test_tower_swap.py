"""Another model's tower in the place of a model's own: an exact, revertible patch, whatever wraps the towers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Ran, as_error, done, run
from llava_models import clip_like_llavas, tiny_llava
from models import OPEN_CLIP, table, tiny_clip, tiny_open_clip
from safetensors.torch import load_file, save_file
from tiny_checkpoints import digests, listing
from torch import Tensor

import editkit
from editkit.patch.patch import Patch

Tensors = dict[str, Tensor]
POSITIONS = "vision_model.embeddings.position_ids"
LAYER = "vision_model.encoder.layers.1.mlp.fc1.weight"
VISION_ONLY = """
    from editkit.plugin import AdapterSpec, hookimpl
    from editkit_clip.transformers_format import TransformersClip

    EDITKIT_API = 1

    class VisionOnly(TransformersClip):
        def sites(self, files):
            return [site for site in super().sites(files) if site.tower == "vision"]

        def tensors(self, files, tower):
            return {"vision": super().tensors(files, "vision")}[tower]

    @hookimpl
    def editkit_adapters():
        return [AdapterSpec(name="blind", summary="", target=f"{__name__}:VisionOnly", patterns=("*/vision-only",))]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("swap") / "model", "float16")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lends its towers: in another precision, in shards, and with a buffer of integers."""
    folder = tiny_clip(tmp_path_factory.mktemp("swap") / "other", sharded=True, seed=1)
    shard = sorted(folder.glob("*.safetensors"))[0]
    held = load_file(shard) | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file(held, shard, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"weight_map": {', f'"weight_map": {{"{POSITIONS}": "{shard.name}",'))
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("swap"), 6)


def tensors(folder: Path) -> Tensors:
    """Every tensor of a folder, read with the safetensors package."""
    return {key: tensor for file in sorted(folder.glob("*.safetensors")) for key, tensor in load_file(file).items()}


def same_bits(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(
        tensor.dtype == b[key].dtype
        and torch.equal(tensor.reshape(-1).view(torch.uint8), b[key].reshape(-1).view(torch.uint8))
        for key, tensor in a.items()
    )


def of(tower: str, held: Tensors) -> Tensors:
    """A CLIP's tensors of one tower, without buffers."""
    own = {"vision": ("vision_model.", "visual_projection."), "text": ("text_model.", "text_projection.")}[tower]
    return {key: tensor for key, tensor in held.items() if key.startswith(own) and key != POSITIONS}


def half(held: Tensors) -> Tensors:
    return {key: tensor.half() for key, tensor in held.items()}


def swap(model: object, *more: object) -> Ran:
    return done("edit", "--model", model, "--workers", 0, *more)


# what it does


def test_the_vision_tower_becomes_the_other_models_in_this_models_precision(
    model: Path, other: Path, tmp_path: Path
) -> None:
    swap(model, "--vision-tower", other, "-o", tmp_path / "p", "--save", tmp_path / "s")
    assert same_bits(tensors(tmp_path / "s"), tensors(model) | half(of("vision", tensors(other))))
    assert Patch.load(tmp_path / "p").changes.keys() == of("vision", tensors(model)).keys()


def test_it_is_short_for_blending_the_whole_tower(model: Path, other: Path, tmp_path: Path) -> None:
    long = ("--manipulator", "blend", "--set", f"manipulator.model={other}", "--set", "manipulator.amount=1")
    swap(model, *long, "--target", "vision:all", "-o", tmp_path / "long")
    swap(model, "--vision-tower", other, "-o", tmp_path / "short")
    editkit.edit(model=model, vision_tower=other, output=tmp_path / "api")
    one, *rest = (Patch.load(tmp_path / name) for name in ("long", "short", "api"))
    for patch in rest:
        assert patch.record["recipe"] == one.record["recipe"] and patch.record["base"] == one.record["base"]


def test_the_text_tower_too_and_both_from_two_models(model: Path, other: Path, tmp_path: Path) -> None:
    third = tiny_clip(tmp_path / "third", "bfloat16", seed=2)
    swap(model, "--text-tower", other, "-o", tmp_path / "t", "--save", tmp_path / "text")
    assert same_bits(tensors(tmp_path / "text"), tensors(model) | half(of("text", tensors(other))))
    both = ("--text-tower", other, "--vision-tower", third)
    swap(model, *both, "-o", tmp_path / "b", "--save", tmp_path / "both")
    expected = half(of("text", tensors(other))) | half(of("vision", tensors(third)))
    assert same_bits(tensors(tmp_path / "both"), tensors(model) | expected)
    editkit.edit(model=model, text_tower=other, vision_tower=third, output=tmp_path / "api")
    assert Patch.load(tmp_path / "api").record["base"] == Patch.load(tmp_path / "b").record["base"]


def test_a_part_of_the_way_is_an_amount(model: Path, other: Path, tmp_path: Path) -> None:
    amount = ("--set", "manipulator.amount=0.25")
    swap(model, "--vision-tower", other, *amount, "-o", tmp_path / "p", "--save", tmp_path / "s")
    mine, theirs = tensors(model), of("vision", tensors(other))
    mixed = {key: (0.75 * mine[key].float() + 0.25 * theirs[key]).half() for key in theirs}
    assert same_bits(tensors(tmp_path / "s"), mine | mixed)


def test_the_patch_applies_and_reverts_to_the_very_bytes(model: Path, other: Path, tmp_path: Path) -> None:
    swap(model, "--vision-tower", other, "-o", tmp_path / "p", "--save", tmp_path / "saved")
    done("apply", tmp_path / "p", model, "-o", tmp_path / "applied")
    assert digests(tmp_path / "applied") == digests(tmp_path / "saved") != digests(model)
    done("revert", tmp_path / "p", tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)


def test_show_and_the_record_say_whose_tower_it_is(model: Path, other: Path, tmp_path: Path) -> None:
    swap(model, "--vision-tower", other, "-o", tmp_path / "p")
    shown, count = done("show", tmp_path / "p").flat, len(of("vision", tensors(model)))
    assert f"blend (model {other}, amount 1.0)" in shown and "not edited text" in shown
    assert f"vision: {count} tensors" in shown
    record = Patch.load(tmp_path / "p").record
    assert record["towers"] == {"edited": ["vision"], "not_edited": ["text"]}
    assert record["other_checkpoints"].keys() == {"vision"} and "data" not in record
    assert {site["key"] for site in record["sites"]} == of("vision", tensors(model)).keys()


def test_an_evaluation_of_the_patch_is_that_of_a_model_put_together_by_hand(
    model: Path, other: Path, pairs: Path, tmp_path: Path
) -> None:
    swap(model, "--vision-tower", other, "-o", tmp_path / "p")
    byhand = tiny_clip(tmp_path / "by-hand", "float16")
    together = tensors(model) | half(of("vision", tensors(other)))
    save_file(together, byhand / "model.safetensors", metadata={"format": "pt"})
    common: dict[str, Any] = {"data": str(pairs), "settings": {"compute.workers": 0}}
    report = editkit.evaluate(model=model, patches=[tmp_path / "p"], **common)
    base, patched = report["models"]
    alone = editkit.evaluate(model=byhand, controls=False, **common)["models"][0]
    assert patched["metrics"] == alone["metrics"] != base["metrics"]
    assert report["controls"]


def test_a_plan_reads_no_weight_and_says_what_would_be_taken(model: Path, other: Path) -> None:
    plan = done("plan", "--json", "--model", model, "--vision-tower", other).json
    assert plan["recipe"]["targets"] == ["vision:all"] and plan["not_edited"] == ["text"]
    assert plan["recipe"]["vision"] == {
        "scorer": None,
        "selector": {"name": "all"},
        "manipulator": {"name": "blend", "model": str(other), "amount": 1.0},
    }
    assert "vision tensors" in done("plan", "--model", model, "--vision-tower", other).out


# between families


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("swap") / "llava", "float16")


@pytest.fixture(scope="module")
def its_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP whose vision tower has the shapes of the LLaVA's."""
    return clip_like_llavas(tmp_path_factory.mktemp("swap") / "clip")


def features(model: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        hidden: Tensor = model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    return hidden.mean(dim=1)


def test_llava_with_the_vision_tower_of_a_clip_has_that_clips_features(
    llava: Path, its_clip: Path, tmp_path: Path
) -> None:
    from transformers import CLIPModel, LlavaForConditionalGeneration

    swap(llava, "--vision-tower", its_clip, "-o", tmp_path / "p", "--save", tmp_path / "s")
    pixels = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    before, after = (
        features(LlavaForConditionalGeneration.from_pretrained(at, dtype=torch.float32).model.vision_tower, pixels)
        for at in (llava, tmp_path / "s")
    )
    clip = CLIPModel.from_pretrained(its_clip).half().float()  # as the LLaVA's precision holds it
    torch.testing.assert_close(after, features(clip.vision_model, pixels))
    assert not torch.allclose(after, before, atol=0.1)
    [read] = editkit.load(llava, patches=[tmp_path / "p"], towers=["vision"]).embed_images([noise()])
    [saved] = editkit.load(tmp_path / "s", towers=["vision"]).embed_images([noise()])
    assert torch.equal(read, saved)


def noise() -> Any:
    from PIL import Image

    draw = torch.randint(0, 256, (24, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Image.fromarray(draw.numpy())


def test_the_projector_and_the_language_model_of_a_llava_stay(llava: Path, its_clip: Path, tmp_path: Path) -> None:
    swap(llava, "--vision-tower", its_clip, "-o", tmp_path / "p", "--save", tmp_path / "s")
    lent = {f"vision_tower.{key}": tensor for key, tensor in tensors(its_clip).items() if "vision_model" in key}
    assert same_bits(tensors(tmp_path / "s"), tensors(llava) | half(lent))
    record = Patch.load(tmp_path / "p").record
    assert {site["key"] for site in record["sites"]} == lent.keys()
    done("revert", tmp_path / "p", tmp_path / "s", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(llava)


def test_a_clip_takes_the_vision_tower_of_a_llava_and_keeps_its_projection(
    llava: Path, its_clip: Path, tmp_path: Path
) -> None:
    swap(its_clip, "--vision-tower", llava, "-o", tmp_path / "p", "--save", tmp_path / "s")
    lent = {key.removeprefix("vision_tower."): t for key, t in tensors(llava).items() if "vision_model" in key}
    expected = tensors(its_clip) | {key: tensor.float() for key, tensor in lent.items()}
    assert same_bits(tensors(tmp_path / "s"), expected)


# refusals, before any work


def refusal(tmp_path: Path, *flags: object) -> tuple[str, str]:
    """The two lines in which `plan` and `edit` refuse, having written nothing."""
    before = listing(tmp_path)
    planned, edited = run("plan", *flags), run("edit", *flags, "-o", tmp_path / "p")
    as_error(planned)
    assert edited.err == planned.err and listing(tmp_path) == before
    problem, remedy = planned.err.splitlines()
    return problem.removeprefix("Error: "), remedy


def altered(folder: Path, alter: Callable[[Tensors], None]) -> Path:
    made = tiny_clip(folder, seed=1)
    held = tensors(made)
    alter(held)
    save_file(held, made / "model.safetensors", metadata={"format": "pt"})
    return made


def test_another_shape_is_refused_with_both_shapes(llava: Path, tmp_path: Path) -> None:
    wider = clip_like_llavas(tmp_path / "wider", intermediate_size=64)
    assert refusal(tmp_path, "--model", llava, "--vision-tower", wider) == (
        f"{wider} cannot lend {llava} its vision tower: vision_model.encoder.layers.0.mlp.fc1.bias is [64] there and "
        "[48] here (tensors that differ: 12).",
        "Give a model whose vision tower has the same architecture.",
    )


def test_a_tower_that_lacks_a_tensor_is_refused(model: Path, tmp_path: Path) -> None:
    other = altered(tmp_path / "other", lambda held: held.__delitem__("vision_model.post_layernorm.bias"))
    problem, _ = refusal(tmp_path, "--model", model, "--vision-tower", other)
    assert "vision_model.post_layernorm.bias is missing there and [48] here (tensors that differ: 1)" in problem


def test_a_deeper_tower_is_refused_though_it_has_every_tensor(llava: Path, tmp_path: Path) -> None:
    deeper = clip_like_llavas(tmp_path / "deeper", num_hidden_layers=5)
    problem, _ = refusal(tmp_path, "--model", llava, "--vision-tower", deeper)
    assert "vision_model.encoder.layers.4.layer_norm1.bias is [32] there and missing here" in problem


def test_what_the_other_tower_of_the_lender_looks_like_does_not_matter(model: Path, tmp_path: Path) -> None:
    def alter(held: Tensors) -> None:
        held["text_projection.weight"] = torch.zeros(24, 31)
        del held["logit_scale"]

    swap(model, "--vision-tower", altered(tmp_path / "other", alter), "-o", tmp_path / "p")


def test_towers_that_share_no_name_are_refused(model: Path, llava: Path, tmp_path: Path) -> None:
    source = f"open_clip:{OPEN_CLIP}@{tiny_open_clip(tmp_path / 'open-clip')}"
    for flags in (("--vision-tower", source), ("--text-tower", llava)):
        problem, _ = refusal(tmp_path, "--model", model, *flags)
        assert problem.endswith("tower: not one part of it has the same name in both.")


def test_a_model_without_the_tower_neither_lends_nor_takes_one(
    model: Path, tmp_path: Path, plugin_file: Callable[[str, str], Path]
) -> None:
    blind = tiny_clip(tmp_path / "vision-only", seed=1)
    plugin = ("--plugin", plugin_file("blind", VISION_ONLY))
    lends = as_error(run(*plugin, "plan", "--model", model, "--text-tower", blind))
    assert "not one part of it has the same name in both" in lends
    takes = as_error(run(*plugin, "plan", "--model", blind, "--text-tower", model))
    assert f"Target 'text:all': {blind} has no such tower." in takes and "It has: vision." in takes
    swap_of_what_it_has = done(*plugin, "plan", "--json", "--model", model, "--vision-tower", blind).json
    assert swap_of_what_it_has["recipe"]["targets"] == ["vision:all"]


def test_the_same_tower_is_no_edit(model: Path, tmp_path: Path) -> None:
    copy = tiny_clip(tmp_path / "copy", "float16", seed=1)
    together = tensors(copy) | of("vision", tensors(model))
    save_file(together, copy / "model.safetensors", metadata={"format": "pt"})
    ran = run("edit", "--model", model, "--vision-tower", copy, "-o", tmp_path / "p")
    assert "The edit changes no weight" in as_error(ran) and not (tmp_path / "p").exists()


def test_a_tensor_that_both_have_alike_is_no_part_of_the_patch(model: Path, tmp_path: Path) -> None:
    other = altered(tmp_path / "other", lambda held: held.update({LAYER: tensors(model)[LAYER].float()}))
    swap(model, "--vision-tower", other, "-o", tmp_path / "p")
    assert Patch.load(tmp_path / "p").changes.keys() == of("vision", tensors(model)).keys() - {LAYER}


@pytest.mark.parametrize(
    "flags",
    [
        ("--scorer", "uwm"),
        ("--selector", "all"),
        ("--manipulator", "blend"),
        ("--alpha", 0.5),
        ("--tau", 0.1),
        ("--target", "vision:all"),
    ],
    ids=lambda flags: flags[0],
)
def test_flags_that_say_how_to_edit_are_refused(
    flags: tuple[object, ...], model: Path, other: Path, tmp_path: Path
) -> None:
    problem, remedy = refusal(tmp_path, "--model", model, "--vision-tower", other, *flags)
    assert problem == f"--vision-tower takes another model's tower as it is, so {flags[0]} would do nothing."
    assert remedy.startswith("Give one or the other")


def test_a_recipe_that_says_how_to_edit_is_refused_too(model: Path, other: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--vision-tower", other, "--recipe", "uwm-released")
    assert "uwm has nothing to look at there" in refusal(tmp_path, *flags)[0]


def test_a_lender_that_does_not_exist_is_refused(model: Path, tmp_path: Path) -> None:
    problem, _ = refusal(tmp_path, "--model", model, "--vision-tower", tmp_path / "none")
    assert "There is no model folder" in problem
