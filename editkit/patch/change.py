"""What an edit did to one tensor: which elements, and their bit patterns before and after."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from editkit.files.shard import Bits, unsigned

SPARSE_LIMIT = 3
"""A third: an index costs as much as a float32 value, so beyond it, whole tensors are about as small, and simpler."""


@dataclass(frozen=True)
class Change:
    """The change of one tensor. Bit patterns are kept, not values: NaN payloads and the sign of zero survive.

    `index` [n] are sorted flat positions (uint32 where they fit, else uint64), or None for the whole tensor;
    `before` and `after` [n] are unsigned integers of the tensor's item size.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    index: Bits | None
    before: Bits
    after: Bits

    @classmethod
    def between(cls, key: str, dtype: str, before_bits: Bits, after_bits: Bits) -> Change | None:
        """Compare two states of a tensor, bit by bit.

        Args:
            key: the tensor's name in the checkpoint.
            dtype: its safetensors name ("F32", "F16", "BF16" ...).
            before_bits: unsigned integers of the dtype's item size, in the tensor's shape.
            after_bits: the same of the edited tensor.

        Returns:
            The change: sparse, or dense where more than a third of the elements differ; None where none does.

        Raises:
            ValueError: the two do not have the same shape, or are not the bit patterns of that dtype.
        """
        if before_bits.shape != after_bits.shape:
            raise ValueError(f"{key}: shapes {before_bits.shape} and {after_bits.shape}")
        if before_bits.dtype != unsigned(dtype) or after_bits.dtype != unsigned(dtype):
            raise ValueError(f"{key}: {before_bits.dtype} and {after_bits.dtype} are not the bit patterns of {dtype}")
        before, after = before_bits.reshape(-1), after_bits.reshape(-1)
        index = np.flatnonzero(before != after)
        if not index.size:
            return None
        if index.size * SPARSE_LIMIT > before.size:
            return cls(key, dtype, before_bits.shape, None, before, after)
        narrow = before.size <= 2**32
        places = index.astype("<u4" if narrow else "<u8")
        return cls(key, dtype, before_bits.shape, places, before[index], after[index])

    @property
    def size(self) -> int:
        """Number of elements of the tensor."""
        return prod(self.shape)

    @property
    def count(self) -> int:
        """Number of elements that differ; in a dense change some of the stored ones may not."""
        return int(np.count_nonzero(self.before != self.after))

    def reversed(self) -> Change:
        """The change back."""
        return Change(self.key, self.dtype, self.shape, self.index, self.after, self.before)

    def fits(self, bits: Bits) -> bool:
        """Whether the changed elements of a tensor (its bit patterns, any shape) are in the state before."""
        return bool(np.array_equal(self._chosen(bits), self.before))

    def made(self, bits: Bits) -> Bits:
        """Return a tensor's bit patterns, flat, with the change made: a new array."""
        after = bits.reshape(-1).copy()
        after[self._places] = self.after
        return after

    def problem(self) -> str | None:
        """Say what is wrong with a change that was read from a file, or None."""
        kind = unsigned(self.dtype)
        if kind is None or self.before.dtype != kind or self.after.dtype != kind:
            return "its values have another dtype"
        length = self.size if self.index is None else self.index.size
        if self.before.size != length or self.after.size != length or not length:
            return "its columns have different lengths"
        if self.index is not None and not (self.index[1:] > self.index[:-1]).all():
            return "its index is not sorted"
        if self.index is not None and int(self.index[-1]) >= self.size:
            return "its index is out of range"
        return None

    @property
    def _places(self) -> Bits | slice:
        return slice(None) if self.index is None else self.index

    def _chosen(self, bits: Bits) -> Bits:
        return bits.reshape(-1)[self._places]
