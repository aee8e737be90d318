"""What an evaluation must offer. Which of the two it is, and what of the rest it has, its spec says.

| `EvalSpec.form` | protocol | it is given |
|---|---|---|
| `"embeddings"` | `Evaluation` | embeddings of the model and of each edit, and says item by item which metric is met |
| `"model"` | `ModelEvaluation` | model files, data and edits; it runs by itself and returns a report |

Rates, intervals, paired differences and rows by concept are added alike for all evaluations of embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:  # so that naming a protocol loads no numpy
    import numpy as np
    import numpy.typing as npt

    from editkit.evals.context import Evaluated, EvaluationContext
    from editkit.evals.embeddings import Bools, TupleEmbeddings

E = TypeVar("E", contravariant=True)


class Evaluation(Protocol[E]):
    """Built as `Evaluation(options)`; `E` is `TupleEmbeddings` or `ClassEmbeddings`, as `data` of its spec says.

    One whose spec has "queries" among its `companions` is asked of `QueryEmbeddings` too.
    """

    def hits(self, embeddings: E) -> dict[str, Bools]:
        """[n] bool per metric: which items meet it; where the spec says `scores`, or float64 in [0, 1]: how much."""

    def chance(self, embeddings: E) -> dict[str, dict[str, float]]:
        """Per cent per metric of a model that knows nothing: rows "independent" and "collapsed"; no rows: unknown."""

    def groups(self, embeddings: E) -> tuple[str, ...]:
        """The concept of each of the n items."""


class Weighted(Evaluation[E], Protocol[E]):
    """One whose spec says `weights`."""

    def weights(self, embeddings: E) -> dict[str, npt.NDArray[np.float64]]:
        """[n] for each metric that is a weighted mean of its hits; they sum to 1."""


class Sliced(Evaluation["TupleEmbeddings"], Protocol):
    """One that is measured on the tuples as they come and on each slice that it takes."""

    slices: Sequence[str]
    """What was asked for: names of slices, or patterns."""

    def takes(self, name: str) -> bool:
        """Whether a slice is to be measured."""


class WithColumns(Evaluation["TupleEmbeddings"], Protocol):
    """One whose spec says `columns`."""

    def columns(self, embeddings: TupleEmbeddings) -> dict[str, npt.NDArray[np.generic]]:
        """[n] by the name of a column of the file that `--similarities` writes."""


class ModelEvaluation(Protocol):
    """Built as `ModelEvaluation(options)`."""

    def run(self, context: EvaluationContext) -> Evaluated:
        """Measure the base, which is the first of the context's variants, and every other variant.

        Raises:
            EditkitError: the model or the data cannot be used.
        """
