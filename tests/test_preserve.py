"""Preserving: what is to stay as it is enters the fit of pairs, is named by the recipe, and counts in the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import as_error, done, run, sha
from manipulator_samples import EVERY_SHAPE, Sample, manipulate, minimum, same_bits, sample
from models import table, tiny_clip
from naive import float64, relative
from tiny_checkpoints import listing
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.site import Site, match_targets
from editkit.data.preserved import Preserved
from editkit.editing.plan import Plan, make_plan
from editkit.editing.preserved_moments import stream_second_moments
from editkit.models.batches import Batch, text_batches
from editkit.recipes.recipe import resolve
from editkit_clip.transformers_format import TransformersClip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("preserve") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("preserve"), 6)


# the fit


def others(made: Sample, count: int = 5) -> Tensor:
    """[n, I]: inputs that belong to no pair."""
    draw = torch.Generator().manual_seed(3)
    return torch.randn(count, made.site.shape[1], generator=draw, dtype=torch.float64) + 1


def second_moment(rows: Tensor) -> Tensor:
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for row in rows:
        total += torch.outer(row, row) / len(rows)
    return total


def redirected(made: Sample, preserved: Tensor | None, **options: Any) -> Tensor:
    moments = replace(made.moments, preserved=None if preserved is None else second_moment(preserved))
    return manipulate("redirect", made, context={"moments": {made.site: moments}}, **options)["weight"]


@EVERY_SHAPE
@pytest.mark.parametrize(("preserve", "weight", "ridge"), [(0.0, 1.0, 0.1), (1.0, 5.0, 0.01), (3.0, 0.5, 1.0)])
def test_the_fit_is_at_the_minimum_of_its_objective_over_pairs_and_preserved_items(
    shape: tuple[int, int], preserve: float, weight: float, ridge: float
) -> None:
    made = sample(shape)
    rows, wanted = others(made), made.safe @ made.weight.T
    found = redirected(made, rows, preserve=preserve, preserve_weight=weight, ridge=ridge)
    expected = minimum(made, wanted, preserve=preserve, ridge=ridge, preserved=rows, preserve_weight=weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert made.site.shape[1] == 1 or not torch.allclose(found, redirected(made, None, preserve=preserve, ridge=ridge))


def test_the_more_preserved_items_weigh_the_less_their_outputs_move() -> None:
    made = sample((3, 8))
    rows = others(made, 3)
    moved = [
        float(((redirected(made, rows, preserve_weight=p, ridge=1e-6) - made.weight) @ rows.T).norm())
        for p in (0.0, 1.0, 10.0, 1e4)
    ]
    assert moved == sorted(moved, reverse=True) and moved[-1] < 1e-3 * moved[0]


def test_a_weight_of_zero_and_nothing_to_preserve_are_one_fit_bit_for_bit() -> None:
    made = sample()
    assert same_bits(redirected(made, others(made), preserve_weight=0), redirected(made, None))


def test_the_null_space_is_that_of_safe_and_preserved_inputs_together() -> None:
    made = sample((3, 6), pairs=20)
    safe, rows = made.safe.clone(), others(made)
    safe[:, 3:] *= 1e-4
    rows[:, :4], rows[:, 5] = 0, rows[:, 5] * 1e-4
    change = redirected(replace(made, safe=safe), rows, null_space=1e-6) - made.weight
    torch.testing.assert_close(change @ rows.T, torch.zeros(3, 5, dtype=torch.float64), rtol=0, atol=1e-3)
    assert float(change[:, [3, 5]].norm()) > 0.1


# what is observed


@pytest.mark.parametrize("size", [1, 3])
def test_second_moments_are_those_of_a_loop_over_texts(model: Path, size: int) -> None:
    adapter = TransformersClip()
    files = adapter.open(str(model))
    clip = adapter.load(files, device="cpu", dtype="float32", towers=("text",))
    texts = ["a dog", "two cats on a red mat", "a photo of a pizza."]
    sites = match_targets(["text:mlp.out", "text:proj"], adapter.sites(files))
    batches = list(text_batches(clip, [(text,) for text in texts], batch_size=size))
    found = stream_second_moments(clip, "text", sites, batches)
    seen: dict[str, list[Any]] = {site.module: [] for site in sites}

    def recorder(name: str) -> Any:
        return lambda module, args: seen[name].append(float64(args[0]).reshape(-1, args[0].shape[-1]).mean(axis=0))

    hooks = [clip.module.get_submodule(site.module).register_forward_pre_hook(recorder(site.module)) for site in sites]
    for ids in clip.tokenize(texts):
        with torch.no_grad():  # each alone: no padding, every token is real
            clip.encode_texts(clip.text_inputs([ids], "real")[0])
    for hook in hooks:
        hook.remove()
    for site in sites:
        expected = sum(np.outer(x, x) for x in seen[site.module]) / len(texts)
        assert relative(found[site], expected) <= 1e-6, site.name


def test_images_are_observed_as_texts_are(clip: Any, clip_sites: list[Site]) -> None:
    [site] = match_targets(["vision:proj"], clip_sites)
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batches = [Batch((0, 1), {"pixel_values": pixels[:2]}, None), Batch((2, 3, 4), {"pixel_values": pixels[2:]}, None)]
    rows: list[Tensor] = []
    hook = clip.module.get_submodule(site.module).register_forward_pre_hook(lambda module, args: rows.append(args[0]))
    found = stream_second_moments(clip, "vision", [site], batches)[site]
    hook.remove()
    x = float64(torch.cat(rows))
    assert relative(found, x.T @ x / 5) <= 1e-6


# what is preserved


@pytest.fixture
def flags(model: Path, pairs: Path) -> tuple[Any, ...]:
    return ("--model", model, "--data", pairs, "--workers", 0, "--manipulator", "redirect")


def plan_of(model: Path, pairs: Path, **values: Any) -> Plan:
    layer = {"model": str(model), "data.name": "pairs", "data.path": str(pairs), "compute.workers": 0}
    return make_plan([("flag", layer | {"manipulator.name": "redirect"} | values)], default_host())


def captions(pairs: Path, side: str = "safe_text") -> tuple[str, ...]:
    return tuple(json.loads(line)[side] for line in pairs.read_text().splitlines())


def test_of_tuples_the_safe_side_is_preserved(model: Path, pairs: Path) -> None:
    plan = plan_of(model, pairs, preserve=str(pairs))
    assert set(plan.preserved.texts) == set(captions(pairs))
    assert {Path(str(image)).name for image in plan.preserved.images} == {f"safe-{n}.jpg" for n in range(6)}


def test_of_labelled_images_they_and_the_prompts_are_preserved(model: Path, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(
        f"image,label\n{pairs.parent / 'safe-0.jpg'},dog\n{pairs.parent / 'safe-1.jpg'},cat\n"
    )
    (tmp_path / "set.yaml").write_text(
        'name: pets\ntable: set.csv\ntemplate: "a photo of a {}."\nclasses: [dog, cat]\n'
    )
    plan = plan_of(model, pairs, preserve=[f"classes:{tmp_path / 'set.yaml'}"])
    assert plan.preserved.texts == ("a photo of a dog.", "a photo of a cat.") and len(plan.preserved.images) == 2


def test_only_what_a_preserving_tower_sees_is_kept(model: Path, pairs: Path) -> None:
    assert plan_of(model, pairs, preserve=str(pairs), targets=("text:proj",)).preserved.images == ()
    mixed = plan_of(model, pairs, preserve=str(pairs), **{"text.manipulator.name": "project", "targets": ("*:proj",)})
    assert mixed.preserved.texts == () and mixed.preserved.images


def test_several_sources_are_joined_and_each_item_counts_once(model: Path, pairs: Path, tmp_path: Path) -> None:
    more = table(tmp_path / "more", 8)
    both = plan_of(model, pairs, preserve=[str(pairs), str(more)]).preserved
    assert len(both.texts) == len(set(captions(more))) and len(both.images) == 14


def test_the_limit_and_seed_of_calibration_draw_what_is_preserved(model: Path, pairs: Path) -> None:
    limited = [
        plan_of(model, pairs, preserve=str(pairs), **{"calibration.limit": 3, "calibration.seed": seed}).preserved
        for seed in (0, 0, 1)
    ]
    assert all((len(one.texts), len(one.images)) == (3, 3) for one in limited)
    assert limited[0] == limited[1] != limited[2]


def test_a_set_is_the_same_whatever_its_order() -> None:
    one, other = Preserved(("a", "b")), Preserved(("b", "a"))
    assert one.fingerprint() == other.fingerprint() != Preserved(("a",)).fingerprint()
    assert (one | other) == one and not Preserved()


# the recipe, and what is written


def test_refuse_preserves_words_unless_told_otherwise_and_redirect_nothing() -> None:
    def preserved(manipulator: str, **values: Any) -> list[str]:
        layer = {"manipulator.name": manipulator, **values}
        return make_plan([("flag", layer)], default_host()).recipe.describe()["preserve"]

    assert preserved("refuse") == ["words"] and preserved("redirect") == ["none"]
    assert preserved("refuse", preserve="none") == ["none"] and preserved("redirect", preserve="words") == ["words"]


def test_by_default_short_prompts_of_the_captions_own_words_are_preserved() -> None:
    plan = make_plan([("flag", {"manipulator.name": "refuse"})], default_host())
    assert plan.data is not None
    said = " ".join(item.safe_text or "" for item in plan.data.items).lower()
    bare = [text for text in plan.preserved.texts if not text.endswith(".")]
    assert len(bare) > 20 and all(text in said for text in bare)
    assert plan.preserved.images == ()


def test_what_is_preserved_is_part_of_what_names_a_recipe() -> None:
    host = default_host()
    digests = {
        resolve([("flag", {"manipulator.name": "redirect", "preserve": value})], host).digest
        for value in ("none", "words", ["words", "demo"], "pairs:t.jsonl")
    }
    assert len(digests) == 4
    plain = resolve([("flag", {})], host).describe()
    assert "preserve" not in plain


def test_an_edit_that_preserves_is_told_of_in_plan_record_and_card(
    flags: tuple[Any, ...], pairs: Path, tmp_path: Path
) -> None:
    own = ("--preserve", pairs, "--preserve", "words")
    assert done("plan", *flags, *own, "--json").json["preserved"] == {"texts": 6, "images": 6}
    assert "Preserved 6 texts and 6 images" in done("plan", *flags, *own).flat
    done("edit", *flags, *own, "-o", tmp_path / "p")
    record = json.loads((tmp_path / "p" / "record.json").read_text())
    assert record["recipe"]["preserve"] == [str(pairs), "words"]
    assert {name: record["preserved"][name] for name in ("texts", "images")} == {"texts": 6, "images": 6}
    assert len(record["preserved"]["fingerprint"]) == 64
    assert "leave 6 texts and 6 images as they are" in (tmp_path / "p" / "README.md").read_text()
    assert "6 texts and 6 images" in done("show", tmp_path / "p").flat


def test_to_preserve_nothing_is_the_edit_without_it_byte_for_byte(flags: tuple[Any, ...], tmp_path: Path) -> None:
    for name, own in (("plain", ()), ("none", ("--preserve", "none")), ("own", ("--preserve", "demo"))):
        done("edit", *flags, *own, "-o", tmp_path / name)
    digests = {name: sha(tmp_path / name / "patch.safetensors") for name in ("plain", "none", "own")}
    assert digests["plain"] == digests["none"] != digests["own"]
    assert "preserved" not in json.loads((tmp_path / "none" / "record.json").read_text())


def test_python_preserves_as_the_command_line_does(
    flags: tuple[Any, ...], model: Path, pairs: Path, tmp_path: Path
) -> None:
    import editkit

    done("edit", *flags, "--preserve", pairs, "-o", tmp_path / "cli")
    editkit.edit(
        manipulator="redirect",
        model=model,
        data=str(pairs),
        preserve=str(pairs),
        settings={"compute.workers": 0},
        output=tmp_path / "python",
    )
    assert sha(tmp_path / "cli" / "patch.safetensors") == sha(tmp_path / "python" / "patch.safetensors")


def test_a_sequential_fit_sees_preserved_items_on_the_model_edited_so_far(
    flags: tuple[Any, ...], pairs: Path, tmp_path: Path
) -> None:
    own = ("--preserve", pairs, "--target", "vision:attn.out", "--target", "vision:proj")
    for order in ("sequential", "together"):
        done("edit", *flags, *own, "--set", f"manipulator.order={order}", "-o", tmp_path / order)
    assert len({sha(tmp_path / order / "patch.safetensors") for order in ("sequential", "together")}) == 2


# the cache


def states(*command: object) -> list[tuple[str, str, str]]:
    return [
        (part["kind"], part["tower"], part["state"]) for part in done("plan", "--json", *command).json["cache"]["parts"]
    ]


def test_other_items_to_preserve_leave_the_statistics_of_pairs_in_the_cache(
    flags: tuple[Any, ...], pairs: Path, tmp_path: Path, own_cache: Path
) -> None:
    text = (*flags, "--target", "text:proj")
    done("edit", *text, "--preserve", pairs, "-o", tmp_path / "p")
    assert states(*text, "--preserve", pairs) == [("moments", "text", "hit")] * 2
    assert states(*text, "--preserve", pairs, "--preserve", "demo") == [
        ("moments", "text", "hit"),
        ("moments", "text", "miss"),
    ]
    assert states(*text) == [("moments", "text", "hit")]
    done("edit", *text, "--preserve", pairs, "-o", tmp_path / "again")
    assert sha(tmp_path / "again" / "patch.safetensors") == sha(tmp_path / "p" / "patch.safetensors")


def test_preserved_items_take_one_more_matrix_of_memory_and_of_the_cache(flags: tuple[Any, ...], pairs: Path) -> None:
    text = (*flags, "--target", "text:proj", "--json")
    plain, more = (done("plan", *text, *own).json for own in ((), ("--preserve", pairs)))
    matrix = 8 * 32**2  # float64, of the 32 inputs of the tiny model's text projection
    assert more["memory"]["moments"] - plain["memory"]["moments"] == matrix
    assert more["cache"]["adds"] - plain["cache"]["adds"] == matrix


# what cannot be preserved


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (("--manipulator", "scale", "--preserve", "words"), "preserve = words would do nothing: manipulator 'scale'"),
        (("--preserve", "none", "--preserve", "words"), "preserve = none, words: none cannot stand beside others"),
        (("--preserve", "nothing-like-it"), "Unknown dataset 'nothing-like-it'"),
        (("--preserve", "absent.jsonl"), "absent.jsonl"),
        (("--preserve", "pairs"), "preserve (pairs).path has to be given"),
        (("--set", "preserve=3"), "preserve = 3: this names no data"),
        (("--set", "preserve.data=3"), "A recipe has no 'preserve.data'"),
        (("--preserve", "words", "--target", "vision:proj"), "--preserve words gives no images"),
    ],
)
def test_what_cannot_be_preserved_is_refused_in_two_lines(
    own: Sequence[str], said: str, flags: tuple[Any, ...], tmp_path: Path
) -> None:
    assert said in as_error(run("edit", *flags, *own, "-o", tmp_path / "p"))
    assert listing(tmp_path) == []


def test_an_image_that_cannot_be_read_stops_the_edit_or_is_named(
    flags: tuple[Any, ...], pairs: Path, tmp_path: Path
) -> None:
    more = table(tmp_path / "more", 3)
    (tmp_path / "more" / "safe-1.jpg").write_text("no image")
    own = ("--preserve", more, "--target", "vision:proj")
    assert "safe-1.jpg cannot be read" in as_error(run("edit", *flags, *own, "-o", tmp_path / "p"))
    done("edit", *flags, *own, "--on-bad-item", "skip", "-o", tmp_path / "p")
    (tmp_path / "more" / "safe-2.jpg").unlink()
    assert "image missing" in as_error(run("edit", *flags, *own, "-o", tmp_path / "q"))
    done("edit", *flags, *own, "--on-bad-item", "skip", "-o", tmp_path / "q")
    record = json.loads((tmp_path / "q" / "record.json").read_text())
    assert record["preserved"]["images"] == 2  # of which one cannot be read
    dropped = json.loads((tmp_path / "p" / "record.json").read_text())["dropped"]["vision"]
    assert dropped["unreadable image"]["ids"] == [str(tmp_path / "more" / "safe-1.jpg")]
