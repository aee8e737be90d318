"""Evaluate a model and edits of it: resolve what was asked for, then measure base, patches and matched controls."""

from __future__ import annotations

from editkit.components.host import Host
from editkit.components.specs import EvalSpec
from editkit.data.tuples import TupleSet
from editkit.data.zeroshot.sets import ClassSets
from editkit.evals.companions import embeds
from editkit.evals.context import Evaluated, EvaluationContext
from editkit.evals.items import load_items
from editkit.evals.judges.panel import choose_judges
from editkit.evals.prepared import Prepared
from editkit.evals.report import build_report
from editkit.evals.request import Request, require_sense, take_apart
from editkit.evals.run_classes import measure_classes
from editkit.evals.run_sets import run_benchmark
from editkit.evals.run_slices import measure_slices
from editkit.evals.run_with_others import measure_with_others
from editkit.evals.subjects import evaluated_variants, evaluation_recipe, notes_on_commits, open_subject
from editkit.models.compute import require_compute
from editkit.models.find import with_weights
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
    adapter, files = open_subject(recipe, loaded, host)
    if embeds(spec):
        require_joint_space(files, adapter.sites(files), f"`{asked.evaluation}` compares images with captions")
    files = with_weights(files, stage)
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
        companions={"queries": asked.queries, "slices": asked.slices, "benign": asked.benign},
        host=host,
        output=asked.output,
        runs=asked.runs,
        notes=notes_on_commits(loaded, files),
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
    own = Prepared.of(context.choice)
    others: dict[str, EvalSpec] = {}
    with_controls = _with_controls(own.spec, asked)
    if "slices" in own.spec.companions:
        report = measure_slices(context, own, asked.slices, asked.similarities, with_controls=with_controls)
    elif isinstance(context.data, TupleSet):
        report, others = measure_with_others(context, asked, own, with_controls=with_controls)
    elif isinstance(context.data, ClassSets):
        report = run_benchmark(context, context.data, own)
    else:
        skip = context.recipe.skips_bad_items
        found = measure_classes(own, context.data, context.variants, context.encoder, skip_unreadable=skip)
        report = build_report(context.name, context.variants, found)
    return context.completed(report, others)
