"""`editkit eval NAME`: a model, patches of it and their controls side by side, by any registered evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from editkit.cli.console import emit_json, note, out
from editkit.cli.session import Session

if TYPE_CHECKING:
    from editkit.components.host import Host
    from editkit.components.specs import EvalSpec
    from editkit.evals.context import Evaluated
    from editkit.evals.request import Request
    from editkit.reports.schema import Report


SHARED = (
    *("recipe", "model", "data", "on_bad_item", "profile", "limit", "split", "seed"),
    *("batch_size", "workers", "device", "dtype", "autocast"),
)
"""Flags that are arguments of a recipe as they are."""


class Evaluations(TyperGroup):
    """A command for each registered evaluation, built from its spec when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the evaluations."""
        from editkit.components.specs import EvalSpec

        return list(Session.of(ctx).host.of_kind(EvalSpec))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Build the command of an evaluation, NAME or DISTRIBUTION/NAME.

        Raises:
            PluginError: there is no such evaluation.
        """
        from editkit.components.specs import EvalSpec

        host = Session.of(ctx).host
        return command_of(host.resolve(EvalSpec, cmd_name), cmd_name, host)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say where the name belongs if flags stand in front of it."""
        from editkit.errors import RecipeError

        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            raise RecipeError(
                "The name of the evaluation stands before all flags: each has flags of its own.",
                "Write editkit eval NAME, then the flags; `editkit eval --help` lists the names.",
            )
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Evaluations,
    help="Measure a model, and any patches of it, beside chance and matched controls.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def command_of(spec: EvalSpec, name: str, host: Host) -> Any:
    """Return the command of an evaluation, with the flags that it has use for.

    Args:
        name: what it was asked for by.
    """
    from editkit.cli.evaluation_flags import parameters

    def command(ctx: typer.Context, **given: Any) -> None:
        measure(ctx, spec, name, given)

    wanted = parameters(spec, host)
    command.__signature__ = Signature(wanted)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in wanted}
    example = spec.example or f"editkit eval {name} --patch editkit-runs/uwm-..."
    told = spec.description or f"{spec.summary[:1].upper()}{spec.summary[1:]}."
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, help=f"{told}\n\n{example}", short_help=spec.summary)(command)
    return typer.main.get_command(single)


def measure(ctx: typer.Context, spec: EvalSpec, name: str, given: Mapping[str, Any]) -> None:
    """Run an evaluation, keep its report and print it.

    Args:
        given: the values of its flags, None for those that were not given.
    """
    from editkit.cli.console import quiet_libraries
    from editkit.cli.progress import stage
    from editkit.errors import RecipeError

    if given.get("by") not in (None, "concept"):
        raise RecipeError(f"--by {given['by']}: results can be shown by concept only.", "Write --by concept")
    host = Session.of(ctx).host
    asked = _request(spec, name, given, host)
    quiet_libraries()
    from editkit.evals.run import run_evaluation

    evaluated = run_evaluation(asked, host, stage)
    report, kept = evaluated.report, _keep(evaluated, asked, ctx)
    if given["json"]:
        emit_json(report)
        note(kept)
        return
    for line in report.get("notes", []):
        note(line)
    _print(spec, report, given)
    note(kept)
    if not asked.patches and not spec.table:
        same = [word for flag in ("recipe", "model", "data") if given.get(flag) for word in (f"--{flag}", given[flag])]
        method = ("--scorer", "uwm", "--alpha", -1, "--tau", 0.02)
        note(f"Next: {Session.of(ctx).command('edit', *method, *same)}")


def _request(spec: EvalSpec, name: str, given: Mapping[str, Any], host: Host) -> Request:
    from editkit.api.runs import RUNS
    from editkit.cli import flags
    from editkit.cli.evaluation_flags import options_given
    from editkit.errors import RecipeError
    from editkit.evals.request import Request
    from editkit.recipes.arguments import Arguments
    from editkit.recipes.layers import parse_settings

    arguments = Arguments(
        settings=parse_settings(given["settings"] or []),
        sets=flags.words(given.get("sets")),
        concepts=flags.words(given["concepts"]),
        cache=False if given.get("no_cache") else None,
        **{flag: given.get(flag) for flag in SHARED},
    )
    layers = arguments.layers(called="flag", settings_called="--set")
    chooser = next((f"--{flag}" for flag in ("sets", "profile") if given.get(flag) is not None), None)
    if chooser and not any("data.name" in layer for _, layer in layers):
        raise RecipeError(
            f"{chooser} chooses among sets of labelled images in a folder, and no folder was named.",
            "Add --data zeroshot:DIR",
        )
    # --set beats them, as it beats every flag
    layers.insert(len(layers) - 1, ("flag", options_given(spec, given, host)))
    return Request(
        evaluation=name,
        layers=layers,
        patches=given["patch"] or [],
        judges=given.get("judge") or [],
        controls=(True if given["controls"] else None) if "controls" in given else not given["no_controls"],
        knowledge=given.get("knowledge"),
        queries=given.get("queries"),
        slices=given.get("slices"),
        benign=given.get("benign_sets"),
        similarities=given.get("similarities"),
        output=given["output"],
        runs=RUNS,
    )


def _keep(evaluated: Evaluated, asked: Request, ctx: typer.Context) -> str:
    """Keep the report and say where; a place that no one asked for costs a line if it fails, never the result."""
    from editkit.errors import OutputError
    from editkit.evals.keep import keep

    try:
        kept = keep(evaluated, Session.of(ctx).host, output=asked.output, runs=asked.runs)
    except OutputError as error:
        if asked.output is not None:
            raise
        return f"The report is not kept: {error.problem}"
    for line in kept.notes:
        note(line)
    return f"Kept in {kept.place}; `editkit results` lists all."


def _print(spec: EvalSpec, report: Report, given: Mapping[str, Any]) -> None:
    if spec.table:
        spec.load_table()(report, out)
        return
    from editkit.reports.show import render
    from editkit.reports.verdict import verdict

    render(report, out, by_concept=given["by"] is not None, every_metric=given["every_metric"])
    out.print()
    for sentence in verdict(report, _tau(given["patch"] or [], report)):
        out.print(sentence, markup=False)


def _tau(patches: list[Path], report: Report) -> dict[str, float]:
    """Return the tau of each edit by the name it has in the report, where its method has one."""
    from editkit.patch.record_file import read_record

    found = {}
    names = {row["patch"]: row["name"] for row in report["models"]}
    for patch in patches:
        recipe = read_record(patch).get("recipe", {})
        taus = [tau for tower in ("text", "vision") if (tau := recipe.get(tower, {}).get("selector", {}).get("tau"))]
        if taus:
            found[names[str(patch)]] = max(taus)
    return found
