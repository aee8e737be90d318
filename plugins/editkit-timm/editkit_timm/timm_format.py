"""Image encoders as timm stores them: a folder or hub id with its config, or a checkpoint and its architecture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch

from editkit.plugin import (
    TRANSFORMERS,
    Checkpoint,
    ModelError,
    ModelFiles,
    Site,
    Tower,
    library_errors,
    model_folder,
    open_file,
    open_weights,
    read_json,
    read_tensors,
)
from editkit_timm.architecture import require_known, vit_shapes
from editkit_timm.timm_model import LoadedTimm
from editkit_timm.vit_sites import vit_sites

CONFIG = "config.json"
NO_TEXT = "it is an image encoder of timm, which has no text tower"


class TimmEncoder:
    """The adapter for timm's vision transformers: one tower, whose embedding is what timm's own classifier sees."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder or hub id with timm's `config.json`, or `timm:NAME@PATH`; read headers and config only.

        Raises:
            ModelError: no such folder, file or architecture.
        """
        name = source.removeprefix("timm:")
        if name != source and not Path(name).expanduser().is_dir():
            return _open_file(source, name)
        folder = model_folder(name)
        config = read_json(folder.root / CONFIG)
        if not isinstance(config.get("pretrained_cfg"), dict) or not isinstance(config.get("architecture"), str):
            raise ModelError(
                f"{folder.root / CONFIG} names no architecture of timm with its pretrained_cfg.",
                "Check the folder, or download it again.",
            )
        shapes = partial(vit_shapes, source, config["architecture"], _arguments(config))
        files = _files(source, open_weights(folder, TRANSFORMERS, shapes), config)
        return replace(files, commit=folder.commit, notes=folder.notes())

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map from the first block to the pooled features; the classifier behind them is none.

        Raises:
            ModelError: the architecture is no plain vision transformer.
        """
        keys = self.tensors(files, "vision").values()
        return vit_sites(files.source, {key: files.checkpoint.tensors[key] for key in keys})

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return the role that the paper edits in CLIP's vision tower; it publishes none for timm."""
        return ("vision:mlp.out",)

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return the tensors that the pooled features are computed from: all that the architecture has but its head."""
        if tower == "text":
            return {}
        names = vit_shapes(files.source, files.config["architecture"], _arguments(files.config))
        return {key: key for key in files.checkpoint.tensors if key in names and not key.startswith("head")}

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedTimm:
        """Build the architecture as timm does and fill it from the checkpoint, every tensor matched.

        Raises:
            ModelError: the text tower is asked for; tensors are missing or do not fit; there is no pooled output.
        """
        if "text" in towers:
            raise ModelError(f"{files.source} has no text tower to load: {NO_TEXT}.", "Ask for the vision tower alone.")
        with library_errors(f"The timm model {files.source} cannot be loaded"):
            module = _built(files)
            _fill(files.source, module, read_tensors(files.checkpoint))
        module = module.to(device=device, dtype=getattr(torch, dtype)).eval().requires_grad_(requires_grad=False)
        return LoadedTimm(module, towers)

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write `config.json`, so that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads the weights."""
        if not (folder / CONFIG).exists():
            (folder / CONFIG).write_text(json.dumps(dict(files.config), indent=2) + "\n", encoding="utf-8")


def _open_file(source: str, name: str) -> ModelFiles:
    """Resolve `NAME@PATH`: an architecture, with a tag or without, and the file of its weights."""
    name, _, given = name.partition("@")
    if not given:
        raise ModelError(
            f"{source} names an architecture of timm, but no weights.",
            f"Write timm:{name}@PATH for a checkpoint file, or give the hub id timm/{name}.",
        )
    weights = Path(given).expanduser()
    if not weights.is_file():
        raise ModelError(f"There is no checkpoint file {given}.", "Give timm:NAME@PATH with an existing file.")
    architecture = name.partition(".")[0]
    require_known(source, architecture)
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ModelError(
            f"timm {timm.__version__} knows no weights '{name}', so not how images are prepared for them.",
            f"Write timm:{architecture}@PATH, or one of: {', '.join(timm.list_pretrained(architecture + '.*')[:5])}",
        ) from error
    config = {"architecture": architecture, "pretrained_cfg": known.to_dict(remove_source=True) if known else {}}
    config = json.loads(json.dumps(config))
    checkpoint = open_file(weights, partial(vit_shapes, source, architecture, _arguments(config)))
    head = checkpoint.tensors.get("head.weight")
    return _files(source, checkpoint, {**config, "num_classes": head.shape[0] if head else 0})


def _files(source: str, checkpoint: Checkpoint, config: dict[str, Any]) -> ModelFiles:
    settings = json.dumps(config, sort_keys=True)
    return ModelFiles(source, checkpoint, config, "timm", settings, no_joint_space=NO_TEXT)


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `timm.create_model` takes beyond the architecture's name."""
    given = dict(config["pretrained_cfg"])
    if "num_classes" in config:
        given["num_classes"] = config["num_classes"]
    return {"pretrained_cfg": given, **config.get("model_args", {})}


def _built(files: ModelFiles) -> Any:
    root, config = files.checkpoint.root, files.config
    if not files.checkpoint.alone:  # timm's own reading of its config, which mends what older releases wrote
        return timm.create_model(f"local-dir:{root}", pretrained=False)
    return timm.create_model(config["architecture"], pretrained=False, **_arguments(config))


def _fill(source: str, module: Any, tensors: Mapping[str, Any]) -> None:
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    # SigLIP's towers that pool by a mean are published with the pooling head they do not use
    unexpected = [key for key in unexpected if not key.startswith("attn_pool.")]
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"holds {unexpected[0]}, which the architecture has not"
        raise ModelError(
            f"{source} does not fit its architecture: it {what} ({len(missing)} missing, {len(unexpected)} unknown).",
            "Give weights with timm's own names, and the architecture they were saved from.",
        )
    if not module.global_pool:
        raise ModelError(
            f"{source} is built without pooling (global_pool ''), so it has no embedding of an image.",
            "Set global_pool under model_args in its config.json to how it is meant to be pooled.",
        )
