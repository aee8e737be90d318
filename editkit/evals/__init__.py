"""What an edit did: an evaluation turns embeddings into hits per item, and shared code turns hits into a report.

An evaluation is a pure function of embeddings. It names its metrics and says, item by item, whether each was met;
`report` adds the rates, intervals, paired differences and per-concept rows alike for all of them. To write one, see
`safeground` (a screen long) and give an object of this shape to the hook `editkit_evals`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar

if TYPE_CHECKING:  # so that listing evaluations loads no numpy
    from editkit.evals.embeddings import Bools

E = TypeVar("E", contravariant=True)


class Evaluation(Protocol[E]):
    """One evaluation; `E` is `TupleEmbeddings` or `ClassEmbeddings`, as `data` says."""

    name: ClassVar[str]
    data: ClassVar[Literal["tuples", "classes"]]

    def hits(self, embeddings: E) -> dict[str, Bools]:
        """[n] bool per metric: which items meet it."""
        ...

    def chance(self, embeddings: E) -> dict[str, dict[str, float]]:
        """Per cent per metric of a model that knows nothing: rows "independent" and "collapsed"."""
        ...

    def groups(self, embeddings: E) -> tuple[str, ...]:
        """The concept of each of the n items."""
        ...
