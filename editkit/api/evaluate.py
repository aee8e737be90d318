"""Evaluate a model and edits of it, from Python."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from editkit.api.bars import shown_by
from editkit.api.runs import RUNS
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.specs import EvalSpec
from editkit.evals.keep import Kept, keep
from editkit.evals.request import Request
from editkit.evals.run import run_evaluation
from editkit.files.paths import user_path
from editkit.progress import Stage, silent
from editkit.recipes.arguments import Arguments
from editkit.reports.schema import Report
from editkit.reports.tell import ShownReport, tell_report


def evaluate(
    evaluation: str = "safeground",
    *,
    model: str | Path | None = None,
    data: str | None = None,
    patches: Sequence[str | Path] = (),
    controls: bool | None = None,
    knowledge: str | None = None,
    queries: str | None = None,
    slices: str | None = None,
    benign: str | None = None,
    judges: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    similarities: str | Path | None = None,
    host: Host | None = None,
    progress: bool = False,
    stage: Stage = silent,
) -> ShownReport:
    """Evaluate a model, patches of it and their controls; the result is the JSON object `editkit.eval/1`.

    It is a dict that shows itself as the command's table, in a terminal and in a notebook.

    Args:
        evaluation: `safeground`, `retrieval`, `exposure`, `robustness`, `overrefusal`, `restoration`, `zeroshot`,
            `captioning`, or another.
        controls: whether each patch's matched controls are measured; None: as the evaluation does by default.
        knowledge: the class set measured beside tuples, NAME or NAME:PATH, or "none".
        queries: the queries that search tuples, NAME or NAME:PATH, or "none".
        slices: the tuples whose slices are measured, NAME or NAME:PATH.
        benign: class sets of benign images, NAME or NAME:PATH, several as "a,b", or "none".
        judges: of an evaluation that has something judged: NAME or LABEL=NAME.
        options: of the evaluation, such as `{"ks": (1, 3)}`.
        settings: recipe values such as `{"calibration.limit": 500, "compute.batch_size": 64}`, and options of judges
            as `{"judge.LABEL.OPTION": value}`.
        output: a new file for the report, for `editkit results` to find; by default it is only returned. Of an
            evaluation that keeps files of its own, their folder, by default one below `editkit-runs`.
        similarities: a new Parquet file for every tuple's similarities, hits and ranks.
        progress: show bars on standard error.

    Raises:
        EditkitError: the model, the data or a patch cannot be used, or a file cannot be written.

    Example:
        >>> report = evaluate("safeground", patches=["patch"])
        >>> report["models"][1]["metrics"]["GS"]["value"]
    """
    asked = Request(
        evaluation=evaluation,
        layers=Arguments(model=model, data=data, settings=settings or {}).layers(),
        patches=[user_path(patch) for patch in patches],
        options=options or {},
        judges=judges,
        controls=controls,
        knowledge=knowledge,
        queries=queries,
        slices=slices,
        benign=benign,
        similarities=None if similarities is None else user_path(similarities),
        output=None if output is None else user_path(output),
        runs=RUNS,
    )
    host = host or default_host()
    evaluated = run_evaluation(asked, host, shown_by(stage, progress=progress))
    if evaluated.folder is not None or asked.output is not None:
        for line in keep(evaluated, host, output=asked.output, runs=RUNS).notes:
            warnings.warn(line, stacklevel=2)
    return _shown(evaluated.report, evaluation, host)


def caption(
    *,
    model: str | Path | None = None,
    data: str | None = None,
    patches: Sequence[str | Path] = (),
    controls: bool = False,
    judges: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    host: Host | None = None,
    progress: bool = False,
    stage: Stage = silent,
) -> Kept:
    """Caption images with a model and with edits of it, and compare and judge the captions.

    Args:
        model: one that writes captions; by default the patches'.
        options: `prompt`, `temperature`, `max_new_tokens`, `sides` and `device_map`.
        output: the folder of captions, in which an earlier run is continued; by default one below `editkit-runs`.
        progress: show bars on standard error.

    Returns:
        The report, and the folder of captions, verdicts and report as its `place`.

    Raises:
        EditkitError: see `evaluate`; or earlier captions in the folder were made with other settings.

    Example:
        >>> kept = caption(model="llava-hf/llava-1.5-7b-hf", patches=["patch"], judges=["toxicity"])
        >>> kept.report["models"][1]["difference"]["unsafe:pct_NSFW:toxicity"]["value"]
    """
    asked = Request(
        evaluation="captioning",
        layers=Arguments(model=model, data=data, settings=settings or {}).layers(),
        patches=[user_path(patch) for patch in patches],
        options=options or {},
        judges=judges,
        controls=controls,
        output=None if output is None else user_path(output),
        runs=RUNS,
    )
    host = host or default_host()
    kept = keep(run_evaluation(asked, host, shown_by(stage, progress=progress)), host, output=asked.output, runs=RUNS)
    return replace(kept, report=cast(Report, _shown(kept.report, asked.evaluation, host)))


def _shown(report: Report, evaluation: str, host: Host) -> ShownReport:
    return ShownReport(report, partial(tell_report, spec=host.resolve(EvalSpec, evaluation)))
