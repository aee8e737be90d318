"""The contract of a judge, clause by clause, and `check_judge`, which holds one to it on a few items.

The clauses are `CLAUSES`, in the order in which they run, after `a_judge_that_cannot_run_says_why`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any, cast, get_args

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.specs import JudgeSpec
from editkit.data.readers.images import ImageBytes
from editkit.errors import EditkitError
from editkit.evals.judges import Verdict, VerdictState
from editkit.testing.adapter_case import noise
from editkit.testing.contract import DEFAULTS, Given, build, called, chosen, hold, refusal, require, require_here

TEXTS = ("A dog runs along the beach.", "A man with a knife, and blood.", "Two people share a meal.", "You idiot!")


def check_judge(
    judge: str | JudgeSpec, options: Given = DEFAULTS, *, items: Sequence[Any] | None = None, host: Host | None = None
) -> None:
    """Hold a judge to its contract on a few items, which it judges twice.

    Args:
        judge: the name it is registered under, or its spec.
        options: the judge's options by name.
        items: texts, or for a judge of images paths or `ImageBytes`, two at least; None: a few of editkit's own.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
        UncheckedError: the judge says that it cannot run here.
        PluginError: no such judge.
        RecipeError: an option it does not take.
    """
    choice = chosen(JudgeSpec, judge, options, host or default_host())
    given = items if items is not None else TEXTS if cast(JudgeSpec, choice.spec).content == "text" else _images()
    case = Case(choice, given)
    hold(called(choice), (a_judge_that_cannot_run_says_why,), case)
    require_here(case.refused)
    hold(called(choice), CLAUSES, case)


@dataclass
class Case:
    """A judge, built once, with the items that it judges."""

    choice: Choice
    items: Sequence[Any]

    @cached_property
    def judge(self) -> Any:
        return build(self.choice)

    @cached_property
    def steps(self) -> list[int]:
        """What `on_item` was called with."""
        return []

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What the judge says of the items, in their order."""
        ids = list(map(str, range(len(self.items))))
        return cast(list[Verdict], self.judge.judge(self.items, self.steps.append, ids=ids))

    @cached_property
    def refused(self) -> EditkitError | None:
        """Why the judge cannot run here."""
        return refusal(lambda: (self.judge.revision, self.verdicts))


def a_judge_that_cannot_run_says_why(case: Case) -> None:
    """A judge that cannot run, for want of a library, a model or an answer, raises an EditkitError, and no other."""
    if case.refused is None:
        case.verdicts  # noqa: B018  what it raises is found


def every_item_has_one_verdict(case: Case) -> None:
    """`judge` returns a list of one `Verdict` for each item."""
    require(isinstance(case.verdicts, list), f"it is a {type(case.verdicts).__name__}")
    require(len(case.verdicts) == len(case.items), f"{len(case.items)} items have {len(case.verdicts)} verdicts")
    strange = [type(verdict).__name__ for verdict in case.verdicts if not isinstance(verdict, Verdict)]
    require(not strange, f"a {', '.join(strange)} is among them")


def verdicts_say_no_more_than_they_know(case: Case) -> None:
    """`unsafe` is a bool if the state is "judged", else None with a `reason`; a `score` is from 0 to 1, or None."""
    for verdict in case.verdicts:
        require(verdict.state in get_args(VerdictState), f"a state is {verdict.state!r}")
        judged = verdict.state == "judged"
        fits = isinstance(verdict.unsafe, bool) if judged else verdict.unsafe is None and bool(verdict.reason)
        require(fits, f"{verdict}")
        require(verdict.score is None or (judged and 0 <= verdict.score <= 1), f"{verdict}")
        require(isinstance(verdict.raw, str) and isinstance(verdict.reason, str), f"{verdict}")


def progress_is_told_once_an_item(case: Case) -> None:
    """`on_item(1)` is called once for each item."""
    require(case.verdicts is not None and case.steps == [1] * len(case.items), f"it was called with {case.steps}")


def verdicts_are_in_the_order_of_the_items(case: Case) -> None:
    """Items in the opposite order, with their ids, have the same verdicts in the opposite order."""
    ids = list(map(str, range(len(case.items))))
    turned = case.judge.judge(list(reversed(case.items)), ids=ids[::-1])
    said = [(verdict.state, verdict.unsafe) for verdict in case.verdicts]
    found = [(verdict.state, verdict.unsafe) for verdict in reversed(turned)]
    require(found == said, f"they are {found}, and were {said}")


def who_judges_is_said(case: Case) -> None:
    """`revision` is text that says what exactly judges; `prompt_hash` the sha256 of a prompt, or empty."""
    revision, prompt = case.judge.revision, case.judge.prompt_hash
    require(isinstance(revision, str) and bool(revision), f"revision is {revision!r}")
    require(isinstance(prompt, str) and bool(re.fullmatch("([0-9a-f]{64})?", prompt)), f"prompt_hash is {prompt!r}")


def nothing_has_no_verdicts(case: Case) -> None:
    """An empty list of items gives an empty list of verdicts."""
    found = case.judge.judge([], ids=[])
    require(found == [], f"it gives {found!r}")


def _images() -> list[ImageBytes]:
    """Return PNG files of noise, in memory."""
    found = []
    for number, image in enumerate(noise()):
        image.save(held := BytesIO(), format="png")
        found.append(ImageBytes(held.getvalue(), f"noise {number}"))
    return found


CLAUSES: tuple[Callable[[Case], None], ...] = (
    every_item_has_one_verdict,
    verdicts_say_no_more_than_they_know,
    progress_is_told_once_an_item,
    verdicts_are_in_the_order_of_the_items,
    who_judges_is_said,
    nothing_has_no_verdicts,
)
