"""editkit's own components, registered through the same hooks as anyone's. Names only: nothing heavy is imported."""

from __future__ import annotations

from editkit.components.hooks import hookimpl
from editkit.components.specs import (
    DatasetSpec,
    EvalSpec,
    JudgeSpec,
    ManipulatorSpec,
    ScorerSpec,
    SelectorSpec,
)
from editkit.data.options import (
    ClassesOptions,
    PairsOptions,
    QueriesOptions,
    VisuOptions,
    table_splits,
    visu_splits,
)
from editkit.data.zeroshot.options import ZEROSHOT
from editkit.evals.judges.specs import JUDGES
from editkit.evals.specs import EVALUATIONS
from editkit.methods.manipulators.specs import MANIPULATORS
from editkit.methods.scorers.specs import SCORERS
from editkit.methods.selectors.specs import SELECTORS

EDITKIT_API = 1


@hookimpl
def editkit_scorers() -> list[ScorerSpec]:
    """Scores from activations, gradients and weights."""
    return SCORERS


@hookimpl
def editkit_selectors() -> list[SelectorSpec]:
    """Ways to choose weights."""
    return SELECTORS


@hookimpl
def editkit_manipulators() -> list[ManipulatorSpec]:
    """Ways to change weights."""
    return MANIPULATORS


@hookimpl
def editkit_datasets() -> list[DatasetSpec]:
    """Sources of tuples, of labelled images and of queries."""
    return [
        DatasetSpec(
            name="visu",
            summary="ViSU's JSON files with your image folders",
            target="editkit.data.visu:Visu",
            options=VisuOptions,
            splits=visu_splits,
            reference="Safe-CLIP, ECCV 2024",
        ),
        DatasetSpec(
            name="pairs",
            summary="a table of tuples: JSONL, CSV, Parquet or hf:NAME",
            target="editkit.data.pairs:Pairs",
            options=PairsOptions,
            splits=table_splits,
        ),
        DatasetSpec(
            name="classes",
            summary="labelled images described by a YAML file, for zero-shot accuracy",
            target="editkit.data.classes:Classes",
            options=ClassesOptions,
            content="classes",
        ),
        DatasetSpec(
            name="queries",
            summary="a table of queries: texts or images that are safe, neutral or unsafe",
            target="editkit.data.queries:Queries",
            options=QueriesOptions,
            content="queries",
        ),
        ZEROSHOT,
    ]


@hookimpl
def editkit_evals() -> list[EvalSpec]:
    """Evaluations."""
    return EVALUATIONS


@hookimpl
def editkit_judges() -> list[JudgeSpec]:
    """Judges of texts and of images."""
    return JUDGES
