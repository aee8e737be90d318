"""`replay`: scores that were recorded earlier, by a service that may be gone, as Perspective's is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import ClassVar

from editkit.data.readers.tables import Table, read_table
from editkit.errors import DataError
from editkit.evals.judges import Verdict, failed, ignore, require_an_answer, scored
from editkit.evals.judges.options import ReplayOptions
from editkit.progress import Advance


class Replay:
    """Finds each item's score by its text or id; one without a score is failed, never taken for safe."""

    prompt_hash: ClassVar[str] = ""

    def __init__(self, options: ReplayOptions) -> None:
        self.options = options
        self.path = options.path

    @cached_property
    def revision(self) -> str:
        """The recording's name and the beginning of its sha256."""
        self._scores  # noqa: B018  a missing file is told by the reader
        return f"{self.path.name} {sha256(self.path.read_bytes()).hexdigest()[:16]}"

    @cached_property
    def _scores(self) -> dict[str, float]:
        key, score = self.options.key_column or self.options.key, self.options.score_column
        table = read_table(self.path, (key, score))
        for column in (key, score):
            if column not in table.columns:
                raise DataError(
                    f"{self.path} has no column '{column}', but {', '.join(table.columns)}.",
                    "Name the columns by key_column and score_column.",
                )
        scores: dict[str, float] = {}
        for number in range(1, len(table.rows) + 1):
            name, value = table.text(number, key), _score(table, number, score)
            if name is None or value is None:
                continue
            if scores.setdefault(name, value) != value:
                raise DataError(
                    f"{table.name}, row {number}: a second score, {value}, for the {self.options.key} of an earlier "
                    f"row, which has {scores[name]}.",
                    "Keep one row for each.",
                )
        return scores

    def judge(
        self, items: Sequence[str], on_item: Advance = ignore, *, ids: Sequence[str] | None = None
    ) -> list[Verdict]:
        """Return one verdict per text.

        Raises:
            DataError: the recording cannot be read or contradicts itself; or it is of ids and there are none.
        """
        if self.options.key == "id" and ids is None:
            raise DataError("These items have no ids to find recorded scores by.", "Record texts, and set key: text.")
        verdicts = []
        for name in (ids or ()) if self.options.key == "id" else items:
            score = self._scores.get(name)
            reason = f"no score is recorded for this {self.options.key}"
            verdicts.append(failed(reason) if score is None else scored(score, self.options.threshold, f"{score:g}"))
            on_item(1)
        return require_an_answer(verdicts, "replay", f"Check that {self.path} is a recording of these very items.")


def _score(table: Table, number: int, column: str) -> float | None:
    text = table.text(number, column)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DataError(
            f"{table.name}, row {number}: {column} is '{text}', not a number from 0 to 1.",
            "Leave the cell empty where there is no score; divide per cent by 100.",
        )
    return value
