"""The folder for results that no one gave a place, in the current folder."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("editkit-runs")
