"""Make room in the cache: what was used longest ago goes first. A disk that refuses costs nothing but the room."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from editkit.errors import RecipeError, did_you_mean
from editkit.files.cache_folder import EVERYTHING, KINDS, cache_root, parse_size, size_limit, stored


@dataclass(frozen=True)
class Freed:
    """How many entries were removed, and how many bytes they took."""

    entries: int = 0
    size: int = 0


class Room:
    """The computed entries, kept within `limit` bytes; the folder is looked through once, then what is added counts."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._oldest = [(entry.used, str(entry.path), entry.size) for entry in stored(KINDS)]
        heapq.heapify(self._oldest)
        self.size = sum(size for _, _, size in self._oldest)

    def add(self, path: Path, *, replaced: int = 0) -> None:
        """Count a new entry, in whose place there may have been one of `replaced` bytes, and make room for it."""
        stat = path.stat()
        self.size += stat.st_size - replaced
        heapq.heappush(self._oldest, (stat.st_mtime, str(path), stat.st_size))
        self.shrink()

    def shrink(self) -> Freed:
        """Remove entries until all that are left fit."""
        entries = freed = 0
        while self.size > self.limit and self._oldest:
            used, name, size = heapq.heappop(self._oldest)
            path = Path(name)
            last = _last_used(path)
            if last is not None and last > used:  # read since, by this process or another
                heapq.heappush(self._oldest, (last, name, size))
                continue
            self.size -= size
            if last is not None and _remove(path):
                entries, freed = entries + 1, freed + size
        return Freed(entries, freed)


def prune_cache(to: int | str | None = None) -> Freed:
    """Remove computed entries, those used longest ago first, until the rest fit.

    Args:
        to: bytes, or a size such as "2GB"; None: what the cache may hold.

    Raises:
        RecipeError: it is no size.
    """
    if to is None:
        return Room(size_limit()).shrink()
    return Room(to if isinstance(to, int) else parse_size(to, "--to")).shrink()


def clear_cache(kind: str | None = None) -> Freed:
    """Remove all that the cache holds, or all of one kind; files that are not editkit's stay.

    Raises:
        RecipeError: there is no such kind.
    """
    if kind is not None and kind not in EVERYTHING:
        raise RecipeError(
            f"The cache holds nothing of the kind '{kind}'.{did_you_mean(kind, EVERYTHING)}",
            f"Its kinds are: {', '.join(EVERYTHING)}.",
        )
    gone = [entry for entry in stored(EVERYTHING if kind is None else (kind,)) if _remove(entry.path)]
    _remove_empty([cache_root() / name for name in EVERYTHING])
    return Freed(len(gone), sum(entry.size for entry in gone))


def _last_used(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _remove(path: Path) -> bool:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return True
    return False


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            for inner in [inner for inner in folder.iterdir() if inner.is_dir()]:
                with suppress(OSError):
                    inner.rmdir()
            folder.rmdir()
