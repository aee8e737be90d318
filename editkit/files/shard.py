"""One safetensors file: its header, the bytes of one tensor, and a writer whose output never varies.

A file is 8 bytes (the header's length, little-endian), the header (JSON: name -> dtype, shape, data_offsets) and the
tensors' bytes without gaps. The header is read here, not through the safetensors package, because an edit needs the
byte offsets; files are written here so that the same patch has the same bytes under every release of that package.
Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from editkit.errors import ModelError

Bits = npt.NDArray[Any]
"""Bit patterns: unsigned integers of the tensor's item size, whatever the tensor's own dtype is."""

ITEM_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
HEADER_LIMIT = 100_000_000  # bytes; the safetensors package refuses longer headers too
CHUNK = 4 << 20  # bytes read at a time: large enough for full speed, small enough that memory stays flat


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: `file` relative to the checkpoint's root, `start` and `stop` byte offsets in that file."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def unsigned(dtype: str) -> np.dtype[Any] | None:
    """Return the unsigned integer that holds one item of a safetensors dtype; None where items are not whole bytes."""
    bits = ITEM_BITS.get(dtype, 0)
    return np.dtype(f"<u{bits // 8}") if bits and bits % 8 == 0 else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


Read = Callable[[int, int], bytes]
"""`read(start, stop)` gives these bytes of a file, wherever it lies."""


def read_header(path: Path, file: str) -> dict[str, TensorInfo]:
    """Read the header of `path`, called `file` in messages and in the returned infos; no tensor is read.

    Raises:
        ModelError: the file cannot be read, is no safetensors file, or is shorter or longer than its header says.
    """
    try:
        length = path.stat().st_size
        with path.open("rb") as stream:

            def read(start: int, stop: int) -> bytes:
                stream.seek(start)
                return stream.read(stop - start)

            return parse_header(read, length, file, str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", "Check the file and its permissions.") from error


def parse_header(read: Read, length: int, file: str, called: str) -> dict[str, TensorInfo]:
    """Return what the header of a safetensors file says, read by its first 8 bytes and then by its own length.

    Args:
        read: gives bytes of the file.
        length: of the whole file, in bytes.
        file: what the returned infos call it.
        called: what messages call it.

    Raises:
        ModelError: it is no safetensors file, or is shorter or longer than its header says.
    """
    try:
        head = read(0, min(8, length))
        count = int.from_bytes(head, "little")
        if len(head) < 8 or not 2 <= count <= min(HEADER_LIMIT, length - 8):
            raise ValueError(f"{length:,} bytes that do not start with a header")
        header = json.loads(read(8, 8 + count), object_pairs_hook=_unique)
        header.pop("__metadata__", None)
        infos = [_info(key, entry, file, 8 + count) for key, entry in header.items()]
        _check_layout(infos, 8 + count, length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{called} is not a whole safetensors file: {error}.",
            "Download or copy it again; a torch archive or another format has to be converted first.",
        ) from error
    return {info.key: info for info in infos}


def _info(key: str, entry: dict[str, Any], file: str, offset: int) -> TensorInfo:
    dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)) or stop < start:
        raise ValueError(f"the header's entry for '{key}' makes no sense")
    info = TensorInfo(key, str(dtype), tuple(shape), file, offset + start, offset + stop)
    if dtype in ITEM_BITS and (stop - start) * 8 != info.size * ITEM_BITS[dtype]:
        raise ValueError(f"'{key}' has {stop - start:,} bytes, which is not its shape {shape} in {dtype}")
    return info


def _check_layout(infos: list[TensorInfo], start: int, length: int) -> None:
    """Tensors follow each other without gaps and fill the file: anything else is a truncated or a forged file."""
    for info in sorted(infos, key=lambda info: (info.start, info.stop)):
        if info.start != start:
            raise ValueError(f"the bytes of '{info.key}' do not follow those before them")
        start = info.stop
    if start != length:
        raise ValueError(f"it has {length:,} bytes where its header promises {start:,}")


def read_bits(root: Path, info: TensorInfo) -> Bits:
    """Return a copy of one tensor's bit patterns, in its shape.

    Raises:
        ModelError: the dtype packs several items into one byte, or is unknown.
    """
    kind = unsigned(info.dtype)
    if kind is None:
        raise ModelError(
            f"Tensor '{info.key}' is stored as {info.dtype}, whose single weights cannot be addressed.",
            "Edit a checkpoint in F32, F16 or BF16.",
        )
    return np.fromfile(root / info.file, kind, info.size, offset=info.start).reshape(info.shape)


def hash_bits(bits: Bits) -> str:
    """Return the sha256 (hex) of a tensor in memory; equal to `hash_bytes` of the same tensor in a file."""
    return sha256(np.ascontiguousarray(bits).reshape(-1).data).hexdigest()


def hash_bytes(root: Path, info: TensorInfo) -> str:
    """Return the sha256 (hex) of one tensor's bytes, read in chunks."""
    digest, buffer = sha256(), memoryview(bytearray(min(CHUNK, max(1, info.stop - info.start))))
    with (root / info.file).open("rb", buffering=0) as stream:
        stream.seek(info.start)
        left = info.stop - info.start
        while left:
            got = stream.readinto(buffer[: min(left, len(buffer))])
            if not got:
                raise ModelError(f"{root / info.file} became shorter while it was read.", "Copy it again.")
            digest.update(buffer[:got])
            left -= got
    return digest.hexdigest()


def write_shard(
    path: Path, tensors: Iterable[tuple[str, str, tuple[int, ...], Bits]], metadata: Mapping[str, str]
) -> None:
    """Write (name, dtype, shape, bits) as one safetensors file, wide items first and then by name: all are aligned."""
    ordered = sorted(tensors, key=lambda tensor: (-tensor[3].itemsize, tensor[0]))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name, dtype, shape, bits in ordered:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + bits.nbytes]}
        offset += bits.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, _, _, bits in ordered:
            stream.write(np.ascontiguousarray(bits, bits.dtype.newbyteorder("<")).data.cast("B") if bits.size else b"")
