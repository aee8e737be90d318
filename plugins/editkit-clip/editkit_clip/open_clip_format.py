"""CLIP as open_clip stores it: a pretrained tag, a checkpoint with a model name, or a folder with its config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from editkit.checkpoint import Checkpoint
from editkit.conversion import converted, converted_folder
from editkit.errors import ModelError, did_you_mean
from editkit.models import local_folder, read_json
from editkit.protocols import ModelFiles
from editkit.site import Role, Site, Tower
from editkit.specs import NoOptions
from editkit_clip.open_clip_model import LoadedOpenClip
from editkit_clip.processing import library_errors, settings_digest

BLOCKS: Mapping[Tower, tuple[str, ...]] = {
    "text": ("transformer.resblocks", "text.transformer.resblocks"),
    "vision": ("visual.transformer.resblocks",),
}
PROJECTIONS: Mapping[Tower, tuple[str, ...]] = {
    "text": ("text_projection", "text.text_projection"),
    "vision": ("visual.proj",),
}
FUSED: tuple[Role, ...] = ("attn.q", "attn.k", "attn.v")
MODULES: Mapping[Role, str] = {"attn.out": "attn.out_proj", "mlp.in": "mlp.c_fc", "mlp.out": "mlp.c_proj"}
CONFIG = "open_clip_config.json"


class OpenClip:
    """The adapter for open_clip's CLIP models with transformer towers."""

    loaded: type[LoadedOpenClip] = LoadedOpenClip

    def __init__(self, options: NoOptions) -> None:
        self.options = options

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
            weights = converted(weights)
        settings = {"model_cfg": config, "preprocess_cfg": _preprocess_settings(preprocess, config)}
        return ModelFiles(source, Checkpoint.open(weights), settings, "open_clip", json.dumps(settings, sort_keys=True))

    def sites(self, files: ModelFiles) -> list[Site]:
        """List the linear maps of both towers; q, k and v are rows of one tensor, `proj` is stored transposed.

        Raises:
            ModelError: neither tower is a plain transformer.
        """
        found: list[Site] = []
        for tower in BLOCKS:
            for blocks in BLOCKS[tower]:
                layer = 0
                while f"{blocks}.{layer}.attn.in_proj_weight" in files.checkpoint.tensors:
                    found += _block_sites(files, tower, layer, f"{blocks}.{layer}")
                    layer += 1
            found += [_projection(files, tower, key) for key in PROJECTIONS[tower] if key in files.checkpoint.tensors]
        if not found:
            raise ModelError(
                f"{files.source} has no transformer blocks that this adapter knows.",
                "It edits open_clip's own text and vision transformers; for other towers install their adapter.",
            )
        return found

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return the same roles as for CLIP in transformers' format, where the towers have them."""
        towers = {site.tower for site in self.sites(files)}
        return tuple(t for t in ("text:attn.out", "vision:mlp.out") if t.split(":")[0] in towers)

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return a tower's tensors: `visual.*`, or all others but the scale and bias of logits."""
        return {
            key: key
            for key in files.checkpoint.tensors
            if key.startswith("visual.") == (tower == "vision") and not key.startswith("logit_")
        }

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedOpenClip:
        """Build the architecture and fill it from the safetensors file, every tensor matched."""
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transform import PreprocessCfg, image_transform_v2
        from safetensors.torch import load_file

        config = dict(files.config["model_cfg"])
        with library_errors(f"The open_clip model {files.source} cannot be loaded"):
            module = self.build(config)
            tensors: dict[str, Any] = {}
            for name in files.checkpoint.files:
                tensors |= load_file(files.checkpoint.root / name)
            tensors.pop("text.transformer.embeddings.position_ids", None)
            missing, unexpected = module.load_state_dict(tensors, strict=False)
            _refuse_mismatch(files.source, missing, unexpected)
            preprocess = image_transform_v2(PreprocessCfg(**files.config["preprocess_cfg"]), is_train=False)
            tokenizer = SimpleTokenizer(context_length=module.context_length)
        module = module.to(device=device, dtype=getattr(torch, dtype)).eval().requires_grad_(requires_grad=False)
        return self.loaded(module, tokenizer, preprocess, towers)

    def build(self, config: dict[str, Any]) -> Any:
        """Return the module of a `model_cfg`, with weights that mean nothing yet."""
        import open_clip

        custom = config.pop("custom_text", False) or "hf_model_name" in config.get("text_cfg", {})
        return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write `open_clip_config.json`, so that `create_model("local-dir:FOLDER")` loads the edited weights."""
        if not (folder / CONFIG).exists():
            (folder / CONFIG).write_text(json.dumps(dict(files.config), indent=2) + "\n", encoding="utf-8")


def _open_folder(source: str, folder: Path) -> ModelFiles:
    folder = converted_folder(folder, "open_clip_pytorch_model*.bin", "open_clip_model.safetensors")
    config = read_json(folder / CONFIG)
    if "model_cfg" not in config:
        raise ModelError(f"{folder / CONFIG} has no model_cfg.", "Check the folder, or download it again.")
    preprocess = _preprocess_settings(config.get("preprocess_cfg", {}), config["model_cfg"])
    settings = {"model_cfg": config["model_cfg"], "preprocess_cfg": preprocess}
    digest = settings_digest(folder, (CONFIG, "tokenizer.json", "tokenizer_config.json"))
    return ModelFiles(source, Checkpoint.open(folder), settings, "open_clip", digest)


def _preprocess_settings(given: Mapping[str, Any], model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Merge given settings into open_clip's defaults; the image size is always the architecture's, as in open_clip."""
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    size = {"size": model_cfg.get("vision_cfg", {}).get("image_size", 224)}
    return dict(merge_preprocess_dict(asdict(PreprocessCfg()), {**given, **size}))


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


def _block_sites(files: ModelFiles, tower: Tower, layer: int, block: str) -> list[Site]:
    tensors = files.checkpoint.tensors
    fused = f"{block}.attn.in_proj_weight"
    width = tensors[fused].shape[1]
    bias = f"{block}.attn.in_proj_bias"
    sites = [
        Site(
            tower,
            layer,
            role,
            f"{block}.attn",
            fused,
            (width, width),
            rows=(part * width, (part + 1) * width),
            bias=bias if bias in tensors else None,
        )
        for part, role in enumerate(FUSED)
    ]
    for role, name in MODULES.items():
        module = f"{block}.{name}"
        if f"{module}.weight" not in tensors:
            raise ModelError(
                f"{files.source} has no tensor {module}.weight.", "It is no CLIP checkpoint of open_clip's own towers."
            )
        rows, columns = tensors[f"{module}.weight"].shape
        own_bias = f"{module}.bias" if f"{module}.bias" in tensors else None
        sites.append(Site(tower, layer, role, module, f"{module}.weight", (rows, columns), bias=own_bias))
    return sites


def _projection(files: ModelFiles, tower: Tower, key: str) -> Site:
    inputs, outputs = files.checkpoint.tensors[key].shape
    return Site(tower, 0, "proj", "", key, (outputs, inputs), transposed=True, pooled=True)


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
