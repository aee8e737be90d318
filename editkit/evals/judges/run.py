"""Judge texts or images that are there already: galleries, or captions of another tool; and keep the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, cast

from editkit.components.host import Host
from editkit.components.metric import describe_metrics
from editkit.errors import DataError
from editkit.evals.judges import Verdict, VerdictState
from editkit.evals.judges.agreement import Agreement, agreements
from editkit.evals.judges.items import Items, read_items
from editkit.evals.judges.panel import (
    Chosen,
    ContentKind,
    JudgeFacts,
    choose_judges,
    content_of,
    count_states,
    judge_all,
    measures_of,
    write_verdicts,
)
from editkit.evals.measures import change, rate
from editkit.files.digests import digest_of
from editkit.files.outputs import check_free, first_free, new_folder
from editkit.progress import Stage, silent
from editkit.reports.elsewhere import note_elsewhere
from editkit.reports.facts import kept_facts
from editkit.reports.metric_schema import MetricFacts
from editkit.reports.metrics import JUDGED
from editkit.reports.schema import SCHEMA, DataFacts, Difference, Omission, Report, Row
from editkit.reports.store import digest_of as digest_of_report
from editkit.reports.store import file_name, save_report

NAME = "judge"
Verdicts = Mapping[str, Sequence[Verdict]]
"""By the judge's label."""


class JudgedRow(Row):
    """One source of items: a row of `editkit.eval/1` and more.

    `difference` is against the first source, on the items that both have, where their ids are their own.
    """

    judged: dict[str, dict[VerdictState, int]]
    """By judge: how many items have a verdict, an answer without one, no answer."""
    agreement: list[Agreement]
    """Of every two judges."""


class JudgedReport(TypedDict):
    """The JSON object; the first of `models` is the source that the others are compared with."""

    schema: str
    evaluation: str
    title: str
    metrics: dict[str, MetricFacts]
    data: DataFacts
    chance: dict[str, dict[str, float]]
    models: list[JudgedRow]
    controls: list[JudgedRow]
    left_out: list[Omission]
    warnings: list[str]
    content: ContentKind
    judges: dict[str, JudgeFacts]


@dataclass(frozen=True)
class Judged:
    """The report, and the folder with it and the verdicts."""

    report: JudgedReport = field(repr=False)
    folder: Path
    notes: tuple[str, ...] = ()


def run_judges(
    places: Sequence[Path],
    asked: Sequence[str],
    settings: Mapping[str, Any],
    host: Host,
    *,
    runs: Path,
    column: str | None = None,
    output: Path | None = None,
    seed: int = 0,
    stage: Stage = silent,
) -> Judged:
    """Judge the items of each place by every judge, and write verdicts and report to a new folder.

    Args:
        places: tables, or folders of images; the second and later are compared with the first.
        asked: judges of texts, or judges of images, as NAME or LABEL=NAME.
        settings: options by `judge.LABEL.OPTION`.
        column: of tables; see `read_items`.
        output: a new folder; by default one below `runs`.
        seed: of the bootstrap.

    Raises:
        EditkitError: items or a judge cannot be used; nothing is written.
    """
    check_free(output)  # now, not after the work
    content = content_of(asked, host)
    judges = choose_judges(asked, settings, host, content)
    sources = _named_apart([read_items(place, content, column) for place in places])
    fingerprints = [source.fingerprint() for source in sources]
    verdicts = _judge(judges, sources, stage)
    report = _report(judges, sources, fingerprints, verdicts, seed)
    digest = digest_of_report(report)
    folder = output or runs / first_free(f"judged-{digest}", lambda name: (runs / name).exists())
    with new_folder(folder) as partial:
        for one in judges:
            about = [source.describe(place) for source in sources for place in range(len(source.ids))]
            said = [verdict for found in verdicts for verdict in found[one.label]]
            write_verdicts(partial / f"verdicts-{one.label}.jsonl", about, said)
        save_report(cast(Report, report), partial / file_name(NAME, digest))
    note_elsewhere(folder, runs)
    return Judged(report, folder, tuple(host.finished({**report}, folder)))


def _named_apart(sources: Sequence[Items]) -> list[Items]:
    """Number sources of one name."""
    named: dict[str, Items] = {}
    for source in sources:
        free = first_free(source.name, named.__contains__)
        named[free] = replace(source, name=free)
    return list(named.values())


def _judge(judges: Sequence[Chosen], sources: Sequence[Items], stage: Stage) -> list[Verdicts]:
    """Return the verdicts of each source; each judge is asked once, of all together."""
    items = [item for source in sources for item in source.items]
    ids = [name for source in sources for name in source.ids]
    said = judge_all(judges, items, ids, stage)
    parts: list[Verdicts] = []
    start = 0
    for source in sources:
        parts.append({label: found[start : start + len(source.ids)] for label, found in said.items()})
        start += len(source.ids)
    return parts


def _report(
    judges: Sequence[Chosen],
    sources: Sequence[Items],
    fingerprints: Sequence[str],
    verdicts: Sequence[Verdicts],
    seed: int,
) -> JudgedReport:
    warnings = [warning for source in sources for warning in source.warnings]
    rows = []
    for source, said in zip(sources, verdicts, strict=True):
        changes = _changes(sources[0], verdicts[0], source, said, seed) if source is not sources[0] else {}
        rows.append(_row(source, said, changes, warnings, seed))
    return JudgedReport(
        schema=SCHEMA,
        evaluation=NAME,
        title="Judged",
        metrics=kept_facts(describe_metrics(JUDGED, dict.fromkeys(name for row in rows for name in row["metrics"]))),
        data=DataFacts(
            name=" + ".join(source.name for source in sources),
            fingerprint=fingerprints[0] if len(sources) == 1 else digest_of(list(fingerprints)),
            n=sum(len(source.ids) for source in sources),
        ),
        chance={},
        models=rows,
        controls=[],
        left_out=[
            Omission(id=f"{source.name}: {entry.id}", reason=entry.reason)
            for source in sources
            for entry in source.left_out
        ],
        warnings=warnings,
        content=sources[0].content,
        judges={one.label: one.facts() for one in judges},
    )


def _row(source: Items, said: Verdicts, changes: dict[str, Difference], warnings: list[str], seed: int) -> JudgedRow:
    metrics = {}
    for label, found in said.items():
        for name, measure in measures_of(found).items():
            if (measured := rate(measure, seed=seed)) is not None:
                metrics[metric(source.content, name, label)] = measured
    agreement: list[Agreement] = []
    if len(said) > 1:
        try:
            agreement = agreements(said, seed=seed)
        except DataError as error:  # no reason to lose everything else
            warnings.append(f"{source.name}: {error.problem}")
    return JudgedRow(
        name=source.name,
        patch=None,
        metrics=metrics,
        difference=changes,
        by_concept={},
        judged={label: count_states(found) for label, found in said.items()},
        agreement=agreement,
    )


def _changes(first: Items, before: Verdicts, source: Items, after: Verdicts, seed: int) -> dict[str, Difference]:
    """Compare two sources on the items that have the same id."""
    if not (first.named and source.named):
        return {}
    places = {name: place for place, name in enumerate(source.ids)}
    pairs = [(place, places[name]) for place, name in enumerate(first.ids) if name in places]
    changes = {}
    for label in before:
        old = measures_of([before[label][place] for place, _ in pairs])
        new = measures_of([after[label][place] for _, place in pairs])
        for name, measure in old.items():
            if (found := change(measure, new[name], seed=seed)) is not None:
                changes[metric(source.content, name, label)] = found
    return changes


def metric(content: ContentKind, name: str, label: str) -> str:
    """Return the key of a metric, such as `texts:pct_NSFW:llm`."""
    return f"{content}s:{name}:{label}"
