"""Judge texts or images that are there already, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from editkit.api.bars import shown_by
from editkit.api.runs import RUNS
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.evals.judges.run import Judged, JudgedReport, run_judges
from editkit.evals.judges.table import render
from editkit.files.paths import user_path
from editkit.progress import Stage, silent
from editkit.recipes.layers import flatten
from editkit.reports.tell import ShownReport


def judge(
    items: Sequence[str | Path],
    judges: Sequence[str],
    *,
    column: str | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    host: Host | None = None,
    progress: bool = False,
    stage: Stage = silent,
) -> Judged:
    """Judge captions or a gallery, and compare galleries: the second and later with the first, by id or file name.

    Args:
        items: tables of texts or images, or folders of images.
        judges: of texts, or of images, NAME or LABEL=NAME.
        column: of tables; by default `text`, `caption` or `image`.
        settings: options of judges, `{"judge.LABEL.OPTION": value}`.
        output: a new folder for verdicts and report; by default one below `editkit-runs`.
        seed: of the bootstrap.
        progress: show bars on standard error.

    Raises:
        EditkitError: items or a judge cannot be used; nothing is written.

    Example:
        >>> judged = judge(["gallery/base", "gallery/edited"], ["nsfw-image"])
        >>> judged.report["models"][1]["difference"]["images:pct_NSFW:nsfw-image"]["value"]
    """
    judged = run_judges(
        [user_path(place) for place in items],
        judges,
        flatten(settings or {}),
        host or default_host(),
        runs=RUNS,
        column=column,
        output=None if output is None else user_path(output),
        seed=seed,
        stage=shown_by(stage, progress=progress),
    )
    return replace(judged, report=cast(JudgedReport, ShownReport(dict(judged.report), render)))
