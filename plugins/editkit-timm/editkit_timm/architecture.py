"""What a timm architecture is, found out without weights: its tensors' shapes, and that it is a vision transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import timm
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos

from editkit.plugin import ModelError, did_you_mean, without_memory

TRANSFORMERS = (VisionTransformer, VisionTransformerRelPos, Eva, Beit)
"""timm's classes of vision transformers whose blocks are alike: attention and MLP of linear maps, one width."""


def vit_shapes(source: str, architecture: str, arguments: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a vision transformer's tensors by name.

    Args:
        source: what the model is called, for errors.
        architecture: its name in timm ("vit_base_patch16_224").
        arguments: what it is built with beyond its name, as `timm.create_model` takes it.

    Raises:
        ModelError: timm does not know the architecture, cannot build it so, or it is of none of the classes above.
    """
    require_known(source, architecture)
    try:
        kind, shapes = _outline(architecture, json.dumps(dict(arguments), sort_keys=True))
    except Exception as error:  # an architecture raises what it likes of arguments
        raise ModelError(
            f"{source} cannot be built as timm's '{architecture}': {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}",
            "Check the architecture and the arguments in its config.json.",
        ) from error
    if not issubclass(kind, TRANSFORMERS):
        raise ModelError(
            f"{source} is timm's '{architecture}', a {kind.__name__}, whose maps this adapter does not know.",
            "Of timm it edits vision transformers: vit_*, deit*, eva*, beit*, vitamin_* and others of the classes "
            f"{', '.join(known.__name__ for known in TRANSFORMERS)}.",
        )
    return shapes


def require_known(source: str, architecture: str) -> None:
    """Check that timm has an architecture.

    Raises:
        ModelError: it has not; names the closest.
    """
    if not timm.is_model(architecture):
        known = timm.list_models()
        raise ModelError(
            f"timm {timm.__version__} has no architecture '{architecture}' ({source})."
            f"{did_you_mean(architecture, known)}",
            "List them with python -c 'import timm; print(timm.list_models())', or upgrade timm.",
        )


@cache
def _outline(architecture: str, arguments: str) -> tuple[type, Mapping[str, tuple[int, ...]]]:
    with without_memory():
        module = timm.create_model(architecture, pretrained=False, **json.loads(arguments))
    return type(module), {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
