"""Progress bars on stderr, with rate and time left; silent where stderr is no terminal, but for notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from editkit.api.screen import err, note
from editkit.errors import RecipeError
from editkit.progress import Advance, Stage, silent


class _Rate(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "", style="dim")


@contextmanager
def stage(what: str, total: int) -> Iterator[Advance]:
    """Show one stage of long work for as long as it runs; one of no steps is a note, and stays."""
    if not total:
        note(what)
        yield lambda steps: None
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not _can_move()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def in_any_case(what: str, total: int) -> Iterator[Advance]:
    """Show one stage as `stage` does or, where a bar cannot move, as in a log, by a line when it begins."""
    if total and not _can_move():
        note(f"{what}: {total:,}")
    with stage(what, total) as advance:
        yield advance


def shown_by(stage: Stage, *, progress: bool) -> Stage:
    """Return what shows the stages of a function's work: bars if `progress`, else the caller's own display.

    Raises:
        RecipeError: both were asked for.
    """
    if progress and stage is not silent:
        raise RecipeError("progress=True shows bars, and `stage` is a display of your own.", "Give one of them.")
    return in_any_case if progress else stage


def _can_move() -> bool:
    return err.is_terminal or err.is_jupyter
