"""Models by all their names: as editkit, browsers and other libraries write them, in every command that takes one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from command_line import Ran, as_error
from hub_contents import read_files
from hub_open_clip_repositories import small_architectures
from hub_repositories import stock, write
from hub_server import Hub, serving
from models import table
from on_the_hub import visitor
from safetensors.torch import load_file

BASE = "openai/clip-vit-large-patch14"
LAION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
ARCHIVE, SHARDS, LLAVA = "openai/clip-vit-base-patch16", "someone/clip-sharded-bin", "llava-hf/llava-1.5-7b-hf"
INSIDE = "someone/pipeline"
Run = Callable[..., Ran]


class Place:
    """A hub with some models, some of them on this disk too, and data."""

    def __init__(self, hub: Hub, root: Path) -> None:
        self.root, self.data = root, table(root / "data", 3)
        stock(hub, root / "made", BASE, LAION, ARCHIVE, SHARDS, LLAVA)
        clip = read_files(write(root / "clip", ARCHIVE))
        config = {name: content for name, content in clip.items() if "/" not in name}
        hub.add(INSIDE, {f"model/{name}": content for name, content in config.items()} | {"model_index.json": b"{}"})
        hub.repositories["model", INSIDE].tags["v1"] = hub.repositories["model", INSIDE].branches["main"]
        self.laion = root / "made" / LAION
        self.lone = root / "epoch_3.pt"
        torch.save({"state_dict": load_file(self.laion / "open_clip_model.safetensors")}, self.lone)
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in ("config.json", "pytorch_model.bin", "tokenizer.json", "preprocessor_config.json"):
            (self.bin / name).write_bytes(clip[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Run]]:
    root = tmp_path_factory.mktemp("sources")
    with serving() as hub:
        place = Place(hub, root)
        first = small_architectures(root / "small")
        with visitor(hub, root / "cache") as run:
            yield place, lambda *args: run(*args, first=first)


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


SPELT = (
    f"https://huggingface.co/{BASE}",
    f"https://huggingface.co/{BASE}/",
    f"https://huggingface.co/{BASE}/tree/main",
    f"https://huggingface.co/{BASE}/blob/main/model.safetensors",
    f"https://huggingface.co/{BASE}/resolve/main/config.json?download=true",
    f"https://hf.co/{BASE}",
    f"huggingface.co/{BASE}",
    f"hf-hub:{BASE}",
    f"{BASE}/",
    f"{BASE}@main",
    f"open_clip:{LAION}",
    f"open_clip:hf-hub:{LAION}",
    f"{INSIDE}/model@v1",
    f"https://huggingface.co/{INSIDE}/tree/v1/model",
    f"https://huggingface.co/{INSIDE}/blob/main/model/config.json",
)


def test_every_spelling_of_a_hub_id_opens_the_model(run: tuple[Place, Run]) -> None:
    _, command = run
    for source in SPELT:
        found = done(command("plan", "--scorer", "magnitude", "--model", source, "--json")).json["model"]
        assert found["source"] == source and len(found["commit"]) == 40
        assert found["family"] == ("open_clip" if source.startswith("open_clip") else "clip")


def test_what_is_no_model_of_the_hub_says_what_to_write(run: tuple[Place, Run]) -> None:
    place, command = run
    told = {
        "https://hf-mirror.com/org/name": "Write org/name; another hub than huggingface.co is named by the variable",
        "https://huggingface.co/datasets/someone/pairs": "is a data set, and no model. Give it as --data pairs:hf:",
        f"open_clip:{BASE}": "it has no open_clip_config.json. Give its path or hub id alone, without open_clip:",
        f"{INSIDE}/absent": f"{INSIDE} has no folder 'absent'",
        INSIDE: "is a pipeline of diffusers, which is several models. Give the folder of one of them",
        str(place.lone): f"which does not say what architecture its tensors belong to. Name the folder that holds its "
        f"config.json, or write open_clip:NAME@{place.lone}",
    }
    for source, words in told.items():
        assert words in as_error(command("plan", "--scorer", "magnitude", "--model", source))


@pytest.mark.parametrize("data", ["hf:someone/pairs", "hf-hub:someone/pairs", "https://hf.co/datasets/someone/pairs"])
def test_data_of_the_hub_says_what_to_write(run: tuple[Place, Run], data: str) -> None:
    said = as_error(run[1]("plan", "--model", BASE, "--data", data))
    assert "not what it holds. Write pairs:hf:someone/pairs for safe and unsafe counterparts" in said


MODELS = {
    "hub id": BASE,
    "archive of the hub": ARCHIVE,
    "sharded archives": SHARDS,
    "shards": LLAVA,
    "open_clip's files": f"open_clip:{LAION}",
    "tag": "open_clip:ViT-B-32/laion2b_s34b_b79k",
    "folder": "{laion}",
    "open_clip's folder": "open_clip:{laion}",
    "archive in a folder": "{bin}",
    "named checkpoint": "open_clip:ViT-B-32@{lone}",
    "prefix": "demo",
}


@pytest.mark.parametrize("kind", MODELS)
def test_apply_revert_and_diff_take_what_edit_takes_and_next_can_be_typed(
    run: tuple[Place, Run], kind: str, tmp_path: Path
) -> None:
    place, command = run
    model = MODELS[kind].format(laion=place.laion, lone=place.lone, bin=place.bin)
    edited = done(
        command(
            "edit", "--scorer", "magnitude", "--tau", 0.02, "--model", model, "--data", place.data, "-o", tmp_path / "p"
        )
    )
    applied = done(command("apply", tmp_path / "p", model, "-o", tmp_path / "m"))
    reverted = done(command("revert", tmp_path / "p", tmp_path / "m", "-o", tmp_path / "r"))
    assert "Equal" in done(command("diff", model, tmp_path / "r")).out
    different = command("diff", model, tmp_path / "m", "--json")
    assert different.code == 3 and different.json["differing"]
    if kind in ("hub id", "named checkpoint", "archive in a folder", "shards"):  # the printed commands, as printed
        ready = [line for ran in (edited, applied) for line in commands(ran)]
        assert ready
        for words in ready:
            if words[0] == "revert":
                words[-1] += "-again"
            if words[:2] == ["eval", "safeground"]:
                words += ["--limit", "2", "--no-controls", "--knowledge", "none", "--queries", "none"]
            done(command(*words))
        assert commands(reverted)[0][0] == "diff" and command(*commands(reverted)[0]).code == 3


def commands(ran: Ran) -> list[list[str]]:
    """The commands that a command names as the next."""
    lines = [line for line in ran.out.splitlines() if line.startswith("Next: editkit ")]
    return [shlex.split(line)[2:] for line in lines]


def test_a_file_alone_is_applied_to_and_no_evaluation_is_named(run: tuple[Place, Run], tmp_path: Path) -> None:
    place, command = run
    named = f"open_clip:ViT-B-32@{place.lone}"
    done(command("edit", "--scorer", "magnitude", "--tau", 0.02, "--model", named, "-o", tmp_path / "p"))
    converted = tmp_path / "alone.safetensors"
    for source in (place.lone, converted):
        output = tmp_path / source.stem
        applied = done(command("apply", tmp_path / "p", source, "-o", output))
        assert [words[0] for words in commands(applied)] == ["revert"]
        assert not list(output.glob("*.json"))
        done(command(*commands(applied)[0]))
        converted.write_bytes(next(Path(f"{output}-reverted").glob("*.safetensors")).read_bytes())
    assert "Equal" in done(command("diff", place.lone, converted)).out


def test_an_evaluation_of_a_model_alone_names_an_edit_of_it(run: tuple[Place, Run]) -> None:
    place, command = run
    ran = done(command("eval", "retrieval", "--model", BASE, "--data", place.data))
    [line] = [line for line in ran.err.splitlines() if "With other data: " in line]
    words = shlex.split(line.partition("With other data: ")[2].replace("NAME:PATH", f"pairs:{place.data}"))[1:]
    assert words[0] == "edit"
    record = json.loads(done(command("plan", *words[1:], "--json")).out)["recipe"]
    assert record["model"] == BASE and record["data"]["path"] == str(place.data)
