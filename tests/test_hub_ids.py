"""Models named by their hub ids, from a cache that huggingface_hub itself finds and reads, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hub_cache import into_cache
from models import PROCESSING, table, tiny_clip

BASE = "openai/clip-vit-large-patch14"
SAFE = "aimagelab/safeclip_vit-l_14"


def in_a_new_process(cache: Path, *commands: Sequence[object]) -> tuple[list[tuple[int, str]], str]:
    """Run commands offline in one process that finds the cache by its variable: exit codes and stdout, and stderr."""
    lines = [[str(part) for part in command] for command in commands]
    code = f"import editkit.cli as cli\nfor line in {lines}:\n    print('', cli.main(line), sep='\\0', end='\\0')"
    env = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "EDITKIT_CACHE_DIR": str(cache / "own")}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    *parts, _ = ran.stdout.split("\0")
    return [(int(code), printed) for printed, code in zip(parts[::2], parts[1::2], strict=True)], ran.stderr


def test_a_hub_id_opens_from_the_cache_with_and_without_a_revision(tmp_path: Path) -> None:
    cache, model = tmp_path / "hub", tiny_clip(tmp_path / "model")
    into_cache(cache, BASE, model, leaving_out=("config.json", "model.safetensors"))
    for revision, layers in (("main", 2), ("v1", 1)):
        config = json.loads((model / "config.json").read_text()) | {"_name_or_path": BASE}
        config["vision_config"]["num_hidden_layers"] = layers
        (model / "config.json").write_text(json.dumps(config))
        into_cache(cache, SAFE, model, revision=revision, leaving_out=PROCESSING)
    flags = ("--data", table(tmp_path / "data"), "--json")
    sources = (SAFE, f"{SAFE}@v1", f"{SAFE}@v2", "no/such", BASE)
    ran, errors = in_a_new_process(cache, *(("plan", "--model", source, *flags) for source in sources))
    for (code, printed), name, layers in zip(ran[:2], sources, (2, 1), strict=False):
        plan = json.loads(printed)
        assert code == 0 and plan["model"]["source"] == name and plan["model"]["family"] == "clip"
        commit = (
            cache / f"models--{SAFE.replace('/', '--')}" / "refs" / (name.partition("@")[2] or "main")
        ).read_text()
        assert plan["model"]["commit"] == commit
        assert plan["notes"] == [f"tokenizer and image processor of {BASE}: {name} has none of its own"]
        assert sum(site["site"].startswith("vision:mlp.out") for site in plan["sites"]) == layers
    assert ran[2:] == [(1, "")] * 3
    unknown, _, absent, _, without_weights, _ = errors.splitlines()  # two lines each
    assert unknown.startswith(f"Error: There is no folder {SAFE}@v2 here, nor is it in the hub's cache")
    assert absent.startswith("Error: There is no folder no/such here, nor is it in the hub's cache")
    assert without_weights.startswith(f"Error: The hub's cache here has only a part of {BASE}: there is no config.json")
