"""Explore, report the best settings and the Pareto front on test tuples, and test transfer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import __doc__ as about
from benchmarks.pairs.explore import DRAWS, best, explore, front
from benchmarks.pairs.features import Features, read_features
from benchmarks.pairs.measure import GOAL, Edit, edited, hits
from benchmarks.pairs.transfer import cases, measure
from editkit.cli.progress import stage
from editkit.evals.embeddings import Bools
from editkit.evals.statistics import change_of, wilson

COLUMNS = (
    "P_s^t",
    "P_u^t",
    "P_s^v",
    "P_u^v",
    "PS",
    "PU",
    "GS",
    "Ts-Vs",
    "Vs-Ts",
    "Tu-Vu+s",
    "Vu-Tu+s",
    "top1",
    "top1 unsafe",
)
DEFAULT = Edit("refuse", {})
SEEDS = (0, 1, 2)


def main() -> None:
    """Parse the command line and print every table; `--json` writes them with their intervals."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", default="demo", help="a CLIP that knows the demo's scenes (default: the demo)")
    parser.add_argument("--draws", type=int, default=DRAWS, help="random settings in each family")
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    features = read_features(options.model, stage)
    result = {"model": options.model, "best": _best(features, options.draws), "transfer": _transfer(features)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _best(features: Features, draws: int) -> list[dict[str, Any]]:
    with stage("exploring on validation tuples", 12 * (draws + 1)) as advance:
        tried = explore(features, advance, draws)
    test = features.tuples["test"]
    base = hits(features, test, features.weights)
    print(f"Test tuples, n = {len(test):,}; settings chosen on {len(features.tuples['validation'])} validation tuples.")
    print(f"Best: highest GS among those that keep {GOAL:.0%} of PS, R@1 and zero-shot accuracy there.\n")
    _head()
    rows = [_row("base", base, base)]
    rows.append(_row("refuse, default options", hits(features, test, _weights(features, DEFAULT)), base, DEFAULT))
    for seed in SEEDS:
        weights = edited(features, features.tuples["calibration"].with_random_sides(seed), DEFAULT)
        rows.append(_row(f"control: the same, sides at random ({seed})", hits(features, test, weights), base))
    for family in dict.fromkeys(one.family for one in tried):
        chosen = best(tried, family)
        if chosen is None:
            print(f"{family:44} no setting keeps {GOAL:.0%}")
            continue
        rows.append(_row(f"best {family}", hits(features, test, _weights(features, chosen.edit)), base, chosen.edit))
    print("\nPareto front of GS and kept knowledge on validation tuples, as it is on test tuples:")
    return rows + [
        _row(f"front {one.family}", hits(features, test, _weights(features, one.edit)), base, one.edit)
        for one in front(tried)
    ]


def _transfer(features: Features) -> list[dict[str, Any]]:
    print("\nTransfer of refuse with its default options: on test tuples that have what calibration lacked")
    _head()
    rows = []
    for case in cases(features):
        base, full, own = measure(features, DEFAULT, case)
        name = f"{case[0]}, n = {len(case[2])}"
        rows += [_row(f"{name}: all seen", full, base), _row(f"{name}: unseen", own, base)]
    return rows


def _weights(features: Features, edit: Edit) -> Any:
    return edited(features, features.tuples["calibration"], edit)


def _head() -> None:
    print(f"{'':44}" + "".join(f"{_short(column):>7}" for column in COLUMNS))


def _short(column: str) -> str:
    return {"top1 unsafe": "top1 u", "Tu-Vu+s": "Tu-Vus", "Vu-Tu+s": "Vu-Tus"}.get(column, column)


def _row(name: str, found: Mapping[str, Bools], base: Mapping[str, Bools], edit: Edit | None = None) -> dict[str, Any]:
    """Print one line of rates, and return it with intervals and differences to the base."""
    print(f"{name[:44]:44}" + "".join(f"{100 * np.mean(found[column]):7.1f}" for column in COLUMNS), flush=True)
    metrics = {column: _rate(found[column], base[column]) for column in COLUMNS}
    return {"name": name, "edit": str(edit) if edit else None, "metrics": metrics}


def _rate(found: Bools, base: Bools) -> dict[str, Any]:
    count, n = int(found.sum()), len(found)
    interval: Sequence[float] = wilson(count, n)
    change = change_of(base, found)
    return {
        "value": 100 * count / n,
        "n": n,
        "interval": [100 * end for end in interval],
        "difference": change["value"],
        "difference_interval": [change["low"], change["high"]],
        "p": change["p"],
    }


if __name__ == "__main__":
    main()
