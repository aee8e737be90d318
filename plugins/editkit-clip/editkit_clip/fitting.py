"""A CLIP's tokenizer and image processor, loaded and held to the model that they prepare inputs for."""

from __future__ import annotations

from typing import Any

from editkit.plugin import require_ids_fit, require_pixels_fit
from editkit_clip.base_model import Part
from editkit_clip.end_of_text import require_end_fits, require_same_vocabulary


def fitting_tokenizer(source: str, part: Part, config: Any, text: Any, *, reads_end: bool) -> Any:
    """Return a model's tokenizer, its own or a base's.

    Args:
        source: the model.
        config: transformers' of the whole model, since a base's folder has none.
        text: that of its text tower.
        reads_end: whether a caption's embedding is read at its end of text.

    Raises:
        ModelError: it has other ids than the tower embeds, or ends captions otherwise than the tower reads them.
    """
    from transformers import AutoTokenizer

    whose = part.base if part.borrowed else source
    tokenizer = AutoTokenizer.from_pretrained(part.place, config=config, trust_remote_code=False)
    if part.borrowed:
        require_same_vocabulary(source, whose, tokenizer, text.vocab_size)
    require_ids_fit(source, tokenizer, text.vocab_size, whose)
    if reads_end:
        require_end_fits(source, whose, tokenizer, text.eos_token_id)
    return tokenizer


def fitting_images(source: str, part: Part, config: Any, vision: Any) -> Any:
    """Return a model's image processor, its own or a base's.

    Raises:
        ModelError: it makes images of another size than the tower takes.
    """
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(part.place, config=config, trust_remote_code=False)
    require_pixels_fit(source, processor, vision.image_size, part.base if part.borrowed else source)
    return processor
