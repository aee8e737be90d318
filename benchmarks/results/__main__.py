"""Edit, choose on validation, measure on test, write the page."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import editkit
from benchmarks.results import __doc__ as about
from benchmarks.results.candidates import candidates
from benchmarks.results.choose import best_of_families, kept_report, make_patches, try_all
from benchmarks.results.measure import goals, measure_all
from benchmarks.results.page import page
from editkit.api.bars import stage
from editkit.cli.console import err, quiet_libraries

CONTROLLED = "refuse, default"
"""The family whose edit the filter and the wrecks stand beside."""


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder for patches and reports")
    parser.add_argument("--families", nargs="+", help="only these")
    parser.add_argument("--limit", type=int, help="measure on this many tuples, for a quick try")
    parser.add_argument("--page", type=Path, help="write the page here (default: print it)")
    parser.add_argument("--json", type=Path, help="write every number here")
    asked = parser.parse_args()
    quiet_libraries()
    wanted = [one for one in candidates() if not asked.families or one.family in asked.families]
    failures: list[str] = []
    made = list(make_patches(wanted, asked.runs, failures.append, stage))
    tried = try_all(made, asked.limit, stage)
    chosen = best_of_families(tried)
    measured = measure_all(chosen, asked.runs, asked.limit, stage)
    controlled = next((one for one in chosen if one.candidate.family == CONTROLLED), chosen[0])
    settings = {"calibration.limit": asked.limit}
    beside = kept_report(
        asked.runs / "controlled.json",
        lambda: editkit.evaluate(patches=[controlled.patch], settings=settings, stage=stage),
    )
    text = page(tried, measured, beside)
    if asked.page:
        asked.page.write_text(text, encoding="utf-8")
    else:
        print(text)
    for failure in failures:
        err.print(failure)
    if asked.json:
        rows = [asdict(one) | {"goals": goals(one, measured[0])} for one in measured]
        asked.json.write_text(json.dumps({"schema": "editkit.results/1", "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
