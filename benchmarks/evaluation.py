"""What SafeGround and retrieval cost from embeddings, beside whole n x n matrices, and an evaluation of ViSU's size.

    python -m benchmarks.evaluation [--tuples 5000 20000] [--width 768] [--memory 8] [--visu 5000]

Each way runs on random embeddings in a process of its own, which prints its time and its peak memory above that of the
embeddings. Matrices that would not fit `--memory` GB are not made. Then `editkit eval` runs on a folder laid out as
ViSU, of small synthetic images and a tiny random CLIP, with images missing, corrupt ones and an empty caption: from
scratch, and again from cached embeddings. `--visu 0` leaves that out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from editkit.evals.embeddings import Bools, Floats, TupleEmbeddings
from editkit.evals.options import DIRECTIONS
from editkit.evals.retrieval import Retrieval, metric
from editkit.evals.safeground import SafeGround

KS = (1, 5, 10, 20)


def embeddings(n: int, width: int) -> TupleEmbeddings:
    """Return n tuples of random unit vectors."""
    rng = np.random.default_rng(0)

    def unit() -> Floats:
        rows = rng.standard_normal((n, width), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    return TupleEmbeddings(unit(), unit(), unit(), unit(), tuple(map(str, range(n))), ("any",) * n)


def in_pieces(e: TupleEmbeddings) -> dict[str, Bools]:
    """Return all hits as editkit computes them."""
    return {**SafeGround().hits(e), **Retrieval().hits(e)}


def by_matrix(e: TupleEmbeddings) -> dict[str, Bools]:
    """Return the same hits from all similarities at once, as one would write it first."""
    v_s, v_u, t_s, t_u = (x.astype(np.float64) for x in (e.safe_images, e.unsafe_images, e.safe_texts, e.unsafe_texts))
    n = len(v_s)

    def similar(images: np.ndarray, texts: np.ndarray) -> Floats:
        return np.asarray((images @ texts.T).astype(np.float32))

    ss, su, us, uu = similar(v_s, t_s), similar(v_s, t_u), similar(v_u, t_s), similar(v_u, t_u)  # [n, n]
    own_ss, own_su, own_us, own_uu = (np.diagonal(matrix) for matrix in (ss, su, us, uu))
    pst, put, psv, puv = own_ss > own_us, own_su > own_uu, own_ss > own_su, own_us > own_uu
    hits = {"P_s^t": pst, "P_u^t": put, "P_s^v": psv, "P_u^v": puv}
    hits |= {"Txt_s": psv & puv, "Img_s": pst & put, "PS": pst & psv, "PU": put & puv, "GS": pst & put & psv & puv}
    galleries = (ss.T, ss, np.concatenate([su.T, uu.T], axis=1), np.concatenate([us, uu], axis=1))
    places = {}
    for direction, matrix in zip(DIRECTIONS, galleries, strict=True):
        order = np.argsort(-matrix, axis=1, kind="stable")
        places[direction] = 1 + np.argmax(order == np.arange(n)[:, None], axis=1)
    return hits | {metric(direction, k): places[direction] <= k for k in KS for direction in DIRECTIONS}


WAYS: dict[str, Callable[[TupleEmbeddings], dict[str, Bools]]] = {"in pieces": in_pieces, "n x n": by_matrix}


def measure(way: str, n: int, width: int) -> None:
    """Print seconds, MiB above what the embeddings take, and how many hits there were."""
    e = embeddings(n, width)
    before = peak_mib()
    start = time.perf_counter()
    hits = WAYS[way](e)
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, peak_mib() - before, sum(int(hit.sum()) for hit in hits.values())]))


def peak_mib() -> float:
    """Return the peak resident memory of this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def in_process(way: str, n: int, width: int) -> list[float]:
    """Run `measure` in a process of its own."""
    code = f"from benchmarks.evaluation import measure; measure({way!r}, {n}, {width})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def matrix_gb(n: int) -> float:
    """Return about how much `by_matrix` takes: matrices in both precisions, unions, and a union's order and mask."""
    return n * n * 75 / 1e9


def compare(n: int, width: int, memory: float) -> None:
    """Print both ways and their ratios."""
    seconds, mib, hits = in_process("in pieces", n, width)
    print(f"{n:,} tuples in pieces: {seconds:.1f} s, {mib:.0f} MiB beyond the embeddings")
    if matrix_gb(n) > memory:
        print(f"{n:,} tuples n x n: not run, about {matrix_gb(n):.1f} GB")
        return
    whole, whole_mib, whole_hits = in_process("n x n", n, width)
    print(f"{n:,} tuples n x n: {whole:.1f} s, {whole_mib:.0f} MiB beyond the embeddings")
    print(f"  time {seconds / whole:.3f}, memory {mib / whole_mib:.3f} of n x n; same hits: {hits == whole_hits}")


def visu(count: int) -> None:
    """Print what `editkit eval` says of a ViSU of `count` tuples, some of them unusable."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from models import tiny_clip
    from visu_samples import synthetic_visu

    with TemporaryDirectory() as folder:
        root = Path(folder)
        tiny_clip(root / "model")
        bad = synthetic_visu(root / "visu", count)
        command = ["eval", "safeground", "--model", str(root / "model"), "--data", f"visu:{root / 'visu'}"]
        code = "import sys; from editkit.cli import main; sys.exit(main(sys.argv[1:]))"
        for name in ("from scratch", "from cached embeddings"):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, *command, "--json"],
                capture_output=True,
                text=True,
                check=True,
                cwd=root,
                env=os.environ | {"EDITKIT_CACHE_DIR": str(root / "cache")},
            )
            seconds, report = time.perf_counter() - start, json.loads(done.stdout)
            told = {entry["id"] for entry in report["left_out"]}
            print(
                f"ViSU, {count:,} tuples, {name}: {seconds:.1f} s, n = {report['data']['n']:,}, "
                f"{len(told)} left out, all and only the {len(bad)} unusable ones: {told == bad.keys()}"
            )


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuples", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--memory", type=float, default=8)
    parser.add_argument("--visu", type=int, default=5000)
    options = parser.parse_args()
    for n in options.tuples:
        compare(n, options.width, options.memory)
    if options.visu:
        visu(options.visu)


if __name__ == "__main__":
    main()
