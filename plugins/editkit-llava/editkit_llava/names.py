"""A tensor's three names: in the checkpoint, in the live model, and in the architecture that LLaVA is made of.

Published checkpoints say `vision_tower.vision_model.encoder...`, `language_model.model.layers...` and
`language_model.lm_head.weight`. transformers 5 saves without `vision_model.`, and other releases wrote the names of
live modules, below `model.`. Idefics3 and SmolVLM call the parts otherwise. All are read here; live names are those of
transformers' LlavaModel, and `lm_head`.
"""

from __future__ import annotations

from collections.abc import Iterable

from editkit.plugin import Tower

PUBLISHED = (
    ("vision_tower.", "vision_tower.vision_model."),
    ("language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
"""How a live name begins, and what published checkpoints write there."""
IDEFICS = (
    ("vision_tower.", "vision_model."),
    ("multi_modal_projector.", "connector."),
    ("language_model.", "text_model."),
)
"""The same of Idefics3 and SmolVLM."""
ARCHITECTURE: dict[Tower, tuple[tuple[str, str], ...]] = {
    "vision": (("vision_tower.", "vision_model."), ("multi_modal_projector.", "multi_modal_projector.")),
    "text": (("language_model.", "model."), ("lm_head.", "lm_head.")),
}
"""How a live name begins, and what CLIPModel and LlamaForCausalLM call the same."""


def live_name(key: str) -> str:
    """Return what the live model calls a checkpoint's tensor, whichever release wrote its name."""
    name = key.removeprefix("model.")
    for live, published in (*PUBLISHED, *IDEFICS):
        if name.startswith(published):
            return live + name.removeprefix(published)
    return name


def published_name(name: str, family: str = "llava") -> str:
    """Return what published checkpoints of a family (`model_type`) call a tensor of the live model."""
    idefics = family in ("idefics3", "smolvlm")
    for live, published in IDEFICS if idefics else PUBLISHED:
        if name.startswith(live):
            return ("model." if idefics else "") + published + name.removeprefix(live)
    return name


def checkpoint_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return live name -> checkpoint key."""
    return {live_name(key): key for key in keys}


def unknown_keys(keys: Iterable[str], architecture: Iterable[str]) -> list[str]:
    """Return the keys of a checkpoint that are no tensor of an architecture, whose names are live ones."""
    known = set(map(live_name, architecture))
    return [key for name, key in checkpoint_keys(keys).items() if name not in known]


def architecture_names(keys: Iterable[str], tower: Tower) -> dict[str, str]:
    """Return, for a tower's tensors, name in the architecture -> checkpoint key."""
    return {
        own + name.removeprefix(live): key
        for name, key in checkpoint_keys(keys).items()
        for live, own in ARCHITECTURE[tower]
        if name.startswith(live)
    }
