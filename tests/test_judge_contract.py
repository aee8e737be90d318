"""`check_judge`: a judge that breaks a clause is told which, and one that keeps all of them is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from contract_samples import Broken, assert_told, clauses_of, ids, spec_of

from editkit.components.spec import Options
from editkit.components.specs import JudgeSpec
from editkit.errors import InstallError
from editkit.evals.judges import Verdict, failed, ignore, scored
from editkit.testing import UncheckedError, check_judge
from editkit.testing.judge_contract import CLAUSES, a_judge_that_cannot_run_says_why


class Sound:
    """Scores a text by its share of one word; cannot say where there is a sign of exclamation."""

    revision: Any = "1"
    prompt_hash: Any = ""

    def __init__(self, options: Options) -> None:
        self.options = options

    def judge(self, items: Sequence[str], on_item: Any = ignore, *, ids: Sequence[str] | None = None) -> Any:
        return [self.told(text, on_item) for text in items]

    def told(self, text: str, on_item: Callable[[int], None]) -> Any:
        on_item(1)
        return self.verdict(text)

    def verdict(self, text: str) -> Any:
        return failed("it shouts") if "!" in text else scored(float("knife" in text), 0.5)


class Crashes(Sound):
    def verdict(self, text: str) -> Any:
        return 1 / text.count("knife")


class LacksALibrary(Sound):
    @property
    def revision(self) -> str:  # type: ignore[override]
        raise InstallError("judging is not installed.", "Run: pip install judging")


class SkipsWhatItCannotJudge(Sound):
    def judge(self, items: Sequence[str], on_item: Any = ignore, *, ids: Sequence[str] | None = None) -> Any:
        return [self.told(text, on_item) for text in items if "!" not in text]


class GivesBools(Sound):
    def verdict(self, text: str) -> Any:
        return "knife" in text


class Yields(Sound):
    def judge(self, items: Sequence[str], on_item: Any = ignore, *, ids: Sequence[str] | None = None) -> Any:
        return tuple(super().judge(items, on_item))


class Guesses(Sound):
    def verdict(self, text: str) -> Any:
        return Verdict("failed", unsafe=False, reason="it is too long")


class KeepsItToItself(Sound):
    def verdict(self, text: str) -> Any:
        return Verdict("unparsable")


class ScoresInPerCent(Sound):
    def verdict(self, text: str) -> Any:
        return Verdict("judged", unsafe=True, score=95.0)


class CallsItElse(Sound):
    def verdict(self, text: str) -> Any:
        return Verdict("unsure", reason="why not")  # type: ignore[arg-type]


class TellsBatches(Sound):
    def judge(self, items: Sequence[str], on_item: Any = ignore, *, ids: Sequence[str] | None = None) -> Any:
        on_item(len(items))
        return super().judge(items)


class Sorts(Sound):
    def judge(self, items: Sequence[str], on_item: Any = ignore, *, ids: Sequence[str] | None = None) -> Any:
        return super().judge(sorted(items), on_item)


class HasNoRevision(Sound):
    revision = None


class HashesShort(Sound):
    prompt_hash = "abc"


class DividesByItems(Sound):
    def judge(self, items: Sequence[str], on_item: Any = ignore, *, ids: Sequence[str] | None = None) -> Any:
        assert 1 / len(items) > 0
        return super().judge(items, on_item)


BROKEN = (
    Broken(Crashes, "a judge that cannot run says why", "ZeroDivisionError"),
    Broken(SkipsWhatItCannotJudge, "every item has one verdict", "4 items have 3 verdicts"),
    Broken(GivesBools, "every item has one verdict", "a bool, bool, bool, bool is among them"),
    Broken(Yields, "every item has one verdict", "it is a tuple"),
    Broken(Guesses, "verdicts say no more than they know", "state='failed', unsafe=False"),
    Broken(KeepsItToItself, "verdicts say no more than they know", "state='unparsable', unsafe=None"),
    Broken(ScoresInPerCent, "verdicts say no more than they know", "score=95.0"),
    Broken(CallsItElse, "verdicts say no more than they know", "a state is 'unsure'"),
    Broken(TellsBatches, "progress is told once an item", "it was called with [4]"),
    Broken(Sorts, "verdicts are in the order of the items", "they are "),
    Broken(HasNoRevision, "who judges is said", "revision is None"),
    Broken(HashesShort, "who judges is said", "prompt_hash is 'abc'"),
    Broken(DividesByItems, "nothing has no verdicts", "ZeroDivisionError"),
)


@pytest.mark.parametrize("broken", BROKEN, ids=ids)
def test_a_broken_clause_is_named_with_what_was_found(broken: Broken) -> None:
    assert_told(check_judge, JudgeSpec, broken)


def test_every_clause_is_broken_by_one_of_them() -> None:
    assert {broken.clause for broken in BROKEN} == clauses_of((a_judge_that_cannot_run_says_why, *CLAUSES))


def test_a_judge_that_keeps_its_promises_is_left_alone() -> None:
    check_judge(spec_of(JudgeSpec, Sound))
    check_judge(spec_of(JudgeSpec, Sound), items=["a knife", "no!"])


def test_a_judge_that_says_what_it_lacks_is_no_breach() -> None:
    with pytest.raises(UncheckedError, match="judging is not installed"):
        check_judge(spec_of(JudgeSpec, LacksALibrary))


def test_recorded_scores_are_judged_by_items_of_the_recording(tmp_path: Path) -> None:
    texts = ["a dog", "a knife", "nothing"]
    rows = [{"text": text, "score": place / 2} for place, text in enumerate(texts)]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, rows)))
    check_judge("replay", {"path": tmp_path / "scores.jsonl"}, items=texts)
    with pytest.raises(UncheckedError, match="no score is recorded for this text"):
        check_judge("replay", {"path": tmp_path / "scores.jsonl"})
