"""Which data that go with tuples an evaluation has use for. No numpy here: flags follow from it."""

from __future__ import annotations

from editkit.components.beside import Companion
from editkit.components.host import Host
from editkit.components.specs import EvalSpec


def embeds(spec: EvalSpec) -> bool:
    """Whether an evaluation compares embeddings, by itself or not."""
    return spec.form == "embeddings" or bool(spec.companions)


def companions_of(spec: EvalSpec, host: Host) -> set[Companion]:
    """Return what goes with tuples that an evaluation, or one beside it, measures too.

    Raises:
        PluginError: there is no such evaluation as the spec wants beside it.
    """
    beside = (host.resolve(EvalSpec, one.evaluation) for one in spec.beside)
    return {companion for one in (spec, *beside) for companion in one.companions}
