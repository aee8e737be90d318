"""editkit edits the weights of vision-language models without training, and measures what the edit did.

import editkit

edited = editkit.edit("uwm", alpha=-1, tau=0.2)
report = editkit.evaluate("safeground", patches=[edited.folder])
editkit.Patch.load(edited.folder).apply("model-folder", "edited-model")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from editkit.errors import EditkitError
from editkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from editkit.api import Edited, edit, evaluate
    from editkit.patch import Patch

__version__ = "0.1.0"
__all__ = ["Edited", "EditkitError", "Patch", "edit", "evaluate", "hookimpl"]

_HEAVY = {"edit": "editkit.api", "evaluate": "editkit.api", "Edited": "editkit.api", "Patch": "editkit.patch"}


def __getattr__(name: str) -> Any:
    """Import torch and numpy when a function that needs them is first asked for, not before."""
    if name in _HEAVY:
        return getattr(import_module(_HEAVY[name]), name)
    raise AttributeError(f"module 'editkit' has no attribute '{name}'")
