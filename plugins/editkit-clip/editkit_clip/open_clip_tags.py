"""The weights that open_clip knows by NAME/TAG: their settings, and the repository of the hub that holds them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from editkit.plugin import OPEN_CLIP, Checkpoint, ModelError, WeightNames, did_you_mean, model_folder, open_weights


def tag_settings(name: str, tag: str) -> dict[str, Any]:
    """Return what open_clip says of published weights: where they are, and how images are prepared for them.

    Raises:
        ModelError: it knows no such weights; names the closest.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    settings = get_pretrained_cfg(name, tag) if tag else None
    if not settings:
        tags = list_pretrained_tags_by_model(name)
        known = tags or open_clip.list_models()
        raise ModelError(
            f"open_clip has no weights '{name}/{tag}'.{did_you_mean(tag if tags else name, known)}",
            f"Tags of {name}: {', '.join(tags)}."
            if tags
            else "Write open_clip:NAME/TAG, open_clip:NAME@PATH, or open_clip:ORG/NAME for a model of the hub.",
        )
    return dict(settings)


def open_tag(
    name: str, tag: str, settings: Mapping[str, Any], outline: Callable[[], Mapping[str, tuple[int, ...]]]
) -> tuple[Checkpoint, str]:
    """Open the weights of a tag where the hub holds them; return them and their commit.

    Raises:
        ModelError: the hub says no; or open_clip names no repository of the hub.
    """
    place = str(settings.get("hf_hub") or "")
    if not place:
        raise ModelError(
            f"The weights {name}/{tag} are not on the hub.",
            f"Download them ({settings.get('url') or 'open_clip says where'}) and write open_clip:{name}@PATH",
        )
    repository, file = posixpath.split(place)
    folder = model_folder(repository)
    return open_weights(folder, _names(file), outline, alone=True), folder.commit


def _names(archive: str) -> WeightNames:
    """Return what a repository's weights are called; open_clip takes safetensors in an archive's place."""
    if not archive:
        return OPEN_CLIP
    stem = archive.rpartition(".")[0]
    return WeightNames("model.safetensors" if stem == "pytorch_model" else f"{stem}.safetensors", archive)
