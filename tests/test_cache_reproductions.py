"""Four changes after which the cache once served what the code would not compute, through the command line.

A changed package is a copy of its files, which another process finds first. It shares the cache of an earlier run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
import pytest
from command_line import cache_at, done, sha
from models import table, tiny_clip
from PIL import Image

import editkit
import editkit_clip

RUN = "import sys; {first}; from editkit.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Before:
    """A model, tuples, and what an edit and an evaluation made of them, with the cache that they left."""

    root: Path

    @property
    def edit(self) -> list[object]:
        return ["--model", self.root / "model", *self.data, "--tau", 0.1]

    @property
    def evaluation(self) -> list[object]:
        return ["eval", "retrieval", "--model", self.root / "model", *self.data, "--no-controls", "--knowledge", "none"]

    @property
    def data(self) -> list[object]:
        return ["--data", f"pairs:{self.root / 'data' / 't.jsonl'}", "--workers", 0]

    def similarities(self, file: Path) -> list[float]:
        return list(pyarrow.parquet.read_table(file).column("s_vs_ts").to_pylist())


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    made = Before(tmp_path_factory.mktemp("before"))
    tiny_clip(made.root / "model")
    table(made.root / "data", 4)
    for path in (made.root / "data").glob("*.jpg"):  # larger than the model sees them, so that they are resized
        Image.open(path).resize((150, 110)).save(path)
    with cache_at(made.root / "cache"):
        done("edit", *made.edit, "-o", made.root / "patch")
        done(*made.evaluation, "--similarities", made.root / "s.parquet")
    return made


def in_a_new_process(
    before: Before, where: Path, command: Sequence[object], *, first: str = "pass", packages: Sequence[Path] = ()
) -> str:
    """Run a command in another process that finds `packages` first; return its stdout."""
    path = [*(str(package.parent) for package in packages), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "EDITKIT_CACHE_DIR": str(before.root / "cache")}
    code = [sys.executable, "-c", RUN.format(first=first), *map(str, command)]
    ran = subprocess.run(code, env=env, cwd=where, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def copy_of(package: str | None, where: Path, file: str, old: str, new: str) -> Path:
    """Copy a package's files, and change one of them."""
    source = Path(str(package)).parent
    copy = shutil.copytree(source, where / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / file).read_text()
    assert text.count(old) == 1
    (copy / file).write_text(text.replace(old, new))
    return copy


def states(plan: str) -> set[str]:
    return {group["cache"] for group in json.loads(plan)["groups"]}


def test_a_changed_helper_of_a_scorer_makes_other_scores_and_a_plan_says_so(before: Before, tmp_path: Path) -> None:
    old = "rows = inputs.norm @ magnitude.T / magnitude.shape[1]"
    own = copy_of(editkit.__file__, tmp_path, "methods/scorers/pairs.py", old, old.replace("/", "+"))
    with cache_at(before.root / "cache"):
        assert states(done("plan", *before.edit, "--json").out) == {"hit"}
    twice = "from editkit.cli import main; main(['plan', '--json', *sys.argv[2:-2]])"
    out = in_a_new_process(
        before, tmp_path, ["edit", *before.edit, "-o", tmp_path / "patch"], first=twice, packages=[own]
    )
    assert states(out.partition("\n}\n")[0] + "\n}") == {"miss"}
    assert sha(tmp_path / "patch" / "patch.safetensors") != sha(before.root / "patch" / "patch.safetensors")


def test_a_changed_adapter_makes_other_embeddings(before: Before, tmp_path: Path) -> None:
    old = "self.processor(images=image,"
    adapter = copy_of(
        editkit_clip.__file__, tmp_path, "transformers_model.py", old, "self.processor(images=image.transpose(1),"
    )
    command = [*before.evaluation, "--similarities", tmp_path / "s.parquet"]
    in_a_new_process(before, tmp_path, command, packages=[adapter])
    assert before.similarities(tmp_path / "s.parquet") != before.similarities(before.root / "s.parquet")


def test_another_hidden_act_makes_other_scores_and_embeddings(before: Before, tmp_path: Path) -> None:
    model = shutil.copytree(before.root / "model", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    assert config["text_config"]["hidden_act"] == config["vision_config"]["hidden_act"] == "quick_gelu"
    for tower in ("text_config", "vision_config"):
        config[tower]["hidden_act"] = "relu"
    (model / "config.json").write_text(json.dumps(config))
    with cache_at(before.root / "cache"):
        done("edit", *before.edit, "--model", model, "-o", tmp_path / "patch")
        done(*before.evaluation, "--model", model, "--similarities", tmp_path / "s.parquet")
    assert sha(tmp_path / "patch" / "patch.safetensors") != sha(before.root / "patch" / "patch.safetensors")
    assert before.similarities(tmp_path / "s.parquet") != before.similarities(before.root / "s.parquet")


def test_without_torchvision_images_are_prepared_otherwise_and_embedded_anew(before: Before, tmp_path: Path) -> None:
    command = [*before.evaluation, "--similarities", tmp_path / "s.parquet"]
    in_a_new_process(before, tmp_path, command, first="sys.modules['torchvision'] = None")
    assert before.similarities(tmp_path / "s.parquet") != before.similarities(before.root / "s.parquet")


def test_the_same_packages_elsewhere_are_served_from_the_cache(before: Before, tmp_path: Path) -> None:
    own = shutil.copytree(Path(str(editkit.__file__)).parent, tmp_path / "editkit")
    assert states(in_a_new_process(before, tmp_path, ["plan", *before.edit, "--json"], packages=[own])) == {"hit"}
