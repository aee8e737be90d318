"""What a plugin says about its components: typed, frozen, and importable without torch.

A spec names its implementation as a dotted string, so that listing components never imports
them; its `options` model is a real class, so that a recipe is validated before anything heavy loads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from editkit.components.metric import Metric
from editkit.errors import PluginError, one_line

Need = Literal["mean-inputs", "second-moments", "embeddings"]

API_VERSION = 1
"""The version of the protocols in this release; a spec of another version is not registered."""


class Options(BaseModel):
    """Base of every component's options: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


class NoOptions(Options):
    """A component that has nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One component: its name, one line about it, where it lives, and what can be set.

    `target` is "package.module:Name", imported on first use. `reference` is the paper it
    implements. The class is called with one argument, a validated instance of `options`.
    """

    kind: ClassVar[str]
    name: str
    summary: str
    target: str
    options: type[Options] = NoOptions
    reference: str = ""
    api: int = API_VERSION

    def load(self) -> Any:
        """Import and return the component's class.

        Raises:
            PluginError: the module or the name in it cannot be imported.
        """
        module, _, name = self.target.partition(":")
        try:
            return getattr(import_module(module), name)
        except (Exception, SystemExit) as error:
            from editkit.libraries import explain_import_failure

            explain_import_failure(error)
            raise PluginError(
                f"{self.kind} '{self.name}' cannot be loaded from {self.target}: {one_line(error)}",
                "Reinstall its distribution, or run `editkit plugins check` for every component's state.",
            ) from error


@dataclass(frozen=True, kw_only=True)
class ScorerSpec(Spec):
    """Gives every weight of a site a number; `needs` says what has to be computed first.

    "gradients" are those of a loss over a batch of tuples, "sample-gradients" those of every sample alone.
    """

    kind = "scorer"
    needs: Literal["weights", "inputs", "gradients", "sample-gradients"] = "inputs"
    spread: bool = False
    """Whether it needs a standard deviation over tokens, so that a site with one token per sample is refused."""


@dataclass(frozen=True, kw_only=True)
class SelectorSpec(Spec):
    """Chooses weights by their scores."""

    kind = "selector"
    ranks: bool = True
    """Whether it looks at scores: with `ranks=False` no scorer runs."""
    units: bool = False
    """Whether it selects whole input columns or output rows."""


@dataclass(frozen=True, kw_only=True)
class ManipulatorSpec(Spec):
    """Gives chosen weights their new values; `needs` are the statistics of pairs that the engine streams.

    "mean-inputs": means of a site's inputs on safe and on unsafe samples; "second-moments": these, and the second
    moments; "embeddings": what both modalities' embeddings look like, at `proj` sites.
    """

    kind = "manipulator"
    needs: frozenset[Need] = field(default_factory=frozenset)
    acts_on: Literal["weights", "units", "sites"] = "weights"
    """On any selected weights, on whole input columns only, or on whole sites: then nothing is scored or selected."""
    role: str = ""
    """The role of the sites it is meant for, in place of the adapter's default targets ("proj")."""


@dataclass(frozen=True, kw_only=True)
class AdapterSpec(Spec):
    """A model family: `model_types` (config.json), `prefixes` ("open_clip:") and marker files decide without torch."""

    kind = "adapter"
    model_types: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """File names that mark a folder of this family, where there is no `model_type` ("open_clip_config.json")."""
    keys: tuple[str, ...] = ()
    """Dotted keys that a marker file must hold; an adapter that asks for more of them comes first."""
    patterns: tuple[str, ...] = ()
    """Sources of this family beyond those with its prefixes, with wildcards ("open_clip:coca_*"); they come first."""
    captions: bool = False
    """Whether the adapter has `load_captioner`."""
    folder: Path | None = None
    """Where the model lies that comes with the plugin and is called by one of `prefixes`."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """A source of tuples, or of labelled images (`content="classes"`)."""

    kind = "dataset"
    content: Literal["tuples", "classes"] = "tuples"
    defaults: tuple[tuple[str, str], ...] = ()
    """Split by purpose, where they differ from ViSU's: edit "train", sweep "validation", eval "test"."""
    knowledge: str = ""
    """Name of the class set whose accuracy stands beside SafeGround when these tuples are evaluated."""


@dataclass(frozen=True, kw_only=True)
class EvalSpec(Spec):
    """An evaluation: embeddings in, hits per item out."""

    kind = "evaluation"
    data: Literal["tuples", "classes"] = "tuples"
    metrics: tuple[Metric, ...] = ()
    """What it measures, in the order in which changes are told; what is not named here is shown by its bare name."""
    title: str = ""
    """What tables call it; empty: its name."""
    items: str = ""
    """What tables call its items; empty: tuples, or images, as `data` says."""

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


KINDS: tuple[type[Spec], ...] = (
    ScorerSpec,
    SelectorSpec,
    ManipulatorSpec,
    AdapterSpec,
    DatasetSpec,
    EvalSpec,
    JudgeSpec,
)
