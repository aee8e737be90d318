"""A LoRA adapter as PEFT saves it: adapter_config.json and adapter_model.safetensors in one folder.

Of each module, lora_A.weight [r, I] and lora_B.weight [O, r]; the change of its weight is scaling B A, with

    scaling = alpha / r, or alpha / sqrt(r) with `use_rslora`        alpha by `alpha_pattern`, else `lora_alpha`

Opening one reads its configuration and the header of its tensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editkit.errors import ModelError
from editkit.files.checkpoint import Bits, Checkpoint

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])(?:\.[^.]+)?\.weight")
"""Of both parts; some versions put the adapter's name before "weight"."""


@dataclass(frozen=True)
class LoraAdapter:
    """Which modules an adapter changes, and where their matrices are."""

    folder: Path
    config: Mapping[str, Any]
    checkpoint: Checkpoint
    modules: Mapping[str, Mapping[str, str]]
    """By module, as the trained model calls it: the keys of "A" and "B"."""

    @classmethod
    def open(cls, folder: str | Path) -> LoraAdapter:
        """Open an adapter.

        Raises:
            ModelError: there is none, or one that is more than products of two matrices.
        """
        path = Path(folder).expanduser()
        config = _config(path)
        if not (path / TENSORS).is_file():
            raise ModelError(f"{folder} has no {TENSORS}.", "Save the adapter with safe_serialization=True.")
        checkpoint = Checkpoint.open(path / TENSORS)
        modules: dict[str, dict[str, str]] = {}
        for key in checkpoint.tensors:
            if (found := _KEY.fullmatch(key)) is None:
                raise ModelError(
                    f"{folder} changes more than LoRA's two matrices: {key}.",
                    "Merge the adapter with PEFT, and give the merged model to `blend`.",
                )
            modules.setdefault(found["module"], {})[found["part"]] = key
        if lacking := [module for module, parts in modules.items() if len(parts) != 2]:
            raise ModelError(f"{folder} holds one of two matrices of {lacking[0]}.", "Save the adapter again.")
        return cls(path, config, checkpoint, modules)

    def module_of(self, name: str) -> str | None:
        """Return what the adapter calls a module of the edited model; None: it does not change it.

        One may wrap the other's model: a name that ends in the other after a dot is the same, if only one does.
        """
        if name in self.modules:
            return name
        alike = [
            module for module in self.modules if f".{module}".endswith(f".{name}") or f".{name}".endswith(f".{module}")
        ]
        return alike[0] if len(alike) == 1 and name else None

    def matrices(self, module: str) -> tuple[tuple[Bits, str], tuple[Bits, str]]:
        """Return A [r, I] and B [O, r] of a module, each as bit patterns with their dtype."""
        keys = self.modules[module]
        a, b = ((self.checkpoint.read(key), self.checkpoint.info(key).dtype) for key in (keys["A"], keys["B"]))
        return a, b

    def scaling(self, module: str) -> float:
        """Return what B A is multiplied by."""
        rank = self.checkpoint.info(self.modules[module]["A"]).shape[0]
        patterns: Mapping[str, float] = self.config.get("alpha_pattern") or {}
        # a key of the pattern is an expression for the end of the name, as PEFT has it
        own = (value for key, value in patterns.items() if re.fullmatch(rf"(?:.*\.)?(?:{key})", module))
        alpha = float(next(own, self.config["lora_alpha"]))
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text())
        kind, alpha = config["peft_type"], float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder} is no LoRA adapter: its {CONFIG} is missing or lacks peft_type and lora_alpha.",
            "Give the folder that PEFT's save_pretrained wrote.",
        ) from error
    if kind != "LORA" or config.get("use_dora") or not math.isfinite(alpha):
        what = "DoRA" if config.get("use_dora") else str(kind)
        raise ModelError(
            f"{folder} holds an adapter of kind {what}, not plain LoRA.",
            "Merge it with PEFT, and give the merged model to `blend`.",
        )
    found: Mapping[str, Any] = config
    return found
