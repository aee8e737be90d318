"""CLIP as transformers stores it: `CLIPModel` folders and hub ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

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
    require_ids_fit,
    require_pixels_fit,
    saved_dtype,
)
from editkit_clip.base_model import Part, digest_of, find_parts, notes_on
from editkit_clip.end_of_text import require_end_fits, require_same_vocabulary
from editkit_clip.processing import first_end_mask, pad, tower_config

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


class TransformersClip:
    """The adapter for `model_type: clip`."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder or hub id; read headers and configuration only."""
        from transformers import CLIPModel

        folder = model_folder(source)
        config = read_json(folder.root / "config.json")
        checkpoint = open_weights(folder, TRANSFORMERS, partial(outline, CLIPModel, config), saved_dtype(config))
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

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map of both towers."""
        found = []
        for tower in LAYERS:
            for layer in range(int(tower_config(files.config, tower).get("num_hidden_layers", 12))):
                for role, module in MODULES.items():
                    found.append(_site(files, tower, layer, role, f"{LAYERS[tower]}.{layer}.{module}"))
            found.append(_site(files, tower, layer, "proj", PROJECTIONS[tower]))
        return found

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
        places = {tower: part.place for tower, part in parts.items()}  # before the weights are read: one may be missing
        with library_errors(f"The CLIP model {files.source} cannot be loaded"):
            config = _architecture(towers).config_class.from_dict(dict(files.config))
            made = {tower: _processing(files.source, parts[tower], tower, config) for tower in places}
            lacking = [f"{tower}_model." for tower in LAYERS if tower not in towers]
            model = fill_architecture(_architecture(towers), files, dtype=dtype, without=lacking)
        model = model.to(device).eval().requires_grad_(requires_grad=False)
        bases: dict[str, str] = {part.what: part.base for part in parts.values() if part.borrowed}
        return LoadedClip(model, made.get("text"), made.get("vision"), towers, bases)

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write the base model's tokenizer and image processor where they are used: the folder then loads alone."""
        for part in _parts(files):
            part.save_into(folder)


def _parts(files: ModelFiles) -> tuple[Part, ...]:
    return find_parts(files.source, files.checkpoint.root, files.config)


def _processing(source: str, part: Part, tower: Tower, config: Any) -> Any:
    """Return the tokenizer or the image processor of a tower, checked; `config` is the model's, a base has none."""
    from transformers import AutoTokenizer
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    whose = part.base if part.borrowed else source
    if tower == "vision":
        processor = AutoImageProcessor.from_pretrained(part.place, config=config, trust_remote_code=False)
        require_pixels_fit(source, processor, config.vision_config.image_size, whose)
        return processor
    text = config.text_config
    tokenizer = AutoTokenizer.from_pretrained(part.place, config=config, trust_remote_code=False)
    if part.borrowed:
        require_same_vocabulary(source, whose, tokenizer, text.vocab_size)
    require_ids_fit(source, tokenizer, text.vocab_size, whose)
    require_end_fits(source, whose, tokenizer, text.eos_token_id)
    return tokenizer


def _architecture(towers: Sequence[Tower]) -> Any:
    """Return `CLIPModel`, or one without the tower that is not asked for, whose tensors then stay on the disk."""
    from transformers import CLIPModel

    lacking = [f"{tower}_model" for tower in LAYERS if tower not in towers]
    if not lacking:
        return CLIPModel

    class OneTower(CLIPModel):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)  # by `from_pretrained` without memory for the weights
            for name in lacking:
                setattr(self, name, None)

    return OneTower


def _site(files: ModelFiles, tower: Tower, layer: int, role: Role, module: str) -> Site:
    key = f"{module}.weight"
    rows, columns = promised(files, key).shape
    bias = f"{module}.bias" if f"{module}.bias" in files.checkpoint.tensors else None
    return Site(tower, layer, role, module, key, (rows, columns), bias=bias, pooled=role == "proj")


class Preprocess:
    """One image to `pixel_values`; holds the processor alone, so that workers never see the model."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        """Return {"pixel_values": [3, H, W]}."""
        return {"pixel_values": self.processor(images=image, return_tensors="pt")["pixel_values"][0]}


class LoadedClip:
    """A loaded `CLIPModel` with its tokenizer and image processor."""

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        processor: Any,
        towers: Sequence[Tower],
        bases: Mapping[str, str] | None = None,
    ) -> None:
        self.module = module
        self.towers = tuple(towers)
        self.device = module.logit_scale.device
        self._tokenizer = tokenizer
        self._processor = processor
        self._bases = bases or {}
        self._context = module.config.text_config.max_position_embeddings
        self._parameters = dict(module.state_dict(keep_vars=True))

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> [B, D] float32, normalised."""
        pixels = inputs["pixel_values"].to(self.module.dtype)
        return functional.normalize(self.module.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids": [B, T]} -> [B, D] float32, normalised.

        No attention mask: attention is causal and the embedding is read at the first end-of-text token, so padding
        behind it cannot reach it.
        """
        output = self.module.get_text_features(input_ids=inputs["input_ids"])
        return functional.normalize(output.pooler_output.float(), dim=-1)

    def image_mask(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """None: every image token counts, CLS included."""
        return None

    def scores(self, cosines: Tensor) -> Tensor:
        """Return logits: the cosines times the learned scale."""
        scale: Tensor = self.module.logit_scale.detach().float().exp()
        return cosines * scale.to(cosines.device)

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the image processor as a function of one image."""
        return Preprocess(self._processor)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids from begin to end of text, cut to the context length."""
        ids = self._tokenizer(list(texts), truncation=True, max_length=self._context)["input_ids"]
        return [list(row) for row in ids]

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad to the longest (`all`: to the context) with the padding id; the mask ends at the first end of text."""
        tokenizer = self._tokenizer
        end = tokenizer.eos_token_id if tokenizer is not None else self.module.config.text_config.eos_token_id
        padding = tokenizer.pad_token_id if tokenizer is not None else end
        padded = pad(ids, end if padding is None else padding, self._context if tokens == "all" else None)
        mask = torch.ones_like(padded, dtype=torch.bool) if tokens == "all" else first_end_mask(padded, end)
        return {"input_ids": padded}, mask

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        live: Tensor = self._parameters[key]
        return live

    def processing(self) -> dict[str, str]:
        """Name the tokenizer's and the image processor's class and backend, and the base model that they are of."""
        return {
            "image_processor": type(self._processor).__name__,
            "image_backend": str(getattr(self._processor, "backend", "unknown")),
            "tokenizer": type(self._tokenizer).__name__,
            **{f"{what} of".replace(" ", "_"): base for what, base in self._bases.items()},
        }
