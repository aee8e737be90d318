"""CLIP as open_clip stores it: a pretrained tag, a checkpoint with a model name, or a folder with its config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from editkit.plugin import (
    OPEN_CLIP,
    TOWERS,
    ModelError,
    ModelFiles,
    ModelFolder,
    Site,
    Tower,
    did_you_mean,
    hub_id,
    library_errors,
    model_folder,
    open_file,
    open_weights,
    read_json,
    read_tensors,
    settings_digest,
    without_memory,
)
from editkit_clip.open_clip_model import LoadedOpenClip
from editkit_clip.open_clip_tags import open_tag, tag_settings
from editkit_clip.open_clip_text import CONFIG, TOKENIZER_FILES, make_tokenizer, named_tokenizer
from editkit_clip.open_clip_towers import tower_sites
from editkit_clip.published import assumptions


class OpenClip:
    """The adapter for open_clip's CLIP models with transformer towers."""

    loaded: type[LoadedOpenClip] = LoadedOpenClip

    def open(self, source: str) -> ModelFiles:
        """Resolve `open_clip:NAME/TAG`, `open_clip:NAME@PATH`, a folder with `open_clip_config.json` or a hub id.

        Raises:
            ModelError: no such architecture, tag or file.
        """
        named = source.removeprefix("open_clip:")
        name, _, given = named.partition("@")
        if Path(named).expanduser().is_dir() or named == source or (hub_id(named) and not _is_tag(named)):
            return self._open_folder(source, model_folder(named))
        if given:
            return self._open_file(source, name, Path(given).expanduser())
        name, _, tag = named.partition("/")
        return self._open_tag(source, name, tag)

    def _open_folder(self, source: str, folder: ModelFolder) -> ModelFiles:
        config = _folder_config(source, folder)
        preprocess = _preprocess_settings(config.get("preprocess_cfg", {}), config["model_cfg"])
        settings = {"model_cfg": config["model_cfg"], "preprocess_cfg": preprocess}
        checkpoint = open_weights(folder, OPEN_CLIP, partial(self._outline, settings["model_cfg"]))
        digest = settings_digest(folder.root, (CONFIG, *TOKENIZER_FILES))
        return ModelFiles(source, checkpoint, settings, "open_clip", digest, commit=folder.commit, notes=folder.notes())

    def _open_file(self, source: str, name: str, weights: Path) -> ModelFiles:
        if not weights.is_file():
            raise ModelError(
                f"There is no checkpoint file {weights}.", "Give open_clip:NAME@PATH with an existing file."
            )
        config, published = _architecture(name), _published_settings(name)
        settings = {"model_cfg": config, "preprocess_cfg": _preprocess_settings(published, config)}
        unusual = settings["preprocess_cfg"] != _preprocess_settings({}, config)
        prepared = (f"images are prepared as for the published weights of {name}",) if unusual else ()
        notes = (*prepared, *assumptions(name, settings))
        checkpoint = open_file(weights, partial(self._outline, config))
        return ModelFiles(source, checkpoint, settings, "open_clip", _lone_digest(settings), notes=notes)

    def _open_tag(self, source: str, name: str, tag: str) -> ModelFiles:
        published = tag_settings(name, tag)
        config = _architecture(name)
        if published.get("quick_gelu"):
            config = {**config, "quick_gelu": True}
        settings = {"model_cfg": config, "preprocess_cfg": _preprocess_settings(published, config)}
        checkpoint, commit = open_tag(name, tag, published, partial(self._outline, config))
        return ModelFiles(source, checkpoint, settings, "open_clip", _lone_digest(settings), commit=commit)

    def _outline(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of an architecture's tensors by key, without weights."""
        with without_memory():
            module = self.build(_untrained(config))
        return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}

    def sites(self, files: ModelFiles) -> list[Site]:
        """List the linear maps of both towers.

        Raises:
            ModelError: a tower is none of open_clip's own transformers or timm's vision transformers.
        """
        return [site for tower in TOWERS for site in tower_sites(files, tower)]

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return the same roles as for CLIP in transformers' format."""
        return ("text:attn.out", "vision:mlp.out")

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return a tower's tensors: `visual.*`, or all others but the scale and bias of logits."""
        return {
            key: key
            for key in files.checkpoint.tensors
            if key.startswith("visual.") == (tower == "vision") and not key.startswith("logit_")
        }

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedOpenClip:
        """Build the architecture and fill it from the safetensors file, every tensor matched."""
        from open_clip.transform import PreprocessCfg, image_transform_v2

        tokenizer = make_tokenizer(files) if "text" in towers else None  # first: its absence is known at once
        with library_errors(f"The open_clip model {files.source} cannot be loaded"):
            module = self.build(_untrained(files.config["model_cfg"]))
            tensors: dict[str, Any] = read_tensors(files.checkpoint)
            tensors.pop("text.transformer.embeddings.position_ids", None)
            missing, unexpected = module.load_state_dict(_with_logits_of(module, tensors), strict=False)
            _refuse_mismatch(files.source, missing, unexpected)
            preprocess = image_transform_v2(PreprocessCfg(**files.config["preprocess_cfg"]), is_train=False)
        module = module.to(device=device, dtype=getattr(torch, dtype)).eval().requires_grad_(requires_grad=False)
        return self.loaded(module, tokenizer, preprocess, towers)

    def build(self, config: dict[str, Any]) -> Any:
        """Return the module of a `model_cfg`, with weights that mean nothing yet."""
        import open_clip

        custom = config.pop("custom_text", False) or "hf_model_name" in config.get("text_cfg", {})
        return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write `open_clip_config.json` and a tokenizer of Hugging Face's, where a checkpoint is alone.

        `open_clip.create_model("local-dir:FOLDER")` then loads the edited weights, and `get_tokenizer` the tokenizer.

        Raises:
            ModelError: the tokenizer cannot be had.
        """
        if not (folder / CONFIG).exists():
            (folder / CONFIG).write_text(json.dumps(dict(files.config), indent=2) + "\n", encoding="utf-8")
        if files.checkpoint.alone and files.config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
            make_tokenizer(files).save_pretrained(folder)


def _untrained(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a `model_cfg` by which no library downloads weights, which would then be replaced."""
    copy = deepcopy(dict(config))
    copy["vision_cfg"]["timm_model_pretrained"] = False
    copy["text_cfg"]["hf_model_pretrained"] = False
    return copy


def _is_tag(named: str) -> bool:
    """Whether NAME/TAG is meant for open_clip's own weights, since it knows one of the two, and no model of the hub."""
    import open_clip

    name, _, tag = named.partition("/")
    return name in open_clip.list_models() or any(tag == known for _, known in open_clip.list_pretrained())


def _architecture(name: str) -> dict[str, Any]:
    """Return the `model_cfg` of an architecture.

    Raises:
        ModelError: open_clip has none of the name; names the closest.
    """
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        known = open_clip.list_models()
        raise ModelError(
            f"open_clip has no architecture '{name}'.{did_you_mean(name, known)}",
            "List them with python -c 'import open_clip; print(open_clip.list_models())'",
        )
    return config


def _lone_digest(settings: Mapping[str, Any]) -> str:
    """Return what decides how the inputs of a checkpoint without a folder become tensors."""
    return json.dumps([settings, named_tokenizer(settings["model_cfg"])], sort_keys=True)


def _folder_config(source: str, folder: ModelFolder) -> dict[str, Any]:
    if not folder.holds(CONFIG):
        raise ModelError(
            f"{source} is no folder of open_clip's: it has no {CONFIG}.",
            "Give its path or hub id alone, without open_clip:, if it is of another library's format.",
        )
    config = read_json(folder.root / CONFIG)
    if "model_cfg" not in config:
        raise ModelError(f"{folder.root / CONFIG} has no model_cfg.", "Check the folder, or download it again.")
    return config


def _preprocess_settings(given: Mapping[str, Any], model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Merge given settings into open_clip's defaults; the image size is always the architecture's, as in open_clip."""
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    size = {"size": model_cfg.get("vision_cfg", {}).get("image_size", 224)}
    return dict(merge_preprocess_dict(asdict(PreprocessCfg()), {**given, **size}))


def _published_settings(name: str) -> dict[str, Any]:
    """Return how images are prepared for all published weights of an architecture; a checkpoint does not say it."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    known = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {key: known[0].get(key) for key in keys if known and all(one.get(key) == known[0].get(key) for one in known)}


def _with_logits_of(module: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Give scale and bias of logits the architecture's shape, [] or [1]; a model trained without a bias has 0."""
    for key in ("logit_scale", "logit_bias"):
        live = getattr(module, key, None)
        if live is not None and (key in tensors or key == "logit_bias"):
            tensors[key] = tensors.get(key, torch.zeros(live.shape)).reshape(live.shape)
    return tensors


def _refuse_mismatch(source: str, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    harmless = {"attn_mask", "logit_bias", "input_resolution", "context_length", "vocab_size"}
    missing = [key for key in missing if key not in harmless]
    unexpected = [key for key in unexpected if key not in harmless]
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"holds {unexpected[0]}, which the architecture has not"
        raise ModelError(
            f"{source} does not fit its architecture: it {what} ({len(missing)} missing, {len(unexpected)} unknown).",
            "Check the architecture's name; a checkpoint does not say it itself.",
        )
