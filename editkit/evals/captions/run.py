"""Caption the images of a plan with a model and edits of it, from wherever their captions files end."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from editkit.components.protocols import Captioner, Model
from editkit.data.readers.images import open_rgb
from editkit.errors import DataError, ModelError
from editkit.evals.captions.file import CaptionFile
from editkit.evals.captions.plan import CaptionBatch
from editkit.models.memory import OutOfMemoryError, free_on_oom
from editkit.models.variants import Variant, applied
from editkit.progress import Stage

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Place:
    """Where captions are made: a device, or a map of several."""

    device: str
    device_map: str | None = None

    @property
    def kind(self) -> str:
        """What the arithmetic and the random numbers depend on."""
        return f"device map {self.device_map}" if self.device_map else self.device.partition(":")[0]


def caption_missing(
    files: Mapping[str, CaptionFile],
    variants: Sequence[Variant],
    load: Callable[[], Captioner],
    model: str,
    place: Place,
    stage: Stage,
    *,
    skip_unreadable: bool,
) -> None:
    """Complete the captions files of the variants; the model is loaded only if one is incomplete.

    Args:
        files: by the variant's name.
        load: returns the base model, whose weights are its own again afterwards.
        model: what the user calls it.

    Raises:
        DataError: an image cannot be read, and is not to be skipped.
        ModelError: the memory does not suffice, or an edit touches a tensor that is not live.
        OutputError: see `CaptionFile`.
    """
    left_out = [row for file in files.values() for row in file.rows if row.caption is None]
    if left_out and not skip_unreadable:  # an earlier run skipped it: for this one it is an error
        raise DataError(left_out[0].reason, "Replace the file, or leave it out with --on-bad-item skip.")
    if all(file.is_complete for file in files.values()):
        return
    with stage("loading the model", 1) as advance:
        captioner = load()
        advance(1)
    for variant in variants:
        file = files[variant.name]
        if file.is_complete:
            continue
        file.go_on(file.settings.header(model, captioner.prompt, place.kind))
        left = file.batches[file.done :]
        label = f"captioning: {variant.name}"
        # only `parameter` of the model is used
        with (
            stage(label, sum(len(batch.tasks) for batch in left)) as advance,
            applied(cast(Model, captioner), variant, list(variant.changes)),
        ):
            for batch in left:
                _caption(captioner, file, batch, skip_unreadable=skip_unreadable)
                advance(len(batch.tasks))
    del captioner
    gc.collect()  # judges may need the memory


def _caption(captioner: Captioner, file: CaptionFile, batch: CaptionBatch, *, skip_unreadable: bool) -> None:
    images: list[Image.Image] = []
    reasons: list[str] = []
    for task in batch.tasks:
        try:
            images.append(open_rgb(task.image))
            reasons.append("")
        except DataError as error:
            if not skip_unreadable:
                raise
            reasons.append(error.problem)
    settings = file.settings
    generate = partial(
        captioner.captions,
        images,
        settings.prompt,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        seed=batch.seed,
    )
    try:
        made = iter(free_on_oom(generate))
    except OutOfMemoryError as error:
        # never a smaller batch by itself: what is drawn for an image depends on the batch it is in
        raise ModelError(
            f"Out of memory with {len(images)} images at once: {error.problem}",
            "Caption again with a smaller --batch-size, in --dtype float16, or with a smaller --max-new-tokens.",
        ) from error
    file.append(batch, [None if reason else next(made) for reason in reasons], reasons)
