"""An evaluation of embeddings, built; and those that its spec wants measured beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from editkit.components.beside import Beside
from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.specs import EvalSpec
from editkit.errors import PluginError
from editkit.evals.report import Measured


@dataclass(frozen=True)
class Prepared:
    """An evaluation, and which of its metrics are shown; none named: all."""

    spec: EvalSpec
    evaluation: Any
    """An `Evaluation` of what the spec's `data` says."""
    shown: tuple[str, ...] = ()

    @classmethod
    def of(cls, choice: Choice) -> Prepared:
        """Build the evaluation that was chosen."""
        assert isinstance(choice.spec, EvalSpec)
        return cls(choice.spec, choice.build())

    @property
    def asks(self) -> bool:
        """Whether it measures queries that search the tuples."""
        return "queries" in self.spec.companions

    def measured(self, found: Measured) -> Measured:
        """Return what was measured, as far as it is shown."""
        return found.showing({metric: metric for metric in self.shown}) if self.shown else found


def prepare_beside(spec: EvalSpec, host: Host) -> list[Prepared]:
    """Build the evaluations that stand beside one of tuples.

    Raises:
        PluginError: there is no such evaluation, or it is not of embeddings.
        RecipeError: it does not have the options that were asked for.
    """
    return [prepare(wanted, spec, host) for wanted in spec.beside]


def prepare(wanted: Beside, spec: EvalSpec, host: Host) -> Prepared:
    """Build one evaluation that another one wants; it raises what `prepare_beside` does."""
    other = host.resolve(EvalSpec, wanted.evaluation)
    if other.form != "embeddings":
        raise PluginError(
            f"Evaluation '{spec.name}' wants '{other.name}' beside it, which is not of embeddings.",
            f"Name another one in `beside` of the spec of '{spec.name}'.",
        )
    choice = host.choose(EvalSpec, wanted.evaluation, wanted.options, other.name)
    return Prepared(other, choice.build(), wanted.metrics)
