"""What CLIP's formats share: padding, the token mask, configs, and the check that all tensors were there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editkit.plugin import ModelError, Tower


def pad(ids: Sequence[Sequence[int]], padding: int, length: int | None = None) -> Tensor:
    """Return [B, T] int64, each row filled up with `padding` to the longest row or to `length`."""
    width = length or max(map(len, ids))
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in ids])


def first_end_mask(ids: Tensor, end: int) -> Tensor:
    """[B, T] ids -> [B, T] bool: everything through the FIRST end-of-text token.

    Never `ids != padding`: OpenAI's tokenizer pads with the end-of-text id, open_clip's with 0, which is also "!".
    """
    ends_before = (ids == end).cumsum(dim=1) - (ids == end).long()
    return ends_before == 0


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


def tower_config(config: Mapping[str, Any], tower: Tower) -> dict[str, Any]:
    """Return what a config says of a tower; older ones say it in a second place, which wins, and leave out defaults."""
    return {**(config.get(f"{tower}_config") or {}), **(config.get(f"{tower}_config_dict") or {})}
