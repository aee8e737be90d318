"""All that a plugin imports of editkit, beside `editkit` itself and `editkit.testing`.

What is here is stable (docs/stability.md); every other module is editkit's own and may change at any time. A name's
module is imported when the name is first asked for, so that specs load neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from editkit.libraries import explain_import_failure

if TYPE_CHECKING:
    from editkit.components.beside import Beside
    from editkit.components.hooks import hookimpl
    from editkit.components.inputs import Inputs
    from editkit.components.metric import ClipBenchmarkMetric, HubMetric, Metric
    from editkit.components.protocols import (
        Adapter,
        BatchGradientScorer,
        Captioner,
        CaptioningAdapter,
        LossEmbeddings,
        ManipulationContext,
        Manipulator,
        Model,
        ModelFiles,
        NotingScorer,
        SampleGradientScorer,
        Scorer,
        SelectionContext,
        Selector,
        State,
        WeightScorer,
    )
    from editkit.components.site import ROLES, TOWERS, Role, Site, Tower
    from editkit.components.spec import API_VERSION, Asked, NoOptions, Options
    from editkit.components.specs import (
        AdapterSpec,
        DatasetOptions,
        DatasetSpec,
        EvalSpec,
        JudgeSpec,
        ManipulatorSpec,
        OnBadItem,
        ScorerSpec,
        SelectorSpec,
    )
    from editkit.components.statistics import EmbeddingMoments, Moments
    from editkit.data.classes import Classes, ClassSet
    from editkit.data.options import ClassesOptions, PairsOptions, QueriesOptions, VisuOptions
    from editkit.data.pairs import Pairs
    from editkit.data.protocol import Dataset
    from editkit.data.queries import Queries, QuerySet
    from editkit.data.tuples import Item, LeftOut, TupleSet
    from editkit.data.visu import Visu
    from editkit.errors import (
        DataError,
        EditkitError,
        InstallError,
        ModelError,
        OutputError,
        PatchError,
        PluginError,
        RecipeError,
        ScoreError,
        SiteError,
        did_you_mean,
    )
    from editkit.evals.context import Evaluated, EvaluationContext
    from editkit.evals.embeddings import (
        ClassEmbeddings,
        QueryEmbeddings,
        Similarities,
        TupleEmbeddings,
        similarities_of,
    )
    from editkit.evals.judges import Judge, Verdict, failed, ignore, labelled, scored, unparsable
    from editkit.evals.protocols import Evaluation, ModelEvaluation
    from editkit.evals.statistics import change_of, rate_of
    from editkit.files.bits import to_tensor
    from editkit.files.checkpoint import Checkpoint, TensorInfo
    from editkit.files.hub import fetch_files
    from editkit.files.source import ModelFolder, hub_id, model_folder
    from editkit.files.tensors import read_tensors
    from editkit.files.weight_names import OPEN_CLIP, TRANSFORMERS, WeightNames
    from editkit.files.weights import open_file, open_weights
    from editkit.libraries import library_errors
    from editkit.methods.scorers.pairs import pair_scorer, saliency
    from editkit.methods.selectors.per_site import per_site, top
    from editkit.models.architecture import fill_architecture, outline, refuse_unknown, saved_dtype, without_memory
    from editkit.models.fit import image_notes, require_ids_fit, require_pixels_fit
    from editkit.models.reading import promised, read_json, settings_digest
    from editkit.reports.schema import DataFacts, Row

__all__ = [
    "API_VERSION",
    "OPEN_CLIP",
    "ROLES",
    "TOWERS",
    "TRANSFORMERS",
    "Adapter",
    "AdapterSpec",
    "Asked",
    "BatchGradientScorer",
    "Beside",
    "Captioner",
    "CaptioningAdapter",
    "Checkpoint",
    "ClassEmbeddings",
    "ClassSet",
    "Classes",
    "ClassesOptions",
    "ClipBenchmarkMetric",
    "DataError",
    "DataFacts",
    "Dataset",
    "DatasetOptions",
    "DatasetSpec",
    "EditkitError",
    "EmbeddingMoments",
    "EvalSpec",
    "Evaluated",
    "Evaluation",
    "EvaluationContext",
    "HubMetric",
    "Inputs",
    "InstallError",
    "Item",
    "Judge",
    "JudgeSpec",
    "LeftOut",
    "LossEmbeddings",
    "ManipulationContext",
    "Manipulator",
    "ManipulatorSpec",
    "Metric",
    "Model",
    "ModelError",
    "ModelEvaluation",
    "ModelFiles",
    "ModelFolder",
    "Moments",
    "NoOptions",
    "NotingScorer",
    "OnBadItem",
    "Options",
    "OutputError",
    "Pairs",
    "PairsOptions",
    "PatchError",
    "PluginError",
    "Queries",
    "QueriesOptions",
    "QueryEmbeddings",
    "QuerySet",
    "RecipeError",
    "Role",
    "Row",
    "SampleGradientScorer",
    "ScoreError",
    "Scorer",
    "ScorerSpec",
    "SelectionContext",
    "Selector",
    "SelectorSpec",
    "Similarities",
    "Site",
    "SiteError",
    "State",
    "TensorInfo",
    "Tower",
    "TupleEmbeddings",
    "TupleSet",
    "Verdict",
    "Visu",
    "VisuOptions",
    "WeightNames",
    "WeightScorer",
    "change_of",
    "did_you_mean",
    "failed",
    "fetch_files",
    "fill_architecture",
    "hookimpl",
    "hub_id",
    "ignore",
    "image_notes",
    "labelled",
    "library_errors",
    "model_folder",
    "open_file",
    "open_weights",
    "outline",
    "pair_scorer",
    "per_site",
    "promised",
    "rate_of",
    "read_json",
    "read_tensors",
    "refuse_unknown",
    "require_ids_fit",
    "require_pixels_fit",
    "saliency",
    "saved_dtype",
    "scored",
    "settings_digest",
    "similarities_of",
    "to_tensor",
    "top",
    "unparsable",
    "without_memory",
]

_HOMES = {
    "editkit.components.beside": "Beside",
    "editkit.components.hooks": "hookimpl",
    "editkit.components.spec": "API_VERSION Asked NoOptions Options",
    "editkit.components.specs": (
        "AdapterSpec DatasetOptions DatasetSpec EvalSpec JudgeSpec ManipulatorSpec OnBadItem ScorerSpec SelectorSpec "
    ),
    "editkit.components.site": "ROLES Role Site TOWERS Tower",
    "editkit.components.protocols": (
        "Adapter BatchGradientScorer Captioner CaptioningAdapter LossEmbeddings ManipulationContext "
        "Manipulator Model ModelFiles NotingScorer SampleGradientScorer Scorer SelectionContext Selector "
        "State WeightScorer "
    ),
    "editkit.components.inputs": "Inputs",
    "editkit.components.statistics": "EmbeddingMoments Moments",
    "editkit.methods.scorers.pairs": "pair_scorer saliency",
    "editkit.methods.selectors.per_site": "per_site top",
    "editkit.files.bits": "to_tensor",
    "editkit.files.checkpoint": "Checkpoint TensorInfo",
    "editkit.files.hub": "fetch_files",
    "editkit.files.source": "ModelFolder hub_id model_folder",
    "editkit.files.tensors": "read_tensors",
    "editkit.files.weight_names": "OPEN_CLIP TRANSFORMERS WeightNames",
    "editkit.files.weights": "open_file open_weights",
    "editkit.libraries": "library_errors",
    "editkit.models.architecture": "fill_architecture outline refuse_unknown saved_dtype without_memory",
    "editkit.models.fit": "image_notes require_ids_fit require_pixels_fit",
    "editkit.models.reading": "promised read_json settings_digest",
    "editkit.data.classes": "ClassSet Classes",
    "editkit.data.options": "ClassesOptions PairsOptions QueriesOptions VisuOptions",
    "editkit.data.pairs": "Pairs",
    "editkit.data.queries": "Queries QuerySet",
    "editkit.data.tuples": "Item LeftOut TupleSet",
    "editkit.data.visu": "Visu",
    "editkit.components.metric": "ClipBenchmarkMetric HubMetric Metric",
    "editkit.data.protocol": "Dataset",
    "editkit.evals.context": "Evaluated EvaluationContext",
    "editkit.evals.statistics": "change_of rate_of",
    "editkit.reports.schema": "DataFacts Row",
    "editkit.evals.protocols": "Evaluation ModelEvaluation",
    "editkit.evals.embeddings": "ClassEmbeddings QueryEmbeddings Similarities TupleEmbeddings similarities_of",
    "editkit.evals.judges": "Judge Verdict failed ignore labelled scored unparsable",
    "editkit.errors": (
        "DataError EditkitError InstallError ModelError OutputError PatchError PluginError RecipeError "
        "ScoreError SiteError did_you_mean "
    ),
}
"""Which names live in which module."""
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name's module when it is first asked for.

    Raises:
        InstallError: it needs a library that is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'editkit.plugin' has no attribute '{name}'")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ImportError as error:
        explain_import_failure(error)
        raise


def __dir__() -> list[str]:
    """List the names."""
    return list(__all__)
