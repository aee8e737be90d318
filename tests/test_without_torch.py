"""torch is needed by `edit` and `eval` alone: all other commands and functions work where it cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import cache_at, done
from models import table, tiny_clip
from tiny_checkpoints import digests

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "transformers", "open_clip", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@dataclass(frozen=True)
class Files:
    """A model, an edit of it as a patch and as a model, another patch, and a kept report."""

    model: Path
    patch: Path
    saved: Path
    other: Path
    report: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    root = tmp_path_factory.mktemp("files")
    model, pairs = tiny_clip(root / "model"), table(root / "pairs", 5)
    flags = ("--model", model, "--data", pairs, "--workers", 0)
    with cache_at(root / "cache"):
        done("edit", *flags, "--tau", 0.1, "-o", root / "patch", "--save", root / "saved")
        done("edit", *flags, "--tau", 0.3, "-o", root / "other")
        done("eval", "safeground", *flags, "--patch", root / "patch", "-o", root / "eval-one.json")
    return Files(model, root / "patch", root / "saved", root / "other", root / "eval-one.json")


def without_torch(code: str, *arguments: object, here: Path) -> str:
    """Run code in a new process in which importing a model library raises; return what it printed."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", ABSENT + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        cwd=here,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_libraries_cannot_be_imported_where_these_tests_run(tmp_path: Path) -> None:
    code = "try:\n    import torch\nexcept ModuleNotFoundError as error:\n    print(error)"
    assert without_torch(code, here=tmp_path) == "No module named 'torch'\n"


COMMANDS = """
from editkit.cli import main

model, patch, saved, other, report = sys.argv[1:]

def call(*words, code=0):
    assert main(list(words)) == code, words

call("apply", patch, model, "-o", "applied")
call("revert", patch, "applied", "-o", "reverted")
call("show", patch)
call("show", patch, other)
call("diff", model, "reverted")
call("diff", model, saved, code=3)
call("results", report)
for form in ("csv", "markdown", "latex", "clip-benchmark", "model-index"):
    call("results", "export", report, "--format", form)
call("plugins", "list")
call("plugins", "show", "uwm")
call("recipes", "list")
call("recipes", "show", "uwm-paper")
for words in (["dir"], ["size"], ["list"], ["prune", "--to", "1GB"], ["clear", "scores"]):
    call("cache", *words)
"""


def test_commands_on_files_work_and_write_the_right_bytes(files: Files, tmp_path: Path) -> None:
    said = without_torch(COMMANDS, files.model, files.patch, files.saved, files.other, files.report, here=tmp_path)
    assert digests(tmp_path / "applied") == digests(files.saved)
    assert digests(tmp_path / "reverted") == digests(files.model)
    assert "Equal: all" in said and "4 of " in said  # tensors that differ
    assert "Jaccard" in said and "GS" in said and r"\toprule" in said and "UWM as the paper's text defines it" in said


FUNCTIONS = """
import editkit

model, patch, saved, other, report = sys.argv[1:]
applied = editkit.apply(patch, model, "applied")
assert editkit.revert(editkit.Patch.load(patch), "applied", "reverted").weights == applied.weights > 0
assert editkit.diff("applied", saved).equal and not editkit.diff(model, saved).equal
assert editkit.show(patch).patches[0].weights == applied.weights
assert editkit.show(patch, other).overlap[0].everywhere.both > 0
(run,) = editkit.results(report).runs
assert run.report["evaluation"] == "safeground"
assert "GS" in editkit.export([report], "csv").text
assert editkit.find_recipe("uwm-paper") in editkit.list_recipes()
assert editkit.cache_contents() and editkit.cache_root() and editkit.prune_cache("1GB").entries == 0
"""


def test_functions_on_files_work_and_write_the_right_bytes(files: Files, tmp_path: Path) -> None:
    without_torch(FUNCTIONS, files.model, files.patch, files.saved, files.other, files.report, here=tmp_path)
    assert digests(tmp_path / "applied") == digests(files.saved)
    assert digests(tmp_path / "reverted") == digests(files.model)
