"""What the pages say is what editkit does: tables, recipes and plugin files (`test_doc_pages` runs commands)."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from shlex import split
from typing import Any

import pytest
import torch
from command_line import as_error, done, run
from doc_stages import halves
from models import table, tiny_clip

from editkit.components.load import load_host
from editkit.components.specs import KINDS, ManipulatorSpec, ScorerSpec, SelectorSpec

DOCS = Path(__file__).parents[1] / "docs"
FEW = ("--limit", 8, "--workers", 0)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def files() -> dict[str, str]:
    """The plugin files in the page on plugins, by name."""
    return {found[1]: block for block in blocks("plugins.md", "python") if (found := re.match(r"# (\w+)\.py\n", block))}


def test_the_tables_of_methods_are_those_of_the_specs() -> None:
    generate = runpy.run_path(str(DOCS / "generate.py"))
    page = (DOCS / "methods.md").read_text()
    assert generate["fill"](page) == page, "run `python docs/generate.py`"
    assert {name for _, name, _ in generate["PART"].findall(page)} == set(generate["tables"]())


def test_every_component_is_in_the_tables() -> None:
    page = (DOCS / "methods.md").read_text()
    for kind in (ScorerSpec, SelectorSpec, ManipulatorSpec):
        assert kind in KINDS
        for name, spec in load_host().of_kind(kind).items():
            assert f"| `{name}` |" in page
            assert all(f"| `{name}` | `{option}` |" in page for option in spec.options.model_fields)


@pytest.mark.parametrize("recipe", blocks("methods.md", "yaml"))
def test_recipes_of_methods_can_be_planned(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe)
    done("plan", "--recipe", tmp_path / "recipe.yaml", *FEW)


# Plugin files


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage")
    tiny_clip(root / "model")
    table(root / "pairs")
    return root


@pytest.fixture
def written(plugin_file: Any) -> Iterator[dict[str, Path]]:
    """All plugin files of the page, where `--plugin` finds them."""
    yield {name: plugin_file(name, code) for name, code in files().items()}


def bringing(*hooks: str) -> list[str]:
    """The names of the files that implement one of these hooks."""
    return [name for name, code in files().items() if any(f"def {hook}()" in code for hook in hooks)]


@pytest.mark.parametrize("name", bringing("editkit_scorers", "editkit_selectors", "editkit_manipulators"))
def test_a_plugin_file_of_the_page_edits_a_model(
    name: str, written: dict[str, Path], stage: Path, tmp_path: Path
) -> None:
    flags = [
        word
        for component in load_host((written[name],)).components.values()
        if component.plugin == name
        for word in (f"--{component.spec.kind}", component.spec.name)
    ]
    assert flags
    data = ("--model", stage / "model", "--data", stage / "pairs" / "t.jsonl", "--workers", 0)
    assert "0 problems" in done("--plugin", written[name], "plugins", "check", name).out
    done("--plugin", written[name], "edit", *flags, *data, "-o", tmp_path / "patch")


def test_the_data_set_of_the_page_is_edited_with_and_evaluated(
    written: dict[str, Path], stage: Path, tmp_path: Path
) -> None:
    halves(stage / "pairs", tmp_path / "halves")
    data = ("--model", stage / "model", "--data", f"halves:{tmp_path / 'halves'}", "--workers", 0)
    done("--plugin", written["halves"], "edit", "--tau", 0.2, *data, "-o", tmp_path / "patch")
    (tmp_path / "halves" / "safe" / "0.jpg").unlink()
    command = ("--plugin", written["halves"], "eval", "retrieval", *data, "--json")
    assert "0.jpg is missing" in as_error(run(*command))
    report = done(*command, "--on-bad-item", "skip", "-o", tmp_path / "r.json").json
    assert report["data"]["name"] == "halves/test" and [entry["id"] for entry in report["left_out"]] == ["0"]


def test_the_evaluation_of_the_page_is_run_by_its_command(
    written: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = (line for block in blocks("plugins.md", "sh") for line in block.splitlines() if " eval " in line)
    ran = done(*split(command)[1:], *FEW)
    assert "Less is better: leak." in ran.flat and "base: leak " in ran.flat


def test_the_judge_of_the_page_judges_by_its_command(
    written: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ("a knife", "a man with a knife on a table", "...")
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (command,) = (line for block in blocks("plugins.md", "sh") for line in block.splitlines() if " judge " in line)
    (row,) = done(*split(command)[1:], "--json").json["models"]
    assert row["metrics"]["texts:pct_NSFW:words"] | {"low": 0, "high": 0} == {"value": 50, "low": 0, "high": 0, "n": 2}
    assert row["judged"]["words"] == {"judged": 2, "unparsable": 0, "failed": 1}


def test_what_is_to_be_tried_without_a_model_gives_scores_a_choice_and_weights(
    written: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in blocks("plugins.md", "python") if "import manipulate, score" in block)
    given: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(code, given)
    assert given["scores"].shape == given["chosen"].shape == given["others"].shape == given["new"].shape == (8, 6)
    for chosen in (given["chosen"], given["others"]):
        assert chosen.any() and not chosen.all()
    assert not torch.equal(given["new"], given["weight"])
