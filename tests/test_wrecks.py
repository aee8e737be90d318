"""The model ruined on purpose: which weights are drawn anew, from what, and where an evaluation shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import done
from edited_clips import Opened, edited, everything, negated, spread
from models import OPEN_CLIP, table, tiny_clip, tiny_open_clip
from torch import Tensor

from editkit.evals.wrecks import SEEDS, redrawn, untrained, wreck_variants
from editkit.models.site_tensors import weight_of
from editkit.models.variants import Variant
from editkit.reports.schema import Report
from editkit.reports.verdict import verdict


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return Opened.at(str(tiny_clip(tmp_path_factory.mktemp("clip") / "model")))


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    pytest.importorskip("open_clip")
    return Opened.at(f"open_clip:{OPEN_CLIP}@{tiny_open_clip(tmp_path_factory.mktemp('fused') / 'model')}")


def looks_drawn_from(after: Tensor, before: Tensor) -> bool:
    """Whether the mean is within five standard errors, the spread within a fifth, and the two are not correlated."""
    error = 5 * float(before.std()) / before.numel() ** 0.5
    correlation = float(torch.corrcoef(torch.stack([after.flatten(), before.flatten()]).double())[0, 1])
    return (
        abs(float(after.mean() - before.mean())) < error
        and 0.8 < float(after.std() / before.std()) < 1.25
        and abs(correlation) < 5 / before.numel() ** 0.5
    )


def test_the_sites_of_a_patch_are_drawn_anew_with_their_own_mean_and_spread(clip: Opened) -> None:
    sites = clip.sites("text:attn.out", "vision:mlp.out")
    patch = edited(clip, sites, spread, negated)
    changes = {change.key: change for change in redrawn(patch, sites, clip.files.checkpoint, 0)}
    assert changes.keys() == {site.key for site in sites}
    for site in sites:
        assert looks_drawn_from(clip.weights(site.key, changes[site.key]), clip.weights(site.key))


def test_of_a_tensor_that_holds_several_sites_the_edited_ones_alone(fused: Opened) -> None:
    all_sites = fused.adapter.sites(fused.files)
    [query] = fused.sites("text:attn.q[0]")
    patch = edited(fused, [query], everything, negated)
    [change] = redrawn(patch, all_sites, fused.files.checkpoint, 0)
    assert bool((fused.moved(query, change) != 0).any())
    for target in ("text:attn.k[0]", "text:attn.v[0]"):
        [site] = fused.sites(target)
        assert not bool((fused.moved(site, change) != 0).any())


def test_the_sites_of_one_tensor_have_numbers_of_their_own(fused: Opened) -> None:
    sites = fused.sites("text:attn.q[0]", "text:attn.k[0]")
    [change] = redrawn(edited(fused, sites, everything, negated), sites, fused.files.checkpoint, 0)
    drawn = [weight_of(fused.weights(change.key, change), site).flatten() for site in sites]
    assert abs(float(torch.corrcoef(torch.stack(drawn))[0, 1])) < 5 / drawn[0].numel() ** 0.5


def test_an_untrained_copy_has_new_matrices_and_its_old_vectors(clip: Opened) -> None:
    checkpoint = clip.files.checkpoint
    [*wrecks] = wreck_variants([], clip.adapter, clip.files)
    assert [wreck.name for wreck in wrecks] == [f"untrained {seed}" for seed in SEEDS]
    assert all(wreck.is_wreck and not wreck.is_shown for wreck in wrecks)
    matrices = {key for key in checkpoint.tensors if len(checkpoint.info(key).shape) > 1}
    assert wrecks[0].changes.keys() <= matrices
    assert {site.key for site in clip.adapter.sites(clip.files)} <= wrecks[0].changes.keys()


def test_every_seed_and_every_tensor_has_numbers_of_its_own_and_always_the_same(clip: Opened) -> None:
    keys = [site.key for site in clip.sites("text:attn.out")]

    def digest(seed: int) -> str:
        return Variant("", {change.key: change for change in untrained(keys, clip.files.checkpoint, seed)}).digest(keys)

    assert digest(0) == digest(0) and len({digest(seed) for seed in SEEDS}) == len(SEEDS)
    first, second = untrained(keys[:2], clip.files.checkpoint, 0)
    noise = [clip.weights(one.key, one).flatten() for one in (first, second)]
    assert abs(float(torch.corrcoef(torch.stack(noise))[0, 1])) < 5 / noise[0].numel() ** 0.5


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """SafeGround of an edit of both towers of a tiny model."""
    root = tmp_path_factory.mktemp("evaluated")
    model, data = tiny_clip(root / "model"), table(root / "data", 12)
    common = ("--model", model, "--data", data, "--workers", 0)
    done("edit", *common, "--tau", 0.3, "-o", root / "patch")
    made: Report = done("eval", "safeground", "--patch", root / "patch", *common, "--split", "train", "--json").json
    return made


def test_safeground_measures_wrecks_of_the_edit_and_of_the_whole_model(report: Report) -> None:
    names = [row["name"] for row in report["wrecked"]]
    assert names == [*(f"redrawn {seed} (patch)" for seed in SEEDS), *(f"untrained {seed}" for seed in SEEDS)]
    assert {row["name"] for row in (*report["models"], *report["controls"])}.isdisjoint(names)


def test_an_edit_of_both_towers_and_its_controls_are_measured_in_each_alone(report: Report) -> None:
    assert list(report["apart"]) == ["text", "vision"]
    for part in report["apart"].values():
        assert [row["name"] for row in part["models"]] == ["patch"]
        assert [row["name"] for row in part["controls"]] == [row["name"] for row in report["controls"]]
    told = "\n".join(verdict(report))
    assert "patch: its text part alone: GS " in told and "patch: its vision part alone: GS " in told


def test_controls_say_how_many_of_their_weights_the_edit_changes_too(report: Report) -> None:
    assert [row["overlap"] for row in report["controls"]] == [0.0] * 4


def test_p_values_of_all_but_the_primary_metric_are_corrected(report: Report) -> None:
    assert report["primary"] == "GS"
    for row in (*report["models"][1:], *report["controls"]):
        assert {metric for metric, change in row["difference"].items() if "holm" not in change} == {"GS"}
        assert all(change.get("holm", 1) >= change["p"] for change in row["difference"].values())


def test_without_controls_there_are_neither_wrecks_nor_parts(tmp_path: Path) -> None:
    model, data = tiny_clip(tmp_path / "model"), table(tmp_path / "data", 6)
    flags = ("--model", model, "--data", data, "--workers", 0, "--split", "train", "--no-controls", "--json")
    assert not {"wrecked", "apart"} & done("eval", "safeground", *flags).json.keys()
