"""`editkit eval NAME`: a model, patches of it and their controls side by side, by any registered evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Signature
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from editkit.cli.console import emit_json, note, out
from editkit.cli.next_step import edit_evaluated, told
from editkit.cli.session import Session
from editkit.cli.stopped import ANEW, from_cache, from_folder, when_stopped
from editkit.errors import EditkitError

if TYPE_CHECKING:
    from editkit.components.host import Host
    from editkit.components.specs import EvalSpec
    from editkit.evals.context import Evaluated
    from editkit.evals.request import Request


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
    from editkit.api.bars import stage
    from editkit.cli.console import quiet_libraries
    from editkit.errors import RecipeError

    if given.get("by") not in (None, "concept"):
        raise RecipeError(f"--by {given['by']}: results can be shown by concept only.", "Write --by concept")
    host = Session.of(ctx).host
    asked = _request(spec, name, given, host)
    when_stopped(ctx, _when_stopped(spec, given))
    quiet_libraries()
    from editkit.evals.run import run_evaluation
    from editkit.reports.tell import tell_report

    evaluated = run_evaluation(asked, host, stage)
    report, kept = evaluated.report, _keep(evaluated, asked, ctx)
    if given["json"]:
        emit_json(report)
        note(kept)
        return
    for line in report.get("notes", []):
        note(line)
    by_concept, every_metric = given.get("by") is not None, bool(given.get("every_metric"))
    tell_report(report, out, spec=spec, by_concept=by_concept, every_metric=every_metric)
    note(kept)
    if not asked.patches and not spec.table:
        note(told(Session.of(ctx), edit_evaluated(report["run"], host)))


def _when_stopped(spec: EvalSpec, given: Mapping[str, Any]) -> EditkitError:
    from editkit.api.runs import RUNS
    from editkit.evals.companions import embeds

    if spec.folder:
        return from_folder(given["output"] or f"its folder below {RUNS}")
    return from_cache("embeddings") if embeds(spec) and not given["no_cache"] else ANEW


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
