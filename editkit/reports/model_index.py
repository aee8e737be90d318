"""Reports as metadata of a model card on the Hugging Face Hub: the YAML head of a README, with `model-index`."""

from __future__ import annotations

from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCardData

from editkit.components.metric import HubMetric
from editkit.reports.facts import title_of
from editkit.reports.parts import ReportPart, parts_of
from editkit.reports.read import RecordError, Stored
from editkit.reports.schema import Report, Row


def as_model_index(runs: Sequence[Stored], patch: str | None = None) -> str:
    """Return the YAML head for the card of one model, with what all runs measured of it.

    The `args` of a metric hold n and its interval, and `better: less` where a smaller number is the better one.

    Args:
        patch: the edit that the card is of, by its name in the reports; needed where they hold several.

    Raises:
        RecordError: the runs are of several edits or of no model, or none is called `patch`.
    """
    for run in runs:
        if "content" in run.report:
            raise RecordError(
                f"{run.path} judged what was there already, and no model.", "Export runs of `editkit eval` alone."
            )
    edits = list(dict.fromkeys(row["name"] for run in runs for row in run.report["models"][1:]))
    if patch is None and len(edits) > 1:
        raise RecordError(
            f"A model card is of one model, but the runs are of {len(edits)} edits.",
            f"Choose one with --patch: {', '.join(edits)}.",
        )
    if patch is not None and patch not in edits:
        raise RecordError(f"No run measured an edit called '{patch}'.", f"Edits there: {', '.join(edits) or 'none'}.")
    chosen = patch or next(iter(edits), None)
    rows = [(part, row) for run in runs for part in parts_of(run.report) for row in _rows(part.report, chosen)]
    if len(models := {_weights(part.of, row) for part, row in rows}) > 1:
        raise RecordError(
            f"'{chosen or 'base'}' is {len(models)} different models in these runs.", "Export the runs one by one."
        )
    results = {(r.unique_identifier, r.metric_name): r for part, row in rows for r in _results(part, row)}
    sources = list(dict.fromkeys(part.of["run"]["model"]["source"] for part, _ in rows if "run" in part.of))
    card = ModelCardData(
        base_model=sources[0] if len(sources) == 1 else sources or None,
        library_name="editkit",
        tags=["editkit", *(["model-editing", "safety"] if chosen else [])],
        model_name=chosen or (sources[0] if sources else "base"),
        eval_results=list(results.values()),
    )
    return f"---\n{card.to_yaml()}\n---\n"


def _rows(report: Report, name: str | None) -> list[Row]:
    """Return the row of the edit `name`, or of the base."""
    base, *edits = report["models"]
    return [row for row in edits if row["name"] == name] if name else [base]


def _weights(report: Report, row: Row) -> tuple[str, ...]:
    """Return digests that tell a model from others; of a report without them, nothing."""
    if "run" not in report:
        return ()
    about = report["run"]
    return about["model"]["identity"], *(
        facts["digest"] for facts in about["patches"] if facts["patch"] == row["patch"]
    )


def _results(part: ReportPart, row: Row) -> list[EvalResult]:
    results = []
    for metric, rate in row["metrics"].items():
        facts, data = part.facts[metric], part.data(metric)
        hub = facts.hub or HubMetric(task=part.of["evaluation"], title=title_of(part.of))
        direction = {"better": facts.better} if facts.better == "less" else {}
        results.append(
            EvalResult(
                task_type=hub.task,
                task_name=hub.title,
                dataset_type=data["name"],
                dataset_name=data["name"],
                dataset_revision=data["fingerprint"] or None,
                metric_type=hub.kind or metric,
                metric_name=metric,
                metric_value=round(rate["value"], 4),
                metric_args={"n": rate["n"], "low": round(rate["low"], 4), "high": round(rate["high"], 4), **direction},
                verified=False,
            )
        )
    return results
