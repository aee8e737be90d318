"""docs/models.md says which architectures of open_clip and timm are edited and which refused: every row is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
from coca_models import tiny_coca
from command_line import as_error, run
from hugging_face_towers import settings_with
from open_clip_models import SMALL_VIT, outline, own_vision, plain_open_clip, sparse_checkpoint
from published_architectures import small_open_clip, small_timm
from test_timm import plain_timm
from timm.models import save_for_hf

from editkit.components.load import default_host
from editkit.components.site import TOWERS, Site, towers_of
from editkit.errors import ModelError
from editkit.models.find import find_adapter
from editkit.testing import check_adapter

PAGE = Path(__file__).parent.parent / "docs" / "models.md"


@dataclass(frozen=True)
class Row:
    """One line of a table of families."""

    family: str
    example: str
    outcome: str

    @property
    def message(self) -> str:
        """A pattern of the error's first line; empty where the family works."""
        return "" if self.outcome == "works" else re.escape(self.outcome.removeprefix("refused: ")).replace("…", ".*")


def rows_of(section: str) -> list[Row]:
    """The table below a heading of docs/models.md."""
    lines = PAGE.read_text(encoding="utf-8").partition(f"### {section}\n")[2].partition("\n#")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [Row(family, example.strip("`"), outcome) for family, example, outcome in cells[2:]]


ROWS = rows_of("open_clip and timm")
OPEN_CLIP = [row for row in ROWS if row.example.startswith("open_clip:")]
ARCHITECTURES = open_clip.list_models()  # before any test adds one of its own
TIMM = [row for row in ROWS if row.example.startswith("timm:")]


def row_of(architecture: str) -> Row:
    return next(row for row in OPEN_CLIP if fnmatchcase(f"open_clip:{architecture}", row.example))


def architectures_of(row: Row) -> list[str]:
    return [name for name in ARCHITECTURES if row_of(name) == row]


def each(rows: Sequence[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.example)


def test_the_table_has_every_row_and_no_other_outcome() -> None:
    assert len(OPEN_CLIP) + len(TIMM) == len(ROWS) >= 50
    assert all(re.fullmatch(r"works|refused: .+\.|not tried", row.outcome) for row in ROWS)
    assert len({row.example for row in ROWS}) == len(ROWS)


def test_every_architecture_of_open_clip_is_in_a_row_and_no_row_is_empty() -> None:
    assert sum(len(architectures_of(row)) for row in OPEN_CLIP) == len(ARCHITECTURES) >= 140
    assert all(architectures_of(row) for row in OPEN_CLIP)


def smallest_of(row: Row) -> str:
    return min(architectures_of(row), key=lambda name: open_clip.get_model_config(name)["text_cfg"].get("width", 512))


# a small model of the row's architecture is edited, compared with its library and loaded by it again


@each([row for row in OPEN_CLIP if row.outcome == "works"])
def test_a_family_of_open_clip_that_works_keeps_the_contract(row: Row, tmp_path: Path) -> None:
    name = smallest_of(row)
    coca = name.startswith("coca")
    source = tiny_coca(tmp_path / "coca", name) if coca else str(small_open_clip(tmp_path, name))
    adapter = find_adapter(f"open_clip:{name}@weights.pt", default_host()).name
    check_adapter(adapter, source, library=plain_open_clip)


@each([row for row in TIMM if row.outcome == "works"])
def test_an_image_encoder_of_timm_that_works_keeps_the_contract(row: Row, tmp_path: Path) -> None:
    check_adapter("timm", small_timm(tmp_path / "model", row.example.removeprefix("timm:")), library=plain_timm)


@each([row for row in TIMM if row.outcome != "works"])
def test_an_image_encoder_of_timm_that_is_refused_is_refused_with_this_message(row: Row, tmp_path: Path) -> None:
    architecture = row.example.removeprefix("timm:")
    small = {**SMALL_VIT, "depth": 1} if "patch16" in architecture else {}
    save_for_hf(timm.create_model(architecture, **small), tmp_path / "model", safe_serialization=True)
    assert re.match(f"Error: {row.message}", refusal(tmp_path / "model"))


# every architecture, as wide as it is published, by its tensors' names and shapes


@pytest.fixture
def one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have timm build one block of each transformer: all are alike, and some have 64."""
    make = timm.create_model

    def shallow(name: str, **given: Any) -> Any:
        deep = any(part in name for part in ("vit_", "vitamin", "eva")) and "fastvit" not in name
        return make(name, **given, **({"depth": 1} if deep else {}))

    monkeypatch.setattr(timm, "create_model", shallow)


@pytest.mark.usefixtures("one_block")
@each(OPEN_CLIP)
def test_every_size_of_a_family_of_open_clip_has_this_outcome(row: Row, tmp_path: Path) -> None:
    for name in architectures_of(row):
        settings = settings_of(name, tmp_path / "text")
        if row.message and "timm_model_name" in settings["vision_cfg"]:  # refused by its name, whatever is in it
            settings["vision_cfg"] = own_vision()
        source = f"open_clip:{name}@{sparse_checkpoint(tmp_path / f'{name}.safetensors', outline(settings))}"
        if row.message:
            with pytest.raises(ModelError) as caught:
                sites_of(source)
            assert re.fullmatch(row.message, caught.value.problem), caught.value.problem
            assert str(caught.value).count("\n") == 1 and caught.value.remedy
        else:
            require_both_towers(sites_of(source), name)


def require_both_towers(sites: Sequence[Site], name: str) -> None:
    """Every block of both towers has the maps that editkit edits by default, and all the others."""
    assert towers_of(sites) == TOWERS, name
    for tower in TOWERS:
        own = [site for site in sites if site.tower == tower and "." in site.role and site.role[:4] in ("attn", "mlp.")]
        depth = 1 + max(site.layer for site in own)
        for role in ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"):
            assert sum(site.role == role for site in own) == depth, (name, tower, role)


def settings_of(name: str, folder: Path) -> dict[str, Any]:
    """An architecture with one block in open_clip's own towers; a text tower of Hugging Face's is small."""
    settings = open_clip.get_model_config(name)
    vision, text = settings["vision_cfg"], {**settings["text_cfg"], "layers": 1}
    if "hf_model_name" in text:
        text = settings_with(name, folder)["text_cfg"]
    if isinstance(vision.get("layers"), int):
        vision = {**vision, "layers": 1}
    return {**settings, "vision_cfg": vision, "text_cfg": text}


def sites_of(source: str) -> list[Site]:
    host = default_host()
    adapter = host.adapter(find_adapter(source, host))
    sites: list[Site] = adapter.sites(adapter.open(source))
    return sites


def refusal(source: str | Path) -> str:
    """What a plan says of a model that it refuses."""
    return " ".join(as_error(run("plan", "--model", source)).split())
