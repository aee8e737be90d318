"""What scoring costs beside the forward pass it rides on, and whether its memory grows with the number of pairs.

    python -m benchmarks.scoring [--pairs 16] [--batch-size 8] [--layers 12]

A random CLIP of ViT-B/32's width runs over random pixels and token ids, once plain and once observed and scored by
`uwm`, in turns; the ratio of the medians is what scoring costs. Peak memory is measured in processes of their own,
for some pairs and for four times as many.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from transformers import CLIPConfig, CLIPModel

from editkit.components.load import default_host
from editkit.components.site import Role, Site, Tower
from editkit.components.specs import ScorerSpec
from editkit.editing.input_scores import score_pairs
from editkit.models.batches import Batch
from editkit_clip.transformers_format import LAYERS, MODULES, LoadedClip

ROLES: dict[Tower, Role] = {"text": "attn.out", "vision": "mlp.out"}
REPEATS = 5
TOKENS = 24


def build(layers: int) -> LoadedClip:
    """Return a random CLIP with ViT-B/32's widths and `layers` blocks per tower."""
    towers = {"num_hidden_layers": layers}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=towers, vision_config=towers))
    return LoadedClip(model.eval().requires_grad_(requires_grad=False), None, None, ("text", "vision"))


def sites_of(model: LoadedClip, tower: Tower) -> list[Site]:
    """Return the default sites of one tower."""
    role = ROLES[tower]
    found = []
    for layer in range(getattr(model.module.config, f"{tower}_config").num_hidden_layers):
        module = f"{LAYERS[tower]}.{layer}.{MODULES[role]}"
        weight = model.parameter(f"{module}.weight")
        found.append(Site(tower, layer, role, module, f"{module}.weight", (weight.shape[0], weight.shape[1])))
    return found


def batches(tower: Tower, pairs: int, batch_size: int) -> Iterator[Batch]:
    """Yield random pairs, one batch in memory at a time."""
    for start in range(0, pairs, batch_size):
        size = min(batch_size, pairs - start)
        torch.manual_seed(start)
        if tower == "vision":
            yield Batch(tuple(range(size)), {"pixel_values": torch.randn(2 * size, 3, 224, 224)}, None)
        else:
            ids = torch.randint(1, 49000, (2 * size, TOKENS))
            yield Batch(tuple(range(size)), {"input_ids": ids}, torch.ones_like(ids, dtype=torch.bool))


def forward(model: LoadedClip, tower: Tower, pairs: int, batch_size: int) -> None:
    """Run the tower and nothing else."""
    encode = model.encode_texts if tower == "text" else model.encode_images
    with torch.no_grad():
        for batch in batches(tower, pairs, batch_size):
            encode(batch.inputs)


def scored(model: LoadedClip, tower: Tower, pairs: int, batch_size: int) -> None:
    """Run the tower observed, with UWM's sums."""
    spec = default_host().resolve(ScorerSpec, "uwm")
    scorers = {"uwm": spec.load()(spec.options())}
    score_pairs(model, tower, sites_of(model, tower), scorers, batches(tower, pairs, batch_size))


def seconds(work: Callable[[], None]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mib(pairs: int, batch_size: int, layers: int) -> float:
    """Return the peak resident memory of a process that scores `pairs` pairs of images."""
    code = (
        "import resource; from benchmarks import scoring as s; "
        f"s.scored(s.build({layers}), 'vision', {pairs}, {batch_size}); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Print the ratios and the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()
    model = build(options.layers)
    print(f"{torch.get_num_threads()} threads, {options.pairs} pairs, batches of {options.batch_size}")
    for tower in ROLES:
        pairs = options.pairs * (8 if tower == "text" else 1)
        runs: dict[str, list[float]] = {"forward": [], "scored": []}
        for work in (forward, scored):
            work(model, tower, options.batch_size, options.batch_size)  # warm up
        for _ in range(REPEATS):
            for work in (forward, scored):
                runs[work.__name__].append(seconds(partial(work, model, tower, pairs, options.batch_size)))
        medians = {name: statistics.median(times) for name, times in runs.items()}
        ratio = medians["scored"] / medians["forward"]
        print(f"{tower}: forward {medians['forward']:.2f} s, scored {medians['scored']:.2f} s, ratio {ratio:.3f}")
    few, many = (peak_mib(pairs, options.batch_size, options.layers) for pairs in (options.pairs, 4 * options.pairs))
    print(f"peak memory: {few:.0f} MiB for {options.pairs} pairs, {many:.0f} MiB for {4 * options.pairs}")


if __name__ == "__main__":
    main()
