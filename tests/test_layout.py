"""`python docs/layout.py`: counts, circles and floors of a package counted by hand, and of editkit itself."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "layout.py"
FILES = {
    "__init__": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from editkit.top import run\n",
    "top": "from editkit.room import a, missing\nimport json\n",
    "room/__init__": "",
    "room/a": "def late():\n    from . import b\n",
    "room/b": "from editkit.room.a import late\nfrom ..base import thing\n\n\nx = 1\n",
    "base": "thing = 1\n",
}


@pytest.fixture
def layout() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, code in FILES.items():
        path = tmp_path / "editkit" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return tmp_path / "editkit"


def test_lazy_relative_and_type_checking_imports_count(layout: dict[str, Any], package: Path) -> None:
    assert layout["layout_of"](package).modules == {
        "editkit": {"editkit.top"},
        "editkit.top": {"editkit.room.a", "editkit.room"},
        "editkit.room": set(),
        "editkit.room.a": {"editkit.room.b"},
        "editkit.room.b": {"editkit.room.a", "editkit.base"},
        "editkit.base": set(),
    }


def test_circles_and_floors_are_those_counted_by_hand(layout: dict[str, Any], package: Path) -> None:
    assert layout["layout_of"](package).rows() == {
        "modules at the top": "3",
        "folders": "1",
        "modules": "6",
        "lines of a module, median": "2",
        "lines of the largest": "5 (editkit.room.b)",
        "circles of modules": "1",  # a and b
        "floors of modules": "4",  # the package, top, the circle, base
        "circles of rooms": "0",
        "floors of rooms": "4",
    }


def test_a_revision_stands_beside_the_working_tree(
    layout: dict[str, Any], package: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = package.parent / "docs" / "layout.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.read_text())
    git = ["git", "-C", package.parent, "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    (package / "room" / "b.py").write_text("")
    main = runpy.run_path(str(script))["main"]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in main(["HEAD"]).splitlines()]
    assert rows[0] == ["", "HEAD", "now"]
    assert ["circles of modules", "1", "0"] in rows and ["modules", "6", "6"] in rows
    with pytest.raises(SystemExit, match="nowhere"):
        main(["nowhere"])


def test_editkits_own_imports_have_no_circle_and_its_top_is_tidy(layout: dict[str, Any]) -> None:
    own = layout["layout_of"](SCRIPT.parents[1] / "editkit")
    assert not layout["circles"](own.modules) and not layout["circles"](own.rooms)
    assert own.at_the_top <= 12
