"""Where the cache lies, how large it may become, and what is in it; looking changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import platformdirs

from editkit.errors import RecipeError

Kind = Literal["scores", "embeddings", "moments"]
"""What is computed, and cached under the hash of all that it depends on."""
KINDS: tuple[Kind, ...] = get_args(Kind)
CONVERTED = "converted"
"""Checkpoints that were torch archives: a folder each."""
DIGESTS = "digests"
"""The digests of files that plans go by: one file."""
EVERYTHING = (*KINDS, CONVERTED, DIGESTS)
DEFAULT_LIMIT = "20GB"
_NAME = re.compile(r"\.?[0-9a-f]{64}.*")
"""An entry, or one that is being written."""


@dataclass(frozen=True)
class Stored:
    """Something in the cache: its size in bytes, and when it was last used, in seconds since 1970."""

    kind: str
    path: Path
    size: int
    used: float


def cache_root() -> Path:
    """Return EDITKIT_CACHE_DIR, or the user's cache folder; neither need exist."""
    given = os.environ.get("EDITKIT_CACHE_DIR")
    root = Path(os.path.expanduser(given or platformdirs.user_cache_dir("editkit")))  # noqa: PTH111 (never raises)
    homeless = not given and not root.is_absolute()
    return Path(os.devnull, "editkit") if homeless else root  # where nothing can be written, and no `~` is made


def size_limit() -> int:
    """Return how many bytes the computed entries may take together: EDITKIT_CACHE_SIZE, or 20 GB.

    Raises:
        RecipeError: the variable is no size.
    """
    return parse_size(os.environ.get("EDITKIT_CACHE_SIZE") or DEFAULT_LIMIT, "EDITKIT_CACHE_SIZE")


def parse_size(text: str, what: str) -> int:
    """Return the bytes of a size such as "20GB" or "500MiB".

    Args:
        what: the variable or flag that it comes from.

    Raises:
        RecipeError: it is no size.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise RecipeError(f"{what} = {text!r} is no size.", "Write a number and a unit, such as 20GB.") from error


@dataclass(frozen=True)
class Contents:
    """How many entries the cache holds of one kind, how many bytes they take, and when one was last used."""

    kind: str
    entries: int
    size: int
    used: float | None


def cache_contents() -> list[Contents]:
    """Return what the cache holds, by kind; kinds of which it holds nothing are among them."""
    found = []
    for kind in EVERYTHING:
        held = list(stored((kind,)))
        used = max((entry.used for entry in held), default=None)
        found.append(Contents(kind, len(held), sum(entry.size for entry in held), used))
    return found


def stored(kinds: Sequence[str] = EVERYTHING) -> Iterator[Stored]:
    """Yield what the cache holds of these kinds; what cannot be looked at is passed over."""
    for kind in kinds:
        if kind == DIGESTS:
            paths = [digests_file()]
        else:
            folders = [cache_root() / kind] if kind == CONVERTED else _listed(cache_root() / kind)
            paths = [path for folder in folders for path in _named(folder)]
        yield from (found for path in paths if (found := _stored(kind, path)))


def digests_file() -> Path:
    """Return where the digests of files are remembered."""
    return cache_root() / "digests.json"


def _named(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if _NAME.fullmatch(path.name)]


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _stored(kind: str, path: Path) -> Stored | None:
    with suppress(OSError):
        stat = path.stat()
        inside = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if kind == CONVERTED else 0
        return Stored(kind, path, inside or stat.st_size, stat.st_mtime)
    return None
