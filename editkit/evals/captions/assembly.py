"""From finished captions files to the report: who said what of which image, judged, compared and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from editkit.components.site import Side
from editkit.data.tuples import Item, LeftOut, TupleSet, refuse_if_most_are_missing
from editkit.evals.captions.file import CaptionFile
from editkit.evals.captions.metrics import REFERENCES, Told, load_metrics, score
from editkit.evals.captions.options import Definitions
from editkit.evals.captions.plan import Settings
from editkit.evals.captions.report import CaptionReport, build_row
from editkit.evals.judges import Verdict
from editkit.evals.judges.panel import Chosen, judge_all
from editkit.models.variants import Variant
from editkit.progress import Stage
from editkit.reports.schema import SCHEMA, DataFacts, Omission


@dataclass(frozen=True)
class Caption:
    """What `model` said of an image."""

    model: str
    id: str
    side: str
    text: str


@dataclass(frozen=True)
class Finished:
    """A report, and what its judges said of each of the captions."""

    report: CaptionReport
    captions: Sequence[Caption]
    verdicts: Mapping[str, Sequence[Verdict]]


def assemble(
    name: str,
    variants: Sequence[Variant],
    files: Mapping[str, CaptionFile],
    data: TupleSet,
    judges: Sequence[Chosen],
    settings: Settings,
    stage: Stage,
    definitions: Definitions = "standard",
) -> Finished:
    """Judge and compare what the captions files hold; the first variant is the base.

    An image that could not be read for one variant is left out for all.

    Args:
        name: what the report calls the evaluation.
        definitions: of ROUGE-L and BLEU.

    Raises:
        DataError: most images could not be read.
        EditkitError: a judge cannot run.
    """
    bad = {(row.id, row.side): row.reason for file in files.values() for row in file.rows if row.caption is None}
    unreadable = [LeftOut(name, reason) for (name, _), reason in bad.items()]
    refuse_if_most_are_missing(data.name, unreadable, len(data.items) * len(settings.sides), "Check the image files.")
    captions = [
        Caption(variant.name, row.id, row.side, row.caption)
        for variant in variants
        for row in files[variant.name].rows
        if row.caption is not None and (row.id, row.side) not in bad
    ]
    ids = [f"{caption.model}/{caption.side}/{caption.id}" for caption in captions]
    verdicts = judge_all(judges, [caption.text for caption in captions], ids, stage)
    compare, missing = load_metrics(definitions)
    told = {variant.name: _told(variant, captions, verdicts, data, settings.sides) for variant in variants}
    rows, warnings, base = [], [], None
    with stage("comparing captions", len(variants)) as advance:
        for variant in variants:
            said = told[variant.name]
            scored = score(said, compare, settings.seed)
            file = files[variant.name].path.name
            row, more = build_row(variant.name, variant.patch, file, said, scored, base, settings.seed)
            base = base or scored
            rows.append(row)
            warnings += more
            advance(1)
    if "CIDEr" in compare and not any(":CIDEr:" in key for key in rows[0]["metrics"]):
        missing["CIDEr"] = "Two references with words, or more, are needed. Caption more images."
    header = files[variants[0].name].header or {}
    kept = ("model", "prompt", "temperature", "max_new_tokens", "seed", "batch_size", "dtype", "device", "sides")
    report = CaptionReport(
        schema=SCHEMA,
        evaluation=name,
        data=DataFacts(
            name=f"{data.name}/{data.split}", fingerprint=settings.fingerprint, n=len(captions) // len(variants)
        ),
        chance={"shuffled": rows[0]["chance"]},
        models=[row for row, variant in zip(rows, variants, strict=True) if not variant.is_control],
        controls=[row for row, variant in zip(rows, variants, strict=True) if variant.is_control],
        left_out=[Omission(id=entry.id, reason=entry.reason) for entry in (*data.left_out, *unreadable)],
        warnings=warnings,
        notes=[],
        captioning={fact: header[fact] for fact in kept},
        judges={one.label: one.facts() for one in judges},
        not_computed=missing,
    )
    return Finished(report, captions, verdicts)


def _told(
    variant: Variant,
    captions: Sequence[Caption],
    verdicts: Mapping[str, Sequence[Verdict]],
    data: TupleSet,
    sides: Sequence[Side],
) -> dict[Side, Told]:
    items = {item.id: item for item in data.items}
    told: dict[Side, Told] = {}
    for side in sides:
        places = [place for place, one in enumerate(captions) if (one.model, one.side) == (variant.name, side)]
        mine = [items[captions[place].id] for place in places]
        if places:
            told[side] = Told(
                [captions[place].text for place in places],
                {against: [_reference(item, against) for item in mine] for against in REFERENCES},
                [item.concept for item in mine],
                {judge: [said[place] for place in places] for judge, said in verdicts.items()},
            )
    return told


def _reference(item: Item, side: Side) -> str:
    return (item.unsafe_text if side == "unsafe" else item.safe_text) or ""
