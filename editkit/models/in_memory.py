"""Models in memory, from Python: embeddings and similarities of a model, edited or not, and captions.

model = editkit.load("openai/clip-vit-large-patch14", patches=["patch"])
model.scores(["dog.jpg", "cat.jpg"], ["a dog", "a cat"])                    # [2, 2], the model's own logits
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from editkit.components.choice import validate_options
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.protocols import Model, ModelFiles
from editkit.components.site import Tower, towers_of
from editkit.data.readers.deep_grey import to_rgb
from editkit.data.readers.images import open_rgb
from editkit.errors import DataError, ModelError, PatchError
from editkit.files.paths import user_path
from editkit.models.compute import Compute, resolve_device
from editkit.models.find import open_model
from editkit.models.joint_space import why_no_joint_space
from editkit.models.load import load_model
from editkit.models.memory import Batches
from editkit.models.variants import Variant, applied
from editkit.patch.base_commit import at_base_commit
from editkit.patch.patch import Change, Patch
from editkit.progress import silent

Item = TypeVar("Item")


@dataclass(frozen=True)
class Loaded:
    """A model that embeds images and captions, with `edit` laid over it while it does.

    `model` itself holds the base's weights. `incomparable` says why images and captions cannot be compared; empty:
    they can.
    """

    model: Model
    files: ModelFiles
    edit: Variant
    incomparable: str = ""

    def __repr__(self) -> str:
        """Say which model it is, not all that is in it."""
        return f"Loaded({self.files.source}, {' and '.join(self.model.towers)})"

    def embed_images(self, images: Sequence[Image.Image | str | Path], *, batch_size: int = 32) -> Tensor:
        """Return normalised float32 embeddings [n, D] of n images or image files, on the CPU.

        Args:
            batch_size: images per forward pass; fewer where memory runs out.

        Raises:
            ModelError: the vision tower is not loaded, or there is not enough memory for one image.
            DataError: a file cannot be read, or there is no image.
        """
        self._require("vision", images)
        preprocess = self.model.image_preprocessor()

        def inputs_of(part: Sequence[Image.Image | str | Path]) -> Mapping[str, Tensor]:
            made = [preprocess(_rgb(image)) for image in part]
            return {name: torch.stack([one[name] for one in made]) for name in made[0]}

        return self._embed(images, inputs_of, self.model.encode_images, batch_size)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 32) -> Tensor:
        """Return normalised float32 embeddings [n, D] of n captions, on the CPU.

        Raises:
            ModelError: the text tower is not loaded.
            DataError: there is no caption.
        """
        self._require("text", texts)

        def inputs_of(part: Sequence[list[int]]) -> Mapping[str, Tensor]:
            return self.model.text_inputs(part, "real")[0]

        return self._embed(self.model.tokenize(texts), inputs_of, self.model.encode_texts, batch_size)

    def scores(
        self, images: Sequence[Image.Image | str | Path], texts: Sequence[str], *, batch_size: int = 32
    ) -> Tensor:
        """Return what the model makes of each of N images with each of M captions, [N, M] float32, on the CPU.

        That is what its family shows: CLIP's logits, SigLIP's probabilities.

        Raises:
            ModelError: images and captions share no space, or one of the towers is not loaded.
            DataError: as `embed_images` and `embed_texts`.
        """
        if self.incomparable:
            raise ModelError(
                f"`scores` compares images with captions, which {self.files.source} does not allow: "
                f"{self.incomparable}.",
                "Use `embed_images` or `embed_texts` alone.",
            )
        pictures = self.embed_images(images, batch_size=batch_size)
        cosines = pictures @ self.embed_texts(texts, batch_size=batch_size).T
        with torch.no_grad(), self._edited():
            return self.model.scores(cosines.to(self.model.device)).float().cpu()

    def _embed(
        self,
        items: Sequence[Item],
        inputs_of: Callable[[Sequence[Item]], Mapping[str, Tensor]],
        encode: Callable[[Mapping[str, Tensor]], Tensor],
        batch_size: int,
    ) -> Tensor:
        def run(compute: Compute) -> Tensor:
            found = []
            for start in range(0, len(items), compute.batch_size):
                inputs = inputs_of(items[start : start + compute.batch_size])
                found.append(encode({name: tensor.to(self.model.device) for name, tensor in inputs.items()}).cpu())
            return torch.cat(found)

        batches = Batches(validate_options(Compute, {"batch_size": batch_size}, "embedding"), silent)
        with torch.no_grad(), self._edited():
            return batches.run_smaller("embedding", len(items), run)

    def _edited(self) -> Any:
        return applied(self.model, self.edit, list(self.edit.changes))

    def _require(self, tower: Tower, items: object) -> None:
        if tower not in self.model.towers:
            raise ModelError(
                f"The {tower} tower of {self.files.source} is not loaded; loaded: {', '.join(self.model.towers)}.",
                "Load a model with this tower, and leave out `towers` or name it there.",
            )
        if not isinstance(items, Sequence) or isinstance(items, str) or not items:
            what = "captions" if tower == "text" else "images or image files"
            raise DataError(f"No list of {what} was given, or an empty one.", "Give a list, even of one.")


def load(
    model: str | Path,
    *,
    device: str = "auto",
    dtype: str = "float32",
    towers: Sequence[Tower] | None = None,
    patches: Sequence[str | Path | Patch] = (),
    host: Host | None = None,
) -> Loaded:
    """Load a model, and lay patches over it in memory.

    Args:
        model: a folder, a hub id, or whatever else `--model` takes.
        towers: "text", "vision"; None: all that the model has.
        patches: made from this very model, each of other tensors than the others.

    Raises:
        EditkitError: model, device, dtype or a patch cannot be used.
    """
    compute = validate_options(Compute, {"device": device, "dtype": dtype}, "load")
    adapter, files = open_model(str(model), host or default_host(), silent)
    sites = adapter.sites(files)
    present = towers_of(sites)
    wanted = present if towers is None else tuple(dict.fromkeys(towers))
    if not wanted or not set(wanted) <= set(present):
        raise ModelError(
            f"Towers {', '.join(wanted) or 'none'} were asked for; {files.source} has: {', '.join(present)}.",
            "Leave out `towers` to load all of them.",
        )
    changes = _changes(patches, files)
    place = resolve_device(compute.device)
    loaded = load_model(adapter, files, wanted, device=place, dtype=compute.dtype, stage=silent)
    left = [tower for tower in present if tower not in wanted]
    why = why_no_joint_space(files, sites) or (f"its {left[0]} tower is not loaded" if left else "")
    live = {key: change for key, change in changes.items() if _is_live(loaded, key)}
    return Loaded(loaded, files, Variant("edited", live), why)


def _rgb(image: Image.Image | str | Path) -> Image.Image:
    return to_rgb(image, "in memory") if isinstance(image, Image.Image) else open_rgb(user_path(image))


def _changes(patches: Sequence[str | Path | Patch], files: ModelFiles) -> dict[str, Change]:
    """Return what patches change, all of them together.

    Raises:
        PatchError: one was not made from this checkpoint, or two change the same tensor.
    """
    changes: dict[str, Change] = {}
    for given in patches:
        patch = given if isinstance(given, Patch) else Patch.load(given)
        with at_base_commit(patch.record, files.source, files.commit, "Load the model '{}'.".format):
            patch.require_base(files.checkpoint, called="" if isinstance(given, Patch) else given)
        if twice := sorted(changes.keys() & patch.changes.keys()):
            raise PatchError(
                f"Two of the patches change tensor {twice[0]}, each from what the base holds.",
                "Lay over one of them at a time.",
            )
        changes |= patch.changes
    return changes


def _is_live(model: Model, key: str) -> bool:
    """Whether a tensor was loaded: a tower that was not asked for, or a decoder, is not there to be changed."""
    try:
        model.parameter(key)
    except KeyError:
        return False
    return True
