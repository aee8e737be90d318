"""How two checkpoints differ, tensor by tensor: counted in bits, measured in values, a chunk at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from editkit.files.checkpoint import Checkpoint, over_tensors
from editkit.files.shard import Bits, TensorInfo, unsigned

CHUNK = 1 << 20  # elements; float64 chunks of both sides take 16 MiB
_NATIVE = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "u1"} | {
    f"{sign}{bits}": f"<{kind}{bits // 8}" for sign, kind in (("I", "i"), ("U", "u")) for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class TensorDifference:
    """One tensor of two checkpoints A and B.

    `dtypes` and `shapes` are those of A and B, None where the tensor is missing. `count` of `size` elements differ: in
    bits, or in value where the dtypes differ. `largest` is the largest absolute difference, `norm` the L2 norm of all
    of them and `relative` that over A's own norm, over the finite elements; None where values cannot be compared.
    `not_finite` counts the differing elements that are NaN or infinite on either side.
    """

    key: str
    dtypes: tuple[str | None, str | None]
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    size: int
    count: int | None = None
    largest: float | None = None
    norm: float | None = None
    relative: float | None = None
    not_finite: int = 0

    @property
    def equal(self) -> bool:
        """Whether the tensor is the same in both: name, dtype, shape and every bit."""
        return self.dtypes[0] == self.dtypes[1] and self.shapes[0] == self.shapes[1] and self.count == 0


@dataclass(frozen=True)
class ModelDifference:
    """Two models compared bit by bit: an entry for every tensor of either, by name."""

    tensors: tuple[TensorDifference, ...]

    def __repr__(self) -> str:
        """Say how much differs, not what."""
        return f"ModelDifference({len(self.differing)} of {len(self.tensors)} tensors differ)"

    @property
    def differing(self) -> tuple[TensorDifference, ...]:
        """The tensors that are not the same in both."""
        return tuple(entry for entry in self.tensors if not entry.equal)

    @property
    def equal(self) -> bool:
        """Whether every tensor is the same in both, every bit of it."""
        return not self.differing


def compare_models(a: Checkpoint, b: Checkpoint) -> ModelDifference:
    """Compare the weights of two checkpoints. Sharding does not matter."""
    return ModelDifference(tuple(difference(a, b)))


def difference(a: Checkpoint, b: Checkpoint) -> list[TensorDifference]:
    """Compare every tensor of two checkpoints, in the order of their names."""
    shared = {key: info for key, info in a.tensors.items() if key in b.tensors}
    found = over_tensors(lambda key: _compare(a, b, key), shared, shared)
    for side, checkpoint in enumerate((a, b)):
        for key in checkpoint.tensors.keys() - shared.keys():
            info = checkpoint.tensors[key]
            here = (info.dtype, None) if side == 0 else (None, info.dtype)
            shape = (info.shape, None) if side == 0 else (None, info.shape)
            found[key] = TensorDifference(key, here, shape, info.size)
    return [found[key] for key in sorted(found)]


def _compare(a: Checkpoint, b: Checkpoint, key: str) -> TensorDifference:
    infos = a.tensors[key], b.tensors[key]
    result = TensorDifference(
        key, (infos[0].dtype, infos[1].dtype), (infos[0].shape, infos[1].shape), max(info.size for info in infos)
    )
    if infos[0].shape != infos[1].shape:
        return result
    same_kind = infos[0].dtype == infos[1].dtype
    if same_kind and a.digest(key) == b.digest(key):
        return replace(result, count=0, largest=0.0, norm=0.0, relative=0.0)
    valued = all(info.dtype in (*_NATIVE, "BF16") for info in infos)
    packed = any(unsigned(info.dtype) is None for info in infos)
    return result if packed or not (valued or same_kind) else _measure(a, b, result, valued=valued)


def _measure(a: Checkpoint, b: Checkpoint, result: TensorDifference, *, valued: bool) -> TensorDifference:
    """Fill in the numbers; `valued` says whether the dtype's values can be computed here."""
    infos = a.tensors[result.key], b.tensors[result.key]
    same_kind = infos[0].dtype == infos[1].dtype
    sums = np.zeros(2)  # of squares: of the difference, and of A
    count = not_finite = 0
    largest = 0.0
    for start in range(0, infos[0].size, CHUNK):
        bits = _chunk(a, infos[0], start), _chunk(b, infos[1], start)
        if not valued:
            count += int(np.count_nonzero(bits[0] != bits[1]))
            continue
        left, right = _values(bits[0], infos[0].dtype), _values(bits[1], infos[1].dtype)
        apart = bits[0] != bits[1] if same_kind else (left != right) & ~(np.isnan(left) & np.isnan(right))
        finite = np.isfinite(left) & np.isfinite(right)
        gap = np.abs(left[finite] - right[finite])
        count += int(np.count_nonzero(apart))
        not_finite += int(np.count_nonzero(apart & ~finite))
        largest = max(largest, float(gap.max(initial=0.0)))
        with np.errstate(over="ignore"):  # squares of large F64 values
            sums += (np.square(gap).sum(), np.square(left[finite]).sum())
    result = replace(result, count=count, not_finite=not_finite)
    if not valued:
        return result
    norm, own = (float(root) for root in np.sqrt(sums))
    if not math.isfinite(norm):
        return replace(result, largest=largest)
    return replace(result, largest=largest, norm=norm, relative=norm / own if own else None)


def _chunk(checkpoint: Checkpoint, info: TensorInfo, start: int) -> Bits:
    kind: np.dtype[Any] = unsigned(info.dtype) or np.dtype("u1")
    offset = info.start + start * kind.itemsize
    return np.fromfile(checkpoint.root / info.file, kind, min(CHUNK, info.size - start), offset=offset)


def _values(bits: Bits, dtype: str) -> npt.NDArray[np.float64]:
    if dtype == "BF16":  # the upper half of a float32
        return (bits.astype("<u4") << 16).view("<f4").astype(np.float64)
    return bits.view(_NATIVE[dtype]).astype(np.float64)
