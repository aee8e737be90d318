"""Which tuples share a loss: the draw's consecutive ones, in both towers alike, however they are batched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from models import spoil, table, tiny_clip
from naive import relative
from PIL import Image
from torch import Tensor

from editkit.components.load import default_host
from editkit.data.readers.images import open_rgb
from editkit.data.tuples import Item
from editkit.editing.calibration import loss_batches
from editkit.editing.plan import make_plan
from editkit.editing.run import Run
from editkit.editing.score import score
from editkit.errors import DataError, ModelError
from editkit.models.batches import Batch, Unreadable, refuse_unreadable
from editkit.models.compute import Compute
from editkit.progress import silent

BOTH_TOWERS = pytest.mark.parametrize("tower", ["text", "vision"])
COUNT = 23
SIDES = ("safe", "unsafe")


class Plain:
    """A model whose inputs say which tuple and side they are: two first tokens, two first colours."""

    device = torch.device("cpu")

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        return {"x": padded}, padded > 0

    def image_mask(self, inputs: Mapping[str, Tensor]) -> None:
        """Every token counts."""

    def image_preprocessor(self) -> Any:
        return lambda image: {"x": torch.tensor(image.getpixel((0, 0)))}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Tuples 0 to 22, whose captions grow shorter and long again in turn."""
    root = tmp_path_factory.mktemp("items")
    found = []
    for number in range(COUNT):
        safe, unsafe = (root / f"{number}-{side}.png" for side in SIDES)
        for side, place in enumerate((safe, unsafe)):
            Image.new("RGB", (2, 2), (number, side, 0)).save(place)
        more = " 1" * ((COUNT - number) % 7)
        found.append(Item(str(number), safe, unsafe, f"{number} 0{more}", f"{number} 1{more}", "all"))
    return found


def losses_of(
    items: Sequence[Item], tower: Any, size: int | None, micro: int, on_unreadable: Any = refuse_unreadable
) -> list[list[Batch]]:
    model: Any = Plain()
    compute = Compute.model_validate({"batch_size": micro, "workers": 0})
    return list(loss_batches(model, items, tower, size, compute, on_unreadable))


def groups_of(loss: list[Batch]) -> list[int]:
    return sorted(group for batch in loss for group in batch.groups)


# batches


@BOTH_TOWERS
@pytest.mark.parametrize("size", [1, 6, 7, 8, 22, 23, 64])
@pytest.mark.parametrize("micro", [1, 4, 5, 8, 64])
def test_a_loss_is_over_consecutive_tuples_each_once_and_the_last_is_short(
    items: list[Item], tower: str, size: int, micro: int
) -> None:
    losses = losses_of(items, tower, size, micro)
    expected = [list(range(first, min(first + size, COUNT))) for first in range(0, COUNT, size)]
    assert [groups_of(loss) for loss in losses] == expected
    assert all(len(batch.groups) <= micro for loss in losses for batch in loss)


@BOTH_TOWERS
def test_rows_are_the_safe_then_the_unsafe_items_of_their_groups(items: list[Item], tower: str) -> None:
    for loss in losses_of(items, tower, 7, 3):
        for batch in loss:
            expected = [(group, side) for side in range(2) for group in batch.groups]
            assert [tuple(row) for row in batch.inputs["x"][:, :2].tolist()] == expected


@pytest.mark.parametrize(("size", "micro", "batches"), [(8, 8, 1), (8, 64, 1), (8, 5, 2), (6, 4, 2), (7, 6, 7)])
def test_images_come_in_the_largest_batches_that_divide_a_loss(
    items: list[Item], size: int, micro: int, batches: int
) -> None:
    assert len(losses_of(items, "vision", size, micro)[0]) == batches


@BOTH_TOWERS
def test_a_loss_of_any_size_is_as_large_as_a_batch(items: list[Item], tower: str) -> None:
    losses = losses_of(items, tower, None, 6)
    assert [len(groups_of(loss)) for loss in losses] == [6, 6, 6, 5]
    assert all(len(loss) == 1 for loss in losses)


def broken(items: Sequence[Item], numbers: Sequence[int], tmp_path: Path) -> list[Item]:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"no image")
    return [
        Item(one.id, one.safe_image, bad, one.safe_text, one.unsafe_text, one.concept)
        if int(one.id) in numbers
        else one
        for one in items
    ]


@pytest.mark.parametrize("micro", [1, 2, 4, 64])
def test_unreadable_images_leave_their_loss_shorter_and_are_told_once(
    items: list[Item], tmp_path: Path, micro: int
) -> None:
    told: list[Unreadable] = []
    losses = losses_of(broken(items, [0, 5, 8, 9, 10, 11], tmp_path), "vision", 4, micro, told.append)
    assert [bad.group for bad in told] == [0, 5, 8, 9, 10, 11]
    assert [groups_of(loss) for loss in losses] == [
        [1, 2, 3],
        [4, 6, 7],
        [12, 13, 14, 15],
        [16, 17, 18, 19],
        [20, 21, 22],
    ]


def test_an_unreadable_image_stops_unless_it_is_skipped(items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="broken.png cannot be read"):
        losses_of(broken(items, [22], tmp_path), "vision", 4, 4)


# a run's tuples and their embeddings in the frozen tower


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Twelve tuples; the third has an unreadable unsafe image, the fifth no unsafe caption."""
    made = table(tmp_path / "pairs", 12)
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    (made.parent / rows[2]["unsafe_image"]).write_bytes(b"no image")
    rows[4]["unsafe_text"] = ""
    made.write_text("\n".join(map(json.dumps, rows)))
    return made


def run_of(model: Path, pairs: Path, **values: Any) -> Run:
    own = {"model": str(model), "data.name": "pairs", "data.path": str(pairs), "data.on_bad_item": "skip"}
    compute = {"compute.workers": 0, "compute.batch_size": 5}
    plan = make_plan([("flag", own | compute | {"scorer.name": "gradient"} | values)], default_host())
    return Run(plan, silent, plan.files.checkpoint.identity(), "cpu")


def ids_of(items: Sequence[Item]) -> list[str]:
    return [item.id for item in items]


@pytest.mark.parametrize("seed", [0, 1])
def test_whole_tuples_come_in_the_order_of_the_draw_in_both_towers(model: Path, pairs: Path, seed: int) -> None:
    run = run_of(model, pairs, **{"calibration.seed": seed})
    everything = ids_of(run.data.items)
    whole = [one for place, one in enumerate(everything) if place != 4]
    drawn = sorted(whole, key=lambda one: sha256(f"{seed}:{one}".encode()).digest())
    assert len(everything) == 12 and drawn != whole
    assert ids_of(run.frozen("vision")[0]) == drawn
    assert ids_of(run.frozen("text")[0]) == [one for one in drawn if one != everything[2]]
    for tower, reasons in (("vision", {"empty caption": 4}), ("text", {"empty caption": 4, "unreadable image": 2})):
        assert run.dropped[tower].describe() == {
            reason: {"count": 1, "ids": [everything[place]]} for reason, place in reasons.items()
        }


@BOTH_TOWERS
def test_embeddings_are_those_of_each_tuple_alone_and_made_once(model: Path, pairs: Path, tower: Any) -> None:
    run = run_of(model, pairs)
    items, frozen = run.frozen(tower)
    assert run.frozen(tower)[1] is frozen and frozen.shape == (2, len(items), 24) and not frozen.requires_grad
    for place, item in enumerate(items):
        for side, image, text in ((0, item.safe_image, item.safe_text), (1, item.unsafe_image, item.unsafe_text)):
            if tower == "vision":
                alone = run.model.encode_texts(run.model.text_inputs(run.model.tokenize([text or ""]), "real")[0])
            else:
                assert image
                pixels: Mapping[str, Tensor] = run.model.image_preprocessor()(open_rgb(image))
                alone = run.model.encode_images({name: x[None] for name, x in pixels.items()})
            assert relative(frozen[side, place], alone[0]) <= 1e-5


def test_a_tuple_that_several_passes_meet_is_reported_once(model: Path, pairs: Path) -> None:
    passes = {"selector.name": "difference-set", "selector.other": "snip"}
    run = run_of(model, pairs, **passes)
    assert len(score(run, "vision")) == 2
    assert {reason: found["count"] for reason, found in run.dropped["vision"].describe().items()} == {
        "empty caption": 1,
        "unreadable image": 1,
    }


def test_scores_from_the_cache_report_the_same_tuples(model: Path, pairs: Path) -> None:
    first, again = run_of(model, pairs), run_of(model, pairs)
    score(first, "vision")
    score(again, "vision")
    assert "model" not in vars(again)
    assert again.dropped["vision"].describe() == first.dropped["vision"].describe() != {}


@BOTH_TOWERS
def test_a_weight_of_the_frozen_tower_that_is_not_finite_is_named(tmp_path: Path, pairs: Path, tower: Any) -> None:
    folder = tiny_clip(tmp_path / "model")
    key = {"text": "vision_model.pre_layrnorm.weight", "vision": "text_model.final_layer_norm.bias"}[tower]
    spoil(folder, key, lambda values: values.__setitem__(3, float("nan")))
    with pytest.raises(ModelError, match=f"Tensor {key} holds values that are not finite"):
        run_of(folder, pairs).frozen(tower)
