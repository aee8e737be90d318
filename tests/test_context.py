"""Statistics for manipulators: in groups that fit the memory, together or in sequence, and never of a changed model."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import as_error, done, run, sha
from models import table, tiny_clip
from tiny_checkpoints import listing
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.editing import engine, estimate
from editkit.editing.context import gather
from editkit.editing.plan import Plan, make_plan
from editkit.editing.run import Run
from editkit.errors import SiteError
from editkit.models.compute import resolve_device

SITES = ("vision:attn.out", "vision:mlp.out", "vision:proj")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("context") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("context"), 5)


@pytest.fixture
def flags(model: Path, pairs: Path) -> tuple[Any, ...]:
    return ("--model", model, "--data", pairs, "--workers", 0, "--batch-size", 2)


def targets(*names: str) -> list[str]:
    return [part for name in names for part in ("--target", name)]


def plan_of(model: Path, pairs: Path, manipulator: str, *names: str, **values: Any) -> Plan:
    layer = {"model": str(model), "data.name": "pairs", "data.path": str(pairs), "compute.workers": 0}
    layer |= {"manipulator.name": manipulator, "targets": names} | values
    return make_plan([("flag", layer)], default_host())


def run_of(plan: Plan) -> Run:
    return Run(plan, engine.silent, plan.files.checkpoint.identity(), resolve_device("cpu"))


def bits(module: torch.nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone().view(torch.uint8) for key, tensor in module.state_dict().items() if tensor.dim()}


# groups


@pytest.mark.parametrize("manipulator", ["redirect", "project"])
def test_groups_that_fit_a_small_memory_give_the_same_patch_bytes_as_one_pass(
    manipulator: str, flags: tuple[Any, ...], tmp_path: Path
) -> None:
    edit = (*flags, "--manipulator", manipulator, *targets(*SITES))
    memory = {"redirect": "150KB", "project": "2KB"}[manipulator]
    one, several = (done("plan", "--json", *edit, *more).json for more in ((), ("--memory", memory)))
    assert one["passes"] == {"vision": 1} and several["passes"]["vision"] > 1
    assert several["memory"]["moments"] < one["memory"]["moments"]
    done("edit", *edit, "-o", tmp_path / "one")
    done("edit", *edit, "--memory", memory, "-o", tmp_path / "several")
    assert sha(tmp_path / "one" / "patch.safetensors") == sha(tmp_path / "several" / "patch.safetensors")


def test_each_group_fits_the_memory_unless_one_site_does_not(model: Path, pairs: Path) -> None:
    for memory in (1, 30_000, 200_000, 10**9):
        plan = plan_of(model, pairs, "redirect", *SITES, **{"compute.memory": memory})
        groups = estimate.groups(plan, "vision", plan.sites)
        assert [site for group in groups for site in group] == list(plan.sites)
        sizes = {site: estimate.memory(plan_of(model, pairs, "redirect", site.name))["moments"] for site in plan.sites}
        assert all(len(group) == 1 or sum(sizes[site] for site in group) <= memory for group in groups)
        assert estimate.moments_memory(plan, "vision") == max(sum(sizes[site] for site in group) for group in groups)
    assert len(groups) == 1


def test_a_larger_memory_never_needs_more_passes(model: Path, pairs: Path) -> None:
    passes = [
        estimate.passes(plan_of(model, pairs, "redirect", *SITES, **{"compute.memory": memory}), "vision")
        for memory in (1, 100_000, 200_000, 400_000, 10**9)
    ]
    assert passes == sorted(passes, reverse=True) and (passes[0], passes[-1]) == (len(SITES) * 2 - 1, 1)


def test_the_plan_says_how_many_passes_there_will_be_and_what_they_hold(flags: tuple[Any, ...]) -> None:
    edit = ("plan", *flags, "--manipulator", "redirect", *targets(*SITES))
    assert "The vision tower's statistics take one pass over the data and" in done(*edit).flat
    assert "The vision tower's statistics take 5 passes over the data and" in done(*edit, "--memory", "1KB").flat
    assert "statistics" not in done("plan", *flags).flat
    planned = done("plan", "--json", *flags).json
    assert planned["passes"] == {"text": 0, "vision": 0} and "moments" not in planned["memory"]


def test_a_group_that_is_done_is_let_go_before_the_next_is_gathered(model: Path, pairs: Path) -> None:
    plan = plan_of(model, pairs, "redirect", *SITES, **{"compute.memory": 1})
    running, held = run_of(plan), []

    def watched(sites: Sequence[Site], edited: Mapping[str, Tensor]) -> ManipulationContext:
        assert not any(reference() for reference in held)
        context = gather(running, "vision", {}, sites, edited)
        held.append(weakref.ref(context.moments[sites[0]]))
        return context

    masks = {site: torch.ones(site.shape, dtype=torch.bool) for site in plan.sites}
    assert engine.manipulate(plan, "vision", masks, watched) and len(held) == 5


# order


ORDERED = ("vision:attn.out", "vision:mlp.in[1]", "vision:proj")


def edited_in_sequence(flags: tuple[Any, ...], model: Path, sites: Sequence[str], root: Path) -> Path:
    """Edit one site, write the edited model, calibrate on that, and so on."""
    for number, site in enumerate(sites):
        done("edit", *flags, "--manipulator", "redirect", *targets(site), "--model", model, "-o", root / f"p{number}")
        done("apply", root / f"p{number}", model, "-o", root / f"m{number}")
        model = root / f"m{number}"
    return model


def test_a_sequential_fit_equals_edits_applied_one_by_one(flags: tuple[Any, ...], model: Path, tmp_path: Path) -> None:
    order = ("--set", "manipulator.order=sequential")
    done("edit", *flags, "--manipulator", "redirect", *targets(*ORDERED), *order, "-o", tmp_path / "sequential")
    done("edit", *flags, "--manipulator", "redirect", *targets(*ORDERED), "-o", tmp_path / "together")
    for name in ("sequential", "together"):
        done("apply", tmp_path / name, model, "-o", tmp_path / f"{name}-model")
    in_order = ["vision:attn.out[0]", "vision:attn.out[1]", "vision:mlp.in[1]", "vision:proj"]
    by_hand = edited_in_sequence(flags, model, in_order, tmp_path)
    assert run("diff", tmp_path / "sequential-model", by_hand).code == 0
    assert run("diff", tmp_path / "sequential-model", tmp_path / "together-model").code == 3


def test_a_sequential_fit_of_one_fused_tensor_sees_the_parts_before_it_edited(pairs: Path, tmp_path: Path) -> None:
    from models import OPEN_CLIP, tiny_open_clip

    weights = tiny_open_clip(tmp_path / "open-clip")
    common = ("--data", pairs, "--workers", 0, "--manipulator", "redirect")
    order = ("--set", "manipulator.order=sequential")
    wanted = targets("vision:attn.q[0]", "vision:attn.v[0]", "vision:attn.out[0]")
    done("edit", *common, "--model", f"open_clip:{OPEN_CLIP}@{weights}", *wanted, *order, "-o", tmp_path / "sequential")
    done("apply", tmp_path / "sequential", weights, "-o", tmp_path / "model")
    for number, site in enumerate(("vision:attn.q[0]", "vision:attn.v[0]", "vision:attn.out[0]")):
        patch, out = tmp_path / f"p{number}", tmp_path / f"m{number}"
        done("edit", *common, "--model", f"open_clip:{OPEN_CLIP}@{weights}", *targets(site), "-o", patch)
        done("apply", patch, weights, "-o", out)
        [weights] = out.glob("*.safetensors")
    assert run("diff", tmp_path / "model", out).code == 0


def test_a_sequential_plan_takes_a_pass_for_each_site(flags: tuple[Any, ...]) -> None:
    edit = ("--manipulator", "redirect", *targets(*ORDERED), "--set", "manipulator.order=sequential")
    assert done("plan", "--json", *flags, *edit).json["passes"] == {"vision": 4}


@pytest.mark.parametrize("order", ["together", "sequential"])
def test_the_live_model_is_left_as_it_was(model: Path, pairs: Path, order: str) -> None:
    plan = plan_of(model, pairs, "redirect", *ORDERED, **{"manipulator.order": order})
    running = run_of(plan)
    before = bits(running.model.module)
    contexts = []

    def kept(sites: Sequence[Site], edited: Mapping[str, Tensor]) -> ManipulationContext:
        contexts.append(gather(running, "vision", {}, sites, edited))
        return contexts[-1]

    masks = {site: torch.ones(site.shape, dtype=torch.bool) for site in plan.sites}
    assert engine.manipulate(plan, "vision", masks, kept)
    assert len(contexts) == (1 if order == "together" else len(plan.sites))
    after = bits(running.model.module)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_a_fit_that_fails_on_the_way_leaves_the_live_model_as_it_was(
    model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(model, pairs, "redirect", *ORDERED, **{"manipulator.order": "sequential"})
    running = run_of(plan)
    before = bits(running.model.module)
    passes = []

    def failing(loaded: Any, tower: Any, sites: Any, batches: Any, **options: Any) -> Any:
        passes.append(sites)
        if len(passes) == 2:
            assert any(not torch.equal(bits(loaded.module)[key], before[key]) for key in before)  # edited for this pass
            raise SiteError("stopped", "on purpose")
        return stream(loaded, tower, sites, batches, **options)

    from editkit.editing import context

    stream = context.stream_moments
    monkeypatch.setattr(context, "stream_moments", failing)
    masks = {site: torch.ones(site.shape, dtype=torch.bool) for site in plan.sites}
    with pytest.raises(SiteError, match="stopped"):
        engine.manipulate(plan, "vision", masks, partial(gather, running, "vision", {}))
    after = bits(running.model.module)
    assert all(torch.equal(before[key], after[key]) for key in before)


# what is gathered


def test_a_manipulator_is_given_what_it_asks_for_and_no_more(model: Path, pairs: Path) -> None:
    asked: dict[str, set[str]] = {
        "scale": set(),
        "project": {"moments"},
        "redirect": {"moments"},
        "refuse": {"moments", "own_modality", "other_modality"},
    }
    for manipulator, parts in asked.items():
        more = {"scorer.name": "magnitude"} if manipulator == "scale" else {}
        plan = plan_of(model, pairs, manipulator, "text:proj", **more)
        context = gather(run_of(plan), "text", {}, plan.sites_of("text"), {})
        names = ("moments", "own_modality", "other_modality", "other_scores", "other_weights")
        assert {name for name in names if getattr(context, name)} == parts, manipulator
        for moments in context.moments.values():
            assert (moments.safe_safe is None) == (manipulator == "project")


def test_embeddings_are_those_of_each_modality(model: Path, pairs: Path) -> None:
    from PIL import Image
    from plain_clip import embed

    from editkit.editing.moments import describe_embeddings

    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    pictures = [pairs.parent / row[f"{side}_image"] for side in ("safe", "unsafe") for row in rows]
    captions = [row[f"{side}_text"] for side in ("safe", "unsafe") for row in rows]
    assert all(Image.open(picture).size for picture in pictures)
    vision, text = (torch.from_numpy(one).view(2, len(rows), -1) for one in embed(model, pictures, captions))
    for tower, own, other in (("text", text, vision), ("vision", vision, text)):
        plan = plan_of(model, pairs, "refuse", f"{tower}:proj")
        context = gather(run_of(plan), tower, {}, plan.sites, {})  # type: ignore[arg-type]
        for found, expected in ((context.own_modality, own), (context.other_modality, other)):
            assert found is not None
            described = describe_embeddings(expected)
            torch.testing.assert_close(found.mean, described.mean, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(found.second_moment, described.second_moment, rtol=1e-4, atol=1e-6)


def test_away_from_the_projection_the_other_tower_is_not_even_loaded(model: Path, pairs: Path) -> None:
    options = {"manipulator.direction": "least-energy"}
    plan = plan_of(model, pairs, "refuse", "text:mlp.out", **options)
    assert plan.seen_towers == ("text",)
    assert gather(run_of(plan), "text", {}, plan.sites, {}).other_modality is None
    assert plan_of(model, pairs, "refuse", "text:*", **options).seen_towers == ("text", "vision")


def test_a_tuple_that_several_passes_leave_out_is_counted_once(
    flags: tuple[Any, ...], pairs: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    for row in rows:
        row |= {side: str(pairs.parent / row[side]) for side in ("safe_image", "unsafe_image")}
    rows[1]["unsafe_image"] = str(tmp_path / "broken.jpg")
    (tmp_path / "broken.jpg").write_text("no image")
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    edit = (*flags, "--data", tmp_path / "t.jsonl", "--on-bad-item", "skip", "--memory", "1KB")
    options = ("--set", "manipulator.direction=least-energy", *targets("vision:mlp.out", "vision:proj"))
    done("edit", *edit, "--manipulator", "refuse", *options, "-o", tmp_path / "p")
    record = json.loads((tmp_path / "p" / "record.json").read_text())
    assert record["dropped"]["vision"] == {"unreadable image": {"count": 1, "ids": [rows[1]["id"]]}}


# nothing to do


def twins(pairs: Path, folder: Path) -> Path:
    """A table whose unsafe items are its safe ones."""
    folder.mkdir()
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    for row in rows:
        row["safe_image"] = row["unsafe_image"] = str(pairs.parent / row["safe_image"])
        row["unsafe_text"] = row["safe_text"]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "t.jsonl"


@pytest.mark.parametrize("target", ["text:proj", "vision:proj", "text:attn.out", "vision:mlp.in[1]"])
@pytest.mark.parametrize("size", [1, 3, 32])
def test_where_unsafe_samples_are_the_safe_ones_redirect_is_refused_since_it_changes_no_weight(
    target: str, size: int, flags: tuple[Any, ...], pairs: Path, tmp_path: Path
) -> None:
    same = twins(pairs, tmp_path / "same")
    edit = ("edit", *flags, "--data", same, "--manipulator", "redirect", "--target", target, "--batch-size", size)
    error = as_error(run(*edit, "-o", tmp_path / "p"))
    first = target if target.endswith(("proj", "]")) else f"{target}[0]"
    assert error.startswith(f"Error: The edit leaves every weight of {first} as it was.")
    assert listing(tmp_path) == ["same", "same/t.jsonl"]
