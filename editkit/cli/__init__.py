"""The command line. Each command imports what it needs when it runs, so that `--help` stays quick."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from editkit.cli import apply as files
from editkit.cli import cache, diff, evaluate, judge, plugins, recipes, results, show
from editkit.cli.console import note, print_any_text
from editkit.cli.edit import EDIT_HELP, PLAN_HELP, edit_command
from editkit.cli.failure import tell
from editkit.cli.flags import path
from editkit.cli.output import flushed
from editkit.cli.session import Session
from editkit.cli.stopped import stopped
from editkit.cli.usage import UsageErrors, explain_usage
from editkit.errors import OutputError

ENDS: tuple[type[BaseException], ...] = (typer.Exit, typer.Abort, BrokenPipeError)
"""Exceptions that are no failure of a command: typer ends the process by them, as when whoever read has gone."""


class Commands(TyperGroup):
    """The commands, with an answer to Ctrl-C and to what cannot be read or written."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read what stands before the command; what cannot be read is told in two lines."""
        try:
            with flushed():
                return super().make_context(*args, **more)
        except UsageErrors as error:
            _refuse(error)
        except OutputError as error:
            tell(error, traceback=False)
            raise typer.Exit(1) from None

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what goes wrong in it is told in two lines."""
        try:
            with flushed():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            tell(stopped(ctx), traceback=False)
            raise typer.Exit(130) from None
        except ENDS:
            raise
        except UsageErrors as error:
            _refuse(error)
        except Exception as error:
            tell(error, traceback=ctx.params["traceback"])
            raise typer.Exit(1) from None


def _refuse(error: BaseException) -> NoReturn:
    """Tell what is wrong with a command; one without arguments, which asks for its help, gets it."""
    if type(error).__name__ == "NoArgsIsHelpError":
        raise error
    tell(explain_usage(error), traceback=False)
    raise typer.Exit(2) from None


app = typer.Typer(
    cls=Commands,
    help="Edit the weights of vision-language models without training, and measure what the edit did.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# short helps fit the list of commands on 80 columns
app.command("edit", help=EDIT_HELP, short_help="Edit a model's weights; the edit is a small file.")(
    edit_command(plan_only=False)
)
app.command("plan", help=PLAN_HELP, short_help="Show what an edit would do; no weight is read.")(
    edit_command(plan_only=True)
)
app.command("apply", short_help="Write a copy of a model with a patch applied.")(files.apply)
app.command("revert", short_help="Write a copy of an edited model without the patch.")(files.revert)
app.command("show", short_help="Show what a patch is, or how far several overlap.")(show.show)
app.command("diff", short_help="Compare the weights of two models bit by bit.")(diff.diff)
app.add_typer(evaluate.app, name="eval", short_help="Measure a model and edits of it beside chance.")
app.command("judge", short_help="Judge captions or galleries that are there already.")(judge.judge)
app.add_typer(plugins.app, name="plugins")
app.add_typer(cache.app, name="cache", short_help="See and bound what is kept between runs.")
app.add_typer(recipes.app, name="recipes")
app.add_typer(results.app, name="results", short_help="List and export the evaluations that were run.")


def _version(asked: bool) -> None:
    if asked:
        from editkit import __version__

        print(f"editkit {__version__}")
        raise typer.Exit()


@app.callback()
def start(
    ctx: typer.Context,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="Also load this plugin file; may be repeated.", metavar="FILE", parser=path),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Print where in the code an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Load single-file plugins before any command, and say in one line which plugins are broken."""
    for name in Session.start(ctx, tuple(plugin or ())).host.failures:
        note(f"Plugin {name} could not be loaded and is left out; `editkit plugins check` says why.")


def main(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 user error, 2 usage, 3 a check failed, 130 Ctrl-C."""
    print_any_text()
    try:
        _commands()(args, prog_name="editkit")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


@functools.cache
def _commands() -> Any:
    """Build the commands once in a process, however often it calls `main`."""
    return typer.main.get_command(app)


def run() -> None:
    """Console-script entry point."""
    sys.exit(main())
