"""What a component must offer: the protocols that plugins implement.

Axes: B pairs, T tokens, I inputs and O outputs of a site, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from editkit.components.site import Site, Tower

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from editkit.components.inputs import Inputs
    from editkit.components.statistics import EmbeddingMoments, Moments
    from editkit.files.checkpoint import Checkpoint

State = dict[str, "Tensor"]
"""A scorer's running sums over pairs. Every entry is a sum, so the states of two processes add."""


class WeightScorer(Protocol):
    """Scores a site from its weights alone (`needs="weights"`). Built once a run as `WeightScorer(options)`."""

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of one site, all that `finish` will know of it; `weight` is [O, I] float32."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores, [O, I] float32, finite."""


class Scorer(Protocol):
    """Scores a site from its inputs on safe and unsafe samples. Built once a run as `Scorer(options)`."""

    def start(self, weight: Tensor, site: Site) -> State:
        """Return empty sums for one site; `weight` is [O, I] float32."""

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        """Add B pairs to the sums, in place."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores, [O, I] float32, finite."""


@dataclass(frozen=True)
class LossEmbeddings:
    """Normalised float32 embeddings [B, D] of B tuples: `own` of the tower scored, `other` of the frozen one."""

    own_safe: Tensor
    own_unsafe: Tensor
    other_safe: Tensor
    other_unsafe: Tensor


class BatchGradientScorer(Protocol):
    """Scores a site from the gradients of a loss over batches of tuples (`needs="gradients"`)."""

    def loss_batch(self, tower: Tower) -> int | None:
        """Return how many tuples one loss is taken over; None: any number, the loss is a mean of single tuples'."""

    def loss(self, embedded: LossEmbeddings) -> Tensor:
        """Return the scalar loss of B tuples; gradients reach the tower through what is not detached."""

    def start(self, weight: Tensor, site: Site) -> State:
        """Return empty sums for one site; `weight` is [O, I] float32."""

    def update(self, state: State, weight: Tensor, gradient: Tensor, tuples: int) -> None:
        """Add the gradient [O, I] float32 of one loss over `tuples` tuples, in place."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores, [O, I] float32, finite."""


class SampleGradientScorer(Protocol):
    """Scores a site from the gradients of single samples (`needs="sample-gradients"`).

    `sides` are the sides of the tuples whose gradients it wants, of "safe" and "unsafe".
    """

    sides: tuple[str, ...]

    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        """Return B losses [B], each of its own sample only.

        Args:
            own: [B, D] embeddings of one side's samples in the tower that is scored.
            other: [B, D] the same side's embeddings in the other tower, frozen.
            other_twin: [B, D] the opposite side's embeddings in the other tower, frozen.
        """

    def start(self, weight: Tensor, site: Site) -> State:
        """Return empty sums for one site; `weight` is [O, I] float32."""

    def update(self, state: State, weight: Tensor, side: str, gradients: Tensor) -> None:
        """Add the gradients [n, O, I] float32 of n samples of one side, in place."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores, [O, I] float32, finite."""


class NotingScorer(Protocol):
    """A scorer of any kind that counts what was degenerate (`notes=True` in its spec)."""

    def notes(self, state: State, weight: Tensor) -> Mapping[str, int]:
        """Return counts for the record, by names such as "empty_columns"; called after `finish` on the same sums."""


@dataclass(frozen=True)
class SelectionContext:
    """What a selector may know beside the scores: the seed, and what its spec asked for, by label."""

    seed: int = 0
    other_scores: Mapping[str, Mapping[Site, Tensor]] = field(default_factory=dict)
    """By label and site: those of the spec's `other_scorers`."""
    other_selectors: Mapping[str, Selector] = field(default_factory=dict)
    """By label: the spec's `other_selectors`, built."""


class Selector(Protocol):
    """Chooses weights. Built once a run as `Selector(options)`.

    It may leave a site out, but not every site of a tower.
    """

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> Mapping[Site, Tensor]:
        """Return a bool mask [O, I] for every site of `scores`."""


@dataclass(frozen=True)
class ManipulationContext:
    """What a manipulator may know beside weights and masks: what its spec asked for."""

    seed: int = 0
    moments: Mapping[Site, Moments] = field(default_factory=dict)
    """Of the sites' inputs on the calibration pairs ("mean-inputs", "second-moments") and on what is preserved."""
    own_modality: EmbeddingMoments | None = None
    """This tower's embeddings of the calibration tuples, of the unedited model ("embeddings", at `proj` sites)."""
    other_modality: EmbeddingMoments | None = None
    """The other tower's."""
    other_scores: Mapping[str, Mapping[Site, Tensor]] = field(default_factory=dict)
    """By label and site: those of the spec's `other_scorers`."""
    other_weights: Mapping[Site, Tensor] = field(default_factory=dict)
    """Weights [O, I] of the checkpoint that the spec's `other_checkpoint` names."""
    other_checkpoints: Sequence[Mapping[Site, Tensor]] = ()
    """Weights [O, I] of each of those that the spec's `other_checkpoints` names, in their order."""


class Manipulator(Protocol):
    """Gives selected weights new values. Built once a run as `Manipulator(options)`."""

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return new tensors under "weight" [O, I] and, if it changes, "bias" [O], each in its own dtype."""


@dataclass(frozen=True)
class ModelFiles:
    """A model resolved to files, nothing read but headers and configuration."""

    source: str
    checkpoint: Checkpoint
    """Its weights may still be on the hub, or in an archive: `checkpoint.pending` says so."""
    config: Mapping[str, Any]
    family: str
    settings: str = ""
    """Digest of what decides how images and captions become tensors, and tensors captions, beside `config`.

    Both are part of whatever is cached: a file that counts for neither must change no number.
    """
    no_joint_space: str = ""
    """Why images and captions share no space, so that nothing can be ranked across them; empty: they share one."""
    commit: str = ""
    """The commit of the hub that the files are of; empty: they are the user's own."""
    notes: tuple[str, ...] = ()
    """What the user should know of how the model was found (a tokenizer taken from elsewhere), one line each."""


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

    def image_mask(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Return the mask [B, T] of the image tokens that count; None: all of them, whatever the image."""

    def scores(self, cosines: Tensor) -> Tensor:
        """Return what the model itself says of pairs with these cosines: SigLIP's probability, CLIP's logit.

        Ranks are taken of cosines. Strictly monotonic, so it never changes one.
        """

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text: begin to end of text, cut to the context, no padding."""

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Return batched tensors and the mask [B, T] of the tokens that count (`real|released|all`)."""

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor that the checkpoint calls `key`.

        Raises:
            KeyError: it is not loaded.
        """

    def processing(self) -> dict[str, str]:
        """Return what turns images and captions into tensors: class, backend, digest of its settings."""


class Captioner(Protocol):
    """A loaded model, decoder and all, that says what an image shows.

    `prompt` is the one that its family is asked with by default; empty: it takes none.
    """

    module: torch.nn.Module
    device: torch.device
    prompt: str

    def captions(
        self,
        images: Sequence[Image.Image],
        prompt: str | None = None,
        *,
        temperature: float = 0.0,
        max_new_tokens: int = 64,
        seed: int = 0,
    ) -> list[str]:
        """Return one caption per RGB image, stripped; the same again for the same images and seed.

        Args:
            temperature: 0: the likeliest token each time; else sampled, from `seed`.

        Raises:
            ModelError: a prompt is given to a model that takes none.
        """

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor that the checkpoint calls `key`.

        Raises:
            KeyError: it is not loaded.
        """


class Adapter(Protocol):
    """A model family. Built as `Adapter()`; opening and listing sites read no weights."""

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder, checkpoint or hub id to files; weights are neither downloaded nor converted.

        Raises:
            ModelError: there is no such model, or it has no weights.
        """

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every site, in the model's order, from the configuration and tensor shapes alone."""

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return what is edited when no target is given."""

    def tensors(self, files: ModelFiles, tower: Tower) -> Mapping[str, str]:
        """Return the checkpoint keys of all that a tower's embeddings are computed from, by their names in it.

        The names are those of the architecture itself, so that towers can be exchanged between models that wrap them
        differently: "vision_model.embeddings.class_embedding" in CLIP as in LLaVA.
        """

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> Model:
        """Load the towers asked for; the weights are here (`pending` is None).

        Raises:
            ModelError: tensors are missing or do not fit the configuration.
        """

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write into a folder of edited weights whatever the source lacks to be loadable on its own."""


class CaptioningAdapter(Adapter, Protocol):
    """A model family of which the whole model, decoder and all, can be loaded (`captions=True` in its spec)."""

    def load_captioner(
        self, files: ModelFiles, *, device: str, dtype: str, device_map: str | Mapping[str, Any] | None = None
    ) -> Captioner:
        """Load the whole model.

        Args:
            device_map: how to spread it over devices, as transformers takes it; None: all of it on `device`.

        Raises:
            ModelError: tensors are missing or do not fit the configuration, or it cannot be spread.
        """
