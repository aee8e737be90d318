"""Where reports are kept: each in a new file, below the folder of runs as `eval-<evaluation>-<digest>[-N].json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from editkit.files.outputs import FileTaken, first_free, new_file
from editkit.files.whole_text import json_text
from editkit.reports.schema import Report


def save_report(report: Report, output: Path) -> Path:
    """Write a report to a new file, with the time of writing, and return the file.

    Raises:
        OutputError: `output` exists, or the place cannot be written; nothing is left behind.
    """
    dated: Report = {**report, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json_text(dated, indent=2) + "\n"
    with new_file(output) as partial:
        partial.write_text(text, encoding="utf-8")
    return output


def keep_report(report: Report, runs: Path) -> Path:
    """Write a report below `runs`, in a file that did not exist, and return the file.

    Raises:
        OutputError: the place cannot be written; nothing is left behind.
    """
    digest = digest_of(report)
    while True:
        try:
            return save_report(report, free_place(runs, report["evaluation"], digest))
        except FileTaken:
            continue  # another run took the number in between


def digest_of(report: Mapping[str, object]) -> str:
    """Return eight hex digits of all that a report says but when it was written."""
    said = {key: value for key, value in report.items() if key != "created"}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]


def file_name(evaluation: str, digest: str) -> str:
    """Return what the file of a report is called."""
    return f"eval-{evaluation.replace('/', '-')}-{digest}.json"


def free_place(runs: Path, evaluation: str, digest: str) -> Path:
    """Return a file below `runs` that does not exist."""
    stem = file_name(evaluation, digest).removesuffix(".json")
    return runs / first_free(stem, lambda name: os.path.lexists(runs / name), ".json")
