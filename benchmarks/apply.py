"""How long applying a patch takes beside copying and hashing the same files, and how much memory.

    python -m benchmarks.apply [--size 1.0] [--shards 4] [--dtype F16]

Builds a checkpoint of random weights in a temporary folder, makes a patch that negates two per cent of the weights
of every eighth tensor, and measures, each in a process of its own so that peak memory is its own too:
`apply` (verifies every byte, writes, syncs), and the least that a careful person could do by hand: sha256 of every
file, one after the other, then `cp -r` of the folder, then sync it. The page cache is warm for both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

import numpy as np

from editkit.files.checkpoint import Checkpoint
from editkit.files.shard import unsigned, write_shard
from editkit.patch.change import Change
from editkit.patch.patch import Patch

ROWS, COLUMNS = 1024, 4096
FRACTION = 0.02
EDITED_EVERY = 8
REPEATS = 3


def build(folder: Path, size: float, shards: int, dtype: str) -> None:
    """Write a sharded checkpoint of about `size` GB and a patch for it."""
    kind = unsigned(dtype)
    assert kind is not None
    random = np.random.default_rng(0)
    count = max(1, round(size * 1e9 / shards / (ROWS * COLUMNS * kind.itemsize)))
    model = folder / "model"
    places: dict[str, str] = {}
    model.mkdir()
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        keys = [f"layers.{shard * count + i}.weight" for i in range(count)]
        bits = (random.integers(0, 2 ** (8 * kind.itemsize), (ROWS, COLUMNS), kind) for _ in keys)
        tensors = [(key, dtype, (ROWS, COLUMNS), matrix) for key, matrix in zip(keys, bits, strict=True)]
        write_shard(model / name, tensors, {"format": "pt"})
        places |= dict.fromkeys(keys, name)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    checkpoint = Checkpoint.open(model)
    changes = {}
    for key in list(places)[::EDITED_EVERY]:
        before = checkpoint.read(key)
        after = before.copy()
        chosen = random.choice(before.size, int(before.size * FRACTION), replace=False)
        after.reshape(-1)[chosen] ^= 1 << (8 * kind.itemsize - 1)
        change = Change.between(key, dtype, before, after)
        assert change is not None
        changes[key] = change
    Patch.create(checkpoint, changes, {}).save(folder / "patch", "")
    os.sync()


def apply(folder: Path) -> None:
    """What is measured."""
    Patch.load(folder / "patch").apply(folder / "model", folder / "output")


def copy_and_hash(folder: Path) -> None:
    """What it is measured against."""
    for path in (folder / "model").iterdir():
        with path.open("rb") as stream:
            file_digest(stream, "sha256")
    subprocess.run(["cp", "-r", folder / "model", folder / "output"], check=True)
    for path in (folder / "output").iterdir():
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())


WAYS: dict[str, Callable[[Path], None]] = {"apply": apply, "copy": copy_and_hash}


def once(way: str, folder: Path) -> tuple[float, float]:
    """Run one way in a new process; return (seconds, MB of peak memory above that of the imports)."""
    command = [sys.executable, "-m", "benchmarks.apply", "--only", way, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(folder / "output")
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def only(way: str, folder: Path) -> None:
    """The new process: run one way, and print its wall time and memory."""
    resting = peak_memory()
    start = time.perf_counter()
    WAYS[way](folder)
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, peak_memory() - resting]))


def peak_memory() -> float:
    """Return this process's peak resident memory in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's getrusage counts the parent's memory from before exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Build, measure in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1.0, help="GB")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--dtype", default="F16")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        only(given.only, given.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, given.size, given.shards, given.dtype)
        size = sum(path.stat().st_size for path in (folder / "model").iterdir()) / 1e9
        runs = [{way: once(way, folder) for way in WAYS} for _ in range(REPEATS)]
    best = {way: min(run[way] for run in runs) for way in WAYS}
    memory = max(run["apply"][1] for run in runs)
    print(f"{size:.2f} GB, {given.shards} shards, {given.dtype}, {os.cpu_count()} CPUs, best of {REPEATS}")
    print(f"editkit apply           {best['apply'][0]:6.2f} s   peak memory + {memory:.0f} MB")
    print(f"sha256, cp -r, fsync    {best['copy'][0]:6.2f} s")
    print(f"ratio                   {best['apply'][0] / best['copy'][0]:6.2f}")


if __name__ == "__main__":
    main()
