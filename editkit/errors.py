"""Every error a user can cause, in two lines: what was asked and found, and what to do next.

EditkitError
├── RecipeError     a flag, a recipe file or an option of a component
├── PluginError     an unknown component, or a plugin that cannot be loaded
├── DataError       tuples, captions, images, class lists
├── ModelError      a model folder, a checkpoint, its tensors or its activations
├── SiteError       a target that names no site, or a site that cannot be edited
├── ScoreError      scores that leave nothing to choose from
├── PatchError      a patch that is damaged or does not fit the weights
├── OutputError     a place to write that is taken or cannot be written
└── InstallError    the Python environment itself
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class EditkitError(Exception):
    """An error with its remedy: `problem` says what was asked and found, `remedy` what to do next."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n{remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[EditkitError], tuple[str, str]]:
        """Let worker processes hand the error on whole."""
        return type(self), (self.problem, self.remedy)


class RecipeError(EditkitError):
    """A flag, a recipe file or an option that asks for something impossible."""


class PluginError(EditkitError):
    """A component that no plugin offers, or a plugin that cannot be loaded."""


class DataError(EditkitError):
    """A data set, or an item in it, that cannot be used."""


class ModelError(EditkitError):
    """A model folder, checkpoint, tensor or activation that cannot be used."""


class SiteError(EditkitError):
    """A target that names no site, or a site that the chosen method cannot handle."""


class ScoreError(EditkitError):
    """Scores that leave nothing to choose from: all zero, or not finite."""


class PatchError(EditkitError):
    """A patch that is damaged, or that does not belong to the weights it was given."""


class OutputError(EditkitError):
    """An output place that exists already or cannot be written."""


class InstallError(EditkitError):
    """A Python environment in which the libraries do not fit together."""


def one_line(error: BaseException) -> str:
    """Return a foreign exception as its type and message on one line, for use inside a two-line error."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `known`, or an empty string."""
    close = get_close_matches(asked, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
