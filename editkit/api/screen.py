"""Standard error, for notes and progress: one console, since a bar makes way only for lines of its own console."""

from __future__ import annotations

from rich.console import Console

# names of files and classes are text: neither [brackets] nor :colons: in them mean anything
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def note(message: str) -> None:
    """Print a dim line to stderr, for what the user should know but did not ask for."""
    err.print(message, style="dim", soft_wrap=True)
