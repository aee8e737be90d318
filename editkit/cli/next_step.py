"""Commands to type next, as words: evaluating what was edited, or applying it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from editkit.errors import EditkitError
from editkit.patch.record_file import part_of, recipe_of

if TYPE_CHECKING:
    from editkit.components.host import Host


def evaluate_patches(record: Mapping[str, Any], patches: Sequence[object], *, model: str | None = None) -> list[str]:
    """Return the command that evaluates patches, one of which has this record; none where nothing can be compared."""
    if part_of(record, "model").get("no_joint_space"):
        return []
    chosen = ["--model", model] if model else []
    return ["eval", "safeground", *chosen, *_data(record), *(str(w) for patch in patches for w in ("--patch", patch))]


def can_be_evaluated(model: str, host: Host) -> bool:
    """Whether `eval` takes a model that `apply` took: a family must be known for it, and torch be there to run it."""
    from editkit.models.find import find_adapter

    try:
        find_adapter(model, host)
        return find_spec("torch") is not None
    except (EditkitError, ImportError):  # whoever keeps a module from being imported may do so by an error
        return False


def apply_patch(record: Mapping[str, Any], patch: object) -> list[str]:
    """Return the command that applies a patch to the model that it was made from."""
    source = recipe_of(record).get("model")
    return ["apply", str(patch), source if isinstance(source, str) else "MODEL", "-o", f"{patch}-model"]


def _data(record: Mapping[str, Any]) -> list[str]:
    """Return the flags that name the data set, if it is not the default, and what was set of it."""
    from editkit.recipes.layers import DEFAULTS

    chosen = dict(part_of(recipe_of(record), "data"))
    default = DEFAULTS["data.name"]
    name, path = chosen.pop("name", default), chosen.pop("path", None)
    named = [] if name == default and path is None else ["--data", name if path is None else f"{name}:{path}"]
    return named + [word for option, value in chosen.items() for word in ("--set", f"data.{option}={value}")]
