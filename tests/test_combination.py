"""Which components go together, on the command line: what is implied, what is refused, and what the plan says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import Ran, as_error, done, run
from models import tiny_clip

LIMIT = ("--limit", 8)


def setting(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--set", text)]


def planned(*flags: object) -> Any:
    return done("plan", "--json", *LIMIT, *flags).json


def names(part: Any) -> tuple[str | None, str, str]:
    """Scorer, selector and manipulator of one tower's recipe."""
    return part["scorer"] and part["scorer"]["name"], part["selector"]["name"], part["manipulator"]["name"]


def rows(ran: Ran) -> dict[str, list[str]]:
    """A printed plan's rows by their first word."""
    return {words[0]: words[1:] for line in ran.out.splitlines() if (words := line.split())}


def refusal(*flags: object) -> tuple[str, str]:
    """The two lines of a refused plan, which `edit` gives as well."""
    ran = run("plan", *LIMIT, *flags)
    as_error(ran)
    assert run("edit", *LIMIT, *flags).err == ran.err
    problem, remedy = ran.err.splitlines()
    return problem.removeprefix("Error: "), remedy


# what is implied


@pytest.mark.parametrize("manipulator", ["redirect", "refuse", "project"])
def test_a_manipulator_of_whole_sites_implies_all_weights_and_no_scorer(manipulator: str) -> None:
    plan = planned("--manipulator", manipulator, "--target", "*:proj")
    for tower in ("text", "vision"):
        assert names(plan["recipe"][tower]) == (None, "all", manipulator)
    assert plan["origins"]["selector.name"] == plan["origins"]["scorer.name"] == f"implied by {manipulator}"
    assert plan["origins"]["manipulator.name"] == "flag"


def test_mean_ablate_implies_units_and_keeps_the_scorer() -> None:
    plan = planned("--manipulator", "mean-ablate")
    assert names(plan["recipe"]["text"]) == ("uwm", "units", "mean-ablate")
    assert plan["origins"]["selector.name"] == "implied by mean-ablate"
    assert plan["origins"]["scorer.name"] == "default"


def test_options_of_the_implied_selector_may_be_set() -> None:
    plan = planned("--manipulator", "mean-ablate", *setting("selector.fraction=0.25", "selector.pool=max"))
    assert plan["recipe"]["vision"]["selector"] == {"name": "units", "axis": "inputs", "pool": "max", "fraction": 0.25}
    assert plan["origins"]["selector.fraction"] == "--set"


@pytest.mark.parametrize("flags", [(), ("--alpha", 0.5), ("--manipulator", "zero")])
def test_the_target_all_implies_all_weights_and_no_scorer(flags: tuple[object, ...]) -> None:
    plan = planned("--target", "all", *flags)
    assert names(plan["recipe"]["text"])[:2] == names(plan["recipe"]["vision"])[:2] == (None, "all")
    assert plan["origins"]["selector.name"] == plan["origins"]["scorer.name"] == "implied by target all"


def test_the_selector_all_implies_no_scorer() -> None:
    plan = planned("--selector", "all")
    assert names(plan["recipe"]["text"]) == (None, "all", "scale")
    assert plan["origins"]["scorer.name"] == "implied by selector all" and plan["origins"]["selector.name"] == "flag"


def test_what_is_implied_may_also_be_said() -> None:
    said = planned("--manipulator", "redirect", "--selector", "all", "--scorer", "none")
    assert said["recipe"] == planned("--manipulator", "redirect")["recipe"]
    assert said["origins"]["selector.name"] == said["origins"]["scorer.name"] == "flag"


def test_other_methods_imply_nothing() -> None:
    plan = planned("--manipulator", "zero", "--scorer", "magnitude")
    assert names(plan["recipe"]["text"]) == ("magnitude", "adaptive", "zero")
    assert not any(origin.startswith("implied") for origin in plan["origins"].values())


# towers


def test_one_tower_may_redirect_while_the_other_is_edited_as_the_flags_say() -> None:
    flags = ("--scorer", "unsafe", "--selector", "topk", "--alpha", 0.5)
    plan = planned(*flags, *setting("text.manipulator=redirect", "selector.fraction=0.3", "scorer.prior=none"))
    assert names(plan["recipe"]["text"]) == (None, "all", "redirect")
    assert names(plan["recipe"]["vision"]) == ("unsafe", "topk", "scale")
    assert plan["recipe"]["vision"]["selector"]["fraction"] == 0.3
    assert plan["recipe"]["vision"]["scorer"]["prior"] == "none"
    assert plan["recipe"]["vision"]["manipulator"]["alpha"] == 0.5
    assert plan["origins"]["text.selector.name"] == plan["origins"]["text.scorer.name"] == "implied by redirect"
    assert plan["origins"]["vision.selector.name"] == plan["origins"]["vision.scorer.name"] == "flag"
    assert plan["origins"]["vision.manipulator.name"] == "default"


def test_tau_is_then_the_other_towers() -> None:
    plan = planned("--tau", 0.3, *setting("vision.manipulator=redirect"))
    assert plan["recipe"]["text"]["selector"] == {"name": "adaptive", "tau": 0.3}
    assert plan["recipe"]["vision"]["selector"] == {"name": "all"}


def test_one_tower_may_ablate_means_while_the_other_keeps_the_shared_selector() -> None:
    plan = planned("--tau", 0.3, *setting("vision.manipulator=mean-ablate", "vision.selector.fraction=0.1"))
    assert plan["recipe"]["text"]["selector"] == {"name": "adaptive", "tau": 0.3}
    assert plan["recipe"]["vision"]["selector"]["name"] == "units"
    assert plan["recipe"]["vision"]["selector"]["fraction"] == 0.1


def test_a_shared_manipulator_may_be_replaced_in_one_tower() -> None:
    plan = planned("--manipulator", "redirect", *setting("vision.manipulator=zero", "vision.selector.tau=0.1"))
    assert names(plan["recipe"]["text"]) == (None, "all", "redirect")
    assert names(plan["recipe"]["vision"]) == ("uwm", "adaptive", "zero")


# options that are mappings themselves


@pytest.mark.parametrize("prefix", ["", "text."])
def test_a_mapping_is_one_option_from_a_file_and_from_a_flag(prefix: str, tmp_path: Path) -> None:
    selector = "selector: {name: difference-set, other: uwm, other_options: {prior: none, aggregation: means}}\n"
    (tmp_path / "r.yaml").write_text(f"text:\n  {selector}" if prefix else selector)
    by_file = planned("--recipe", tmp_path / "r.yaml")
    by_flag = planned(
        *setting(
            f"{prefix}selector=difference-set",
            f"{prefix}selector.other=uwm",
            f"{prefix}selector.other_options={{prior: none, aggregation: means}}",
        )
    )
    assert by_file["recipe"] == by_flag["recipe"]
    found = by_file["recipe"]["text"]["selector"]["other_options"]
    assert found == {"prior": "none", "aggregation": "means"}
    assert by_flag["origins"][f"{prefix}selector.other_options"] == "--set"


def test_counts_by_site_may_be_given_in_a_recipe_file(tmp_path: Path) -> None:
    counts = {f"text:attn.out[{layer}]": 3 + layer for layer in range(3)}
    (tmp_path / "r.yaml").write_text(f"targets: 'text:attn.out'\nselector: {{name: matched, counts: {counts}}}\n")
    done("edit", *LIMIT, "--recipe", tmp_path / "r.yaml", "--scorer", "magnitude", "-o", tmp_path / "p")
    [summary] = done("show", "--json", tmp_path / "p").json["patches"]
    assert [site["count"] for site in summary["sites"]] == [3, 4, 5]


# what is refused


@pytest.mark.parametrize(
    ("flags", "problem", "remedy"),
    [
        (
            ("--manipulator", "redirect", "--scorer", "uwm"),
            "Manipulator 'redirect' of the text tower rewrites whole sites, so scorer 'uwm' would do nothing.",
            "Leave out --scorer and --selector; choose sites with --target.",
        ),
        (
            ("--manipulator", "refuse", "--selector", "topk", "--scorer", "wanda"),
            "Manipulator 'refuse' of the text tower rewrites whole sites, so scorer 'wanda' and selector 'topk' would "
            "do nothing.",
            "Leave out --scorer and --selector; choose sites with --target.",
        ),
        (
            ("--manipulator", "project", "--selector", "adaptive", "--scorer", "none"),
            "Manipulator 'project' of the text tower rewrites whole sites, so selector 'adaptive' would do nothing.",
            "Leave out --scorer and --selector; choose sites with --target.",
        ),
        (
            ("--manipulator", "redirect", "--tau", 0.1),
            "selector.tau would do nothing in the text tower: redirect implies selector 'all'.",
            "Leave it out; if it is meant for the other tower alone, set vision.selector.tau.",
        ),
        (
            ("--manipulator", "redirect", "--set", "scorer.aggregation=means"),
            "scorer.aggregation would do nothing in the text tower: redirect implies no scorer.",
            "Leave it out; if it is meant for the other tower alone, set vision.scorer.aggregation.",
        ),
        (
            ("--set", "vision.manipulator=redirect", "--set", "vision.selector.tau=0.1"),
            "selector.tau would do nothing in the vision tower: redirect implies selector 'all'.",
            "Leave it out; if it is meant for the other tower alone, set text.selector.tau.",
        ),
        (
            ("--target", "all", "--tau", 0.1),
            "selector.tau would do nothing in the text tower: target all implies selector 'all'.",
            "Leave it out; if it is meant for the other tower alone, set vision.selector.tau.",
        ),
        (
            ("--selector", "all", "--set", "scorer.prior=none"),
            "scorer.prior would do nothing in the text tower: selector all implies no scorer.",
            "Leave it out; if it is meant for the other tower alone, set vision.scorer.prior.",
        ),
        (
            ("--manipulator", "mean-ablate", "--tau", 0.1),
            "selector.tau would do nothing in the text tower: mean-ablate implies selector 'units'.",
            "Leave it out; if it is meant for the other tower alone, set vision.selector.tau.",
        ),
        (
            ("--manipulator", "mean-ablate", "--selector", "topk"),
            "Manipulator 'mean-ablate' of the text tower replaces whole input columns, which selector 'topk' does not "
            "choose.",
            "Give --selector units (with selector.axis inputs).",
        ),
        (
            ("--manipulator", "mean-ablate", "--selector", "all"),
            "Manipulator 'mean-ablate' of the text tower replaces whole input columns, which selector 'all' does not "
            "choose.",
            "Give --selector units (with selector.axis inputs).",
        ),
        (
            ("--manipulator", "mean-ablate", "--set", "selector.axis=outputs"),
            "Manipulator 'mean-ablate' of the text tower replaces whole input columns, which selector 'units' with "
            "selector.axis outputs does not choose.",
            "Give --selector units (with selector.axis inputs).",
        ),
        (
            ("--scorer", "none"),
            "Selector 'adaptive' of the text tower ranks weights by their scores, but there is no scorer.",
            "Give --scorer, or --selector all.",
        ),
        (
            ("--set", "vision.scorer=none"),
            "Selector 'adaptive' of the vision tower ranks weights by their scores, but there is no scorer.",
            "Give --scorer, or --selector all.",
        ),
        (
            ("--selector", "all", "--scorer", "uwm"),
            "Selector 'all' of the text tower takes every weight whatever its score, so scorer 'uwm' would do nothing.",
            "Leave out --scorer, or choose a selector that ranks, such as adaptive.",
        ),
        (
            ("--target", "all", "--manipulator", "redirect"),
            "Target 'all' takes every tensor of the checkpoint, most of which are no linear maps: redirect has nothing "
            "to look at there.",
            "Use it with `blend` or `scale`, or name sites such as text:attn.out.",
        ),
        (
            ("--target", "all", "--scorer", "uwm", "--selector", "adaptive"),
            "Target 'all' takes every tensor of the checkpoint, most of which are no linear maps: uwm has nothing "
            "to look at there.",
            "Use it with `blend` or `scale`, or name sites such as text:attn.out.",
        ),
        (
            ("--target", "all", "--manipulator", "dampen"),
            "Target 'all' takes every tensor of the checkpoint, most of which are no linear maps: fisher-ratio has "
            "nothing to look at there.",
            "Use it with `blend` or `scale`, or name sites such as text:attn.out.",
        ),
        (
            ("--target", "all", "--target", "text:proj"),
            "Target 'all' takes every tensor, so another target beside it would do nothing.",
            "Give one or the other.",
        ),
        (
            ("--target", "*:proj"),
            "text:proj sees one token per sample (a pooled output), so its inputs have no spread over tokens, which "
            "scorer 'uwm' needs.",
            "Take it out of the targets, or score it by `wanda-ratio`, `gradient` or its weights.",
        ),
    ],
)
def test_components_that_make_no_method_are_refused_and_the_error_says_why(
    flags: tuple[object, ...], problem: str, remedy: str
) -> None:
    assert refusal(*flags) == (problem, remedy)


def test_what_an_option_belongs_to_may_come_from_a_recipe_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("scorer: uwm\nselector: {name: adaptive, tau: 0.1}\n")
    problem, _ = refusal("--recipe", tmp_path / "r.yaml", "--manipulator", "redirect")
    assert "scorer 'uwm' and selector 'adaptive' would do nothing" in problem


def test_refuse_opposes_the_towers_at_their_projections_only() -> None:
    problem, remedy = refusal("--manipulator", "refuse", "--target", "text:mlp.out")
    assert problem.startswith("At text:mlp.out[0] the towers share no space")
    assert "manipulator.direction" in remedy
    planned("--manipulator", "refuse", "--target", "text:mlp.out", *setting("manipulator.direction=least-energy"))


def test_mean_ablate_is_refused_where_there_is_no_bias_before_anything_is_scored(tmp_path: Path) -> None:
    model = tiny_clip(tmp_path / "model")
    flags = ("--manipulator", "mean-ablate", "--scorer", "wanda-ratio", "--target", "text:proj", "--model", model)
    assert refusal(*flags)[0].startswith("text:proj has no bias")


# what the plan prints


def test_the_plan_says_what_implied_a_component() -> None:
    printed = rows(done("plan", *LIMIT, "--manipulator", "redirect"))
    assert printed["selector.name"] == ["all", "implied", "by", "redirect"]
    assert printed["scorer.name"] == ["none", "implied", "by", "redirect"]
    assert printed["targets"] == ["text:proj,", "vision:proj", "implied", "by", "redirect"]


def test_the_plan_says_so_for_each_tower_where_they_differ() -> None:
    printed = rows(done("plan", *LIMIT, *setting("text.manipulator=redirect")))
    assert printed["text.selector.name"] == ["all", "implied", "by", "redirect"]
    assert printed["text.scorer.name"] == ["none", "implied", "by", "redirect"]
    assert printed["text.manipulator.name"] == ["redirect", "--set"]
    assert printed["vision.selector.name"] == ["adaptive", "default"]


def test_the_plan_leaves_out_the_recipe_of_a_tower_that_is_not_edited() -> None:
    printed = rows(done("plan", *LIMIT, "--target", "text:proj", *setting("text.manipulator=redirect")))
    assert printed["manipulator.name"] == ["redirect", "--set"]
    assert not any(path.startswith(("text.", "vision.")) for path in printed)


@pytest.mark.parametrize(
    "flags",
    [
        ("--manipulator", "redirect"),
        ("--manipulator", "mean-ablate", "--memory", "1KB"),
        ("--target", "all"),
        ("--set", "vision.manipulator=refuse"),
    ],
)
def test_a_plan_fits_eighty_columns(flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = done("plan", *LIMIT, *flags).out.splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[lines.index(next(line for line in lines if line.startswith("sites"))) + 1 :]
    assert not any(line.startswith(" ") for line in table)  # no cell of the table was wrapped
