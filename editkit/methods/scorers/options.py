"""What can be set on editkit's own scorers. No torch here: a recipe is checked first."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from editkit.components.site import Side, Tower
from editkit.components.spec import Options

Prior = Literal["text", "vision", "both", "none"]


class PriorOptions(Options):
    """Options of `difference` and `unsafe`."""

    prior: Prior = Field("text", description="towers whose scores are multiplied by |W|")


class UwmOptions(PriorOptions):
    """Options of `uwm`."""

    aggregation: Literal["pairs", "means"] = Field(
        "pairs", description="mean of each pair's ratio (released code) or ratio of the two means (the paper's Eq. 10)"
    )


class RandomOptions(Options):
    """Options of `random`."""

    seed: int = Field(0, ge=0, description="seed of the draw")


class SideOptions(Options):
    """Options of scorers that look at one side of the pairs."""

    side: Side = Field("unsafe", description="side of the pairs that is scored")


class NeuronRatioOptions(Options):
    """Options of `neuron-ratio`."""

    importance: Literal["mean", "rms", "std"] = Field("mean", description="of an input unit: mean |a|, rms or std")


class SampleLossOptions(Options):
    """Options of scorers that take the gradient of each sample alone."""

    loss: Literal["alignment", "g-unsafe"] = Field(
        "alignment", description="of one sample: 1 - cos(own caption, own image), or G-Unsafe's pull to the other side"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_negatives(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("loss") == "g-safe-clip":
            raise ValueError(
                "g-safe-clip contrasts each sample with the others of its batch, so a sample alone has no gradient of "
                "it; the scorer `gradient` takes whole batches"
            )
        return given


class SideLossOptions(SampleLossOptions, SideOptions):
    """Options of `snip` and `salun`."""


LOSS_BATCH: dict[Tower, int] = {"text": 512, "vision": 64}
"""Tuples in one loss of `gradient`, as the paper's released code has them."""


class GradientOptions(Options):
    """Options of `gradient`."""

    loss: Literal["g-unsafe", "g-safe-clip"] = Field("g-unsafe", description="what is minimised")
    target: Literal["cross-modal", "same-modal"] | None = Field(
        None,
        description="what g-unsafe pulls to: the unsafe item of the other modality (released) or of this one (A.3)",
    )
    loss_batch: int | None = Field(None, ge=1, description="tuples in one loss (512 text, 64 vision)")

    @model_validator(mode="after")
    def _target_of_g_unsafe(self) -> GradientOptions:
        if self.loss == "g-safe-clip" and self.target is not None:
            raise ValueError("g-safe-clip has no target; scorer.target belongs to the loss g-unsafe")
        return self
