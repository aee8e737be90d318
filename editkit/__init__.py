"""editkit edits the weights of vision-language models without training, and measures what the edit did.

import editkit

edited = editkit.edit("uwm", alpha=-1, tau=0.2)
report = editkit.evaluate("safeground", patches=[edited.folder])
editkit.Patch.load(edited.folder).apply("model-folder", "edited-model")
editkit.load("model-folder", patches=[edited.folder]).scores(images, captions)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from editkit.components.hooks import hookimpl
from editkit.errors import EditkitError

if TYPE_CHECKING:
    from editkit.api import Edited, edit, evaluate
    from editkit.models.captioner import load_captioner
    from editkit.models.in_memory import Loaded, load
    from editkit.patch.patch import Patch

__version__ = "0.1.0"
__all__ = [
    "Edited",
    "EditkitError",
    "Loaded",
    "Patch",
    "edit",
    "evaluate",
    "hookimpl",
    "load",
    "load_captioner",
]

_HEAVY = {
    **dict.fromkeys(("Edited", "edit", "evaluate"), "editkit.api"),
    **dict.fromkeys(("Loaded", "load"), "editkit.models.in_memory"),
    "load_captioner": "editkit.models.captioner",
    "Patch": "editkit.patch.patch",
}


def __getattr__(name: str) -> Any:
    """Import torch and numpy when a function that needs them is first asked for, not before."""
    if name in _HEAVY:
        return getattr(import_module(_HEAVY[name]), name)
    raise AttributeError(f"module 'editkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List what is imported when it is asked for, too."""
    return sorted({*globals(), *_HEAVY})
