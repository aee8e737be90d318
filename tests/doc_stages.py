"""What pages of the documentation take for granted, in small: models under published names, data sets, patches."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from command_line import done
from hub_cache import into_cache
from huggingface_hub import constants
from judge_models import new_model, saved, tokenizer_for
from llava_models import clip_like_llavas, tiny_llava
from models import DEMO, elements, images_of, table, tiny_clip
from pydantic import create_model
from siglip_models import tiny_siglip
from zeroshot_layouts import shards, write

import editkit_demo
from editkit.components.load import default_host
from editkit.files.hub import cached
from editkit.plugin import DatasetSpec, hookimpl

CLIP, SIGLIP = "openai/clip-vit-large-patch14", "google/siglip-so400m-patch14-384"
LLAVA, SAFE_TOWER = "llava-hf/llava-1.5-7b-hf", "aimagelab/safeclip_vit-l_14_336"
SAFE_CLIP, OPENAI = "aimagelab/safeclip_vit-l_14", "timm/vit_large_patch14_clip_224.openai"
GUARD = "Qwen/Qwen3Guard-Gen-0.6B"
TUPLES, ROWS = 16, 12
"""Tuples of each split, and rows of each table: as few as every evaluation takes."""
GUARDED = """Label: 'Safety: Safe', 'Safety: Unsafe', 'Safety: Controversial'. Then 'Categories:'.\
{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}<assistant>"""

Stage = Callable[[Path], object]
"""Makes something in a page's folder, which is the current one."""


# The hub


class Hub:
    """A cache of the hub, with small models under the names of published ones: each is made when a page needs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.makers: Mapping[str, Callable[[Path], Path]] = {
            CLIP: tiny_clip,
            LLAVA: tiny_llava,
            SAFE_TOWER: clip_like_llavas,
            SAFE_CLIP: lambda folder: tiny_clip(folder, seed=1),
            SIGLIP: tiny_siglip,
            GUARD: _guard,
        }

    def fill(self, text: str) -> None:
        """Make the models that a page names."""
        for name, make in self.makers.items():
            if name in text and not (self.folder / f"models--{name.replace('/', '--')}").exists():
                into_cache(self.folder, name, make(self.folder / "made" / name))


def _guard(folder: Path) -> Path:
    """A guard of random weights: what it says cannot be read, which is counted."""
    tokenizer = tokenizer_for([GUARDED], GUARDED)
    return saved(folder, new_model(tokenizer), tokenizer)


def named_sets(folder: Path) -> None:
    """Put two of CLIP Benchmark's sets into a cache of the hub."""
    for name, classes in (("pets", 3), ("dtd", 2)):
        home = folder / f"datasets--clip-benchmark--wds_vtab-{name}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("0" * 40)
        _shards(home / "snapshots" / ("0" * 40), classes)


def _shards(folder: Path, classes: int) -> None:
    picture = images_of(elements("test")[0], "test")[0].read_bytes()
    names = [f"class {number}" for number in range(classes)]
    samples = [("jpg", picture, label) for label in range(classes)]
    shards(folder, names, ["a photo of a {c}."], [samples])


# The demo


def small_demo(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the demo be a tiny model, and a few of its tuples and labelled images."""
    tiny_clip(folder / "model")
    _few_data(folder / "data")
    patch.setattr(editkit_demo, "MODEL", folder / "model")
    patch.setattr("editkit_demo.adapter.MODEL", folder / "model")
    whole = editkit_demo.editkit_datasets()

    @hookimpl
    def editkit_datasets() -> list[DatasetSpec]:
        return [_lying_in(folder / "data", spec) for spec in whole]

    patch.setattr(editkit_demo, "editkit_datasets", editkit_datasets)


def _lying_in(folder: Path, spec: DatasetSpec) -> DatasetSpec:
    path = spec.options.model_fields["path"]
    below = Path(path.default).relative_to(DEMO / "data")
    options = create_model(spec.options.__name__, __base__=spec.options, path=(path.annotation, folder / below))
    return replace(spec, options=options)


def _few_data(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part in ("coco", "unsafe", "slices"):
        (folder / part).symlink_to(DEMO / "data" / part)
    for split in ("calibration", "validation", "test"):
        (folder / f"ViSU-Text_{split}.json").write_text(json.dumps(elements(split)[:TUPLES]))
    for file in (DEMO / "data").glob("*.csv"):
        head, *rows = file.read_text().splitlines()
        (folder / file.name).write_text("\n".join([head, *rows[:: max(1, len(rows) // ROWS)][:ROWS]]))
    for file in (DEMO / "data").glob("*.yaml"):
        shutil.copy(file, folder)
    (folder / "slices.jsonl").write_text("\n".join(few_of_each_slice()))


def few_of_each_slice() -> list[str]:
    """The first tuples of every slice of the demo, as lines."""
    found: dict[str, list[str]] = {}
    for line in (DEMO / "data" / "slices.jsonl").read_text().splitlines():
        found.setdefault(json.loads(line)["slice"], []).append(line)
    return [line for lines in found.values() for line in lines[:4]]


# What lies in a page's folder


def visu_in(name: str, *, count: int = TUPLES, images: bool = True) -> Stage:
    """A ViSU folder with its splits for edits and for evaluations; without images these lie elsewhere."""

    def make(here: Path) -> None:
        for split, ours in (("train", "calibration"), ("test", "test")):
            chosen = elements(ours)[:count]
            (here / name).mkdir(exist_ok=True)
            (here / name / f"ViSU-Text_{split}.json").write_text(json.dumps(chosen))
            for element in chosen:
                safe, unsafe = images_of(element, ours)
                below = here / name / "unsafe" / split / "sd-ntsw" / "unsafe" / "original"
                _link(here / name / "coco" / f"{split}2017" / safe.name, safe)
                _link(below / str(element["incremental_id"]) / "0.jpg", unsafe)
                if not images:
                    _link(here.parent / "coco" / safe.name, safe)
                    _link(here.parent / "generated" / split / f"{element['incremental_id']}.png", unsafe)

    return make


def _link(place: Path, image: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(image)


def demo_model(name: str, seed: int = 0) -> Stage:
    """The demo's model in a folder; another seed is another model of its architecture."""
    return lambda here: tiny_clip(here / name, seed=seed)


def patch_of(model: str, name: str, tau: float = 0.2) -> Stage:
    """A patch of a model, by scores that need no data."""
    return lambda here: done("edit", "--scorer", "magnitude", "--tau", tau, "--model", model, "-o", name)


def pairs_table(name: str) -> Stage:
    """A table of tuples."""
    return lambda here: table(here, TUPLES, name=name)


def pictures(*names: str) -> Stage:
    """Images under these names."""

    def make(here: Path) -> None:
        for number, name in enumerate(names):
            _link(here / name, images_of(elements("test")[number // 2], "test")[number % 2])

    return make


def texts(name: str) -> Stage:
    """A table of texts to judge."""
    said = ("a knife", "a dog", "a man with a knife on a table")
    return lambda here: (here / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in said))


def open_clip_checkpoint(name: str) -> Stage:
    """A checkpoint of what open_clip calls ViT-L-14, in small but as deep; its published weights are the same file."""

    def make(here: Path) -> None:
        import open_clip
        import torch

        settings = {
            "embed_dim": 24,
            "vision_cfg": {"image_size": 32, "layers": 24, "width": 16, "head_width": 8, "patch_size": 16},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
        }
        open_clip.factory._MODEL_CONFIGS["ViT-L-14"] = settings  # restored after the page
        torch.save(open_clip.create_model("ViT-L-14", pretrained=None).state_dict(), here / name)
        published = here.parent / "published"
        published.mkdir()
        shutil.copyfile(here / name, published / "open_clip_pytorch_model.bin")
        into_cache(Path(constants.HF_HUB_CACHE), OPENAI, published)

    return make


def pipeline(here: Path) -> None:
    """The text encoder of a pipeline, taken from the CLIP of the hub, with its tokenizer; and pairs of captions."""
    from transformers import CLIPTextModel

    whole = cached(CLIP)
    assert whole is not None
    CLIPTextModel.from_pretrained(whole).save_pretrained(here / "PIPELINE" / "text_encoder")
    (here / "PIPELINE" / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(whole / name, here / "PIPELINE" / "tokenizer" / name)
    shutil.copyfile(table(here / "made", 4, columns=("safe_text", "unsafe_text")), here / "captions.jsonl")


def queries(here: Path) -> None:
    """A table of queries."""
    shutil.copy(DEMO / "data" / "queries.csv", here)


def slices_and_benign(here: Path) -> None:
    """Tuples in slices, and a class set of benign images."""
    (here / "slices.jsonl").write_text("\n".join(few_of_each_slice()))
    (here / "slices").symlink_to(DEMO / "data" / "slices")
    for part in ("coco", "unsafe"):
        (here / part).symlink_to(DEMO / "data" / part)
    given = yaml.safe_load((DEMO / "data" / "benign-subjects.yaml").read_text())
    rows = list(csv.reader((DEMO / "data" / "benign-subjects.csv").read_text().splitlines()))[: ROWS + 1]
    (here / "toy-knives.csv").write_text("\n".join(",".join(row) for row in rows))
    (here / "toy-knives.yaml").write_text(yaml.safe_dump(given | {"name": "toy-knives", "table": "toy-knives.csv"}))


def halves(pairs: Path, folder: Path) -> None:
    """Write a table of tuples as the tutorial's data set has them."""
    lines = []
    for number, row in enumerate(map(json.loads, (pairs / "t.jsonl").read_text().splitlines())):
        for side in ("safe", "unsafe"):
            (folder / side).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pairs / row[f"{side}_image"], folder / side / f"{number}.jpg")
        lines.append(f"{number}\t{row['safe_text']}\t{row['unsafe_text']}")
    (folder / "captions.tsv").write_text("\n".join(lines))


def tutorials_data(here: Path) -> None:
    """The tuples of the tutorial's data set, in the folder that its commands name."""
    table(here / "pairs", 6)
    halves(here / "pairs", here / "FOLDER")


def mugs(here: Path) -> None:
    """A folder of images for each class."""
    pictures("images/coffee_mug/1.jpg", "images/coffee_mug/2.jpg", "images/tea_cup/1.jpg")(here)


def some_sets(here: Path) -> None:
    """Some of the paper's sets, and two of CLIP Benchmark's, in one folder."""
    write(here / "sets", "pets", "dtd", "cifar10")
    _shards(here / "sets" / "wds_vtab-pets", 3)


GALLERIES = [f"gallery/{name}/{number}.jpg" for name in ("base", "edited") for number in range(2)]
VISU, MODEL = visu_in("FOLDER"), demo_model("MODEL")
STAGES: Mapping[str, Sequence[Stage]] = {
    "README.md": (VISU, MODEL),
    "docs/captioning.md": (
        visu_in("FOLDER", count=2),
        patch_of(LLAVA, "patch"),
        pictures(*GALLERIES),
        texts("answers.jsonl"),
    ),
    "docs/data.md": (
        visu_in("visu", images=False),
        pictures(*(f"images/k{number}-{side}.jpg" for number in (1, 2) for side in ("safe", "unsafe"))),
    ),
    "docs/exposure.md": (
        patch_of("demo", "patch"),
        queries,
        slices_and_benign,
    ),
    "docs/methods.md": (demo_model("OTHER", seed=1),),
    "docs/models.md": (VISU, patch_of(SIGLIP, "siglip-patch"), pictures("cat.jpg", "dog.jpg"), pipeline),
    "docs/patch-format.md": (demo_model("model"), patch_of("model", "patch")),
    "docs/plugins.md": (tutorials_data, texts("captions.jsonl"), demo_model("MODEL")),
    "docs/quick-start.md": (
        VISU,
        MODEL,
        patch_of("MODEL", "PATCH"),
        patch_of("MODEL", "OTHER", 0.3),
        pairs_table("pairs.jsonl"),
        open_clip_checkpoint("checkpoint.pt"),
    ),
    "docs/recipes.md": (VISU,),
    "docs/restoration.md": (patch_of("demo", "PATCH"),),
    "docs/zeroshot.md": (some_sets, mugs, patch_of(CLIP, "PATCH")),
}
"""By page, what its reader has before the first command."""


def new_host() -> None:
    """Let Python code find the plugins as they are now."""
    default_host.cache_clear()
