"""What can be set on editkit's own manipulators. No torch here: a recipe is checked first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator

from editkit.components.spec import Asked, ModelSource, Options
from editkit.components.specs import Twins

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

NotNegative = Annotated[FiniteFloat, Field(ge=0)]


class ScaleOptions(Options):
    """Options of `scale`."""

    alpha: FiniteFloat = Field(-1.0, description="factor of the selected weights: -1 negates, 0 prunes")

    @field_validator("alpha")
    @classmethod
    def _must_change_something(cls, alpha: float) -> float:
        if alpha == 1:
            raise ValueError("alpha 1 leaves every weight as it is; choose another, -1 is the paper's")
        return alpha


class DampenOptions(Options):
    """Options of `dampen`."""

    strength: Annotated[FiniteFloat, Field(gt=0)] = Field(1.0, description="lambda: the factor is lambda F_s / F_u")
    loss: Literal["alignment", "g-unsafe"] = Field("alignment", description="whose gradients the Fisher terms square")

    def other_scorers(self) -> Asked:
        """The ratio of Fisher information, F_u / F_s."""
        return {"fisher": {"name": "fisher-ratio", "loss": self.loss}}


class BlendOptions(Options):
    """Options of `blend`."""

    model: ModelSource = Field(description="another checkpoint of the same architecture: folder or hub id")
    amount: FiniteFloat = Field(1.0, description="lambda: 1 is the other checkpoint, below 0 leads away from it")

    def other_checkpoint(self) -> str:
        """The checkpoint whose weights are mixed in."""
        return self.model


class MergeOptions(Options):
    """Options of `merge`."""

    models: Annotated[tuple[ModelSource, ...], Field(min_length=1)] = Field(
        description="checkpoints of the same architecture: folders or hub ids"
    )
    how: Literal["average", "ties"] = Field("average", description="mean of the changes, or trim, elect sign, merge")
    density: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        0.2, description="share of each checkpoint's changes at a site that `ties` keeps, the largest"
    )
    amount: FiniteFloat = Field(1.0, description="lambda: factor of the merged change")

    def other_checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that are merged."""
        return self.models


class LoraOptions(Options):
    """Options of `lora`."""

    adapter: ModelSource = Field(description="folder of a LoRA adapter as PEFT saves it")
    amount: FiniteFloat = Field(1.0, description="factor of what is subtracted; -1 adds the adapter, as PEFT merges it")

    def reads(self) -> tuple[str, ...]:
        """The adapter's files."""
        return tuple(str(Path(self.adapter).expanduser() / name) for name in ADAPTER_FILES)


class ProjectOptions(Options):
    """Options of `project`."""

    beta: FiniteFloat = Field(1.0, description="share of the unsafe direction that is taken out of the outputs")


class LeaceOptions(Options):
    """Options of `leace`."""

    of: Literal["outputs", "inputs"] = Field(
        "outputs", description="which of the site's vectors the concept is erased of"
    )


class InlpOptions(Options):
    """Options of `inlp`."""

    rounds: Annotated[int, Field(ge=1)] = Field(8, description="r: how many classifiers' directions are taken out")


class NullSpaceOptions(Options):
    """Options of `null-space`."""

    share: Annotated[FiniteFloat, Field(gt=0, lt=1)] = Field(
        0.01, description="change only input directions that hold at most this share of the energy of what should stay"
    )
    energy: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        0.9, description="share of the unsafe inputs' energy there that is taken out"
    )


class PairFitOptions(Options):
    """Options of fits to pairs."""

    preserve: NotNegative = Field(1.0, description="b: weight of leaving outputs on safe inputs as they are")
    preserve_weight: NotNegative = Field(1.0, description="p: weight of leaving outputs on preserved items as they are")
    ridge: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        None, description="l: weight of a small change, in trace / I (larger for fewer pairs: 0.0125 (I / pairs)^1.5)"
    )
    null_space: Annotated[FiniteFloat, Field(gt=0, lt=1)] | None = Field(
        None, description="change only input directions that hold at most this share of the energy of what should stay"
    )
    order: Literal["together", "sequential"] = Field(
        "together", description="fit all sites on the unedited model, or each on the model with earlier sites edited"
    )

    def sequential(self) -> bool:
        """Whether each site is fitted on the model with the sites before it edited."""
        return self.order == "sequential"


class RedirectOptions(PairFitOptions):
    """Options of `redirect`."""

    target: Literal["twin", "nearest-safe"] = Field(
        "twin", description="s in t = W s: an unsafe item's own safe twin, or the safe item whose embedding is nearest"
    )

    def twins(self) -> Twins:
        """Which safe item each unsafe one is paired with."""
        return "nearest" if self.target == "nearest-safe" else "own"


class RefuseOptions(PairFitOptions):
    """Options of `refuse`."""

    preserve: NotNegative = Field(20.0, description="b: weight of leaving outputs on safe inputs as they are")
    own: NotNegative = Field(0.5, description="h: share of its own output that an unsafe input keeps")
    keep: NotNegative = Field(0.8, description="g: share of its safe twin's output that it gets")
    push: NotNegative = Field(0.9, description="k: length of the push, in mean norms of safe outputs")
    direction: Literal["opposed", "least-energy", "minus-mean"] = Field(
        "opposed",
        description="n: where both modalities have least energy, captions one way and images the other; "
        "where the other modality has least energy; or against the other modality's mean",
    )
