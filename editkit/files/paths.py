"""Paths as people write them: `~` is the home folder, and a relative one starts where the text stands.

That is the current folder for flags and for Python, the file's own folder for a YAML file or a table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SCHEME = re.compile(r"[A-Za-z][\w-]+:(?!\\)")
"""What names no path: `hf:OWNER/NAME`, `open_clip:NAME`; a drive has one letter."""


class Written(str):
    """A text that stands in a file; `folder` is the file's."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> Written:
        """Keep a text with the folder in which its relative paths start."""
        made = super().__new__(cls, text)
        made.folder = folder
        return made

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]
        return str(self), self.folder


def written_in(folder: Path, tree: Any) -> Any:
    """Return what was read from a file, with each text in it as `Written`; keys stay as they are."""
    if isinstance(tree, str):
        return Written(tree, folder)
    if isinstance(tree, Mapping):
        return {key: written_in(folder, value) for key, value in tree.items()}
    return [written_in(folder, value) for value in tree] if isinstance(tree, list) else tree


def user_path(path: str | Path) -> Path:
    """Return the path that a user means: without `~`, and, of a file's own text, in the file's folder.

    A `~` that stands for no one's home folder is kept: a file may be called so.
    """
    expanded = Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    return path.folder / expanded if isinstance(path, Written) else expanded


def path_or_name(text: str) -> str:
    """Return the path that a text means, or the text itself if it is a name with a scheme, such as `hf:OWNER/NAME`."""
    return str(text) if _SCHEME.match(text) else str(user_path(text))


def source_path(text: str) -> str:
    """Return a model's source: a path without `~`, or in the folder of the file that says it, if the text looks like a
    path or is there; else the text, which is a name or a hub id."""
    if text.startswith("~"):
        return str(user_path(text))
    if isinstance(text, Written) and (text.startswith(("./", "../")) or user_path(text).exists()):
        return str(user_path(text))
    return str(text)


def start_of(path: Path) -> str:
    """Say where a relative path starts, for the error of one that leads nowhere; nothing of an absolute one."""
    return "" if path.is_absolute() else f" (in the current folder, {Path.cwd()})"
