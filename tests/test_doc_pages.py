"""Every command and every piece of Python in README and docs runs as printed, page by page, each in an empty folder."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_pages import PYTHON, SHELL, blocks_of, pages
from doc_session import PageSession, commands
from doc_stages import STAGES, Hub, named_sets, new_host, small_demo
from zeroshot_layouts import accept_checksums

from editkit.recipes import layers

RUN = [page for page in pages() if any(block.runs for block in blocks_of(page))]
NOT_RUN: dict[str, list[str]] = {}
"""By page, why a block of it is not run; a comment above the block says the same."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    folder = tmp_path_factory.mktemp("hub")
    named_sets(folder)
    return Hub(folder)


@pytest.fixture
def here(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, where the demo is small and the hub has what pages name."""
    import open_clip

    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub.folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", copy.copy(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(layers, "DEFAULTS", {**layers.DEFAULTS, "compute.workers": 0})  # images so few need no helpers
    small_demo(tmp_path / "demo", monkeypatch)
    new_host()
    yield folder
    new_host()


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_as_printed(page: str, here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = list(blocks_of(page))
    hub.fill("".join(block.text for block in blocks))
    for stage in STAGES.get(page, ()):
        stage(here)
    accept_checksums(here / "sets", monkeypatch)
    monkeypatch.syspath_prepend(str(here))
    session = PageSession()
    try:
        for block in blocks:
            if not block.not_run:
                session.carry_out(block)
    finally:
        session.forget(here)


def test_what_is_not_run_says_why_and_is_all_that_is_not() -> None:
    found = {page: [block.not_run for block in blocks_of(page) if block.not_run] for page in pages()}
    assert {page: reasons for page, reasons in found.items() if reasons} == NOT_RUN


def test_every_block_is_known_to_be_commands_code_a_file_or_an_output() -> None:
    kinds = {block.language for page in pages() for block in blocks_of(page)}
    assert kinds <= {*SHELL, *PYTHON, "yaml", "csv", "json", "toml", "text"}
    outputs = [block for page in pages() for block in blocks_of(page) if block.language == "text"]
    code = [block for block in outputs if block.text.startswith(("editkit ", "import ", "from ", "pip "))]
    assert [f"{block.page}:{block.line}" for block in code] == []


def test_there_are_commands_and_code_to_run() -> None:
    """A parser that finds nothing would let every page pass."""
    running = [block for page in RUN for block in blocks_of(page) if block.runs]
    said = [command for block in running if block.language in SHELL for command in commands(block.text)]
    assert len(RUN) >= 13 and len([line for line in said if line.startswith("editkit ")]) >= 50
    assert len([block for block in running if block.language in PYTHON]) >= 8
