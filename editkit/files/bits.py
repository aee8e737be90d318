"""Between a checkpoint's bit patterns (numpy, unsigned) and torch tensors: the same bytes under another name."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from editkit.errors import ModelError
from editkit.files.checkpoint import Bits

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SIGNED = {8: np.int64, 4: np.int32, 2: np.int16}


def to_tensor(bits: Bits, dtype: str, key: str) -> Tensor:
    """Return the values that bit patterns stand for, in the checkpoint's own dtype ("F32", "BF16" ...).

    Raises:
        ModelError: the dtype is no plain floating-point type, so its weights cannot be scored or edited.
    """
    if dtype not in DTYPES:
        raise ModelError(
            f"Tensor {key} is stored as {dtype}, which cannot be edited.",
            "Use a checkpoint in float32, float16 or bfloat16: quantised weights have to be edited before quantising.",
        )
    signed = np.array(bits, order="C").view(_SIGNED[bits.itemsize])  # a copy, in which a scalar stays one
    return torch.from_numpy(signed).view(DTYPES[dtype])


def to_bits(tensor: Tensor) -> Bits:
    """Return the bit patterns of a tensor, unsigned integers of its item size, in its shape."""
    size = tensor.element_size()
    signed = {8: torch.int64, 4: torch.int32, 2: torch.int16}[size]
    held: Bits = tensor.detach().contiguous().cpu().view(signed).numpy()
    return held.view(f"u{size}")
