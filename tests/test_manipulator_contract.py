"""`check_manipulator`: one that breaks a clause is told which, and one that keeps all of them is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from contract_samples import Broken, assert_told, clauses_of, ids, spec_of
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.components.specs import ManipulatorSpec
from editkit.errors import SiteError
from editkit.testing import check_manipulator
from editkit.testing.manipulator_contract import CLAUSES

New = Mapping[str, Tensor]


class Sound:
    """The selected weights at half their size."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def apply(self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext) -> New:
        return {"weight": torch.where(mask, self.new(site, weight, context), weight)}

    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        return weight / 2


class LooksAtMoments(Sound):
    """The selected weights without the mean unsafe input."""

    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        return (weight.double() - context.moments[site].unsafe).to(weight.dtype)


class LooksAtScores(Sound):
    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        return weight * context.other_scores["ratio"][site].to(weight.dtype)


def refuse_all(site: Site, options: Options) -> None:
    raise SiteError(f"{site.name} cannot be changed.", "Choose another.")


class GivesNoWeight(Sound):
    def apply(self, site: Site, weight: Tensor, bias: Tensor | None, *rest: Any) -> New:
        return {"bias": weight[:, 0]}


class GivesABiasToAll(Sound):
    def apply(self, site: Site, weight: Tensor, bias: Tensor | None, *rest: Any) -> New:
        return {**super().apply(site, weight, bias, *rest), "bias": weight[:, 0]}


class Widens(Sound):
    def apply(self, site: Site, weight: Tensor, *rest: Any) -> New:
        return {"weight": super().apply(site, weight, *rest)["weight"].float()}


class Narrows(Sound):
    def apply(self, *given: Any) -> New:
        return {"weight": super().apply(*given)["weight"][:, 1:]}


class Overflows(Sound):
    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        return weight * 1e6


class ReachesBeyondItsMask(Sound):
    def apply(self, site: Site, weight: Tensor, *rest: Any) -> New:
        return {"weight": weight / 2}


class LosesTheSignOfZero(Sound):
    def apply(self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, *rest: Any) -> New:
        return {"weight": weight - 0.5 * weight * mask}


class ChangesNothing(Sound):
    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        return weight


class ChangesInPlace(Sound):
    def apply(self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, *rest: Any) -> New:
        return {"weight": weight.mul_(1 - 0.5 * mask)}


class ChangesMoments(LooksAtMoments):
    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        context.moments[site].unsafe.mul_(2)
        return super().new(site, weight, context)


class Draws(Sound):
    def new(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        return torch.rand_like(weight)


class FoldsIntoTheBias(Sound):
    def apply(self, site: Site, weight: Tensor, bias: Tensor | None, *rest: Any) -> New:
        new = super().apply(site, weight, bias, *rest)
        return new if bias is None else {**new, "bias": bias + 1}


MEANS = {"needs": frozenset({"mean-inputs"})}
BROKEN = (
    Broken(LooksAtMoments, "what its spec asks for is enough", "text:mlp.out[0]: KeyError"),
    Broken(LooksAtScores, "what its spec asks for is enough", "text:mlp.out[0]: KeyError: 'ratio'"),
    Broken(Sound, "what its spec asks for is enough", "`check_site` refuses every site", {"check_site": refuse_all}),
    Broken(GivesNoWeight, "only the sites own tensors are given back", "text:mlp.out[0] has no new weight"),
    Broken(
        GivesABiasToAll, "only the sites own tensors are given back", "text:mlp.out[0], with weight, has a new bias"
    ),
    Broken(ChangesInPlace, "what is handed over stays as it is", "weight changed"),
    Broken(ChangesMoments, "what is handed over stays as it is", "moments.unsafe changed", MEANS),
    Broken(Widens, "shape and dtype are kept", "is torch.float32 (6, 8), and was torch.float16 (6, 8)"),
    Broken(Narrows, "shape and dtype are kept", "is torch.float32 (6, 7), and was torch.float32 (6, 8)"),
    Broken(Overflows, "shape and dtype are kept", "is not finite in torch.float16"),
    Broken(ReachesBeyondItsMask, "only selected weights change", "others of text:mlp.out[0] do in torch.float32"),
    Broken(LosesTheSignOfZero, "only selected weights change", "others of text:mlp.out[0] do in torch.float32"),
    Broken(ChangesNothing, "something changes", "text:mlp.out[0] stays as it was"),
    Broken(Draws, "the same site has the same edit", "two edits of text:mlp.out[0] differ"),
)


@pytest.mark.parametrize("broken", BROKEN, ids=ids)
def test_a_broken_clause_is_named_with_what_was_found(broken: Broken) -> None:
    assert_told(check_manipulator, ManipulatorSpec, broken)


def test_every_clause_is_broken_by_one_of_them() -> None:
    assert {broken.clause for broken in BROKEN} == clauses_of(CLAUSES)


@pytest.mark.parametrize(
    ("component", "fields"),
    [
        (Sound, {}),
        (Sound, {"acts_on": "units"}),
        (ReachesBeyondItsMask, {"acts_on": "sites"}),
        (LooksAtMoments, MEANS),
        (LooksAtScores, {"other_scorers": lambda options: {"ratio": {"name": "wanda-ratio"}}}),
        (FoldsIntoTheBias, {"role": "proj"}),
    ],
)
def test_a_manipulator_that_keeps_its_promises_is_left_alone(component: type, fields: Mapping[str, Any]) -> None:
    check_manipulator(spec_of(ManipulatorSpec, component, **fields))
