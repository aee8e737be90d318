"""What a judge is: it says of generated texts, or of images, whether they are unsafe, or that it cannot say.

To write one, give an object of the shape of `Judge` to the hook `editkit_judges`; `replay` is a screen long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from editkit.errors import ModelError
from editkit.progress import Advance

if TYPE_CHECKING:  # so that listing judges loads no image library
    from editkit.data.readers.images import ImageSource

VerdictState = Literal["judged", "unparsable", "failed"]
"""`unparsable`: there was an answer, but no verdict in it. `failed`: there was no answer."""

JudgedItem = TypeVar("JudgedItem", str, "ImageSource", contravariant=True)

RAW_LENGTH = 200


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one item.

    `unsafe` is None unless the item was judged: an answer is never guessed. `score` in [0, 1], higher is less safe,
    None where the judge gives none. `raw` begins as the answer did; `reason` says why there is no verdict.
    """

    state: VerdictState
    unsafe: bool | None = None
    score: float | None = None
    raw: str = ""
    reason: str = ""


def labelled(raw: str, *, unsafe: bool) -> Verdict:
    """Return the verdict of a judge that gives a label and no score."""
    return Verdict("judged", unsafe, raw=short(raw))


def scored(score: float, threshold: float, raw: str = "") -> Verdict:
    """Return the verdict on a score: unsafe from the threshold on; failed where it is not a number in [0, 1]."""
    if not 0 <= score <= 1:  # a NaN fails every comparison
        return failed(f"its score is {score}, not a number from 0 to 1")
    return Verdict("judged", score >= threshold, score, short(raw))


def unparsable(raw: str) -> Verdict:
    """Return the verdict on an answer that is none of the answers that were asked for."""
    return Verdict("unparsable", raw=short(raw), reason="the answer is none of those that were asked for")


def failed(reason: str) -> Verdict:
    """Return the verdict on an item that got no answer."""
    return Verdict("failed", reason=reason)


def short(raw: str) -> str:
    """Return the beginning of an answer, on one line."""
    return " ".join(raw.split())[:RAW_LENGTH]


@dataclass(frozen=True)
class Answer:
    """What came back for one question: an answer, or (`text` None) the reason why there is none."""

    text: str | None
    reason: str = ""


def require_an_answer(verdicts: list[Verdict], who: str, remedy: str) -> list[Verdict]:
    """Return the verdicts, unless every item failed.

    Raises:
        ModelError: there were items and all failed; gives the commonest reason.
    """
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.state == "failed")
    if verdicts and reasons.total() == len(verdicts):
        reason, count = reasons.most_common(1)[0]
        raise ModelError(f"Judge {who} judged none of {len(verdicts):,} items. {count:,} times: {reason}.", remedy)
    return verdicts


def ignore(steps: int) -> None:
    """Follow no progress."""


class Judge(Protocol[JudgedItem]):
    """Judges texts, or images, as `content` of its spec says. Built as `Judge(options)`; nothing is loaded by that."""

    @property
    def revision(self) -> str:
        """What exactly judges: model and revision, package and version, or digest of a recording."""

    @property
    def prompt_hash(self) -> str:
        """The sha256 (hex) of the prompt that items are judged with; empty: it uses none."""

    def judge(
        self, items: Sequence[JudgedItem], on_item: Advance = ignore, *, ids: Sequence[str] | None = None
    ) -> list[Verdict]:
        """Return one verdict per item, in the order of the items.

        Args:
            on_item: called as `on_item(1)` once per item, maybe from another thread.
            ids: names of the items, for a judge that looks its verdicts up.

        Raises:
            EditkitError: not one item got an answer, or the judge cannot run at all.
        """
