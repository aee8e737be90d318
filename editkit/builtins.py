"""editkit's own components, registered through the same hooks as anyone's. Names only: nothing heavy is imported."""

from __future__ import annotations

from editkit import options
from editkit.datasets.options import ClassesOptions, PairsOptions, VisuOptions
from editkit.evals.options import RetrievalOptions
from editkit.hookspecs import hookimpl
from editkit.specs import DatasetSpec, EvalSpec, ManipulatorSpec, ScorerSpec, SelectorSpec

UWM = "Safe Vision-Language Models via Unsafe Weights Manipulation, WACV 2026"


@hookimpl
def editkit_scorers() -> list[ScorerSpec]:
    """Scores from activations on pairs, and the two controls."""
    return [
        ScorerSpec(
            name="uwm",
            summary="ratio of unsafe to safe saliency",
            target="editkit.scorers.uwm:Uwm",
            options=options.UwmOptions,
            reference=f"{UWM}, Eqs. 8-10",
        ),
        ScorerSpec(
            name="difference",
            summary="unsafe minus safe saliency",
            target="editkit.scorers.difference:Difference",
            options=options.PriorOptions,
            reference=f"{UWM}, supplement",
        ),
        ScorerSpec(
            name="unsafe",
            summary="unsafe saliency alone",
            target="editkit.scorers.unsafe:Unsafe",
            options=options.PriorOptions,
            reference=f"{UWM}, supplement",
        ),
        ScorerSpec(
            name="magnitude",
            summary="|W|: a control that sees no data",
            target="editkit.scorers.weights:Magnitude",
            needs="weights",
            reference="Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015",
        ),
        ScorerSpec(
            name="random",
            summary="a seeded draw: chance",
            target="editkit.scorers.weights:Random",
            options=options.RandomOptions,
            needs="weights",
        ),
    ]


@hookimpl
def editkit_selectors() -> list[SelectorSpec]:
    """Ways to choose weights."""
    return [
        SelectorSpec(
            name="adaptive",
            summary="the fewest weights that hold a share tau of the score mass",
            target="editkit.selectors.adaptive:adaptive",
            options=options.AdaptiveOptions,
            reference=f"{UWM}, Eq. 11",
        ),
        SelectorSpec(
            name="topk",
            summary="a fixed share of the weights, per site or per row",
            target="editkit.selectors.topk:topk",
            options=options.TopkOptions,
        ),
        SelectorSpec(
            name="matched",
            summary="as many weights per site as another patch or selector chose",
            target="editkit.selectors.matched:Matched",
            options=options.MatchedOptions,
        ),
        SelectorSpec(name="all", summary="every weight of every site", target="editkit.selectors.all:All"),
    ]


@hookimpl
def editkit_manipulators() -> list[ManipulatorSpec]:
    """Ways to change weights."""
    scale = "editkit.manipulators.scale"
    return [
        ManipulatorSpec(
            name="scale",
            summary="multiply by alpha",
            target=f"{scale}:Scale",
            options=options.ScaleOptions,
            reference=f"{UWM}, Eq. 11",
        ),
        ManipulatorSpec(name="negate", summary="flip the sign: alpha -1", target=f"{scale}:Negate", reference=UWM),
        ManipulatorSpec(name="zero", summary="prune: alpha 0", target=f"{scale}:Zero"),
    ]


@hookimpl
def editkit_datasets() -> list[DatasetSpec]:
    """Sources of tuples and of labelled images."""
    return [
        DatasetSpec(
            name="visu",
            summary="ViSU's JSON files with your image folders",
            target="editkit.datasets.visu:Visu",
            options=VisuOptions,
            reference="Safe-CLIP, ECCV 2024",
        ),
        DatasetSpec(
            name="pairs",
            summary="a table of tuples: JSONL, CSV, Parquet or hf:NAME",
            target="editkit.datasets.pairs:Pairs",
            options=PairsOptions,
        ),
        DatasetSpec(
            name="classes",
            summary="labelled images described by a YAML file, for zero-shot accuracy",
            target="editkit.datasets.classes:Classes",
            options=ClassesOptions,
            content="classes",
        ),
    ]


@hookimpl
def editkit_evals() -> list[EvalSpec]:
    """Evaluations of contrastive models."""
    return [
        EvalSpec(
            name="safeground",
            summary="safety at nine granularities",
            target="editkit.evals.safeground:SafeGround",
            reference=f"{UWM}, Eqs. 3-7",
        ),
        EvalSpec(
            name="retrieval",
            summary="recall at k, safe queries and unsafe ones",
            target="editkit.evals.retrieval:Retrieval",
            options=RetrievalOptions,
            reference=f"{UWM}, Eqs. 1 and 2",
        ),
        EvalSpec(
            name="zeroshot",
            summary="top-1 accuracy on labelled images: knowledge",
            target="editkit.evals.zeroshot:ZeroShot",
            data="classes",
        ),
    ]
