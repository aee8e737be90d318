"""The whole of the plugin interface: seven hooks that register components, and one observer.

A plugin is a module (or object) with any of these functions, each marked `@editkit.hookimpl`,
found through the entry-point group "editkit".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:  # pydantic takes longer to import than all the rest of `editkit --help`
    from editkit.components.specs import (
        AdapterSpec,
        DatasetSpec,
        EvalSpec,
        JudgeSpec,
        ManipulatorSpec,
        ScorerSpec,
        SelectorSpec,
    )

hookspec = HookspecMarker("editkit")
hookimpl = HookimplMarker("editkit")


@hookspec
def editkit_scorers() -> Iterable[ScorerSpec]:  # type: ignore[empty-body]
    """Ways to give each weight a score."""


@hookspec
def editkit_selectors() -> Iterable[SelectorSpec]:  # type: ignore[empty-body]
    """Ways to choose weights by their scores."""


@hookspec
def editkit_manipulators() -> Iterable[ManipulatorSpec]:  # type: ignore[empty-body]
    """Ways to change chosen weights."""


@hookspec
def editkit_adapters() -> Iterable[AdapterSpec]:  # type: ignore[empty-body]
    """Model families."""


@hookspec
def editkit_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Sources of tuples and of labelled images."""


@hookspec
def editkit_evals() -> Iterable[EvalSpec]:  # type: ignore[empty-body]
    """Evaluations."""


@hookspec
def editkit_judges() -> Iterable[JudgeSpec]:  # type: ignore[empty-body]
    """Judges of generated text and of images."""


@hookspec
def editkit_finished(record: dict[str, Any], output: Path) -> None:
    """Observe that a command wrote `output`, with the record that lies beside it."""
