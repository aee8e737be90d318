"""Where reports are kept: each in a new file, by default `editkit-runs/eval-<evaluation>-<digest>[-N].json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from editkit.files.outputs import FileTaken, first_free, new_file
from editkit.reports.schema import Report

RUNS = Path("editkit-runs")
"""Where output goes that no one gave a place, in the current folder."""


def save_report(report: Report, output: Path | None = None) -> Path:
    """Write a report with the time of writing and return the file.

    Args:
        output: a new file; by default one below `RUNS`.

    Raises:
        OutputError: `output` exists, or the place cannot be written; nothing is left behind.
    """
    dated: Report = {**report, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps(dated, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    digest = digest_of(report)
    while True:
        path = output or free_place(report["evaluation"], digest)
        try:
            with new_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        except FileTaken:
            if output is not None:
                raise
            continue  # another run took the number in between
        return path


def digest_of(report: Mapping[str, object]) -> str:
    """Return eight hex digits of all that a report says but when it was written."""
    said = {key: value for key, value in report.items() if key != "created"}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]


def free_place(evaluation: str, digest: str) -> Path:
    """Return a file below `RUNS` that does not exist."""
    stem = f"eval-{evaluation.replace('/', '-')}-{digest}"
    return RUNS / first_free(stem, lambda name: os.path.lexists(RUNS / name), ".json")
