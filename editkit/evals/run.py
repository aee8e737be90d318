"""Evaluate a model and edits of it: resolve what was asked for, then measure base, patches and matched controls."""

from __future__ import annotations

from editkit.components.host import Host
from editkit.components.specs import EvalSpec
from editkit.data.tuples import TupleSet
from editkit.data.zeroshot.sets import ClassSets
from editkit.errors import DataError
from editkit.evals.context import Evaluated, EvaluationContext
from editkit.evals.encoder import Encoder
from editkit.evals.items import knowledge_set, load_items
from editkit.evals.judges.panel import choose_judges
from editkit.evals.prepared import Prepared, prepare_beside
from editkit.evals.report import build_report
from editkit.evals.request import Request, require_sense, take_apart
from editkit.evals.run_classes import measure_classes
from editkit.evals.run_filter import filter_facts, fit_filter
from editkit.evals.run_sets import run_benchmark
from editkit.evals.run_tuples import embed_tuples, measure_tuples
from editkit.evals.subjects import evaluated_variants, evaluation_recipe, parts_of
from editkit.evals.wrecks import wreck_variants
from editkit.models.compute import require_compute
from editkit.models.find import open_model
from editkit.models.joint_space import require_joint_space
from editkit.patch.patch import Patch
from editkit.progress import Stage, silent
from editkit.reports.schema import Report


def run_evaluation(asked: Request, host: Host, stage: Stage = silent) -> Evaluated:
    """Evaluate a base model and any patches of it, each with controls matched to it.

    Raises:
        EditkitError: model, data, a patch or a judge cannot be used; nothing is evaluated in part.
    """
    spec = host.resolve(EvalSpec, asked.evaluation)
    require_sense(spec, asked, host)
    settings = take_apart(spec, asked)
    choice = host.choose(EvalSpec, asked.evaluation, settings.options, spec.name)
    judges = choose_judges(asked.judges, settings.judges, host, spec.judges) if spec.judges else []
    loaded = [(path, Patch.load(path)) for path in asked.patches]
    recipe = evaluation_recipe(spec.recipe, settings.recipe, loaded, host)
    device = require_compute(recipe.compute)  # now: the cache may make the model unnecessary
    data = load_items(spec, recipe)
    adapter, files = open_model(recipe.model, host)
    if spec.form == "embeddings":
        require_joint_space(files, adapter.sites(files), f"`{asked.evaluation}` compares images with captions")
    context = EvaluationContext(
        name=asked.evaluation,
        choice=choice,
        recipe=recipe,
        adapter=adapter,
        files=files,
        variants=evaluated_variants(loaded, adapter, files, host, stage, with_controls=_with_controls(spec, asked)),
        device=device,
        data=data,
        patches=loaded,
        judges=judges,
        host=host,
        output=asked.output,
        runs=asked.runs,
        stage=stage,
    )
    if spec.form == "model":
        evaluated: Evaluated = choice.build().run(context)
        return evaluated
    return Evaluated(_from_embeddings(context, asked))


def _with_controls(spec: EvalSpec, asked: Request) -> bool:
    return spec.controls if asked.controls is None else asked.controls


def _from_embeddings(context: EvaluationContext, asked: Request) -> Report:
    """Measure by embeddings of all variants from one pass over the data."""
    recipe = context.recipe
    encoder = context.encoder
    own = Prepared.of(context.choice)
    others: dict[str, EvalSpec] = {}
    if isinstance(context.data, TupleSet):
        report, others = _of_tuples(context, asked, own, encoder)
    elif isinstance(context.data, ClassSets):
        report = run_benchmark(context, context.data, own, encoder)
    else:
        found = measure_classes(own, context.data, context.variants, encoder, skip_unreadable=recipe.skips_bad_items)
        report = build_report(context.name, context.variants, found)
    return context.completed(report, others)


def _of_tuples(
    context: EvaluationContext, asked: Request, own: Prepared, encoder: Encoder
) -> tuple[Report, dict[str, EvalSpec]]:
    """Return the report, and the evaluations whose metrics stand beside, by metric."""
    beside = prepare_beside(own.spec, context.host)
    of_tuples = [one for one in beside if one.spec.data == "tuples"]
    of_classes = [one for one in beside if one.spec.data == "classes"]
    images = knowledge_set(context.recipe, asked.knowledge, context.host) if of_classes else None
    skip, variants = context.recipe.skips_bad_items, [*context.variants]
    fitted, notes = None, []
    if context.patches and _with_controls(own.spec, asked):
        variants += parts_of(context.variants, encoder)
        edits = (variant.name for variant in context.variants[1:] if not variant.is_control)
        named = [(name, patch) for name, (_, patch) in zip(edits, context.patches, strict=True)]
        variants += wreck_variants(named, context.adapter, context.files) if own.spec.wrecks else []
        if own.spec.filter:
            try:
                fitted = fit_filter(context, encoder)
            except DataError as error:
                notes = [f"No linear filter was fitted: {error.problem}"]
    tuples = embed_tuples(context.tuples, variants, encoder, context.digests, skip_unreadable=skip)
    first, *others = measure_tuples(tuples, [own, *of_tuples], variants, asked.similarities, fitted)
    measured = list(zip(of_tuples, others, strict=True))
    if images is not None:
        for one in of_classes:
            found = measure_classes(one, images, variants, encoder, tuples.seen, skip_unreadable=skip, fitted=fitted)
            measured.append((one, found))
    base = variants[0].name
    specs = {metric: one.spec for one, found in measured for metric in found.hits[base]}
    others = [found for _, found in measured]
    report = build_report(context.name, variants, first, others)
    if fitted is not None:
        report["filter"] = filter_facts(fitted, context.name, variants, tuples, first, others)
    report["notes"] = notes
    return report, specs
