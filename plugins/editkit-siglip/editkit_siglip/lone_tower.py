"""One tower of a SigLIP without the other, as transformers stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from editkit.plugin import ModelFiles, Site
from editkit_clip.lone_tower import LoneTower
from editkit_clip.lone_tower_model import LoadedTower
from editkit_siglip.transformers_format import tower_sites
from editkit_siglip.transformers_model import LoadedSiglip


class LoadedSiglipTower(LoadedTower, LoadedSiglip):
    """A `SiglipTextModel` or `SiglipVisionModel`; captions fill the context, as they do in the whole model."""

    def embedding(self, output: Any) -> Tensor:
        """Return what the head pools; of a tower without its head, the mean of its tokens."""
        found: Tensor | None = output.pooler_output
        return output.last_hidden_state.mean(dim=1) if found is None else found


class LoneSiglipTower(LoneTower):
    """The adapter of a SigLIP's tower."""

    loaded = LoadedSiglipTower
    family = "siglip"

    def tower_sites(self, files: ModelFiles) -> list[Site]:
        """List the sites of the blocks and of the head, by SigLIP's names."""
        return tower_sites(files, self.tower)

    def notes(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Return none: the embedding is the whole model's."""
        return ()


class SiglipText(LoneSiglipTower):
    """The adapter for `model_type: siglip_text_model`."""

    tower, plain = "text", "SiglipTextModel"


class SiglipVision(LoneSiglipTower):
    """The adapter for `model_type: siglip_vision_model`."""

    tower, plain = "vision", "SiglipVisionModel"
