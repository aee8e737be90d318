"""What a plugin says about its components, kind by kind: typed, frozen, and importable without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from editkit.components.beside import Beside, Companion
from editkit.components.metric import Metric
from editkit.components.site import TOWERS, Role, Site, Tower
from editkit.components.spec import PROTOCOLS, Asked, NoOptions, Options, Spec, load_target
from editkit.files.weight_names import TRANSFORMERS, WeightNames

Need = Literal["mean-inputs", "second-moments", "embeddings", "preserved"]
Axis = Literal["", "inputs", "outputs"]
Twins = Literal["own", "nearest"]

OnBadItem = Literal["error", "skip"]
"""What a data set does with an item that it cannot use: stop, or note it and go on."""


class DatasetOptions(Options):
    """Base of every data set's options."""

    on_bad_item: OnBadItem = Field(
        "error", description="error stops at an unusable item, skip leaves it out and names it"
    )


def _asks_for_nothing(options: Any) -> Asked:
    return {}


def _takes_every_site(site: Site, options: Any) -> None:
    """Raise nothing."""


@dataclass(frozen=True, kw_only=True)
class ScorerSpec(Spec):
    """Gives every weight of a site a number; `needs` says what has to be computed first.

    "gradients" are those of a loss over a batch of tuples, "sample-gradients" those of every sample alone.
    """

    kind = "scorer"
    needs: Literal["weights", "inputs", "gradients", "sample-gradients"] = "inputs"
    spread: bool = False
    """Whether it needs a standard deviation over tokens, so that a site with one token per sample is refused."""
    notes: bool = False
    """Whether it has `notes(state, weight)`, counts of what was degenerate, for the record."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """What `needs` decides, and `notes`."""
        by_need = {
            "weights": "WeightScorer",
            "inputs": "Scorer",
            "gradients": "BatchGradientScorer",
            "sample-gradients": "SampleGradientScorer",
        }
        return (f"{PROTOCOLS}:{by_need[self.needs]}", *([f"{PROTOCOLS}:NotingScorer"] if self.notes else []))


@dataclass(frozen=True, kw_only=True)
class SelectorSpec(Spec):
    """Chooses weights by their scores."""

    kind = "selector"
    ranks: bool = True
    """Whether it looks at scores: with `ranks=False` no scorer runs."""
    units: bool = False
    """Whether it selects whole input columns or output rows."""
    axis: Callable[[Any], Axis] = lambda options: ""
    """Which of the two: "inputs" or "outputs"."""
    other_scorers: Callable[[Any], Asked] = _asks_for_nothing
    """Scorers whose scores it looks at beside the recipe's: `context.other_scores`."""
    other_selectors: Callable[[Any], Asked] = _asks_for_nothing
    """Selectors that it calls: `context.other_selectors`."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """A selector's."""
        return (f"{PROTOCOLS}:Selector",)


@dataclass(frozen=True, kw_only=True)
class ManipulatorSpec(Spec):
    """Gives chosen weights their new values; `needs` are the statistics that the engine streams.

    "mean-inputs": means of a site's inputs on safe and on unsafe samples; "second-moments": also their second moments;
    "preserved": those on what the recipe preserves, if it does; "embeddings": of both modalities, at `proj` sites.
    """

    kind = "manipulator"
    needs: frozenset[Need] = field(default_factory=frozenset)
    acts_on: Literal["weights", "units", "sites"] = "weights"
    """On any selected weights, whole input columns, or whole sites: then nothing is scored or selected."""
    role: Role = ""
    """The role of the sites it is meant for, in place of the adapter's default targets ("proj")."""
    preserve: tuple[str, ...] = ()
    """What it preserves by default: "words", or data as NAME or NAME:PATH."""
    other_scorers: Callable[[Any], Asked] = _asks_for_nothing
    """Scorers whose scores it looks at: `context.other_scores`."""
    other_checkpoint: Callable[[Any], str | None] = lambda options: None
    """A folder or hub id whose weights it looks at: `context.other_weights`."""
    other_checkpoints: Callable[[Any], tuple[str, ...]] = lambda options: ()
    """Several of them, in their order: `context.other_checkpoints`."""
    reads: Callable[[Any], tuple[str, ...]] = lambda options: ()
    """Files that it reads by itself: their digests are in the record."""
    sequential: Callable[[Any], bool] = lambda options: False
    """Whether each site is fitted on the model with the sites before it edited."""
    twins: Callable[[Any], Twins] = lambda options: "own"
    """The safe items in the cross moments: the tuples' own, or the nearest to each unsafe item."""
    check_site: Callable[[Site, Any], None] = _takes_every_site
    """Raises a SiteError for a site that it cannot change, before anything is computed."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """A manipulator's."""
        return (f"{PROTOCOLS}:Manipulator",)


@dataclass(frozen=True, kw_only=True)
class AdapterSpec(Spec):
    """A model family: `model_types` (config.json), `prefixes` ("open_clip:") and marker files decide without torch.

    There is nothing to set: the class is called without an argument.
    """

    kind = "adapter"
    options: type[Options] = field(default=NoOptions, init=False)
    model_types: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """File names that mark a folder of this family, where there is no `model_type` ("open_clip_config.json")."""
    keys: tuple[str, ...] = ()
    """Dotted keys that a marker file must hold; an adapter that asks for more of them comes first."""
    patterns: tuple[str, ...] = ()
    """Sources of this family beyond those with its prefixes, with wildcards ("open_clip:coca_*"); they come first."""
    weights: WeightNames = TRANSFORMERS
    """What its files are called: these are the model, whatever else lies in the folder."""
    towers: tuple[Tower, ...] = TOWERS
    """Those that a model of the family has; of adapters that know a folder, one with both comes first."""
    captions: bool = False
    """Whether the adapter has `load_captioner`."""
    folder: Path | None = None
    """Where the model lies that comes with the plugin and is called by one of `prefixes`."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Values that suit the family, by their paths in a recipe ("selector.tau")."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """An adapter's, with `load_captioner` if it says `captions`."""
        return (f"{PROTOCOLS}:CaptioningAdapter" if self.captions else f"{PROTOCOLS}:Adapter",)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """A source of tuples, of labelled images (`content="classes"`), or of unpaired texts and images ("queries").

    What goes with tuples is named beside them: each of the last four fields names registered data sets.
    """

    kind = "dataset"
    options: type[DatasetOptions] = DatasetOptions
    content: Literal["tuples", "classes", "queries"] = "tuples"
    defaults: tuple[tuple[str, str], ...] = ()
    """Split by purpose, where they differ from ViSU's: edit "train", sweep "validation", eval "test"."""
    splits: Callable[[Any], bool] = lambda options: True
    """Whether another split has other items. Where none has, what calibrated an edit is not what measures it."""
    knowledge: str = ""
    """The class set on which accuracy is measured beside evaluations of these tuples."""
    queries: str = ""
    """The queries that search among these tuples' items."""
    slices: str = ""
    """The tuples whose rows name slices: other wordings, other cues, unseen concepts."""
    benign: tuple[str, ...] = ()
    """Class sets of benign images that look like the concept: their labels are what is not the concept."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """A data set's."""
        return ("editkit.data.protocol:Dataset",)


@dataclass(frozen=True, kw_only=True)
class EvalSpec(Spec):
    """Measures a model and edits of it.

    Of the form "embeddings" it turns embeddings into hits (`editkit.evals.protocols.Evaluation`). Of the form "model"
    it is given model files, data and edits, runs by itself, and returns a report (`ModelEvaluation`).
    """

    kind = "evaluation"
    form: Literal["embeddings", "model"] = "embeddings"
    data: Literal["tuples", "classes"] = "tuples"
    metrics: tuple[Metric, ...] = ()
    """What it measures, in the order in which changes are told; what is not named here is shown by its bare name."""
    title: str = ""
    """What tables call it; empty: its name."""
    items: str = ""
    """What tables call its items; empty: tuples, or images, as `data` says."""
    weights: bool = False
    """Whether it has `weights`: some of its metrics are weighted means of hits."""
    scores: bool = False
    """Whether some of its hits are scores, float64 in [0, 1], whose mean is told."""
    companions: tuple[Companion, ...] = ()
    """What goes with tuples and is measured too; of the form "model", what it takes from the context."""
    columns: bool = False
    """Whether it has `columns`: more to say of each tuple than which metrics it meets."""
    beside: tuple[Beside, ...] = ()
    """Of an evaluation of tuples: what is measured beside it."""
    controls: bool = True
    """Whether matched controls of a patch are measured unless the user says otherwise."""
    wrecks: bool = False
    """Whether ruined models are measured with the controls, since ruin alone can score well by it."""
    filter: bool = False
    """Whether a linear filter is measured with the controls; hits must depend on the order of similarities alone."""
    judges: Literal["", "text", "image"] = ""
    """What it has judged, by the judges that the user chooses; empty: nothing."""
    folder: bool = False
    """Whether it keeps files of its own, in a folder (`-o`) into which it writes its report too."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Its defaults, recipe values by dotted path: `{"compute.batch_size": 8}`."""
    table: str = ""
    """What prints its reports, "package.module:function" of a report and a rich console; empty: editkit's own."""
    description: str = ""
    """What `eval NAME --help` says; empty: the summary."""
    example: str = ""
    """A command that uses it."""

    def __post_init__(self) -> None:
        """Refuse what would be ignored."""
        of_model = ("judges", "folder")
        of_embeddings, of_tuples = ("weights", "scores"), ("columns", "beside", "filter")
        useless = of_model if self.form == "embeddings" else (*of_embeddings, *of_tuples)
        for name in (*useless, *(("companions", *of_tuples) if self.data == "classes" else ())):
            if getattr(self, name):
                raise ValueError(f"evaluation '{self.name}' has `{name}`, of no use to {self.data} by {self.form}")

    def load_table(self) -> Any:
        """Import and return what prints its reports.

        Raises:
            PluginError: the module or the name in it cannot be imported.
        """
        return load_target(self.table, f"The table of evaluation '{self.name}'")

    @property
    def protocols(self) -> tuple[str, ...]:
        """What `form` decides, and what else it says that it has."""
        home = "editkit.evals.protocols"
        if self.form == "model":
            return (f"{home}:ModelEvaluation",)
        more = {"Weighted": self.weights, "WithColumns": self.columns, "Sliced": "slices" in self.companions}
        return (f"{home}:Evaluation", *(f"{home}:{name}" for name, said in more.items() if said))

    @property
    def called(self) -> str:
        """What tables call it."""
        return self.title or self.name

    @property
    def items_called(self) -> str:
        """What tables call its items."""
        return self.items or {"tuples": "tuples", "classes": "images"}[self.data]


@dataclass(frozen=True, kw_only=True)
class JudgeSpec(Spec):
    """Says of generated texts, or of images, whether they are unsafe."""

    kind = "judge"
    content: Literal["text", "image"] = "text"

    @property
    def protocols(self) -> tuple[str, ...]:
        """A judge's."""
        return ("editkit.evals.judges:Judge",)


KINDS: Sequence[type[Spec]] = (ScorerSpec, SelectorSpec, ManipulatorSpec, AdapterSpec, DatasetSpec, EvalSpec, JudgeSpec)
