"""What Ctrl-C leaves, and what the same command does when it is typed again: each command says so before long work."""

from __future__ import annotations

from typing import Any

from editkit.errors import EditkitError

_KEY = "editkit.stopped"
_WHOLE = "Stopped. Nothing is left half-written."
ANEW = EditkitError(_WHOLE, "Run the same command to start anew: it keeps nothing on the way.")


def from_cache(what: str) -> EditkitError:
    """Return what is told of a command that keeps what it computes in the cache."""
    return EditkitError(_WHOLE, f"Run the same command to go on: {what} that were finished come from the cache.")


def from_folder(folder: object) -> EditkitError:
    """Return what is told of a command that writes into a folder of its own as it goes."""
    return EditkitError(f"Stopped. What was finished stays in {folder}.", "Run the same command to go on from there.")


def when_stopped(ctx: Any, told: EditkitError) -> None:
    """Say what Ctrl-C is to tell from now on; of a command that says nothing, that it starts anew."""
    ctx.meta[_KEY] = told


def stopped(ctx: Any) -> EditkitError:
    """Return what Ctrl-C tells of the command that was running."""
    told: EditkitError = ctx.meta.get(_KEY, ANEW)
    return told
