"""CLIP as open_clip stores it: a pretrained tag, a checkpoint with a model name, or a folder with its config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from editkit.plugin import (
    TOWERS,
    Checkpoint,
    ModelError,
    ModelFiles,
    Site,
    Tower,
    converted_file,
    converted_folder,
    did_you_mean,
    library_errors,
    local_folder,
    read_json,
    settings_digest,
)
from editkit_clip.open_clip_model import LoadedOpenClip
from editkit_clip.open_clip_text import CONFIG, TOKENIZER_FILES, make_tokenizer, named_tokenizer
from editkit_clip.open_clip_towers import tower_sites
from editkit_clip.published import assumptions


class OpenClip:
    """The adapter for open_clip's CLIP models with transformer towers."""

    loaded: type[LoadedOpenClip] = LoadedOpenClip

    def open(self, source: str) -> ModelFiles:
        """Resolve `open_clip:NAME/TAG`, `open_clip:NAME@PATH` or a folder with `open_clip_config.json`.

        Raises:
            ModelError: no such architecture, tag or file.
        """
        import open_clip

        name = source.removeprefix("open_clip:")
        preprocess: dict[str, Any] = {}
        if "@" in name and not Path(name).exists():
            name, _, given = name.partition("@")
            weights = Path(given).expanduser()
            if not weights.is_file():
                raise ModelError(
                    f"There is no checkpoint file {given}.", "Give open_clip:NAME@PATH with an existing file."
                )
            preprocess = _published_settings(name)
        elif Path(name).is_dir() or "open_clip:" not in source:
            return _open_folder(source, local_folder(name))
        else:
            name, _, tag = name.partition("/")
            weights, preprocess = _pretrained(name, tag)
        config = open_clip.get_model_config(name)
        if config is None:
            known = open_clip.list_models()
            raise ModelError(
                f"open_clip has no architecture '{name}'.{did_you_mean(name, known)}",
                "List them with python -c 'import open_clip; print(open_clip.list_models())'",
            )
        if preprocess.get("quick_gelu"):
            config = {**config, "quick_gelu": True}
        if weights.suffix != ".safetensors":
            weights = converted_file(weights)
        settings = {"model_cfg": config, "preprocess_cfg": _preprocess_settings(preprocess, config)}
        digest = json.dumps([settings, named_tokenizer(config)], sort_keys=True)
        unusual = "@" in source and settings["preprocess_cfg"] != _preprocess_settings({}, config)
        notes: tuple[str, ...] = (f"images are prepared as for the published weights of {name}",) if unusual else ()
        notes += assumptions(name, settings) if "@" in source else ()
        return ModelFiles(source, Checkpoint.open(weights), settings, "open_clip", digest, notes=notes)

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
        from safetensors.torch import load_file

        tokenizer = make_tokenizer(files) if "text" in towers else None  # first: its absence is known at once
        config = deepcopy(files.config["model_cfg"])
        config["vision_cfg"]["timm_model_pretrained"] = False  # else weights are downloaded that are then replaced
        config["text_cfg"]["hf_model_pretrained"] = False
        with library_errors(f"The open_clip model {files.source} cannot be loaded"):
            module = self.build(config)
            tensors: dict[str, Any] = {}
            for name in files.checkpoint.files:
                tensors |= load_file(files.checkpoint.root / name)
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


def _open_folder(source: str, folder: Path) -> ModelFiles:
    folder = converted_folder(folder, "open_clip_pytorch_model*.bin", "open_clip_model.safetensors")
    config = read_json(folder / CONFIG)
    if "model_cfg" not in config:
        raise ModelError(f"{folder / CONFIG} has no model_cfg.", "Check the folder, or download it again.")
    preprocess = _preprocess_settings(config.get("preprocess_cfg", {}), config["model_cfg"])
    settings = {"model_cfg": config["model_cfg"], "preprocess_cfg": preprocess}
    digest = settings_digest(folder, (CONFIG, *TOKENIZER_FILES))
    return ModelFiles(source, Checkpoint.open(folder), settings, "open_clip", digest)


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


def _pretrained(name: str, tag: str) -> tuple[Path, dict[str, Any]]:
    """Return the downloaded weights of a tag and its preprocessing settings."""
    import open_clip
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    settings = get_pretrained_cfg(name, tag) if tag else None
    if not settings:
        tags = list_pretrained_tags_by_model(name)
        known = tags or open_clip.list_models()
        raise ModelError(
            f"open_clip has no weights '{name}/{tag}'.{did_you_mean(tag if tags else name, known)}",
            f"Tags of {name}: {', '.join(tags)}." if tags else "Write open_clip:NAME/TAG or open_clip:NAME@PATH.",
        )
    try:
        return Path(download_pretrained(settings)), dict(settings)
    except Exception as error:  # whatever the network raises
        raise ModelError(
            f"The weights open_clip:{name}/{tag} cannot be downloaded: {type(error).__name__}: {error}".partition("\n")[
                0
            ],
            "Go online, or give a file: open_clip:NAME@PATH",
        ) from error


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
