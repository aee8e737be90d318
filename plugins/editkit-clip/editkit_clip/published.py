"""What a lone checkpoint of open_clip does not say, and the published weights of its architecture disagree about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PREPARED = ("mean", "std", "interpolation", "resize_mode")


def assumptions(name: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each thing that was assumed of a checkpoint given as `open_clip:NAME@PATH`.

    Args:
        name: its architecture.
        settings: the `model_cfg` and `preprocess_cfg` with which it is going to be loaded.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = {tag: dict(get_pretrained_cfg(name, tag)) for tag in list_pretrained_tags_by_model(name)}
    return (*_on_activation(name, tags, settings["model_cfg"]), *_on_images(name, tags, settings["preprocess_cfg"]))


def _on_activation(name: str, tags: Mapping[str, Mapping[str, Any]], model_cfg: Mapping[str, Any]) -> tuple[str, ...]:
    quick = [tag for tag, known in tags.items() if known.get("quick_gelu")]
    if model_cfg.get("quick_gelu") or not quick:  # then the architecture's own name says it, or all are for GELU
        return ()
    plain = len(tags) - len(quick)
    both = f"for GELU ({plain} tag{'s' * (plain > 1)}) and for QuickGELU" if plain else "for QuickGELU"
    return (
        f"activation GELU assumed: published weights of {name} are {both} ({', '.join(quick)}); for those write "
        f"open_clip:{name}-quickgelu@PATH",
    )


def _on_images(name: str, tags: Mapping[str, Mapping[str, Any]], assumed: Mapping[str, Any]) -> tuple[str, ...]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for tag, known in tags.items():
        differing = tuple(key for key in PREPARED if _text(known.get(key) or assumed[key]) != _text(assumed[key]))
        if differing:
            alike.setdefault((_described(assumed, differing), _described(known, differing)), []).append(tag)
    return tuple(
        f"{ours} assumed for images: published weights of {name} are also for {theirs} ({', '.join(given)}); for those "
        "give a folder whose open_clip_config.json says so"
        for (ours, theirs), given in alike.items()
    )


def _described(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {_text(settings[key])}" for key in keys)


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(format(number, ".3g") for number in value)
    return str(value)
