"""What needs torch says so in two lines where there is none, on the command line and in Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REMEDY = 'Install a model plugin, such as editkit-clip, or run: pip install "editkit[torch]"'
WITHOUT = """
import sys
for name in ("torch", "torchvision", "transformers", "open_clip", "timm", "safetensors", "PIL", "pyarrow"):
    sys.modules[name] = None  # importing it fails
"""
COMMAND = WITHOUT + "from editkit.cli import main; sys.exit(main(sys.argv[1:]))"
FUNCTION = (
    WITHOUT
    + """
import editkit
try:
    getattr(editkit, sys.argv[1])()
except editkit.EditkitError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""
)


def without_torch(code: str, *args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["edit", "eval safeground", "eval zeroshot", "plugins check"])
def test_a_command_that_needs_torch_ends_in_two_lines_that_name_the_extra(command: str, tmp_path: Path) -> None:
    finished = without_torch(COMMAND, *command.split(), folder=tmp_path)
    assert finished.returncode == 1, finished.stderr
    assert finished.stderr.splitlines() == ["Error: This needs torch, which is not installed.", REMEDY]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["edit", "evaluate", "load"])
def test_a_function_that_needs_torch_raises_the_same(function: str, tmp_path: Path) -> None:
    finished = without_torch(FUNCTION, function, folder=tmp_path)
    assert finished.returncode == 1 and finished.stderr.splitlines()[-1] == REMEDY, finished.stderr
