"""Reports as CLIP_benchmark writes its results, for tools that read those.

One object for each model and data set, with the keys `dataset`, `model`, `pretrained`, `task`, `language` and
`metrics`; metrics are shares between 0 and 1. A metric's facts say under which key it stands: safe captions that ask
safe images are its image retrieval, safe images that ask captions its text retrieval. It has none for SafeGround or
for queries that are unsafe: they are left out.

Source: github.com/LAION-AI/CLIP_benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from editkit.reports.parts import MeanPart, ReportPart, SetPart, parts_of
from editkit.reports.read import RecordError, Stored
from editkit.reports.schema import DataFacts, Report, Row

PROFILE = "clip-benchmark"
"""The profile of the sets that it publishes itself."""


def as_clip_benchmark(runs: Sequence[Stored]) -> list[dict[str, Any]]:
    """Return the objects of all runs: the base's and the edits', without controls; of equals, the first run counts.

    Raises:
        RecordError: no run measured anything that CLIP_benchmark has a key for; or two measured one model on different
            data of the same name, which it could not tell apart.
    """
    made: dict[str, dict[str, Any]] = {}
    parts = [part for run in runs for part in parts_of(run.report) if not isinstance(part, MeanPart)]
    entries = [entry for part in parts for kind, row in part.rows for entry in _entries(part, kind, row)]
    for entry in entries:
        first = made.setdefault(file_name(entry), entry)
        if first["fingerprint"] != entry["fingerprint"]:
            raise RecordError(
                f"{entry['model']} was measured on different data that are both called {entry['dataset']}.",
                "Export the runs one by one.",
            )
        first["metrics"] = {**entry["metrics"], **first["metrics"]}
    if not made:
        raise RecordError(
            "No run measured what CLIP_benchmark has keys for, as it has for recall on safe items and for accuracy.",
            "Export `editkit eval retrieval` or `zeroshot`, or choose another --format.",
        )
    return list(made.values())


def file_name(entry: dict[str, Any]) -> str:
    """Name the file of one object, as CLIP_benchmark's default does: by data, checkpoint, model, language, task."""
    parts = (entry[key] for key in ("dataset", "pretrained", "model", "language", "task"))
    return "_".join(part.strip("/").replace("/", "-") for part in parts if part) + ".json"


def _entries(part: ReportPart, kind: str, row: Row) -> list[dict[str, Any]]:
    if kind == "control":
        return []
    by_data: dict[tuple[str, str], tuple[DataFacts, dict[str, float]]] = {}
    for metric, rate in row["metrics"].items():
        if (where := part.facts[metric].clip_benchmark) is not None:
            data = part.data(metric)
            _, metrics = by_data.setdefault((where.task, data["name"]), (data, {}))
            metrics[where.key] = rate["value"] / 100
    model, pretrained = _names(part.of, "" if kind == "base" else row["name"])
    return [
        {
            "dataset": _dataset(part, data),
            "model": model,
            "pretrained": pretrained,
            "task": task,
            "metrics": metrics,
            "language": "en",
            "n": data["n"],
            "fingerprint": data["fingerprint"],
        }
        for (task, _), (data, metrics) in by_data.items()
    ]


def _dataset(part: ReportPart, data: DataFacts) -> str:
    """Return what CLIP_benchmark calls a set that it publishes itself (`wds/vtab/pets`), and the name of other data."""
    if isinstance(part, SetPart) and part.of.get("profile") == PROFILE:
        from editkit.data.zeroshot.catalogue import sets_of

        published = {facts.title: facts.hub for facts in sets_of(PROFILE).values()}
        name = published[data["name"]].removeprefix("wds_")
        return f"wds/{name.replace('vtab-', 'vtab/')}"
    return data["name"]


def _names(report: Report, edit: str) -> tuple[str, str]:
    """Return CLIP_benchmark's model and checkpoint; an edit is a checkpoint of its model."""
    source = report["run"]["model"]["source"] if "run" in report else report["models"][0]["name"]
    model, pretrained = source, ""
    if source.startswith("open_clip:"):
        model, _, pretrained = source.removeprefix("open_clip:").partition("/")
    return model, "+".join(name for name in (pretrained, edit) if name)
