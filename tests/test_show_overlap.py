"""`editkit show A B ...`: how far patches chose the same weights, on 80 columns and as one JSON object."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import as_error, done, run
from tiny_checkpoints import model_folder

from editkit.files.checkpoint import Checkpoint
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.patch.summary import PatchSummary

RECIPE = {"selector": {"name": "topk"}, "manipulator": {"name": "scale", "alpha": -1.0}}
STRUCTURE = {"columns": 0.5, "rows": 0.25, "weight_correlation": -0.125}
A, B = (range(0, 20), range(10, 30))  # of a.weight, 12 x 10: 10 in both of 30 in either


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model_folder(tmp_path / "model")
    return Path("model")


def entry(name: str, key: str, shape: list[int], **more: Any) -> dict[str, Any]:
    tower, role = name.split("[")[0].split(":")
    return {"site": name, "tower": tower, "role": role, "key": key, "shape": shape, **STRUCTURE, **more}


def save(name: str, chosen: dict[str, range], model: str = "model", **record: Any) -> None:
    """Save a patch that flips the lowest bit of the chosen elements."""
    checkpoint, changes = Checkpoint.open(model), []
    for key, places in chosen.items():
        before = checkpoint.read(key)
        after = before.copy()
        after.reshape(-1)[np.array(places)] ^= 1
        change = Change.between(key, checkpoint.info(key).dtype, before, after)
        assert change is not None
        changes.append(change)
    Patch.create(checkpoint, changes, record).save(name, "")


def two(**record: Any) -> None:
    """Patches `first` and `second` of two sites each: one is chosen alike in part, the other by all of both."""
    sites = [entry("text:mlp.out[0]", "a.weight", [12, 10]), entry("vision:mlp.out[0]", "b.weight", [7, 12])]
    for name, places, scorer in (("first", A, "uwm"), ("second", B, "magnitude")):
        recipe = {"recipe": {"scorer": {"name": scorer}, **RECIPE}}
        save(name, {"a.weight": places, "b.weight": range(7)}, sites=sites, **recipe, **record)


def rows_of(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines()]


def widest(said: str) -> int:
    """Of the lines, less the command to type next: that has to be whole, however many patches it names."""
    return max(len(line) for line in said.splitlines() if not line.startswith("Next: "))


def test_two_patches_are_compared_site_by_site_on_one_screen() -> None:
    two()
    said = done("show", "first", "second").out
    assert widest(said) <= 80
    assert len(said.splitlines()) <= 24
    assert "A  first   uwm x topk x scale  27 weights" in said
    assert "B  second  magnitude x topk x scale  27 weights" in said
    # by hand: 10 of 30; expected 20 x 20 / 120 = 3.33, of 40 less that
    assert ["text:mlp.out[0]", "20", "20", "10", "33.33%", "9.09%", "3.67"] in rows_of(said)
    assert ["vision:mlp.out[0]", "7", "7", "7", "100.00%", "4.35%", "23.00"] in rows_of(said)
    # over both sites: 17 of 37; expected 3.33 + 7 x 7 / 84 = 3.92, of 54 less that
    assert ["2", "sites", "27", "27", "17", "45.95%", "7.82%", "5.88"] in rows_of(said)
    assert "Not compared" not in said
    assert said.splitlines()[-1] == "Next: editkit eval safeground --patch first --patch second"


def test_beside_the_overlap_stands_the_mean_of_what_the_records_say_of_each_role() -> None:
    names, shapes = ("text:mlp.out[0]", "text:mlp.out[1]"), ([12, 10], [7, 12])
    for patch, columns in (("first", (0.5, 0.1)), ("second", (0.0, 1.0))):
        sites = [
            entry(name, key, shape, columns=share)
            for name, key, shape, share in zip(names, ("a.weight", "b.weight"), shapes, columns, strict=True)
        ]
        save(patch, {"a.weight": A, "b.weight": A}, sites=sites)
    rows = rows_of(done("show", "first", "second").out)
    assert ["text:mlp.out", "30.0%", "50.0%", "25.0%", "25.0%", "-0.125", "-0.125"] in rows


def test_weights_at_sites_of_one_patch_only_are_said_to_be_left_out() -> None:
    save("first", {"a.weight": A, "b.weight": range(5)})
    save("second", {"a.weight": B})
    said = done("show", "first", "second").out
    assert "Not compared, since at sites of one only: 5 weights of A, 0 of B." in said
    assert "mean over sites" not in said  # the records say nothing of structure
    (pair,) = done("show", "first", "second", "--json").json["overlap"]
    assert pair["elsewhere"] == {"a": 5, "b": 0}


def test_three_patches_are_compared_pair_by_pair() -> None:
    for name, places in (("first", A), ("second", B), ("third", range(40, 50))):
        save(name, {"a.weight": places})
    said = done("show", "first", "second", "third").out
    assert widest(said) <= 80
    assert ["A", "B", "1", "site", "20", "20", "10", "33.33%", "9.09%", "3.67"] in rows_of(said)
    assert ["A", "C", "1", "site", "20", "10", "0", "0.00%", "5.88%", "0.00"] in rows_of(said)
    assert ["B", "C", "1", "site", "20", "10", "0", "0.00%", "5.88%", "0.00"] in rows_of(said)
    assert "C  third   10 weights" in said
    assert said.splitlines()[-1].endswith("--patch first --patch second --patch third")


@pytest.mark.parametrize("number", [2, 3])
def test_counts_as_large_as_vit_l_has_leave_the_columns_apart(number: int) -> None:
    from editkit.cli.render_overlap import print_overlaps
    from editkit.patch.overlap import Overlap, PairOverlap, SiteOverlap

    size = 4096 * 1024
    single = SiteOverlap("vision:attn.out[23]", "w", Overlap(size, 1, 1, 1, 1 / size), ({}, {}))
    everywhere = Overlap(24 * size, 24 * size, 24 * size, 24 * size, 24 * size)
    pairs = [PairOverlap(("first", "second"), (single,) * 24, everywhere, (0, 0))] * (1 if number == 2 else 3)
    record = {"base": {"touched": {"w": {"dtype": "F32", "changed": 24 * size}}}}
    patches = [PatchSummary(Path(name), record, {}) for name in ("first", "second", "third")[:number]]
    said = StringIO()
    with redirect_stdout(said):
        print_overlaps(patches, pairs)
    rows = rows_of(said.getvalue())
    assert widest(said.getvalue()) <= 80
    assert any(row[-6:] == ["100,663,296"] * 3 + ["100.00%", "100.00%", "1.00"] for row in rows)
    if number == 2:  # one choice of millions, the same by both
        assert ["vision:attn.out[23]", "1", "1", "1", "100.00%", "0.00%", "8e+06"] in rows


def test_methods_that_differ_by_tower_are_both_named() -> None:
    recipe = {"text": {"scorer": {"name": "uwm"}, **RECIPE}, "vision": {"scorer": None, **RECIPE}}
    save("first", {"a.weight": A}, recipe=recipe)
    save("second", {"a.weight": B}, recipe=recipe, towers={"edited": ["vision"], "not_edited": ["text"]})
    said = done("show", "first", "second").out
    assert "A  first   text uwm x topk x scale, vision topk x scale  20 weights" in said
    assert "B  second  topk x scale  20 weights" in said


def test_json_has_every_pair_site_by_site() -> None:
    two()
    save("third", {"a.weight": range(120)})
    result = done("show", "first", "second", "third", "--json").json
    assert [patch["patch"] for patch in result["patches"]] == ["first", "second", "third"]
    assert [(pair["a"], pair["b"]) for pair in result["overlap"]] == [
        ("first", "second"),
        ("first", "third"),
        ("second", "third"),
    ]
    first = result["overlap"][0]
    assert first["all"] == {
        "sites": 2,
        "size": 204,
        "a": 27,
        "b": 27,
        "intersection": 17,
        "expected": pytest.approx(400 / 120 + 49 / 84),
        "jaccard": pytest.approx(17 / 37),
        "chance": pytest.approx(0.078203, rel=1e-4),
        "times_chance": pytest.approx(5.8752, rel=1e-4),
    }
    site = first["sites"][0]
    assert (site["site"], site["key"], site["size"]) == ("text:mlp.out[0]", "a.weight", 120)
    assert (site["a"], site["b"], site["intersection"]) == (20, 20, 10)
    assert site["columns"] == [0.5, 0.5]
    assert result["overlap"][1]["sites"][0]["columns"] == [0.5, None]  # the third record names no site
    assert result["overlap"][1]["all"]["times_chance"] == pytest.approx(1)  # it chose every weight


def test_a_patch_overlaps_itself_wholly() -> None:
    save("first", {"a.weight": A})
    (pair,) = done("show", "first", "first", "--json").json["overlap"]
    assert pair["all"]["jaccard"] == 1


def test_one_patch_alone_is_described_and_has_no_overlap() -> None:
    two()
    assert "Patch first" in done("show", "first").out
    assert done("show", "first", "--json").json["overlap"] == []


def test_patches_of_other_models_are_refused_in_two_lines() -> None:
    model_folder(Path("another"), seed=9)
    save("first", {"a.weight": A})
    save("second", {"a.weight": A}, model="another")
    said = as_error(run("show", "first", "second"))
    assert "first and second are edits of different models: the weights of 'a.weight' are not the same." in said
    assert "Compare patches of one and the same checkpoint." in said


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_patches_without_a_common_site_are_refused_in_two_lines(options: tuple[str, ...]) -> None:
    save("first", {"a.weight": A})
    save("second", {"b.weight": A})
    assert "no site in common" in as_error(run("show", "first", "second", *options))


def test_invariant_5_comparing_patches_imports_no_torch() -> None:
    two()
    code = (
        "import sys; from editkit.cli import main\n"
        "assert main(['show', 'first', 'second']) == 0\n"
        "sys.exit(str({'torch', 'transformers', 'open_clip', 'timm', 'PIL'} & sys.modules.keys() or '') or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_one_patch_is_shown_without_numpy() -> None:
    two()
    code = (
        "import sys; from editkit.cli import main\n"
        "assert main(['show', 'first']) == 0\n"
        "sys.exit(str({'numpy', 'torch'} & sys.modules.keys() or '') or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
