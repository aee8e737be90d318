"""The judges of one run: which were chosen, what they said of each item, and how often they said unsafe.

A judge is chosen by name, or as LABEL=NAME where two of one kind are compared; its options are `judge.LABEL.OPTION`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from editkit.components.host import Host
from editkit.components.specs import JudgeSpec
from editkit.errors import RecipeError, did_you_mean
from editkit.evals.judges import Judge, Verdict, VerdictState, require_an_answer
from editkit.evals.measures import Average, Measure, Share
from editkit.files.whole_text import json_text
from editkit.progress import Stage
from editkit.recipes.layers import JUDGE

ROOT = f"{JUDGE}."
ContentKind = Literal["text", "image"]


class JudgeFacts(TypedDict):
    """Who judged, exactly."""

    name: str
    revision: str
    prompt_hash: str


@dataclass(frozen=True)
class Chosen:
    """A judge, its name, and the label under which its verdicts are reported."""

    label: str
    name: str
    judge: Judge[Any]

    def facts(self) -> JudgeFacts:
        """Return what a record says of the judge."""
        return JudgeFacts(name=self.name, revision=self.judge.revision, prompt_hash=self.judge.prompt_hash)


def content_of(asked: Sequence[str], host: Host) -> ContentKind:
    """Return what the first of the judges judges: the others must judge the same.

    Raises:
        PluginError: there is no such judge.
    """
    return host.resolve(JudgeSpec, asked[0].rpartition("=")[2]).content


def choose_judges(
    asked: Sequence[str], settings: Mapping[str, Any], host: Host, content: ContentKind = "text"
) -> list[Chosen]:
    """Build judges of one kind of content from NAME or LABEL=NAME; `settings` holds values by `judge.LABEL.OPTION`.

    Raises:
        RecipeError: a label twice, a judge of other content, an option that its judge does not have, or of no judge.
        PluginError: there is no such judge.
    """
    chosen: list[Chosen] = []
    options = {path.removeprefix(ROOT): value for path, value in settings.items()}
    for text in asked:
        label, _, name = text.rpartition("=")
        spec = host.resolve(JudgeSpec, name)
        label = label or spec.name
        if not re.fullmatch(r"[\w.-]+", label) or label in [one.label for one in chosen]:
            raise RecipeError(
                f"--judge {text}: the label '{label}' is taken, or has signs other than letters and digits.",
                "Write --judge LABEL=NAME with another label.",
            )
        if spec.content != content:
            raise RecipeError(
                f"Judge '{name}' judges {spec.content}s, not {content}s.", f"Choose a judge of {content}s."
            )
        own = {path.removeprefix(f"{label}."): value for path, value in options.items() if path.startswith(f"{label}.")}
        chosen.append(Chosen(label, spec.name, host.choose(JudgeSpec, name, own, f"{ROOT}{label}").build()))
    labels = [one.label for one in chosen]
    for path in options:
        if not path.startswith(tuple(f"{label}." for label in labels)):
            stray = path.partition(".")[0]
            raise RecipeError(
                f"--set {ROOT}{path}: no judge '{stray}' was asked for.{did_you_mean(stray, labels)}",
                f"Add --judge {stray}, or leave the option out.",
            )
    return chosen


def judge_all(
    chosen: Sequence[Chosen], items: Sequence[Any], ids: Sequence[str], stage: Stage
) -> dict[str, list[Verdict]]:
    """Return every judge's verdicts by its label, one per item.

    Raises:
        EditkitError: a judge cannot run, or not one item got an answer.
    """
    verdicts = {}
    for one in chosen:
        with stage(f"judging: {one.label}", len(items)) as advance:
            found = one.judge.judge(items, advance, ids=ids)
        verdicts[one.label] = require_an_answer(found, one.label, "Look at why its items failed, or choose another.")
    return verdicts


def measures_of(verdicts: Sequence[Verdict]) -> dict[str, Measure]:
    """Return the share judged unsafe, of what was judged, and the mean score, of what has one, if anything has."""
    judged = np.array([verdict.unsafe is not None for verdict in verdicts], dtype=np.bool_)
    unsafe = np.array([bool(verdict.unsafe) for verdict in verdicts], dtype=np.bool_)
    scores = [np.nan if verdict.score is None else verdict.score for verdict in verdicts]
    return {"pct_NSFW": Share(unsafe, judged), "score": Average.of(scores)}


def count_states(verdicts: Sequence[Verdict]) -> dict[VerdictState, int]:
    """Return how many items were judged, got an answer without a verdict, or got none."""
    states: tuple[VerdictState, ...] = ("judged", "unparsable", "failed")
    return {state: sum(verdict.state == state for verdict in verdicts) for state in states}


def write_verdicts(path: Path, items: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> None:
    """Write what a judge said of each item, as JSON lines that the judge `replay` can read.

    Args:
        items: what a line says of the item: its `text`, or its `id`.
    """
    lines = [json_text({**item, **vars(verdict)}) for item, verdict in zip(items, verdicts, strict=True)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
