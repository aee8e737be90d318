"""How much memory an edit of LLaVA's vision tower takes, beside the tower itself, on a checkpoint too large to load.

    python -m benchmarks.llava [--pairs 32] [--batch-size 1] [--layers 8] [--dtype float32]

Writes a checkpoint in the shape of llava-1.5-7b-hf (published key names, float16, shards and their index) with random
weights, its language model cut to `--layers` layers so that it is at least 4 GB, and 32 pairs of images. Then plan,
calibration and apply, each in a process of its own, whose peak resident memory is compared with

    what it is after imports + 1.5 x the vision tower in its compute dtype + 300 MB

Calibration is `editkit edit` as a whole: hash the files, load the tower from its shards, score, select, write. Shards
without a tensor of the vision tower must be byte-identical afterwards, and never have been asked for a tensor: every
process notes from which shards it reads any.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from editkit.files.shard import write_shard

VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
LANGUAGE = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "vocab_size": 32064}
IMAGE, PATCH = 336, 14
ALLOWANCE = 300e6
PHASES = ("plan", "edit", "apply")


def main() -> None:
    """Build, run every phase in a process of its own, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        print(json.dumps(run_phase(given.phase, given.folder, given)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, given.layers, given.pairs)
        before = digests(folder / "model")
        size = sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
        tower = vision_weights() * (4 if given.dtype == "float32" else 2)
        print(
            f"checkpoint {size / 1e9:.2f} GB, {len(before)} shards; vision tower {tower / 1e9:.2f} GB in {given.dtype}"
        )
        print(f"{given.pairs} pairs of images, batches of {given.batch_size}\n")
        print(f"{'':<8}{'after imports':>14}{'peak':>9}{'limit':>9}{'seconds':>9}  tensors read of")
        for phase in PHASES:
            found = in_a_process(phase, folder, given)
            limit = found["imports"] + 1.5 * tower + ALLOWANCE
            row = "".join(f"{found[what] / 1e9:>{width}.2f}" for what, width in (("imports", 14), ("peak", 9)))
            verdict = "" if found["peak"] <= limit else "  TOO MUCH"
            print(f"{phase:<8}{row}{limit / 1e9:>9.2f}{found['seconds']:>9.1f}  {', '.join(found['read'])}{verdict}")
        after = digests(folder / "edited")
        same = sorted(name for name in before if before[name] == after[name])
        print(f"\nbyte-identical after apply: {', '.join(same)}")
        print(f"changed: {', '.join(sorted(set(before) - set(same)))}")


def in_a_process(phase: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run one phase and return what it measured of itself."""
    command = [sys.executable, "-m", "benchmarks.llava", "--phase", phase, "--folder", str(folder)]
    command += ["--batch-size", str(given.batch_size), "--dtype", given.dtype]
    cache = {"EDITKIT_CACHE_DIR": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env={**os.environ, **cache}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_phase(phase: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Do one phase in this process; return resident bytes after imports and at the peak, and which shards it read."""
    import transformers

    from editkit.api.carry_out import carry_out
    from editkit.components.load import default_host
    from editkit.editing.plan import make_plan
    from editkit.patch.patch import Patch

    # what transformers imports on first use is counted as imports, not as work
    for lazy in ("CLIPVisionModel", "CLIPImageProcessor", "LlamaForCausalLM", "LlavaForConditionalGeneration"):
        getattr(transformers, lazy)
    settings = {
        "model": str(folder / "model"),
        "data.name": "pairs",
        "data.path": str(folder / "pairs.jsonl"),
        "compute.batch_size": given.batch_size,
        "compute.workers": 0,
        "compute.dtype": given.dtype,
    }
    phases: dict[str, Callable[[], object]] = {
        "plan": lambda: make_plan([("benchmark", settings)], default_host()),
        "edit": lambda: carry_out(make_plan([("benchmark", settings)], default_host()), output=folder / "patch"),
        "apply": lambda: Patch.load(folder / "patch").apply(folder / "model", folder / "edited"),
    }
    imports = resident("VmRSS")
    with counting_reads() as read:
        start = time.perf_counter()
        phases[phase]()
        seconds = time.perf_counter() - start
    return {"imports": imports, "peak": resident("VmHWM"), "seconds": seconds, "read": sorted(read) or ["none"]}


@contextmanager
def counting_reads() -> Iterator[set[str]]:
    """Note the shards from which a tensor is read, by whichever of the two ways there are."""
    import safetensors

    from editkit.files import checkpoint, shard

    read: set[str] = set()
    read_bits, safe_open = shard.read_bits, safetensors.safe_open

    def noting(root: Path, info: shard.TensorInfo) -> shard.Bits:
        read.add(info.file)
        return read_bits(root, info)

    def opening(path: Any, *rest: Any, **more: Any) -> Any:
        read.add(Path(path).name)
        return safe_open(path, *rest, **more)

    try:
        checkpoint.read_bits, safetensors.safe_open = noting, opening
        yield read
    finally:
        checkpoint.read_bits, safetensors.safe_open = read_bits, safe_open


def resident(what: str) -> int:
    """Return this process's resident bytes: now ("VmRSS"), or the most there ever were ("VmHWM")."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every shard."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            found[path.name] = file_digest(stream, "sha256").hexdigest()
    return found


def vision_weights() -> int:
    """Return how many weights the vision tower has."""
    return sum(int(np.prod(shape)) for shape in vision_shapes().values())


def vision_shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of the vision tower as published."""
    width, inner = VISION["hidden_size"], VISION["intermediate_size"]
    stem = "vision_tower.vision_model"
    shapes: dict[str, tuple[int, ...]] = {
        f"{stem}.embeddings.class_embedding": (width,),
        f"{stem}.embeddings.patch_embedding.weight": (width, 3, PATCH, PATCH),
        f"{stem}.embeddings.position_embedding.weight": ((IMAGE // PATCH) ** 2 + 1, width),
    }
    for layer in range(VISION["num_hidden_layers"]):
        block = f"{stem}.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{block}.self_attn.{name}", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", inner, width) | _linear(f"{block}.mlp.fc2", width, inner)
        shapes |= _norm(f"{block}.layer_norm1", width) | _norm(f"{block}.layer_norm2", width)
    return shapes | _norm(f"{stem}.pre_layrnorm", width) | _norm(f"{stem}.post_layernorm", width)


def language_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of the projector and of a language model of so many layers, as published."""
    width, inner, words = LANGUAGE["hidden_size"], LANGUAGE["intermediate_size"], LANGUAGE["vocab_size"]
    shapes = _linear("multi_modal_projector.linear_1", width, VISION["hidden_size"])
    shapes |= _linear("multi_modal_projector.linear_2", width, width)
    shapes["language_model.model.embed_tokens.weight"] = (words, width)
    for layer in range(layers):
        block = f"language_model.model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{block}.self_attn.{name}.weight"] = (width, width)
        shapes |= {f"{block}.mlp.{name}.weight": (inner, width) for name in ("gate_proj", "up_proj")}
        shapes[f"{block}.mlp.down_proj.weight"] = (width, inner)
        shapes |= {f"{block}.{name}.weight": (width,) for name in ("input_layernorm", "post_attention_layernorm")}
    return shapes | {"language_model.model.norm.weight": (width,), "language_model.lm_head.weight": (words, width)}


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def build(folder: Path, layers: int, pairs: int) -> None:
    """Write the checkpoint, tensor by tensor in order over its shards, its configuration, and the pairs."""
    model = folder / "model"
    model.mkdir()
    shapes = vision_shapes() | language_shapes(layers)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for key, shape in shapes.items():
        if sum(2 * int(np.prod(held)) for held in shards[-1].values()) > 1.5e9:
            shards.append({})
        shards[-1][key] = shape
    places = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(
            model / name, [(key, "F16", shape, _values(key, shape)) for key, shape in shard.items()], {"format": "pt"}
        )
        places |= dict.fromkeys(shard, name)
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    _write_configuration(model, layers)
    _write_pairs(folder, pairs)


def _values(key: str, shape: tuple[int, ...]) -> Any:
    random = np.random.default_rng(crc32(key.encode()))
    if len(shape) == 1:  # scales of norms are about 1, biases small
        values = random.standard_normal(shape, dtype=np.float32) * 0.05 + ("norm" in key and key.endswith("weight"))
    else:
        values = random.standard_normal(shape, dtype=np.float32) * 0.02
    return values.astype("<f2").view("<u2")


def _write_configuration(model: Path, layers: int) -> None:
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": 32000,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vision_config": {"model_type": "clip_vision_model", **VISION, "image_size": IMAGE, "patch_size": PATCH},
        "text_config": {"model_type": "llama", **LANGUAGE, "num_hidden_layers": layers},
    }
    (model / "config.json").write_text(json.dumps(config))
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": IMAGE},
        "crop_size": {"height": IMAGE, "width": IMAGE},
        **{"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True},
        **{"resample": 3, "rescale_factor": 1 / 255, "image_mean": mean, "image_std": std},
    }
    (model / "preprocessor_config.json").write_text(json.dumps(processor))


def _write_pairs(folder: Path, pairs: int) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    rows = []
    for pair in range(pairs):
        row = {"id": f"pair-{pair}"}
        for side in ("safe", "unsafe"):
            row[f"{side}_image"] = f"{side}-{pair}.png"
            tiles = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(tiles).resize((400, 360)).save(folder / row[f"{side}_image"])
        rows.append(json.dumps(row))
    (folder / "pairs.jsonl").write_text("\n".join(rows))


if __name__ == "__main__":
    main()
