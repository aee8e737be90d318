"""LLaVA and its kin as transformers stores them: vision tower, projector and language model in shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editkit.plugin import (
    TRANSFORMERS,
    ModelError,
    ModelFiles,
    Role,
    Site,
    Tower,
    image_notes,
    library_errors,
    model_folder,
    open_weights,
    outline,
    read_json,
    refuse_unknown,
    saved_dtype,
    settings_digest,
)
from editkit_llava.architecture import (
    drops_first_token,
    feature_layers,
    language_depth,
    part_type,
    reads_normed,
)
from editkit_llava.families import family_of
from editkit_llava.model import LoadedLlava
from editkit_llava.names import architecture_names, checkpoint_keys, published_name, unknown_keys
from editkit_llava.processing import require_fit, require_vocabulary
from editkit_llava.towers import load_towers

if TYPE_CHECKING:
    from editkit_llava.captioner import LlavaCaptioner

BLOCKS: Mapping[Tower, str] = {"text": "language_model.layers", "vision": "vision_tower.encoder.layers"}
ATTENTION: Mapping[Role, str] = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
}
MODULES: Mapping[Tower, Mapping[Role, str]] = {
    "text": {
        **ATTENTION,
        "attn.out": "self_attn.o_proj",
        "mlp.gate": "mlp.gate_proj",
        "mlp.in": "mlp.up_proj",
        "mlp.out": "mlp.down_proj",
    },
    "vision": {**ATTENTION, "attn.out": "self_attn.out_proj", "mlp.in": "mlp.fc1", "mlp.out": "mlp.fc2"},
}
PROJECTOR = "multi_modal_projector"
APART = "its vision tower feeds a language model, so that an image and a caption have no embeddings to compare"


class Llava:
    """The adapter for every `model_type` of `FAMILIES`."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder or hub id; read headers and configuration only.

        Raises:
            ModelError: there is no such model, or its vision tower is of an unknown kind.
        """
        folder = model_folder(source)
        config = read_json(folder.root / "config.json")
        feature_layers(config)
        notes = () if language_depth(config) else (_vision_only(config),)
        checkpoint = open_weights(folder, TRANSFORMERS, partial(_outline, config), saved_dtype(config))
        return ModelFiles(
            source,
            checkpoint,
            config,
            str(config["model_type"]),
            settings_digest(folder.root),
            no_joint_space=APART,
            commit=folder.commit,
            notes=(*folder.notes(), *notes, *image_notes(folder.root)),
        )

    def sites(self, files: ModelFiles) -> list[Site]:
        """List the linear maps of the language model, of the vision blocks that it reads, and of the projector.

        A vision block behind the last one that is read has no effect, so it is no site.
        """
        depths: Mapping[Tower, int] = {
            "text": language_depth(files.config),
            "vision": max(feature_layers(files.config)),
        }
        keys = checkpoint_keys(files.checkpoint.tensors)
        found = [
            _site(files, keys, tower, layer, role, f"{BLOCKS[tower]}.{layer}.{module}")
            for tower, depth in depths.items()
            for layer in range(depth)
            for role, module in MODULES[tower].items()
        ]
        return found + _projector_sites(files, keys)

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return what the paper edits: the vision tower alone."""
        return ("vision:mlp.out",)

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return the vision tower's tensors, named as CLIP's, and the projector's; or the language model's."""
        return architecture_names(files.checkpoint.tensors, tower)

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedLlava:
        """Load the towers asked for, in evaluation mode; no tensor of the others is read.

        Raises:
            ModelError: a tensor, the tokenizer or the image processor is missing, or does not fit the configuration.
        """
        from transformers import AutoConfig, AutoTokenizer
        from transformers.models.auto.image_processing_auto import AutoImageProcessor

        folder, layers = files.checkpoint.root, feature_layers(files.config)
        keys = checkpoint_keys(files.checkpoint.tensors)
        with library_errors(f"The model {files.source} cannot be loaded"):
            refuse_unknown(files.source, unknown_keys(files.checkpoint.tensors, _outline(files.config)))
            if "text" in towers:
                require_vocabulary(files.source, folder)
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False) if "text" in towers else None
            images = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False) if "vision" in towers else None
            require_fit(files.source, config, tokenizer, images)
            module = load_towers(
                config,
                files.checkpoint,
                keys,
                towers,
                vision_blocks=max(layers),
                device=device,
                dtype=getattr(torch, dtype),
            )
        return LoadedLlava(
            module,
            keys,
            towers,
            layers=() if reads_normed(files.config) else layers,
            skip=int(drops_first_token(files.config)),
            tokenizer=tokenizer,
            processor=images,
            image_settings=family_of(files.config).image_settings,
        )

    def load_captioner(self, files: ModelFiles, *, device: str, dtype: str, device_map: Any = None) -> LlavaCaptioner:
        """Load the whole model; `device_map` ("auto") spreads one that no single device could hold.

        Raises:
            ModelError: a tensor, the tokenizer or the image processor is missing, or does not fit the configuration.
        """
        from editkit_llava.captioner import load_captioner

        return load_captioner(files, device=device, dtype=dtype, device_map=device_map)

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write nothing: a transformers folder is whole as it is."""


def _projector_sites(files: ModelFiles, keys: Mapping[str, str]) -> list[Site]:
    """Return the projector's linear maps; Gemma 3's is a parameter of the projector itself."""
    family = family_of(files.config)
    found = [_site(files, keys, "vision", 0, role, f"{PROJECTOR}.{module}") for role, module in family.maps]
    if family.transposed:
        key = _key(files, keys, f"{PROJECTOR}.{family.transposed}")
        inputs, outputs = files.checkpoint.tensors[key].shape
        found.append(Site("vision", 0, "projector.out", PROJECTOR, key, (outputs, inputs), transposed=True))
    return found


def _site(files: ModelFiles, keys: Mapping[str, str], tower: Tower, layer: int, role: Role, module: str) -> Site:
    key = _key(files, keys, f"{module}.weight")
    rows, columns = files.checkpoint.tensors[key].shape
    return Site(tower, layer, role, module, key, (rows, columns), bias=keys.get(f"{module}.bias"))


def _key(files: ModelFiles, keys: Mapping[str, str], name: str) -> str:
    if name not in keys:
        raise ModelError(
            f"{files.source} has no tensor {published_name(name, files.config['model_type'])}, which its config.json "
            "promises.",
            "Check that config.json and the weights belong together, or download the model again.",
        )
    return keys[name]


def _outline(config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    return outline(family_of(config).whole(), config)


def _vision_only(config: Mapping[str, Any]) -> str:
    return f"the blocks of its language model ({part_type(config, 'text_config')}) are not known: they are no sites"
