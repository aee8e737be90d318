"""SigLIP and SigLIP 2 as open_clip stores them: timm pools images by attention, captions fill the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from editkit.plugin import ModelError, ModelFiles
from editkit_clip.open_clip_format import OpenClip
from editkit_clip.open_clip_model import LoadedOpenClip
from editkit_siglip.transformers_model import SIGLIP_END


class LoadedOpenClipSiglip(LoadedOpenClip):
    """open_clip's `CustomTextCLIP` trained with the sigmoid loss; its captions always fill the context."""

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad to the whole context; the mask [B, context] is by `tokens`.

        `real`: the caption through its end, and the last position, where the embedding is read; `released`: every id
        but SigLIP's end of text; `all`: every position.
        """
        inputs, mask = super().text_inputs(ids, tokens)
        return inputs, inputs["input_ids"] != SIGLIP_END if tokens == "released" else mask

    def scores(self, cosines: Tensor) -> Tensor:
        """Return the probability that image and caption belong together, each pair by itself."""
        bias = self.module.logit_bias.detach().float().to(cosines.device)
        return torch.sigmoid(super().scores(cosines) + bias)


class OpenClipSiglip(OpenClip):
    """The adapter for open_clip's SigLIP and SigLIP 2."""

    loaded = LoadedOpenClipSiglip

    def open(self, source: str) -> ModelFiles:
        """Resolve `open_clip:NAME/TAG`, `open_clip:NAME@PATH` or a folder with `open_clip_config.json`.

        Raises:
            ModelError: no such architecture, tag or file; or the architecture has no bias of its logits.
        """
        files = super().open(source)
        if files.config["model_cfg"].get("init_logit_bias") is None:
            raise ModelError(
                f"{source} is no SigLIP: its model_cfg has no init_logit_bias, which the sigmoid loss needs.",
                "Check the architecture's name; a CLIP is found by open_clip:NAME@PATH without SigLIP in its name.",
            )
        return replace(files, family="siglip")
