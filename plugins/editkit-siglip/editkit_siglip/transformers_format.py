"""SigLIP and SigLIP 2 as transformers stores them: `SiglipModel` and `Siglip2Model` folders and hub ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from editkit.plugin import (
    TRANSFORMERS,
    ModelError,
    ModelFiles,
    Role,
    Site,
    Tower,
    fill_architecture,
    image_notes,
    library_errors,
    model_folder,
    open_weights,
    outline,
    promised,
    read_json,
    require_ids_fit,
    require_pixels_fit,
    saved_dtype,
    settings_digest,
)
from editkit_clip.processing import tower_config
from editkit_clip.transformers_format import LAYERS, block_sites
from editkit_siglip.transformers_model import LoadedSiglip

TEXT_HEAD, VISION_HEAD = "text_model.head", "vision_model.head"
FUSED: tuple[Role, ...] = ("pool.attn.q", "pool.attn.k", "pool.attn.v")
HEAD_MODULES: Mapping[Role, str] = {
    "pool.attn.out": "attention.out_proj",
    "pool.mlp.in": "mlp.fc1",
    "pool.mlp.out": "mlp.fc2",
}
VOCABULARIES = ("spiece.model", "tokenizer.json", "tokenizer.model")


class TransformersSiglip:
    """The adapter for `model_type: siglip` (SigLIP, and SigLIP 2 of one resolution) and `siglip2` (NaFlex)."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder or hub id; read headers and configuration only."""
        folder = model_folder(source)
        config = read_json(folder.root / "config.json")
        shapes = partial(outline, _architecture(config), config)
        checkpoint = open_weights(folder, TRANSFORMERS, shapes, saved_dtype(config))
        digest, notes = settings_digest(folder.root), (*folder.notes(), *image_notes(folder.root))
        return ModelFiles(source, checkpoint, config, "siglip", digest, commit=folder.commit, notes=notes)

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map of both towers: the blocks', and those of the heads that pool.

        Captions are pooled at the last position, which `proj` maps into the shared space. Images are pooled by an
        attention with one learned query: its keys and values see all patches, its other maps one token per image.
        """
        return [site for tower in LAYERS for site in tower_sites(files, tower)]

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return the roles that the paper edits in CLIP; it publishes none for SigLIP."""
        return ("text:attn.out", "vision:mlp.out")

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return a tower's tensors, its head included, which are called here as in the architecture."""
        return {key: key for key in files.checkpoint.tensors if key.startswith(f"{tower}_model.")}

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedSiglip:
        """Load the model in evaluation mode, with only the towers asked for kept in memory."""
        from transformers import AutoTokenizer
        from transformers.models.auto.image_processing_auto import AutoImageProcessor

        folder = files.checkpoint.root
        if "text" in towers and not any((folder / name).is_file() for name in VOCABULARIES):
            raise ModelError(  # transformers would make up a tokenizer that knows no word
                f"{files.source} has no tokenizer: none of {', '.join(VOCABULARIES)} is there.",
                "Copy the tokenizer files of the model it was trained from into the folder.",
            )
        with library_errors(f"The SigLIP model {files.source} cannot be loaded"):
            config = _architecture(files.config).config_class.from_dict(dict(files.config))
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False) if "text" in towers else None
            images = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False) if "vision" in towers else None
            _require_fit(files.source, config, tokenizer, images)
            model = fill_architecture(_architecture(files.config), files, dtype=dtype)
        if "text" not in towers:
            model.text_model = None
        if "vision" not in towers:
            model.vision_model = None
        return LoadedSiglip(model.to(device).eval().requires_grad_(requires_grad=False), tokenizer, images, towers)

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write nothing: a transformers folder is whole as it is."""


def _architecture(config: Mapping[str, Any]) -> Any:
    """Return the class of transformers, by the config's `model_type`."""
    from transformers import Siglip2Model, SiglipModel

    return Siglip2Model if config.get("model_type") == "siglip2" else SiglipModel


def _require_fit(source: str, config: Any, tokenizer: Any, images: Any) -> None:
    """Check tokenizer and image processor against the model; NaFlex takes images of any size, in patches of its own."""
    if tokenizer is not None:
        require_ids_fit(source, tokenizer, config.text_config.vocab_size)
        if tokenizer.pad_token_id is None:
            raise ModelError(
                f"The tokenizer of {source} has no pad_token, and SigLIP fills up every caption.",
                "Copy the tokenizer files of the model that these weights were trained from beside them.",
            )
    vision = config.vision_config
    if images is not None and config.model_type == "siglip":
        require_pixels_fit(source, images, vision.image_size)
    elif images is not None and images.patch_size != vision.patch_size:
        raise ModelError(
            f"The image processor of {source} cuts patches of {images.patch_size} pixels, but its vision tower takes "
            f"{vision.patch_size}.",
            "Set patch_size in its preprocessor_config.json to that of the model.",
        )


def tower_sites(files: ModelFiles, tower: Tower) -> list[Site]:
    """Return the sites of one tower; a vision tower's head may be switched off by its configuration."""
    found = block_sites(files, tower)
    if tower == "text":
        return [*found, _site(files, tower, found[-1].layer, "proj", TEXT_HEAD)]
    return found + (_pooling_sites(files) if tower_config(files.config, tower).get("vision_use_head", True) else [])


def _pooling_sites(files: ModelFiles) -> list[Site]:
    """Return the maps of the vision tower's pooling head; q, k and v are rows of one tensor."""
    key, bias = (f"{VISION_HEAD}.attention.in_proj_{part}" for part in ("weight", "bias"))
    width = _shape(files, key)[1]
    fused = [
        Site(
            "vision",
            0,
            role,
            f"{VISION_HEAD}.attention",
            key,
            (width, width),
            rows=(part * width, (part + 1) * width),
            bias=bias if bias in files.checkpoint.tensors else None,
            pooled=role == "pool.attn.q",
        )
        for part, role in enumerate(FUSED)
    ]
    return fused + [_site(files, "vision", 0, role, f"{VISION_HEAD}.{module}") for role, module in HEAD_MODULES.items()]


def _site(files: ModelFiles, tower: Tower, layer: int, role: Role, module: str) -> Site:
    bias = f"{module}.bias" if f"{module}.bias" in files.checkpoint.tensors else None
    pooled = role == "proj" or role in HEAD_MODULES
    key = f"{module}.weight"
    return Site(tower, layer, role, module, key, _shape(files, key), bias=bias, pooled=pooled)


def _shape(files: ModelFiles, key: str) -> tuple[int, int]:
    rows, columns = promised(files, key).shape
    return rows, columns
