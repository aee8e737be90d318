"""What CLIP's formats share: padding, the token mask and configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editkit.plugin import Tower


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


def tower_config(config: Mapping[str, Any], tower: Tower) -> dict[str, Any]:
    """Return what a config says of a tower; older ones say it in a second place, which wins, and leave out defaults."""
    return {**(config.get(f"{tower}_config") or {}), **(config.get(f"{tower}_config_dict") or {})}
