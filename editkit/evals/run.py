"""Evaluate a model and edits of it: base, patches and matched controls from one pass over the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editkit.components.choice import Choice, validate_options
from editkit.components.host import Host
from editkit.components.metric import describe_metrics, with_headline
from editkit.components.specs import DatasetSpec, EvalSpec, Options
from editkit.data.classes import ClassSet
from editkit.data.digests import image_digests
from editkit.data.tuples import LeftOut, TupleSet, refuse_if_most_are_missing
from editkit.data.zeroshot.sets import ClassSets
from editkit.errors import RecipeError
from editkit.evals.embeddings import Bools, TupleEmbeddings
from editkit.evals.encoder import Encoder
from editkit.evals.options import RetrievalOptions
from editkit.evals.provenance import describe_run
from editkit.evals.report import Subject, build_report
from editkit.evals.retrieval import Retrieval
from editkit.evals.run_classes import Seen, class_report, measure_classes
from editkit.evals.run_sets import run_benchmark
from editkit.evals.similarities import similarity_file
from editkit.evals.subjects import calibrated_tuples, evaluated_variants, evaluation_recipe, warn_of_overlap
from editkit.evals.zeroshot import ZeroShot
from editkit.files.outputs import check_new_file
from editkit.models.batches import Unreadable, refuse_unreadable
from editkit.models.compute import require_compute
from editkit.models.find import open_model
from editkit.models.joint_space import require_joint_space
from editkit.models.variants import Variant
from editkit.patch.patch import Patch
from editkit.progress import Stage, silent
from editkit.recipes.layers import Layer
from editkit.recipes.recipe import Recipe
from editkit.reports.facts import kept_facts
from editkit.reports.metrics import RETRIEVAL, ZEROSHOT
from editkit.reports.schema import DataFacts, Report

Chance = dict[str, dict[str, float]]
RECALL = Retrieval(RetrievalOptions(ks=(1,), directions=("Ts-Vs", "Vs-Ts")))
"""What is measured beside SafeGround: an edit must not cost it."""


@dataclass(frozen=True)
class Measured:
    """Hits [n] per metric for each variant, with what belongs beside them."""

    hits: Mapping[str, Mapping[str, Bools]]
    chance: Chance
    groups: tuple[str, ...]
    facts: DataFacts
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    knowledge: Mapping[str, Mapping[str, Bools]] = field(default_factory=dict)
    beside: Mapping[str, DataFacts] = field(default_factory=dict)
    """Of the metrics in `knowledge` that were measured on other items."""


def run_evaluation(
    name: str,
    layers: Sequence[tuple[str, Layer]],
    host: Host,
    *,
    patches: Sequence[Path] = (),
    options: Mapping[str, Any] | None = None,
    controls: bool = True,
    knowledge: str | None = None,
    similarities: Path | None = None,
    stage: Stage = silent,
) -> Report:
    """Evaluate a base model and any patches of it, each with controls matched by count.

    Args:
        name: a registered evaluation.
        layers: recipe layers, of which `model`, `data`, `calibration` (split, limit, concepts, seed) and `compute`
            count.
        knowledge: the class set measured beside tuples; None: the one that the data set names, "none": none.
        similarities: a new Parquet file for every tuple's similarities, hits and ranks (`evals.similarities`).

    Raises:
        EditkitError: model, data or a patch cannot be used; nothing is evaluated in part.
    """
    spec = host.resolve(EvalSpec, name)
    chosen = validate_options(spec.options, dict(options or {}), name)
    evaluation = spec.load()(chosen)
    if similarities is not None:
        _require_tuples(spec)
        check_new_file(similarities)
    loaded = [(path, Patch.load(path)) for path in patches]
    own: Layer = {"data.name": "demo-objects"} if spec.data == "classes" else {}
    recipe = evaluation_recipe(own, layers, loaded, host)
    device = require_compute(recipe.compute)  # now: the cache may make the model unnecessary
    data = _load(spec, recipe)
    adapter, files = open_model(recipe.model, host)
    require_joint_space(files, adapter.sites(files), f"`{name}` compares images with captions")
    variants = evaluated_variants(loaded, adapter, files, host, with_controls=controls)
    identity = files.checkpoint.identity()
    encoder = Encoder(adapter, files, identity, recipe.compute, device, stage)
    skip = recipe.skips_bad_items
    if isinstance(data, TupleSet):
        beside = _knowledge_set(recipe, knowledge, host)
        report = measure_variants(
            variants,
            data,
            encoder,
            {name: evaluation, **({"recall": RECALL} if evaluation.name == "safeground" else {})},
            {"top1": beside} if beside is not None else {},
            calibrated=calibrated_tuples(loaded),
            skip_unreadable=skip,
            similarities=similarities,
        )
    elif isinstance(data, ClassSets):
        report = run_benchmark(name, evaluation, data, variants, encoder, stage, skip_unreadable=skip)
    else:
        measured = measure_classes(evaluation, data, variants, encoder, skip_unreadable=skip)
        report = class_report(name, variants, measured)
    names = dict.fromkeys(name for one in (report, *report.get("sets", ())) for name in one["models"][0]["metrics"])
    facts = with_headline(describe_metrics((*spec.metrics, *RETRIEVAL, *ZEROSHOT), names))
    report["title"], report["items"], report["metrics"] = spec.called, spec.items_called, kept_facts(facts)
    report["notes"] = list(files.notes)
    report["run"] = describe_run(recipe, files, identity, loaded, chosen, device)
    return report


def measure_variants(
    variants: Sequence[Variant],
    data: TupleSet,
    encoder: Encoder,
    evaluations: Mapping[str, Any],
    classes: Mapping[str, ClassSet],
    *,
    calibrated: Mapping[str, Collection[str]],
    skip_unreadable: bool = False,
    similarities: Path | None = None,
) -> Report:
    """Measure variants of one model, of which the first is the base, in one pass over tuples and labelled images.

    Args:
        evaluations: of tuples, by name; the first one's is the report's, the metrics of others stand beside it.
        classes: labelled images, by the name of the metric that is their top-1 accuracy.
        calibrated: digests of tuples by what they calibrated; the report warns of those that are in `data`.
        similarities: a new Parquet file, a row for each tuple and variant.

    Raises:
        EditkitError: the model or the data cannot be used.
    """
    digests: dict[str, str] = {}
    items = data.items
    facts = DataFacts(name=f"{data.name}/{data.split}", fingerprint=data.fingerprint(digests), n=len(items))
    safe, unsafe = ([getattr(item, f"{side}_image") for item in items] for side in ("safe", "unsafe"))
    hashes = [image_digests(images, digests) for images in (safe, unsafe)]
    texts = encoder.texts(variants, [(item.safe_text or "", item.unsafe_text or "") for item in items])
    images = encoder.images(
        variants,
        list(zip(safe, unsafe, strict=True)),
        list(zip(*hashes, strict=True)),
        _skip if skip_unreadable else refuse_unreadable,
    )
    bad = images[variants[0].name].unreadable
    left_out = data.left_out + tuple(LeftOut(items[group].id, reason) for group, reason in sorted(bad.items()))
    refuse_if_most_are_missing(data.name, left_out, len(items) + len(data.left_out), "Check the image files.")
    kept = [index for index in range(len(items)) if index not in bad]
    ids, concepts = tuple(items[i].id for i in kept), tuple(items[i].concept for i in kept)
    main, *others = evaluations.values()
    hits: dict[str, Mapping[str, Bools]] = {}
    known: dict[str, dict[str, Bools]] = {variant.name: {} for variant in variants}
    about = {"evaluation": next(iter(evaluations)), "data": facts["name"], "fingerprint": facts["fingerprint"]}
    with similarity_file(similarities, about) if similarities is not None else nullcontext() as rows:
        for variant in variants:
            pictures, captions = (of[variant.name].values[:, kept] for of in (images, texts))
            embeddings = TupleEmbeddings(pictures[0], pictures[1], captions[0], captions[1], ids, concepts)
            hits[variant.name] = (
                main.hits(embeddings)
                if rows is None
                else rows.measure(main, embeddings, variant.name, variant.patch, control=variant.is_control)
            )
            for other in others:
                known[variant.name] |= other.hits(embeddings)
    chance: Chance = {}  # of the data, whatever the variant
    for evaluation in evaluations.values():
        _merge(chance, evaluation.chance(embeddings))
    seen = Seen(images, {hashes[side][i]: side * len(items) + i for side in (0, 1) for i in kept})
    data_beside: dict[str, DataFacts] = {}
    for metric, beside in classes.items():
        extra = measure_classes(ZeroShot(), beside, variants, encoder, seen, skip_unreadable=skip_unreadable)
        for variant in variants:
            known[variant.name][metric] = extra.hits[variant.name]["top1"]
        data_beside[metric] = extra.facts
        _merge(chance, {row: {metric: values["top1"]} for row, values in extra.chance.items()})
    facts["n"] = len(kept)
    warnings = tuple(warn_of_overlap(data, digests, calibrated))
    measured = Measured(hits, chance, concepts, facts, left_out, warnings, known, data_beside)
    return _report(next(iter(evaluations)), variants, measured)


def _report(name: str, variants: Sequence[Variant], measured: Measured) -> Report:
    subjects = [
        Subject(variant.name, variant.patch, measured.hits[variant.name], measured.knowledge.get(variant.name, {}))
        for variant in variants
    ]
    edits = [subject for subject, variant in zip(subjects, variants, strict=True) if not variant.is_control]
    matched = [subject for subject, variant in zip(subjects, variants, strict=True) if variant.is_control]
    return build_report(
        name,
        measured.facts,
        measured.chance,
        edits,
        matched,
        measured.groups,
        measured.left_out,
        measured.warnings,
        measured.beside,
    )


def _require_tuples(spec: EvalSpec) -> None:
    if spec.data != "tuples":
        raise RecipeError(
            f"`{spec.name}` evaluates labelled images, which have no four similarities.",
            "Leave out --similarities, or evaluate tuples: safeground or retrieval.",
        )


def _load(spec: EvalSpec, recipe: Recipe) -> TupleSet | ClassSet | ClassSets:
    chosen = recipe.calibration
    data: TupleSet | ClassSet | ClassSets = recipe.data.build().load(chosen.split)
    content = "tuples" if isinstance(data, TupleSet) else "classes"
    if content != spec.data:
        kinds = {"tuples": "tuples of safe and unsafe items", "classes": "labelled images"}
        raise RecipeError(
            f"`{spec.name}` evaluates {kinds[spec.data]}, but data set '{recipe.data.name}' holds {kinds[content]}.",
            f"Give --data {'visu:FOLDER or pairs:FILE' if spec.data == 'tuples' else 'classes:FILE or zeroshot:DIR'}",
        )
    if isinstance(data, TupleSet):
        return data.whole().select(chosen.concepts, chosen.limit, chosen.per_concept, chosen.seed)
    if chosen.concepts or chosen.per_concept:
        raise RecipeError(
            f"Data set '{recipe.data.name}' has classes, not concepts to choose from.",
            "Leave out --concepts; --limit draws from all classes.",
        )
    if data.split != chosen.split and recipe.origins["calibration.split"] not in ("default", "data set"):
        raise RecipeError(
            f"Data set '{recipe.data.name}' has no splits, so '{chosen.split}' cannot be chosen.",
            "Leave out --split, or write {split} into the path of a set's YAML file.",
        )
    return data.select(chosen.limit, chosen.seed)


def _knowledge_set(recipe: Recipe, asked: str | None, host: Host) -> ClassSet | None:
    name = asked
    if name is None:
        name = recipe.data.spec.knowledge if isinstance(recipe.data.spec, DatasetSpec) else ""
    if not name or name == "none":
        return None
    return class_set(name, host, recipe.calibration.limit, recipe.calibration.seed)


def class_set(name: str, host: Host, limit: int | None = None, seed: int = 0) -> ClassSet:
    """Load a set of labelled images, NAME or NAME:PATH, and draw at most `limit` of them.

    Raises:
        EditkitError: it cannot be loaded, or holds no labelled images.
    """
    component, _, path = name.partition(":")
    spec = host.resolve(DatasetSpec, component)
    options: Options = validate_options(spec.options, {"path": path} if path else {}, "knowledge")
    data = Choice(component, spec, options).build().load("test")
    if not isinstance(data, ClassSet):
        lacks = "several sets, not one" if isinstance(data, ClassSets) else "no labelled images"
        raise RecipeError(f"--knowledge {name} holds {lacks}.", "Give --knowledge classes:FILE.yaml")
    return data.select(limit, seed)


def _merge(chance: Chance, more: Mapping[str, Mapping[str, float]]) -> None:
    for row, values in more.items():
        chance.setdefault(row, {}).update(values)


def _skip(item: Unreadable) -> None:
    """The group is named in the report."""
