"""The towers of a vision-language model without the rest of it, filled tensor by tensor from the shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from editkit.plugin import Checkpoint, ModelError, Tower, to_tensor
from editkit_llava.families import FAMILIES
from editkit_llava.names import published_name


class Towers(nn.Module):
    """The vision tower down to the last block that is read, with the projector behind it, and the language model."""

    vision_tower: Any
    multi_modal_projector: Any
    language_model: Any

    def __init__(self, config: Any, towers: Sequence[Tower], vision_blocks: int) -> None:
        super().__init__()
        from transformers import AutoModel

        family = FAMILIES[config.model_type]
        if "vision" in towers:
            vision = deepcopy(config.vision_config)
            vision.num_hidden_layers = vision_blocks
            vision.vision_use_head = False  # SigLIP's pooling head
            self.vision_tower = AutoModel.from_config(vision)
            if family.feature_layers is not None:
                self.vision_tower.post_layernorm = nn.Identity()  # for the pooled output, which LLaVA does not read
            self.multi_modal_projector = family.make_projector(config)
        if "text" in towers:
            text = deepcopy(config.text_config)
            text.use_bidirectional_attention = False  # PaliGemma's: of image and prompt; a caption it reads causally
            self.language_model = AutoModel.from_config(text)


def load_towers(
    config: Any,
    checkpoint: Checkpoint,
    keys: Mapping[str, str],
    towers: Sequence[Tower],
    *,
    vision_blocks: int,
    device: str,
    dtype: torch.dtype,
) -> Towers:
    """Return the towers in evaluation mode; beside them, memory holds one tensor at a time.

    Args:
        config: transformers' configuration of the whole model.
        keys: live name -> checkpoint key.

    Raises:
        ModelError: a tensor is missing, or has another shape than the configuration says.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():  # buffers are made, parameters take no memory
        module = Towers(config, towers, vision_blocks)
    wanted = dict(module.named_parameters())
    shapes = {name: tuple(empty.shape) for name, empty in wanted.items()}
    _require_fit(checkpoint, keys, shapes, config.model_type)
    for name, empty in wanted.items():
        key = keys[name]
        tensor = torch.empty(empty.shape, device=device, dtype=dtype)
        tensor.copy_(to_tensor(checkpoint.read(key), checkpoint.info(key).dtype, key))
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, nn.Parameter(tensor, requires_grad=False))
    return module.to(device).eval()


def _require_fit(
    checkpoint: Checkpoint, keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], family: str
) -> None:
    remedy = "Check that config.json and the weights belong together, or download the model again."
    lacking = [name for name in shapes if name not in keys]
    if lacking:
        raise ModelError(
            f"{checkpoint.root} has no tensor {published_name(lacking[0], family)}, which its config.json promises "
            f"(tensors that are missing: {len(lacking)}).",
            remedy,
        )
    for name, shape in shapes.items():
        held = checkpoint.info(keys[name]).shape
        if held != shape:
            raise ModelError(
                f"{keys[name]} in {checkpoint.root} is {list(held)}, where its config.json says {list(shape)}.", remedy
            )
