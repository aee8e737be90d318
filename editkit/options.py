"""What can be set on editkit's own scorers, selectors and manipulators. No torch here: a recipe is checked first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from editkit.specs import Options

Prior = Literal["text", "vision", "both", "none"]
Fraction = Annotated[FiniteFloat, Field(gt=0, lt=1)]


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


class AdaptiveOptions(Options):
    """Options of `adaptive`."""

    tau: Fraction = Field(0.02, description="share of each site's score mass that the selected weights hold")


class TopkOptions(Options):
    """Options of `topk`: `fraction`, or its complement `sparsity`."""

    fraction: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = Field(None, description="share selected (0.02)")
    sparsity: Annotated[FiniteFloat, Field(ge=0, lt=1)] | None = Field(None, description="share left alone instead")
    per: Literal["site", "row"] = Field("site", description="compare within a site or within each of its rows")

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_say_it(cls, given: Any) -> Any:
        if isinstance(given, dict):
            if "tau" in given:
                raise ValueError("topk has no tau; set selector.fraction instead")
            if given.get("fraction") is not None and given.get("sparsity") is not None:
                raise ValueError("give selector.fraction or selector.sparsity, not both (sparsity = 1 - fraction)")
        return given

    def count(self, size: int) -> int:
        """Return how many of `size` weights are selected: size - int(sparsity * size)."""
        kept = self.sparsity if self.sparsity is not None else 1 - (0.02 if self.fraction is None else self.fraction)
        return size - int(kept * size)


class MatchedOptions(Options):
    """Options of `matched`: whose counts to copy."""

    patch: str | None = Field(None, description="folder of the patch whose counts per site are copied")
    selector: str | None = Field(None, description="selector whose counts per site are copied (with `scorer`)")
    scorer: str = Field("uwm", description="scorer on whose scores that selector works")
    tau: Fraction | None = Field(None, description="tau of that selector")
    fraction: Fraction | None = Field(None, description="fraction of that selector")
    counts: dict[str, int] | None = Field(None, description="counts by site, given outright")

    @model_validator(mode="after")
    def _one_source(self) -> MatchedOptions:
        if sum(source is not None for source in (self.patch, self.selector, self.counts)) != 1:
            raise ValueError("matched needs exactly one of selector.patch, selector.selector and selector.counts")
        return self


class ScaleOptions(Options):
    """Options of `scale`."""

    alpha: FiniteFloat = Field(-1.0, description="factor of the selected weights: -1 negates, 0 prunes")

    @field_validator("alpha")
    @classmethod
    def _must_change_something(cls, alpha: float) -> float:
        if alpha == 1:
            raise ValueError("alpha 1 leaves every weight as it is; choose another, -1 is the paper's")
        return alpha
