"""How far each variant of a model moves the safe items that edits are calibrated on."""

from __future__ import annotations

from editkit.data.digests import image_digests
from editkit.data.tuples import TupleSet
from editkit.evals.context import EvaluationContext
from editkit.evals.flagged import Distances, moved
from editkit.models.batches import pass_over, refuse_unreadable


def distances_of_safe(context: EvaluationContext, data: TupleSet) -> dict[str, dict[str, Distances]]:
    """[m] by variant and then by "captions" and "images", for the safe sides of m tuples.

    Raises:
        EditkitError: the model or an image cannot be used.
    """
    variants, base = context.variants, context.variants[0].name
    images = [item.safe_image for item in data.items]
    texts = context.encoder.texts(variants, [(item.safe_text or "",) for item in data.items])
    pictures = context.encoder.images(
        variants,
        [(image,) for image in images if image is not None],  # the tuples are whole
        [(digest,) for digest in image_digests(images, context.digests)],
        pass_over if context.recipe.skips_bad_items else refuse_unreadable,
    )
    kept = [place for place in range(len(images)) if place not in pictures[base].unreadable]
    return {
        variant.name: {
            "captions": moved(texts[base].values[0], texts[variant.name].values[0]),
            "images": moved(pictures[base].values[0][kept], pictures[variant.name].values[0][kept]),
        }
        for variant in variants
    }
