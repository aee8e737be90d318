"""Paths as users write them: `~` is the home folder everywhere, and a relative path starts where it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command_line import as_error, done, run
from models import table

import editkit
from editkit.components.spec import ModelSource, Options
from editkit.data.classes import Classes
from editkit.data.options import ClassesOptions, PairsOptions, VisuOptions
from editkit.data.pairs import Pairs
from editkit.errors import DataError, RecipeError
from editkit.files.paths import Written, source_path, start_of, user_path, written_in
from editkit.recipes.layers import read_recipe


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, beside an empty current folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


EDIT = ("--tau", 0.2, "--limit", 20)


def test_a_tilde_is_the_home_folder_and_an_unknown_user_is_a_name(home: Path) -> None:
    assert user_path("~/a") == home / "a" and user_path("~") == home
    assert user_path("~nobody-is-called-so/a") == Path("~nobody-is-called-so/a")
    assert user_path("a~b/~") == Path("a~b/~")


def test_what_a_file_says_starts_in_its_folder(home: Path) -> None:
    assert user_path(Written("a/b", Path("/f"))) == Path("/f/a/b")
    assert user_path(Written("/a", Path("/f"))) == Path("/a")
    assert user_path(Written("~/a", Path("/f"))) == home / "a"
    assert written_in(Path("/f"), {"a": ["x", 1]})["a"][0].folder == Path("/f")


def test_a_models_source_is_a_path_only_where_it_looks_like_one_or_is_there(home: Path) -> None:
    (home / "clip").mkdir()
    assert source_path("openai/clip") == "openai/clip" and source_path("clip") == "clip"
    assert source_path(Written("openai/clip", home)) == "openai/clip"
    assert source_path(Written("clip", home)) == str(home / "clip")
    assert source_path(Written("../absent", home)) == str(home / "../absent")
    assert source_path("./clip") == "./clip"  # or it would be a name
    assert source_path("~/clip") == str(home / "clip")


def test_an_error_says_where_a_relative_path_starts(home: Path) -> None:
    assert start_of(Path("a")) == f" (in the current folder, {Path.cwd()})"
    assert start_of(home) == ""


class PluginOptions(Options):
    """Options as a plugin may have them."""

    file: Path
    more: tuple[Path, ...] = ()
    either: str | Path = ""
    model: ModelSource = ""
    text: str = ""


def test_every_option_that_is_typed_as_a_path_is_read_as_one(home: Path) -> None:
    read = PluginOptions(file="~/a", more=["~/b", Path("c")], either="~/d", model="~/e", text="~/f")  # type: ignore[arg-type]
    assert (read.file, read.more, read.either) == (home / "a", (home / "b", Path("c")), str(home / "d"))
    assert (read.model, read.text) == (str(home / "e"), "~/f")


def test_a_hub_data_set_is_no_path() -> None:
    assert PairsOptions(path=Written("hf:owner/name", Path("/f"))).path == "hf:owner/name"


def test_no_flag_makes_a_folder_called_tilde(home: Path) -> None:
    (home / "r.yaml").write_text("selector: {tau: 0.1}\n")
    done("edit", *EDIT, "--recipe=~/r.yaml", "--output=~/p", "--save=~/saved")
    assert (home / "p" / "record.json").is_file() and (home / "saved" / "model.safetensors").is_file()
    done("show", "~/p")
    done("revert", "~/p", "~/saved", "--output=~/back")
    flags = ("--limit", 20, "--no-controls", "--workers", 0)
    done("eval", "safeground", *flags, "--patch=~/p", "--output=~/r.json", "--similarities=~/s.parquet")
    assert (home / "r.json").is_file() and (home / "s.parquet").is_file()
    assert str(home / "r.json") in done("results", "~/r.json").out
    done("results", "export", "~/r.json", "--format", "csv", "--output=~/r.csv")
    assert [path.name for path in Path().rglob("*") if path.is_file()] == ["elsewhere.txt"]  # what -o placed


def test_python_takes_a_tilde_too(home: Path) -> None:
    settings = {"compute.workers": 0, "calibration.limit": 20}
    edited = editkit.edit("magnitude", tau=0.2, output="~/p", settings=settings)
    assert edited.folder == home / "p"
    editkit.evaluate(patches=["~/p"], controls=False, output="~/r.json", settings=settings)
    assert editkit.results("~/r.json").total == 1 and editkit.show("~/p").patches[0].folder == home / "p"
    assert [path.name for path in Path().rglob("*") if path.is_file()] == ["elsewhere.txt"]  # what -o placed


def test_data_take_a_tilde_by_flag_by_set_and_in_files(home: Path) -> None:
    pairs = table(home / "data", 4)
    flags = ("plan", "--limit", 2)
    assert "2 tuples" in done(*flags, "--data=pairs:~/data/t.jsonl").flat
    assert "2 tuples" in done(*flags, "--data", "pairs", "--set", "data.path=~/data/t.jsonl").flat
    (home / "r.yaml").write_text("data: {name: pairs, path: ~/data/t.jsonl}\n")
    assert "2 tuples" in done(*flags, "--recipe=~/r.yaml").flat
    assert VisuOptions(path="~/v", coco="~/c").coco == home / "c"  # type: ignore[arg-type]
    cut = home / "cut.jsonl"
    cut.write_text(pairs.read_text().replace('"safe-', '"~/data/safe-').replace('"unsafe-', '"~/data/unsafe-'))
    assert len(Pairs(PairsOptions(path=cut)).load("test").items) == 4


def test_the_cache_folder_and_plugin_files_take_a_tilde(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_DIR", "~/kept")
    assert done("cache", "dir", "--json").json["folder"] == str(home / "kept")
    (home / "nothing_much.py").write_text(
        "import editkit\nEDITKIT_API = 1\n@editkit.hookimpl\ndef editkit_scorers():\n    return []\n"
    )
    done("--plugin=~/nothing_much.py", "recipes", "list")


@pytest.mark.parametrize("key", ["table", "folder", "shards", "parquet"])
def test_a_class_file_starts_relative_paths_at_itself_and_says_so(home: Path, key: str) -> None:
    (home / "set.yaml").write_text(
        yaml.safe_dump(
            {"name": "set", "template": "{}", key: "absent", **({"classes": ["a"]} if key == "table" else {})}
        )
    )
    with pytest.raises(DataError) as error:
        Classes(ClassesOptions(path="~/set.yaml")).load("test")
    assert f"in {home}" in error.value.remedy and key in error.value.remedy


def test_a_recipe_starts_relative_paths_at_itself(home: Path) -> None:
    table(home / "data", 4)
    (home / "r.yaml").write_text("data: {name: pairs, path: data/t.jsonl}\n")
    assert "4 tuples" in done("plan", "--recipe", home / "r.yaml").flat
    (home / "r.yaml").write_text("data: {name: pairs, path: absent.jsonl}\n")
    assert str(home / "absent.jsonl") in as_error(run("plan", "--recipe", home / "r.yaml"))
    (home / "r.yaml").write_text("preserve: [pairs:data/t.jsonl]\nmanipulator: redirect\n")
    assert "Preserved" in done("plan", "--recipe", home / "r.yaml", "--limit", 4).out


def test_a_flag_beside_a_recipe_starts_in_the_current_folder(home: Path) -> None:
    table(Path("data"), 3)
    (home / "r.yaml").write_text("data: {name: pairs, path: data/t.jsonl}\n")
    assert "3 tuples" in done("plan", "--recipe", home / "r.yaml", "--data", "pairs:data/t.jsonl").flat


def test_an_absent_recipe_and_an_absent_table_say_where_they_were_looked_for(home: Path) -> None:
    here = f"(in the current folder, {Path.cwd()})"
    with pytest.raises(RecipeError, match="cannot be read") as error:
        read_recipe("absent.yaml")
    assert here in error.value.problem
    assert here in as_error(run("plan", "--data", "absent.csv"))
    assert here in as_error(run("eval", "zeroshot", "--data", "classes:absent.yaml"))
    assert here in as_error(run("eval", "zeroshot", "--data", "zeroshot:absent"))


def test_a_missing_image_and_an_absent_patch_say_where_they_were_looked_for(home: Path) -> None:
    pairs = table(Path("data"), 3)
    next(Path("data").glob("safe-*.jpg")).unlink()
    assert f"its paths start in {Path('data').absolute()}" in as_error(run("plan", "--data", pairs))
    assert f"there is no such folder (in the current folder, {Path.cwd()})" in as_error(run("show", "absent"))


def test_a_shell_leaves_the_tilde_of_a_flag_to_editkit(home: Path) -> None:
    """The command itself, as a shell starts it."""
    command = [sys.executable, "-c", "from editkit.cli import run; run()", "cache", "dir"]
    made = subprocess.run(command, env={**os.environ, "EDITKIT_CACHE_DIR": "~/c"}, capture_output=True, check=True)
    assert made.stdout.decode().strip() == str(home / "c")
