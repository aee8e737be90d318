"""Which controls a patch gets: other weights or units, as many; scaled to its norm; or its own change, shuffled."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edited_clips import Opened, edited, everything, negated, pushed, some_columns, spread
from embedding_samples import noise
from models import OPEN_CLIP, tiny_clip, tiny_open_clip
from report_samples import Subject, report_of
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.specs import ManipulatorSpec, SelectorSpec
from editkit.evals.controls import Redraw, control_variants, kind_of_control
from editkit.evals.safeground import METRICS, SafeGround
from editkit.models.variants import Variant
from editkit.patch.change import Change
from editkit.reports.schema import DataFacts
from editkit.reports.verdict import verdict

REDRAWN = ["random 0", "random 1", "random 2", "magnitude"]
WHOLE = ["shuffled 0", "shuffled 1", "shuffled 2", "shrink"]
TOLERANCE = {"float32": 1e-3, "float16": 2e-3, "bfloat16": 2e-2}
UNITS = {"selector.name": "units", "selector.fraction": 0.1}
DAMPEN, BLEND = {"manipulator.name": "dampen"}, {"manipulator.name": "blend", "manipulator.model": "elsewhere"}
REDIRECT = {"manipulator.name": "redirect"}
TEXT, VISION = "text:attn.out", "vision:proj"


@pytest.fixture(scope="module", params=list(TOLERANCE))
def any_clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Opened, float]:
    folder = tiny_clip(tmp_path_factory.mktemp("any") / "model", request.param)
    return Opened.at(str(folder)), TOLERANCE[request.param]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return Opened.at(str(tiny_clip(tmp_path_factory.mktemp("clip") / "model")))


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """An open_clip model: q, k and v in one tensor, the projections stored transposed."""
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("needs open_clip_torch")
    return Opened.at(f"open_clip:{OPEN_CLIP}@{tiny_open_clip(tmp_path_factory.mktemp('fused') / 'model')}")


# The kinds


def kind(selector: str, manipulator: str, *, asks: bool = False) -> Redraw | None:
    host = default_host()
    return kind_of_control(host.resolve(SelectorSpec, selector), host.resolve(ManipulatorSpec, manipulator), asks=asks)


@pytest.mark.parametrize("selector", ["adaptive", "topk", "threshold", "global", "difference-set", "matched"])
@pytest.mark.parametrize("manipulator", ["scale", "negate", "zero"])
def test_chosen_weights_are_matched_by_count(selector: str, manipulator: str) -> None:
    assert kind(selector, manipulator) == Redraw("matched", "own")


def test_chosen_units_are_redrawn_as_units() -> None:
    assert kind("units", "scale") == Redraw("own", "own")


@pytest.mark.parametrize("manipulator", ["dampen", "blend"])
def test_manipulators_that_ask_for_more_are_matched_by_count_and_norm(manipulator: str) -> None:
    assert kind("topk", manipulator, asks=True) == Redraw("matched", "norm")
    assert kind("units", manipulator, asks=True) == Redraw("own", "norm")


@pytest.mark.parametrize("manipulator", ["project", "redirect", "refuse", "mean-ablate"])
@pytest.mark.parametrize("selector", ["units", "all"])
def test_edits_of_whole_sites_and_of_means_have_no_choice_to_redraw(selector: str, manipulator: str) -> None:
    assert kind(selector, manipulator, asks=True) is None


@pytest.mark.parametrize("manipulator", ["scale", "blend"])
def test_a_selector_that_ranks_nothing_has_no_choice_to_redraw(manipulator: str) -> None:
    assert kind("all", manipulator) is None


# Other weights, changed the same way


def test_other_weights_as_many_per_site_are_changed_by_the_same_manipulator(any_clip: tuple[Opened, float]) -> None:
    opened, _ = any_clip
    sites = opened.sites("text:attn.out", "vision:mlp.out")
    patch = edited(opened, sites, spread, negated)
    found = opened.controls(patch)
    assert list(found) == REDRAWN
    for changes in found.values():
        assert changes.keys() == patch.changes.keys()
        for key, change in changes.items():
            assert change.count == patch.changes[key].count and change.fits(opened.files.checkpoint.read(key))
            where = opened.weights(key, change) != opened.weights(key)
            assert not (where & (opened.weights(key, patch.changes[key]) != opened.weights(key))).any()
            assert torch.equal(opened.weights(key, change)[where], -opened.weights(key)[where])
    key = sites[0].key
    assert len({found[name][key].index.tobytes() for name in REDRAWN}) == 4  # type: ignore[union-attr]
    own = opened.weights(key, patch.changes[key]) != opened.weights(key)
    kept = opened.weights(key).abs()[(opened.weights(key, found["magnitude"][key]) == opened.weights(key)) & ~own]
    assert kept.max() <= opened.weights(key).abs().flatten()[found["magnitude"][key].index.astype(int)].min()  # type: ignore[union-attr]


def test_a_site_that_the_selector_left_out_is_left_out_of_the_controls(clip: Opened) -> None:
    sites = clip.sites("text:attn.out")
    patch = edited(clip, sites, lambda site: spread(site) & (site.layer == 1), negated)
    assert patch.record["sites"][0]["count"] == 0
    found = clip.controls(patch)
    assert list(found) == REDRAWN
    assert all(changes.keys() == {sites[1].key} for changes in found.values())


def test_sites_in_one_tensor_keep_their_own_counts(fused: Opened) -> None:
    sites = fused.sites("text:attn.q[0]", "text:attn.v[0]", "text:proj")
    patch = edited(fused, sites, spread, negated)
    for changes in fused.controls(patch).values():
        for site in sites:
            assert int((fused.moved(site, changes[site.key]) != 0).sum()) == int(spread(site).sum())
        [left_alone] = fused.sites("text:attn.k[0]")
        assert not fused.moved(left_alone, changes[left_alone.key]).any()


def test_where_too_few_others_are_left_the_edits_own_weights_are_taken_and_counted(clip: Opened) -> None:
    [site] = clip.sites("text:attn.out[0]")
    most = torch.rand(site.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    patch = edited(clip, [site], lambda _: most, negated)
    chosen = int(most.sum())
    shared = chosen - (site.size - chosen)
    for variant in control_variants(patch, "p", clip.adapter, clip.files, default_host()):
        change = variant.changes[site.key]
        both = (clip.moved(site, change) != 0) & (clip.moved(site, patch.changes[site.key]) != 0)
        assert int(both.sum()) == shared and variant.overlap == pytest.approx(shared / chosen)


def test_units_are_replaced_by_whole_units_as_many(clip: Opened) -> None:
    sites = clip.sites("text:attn.out", "text:mlp.out")
    found = clip.controls(edited(clip, sites, some_columns, negated, text=UNITS))
    assert list(found) == REDRAWN
    for site in sites:
        chosen = {name: clip.moved(site, changes[site.key]) != 0 for name, changes in found.items()}
        for mask in chosen.values():
            assert torch.equal(mask.all(dim=0), mask.any(dim=0))
            assert int(mask.sum()) == int(some_columns(site).sum())
        assert len({tuple(mask.any(dim=0).tolist()) for mask in chosen.values()}) > 1
        mean, own = clip.weights(site.key).abs().mean(dim=0), some_columns(site)[0]
        assert not (chosen["magnitude"][0] & own).any()
        assert mean[chosen["magnitude"][0]].min() >= mean[~chosen["magnitude"][0] & ~own].max()


# Other weights, scaled


@pytest.mark.parametrize("settings", [DAMPEN, BLEND], ids=["dampen", "blend"])
def test_what_a_control_cannot_ask_for_is_replaced_by_scaling_to_the_same_norm(
    any_clip: tuple[Opened, float], settings: dict[str, Any]
) -> None:
    opened, tolerance = any_clip
    sites = opened.sites("vision:mlp.out")
    found = opened.controls(patch := edited(opened, sites, spread, pushed, vision=settings))
    assert list(found) == REDRAWN
    for site in sites:
        own = opened.moved(site, patch.changes[site.key])
        for changes in found.values():
            moved, base = opened.moved(site, changes[site.key]), opened.weights(site.key).double()
            assert float(moved.norm()) == pytest.approx(float(own.norm()), rel=tolerance)
            where = moved != 0
            assert int(where.sum()) == pytest.approx(int(spread(site).sum()), rel=0.01)  # rounding may keep a few
            factor = 1 - own.norm() / base[where].norm()
            assert torch.allclose((base + moved)[where], factor * base[where], rtol=0.05, atol=1e-3)
    key = sites[0].key
    assert len({found[name][key].index.tobytes() for name in REDRAWN}) == 4  # type: ignore[union-attr]


def test_units_blended_are_replaced_by_whole_units_of_the_same_norm(clip: Opened) -> None:
    sites = clip.sites("vision:mlp.out")
    patch = edited(clip, sites, some_columns, pushed, vision={**UNITS, **BLEND})
    for changes in clip.controls(patch).values():
        for site in sites:
            moved, own = clip.moved(site, changes[site.key]), clip.moved(site, patch.changes[site.key])
            assert torch.equal((moved != 0).all(dim=0), (moved != 0).any(dim=0))
            assert float(moved.norm()) == pytest.approx(float(own.norm()), rel=1e-3)


# The change itself, elsewhere


@pytest.mark.parametrize(
    "settings",
    [
        REDIRECT,
        {"manipulator.name": "refuse"},
        {"manipulator.name": "project"},
        {**UNITS, "manipulator.name": "mean-ablate"},
        {**BLEND, "selector.name": "all"},
    ],
    ids=lambda settings: settings["manipulator.name"],
)
def test_an_edit_of_whole_sites_is_shuffled_and_shrunk(
    any_clip: tuple[Opened, float], settings: dict[str, Any]
) -> None:
    opened, tolerance = any_clip
    sites = opened.sites("text:proj", "text:attn.out")
    patch = edited(opened, sites, everything, pushed, text=settings)
    found = opened.controls(patch)
    assert list(found) == WHOLE
    for site in sites:
        own = opened.moved(site, patch.changes[site.key])
        for name, changes in found.items():
            moved = opened.moved(site, changes[site.key])
            assert float(moved.norm()) == pytest.approx(float(own.norm()), rel=tolerance)
            if name != "shrink":
                norms, expected = (sorted(change.norm(dim=0).tolist()) for change in (moved, own))
                assert norms == pytest.approx(expected, abs=tolerance * expected[-1])
                assert not torch.allclose(moved, own, rtol=0.1)
        assert len({found[name][site.key].after.tobytes() for name in WHOLE}) == 4


def test_a_projection_stored_transposed_has_its_inputs_shuffled(fused: Opened) -> None:
    [site] = fused.sites("text:proj")
    assert site.transposed
    patch = edited(fused, [site], everything, pushed, text=REDIRECT)
    own = fused.moved(site, patch.changes[site.key])
    moved = fused.moved(site, fused.controls(patch)["shuffled 0"][site.key])
    assert sorted(moved.norm(dim=0).tolist()) == pytest.approx(sorted(own.norm(dim=0).tolist()), rel=1e-3)
    assert moved.norm(dim=1).tolist() == pytest.approx(own.norm(dim=1).tolist(), rel=1e-3)


RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no sites": lambda record: record.pop("sites"),
    "no recipe": lambda record: record.pop("recipe"),
    "a recipe of another tool": lambda record: record.update(recipe={"scorer": {"name": "uwm"}}),
    "sites of another adapter": lambda record: record["sites"][0].update(site="token_embedding.weight"),
}


@pytest.mark.parametrize("spoil", RECORDS.values(), ids=list(RECORDS))
def test_a_patch_that_does_not_say_how_it_was_made_is_shuffled_too(
    clip: Opened, spoil: Callable[[dict[str, Any]], object]
) -> None:
    patch = edited(clip, clip.sites("text:attn.out"), spread, negated)
    assert list(clip.controls(patch)) == REDRAWN
    spoil(patch.record)
    found = clip.controls(patch)
    assert list(found) == WHOLE
    for key, change in patch.changes.items():
        assert found["shuffled 0"][key].count == change.count
        assert found["shrink"][key].count == change.size


def test_towers_edited_in_different_ways_have_their_controls_paired(clip: Opened) -> None:
    def controls_of(*targets: str) -> dict[str, Mapping[str, Change]]:
        return clip.controls(edited(clip, clip.sites(*targets), spread, negated, vision=REDIRECT))

    together, text, vision = (controls_of(*t) for t in ([TEXT, VISION], [TEXT], [VISION]))
    assert list(text) == REDRAWN and list(vision) == WHOLE
    assert list(together) == [f"{one} and {other}" for one, other in zip(REDRAWN, WHOLE, strict=True)]
    for both, one, other in zip(together.values(), text.values(), vision.values(), strict=True):
        assert digests(both) == digests(one) | digests(other)


def digests(changes: Mapping[str, Change]) -> dict[str, str]:
    return {key: Variant("", {key: change}).digest([key]) for key, change in changes.items()}


@pytest.mark.parametrize("settings", [{}, UNITS, DAMPEN, REDIRECT], ids=["scale", "units", "dampen", "redirect"])
def test_controls_are_the_same_every_time_and_leave_the_patch_as_it_is(clip: Opened, settings: dict[str, Any]) -> None:
    mask = some_columns if settings == UNITS else spread
    patch = edited(clip, clip.sites("text:attn.out"), mask, pushed, text=settings)
    before = digests(patch.changes)
    first, second = clip.controls(patch), clip.controls(patch)
    assert {name: digests(made) for name, made in first.items()} == {
        name: digests(made) for name, made in second.items()
    }
    assert digests(patch.changes) == before


def test_a_control_that_rounding_leaves_equal_to_the_base_is_left_out(tmp_path: Path) -> None:
    opened = Opened.at(str(tiny_clip(tmp_path / "model", "bfloat16")))
    sites = opened.sites("text:proj")
    patch = edited(opened, sites, everything, lambda weight, mask: nudged(weight), text=REDIRECT)
    assert list(opened.controls(patch)) == WHOLE[:3]


def nudged(weight: Tensor) -> Tensor:
    """One weight doubled, of many."""
    nudge = weight.clone()
    nudge[0, int(weight[0].abs().argmin())] *= 2
    return nudge


# What the verdict says


@pytest.mark.parametrize(
    ("control", "what"),
    [
        ("random 1", "choice of weights"),
        ("magnitude", "choice of weights"),
        ("shuffled 0", "direction of the change"),
        ("shrink (patch)", "direction of the change"),
    ],
)
def test_the_verdict_says_what_a_control_that_gains_as_much_disproves(control: str, what: str) -> None:
    base, mine, theirs = (np.arange(400) < count for count in (20, 100, 120))
    subjects = [Subject(name, "p", dict.fromkeys(METRICS, hits)) for name, hits in (("base", base), ("edit", mine))]
    other = Subject(control, "p", dict.fromkeys(METRICS, theirs))
    chance = SafeGround().chance(noise(1))
    report = report_of("safeground", DataFacts(name="d", fingerprint="", n=400), subjects, [other], chance=chance)
    text = "\n".join(verdict(report))
    assert f"as much or more, but knowledge was not measured, so nothing follows on the {what}." in text
