"""`editkit plugins`, and what commands import: no model library where none is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from plugin_samples import GOOD, Install

from editkit.cli import main


def test_plugins_check_names_what_is_broken_and_exits_with_three(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("editkit-broken", "broken_plugin", "raise RuntimeError('no GPU here')")
    assert main(["plugins", "check", "editkit-broken", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["problems"] == {"editkit-broken": "RuntimeError: no GPU here"}
    assert captured.err.count("editkit-broken") == 1
    assert "editkit plugins check" in " ".join(captured.err.split())


def test_plugins_list_shows_what_is_hidden(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("editkit-other", "other_plugin", GOOD.format(scorer="uwm"))
    assert main(["plugins", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["shadowed"] == [{"hidden": "editkit-other/uwm", "by": "editkit/uwm"}]
    assert {"uwm", "adaptive", "clip"} <= {component["name"] for component in listed["components"]}


def imported(*commands: list[str], modules: str = "") -> set[str]:
    """Top-level modules that a fresh process has after running commands and importing modules."""
    code = f"""
import sys, io, contextlib
from editkit.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    codes = [main(command) for command in {list(commands)!r}]
assert codes == [0] * len(codes), codes
{f"import {modules}" if modules else ""}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    env = {**os.environ, "EDITKIT_CACHE_DIR": os.environ["EDITKIT_CACHE_DIR"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


MODEL_LIBRARIES = {"torch", "torchvision", "transformers", "open_clip", "timm"}


def test_help_imports_nothing_heavy() -> None:
    seen = imported(["--help"], ["edit", "--help"], ["eval", "--help"], ["plugins", "--help"])
    assert "editkit" in seen
    assert not seen & (MODEL_LIBRARIES | {"numpy", "PIL", "safetensors", "pyarrow", "huggingface_hub"})


def test_invariant_5_listing_plugins_imports_no_model_library() -> None:
    seen = imported(["plugins", "list"], ["plugins", "show", "uwm"], ["plugins", "list", "--json"])
    assert "editkit_clip" in seen
    assert not seen & (MODEL_LIBRARIES | {"numpy", "PIL"})


def test_invariant_5_file_commands_import_no_model_library() -> None:
    commands = "editkit.cli.apply, editkit.cli.show, editkit.cli.diff"
    work = "editkit.patch.patch, editkit.patch.rewrite, editkit.files.difference"
    assert not imported(modules=f"{commands}, {work}") & MODEL_LIBRARIES


def test_resolving_a_recipe_imports_no_model_library() -> None:
    specs = "editkit.methods.scorers.specs, editkit.methods.selectors.specs, editkit.methods.manipulators.specs"
    assert not imported(modules=f"editkit.recipes.recipe, {specs}, editkit.components.site") & MODEL_LIBRARIES
