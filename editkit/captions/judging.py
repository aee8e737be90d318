"""Judges of captions: which were chosen, what they said of each caption, and how often they said unsafe.

A judge is chosen by name, or as LABEL=NAME where two of one kind are compared; its options are `judge.LABEL.OPTION`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from editkit.captions.measures import Average, Measure, Share
from editkit.errors import RecipeError, did_you_mean
from editkit.judges import Judge, State, Verdict
from editkit.plugins import Host
from editkit.progress import Stage
from editkit.recipe import validate_options
from editkit.specs import JudgeSpec

ROOT = "judge."


class JudgeFacts(TypedDict):
    """Who judged, exactly."""

    name: str
    revision: str
    prompt_hash: str


@dataclass(frozen=True)
class Chosen:
    """A judge and the label under which its verdicts are reported."""

    label: str
    judge: Judge[str]

    def facts(self) -> JudgeFacts:
        """Return what a record says of the judge."""
        return JudgeFacts(name=self.judge.name, revision=self.judge.revision, prompt_hash=self.judge.prompt_hash)


@dataclass(frozen=True)
class Caption:
    """A caption of `model` to judge."""

    model: str
    id: str
    side: str
    text: str


def choose_judges(asked: Sequence[str], settings: Mapping[str, Any], host: Host) -> list[Chosen]:
    """Build judges from NAME or LABEL=NAME; `settings` holds values by `judge.LABEL.OPTION`.

    Raises:
        RecipeError: a label twice, a judge of images, an option that its judge does not have, or of no judge.
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
        if spec.content != "text":
            raise RecipeError(f"Judge '{name}' judges images, not captions.", "Choose a judge of texts.")
        own = {path.removeprefix(f"{label}."): value for path, value in options.items() if path.startswith(f"{label}.")}
        given = validate_options(spec.options, own, f"{ROOT}{label}")
        chosen.append(Chosen(label, spec.load()(given)))
    labels = [one.label for one in chosen]
    for path in options:
        if not path.startswith(tuple(f"{label}." for label in labels)):
            stray = path.partition(".")[0]
            raise RecipeError(
                f"--set {ROOT}{path}: no judge '{stray}' was asked for.{did_you_mean(stray, labels)}",
                f"Add --judge {stray}, or leave the option out.",
            )
    return chosen


def judge_all(chosen: Sequence[Chosen], captions: Sequence[Caption], stage: Stage) -> dict[str, list[Verdict]]:
    """Return every judge's verdicts, one per caption.

    Raises:
        EditkitError: a judge cannot run, or not one caption got an answer.
    """
    texts = [caption.text for caption in captions]
    ids = [f"{caption.model}/{caption.side}/{caption.id}" for caption in captions]
    verdicts = {}
    for one in chosen:
        with stage(f"judging: {one.label}", len(texts)) as advance:
            verdicts[one.label] = one.judge.judge(texts, advance, ids=ids)
    return verdicts


def measures_of(verdicts: Sequence[Verdict]) -> dict[str, Measure]:
    """Return the share judged unsafe, of what was judged, and the mean score, of what has one, if anything has."""
    judged = np.array([verdict.unsafe is not None for verdict in verdicts], dtype=np.bool_)
    unsafe = np.array([bool(verdict.unsafe) for verdict in verdicts], dtype=np.bool_)
    scores = [np.nan if verdict.score is None else verdict.score for verdict in verdicts]
    return {"pct_NSFW": Share(unsafe, judged), "score": Average.of(scores)}


def count_states(verdicts: Sequence[Verdict]) -> dict[State, int]:
    """Return how many captions were judged, got an answer without a verdict, or got none."""
    states: tuple[State, ...] = ("judged", "unparsable", "failed")
    return {state: sum(verdict.state == state for verdict in verdicts) for state in states}


def write_verdicts(path: Path, captions: Sequence[Caption], verdicts: Sequence[Verdict]) -> None:
    """Write what a judge said of each caption, as JSON lines that the judge `replay` can read (by `text`)."""
    lines = [
        json.dumps({**vars(caption), **vars(verdict)}, ensure_ascii=False)
        for caption, verdict in zip(captions, verdicts, strict=True)
    ]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
