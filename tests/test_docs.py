"""What the pages say is what editkit does: tables, commands, recipes and plugin files in them."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from shlex import split
from typing import Any

import pytest
import torch
from command_line import done
from models import DEMO, table, tiny_clip

from editkit.components.load import load_host
from editkit.components.specs import KINDS, ManipulatorSpec, ScorerSpec, SelectorSpec

DOCS = Path(__file__).parents[1] / "docs"
FEW = ("--limit", 8, "--workers", 0)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def commands(page: str) -> list[str]:
    """The `edit` commands of a page, without what is said beside them."""
    lines = [line.partition("  #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("editkit ") and " edit " in line]


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


@pytest.mark.parametrize("command", commands("methods.md"))
def test_commands_of_methods_can_be_planned(command: str) -> None:
    done("plan", *split(command.replace("OTHER", str(DEMO / "model")))[2:], *FEW)


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


@pytest.mark.parametrize("name", files())
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
    assert "0 problems" in done("--plugin", written[name], "plugins", "check").out
    done("--plugin", written[name], "edit", *flags, *data, "-o", tmp_path / "patch")


@pytest.mark.parametrize("command", commands("plugins.md"))
def test_commands_of_plugins_can_be_planned(
    command: str, written: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done(*("plan" if word == "edit" else word for word in split(command)[1:]), *FEW)


def test_what_is_to_be_tried_without_a_model_runs(written: dict[str, Path]) -> None:
    (code,) = (block for block in blocks("plugins.md", "python") if "import manipulate, score" in block)
    given: dict[str, Any] = {"host": load_host(tuple(written.values())), "safe_mask": None, "unsafe_mask": None}
    torch.manual_seed(0)
    given |= {"weight": torch.randn(5, 6), "other": torch.rand(5, 6)}
    given |= {side: torch.randn(3, 4, 6) for side in ("safe", "unsafe")}
    given |= {f"{side}_means": given[side].mean(dim=1) for side in ("safe", "unsafe")}
    exec(code, given)
    assert given["scores"].shape == given["chosen"].shape == given["others"].shape == given["new"].shape == (5, 6)
    assert given["others"].any() and not given["others"].all()
    assert not torch.equal(given["new"], given["weight"])
