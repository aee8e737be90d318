"""`editkit edit`, then `apply`, `revert`, `show` and `diff` on what it wrote, for every dtype and layout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Ran, as_error, cache_at, done, run, sha
from models import DEMO, DTYPES, OPEN_CLIP, spoil, table, tiny_clip, tiny_open_clip
from tiny_checkpoints import digests, listing

LAYOUTS = tuple(product(DTYPES, (False, True)))
IDS = [f"{dtype}-{'sharded' if sharded else 'one-file'}" for dtype, sharded in LAYOUTS]
TOUCHED = "text_model.encoder.layers.0.self_attn.out_proj.weight"
UNTOUCHED = "vision_model.post_layernorm.bias"


@dataclass(frozen=True)
class Edited:
    """A model folder, the patch that one `edit` made of it, and the model that it saved."""

    model: Path
    patch: Path
    saved: Path
    ran: Ran


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("pairs"))


def make(root: Path, pairs: Path, dtype: str = "float32", *, sharded: bool = False) -> Edited:
    model = tiny_clip(root / "model", dtype, sharded=sharded)
    flags = ("--model", model, "--data", pairs, "--tau", 0.1, "--workers", 0)
    with cache_at(root / "cache"):
        ran = done("edit", *flags, "-o", root / "patch", "--save", root / "saved")
    return Edited(model, root / "patch", root / "saved", ran)


@pytest.fixture(scope="module", params=LAYOUTS, ids=IDS)
def edited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Edited:
    dtype, sharded = request.param
    return make(tmp_path_factory.mktemp("edited"), pairs, dtype, sharded=sharded)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Edited:
    """One file in float32."""
    return make(tmp_path_factory.mktemp("plain"), pairs)


@pytest.fixture
def room(tmp_path: Path, plain: Edited) -> Iterator[Path]:
    """A folder with copies of model and patch to spoil; whatever is done there, nothing may be left behind."""
    shutil.copytree(plain.model, tmp_path / "model")
    shutil.copytree(plain.patch, tmp_path / "patch")
    yield tmp_path
    assert listing(tmp_path) == sorted([*listing_of(plain, "model"), *listing_of(plain, "patch")])


def listing_of(edited: Edited, part: str) -> list[str]:
    return [part, *(f"{part}/{name}" for name in listing(edited.model.parent / part))]


# What the six layouts have in common


def test_apply_then_revert_restores_every_byte_of_every_file(edited: Edited, tmp_path: Path) -> None:
    done("apply", edited.patch, edited.model, "-o", tmp_path / "applied")
    done("revert", edited.patch, tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(edited.model)
    assert digests(tmp_path / "applied") != digests(edited.model)


def test_save_equals_apply_byte_for_byte(edited: Edited, tmp_path: Path) -> None:
    done("apply", edited.patch, edited.model, "-o", tmp_path / "applied")
    assert digests(edited.saved) == digests(tmp_path / "applied")


def test_a_second_apply_is_refused_with_nothing_written(edited: Edited, tmp_path: Path) -> None:
    message = as_error(run("apply", edited.patch, edited.saved, "-o", tmp_path / "twice"))
    assert "already applied" in message
    assert listing(tmp_path) == []


def test_the_saved_model_holds_the_selected_weights_negated_and_all_others_unchanged(edited: Edited) -> None:
    from transformers import CLIPModel

    base, saved = (
        CLIPModel.from_pretrained(place, dtype="auto").state_dict() for place in (edited.model, edited.saved)
    )
    touched = {key for key in base if not torch.equal(base[key], saved[key])}
    assert touched and all(key.endswith((".self_attn.out_proj.weight", ".mlp.fc2.weight")) for key in touched)
    for key in touched:
        assert saved[key].dtype == base[key].dtype
        assert torch.equal(saved[key].abs(), base[key].abs())
        assert 0 < int((saved[key] != base[key]).sum()) < base[key].numel() / 2


# Refusals


def test_a_wrong_base_in_a_touched_tensor_is_refused(room: Path) -> None:
    def next_value(values: np.ndarray) -> None:
        values[7] = np.nextafter(values[7], np.float32(9))

    spoil(room / "model", TOUCHED, next_value)
    message = as_error(run("apply", room / "patch", room / "model", "-o", room / "output"))
    assert TOUCHED in message


def test_a_wrong_base_elsewhere_is_refused(room: Path) -> None:
    def next_value(values: np.ndarray) -> None:
        values[0] = np.nextafter(values[0], np.float32(9))

    spoil(room / "model", UNTOUCHED, next_value)
    message = as_error(run("apply", room / "patch", room / "model", "-o", room / "output"))
    assert "--allow-other-tensors" in message


def test_a_truncated_patch_is_refused(room: Path) -> None:
    whole = (room / "patch" / "patch.safetensors").read_bytes()
    (room / "patch" / "patch.safetensors").write_bytes(whole[:-4])
    for command, model in (("apply", room / "model"), ("revert", room / "model")):
        assert "damaged" in as_error(run(command, room / "patch", model, "-o", room / "output"))


def test_a_patch_of_another_dtype_is_refused_and_says_so(room: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    half = tiny_clip(tmp_path_factory.mktemp("half") / "model", "float16")
    message = as_error(run("apply", room / "patch", half, "-o", room / "output"))
    assert "F16" in message and "F32" in message


def test_revert_of_the_base_is_refused(room: Path) -> None:
    assert "nothing to revert" in as_error(run("revert", room / "patch", room / "model", "-o", room / "output"))


def test_an_output_inside_the_model_is_refused_before_anything_runs(room: Path, pairs: Path) -> None:
    model, inside = room / "model", room / "model" / "edited"
    for flags in (("-o", inside), ("--save", inside), ("-o", room / "free", "--save", inside)):
        ran = run("edit", "--model", model, "--data", pairs, "--workers", 0, *flags)
        assert "Choose a folder outside of it" in as_error(ran)


def test_patch_and_saved_model_in_one_another_are_refused(room: Path, pairs: Path) -> None:
    one = room / "one"
    for output, save in ((one, one), (one, one / "two"), (one / "two", one)):
        ran = run("edit", "--model", room / "model", "--data", pairs, "--workers", 0, "-o", output, "--save", save)
        assert "side by side" in as_error(ran)


# What an edited folder holds


def test_an_unedited_twin_in_another_format_does_not_travel_on(plain: Edited, pairs: Path, tmp_path: Path) -> None:
    from transformers import CLIPModel

    model = shutil.copytree(plain.model, tmp_path / "model")
    torch.save(CLIPModel.from_pretrained(model).state_dict(), model / "pytorch_model.bin")
    ran = done(
        "edit", "--model", model, "--data", pairs, "--workers", 0, "-o", tmp_path / "p", "--save", tmp_path / "s"
    )
    assert "pytorch_model.bin" in ran.out
    assert listing(tmp_path / "s") == ["EDITKIT.md", *listing(plain.model)]
    applied = done("apply", tmp_path / "p", model, "-o", tmp_path / "a")
    assert "pytorch_model.bin" in applied.out + applied.err
    assert digests(tmp_path / "a") == digests(tmp_path / "s")


def test_a_patch_folder_holds_patch_record_and_card(plain: Edited) -> None:
    assert listing(plain.patch) == ["README.md", "patch.safetensors", "record.json"]
    card = (plain.patch / "README.md").read_text()
    assert "editkit revert" in card and "text:attn.out[0]" in card


LOAD = """
import sys
sys.modules["editkit"] = None  # importing it would fail
import torch
torch.manual_seed(0)
pixels = torch.rand(2, 3, 60, 60)
from transformers import CLIPModel
images = []
for folder in sys.argv[1:3]:
    model = CLIPModel.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 6, 7, model.config.text_config.eos_token_id]])
    with torch.no_grad():
        images.append((model.get_image_features(pixel_values=pixels).pooler_output,
                       model.get_text_features(input_ids=ids).pooler_output))
assert not torch.equal(images[0][0], images[1][0]) and not torch.equal(images[0][1], images[1][1])
import open_clip
model = open_clip.create_model("local-dir:" + sys.argv[3]).eval()
print(float(model.state_dict()["visual.transformer.resblocks.0.mlp.c_proj.weight"].double().sum()))
"""


@pytest.fixture(scope="module")
def open_clip_edit(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Edited:
    root = tmp_path_factory.mktemp("open-clip")
    weights = tiny_open_clip(root / "source")
    flags = ("--model", f"open_clip:{OPEN_CLIP}@{weights}", "--data", pairs, "--tau", 0.1, "--workers", 0)
    with cache_at(root / "cache"):
        ran = done("edit", *flags, "-o", root / "patch", "--save", root / "saved")
    return Edited(weights, root / "patch", root / "saved", ran)


def test_saved_models_load_where_editkit_is_not_installed(plain: Edited, open_clip_edit: Edited) -> None:
    from safetensors.torch import load_file

    places = [str(place) for place in (plain.model, plain.saved, open_clip_edit.saved)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", LOAD, *places], capture_output=True, text=True, env=environment, check=False
    )
    assert finished.returncode == 0, finished.stderr
    key = "visual.transformer.resblocks.0.mlp.c_proj.weight"
    base = float(load_file(open_clip_edit.model)[key].double().sum())
    edited = float(load_file(next(open_clip_edit.saved.glob("*.safetensors")))[key].double().sum())
    assert float(finished.stdout.split()[-1]) == edited != base


def test_an_open_clip_checkpoint_is_edited_applied_and_reverted(open_clip_edit: Edited, tmp_path: Path) -> None:
    assert {"text:attn.out[0]", "vision:mlp.out[1]"} <= set(open_clip_edit.ran.out.split())
    applied, reverted = tmp_path / "applied", tmp_path / "reverted"
    done("apply", open_clip_edit.patch, open_clip_edit.model, "-o", applied)
    name = open_clip_edit.model.name
    assert sha(applied / name) == sha(next(open_clip_edit.saved.glob("*.safetensors")))
    done("revert", open_clip_edit.patch, applied / name, "-o", reverted)
    assert sha(reverted / name) == sha(open_clip_edit.model)


def test_a_saved_open_clip_model_can_be_edited_again_from_its_folder(
    open_clip_edit: Edited, pairs: Path, tmp_path: Path
) -> None:
    done("edit", "--model", open_clip_edit.saved, "--data", pairs, "--workers", 0, "-o", tmp_path / "patch")


# What `edit` prints


def test_each_site_is_printed_with_count_share_and_mass_and_then_the_next_command(plain: Edited) -> None:
    lines = plain.ran.out.splitlines()
    for site in ("text:attn.out[0]", "text:attn.out[1]", "vision:mlp.out[0]", "vision:mlp.out[1]"):
        row = next(line.split() for line in lines if line.startswith(site))
        assert int(row[1].replace(",", "")) > 0 and row[3].endswith("%") and 10 <= float(row[4].rstrip("%")) < 11
    assert lines[-1] == f"Next: editkit apply {plain.patch} {plain.model} -o {plain.patch}-model"


def test_names_are_printed_as_they_are_whatever_brackets_are_in_them(tmp_path: Path) -> None:
    patch = tmp_path / "[bold] and [x]"
    lines = done("edit", "--scorer", "magnitude", "--workers", 0, "-o", patch).out.splitlines()
    assert lines[-2].endswith(f" weights changed. Patch: {patch}")
    assert lines[-1] == f"Next: editkit eval safeground --patch '{patch}'"
    assert done("show", patch).out.startswith(f"Patch {patch}\n")


def test_json_is_one_object_with_the_record(plain: Edited, pairs: Path, tmp_path: Path) -> None:
    flags = ("--model", plain.model, "--data", pairs, "--tau", 0.1, "--workers", 0)
    result = done("edit", *flags, "-o", tmp_path / "p", "--json").json
    assert result["schema"] == "editkit.edit/1" and result["patch"] == str(tmp_path / "p")
    assert result["weights"] == sum(site["count"] for site in result["record"]["sites"]) > 0
    assert sha(tmp_path / "p" / "patch.safetensors") == sha(plain.patch / "patch.safetensors")


def test_without_o_runs_are_numbered_and_never_overwritten(
    pairs: Path, plain: Edited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--model", plain.model, "--data", pairs, "--workers", 0)
    first, second = (done("edit", *flags).out.splitlines()[-2].split()[-1] for _ in range(2))
    assert first.startswith("editkit-runs/uwm-") and second == f"{first}-2"
    assert sorted(path.name for path in (tmp_path / "editkit-runs").iterdir()) == [Path(first).name, Path(second).name]


def test_a_tower_without_a_target_is_not_edited_and_the_report_says_so(
    pairs: Path, plain: Edited, tmp_path: Path
) -> None:
    flags = ("--model", plain.model, "--data", pairs, "--target", "text:attn.out[-1]")
    ran = done("edit", *flags, "-o", tmp_path / "p")
    assert "The vision tower has no target: it is not edited." in ran.out
    assert "text:attn.out[1]" in ran.out and "text:attn.out[0]" not in ran.out


def test_the_next_commands_printed_by_edit_apply_and_revert_work(plain: Edited, tmp_path: Path) -> None:
    applied = done("apply", plain.patch, plain.model, "-o", tmp_path / "applied")
    commands = [line.removeprefix("Next: ") for line in applied.out.splitlines() if line.startswith("Next: ")]
    assert commands and all(command.startswith("editkit ") for command in commands)
    for command in commands:
        ran = run(*command.split()[1:], *(("--limit", 4, "--workers", 0) if " eval " in command else ()))
        assert ran.code == 0, (command, ran.err)


def test_show_and_diff_read_what_edit_wrote(plain: Edited) -> None:
    assert "text:attn.out[0]" in done("show", plain.patch).out
    ran = run("diff", plain.model, plain.saved, "--json")
    assert ran.code == 3
    assert {entry["key"] for entry in ran.json["differing"]} == {
        *(f"text_model.encoder.layers.{layer}.self_attn.out_proj.weight" for layer in (0, 1)),
        *(f"vision_model.encoder.layers.{layer}.mlp.fc2.weight" for layer in (0, 1)),
    }
    assert run("diff", plain.model, plain.model).code == 0


def test_the_demo_is_applied_and_reverted_by_its_name_or_its_folder(tmp_path: Path) -> None:
    done("edit", "--limit", 4, "--workers", 0, "-o", tmp_path / "p", "--save", tmp_path / "s")
    done("apply", tmp_path / "p", DEMO / "model", "-o", tmp_path / "a")
    assert digests(tmp_path / "a") == digests(tmp_path / "s")
    done("revert", tmp_path / "p", tmp_path / "a", "-o", tmp_path / "r")
    assert digests(tmp_path / "r") == digests(DEMO / "model")


def test_a_text_only_table_edits_the_text_tower_alone(plain: Edited, tmp_path: Path) -> None:
    captions = table(tmp_path / "captions", columns=("safe_text", "unsafe_text"))
    flags = ("--model", plain.model, "--data", captions, "--target", "text:attn.out")
    ran = done("edit", *flags, "-o", tmp_path / "p")
    assert "vision:mlp.out" not in ran.out


def test_an_image_only_table_edits_the_vision_tower_alone(plain: Edited, tmp_path: Path) -> None:
    images = table(tmp_path / "images", columns=("safe_image", "unsafe_image"))
    flags = ("--model", plain.model, "--data", images, "--target", "vision:mlp.out", "--workers", 0)
    ran = done("edit", *flags, "-o", tmp_path / "p")
    assert "text:attn.out" not in ran.out
