"""Names are text: brackets, colons, emoji and bytes that are no UTF-8 are printed as they are, on any stdout."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import done
from models import DEMO, table
from PIL import Image
from rich.console import Console

import editkit.api.bars as progress
import editkit.cli.console as console

NAMES = ("[a/b] [/b] set", "a:fire:b", "[red]x", "\U0001f52a")
ODD = os.fsdecode(b"caf\xe9")
"""A name in Latin-1 on a file system that takes any bytes."""


def class_set(place: Path, name: str, part: str = "cat") -> Path:
    for folder, level in ((part, 10), ("dog", 200)):
        (place / "images" / folder).mkdir(parents=True)
        Image.new("L", (8, 8), level).save(place / "images" / folder / f"{part}.png")
    (place / "set.yaml").write_text(f'name: {json.dumps(name)}\ntemplate: "a {{}}"\nfolder: images\n')
    return place / "set.yaml"


def as_command(*args: object, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with a stdout of some encoding."""
    command = [sys.executable, "-c", "from editkit.cli import run; run()", *map(str, args)]
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=env, capture_output=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    flags = ("eval", "zeroshot", "--data", f"classes:{class_set(tmp_path, name)}", "--no-controls", "--workers", 0)
    assert name in done(*flags).out


@pytest.mark.parametrize("name", ["model[v2]", "model:fire:", "[/b]"])
def test_a_model_and_a_patch_are_called_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path("m").symlink_to(DEMO / "model") if "/" in name else Path(name).symlink_to(DEMO / "model")
    model = "m" if "/" in name else f"./{name}"
    assert f"Model {model} (" in done("plan", "--model", model).out
    ran = done("edit", "--scorer", "magnitude", "--tau", 0.2, "--limit", 4, "-o", f"p{name}", "--workers", 0)
    assert f"Patch: p{name}\n" in ran.out and f"p{name}" in ran.out.splitlines()[-1]


def test_a_stage_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    terminal = Console(file=said, force_terminal=True, width=100, markup=False, emoji=False)
    monkeypatch.setattr(progress, "err", terminal)
    with progress.stage("embedding [/b] :fire:", 2) as advance:
        advance(1)
        with progress.stage("a note [x]", 0):  # while a bar is on the screen
            pass
    assert "embedding [/b] :fire:" in said.getvalue()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_is_json_where_stdout_lacks_a_character(tmp_path: Path, encoding: str) -> None:
    path = class_set(tmp_path, "\U0001f52a")
    ran = as_command("eval", "zeroshot", "--data", f"classes:{path}", "--no-controls", "--json", encoding=encoding)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.decode("ascii"))["data"]["name"] == "\U0001f52a"
    told = as_command("eval", "zeroshot", "--data", f"classes:{path}", "--no-controls", encoding=encoding)
    assert told.returncode == 0 and b"\\U0001f52a" in told.stdout


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name is no UTF-8."""
    try:
        (tmp_path / ODD).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    return tmp_path / ODD


def test_images_whose_names_are_no_utf_8_are_measured_printed_and_reported(odd: Path) -> None:
    path = class_set(odd, "set")
    (odd / "images" / "cat" / "cat.png").rename(odd / "images" / "cat" / f"{ODD}.png")
    (odd / "images" / "cat" / f"{ODD}-broken.png").touch()
    flags = ("eval", "zeroshot", "--data", f"classes:{path}", "--no-controls", "--on-bad-item", "skip")
    ran = as_command(*flags, "--output", odd / "r.json")
    assert ran.returncode == 0, ran.stderr
    assert b"\\udce9-broken.png" in ran.stdout.replace(b"\n", b"") and b"it is not an image" in ran.stdout
    for text in ((odd / "r.json").read_text(encoding="utf-8"), as_command(*flags, "--json").stdout.decode()):
        assert json.loads(text)["left_out"][0]["id"] == f"images/cat/{ODD}-broken.png"


def test_a_class_folder_whose_name_is_no_utf_8_is_refused_since_prompts_are_made_of_it(odd: Path) -> None:
    path = class_set(odd, "set", ODD)
    ran = as_command("eval", "zeroshot", "--data", f"classes:{path}", "--no-controls")
    first, second = ran.stderr.decode().splitlines()
    assert ran.returncode == 1 and "is no UTF-8" in first and "Rename the folder" in second


def test_a_folder_whose_name_is_no_utf_8_holds_a_patch(odd: Path) -> None:
    pairs = table(odd / "data", 4)
    flags = ("edit", "--scorer", "magnitude", "--tau", 0.2, "--workers", 0, "--data", pairs)
    ran = as_command(*flags, "-o", odd / "p")
    assert ran.returncode == 0, ran.stderr
    assert as_command("show", odd / "p").returncode == 0


def test_both_consoles_take_text_for_text() -> None:
    for one in (console.out, console.err):
        assert one.render_str("[b]x[/b] :fire:").plain == "[b]x[/b] :fire:"
