"""Which model a folder is: every row of "Layouts" in docs/models.md, by the numbers that the model gives."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from layouts import REFUSED, WORKS
from models import elements, images_of, tiny_clip
from torch import Tensor

import editkit
from editkit.errors import ModelError

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()


def rows() -> dict[str, str]:
    """The table's outcomes by layout."""
    section = PAGE.partition("\n## Layouts\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| (works|refused: .+?) \|$", section, re.MULTILINE)
    assert len(dict(found)) == len(found) == section.count("\n|") - 2, "a row is neither works nor refused"
    return dict(found)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP as transformers writes it."""
    return tiny_clip(tmp_path_factory.mktemp("layouts") / "model")


@pytest.fixture(scope="module")
def expected(plain: Path) -> Tensor:
    return scores(plain)


def scores(source: str | Path) -> Tensor:
    """What the model says of two images and two captions."""
    images = [images_of(element, "test")[0] for element in elements("test")[:2]]
    return editkit.load(str(source)).scores(images, ["a dog in the park", "two people at a table"])


def test_the_table_has_a_row_for_every_layout() -> None:
    assert {name for name, outcome in rows().items() if outcome == "works"} == set(WORKS)
    assert {name for name, outcome in rows().items() if outcome != "works"} == set(REFUSED)


@pytest.mark.parametrize("name", WORKS)
def test_a_layout_that_works_is_the_very_model(name: str, plain: Path, expected: Tensor, tmp_path: Path) -> None:
    folder = shutil.copytree(plain, tmp_path / "model")
    WORKS[name](folder)
    assert torch.equal(scores(folder), expected)


@pytest.mark.parametrize("name", REFUSED)
def test_a_layout_that_is_refused_is_so_in_these_words(name: str, plain: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(plain, tmp_path / "model")
    REFUSED[name](folder)
    with pytest.raises(ModelError) as caught:
        scores(folder)
    assert f"refused: {caught.value.problem}".replace(str(folder), "FOLDER") == rows()[name]
    assert str(caught.value).count("\n") == 1
