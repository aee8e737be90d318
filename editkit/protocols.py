"""What a component must offer: the protocols that plugins implement.

Axes: B pairs, T tokens, I inputs and O outputs of a site, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from editkit.site import Site, Tower

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from editkit.checkpoint import Checkpoint
    from editkit.observe import Inputs

State = dict[str, "Tensor"]
"""A scorer's running sums over pairs. Every entry is a sum, so the states of two processes add."""


class Scorer(Protocol):
    """Scores a site from its inputs on safe and unsafe samples. Built as `Scorer(options)`."""

    def start(self, weight: Tensor, site: Site) -> State:
        """Return empty sums for one site; `weight` is [O, I] float32."""

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        """Add B pairs to the sums, in place."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores, [O, I] float32, finite."""


@dataclass(frozen=True)
class SelectionContext:
    """What a selector may know beside the scores: the seed, and scores of other scorers it asked for."""

    seed: int = 0
    other_scores: Mapping[str, Mapping[Site, Tensor]] = field(default_factory=dict)


class Selector(Protocol):
    """Chooses weights. Built as `Selector(options)`."""

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> Mapping[Site, Tensor]:
        """Return a bool mask [O, I] for every site of `scores`."""


@dataclass(frozen=True)
class ManipulationContext:
    """What a manipulator may know beside weights and masks: the statistics it named in `needs`."""

    seed: int = 0
    statistics: Mapping[str, Mapping[Site, Tensor]] = field(default_factory=dict)


class Manipulator(Protocol):
    """Gives selected weights new values. Built as `Manipulator(options)`."""

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return new tensors under "weight" [O, I] and, if it changes, "bias" [O], each in its own dtype."""


@dataclass(frozen=True)
class ModelFiles:
    """A model resolved to files, nothing read but headers and configuration."""

    source: str
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    family: str
    settings: str = ""
    """Digest of what decides how images and captions become tensors: part of every cache key."""


class Model(Protocol):
    """A loaded model, or some towers of it, in evaluation mode."""

    module: torch.nn.Module
    towers: tuple[Tower, ...]
    device: torch.device

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return normalised float32 embeddings [B, D]; differentiable when grad is on."""

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return normalised float32 embeddings [B, D]; differentiable when grad is on."""

    def image_preprocessor(self) -> Callable[[Image.Image], Mapping[str, Tensor]]:
        """Return a function that worker processes call: one RGB image to tensors without a batch axis."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text: begin to end of text, cut to the context, no padding."""

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Return batched tensors and the mask [B, T] of the tokens that count (`real|released|all`)."""

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor that the checkpoint calls `key`."""

    def processing(self) -> dict[str, str]:
        """Return what turns images and captions into tensors: class, backend, digest of its settings."""


class Adapter(Protocol):
    """A model family. Built as `Adapter(options)`; opening and listing sites read no weights."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder, checkpoint or hub id to files.

        Raises:
            ModelError: there is no such model, or it has no weights.
        """

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every site, in the model's order, from the configuration and tensor shapes alone."""

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return what is edited when no target is given."""

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> Model:
        """Load the towers asked for.

        Raises:
            ModelError: tensors are missing or do not fit the configuration.
        """

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write into a folder of edited weights whatever the source lacks to be loadable on its own."""
