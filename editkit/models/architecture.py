"""An architecture of transformers: the shapes of its tensors without weights, and filling it from a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from editkit.components.protocols import ModelFiles
from editkit.errors import ModelError
from editkit.files.tensors import read_tensors

HARMLESS = re.compile(r"position_ids$|rotary_emb\.inv_freq$|^logit_(scale|bias)$")
"""Tensors that older releases saved and that follow from the configuration, or that no embedding depends on."""


def refuse_lacking(source: str, info: Mapping[str, Any]) -> None:
    """Check what `from_pretrained` says of its loading: it fills lacking tensors with noise and goes on.

    Raises:
        ModelError: the checkpoint lacks tensors of the model, or has them in another shape.
    """
    lacking = sorted(map(str, info["missing_keys"] or info["mismatched_keys"]))
    if lacking:
        raise ModelError(
            f"{source} lacks {len(lacking)} of its model's tensors, or has them in another shape: "
            f"{', '.join(lacking[:3])} ...",
            "Check that config.json and the weights belong together, or download the model again.",
        )


def refuse_unknown(source: str, unknown: Collection[str]) -> None:
    """Refuse tensors that the architecture has not: the library would leave them out and compute another model.

    Raises:
        ModelError: names some of them.
    """
    strange = sorted(key for key in unknown if not HARMLESS.search(key))
    if strange:
        raise ModelError(
            f"{source} holds {len(strange)} tensors that its architecture has not: {', '.join(strange[:3])} ...",
            "Check that config.json and the weights belong together; an adapter has to be merged into its model first.",
        )


@contextmanager
def without_memory() -> Iterator[None]:
    """Build modules of shapes alone: their tensors take no memory, and next to no time."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leaves out what only fills tensors on the meta device, which have nothing to fill: that is most of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, unless it is an in-place operation on a meta tensor."""
        in_place = re.fullmatch(r"[a-z]\w*[a-z]_", getattr(func, "__name__", ""))
        if in_place and args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def outline(architecture: Any, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a transformers architecture by key, without weights.

    Args:
        architecture: a class such as `CLIPModel`.
        config: the content of its config.json.
    """
    with without_memory():
        module = architecture(architecture.config_class.from_dict(dict(config)))
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def saved_dtype(config: Mapping[str, Any]) -> str:
    """Return what a config says its weights are stored in, as safetensors calls it."""
    said = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return {"float16": "F16", "bfloat16": "BF16", "float64": "F64"}.get(said, "F32")


def fill_architecture(
    architecture: Any, files: ModelFiles, *, dtype: str, without: Sequence[str] = (), **options: Any
) -> Any:
    """Return a transformers model filled from a checkpoint's own tensors, every one of them matched.

    The folder is never given to `from_pretrained`: it might take other files in it, or an adapter, for the model.

    Args:
        architecture: a class such as `CLIPModel`.
        without: how the keys of tensors begin that are not to be read.
        options: more for `from_pretrained`.

    Raises:
        ModelError: tensors are missing, of another shape, or unknown to the architecture.
    """
    tensors = read_tensors(files.checkpoint, lambda key: not key.startswith(tuple(without)))
    config = architecture.config_class.from_dict(dict(files.config))
    model, info = architecture.from_pretrained(
        None, config=config, state_dict=tensors, dtype=getattr(torch, dtype), output_loading_info=True, **options
    )
    refuse_lacking(files.source, info)
    refuse_unknown(files.source, info["unexpected_keys"])
    return model
