"""The contract of a manipulator, clause by clause, and `check_manipulator`, which holds one to it on small sites.

The clauses are `CLAUSES`, in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.specs import ManipulatorSpec
from editkit.files.bits import to_bits
from editkit.recipes.asked import asked_scorers
from editkit.testing.contract import DEFAULTS, BreachError, Given, called, chosen, hold, require, unchanged
from editkit.testing.manipulator_case import Case

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_manipulator(
    manipulator: str | ManipulatorSpec, options: Given = DEFAULTS, *, host: Host | None = None
) -> None:
    """Hold a manipulator to its contract on small sites; no model is loaded.

    Args:
        manipulator: the name it is registered under, or its spec.
        options: the manipulator's options by name; a checkpoint that they name is not opened.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
        PluginError: no such manipulator, or none of what it asks for.
        RecipeError: an option it does not take.
    """
    host = host or default_host()
    choice = chosen(ManipulatorSpec, manipulator, options, host)
    hold(called(choice), CLAUSES, Case(choice, tuple(asked_scorers([choice], host))))


def what_its_spec_asks_for_is_enough(case: Case) -> None:
    """It changes a site, given what its spec asks for and nothing else; `check_site` refuses with a SiteError alone."""
    edits = list(case.edits())
    require(bool(edits), "`check_site` refuses every site, with a bias and without")
    for edit in edits:
        try:
            case.apply(edit)
        except Exception as error:
            raise BreachError(f"{edit.site.name}: {type(error).__name__}: {error}") from error


def only_the_sites_own_tensors_are_given_back(case: Case) -> None:
    """There is a new "weight", a new "bias" only where the site has one, and nothing else."""
    for edit in case.edits():
        new = case.apply(edit)
        require(isinstance(new, Mapping) and "weight" in new, f"{edit.site.name} has no new weight")
        strange = sorted(new.keys() - edit.held.keys())
        require(not strange, f"{edit.site.name}, with {' and '.join(edit.held)}, has a new {', '.join(strange)}")


def what_is_handed_over_stays_as_it_is(case: Case) -> None:
    """Weight, bias, mask and what the context holds are not changed in place."""
    for edit in case.edits():
        with unchanged(edit.tensors):
            case.apply(edit)


def shape_and_dtype_are_kept(case: Case) -> None:
    """New tensors have the shape and dtype of the old ones, in float32, float16 and bfloat16, and are finite."""
    for dtype in DTYPES:
        for edit in case.edits(dtype):
            for name, tensor in case.apply(edit).items():
                old, told = edit.held[name], f"the {name} of {edit.site.name} is"
                require(isinstance(tensor, Tensor), f"{told} a {type(tensor).__name__}")
                fits = (tensor.dtype, tensor.shape) == (old.dtype, old.shape)
                require(fits, f"{told} {tensor.dtype} {tuple(tensor.shape)}, and was {old.dtype} {tuple(old.shape)}")
                require(bool(tensor.isfinite().all()), f"{told} not finite in {dtype}")


def only_selected_weights_change(case: Case) -> None:
    """Weights that the mask does not name keep every bit."""
    for dtype in DTYPES:
        for edit in case.edits(dtype):
            moved = _moved(case.apply(edit)["weight"], edit.weight) & ~edit.mask
            require(not bool(moved.any()), f"{int(moved.sum())} others of {edit.site.name} do in {dtype}")


def something_changes(case: Case) -> None:
    """Some weight or bias has a new value at every site."""
    for edit in case.edits():
        changed = any(bool(_moved(new, edit.held[name]).any()) for name, new in case.apply(edit).items())
        require(changed, f"{edit.site.name} stays as it was")


def the_same_site_has_the_same_edit(case: Case) -> None:
    """New values are the same bit by bit each time."""
    for edit in case.edits():
        first, second = case.apply(edit), case.apply(edit)
        same = all(name in second and not bool(_moved(new, second[name]).any()) for name, new in first.items())
        require(same, f"two edits of {edit.site.name} differ")


def _moved(new: Tensor, old: Tensor) -> Tensor:
    """Return a bool tensor: where not one bit pattern is the other's."""
    return torch.from_numpy(to_bits(new) != to_bits(old))


CLAUSES: tuple[Callable[[Case], None], ...] = (
    what_its_spec_asks_for_is_enough,
    only_the_sites_own_tensors_are_given_back,
    what_is_handed_over_stays_as_it_is,
    shape_and_dtype_are_kept,
    only_selected_weights_change,
    something_changes,
    the_same_site_has_the_same_edit,
)
