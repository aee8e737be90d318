"""editkit edits the weights of vision-language models without training, and measures what the edit did.

import editkit

edited = editkit.edit("uwm", alpha=-1, tau=0.2)
report = editkit.evaluate("safeground", patches=[edited.folder])
editkit.apply(edited.folder, "model-folder", "edited-model")
editkit.load("model-folder", patches=[edited.folder]).scores(images, captions)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from editkit.components.hooks import hookimpl
from editkit.errors import EditkitError
from editkit.libraries import explain_import_failure

if TYPE_CHECKING:
    from editkit.api.apply import apply, revert
    from editkit.api.carry_out import Edited
    from editkit.api.diff import diff
    from editkit.api.edit import edit, plan
    from editkit.api.evaluate import caption, evaluate
    from editkit.api.export import Exported, export
    from editkit.api.judge import judge
    from editkit.api.results import Results, results
    from editkit.api.show import Shown, show
    from editkit.components.load import load_host
    from editkit.evals.judges.run import Judged
    from editkit.evals.keep import Kept
    from editkit.files.cache_folder import cache_contents, cache_root
    from editkit.files.difference import ModelDifference
    from editkit.files.eviction import clear_cache, prune_cache
    from editkit.models.captioner import load_captioner
    from editkit.models.in_memory import Loaded, load
    from editkit.patch.overlap import PairOverlap
    from editkit.patch.patch import Applied, Patch
    from editkit.patch.summary import PatchSummary
    from editkit.recipes.catalogue import NamedRecipe, find_recipe, list_recipes

    __version__: str

__all__ = [
    "Applied",
    "Edited",
    "EditkitError",
    "Exported",
    "Judged",
    "Kept",
    "Loaded",
    "ModelDifference",
    "NamedRecipe",
    "PairOverlap",
    "Patch",
    "PatchSummary",
    "Results",
    "Shown",
    "apply",
    "cache_contents",
    "cache_root",
    "caption",
    "clear_cache",
    "diff",
    "edit",
    "evaluate",
    "export",
    "find_recipe",
    "hookimpl",
    "judge",
    "list_recipes",
    "load",
    "load_captioner",
    "load_host",
    "plan",
    "prune_cache",
    "results",
    "revert",
    "show",
]

_LAZY = {
    "editkit.api.apply": ("apply", "revert"),
    "editkit.api.carry_out": ("Edited",),
    "editkit.api.diff": ("diff",),
    "editkit.api.edit": ("edit", "plan"),
    "editkit.api.evaluate": ("caption", "evaluate"),
    "editkit.api.export": ("Exported", "export"),
    "editkit.api.judge": ("judge",),
    "editkit.api.results": ("Results", "results"),
    "editkit.api.show": ("Shown", "show"),
    "editkit.components.load": ("load_host",),
    "editkit.evals.judges.run": ("Judged",),
    "editkit.evals.keep": ("Kept",),
    "editkit.files.cache_folder": ("cache_contents", "cache_root"),
    "editkit.files.difference": ("ModelDifference",),
    "editkit.files.eviction": ("clear_cache", "prune_cache"),
    "editkit.models.captioner": ("load_captioner",),
    "editkit.models.in_memory": ("Loaded", "load"),
    "editkit.patch.overlap": ("PairOverlap",),
    "editkit.patch.patch": ("Applied", "Patch"),
    "editkit.patch.summary": ("PatchSummary",),
    "editkit.recipes.catalogue": ("NamedRecipe", "find_recipe", "list_recipes"),
}
_HOMES = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a module when one of its names is first asked for, not before: torch and numpy take their time.

    Raises:
        InstallError: it needs a library that is not installed.
    """
    if name == "__version__":
        return import_module("importlib.metadata").version("editkit")
    if name not in _HOMES:
        raise AttributeError(f"module 'editkit' has no attribute '{name}'")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ImportError as error:
        explain_import_failure(error)
        raise


def __dir__() -> list[str]:
    """List what is imported when it is asked for, too."""
    return sorted({*globals(), *_HOMES, "__version__"})
