"""Tokenizer and image processor of a CLIP that has none of its own: those of the model that it was trained from.

Safe-CLIP's repositories hold a config and weights only. What turns images and captions into tensors is then the base
model's, found by the config: by the base's id, if the config names it, else by the shape of the vision tower.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from editkit.plugin import ModelError, fetch_files, image_notes, settings_digest
from editkit_clip.processing import tower_config

What = Literal["tokenizer", "image processor"]
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model")
FILES: Mapping[What, tuple[str, ...]] = {
    "tokenizer": (*VOCABULARIES, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "image processor": ("preprocessor_config.json", "processor_config.json"),
}
ESSENTIAL: Mapping[What, tuple[str, ...]] = {**FILES, "tokenizer": VOCABULARIES}
"""One of them has to be there: transformers would make up a tokenizer that knows no word."""
BASES = {
    (768, 16, 224): "openai/clip-vit-base-patch16",
    (768, 32, 224): "openai/clip-vit-base-patch32",
    (1024, 14, 224): "openai/clip-vit-large-patch14",
    (1024, 14, 336): "openai/clip-vit-large-patch14-336",
    (1280, 14, 224): "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    (1664, 14, 224): "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
}
"""By the vision tower's width, patch size and image size."""
BASE_ID = re.compile(r"\w[\w.-]*/clip-[\w.-]+", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A model's tokenizer or image processor: the folder with its files, and the base model if it is the base's.

    `folder` is None where there is none: an error for whoever needs it, and for nobody else.
    """

    what: What
    source: str
    folder: Path | None
    base: str = ""

    @property
    def place(self) -> Path:
        """The folder to load it from.

        Raises:
            ModelError: there is none; says which base was tried.
        """
        if self.folder is not None:
            return self.folder
        alike = f"the {self.what} files of {self.base or 'the model it was trained from'}"
        named = f"none of {', '.join(ESSENTIAL[self.what])} is there"
        if not self.base:
            raise ModelError(f"{self.source} has no {self.what}: {named}.", f"Copy {alike} beside its weights.")
        raise ModelError(
            f"{self.source} has no {self.what} ({named}), and that of {self.base} is not in the hub's cache and cannot "
            "be fetched.",
            f"Go online once, or copy {alike} beside its weights.",
        )

    @property
    def borrowed(self) -> bool:
        """Whether it is the base model's."""
        return self.folder is not None and bool(self.base)

    def save_into(self, folder: Path) -> None:
        """Copy the base's files into a folder that has none; files that are there stay as they are."""
        for name in FILES[self.what]:
            if self.borrowed and (self.place / name).is_file() and not (folder / name).exists():
                shutil.copyfile(self.place / name, folder / name)


def find_parts(
    source: str, folder: Path, config: Mapping[str, Any], wanted: Sequence[What] = tuple(FILES)
) -> tuple[Part, ...]:
    """Return what is wanted of tokenizer and image processor: a model's own, the base's (small files), or none."""
    missing = [what for what in wanted if not any((folder / name).is_file() for name in FILES[what])]
    base = base_of(source, config) if missing else ""
    names = [name for what in missing for name in FILES[what]]
    theirs = fetch_files(base, names, lambda found: all(_has(found, what) for what in missing)) if base else None

    def part(what: What) -> Part:
        if what in missing:
            return Part(what, source, theirs if theirs and _has(theirs, what) else None, base)
        return Part(what, source, folder if _has(folder, what) else None)  # half of one is not completed with another's

    return tuple(part(what) for what in wanted)


def digest_of(*parts: Part) -> str:
    """Return a digest of the files that decide how images and captions become tensors, wherever they come from."""
    return "-".join(settings_digest(part.folder, FILES[part.what]) if part.folder else "none" for part in parts)


def notes_on(*parts: Part) -> tuple[str, ...]:
    """Return the lines that tell the user whose tokenizer and image processor are used, where they are not its own."""
    notes = []
    borrowed = [part for part in parts if part.borrowed]
    if borrowed:
        named = " and ".join(part.what for part in borrowed)
        notes.append(f"{named} of {borrowed[0].base}: {borrowed[0].source} has none of its own")
    lacking = [part for part in parts if part.folder is None]
    if lacking:
        named = " and no ".join(part.what for part in lacking)
        base = f", and {lacking[0].base}'s cannot be had" if lacking[0].base else ""
        notes.append(f"no {named}: {lacking[0].source} has none of its own{base}")
    for part in parts:
        if part.what == "image processor" and part.folder:
            notes += image_notes(part.folder)
    return tuple(notes)


def base_of(source: str, config: Mapping[str, Any]) -> str:
    """Return the hub id of the CLIP that a model was trained from; empty where its config does not tell."""
    if config.get("model_type", "clip") != "clip":
        return ""  # of the same shape, but with another tokenizer
    for level in (config, tower_config(config, "text"), tower_config(config, "vision")):
        name = str(level.get("_name_or_path"))
        if BASE_ID.fullmatch(name) and name != source.partition("@")[0]:
            return name
    vision = {"hidden_size": 768, "patch_size": 32, "image_size": 224, **tower_config(config, "vision")}
    shape = (vision["hidden_size"], vision["patch_size"], vision["image_size"])
    return next((base for known, base in BASES.items() if known == shape), "")  # a size may be a list


def _has(folder: Path, what: What) -> bool:
    return any((folder / name).is_file() for name in ESSENTIAL[what])
