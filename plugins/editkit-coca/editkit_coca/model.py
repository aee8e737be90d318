"""A loaded CoCa: embeds captions no longer than they are, and says what an image shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from editkit.plugin import ModelError
from editkit_clip.open_clip_model import LoadedOpenClip
from editkit_clip.processing import first_end_mask, pad
from editkit_coca.decoding import decode


class LoadedCoca(LoadedOpenClip):
    """open_clip's `CoCa` with its tokenizer and image transform: a model and a captioner in one.

    T tokens of a caption are T + 1 in its text tower: a class token comes last and is the embedding. That token
    attends to all the others, so the tower masks padding. In the published models its mask is shifted by one: the
    first padding is seen, and the class token itself is not.
    """

    prompt = ""

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids": [B, T]} -> [B, D] float32, normalised.

        T is the context, or every row ends in padding. What lies behind a row's first padding is masked, so leaving
        it out changes nothing, provided that the class token keeps its place: the context's last.
        """
        text, ids = self._text, inputs["input_ids"]
        x, mask = text._embeds(ids)  # [B, T + 1, width], [B * H, T + 1, T + 1]
        last = text.cls_emb + text.positional_embedding[-1]  # [width]
        x = torch.cat([x[:, :-1], last.expand(len(x), 1, -1)], dim=1)
        pooled = text.ln_final(text.transformer(x, attn_mask=mask)[:, -1])  # [B, width]
        if text.text_projection is not None:
            linear = isinstance(text.text_projection, torch.nn.Linear)
            pooled = text.text_projection(pooled) if linear else pooled @ text.text_projection
        return functional.normalize(pooled.float(), dim=-1)

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad to one more than the longest (`all`: to the context); masks are [B, T + 1], the class token last.

        `real`: through the first end of text, and the class token. `released`: the tokens that the tower's own,
        shifted mask lets it attend to.
        """
        context = self._text.context_length
        longest = max(map(len, ids))
        padded = pad(ids, self._text.pad_id, context if tokens == "all" else min(longest + 1, context))  # [B, T]
        always = torch.ones(len(padded), 1, dtype=torch.bool)
        masks = {
            "real": (first_end_mask(padded, ids[0][-1]), always),  # every row ends with the end of text
            "released": (always, padded != self._text.pad_id),
            "all": (torch.ones_like(padded, dtype=torch.bool), always),
        }
        return {"input_ids": padded}, torch.cat(masks[tokens], dim=1)

    def captions(
        self,
        images: Sequence[Image.Image],
        prompt: str | None = None,
        *,
        temperature: float = 0.0,
        max_new_tokens: int = 64,
        seed: int = 0,
    ) -> list[str]:
        """Return one caption per RGB image, decoded together as one batch.

        A sampled caption depends on the image and the seed alone, not on the images beside it.

        Args:
            prompt: none; CoCa starts every caption from the begin of text.
            temperature: 0: the likeliest token each time; else sampled.
            max_new_tokens: the end of text is one of them; the context is the limit in any case.
            seed: of what is sampled.

        Raises:
            ModelError: a prompt is given.
        """
        if prompt:
            raise ModelError("CoCa is given a prompt, and takes none.", "Leave the prompt out.")
        if not images:
            return []
        pixels = torch.stack([self._transform(image) for image in images])  # [B, 3, H, W]
        draws = [torch.Generator().manual_seed(_seed_of(one, seed)) for one in pixels]
        tokenizer = self._tokenizer
        rows = decode(
            self.module,
            pixels.to(self.device, self.module.logit_scale.dtype),
            begin=tokenizer.sot_token_id,
            end=tokenizer.eot_token_id,
            new_tokens=max_new_tokens,
            temperature=temperature,
            draws=draws,
        )
        words = tokenizer.decoder.keys() - set(tokenizer.all_special_ids)
        return [tokenizer.decode([token for token in row if token in words]).strip() for row in rows]


def _seed_of(pixels: Tensor, seed: int) -> int:
    digest = sha256(f"{seed}:".encode() + pixels.numpy().tobytes()).digest()
    return int.from_bytes(digest[:8], "big")
