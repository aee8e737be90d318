"""The commands apply, revert, show and diff: files in, files out, two lines on error, and never torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import digests, listing, model_folder, random_bits, save, tensors

from editkit.cli import main
from editkit.errors import ModelError
from editkit.files import source
from editkit.files.checkpoint import Checkpoint
from editkit.patch.change import Change
from editkit.patch.patch import Patch

RECORD = {
    "recipe": {
        "model": "models/clip",
        "data": {"name": "visu", "coco": "coco"},
        "calibration": {"split": "train", "limit": 8192},
        "text": {
            "scorer": {"name": "uwm", "aggregation": "pairs", "prior": "text"},
            "selector": {"name": "adaptive", "tau": 0.02},
            "manipulator": {"name": "scale", "alpha": -1.0},
        },
        "vision": {"scorer": None, "selector": {"name": "all"}, "manipulator": {"name": "zero"}},
    },
    "towers": {"edited": ["text"], "not_edited": ["vision"]},
    "data": {"name": "visu", "split": "train", "n": 512, "fingerprint": "0123456789abcdef", "tuples": ["ab"] * 512},
    "sites": [
        {"site": "text:attn.out[0]", "tower": "text", "role": "attn.out", "layer": 0, "key": "a.weight"}
        | {"shape": [12, 10], "count": 14, "share": 14 / 120, "mass": 0.25, "columns": 0.5, "rows": 0.0}
        | {"weight_correlation": -0.125},
        {"site": "text:attn.out[1]", "count": 3},
    ],
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model_folder(tmp_path / "model")
    return Path("model")


@pytest.fixture
def patch(model: Path) -> Path:
    checkpoint = Checkpoint.open(model)
    before = checkpoint.read("a.weight")
    after = before.copy()
    after.reshape(-1)[::9] ^= 1 << 31
    change = Change.between("a.weight", "F32", before, after)
    assert change is not None
    Patch.create(checkpoint, [change], RECORD).save("patch", "# card")
    return Path("patch")


def run(*words: object) -> int:
    return main([str(word) for word in words])


def two_lines(capsys: pytest.CaptureFixture[str]) -> str:
    """The error that was printed: two lines on stderr, and nothing on stdout."""
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert printed.out == ""
    assert len(lines) == 2
    return printed.err


def test_apply_and_revert_give_back_the_same_files(
    model: Path, patch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", patch, model, "-o", "edited") == 0
    said = capsys.readouterr()
    assert "14 weights in 1 tensor." in said.out
    assert "editkit revert patch edited -o edited-reverted" in said.out.splitlines()[-1]
    assert said.err == ""
    assert run("revert", patch, "edited", "--output", "restored") == 0
    assert "editkit diff edited restored" in capsys.readouterr().out.splitlines()[-1]
    assert digests(Path("restored")) == digests(model)


def test_apply_names_the_twins_it_left_out(model: Path, patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "pytorch_model.bin").write_text("unedited")
    assert run("apply", patch, model, "-o", "edited") == 0
    assert "pytorch_model.bin" in capsys.readouterr().err
    assert "pytorch_model.bin" not in listing(Path("edited"))


def test_apply_prints_one_json_object(model: Path, patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "tf_model.h5").write_text("unedited")
    assert run("apply", patch, model, "-o", "edited", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == "edited"
    assert (result["weights"], result["tensors"]) == (14, 1)
    assert result["files"] == ["model.safetensors"]
    assert result["left_out"] == ["tf_model.h5"]


def test_a_second_apply_is_two_lines_and_exit_code_1(
    model: Path, patch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", patch, model, "-o", "edited")
    capsys.readouterr()
    before = listing(Path.cwd())
    assert run("apply", patch, "edited", "-o", "twice") == 1
    assert "already applied" in two_lines(capsys)
    assert listing(Path.cwd()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("apply", "nowhere", "model", "-o", "x"), "is not a patch"),
        (("apply", "patch", "nowhere", "-o", "x"), "There is no model"),
        (("apply", "patch", "patch", "-o", "x"), "does not hold|has no tensor"),
        (("apply", "patch", "model", "-o", "model"), "exists already"),
        (("apply", "patch", "model", "-o", "model/x"), "is inside"),
        (("revert", "patch", "model", "-o", "x"), "nothing to revert"),
        (("show", "patch", "nowhere"), "is not a patch"),
        (("diff", "model", "nowhere"), "There is no model"),
    ],
)
def test_a_mistake_is_two_lines_and_leaves_nothing(
    patch: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(Path.cwd())
    assert run(*words) == 1
    message = two_lines(capsys)
    assert any(part in message for part in said.split("|"))
    assert listing(Path.cwd()) == before


def test_a_difference_elsewhere_needs_the_flag(model: Path, patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = tensors()
    save(model / "model.safetensors", {**content, "scale": ("F32", random_bits(8, "F32"))})
    assert run("apply", patch, model, "-o", "edited") == 1
    assert "--allow-other-tensors" in two_lines(capsys)
    assert run("apply", patch, model, "-o", "edited", "--allow-other-tensors") == 0


def test_show_tells_what_a_patch_is_in_80_columns(patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", patch) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for part in (
        "uwm (aggregation pairs, prior text)",
        "adaptive (tau 0.02)",
        "scale (alpha -1.0)",
        "visu (coco coco)",
    ):
        assert part in said
    assert "512 tuples, split train, fingerprint 0123456789ab" in said
    assert "text:attn.out[0]" in said
    assert all(number in said for number in ("14", "11.67%", "25.00%", "50.0%", "-0.125"))
    assert "zero" not in said  # the vision tower was not edited
    assert said.splitlines()[-1] == "Next: editkit apply patch models/clip -o patch-model"


def test_show_needs_no_more_than_the_base_in_a_record(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bits = Checkpoint.open(model).read("scale")
    change = Change.between("scale", "F32", bits, bits ^ 1)
    assert change is not None
    Patch.create(Checkpoint.open(model), [change], {}).save("bare", "")
    assert run("show", "bare") == 0
    assert "1 weights in 1 tensor (F32)" in capsys.readouterr().out


def test_show_prints_several_patches_as_one_json_object(patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", patch, patch, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)["patches"]
    assert first == second
    assert first["weights"] == 14
    assert first["sites"][0]["site"] == "text:attn.out[0]"
    assert "base" not in first


def test_diff_of_equal_models_is_exit_code_0(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_folder(tmp_path / "sharded", shards=3)
    assert run("diff", model, "sharded") == 0
    assert "Equal: all 5 tensors" in capsys.readouterr().out
    assert run("diff", model, "sharded", "--json") == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True


def test_diff_counts_bits_and_measures_values(model: Path, patch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("apply", patch, model, "-o", "edited")
    capsys.readouterr()
    assert run("diff", model, "edited", "--json") == 3
    result = json.loads(capsys.readouterr().out)
    (entry,) = result["differing"]
    values = tensors()["a.weight"][1].view("<f4").reshape(-1)[::9].astype(float)
    assert entry["key"] == "a.weight"
    assert (entry["count"], entry["size"]) == (14, 120)
    assert entry["largest"] == pytest.approx(2 * abs(values).max())
    assert entry["norm"] == pytest.approx(2 * (values**2).sum() ** 0.5)
    assert run("diff", model, "edited") == 3
    assert "1 of 5 tensors differ, in 14 elements" in capsys.readouterr().out


def differing(capsys: pytest.CaptureFixture[str], a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The entries of `diff --json` between two single-file checkpoints, by tensor."""
    save(Path("a.safetensors"), a)
    save(Path("b.safetensors"), b)
    assert run("diff", "a.safetensors", "b.safetensors") == 3
    capsys.readouterr()
    assert run("diff", "a.safetensors", "b.safetensors", "--json") == 3
    return {entry["key"]: entry for entry in json.loads(capsys.readouterr().out)["differing"]}


def test_diff_tells_what_cannot_be_compared(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = differing(
        capsys,
        {"same": ("F32", random_bits(0, "F32", 3)), "only a": ("F16", random_bits(1, "F16", 2))}
        | {"shape": ("F32", random_bits(2, "F32", 2, 3))},
        {"same": ("F32", random_bits(0, "F32", 3)), "only b": ("F16", random_bits(1, "F16", 2))}
        | {"shape": ("F32", random_bits(2, "F32", 3, 2))},
    )
    assert found.keys() == {"only a", "only b", "shape"}
    assert found["only a"]["dtypes"] == ["F16", None]
    assert found["shape"]["shapes"] == [[2, 3], [3, 2]]


def test_diff_compares_values_where_dtypes_differ(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = random_bits(0, "BF16", 6)
    whole = half.astype("<u4") << 16
    whole[0] ^= 1 << 31
    (entry,) = differing(capsys, {"w": ("BF16", half)}, {"w": ("F32", whole)}).values()
    assert entry["count"] == 1
    assert entry["dtypes"] == ["BF16", "F32"]


def test_diff_sees_bits_that_are_equal_as_values(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    a = np.array([0x00000000, 0x7FC00000, 0x3F800000], "<u4")  # 0, NaN, 1
    b = np.array([0x80000000, 0x7FC00001, 0x3F800000], "<u4")  # -0, another NaN, 1
    (entry,) = differing(capsys, {"w": ("F32", a)}, {"w": ("F32", b)}).values()
    assert (entry["count"], entry["not_finite"], entry["largest"]) == (2, 1, 0.0)


def in_a_new_process(code: str) -> None:
    """Run code that exits with 0 when all is well, with the editkit that this process has."""
    env = {**os.environ, "PYTHONPATH": str(Path(source.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr


def test_invariant_5_file_commands_import_no_torch(model: Path, patch: Path) -> None:
    code = (
        "import sys; from editkit.cli import main\n"
        "assert main(['apply', 'patch', 'model', '-o', 'edited']) == 0\n"
        "assert main(['revert', 'patch', 'edited', '-o', 'restored']) == 0\n"
        "assert main(['show', 'patch']) == 0 and main(['diff', 'model', 'restored']) == 0\n"
        "heavy = {'torch', 'transformers', 'open_clip', 'timm', 'PIL'} & sys.modules.keys()\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    in_a_new_process(code)


def test_the_commands_import_no_numpy_before_they_run() -> None:
    code = (
        "import sys, editkit.cli.apply, editkit.cli.show, editkit.cli.diff\n"
        "sys.exit(str({'numpy', 'safetensors', 'huggingface_hub'} & sys.modules.keys() or '') or 0)"
    )
    in_a_new_process(code)


# hub ids


def test_a_path_that_exists_is_never_asked_for_on_the_hub(model: Path) -> None:
    model.rename("org")
    Path("org/name").mkdir()
    assert source.model_folder("org/name").repository is None
    for absent in ("./no/such", "/no/such"):
        with pytest.raises(ModelError, match="There is no model folder"):
            source.model_folder(absent)
