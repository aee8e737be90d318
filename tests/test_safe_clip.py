"""Safe-CLIP: a CLIP without tokenizer and image processor takes those of its base model, and says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import as_error, done, run
from hub_cache import into_cache
from models import PROCESSING, table, tiny_clip
from torch import Tensor

from editkit.errors import ModelError
from editkit.testing import check_adapter
from editkit_clip.transformers_format import TransformersClip

BASE = "openai/clip-vit-large-patch14"
WEIGHTS = ("config.json", "model.safetensors")
TOKENIZER, IMAGES = PROCESSING[:2], PROCESSING[2:]
WORDS = ["a photo of a cat", "two dogs"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with everything that belongs to it; its config names the base, as Safe-CLIP's."""
    folder = tiny_clip(tmp_path_factory.mktemp("whole") / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": BASE}))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def base(cache: Path, whole: Path) -> Path:
    """The base model in the cache, its small files only."""
    return into_cache(cache, BASE, whole, leaving_out=WEIGHTS)


@pytest.fixture
def bare(tmp_path: Path, whole: Path) -> Path:
    """Config and weights only."""
    return without(whole, tmp_path / "safe", PROCESSING)


def without(model: Path, copy: Path, names: Sequence[str]) -> Path:
    return shutil.copytree(model, copy, ignore=shutil.ignore_patterns(*names))


def adapter() -> TransformersClip:
    return TransformersClip()


def load(source: Path, *towers: Any) -> Any:
    return adapter().load(adapter().open(str(source)), device="cpu", dtype="float32", towers=towers)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def plainly(model: Path, processing: Path) -> Callable[[str, Sequence[Any]], Tensor]:
    """Embed with transformers alone."""
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    clip = CLIPModel.from_pretrained(model).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(processing), AutoImageProcessor.from_pretrained(processing)

    @torch.no_grad()
    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        if tower == "vision":
            rows = [clip.get_image_features(**processor(images=item, return_tensors="pt")) for item in items]
        else:
            rows = [clip.get_text_features(**tokenizer(item, return_tensors="pt")) for item in items]
        return torch.cat([row.pooler_output for row in rows])

    return embed


# what it borrows


@pytest.mark.usefixtures("base")
def test_tokenizer_and_image_processor_are_the_bases_and_the_notes_say_so(bare: Path) -> None:
    assert adapter().open(str(bare)).notes == (f"tokenizer and image processor of {BASE}: {bare} has none of its own",)
    facts = load(bare, "text", "vision").processing()
    assert facts["tokenizer"] == "CLIPTokenizer" and facts["image_processor"].startswith("CLIPImageProcessor")
    assert facts["tokenizer_of"] == facts["image_processor_of"] == BASE


def test_a_whole_model_borrows_nothing(whole: Path, base: Path) -> None:
    (base / "tokenizer.json").unlink()  # nobody looks
    files = adapter().open(str(whole))
    assert files.notes == ()
    assert not any(name.endswith("_of") for name in load(whole, "text", "vision").processing())


def test_the_contract_is_kept_and_the_edited_folder_loads_by_transformers_alone(
    bare: Path, base: Path, whole: Path
) -> None:
    def library(source: str) -> Callable[[str, Sequence[Any]], Tensor]:
        return plainly(Path(source), whole if Path(source) == bare else Path(source))

    check_adapter("clip", bare, library=library, texts=WORDS)


def test_an_edited_folder_holds_the_bases_files_themselves(bare: Path, base: Path, tmp_path: Path) -> None:
    flags = ("--model", bare, "--data", table(tmp_path / "data"), "--workers", 0)
    done("edit", *flags, "-o", tmp_path / "patch", "--save", tmp_path / "edited")
    for name in PROCESSING:
        assert (tmp_path / "edited" / name).read_bytes() == (base / name).read_bytes()
        assert not (tmp_path / "edited" / name).is_symlink()
    edited = adapter().open(str(tmp_path / "edited"))
    assert edited.notes == () and edited.settings == adapter().open(str(bare)).settings
    done("eval", "safeground", "--model", tmp_path / "edited", *flags[2:], "--no-controls")


@pytest.mark.parametrize(
    ("lacking", "what", "key"),
    [(TOKENIZER, "tokenizer", "tokenizer_of"), (IMAGES, "image processor", "image_processor_of")],
)
@pytest.mark.usefixtures("base")
def test_only_what_is_missing_is_borrowed(
    whole: Path, tmp_path: Path, lacking: Sequence[str], what: str, key: str
) -> None:
    folder = without(whole, tmp_path / "model", lacking)
    files = adapter().open(str(folder))
    assert files.notes == (f"{what} of {BASE}: {folder} has none of its own",)
    facts = load(folder, "text", "vision").processing()
    assert {name: value for name, value in facts.items() if name.endswith("_of")} == {key: BASE}
    (tmp_path / "new").mkdir()
    adapter().save_beside(files, tmp_path / "new")
    assert names(tmp_path / "new") == set(lacking)


@pytest.mark.usefixtures("base")
def test_files_that_are_there_are_never_written_over(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "tokenizer_config.json").write_text("mine")
    adapter().save_beside(adapter().open(str(bare)), tmp_path / "new")
    assert (tmp_path / "new" / "tokenizer_config.json").read_text() == "mine"
    assert names(tmp_path / "new") == set(PROCESSING)


def test_borrowed_files_count_in_the_settings_as_ones_own(bare: Path, base: Path, whole: Path) -> None:
    before = adapter().open(str(bare)).settings
    assert before == adapter().open(str(whole)).settings
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        content = json.loads((base / name).read_text())
        (base / name).unlink()
        (base / name).write_text(json.dumps(content | {"changed": 1}))
        after = adapter().open(str(bare)).settings
        assert after != before
        before = after


# where there is no base to be had


def test_opening_and_the_other_tower_do_without_a_base_that_cannot_be_had(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    folder = without(whole, tmp_path / "model", TOKENIZER)
    files = adapter().open(str(folder))
    assert files.notes == (f"no tokenizer: {folder} has none of its own, and {BASE}'s cannot be had",)
    assert load(folder, "vision").towers == ("vision",)
    into_cache(cache, BASE, whole)
    assert adapter().open(str(folder)).settings != files.settings


@pytest.mark.parametrize(
    ("tower", "what", "file"), [("text", "tokenizer", "vocab.json"), ("vision", "image processor", "preprocessor")]
)
@pytest.mark.usefixtures("cache")
def test_a_base_that_cannot_be_had_is_named_when_the_tower_is_loaded(
    bare: Path, tower: str, what: str, file: str
) -> None:
    with pytest.raises(ModelError) as caught:
        load(bare, tower)
    assert f"has no {what}" in caught.value.problem and file in caught.value.problem and BASE in caught.value.problem
    assert "Go online once, or copy" in caught.value.remedy
    assert str(caught.value).count("\n") == 1


@pytest.mark.usefixtures("cache")
def test_an_edit_stops_before_any_work_and_a_plan_says_what_is_missing(bare: Path, tmp_path: Path) -> None:
    flags = ("--model", bare, "--data", table(tmp_path / "data"), "--workers", 0)
    ran = done("plan", *flags, "--json")
    assert ran.json["notes"] == [f"no tokenizer and no image processor: {bare} has none of its own, and "
                                 f"{BASE}'s cannot be had"]  # fmt: skip
    message = as_error(run("edit", *flags, "-o", tmp_path / "patch"))
    assert f"that of {BASE} is not in the hub's cache and cannot be fetched" in message
    assert not (tmp_path / "patch").exists()


def test_a_cached_base_without_these_files_does_not_serve(bare: Path, whole: Path, cache: Path) -> None:
    into_cache(cache, BASE, whole, leaving_out=TOKENIZER)
    files = adapter().open(str(bare))
    assert [note.partition(":")[0] for note in files.notes] == [f"image processor of {BASE}", "no tokenizer"]
    with pytest.raises(ModelError, match="has no tokenizer"):
        load(bare, "text")


@pytest.mark.usefixtures("base")
def test_half_a_tokenizer_is_not_completed_with_another_models(whole: Path, tmp_path: Path) -> None:
    folder = without(whole, tmp_path / "model", ["tokenizer.json"])
    with pytest.raises(ModelError, match="has no tokenizer: none of tokenizer.json, vocab.json, .* is there") as caught:
        load(folder, "text")
    assert "Copy the tokenizer files" in caught.value.remedy


@pytest.mark.usefixtures("base")
def test_without_a_known_base_the_error_says_what_to_copy(bare: Path) -> None:
    config = json.loads((bare / "config.json").read_text())
    del config["_name_or_path"]
    (bare / "config.json").write_text(json.dumps(config))
    assert adapter().open(str(bare)).notes == (f"no tokenizer and no image processor: {bare} has none of its own",)
    with pytest.raises(ModelError, match="has no tokenizer") as caught:
        load(bare, "text")
    assert caught.value.remedy == "Copy the tokenizer files of the model it was trained from beside its weights."


def test_a_large_vision_tower_alone_leads_to_the_base(tmp_path: Path, whole: Path, cache: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    config = json.loads((whole / "config.json").read_text())
    vision = {
        "hidden_size": 1024,
        "patch_size": 14,
        "image_size": 224,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    CLIPModel(CLIPConfig(text_config=config["text_config"], vision_config=vision)).save_pretrained(tmp_path / "large")
    into_cache(cache, BASE, whole, leaving_out=WEIGHTS)
    assert load(tmp_path / "large", "text").processing()["tokenizer_of"] == BASE


# who is told


@pytest.mark.usefixtures("base")
def test_plan_and_edit_show_the_notes_and_the_record_keeps_them(bare: Path, tmp_path: Path) -> None:
    line = f"tokenizer and image processor of {BASE}: {bare} has none of its own"
    flags = ("--model", bare, "--data", table(tmp_path / "data"), "--workers", 0)
    edit = ("edit", *flags, "-o", tmp_path / "patch")
    for ran in (done("plan", *flags), done(*edit)):
        assert line in " ".join(ran.err.split()) and line not in ran.flat
    record = json.loads((tmp_path / "patch" / "record.json").read_text())
    assert record["model"]["notes"] == [line]
    assert record["processing"]["tokenizer_of"] == BASE
    assert done("plan", *flags, "--json").json["notes"] == [line]
    ran = done("edit", *flags, "-o", tmp_path / "again", "--json")
    assert ran.json["notes"] == [line] and ran.json["record"]["model"]["notes"] == [line]


@pytest.mark.usefixtures("base")
def test_an_evaluation_shows_the_notes_and_its_report_holds_them(bare: Path, tmp_path: Path) -> None:
    line = f"tokenizer and image processor of {BASE}: {bare} has none of its own"
    flags = ("--model", bare, "--data", table(tmp_path / "data"), "--workers", 0)
    assert line in " ".join(done("eval", "safeground", *flags).err.split())
    assert done("eval", "retrieval", *flags, "--json").json["notes"] == [line]
