"""CLIPs whose captions are read by a BERT: AltCLIP's XLM-R and ChineseCLIP's RoBERTa, in transformers' format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editkit.plugin import ModelFiles, Site, Tower
from editkit_clip.hugging_face_text import BERT
from editkit_clip.names import under_names, with_keys
from editkit_clip.processing import pad
from editkit_clip.transformers_format import TransformersClip, block_sites, linear_site, projection_site
from editkit_clip.transformers_model import LoadedClip

XLM_R_DEPTH = 24
"""How many blocks AltCLIP's text tower has where the config leaves it out."""


class LoadedBertClip(LoadedClip):
    """A loaded CLIP whose text tower looks in both directions, so that padding has to be masked."""

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids", "attention_mask": [B, T]} -> [B, D] float32, normalised; read at the first token."""
        output = self.module.get_text_features(**inputs)
        return functional.normalize(output.pooler_output.float(), dim=-1)

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad behind the captions to the longest; whatever `tokens` says, the mask is of all their own tokens.

        No token looks at padding, so none of it can count.
        """
        padded = pad(ids, self._tokenizer.pad_token_id)
        mask = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in ids])[:, None]
        return {"input_ids": padded, "attention_mask": mask.long()}, mask


class ChineseClip(TransformersClip):
    """The adapter for `model_type: chinese_clip`."""

    loaded = LoadedBertClip
    reads_end = False

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map of both towers."""
        text = block_sites(files, "text", "text_model.encoder.layer", BERT)
        vision = block_sites(files, "vision")
        return [*text, projection_site(files, "text"), *vision, projection_site(files, "vision")]


class LoadedAltClip(LoadedBertClip):
    """A loaded AltCLIP."""

    @property
    def context(self) -> int:
        """How many tokens a caption may have: XLM-R counts positions from behind the padding's id."""
        return int(self.text_config.max_position_embeddings) - int(self.text_config.pad_token_id) - 1

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        return super().parameter(live_name(key))


class AltClip(TransformersClip):
    """The adapter for `model_type: altclip`."""

    loaded = LoadedAltClip
    reads_end = False

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map of both towers; `transformation` is behind the text tower's blocks, on every token."""
        names = {live_name(key): key for key in files.checkpoint.tensors}
        files = under_names(files, names)
        text = block_sites(files, "text", "text_model.roberta.encoder.layers", BERT, depth=XLM_R_DEPTH)
        transformation = linear_site(files, "text", text[-1].layer, "transformation", "text_model.transformation")
        vision = block_sites(files, "vision")
        projections = (projection_site(files, "text", XLM_R_DEPTH), projection_site(files, "vision"))
        return with_keys([*text, transformation, projections[0], *vision, projections[1]], names)

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return a tower's tensors and its projection, by the names of the live model."""
        return {live_name(key): key for key in super().tensors(files, tower)}

    def outline(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the architecture's tensors under published names."""
        shapes = super().outline(config)
        return {
            key.replace("roberta.encoder.layers.", "roberta.encoder.layer."): shape for key, shape in shapes.items()
        }


def live_name(key: str) -> str:
    """Return what the live AltCLIP calls a tensor: XLM-R's blocks are published as `layer`, which transformers 5 writes
    of both towers.
    """
    return key.replace(".encoder.layer.", ".encoder.layers.")
