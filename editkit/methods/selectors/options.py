"""What can be set on editkit's own selectors. No torch here: a recipe is checked first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from editkit.components.spec import Asked, Options
from editkit.components.specs import Axis

Fraction = Annotated[FiniteFloat, Field(gt=0, lt=1)]
Share = Annotated[FiniteFloat, Field(gt=0, le=1)]


def count_of(fraction: float, size: int) -> int:
    """Return how many of `size` are selected at a fraction: size - int((1 - fraction) * size), as UWM's code counts."""
    return size - int((1 - fraction) * size)


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
        """Return how many of `size` weights are selected; a sparsity is what is left alone, rounded down."""
        if self.sparsity is not None:
            return size - int(self.sparsity * size)
        return count_of(0.02 if self.fraction is None else self.fraction, size)


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

    def other_scorers(self) -> Asked:
        """The scorer on whose scores the other selector works, if there is one."""
        return {"matched": {"name": self.scorer}} if self.selector else {}

    def other_selectors(self) -> Asked:
        """The selector whose counts are copied, if there is one."""
        given = {"name": self.selector, "tau": self.tau, "fraction": self.fraction}
        return {"matched": {name: value for name, value in given.items() if value is not None}} if self.selector else {}


class ThresholdOptions(Options):
    """Options of `threshold`."""

    above: FiniteFloat = Field(description="score from which on, itself not included, weights are selected")


class GlobalOptions(Options):
    """Options of `global`."""

    fraction: Share = Field(0.02, description="share of all of a tower's weights that is selected")


class UnitsOptions(Options):
    """Options of `units`."""

    axis: Literal["inputs", "outputs"] = Field("inputs", description="whole input columns or whole output rows")
    pool: Literal["mean", "max"] = Field("mean", description="how a unit's scores become one")
    fraction: Share = Field(0.02, description="share of each site's units that is selected")

    def unit(self) -> Axis:
        """What a unit is: an input column or an output row."""
        return self.axis


class DifferenceSetOptions(Options):
    """Options of `difference-set`."""

    fraction: Share = Field(0.05, description="top share by the scorer (q of Wei et al.)")
    other: str = Field("wanda", description="the scorer of what is to be kept")
    other_options: dict[str, Any] = Field({"side": "safe"}, description="that scorer's options")
    other_fraction: Share = Field(0.05, description="top share by the other scorer, which is left alone (p)")

    def other_scorers(self) -> Asked:
        """The scorer of what is to be kept."""
        return {"other": {"name": self.other, **self.other_options}}
