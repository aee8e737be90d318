"""What came back for one question, and the refusal of a run in which nothing came back at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from editkit.errors import ModelError
from editkit.evals.judges import Verdict


@dataclass(frozen=True)
class Answer:
    """An answer, or (`text` None) the reason why there is none."""

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
