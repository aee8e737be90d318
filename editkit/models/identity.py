"""What numbers depend on: all that is cached or kept is named by an identity, and identities are made here alone.

    ModelIdentity       how inputs become tensors and tensors become outputs
    ScoreIdentity       of it, the data and a scorer: the scores of one site
    MomentsIdentity     of it and the data: the statistics of one site
    PreservedIdentity   of it and preserved texts or images: the statistics of one site
    EmbeddingIdentity   of it, an edit and texts or images: their embeddings

What moves a number by rounding alone is no part of them: batch size, threads, the model of a processor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from editkit.components.choice import Choice
from editkit.components.code import Code
from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import Site, Tower
from editkit.components.spec import Spec
from editkit.files.digests import digest_of
from editkit.libraries import versions
from editkit.models.compute import Compute

FORMAT = 2
"""Raised when the meaning of what is cached changes, so that older entries are never served."""


@dataclass(frozen=True)
class Identity:
    """Base of all identities: two are equal where their keys are."""

    @property
    def codes(self) -> tuple[Code, ...]:
        """All code that the numbers depend on."""
        raise NotImplementedError

    @property
    def key(self) -> str | None:
        """The sha256 (hex) of the whole; None where it is not known which code runs, so that nothing may be cached."""
        if any(code.digest is None for code in self.codes):
            return None
        facts = {"format": FORMAT, "of": type(self).__name__, **asdict(self)}
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ModelIdentity(Identity):
    """How a model turns inputs into outputs."""

    weights: str
    """sha256 (hex) of all its tensors."""
    config: str
    """Of its whole configuration."""
    processing: str
    """Of what turns images and captions into tensors: tokenizer and image processor files, `ModelFiles.settings`."""
    adapter: str
    """What loads it: "package.module:Name"."""
    code: tuple[Code, ...]
    """Behind the adapter, editkit's own among it."""
    libraries: Mapping[str, str]
    """Their versions; which are missing can matter as well."""
    dtype: str
    autocast: str
    matmul: str
    """The precision that torch multiplies float32 matrices in."""
    device: str
    """Its kind: cpu, cuda, mps."""

    @property
    def codes(self) -> tuple[Code, ...]:
        """All code that the numbers depend on."""
        return self.code


@dataclass(frozen=True)
class ComponentIdentity:
    """A component as it was chosen: its options, and the code behind it."""

    name: str
    target: str
    options: Mapping[str, Any]
    code: tuple[Code, ...]


@dataclass(frozen=True)
class ComputedIdentity(Identity):
    """Base of the identities of what a model computes."""

    model: ModelIdentity

    @property
    def codes(self) -> tuple[Code, ...]:
        """All code that the numbers depend on."""
        return self.model.code


@dataclass(frozen=True)
class ScoreIdentity(ComputedIdentity):
    """The scores [O, I] of one site."""

    data: str
    """Fingerprint of the calibration tuples."""
    tokens: str
    scorer: ComponentIdentity
    site: Site
    seed: int | None
    """None where the order in which tuples were drawn does not matter."""

    @property
    def codes(self) -> tuple[Code, ...]:
        """All code that the numbers depend on."""
        return (*super().codes, *self.scorer.code)


@dataclass(frozen=True)
class MomentsIdentity(ComputedIdentity):
    """The moments of one site's inputs."""

    data: str
    tokens: str
    site: Site
    second: bool
    """Whether second moments are among them."""
    edited: str
    """Digest of what was edited before they were taken; empty: nothing was."""


@dataclass(frozen=True)
class PreservedIdentity(ComputedIdentity):
    """The second moment of one site's inputs on preserved items."""

    content: str
    """Digest of the texts, or of the images' bytes."""
    tokens: str
    site: Site
    edited: str
    """Digest of what was edited before it was taken; empty: nothing was."""


@dataclass(frozen=True)
class EmbeddingIdentity(ComputedIdentity):
    """The embeddings [k, n, D] of n groups of k texts or images, by the model with an edit laid over it."""

    tower: Tower
    content: str
    """Digest of the texts, or of the images' bytes, in their order."""
    edit: str
    """Digest of the changes to the tower's tensors; empty: there are none."""


def content_of_texts(groups: Sequence[tuple[str, ...]]) -> str:
    """Return the digest of n groups of k texts, in their order."""
    return digest_of(["texts", groups])


def content_of_images(digests: Sequence[Sequence[str | None]]) -> str:
    """Return the digest of n groups of k images, in their order, by the digests of their bytes."""
    return digest_of(["images", [list(group) for group in digests]])


def identify_model(
    adapter: Adapter, files: ModelFiles, weights: str, compute: Compute, device: str, host: Host
) -> ModelIdentity:
    """Return the identity of a model as it will be loaded.

    Args:
        adapter: one that the host built.
        weights: `Checkpoint.identity()`.
        device: the torch device that it is loaded on.

    Raises:
        PluginError: its adapter cannot be imported.
    """
    import torch

    family = host.family_of(adapter)
    return ModelIdentity(
        weights=weights,
        config=_digest(files.config),
        processing=_digest(files.settings),
        adapter=family.target,
        code=host.code_of(family),
        libraries=versions(),
        dtype=compute.dtype,
        autocast=compute.autocast,
        matmul=torch.get_float32_matmul_precision(),
        device=torch.device(device).type,
    )


def identify_component(choice: Choice, host: Host) -> ComponentIdentity:
    """Return the identity of a chosen component.

    Raises:
        PluginError: it cannot be imported.
    """
    spec: Spec = choice.spec
    return ComponentIdentity(spec.name, spec.target, choice.options.model_dump(mode="json"), host.code_of(spec))


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
