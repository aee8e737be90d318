"""CLIP as transformers stores it: folders and hub ids of `CLIPModel`, and of `MetaClip2Model`, which is built alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from editkit.plugin import (
    TRANSFORMERS,
    ModelFiles,
    Role,
    Site,
    Tower,
    fill_architecture,
    library_errors,
    model_folder,
    open_weights,
    outline,
    promised,
    read_json,
    saved_dtype,
)
from editkit_clip.base_model import Part, digest_of, find_parts, notes_on
from editkit_clip.fitting import fitting_images, fitting_tokenizer
from editkit_clip.processing import tower_config
from editkit_clip.transformers_model import LoadedClip

LAYERS: Mapping[Tower, str] = {"text": "text_model.encoder.layers", "vision": "vision_model.encoder.layers"}
MODULES: Mapping[Role, str] = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "mlp.in": "mlp.fc1",
    "mlp.out": "mlp.fc2",
}
PROJECTIONS: Mapping[Tower, str] = {"text": "text_projection", "vision": "visual_projection"}
ARCHITECTURES = {
    "clip": "CLIPModel",
    "metaclip_2": "MetaClip2Model",
    "altclip": "AltCLIPModel",
    "chinese_clip": "ChineseCLIPModel",
}
"""The class of transformers by the config's `model_type`."""


class TransformersClip:
    """The adapter for `model_type: clip` and `metaclip_2`."""

    loaded: type[LoadedClip] = LoadedClip
    reads_end = True
    """Whether a caption's embedding is read at its end of text."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder or hub id; read headers and configuration only."""
        folder = model_folder(source)
        config = read_json(folder.root / "config.json")
        checkpoint = open_weights(folder, TRANSFORMERS, partial(self.outline, config), saved_dtype(config))
        parts = find_parts(source, folder.root, config)
        return ModelFiles(
            source,
            checkpoint,
            config,
            "clip",
            digest_of(*parts),
            commit=folder.commit,
            notes=(*folder.notes(), *notes_on(*parts)),
        )

    def outline(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the architecture's tensors by their keys in a checkpoint, without weights."""
        return outline(_architecture(config), config)

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map of both towers."""
        return [site for tower in LAYERS for site in (*block_sites(files, tower), projection_site(files, tower))]

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return the paper's sites for CLIP ViT-L/14 (its released code; the paper does not settle on one list)."""
        return ("text:attn.out", "vision:mlp.out")

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return a tower's tensors and its projection, which are called here as in the architecture."""
        own = (f"{tower}_model.", PROJECTIONS[tower])
        return {key: key for key in files.checkpoint.tensors if key.startswith(own)}

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedClip:
        """Load the model in evaluation mode; of a tower that is not asked for, nothing is read but its projection."""
        parts = {tower: part for tower, part in zip(LAYERS, _parts(files), strict=True) if tower in towers}
        with library_errors(f"The CLIP model {files.source} cannot be loaded"):
            made = self._processing(files, parts)  # before the weights are read: one may be missing
            lacking = [f"{tower}_model." for tower in LAYERS if tower not in towers]
            model = fill_architecture(_architecture(files.config, towers), files, dtype=dtype, without=lacking)
        model = model.to(device).eval().requires_grad_(requires_grad=False)
        bases: dict[str, str] = {part.what: part.base for part in parts.values() if part.borrowed}
        return self.loaded(model, made.get("text"), made.get("vision"), towers, bases)

    def _processing(self, files: ModelFiles, parts: Mapping[Tower, Part]) -> dict[Tower, Any]:
        """Return the tokenizer and the image processor of the towers asked for, held to the model."""
        config, made = _architecture(files.config).config_class.from_dict(dict(files.config)), dict[Tower, Any]()
        if "text" in parts:
            text, part = config.text_config, parts["text"]
            made["text"] = fitting_tokenizer(files.source, part, config, text, reads_end=self.reads_end)
        if "vision" in parts:
            made["vision"] = fitting_images(files.source, parts["vision"], config, config.vision_config)
        return made

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write the base model's tokenizer and image processor where they are used: the folder then loads alone."""
        for part in _parts(files):
            part.save_into(folder)


def _parts(files: ModelFiles) -> tuple[Part, ...]:
    return find_parts(files.source, files.checkpoint.root, files.config)


def _architecture(config: Mapping[str, Any], towers: Sequence[Tower] = tuple(LAYERS)) -> Any:
    """Return the whole model's class, or one without the tower that is not asked for, which then stays on the disk."""
    import transformers

    whole: Any = getattr(transformers, ARCHITECTURES[config.get("model_type", "clip")])
    lacking = [f"{tower}_model" for tower in LAYERS if tower not in towers]
    if not lacking:
        return whole

    class OneTower(whole):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)  # by `from_pretrained` without memory for the weights
            for name in lacking:
                setattr(self, name, None)

    OneTower.__module__ = whole.__module__  # the library reads published names for classes of its own alone
    return OneTower


def block_sites(
    files: ModelFiles, tower: Tower, blocks: str = "", modules: Mapping[Role, str] = MODULES, *, depth: int = 12
) -> list[Site]:
    """Return the sites of a tower's blocks.

    Args:
        blocks: the module that holds them; empty: as CLIP calls it.
        modules: their linear maps by role.
        depth: how many there are where the config leaves it out.
    """
    count = int(tower_config(files.config, tower).get("num_hidden_layers", depth))
    return [
        linear_site(files, tower, layer, role, f"{blocks or LAYERS[tower]}.{layer}.{module}")
        for layer in range(count)
        for role, module in modules.items()
    ]


def projection_site(files: ModelFiles, tower: Tower, depth: int = 12) -> Site:
    """Return the map of a tower's pooled output into the space that both share."""
    last = int(tower_config(files.config, tower).get("num_hidden_layers", depth)) - 1
    return linear_site(files, tower, last, "proj", PROJECTIONS[tower])


def linear_site(files: ModelFiles, tower: Tower, layer: int, role: Role, module: str) -> Site:
    """Return the site of a module whose tensors the checkpoint calls as the live model does."""
    key = f"{module}.weight"
    rows, columns = promised(files, key).shape
    bias = f"{module}.bias" if f"{module}.bias" in files.checkpoint.tensors else None
    return Site(tower, layer, role, module, key, (rows, columns), bias=bias, pooled=role == "proj")
