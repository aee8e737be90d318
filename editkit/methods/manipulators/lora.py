"""Subtract a LoRA adapter: what it learnt is a task vector, and negation unlearns it.

W' = W - amount scaling B A      A [r, I], B [O, r] of the adapter's module, scaling alpha / r: `files.lora_adapter`

Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, for the parameter-efficient modules of Zhang et al.,
"Composing Parameter-Efficient Modules with Arithmetic Operations", NeurIPS 2023: an adapter trained on unsafe data is
taken away. A negative amount adds it, -1 as PEFT merges it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.errors import ModelError
from editkit.files.bits import to_tensor
from editkit.files.lora_adapter import LoraAdapter
from editkit.methods.manipulators.options import LoraOptions


class Lora:
    """Take the adapter's change out of the sites that it was trained at; biases stay."""

    def __init__(self, options: LoraOptions) -> None:
        self.options = options
        self.adapter = LoraAdapter.open(options.adapter)

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], computed in float64 and rounded once to its own dtype.

        Raises:
            ModelError: the adapter's matrices are for a weight of another shape.
        """
        module = self.adapter.module_of(site.module)
        assert module is not None  # `require_adapted` is this manipulator's `check_site`
        a, b = (to_tensor(bits, dtype, module).double() for bits, dtype in self.adapter.matrices(module))
        if (b.shape[:1] + a.shape[1:], b.shape[1:]) != (weight.shape, a.shape[:1]):
            raise ModelError(
                f"{site.name} is {list(weight.shape)}, and for it {self.options.adapter} has {list(b.shape)} x "
                f"{list(a.shape)}.",
                "Give an adapter of this model.",
            )
        change = self.options.amount * self.adapter.scaling(module) * (b @ a)
        return {"weight": (weight.double() - change).to(weight.dtype)}
