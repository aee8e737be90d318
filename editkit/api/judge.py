"""Judge texts or images that are there already, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit.api.runs import RUNS
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.evals.judges.run import Judged, run_judges
from editkit.files.paths import user_path
from editkit.progress import Stage, silent
from editkit.recipes.layers import flatten


def judge(
    items: Sequence[str | Path],
    judges: Sequence[str],
    *,
    column: str | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    host: Host | None = None,
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

    Raises:
        EditkitError: items or a judge cannot be used; nothing is written.

    Example:
        >>> judged = judge(["gallery/base", "gallery/edited"], ["nsfw-image"])
        >>> judged.report["models"][1]["difference"]["images:pct_NSFW:nsfw-image"]["value"]
    """
    return run_judges(
        [user_path(place) for place in items],
        judges,
        flatten(settings or {}),
        host or default_host(),
        runs=RUNS,
        column=column,
        output=None if output is None else user_path(output),
        seed=seed,
        stage=stage,
    )
