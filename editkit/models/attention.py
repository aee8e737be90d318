"""Make `nn.MultiheadAttention` run its output projection as a module, while it is being observed.

PyTorch's fused attention is one operation that reads its weights, so no linear map of it can be
seen from outside. Here the module's class is exchanged for one whose forward calls it. No tensor is
touched; embeddings move by rounding only (1e-6 relative), and not at all once the context is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional

from editkit.errors import SiteError


class VisibleAttention(nn.MultiheadAttention):
    """Multi-head attention that calls `self.out_proj(x)`; exact for what vision-language encoders use."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend as `nn.MultiheadAttention` does, [B, T, D] or [T, B, D] by `batch_first`.

        Raises:
            SiteError: a feature is asked for that no encoder here uses (key padding, appended key and value biases).
        """
        if key_padding_mask is not None or self.bias_k is not None or self.add_zero_attn:
            raise SiteError(
                "This model's attention pads keys or appends key biases, which cannot be observed.",
                "Take attn.out out of the targets.",
            )
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (self._heads(x) for x in self._project(query, key, value))  # [B, H, T, D / H]
        if attn_mask is not None and attn_mask.dim() == 3:  # [B * H, T, S]
            attn_mask = attn_mask.view(-1, self.num_heads, *attn_mask.shape[1:])
        # nn.MultiheadAttention's boolean mask is True where attention is forbidden, the functional's where allowed
        allowed = ~attn_mask if attn_mask is not None and attn_mask.dtype.is_floating_point is False else attn_mask
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed, dropout_p=self.dropout if self.training else 0.0
        )
        output = self.out_proj(attended.transpose(1, 2).flatten(2))  # [B, T, D]
        weights = self._weights(q, k, allowed) if need_weights else None  # [B, H, T, S]
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        return (output if self.batch_first else output.transpose(0, 1)), weights

    def _weights(self, q: Tensor, k: Tensor, allowed: Tensor | None) -> Tensor:
        scores: Tensor = q @ k.transpose(-2, -1) / self.head_dim**0.5
        if allowed is not None:
            additive = allowed.dtype.is_floating_point
            scores = scores + allowed if additive else scores.masked_fill(~allowed, float("-inf"))
        return scores.softmax(dim=-1)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        biases: Sequence[Tensor | None] = (
            self.in_proj_bias.chunk(3) if self.in_proj_bias is not None else (None, None, None)
        )
        fused = self._qkv_same_embed_dim
        weights = (
            self.in_proj_weight.chunk(3) if fused else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        q, k, v = (
            # Weights of their own have one bias between them: no site has it, so it is added apart from the map.
            functional.linear(x, weight, bias) if fused or bias is None else functional.linear(x, weight) + bias
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        return q, k, v

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


@contextmanager
def visible_attention(module: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Exchange the class of every plain `nn.MultiheadAttention` that is, or holds, one of the modules `names`."""
    near = {*names, *(name.rpartition(".")[0] for name in names)}
    exchanged = [held for name in sorted(near) if type(held := module.get_submodule(name)) is nn.MultiheadAttention]
    try:
        for attention in exchanged:
            attention.__class__ = VisibleAttention
        yield
    finally:
        for attention in exchanged:
            attention.__class__ = nn.MultiheadAttention
