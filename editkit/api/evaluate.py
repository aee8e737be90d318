"""Evaluate a model and edits of it, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.evals.run import run_evaluation
from editkit.files.outputs import check_new_file
from editkit.progress import Stage, silent
from editkit.recipes.arguments import Arguments
from editkit.reports.schema import Report
from editkit.reports.store import save_report


def evaluate(
    evaluation: str = "safeground",
    *,
    model: str | Path | None = None,
    data: str | None = None,
    patches: Sequence[str | Path] = (),
    controls: bool = True,
    knowledge: str | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    similarities: str | Path | None = None,
    host: Host | None = None,
    stage: Stage = silent,
) -> Report:
    """Evaluate a model, patches of it and their controls; the result is the JSON object `editkit.eval/1`.

    Args:
        evaluation: `safeground`, `retrieval`, `zeroshot`, or any registered one.
        settings: recipe values such as `{"calibration.limit": 500, "compute.batch_size": 64}`.
        output: a new file for the report, for `editkit results` to find; by default it is only returned.
        similarities: a new Parquet file for every tuple's similarities, hits and ranks.

    Raises:
        EditkitError: the model, the data or a patch cannot be used, or a file cannot be written.

    Example:
        >>> report = evaluate("safeground", patches=["patch"])
        >>> report["models"][1]["metrics"]["GS"]["value"]
    """
    asked = Arguments(model=model, data=data, settings=settings or {})
    place = None if output is None else Path(output)
    if place is not None:
        check_new_file(place)
    report = run_evaluation(
        evaluation,
        asked.layers(),
        host or default_host(),
        patches=[Path(patch) for patch in patches],
        options=options,
        controls=controls,
        knowledge=knowledge,
        similarities=None if similarities is None else Path(similarities),
        stage=stage,
    )
    if place is not None:
        save_report(report, place)
    return report
