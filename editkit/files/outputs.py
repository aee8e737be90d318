"""Folders that appear whole or not at all: written beside the target under another name, synced, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from editkit.errors import OutputError
from editkit.files.threads import in_threads


def check_free(*outputs: Path | None, apart_from: Sequence[Path] = ()) -> None:
    """Refuse an output that exists, or that lies in one of `apart_from` or in the hub cache; None was not asked for.

    Raises:
        OutputError: with what is in the way.
    """
    from huggingface_hub import constants  # only once something is written: `--help` imports none of it

    for output in (given for given in outputs if given is not None):
        if os.path.lexists(output):
            raise OutputError(
                f"{output} exists already.", "Choose another output folder; editkit never writes over one."
            )
        if place := around(output, (*apart_from, Path(constants.HF_HUB_CACHE))):
            raise OutputError(
                f"{output} is inside {place}, which editkit does not write to.", "Choose a folder outside of it."
            )


def around(output: Path, places: Sequence[Path]) -> Path | None:
    """Return the first of the places that `output` lies in, whatever links lead there."""
    real = Path(os.path.realpath(output))
    return next((place for place in places if real.is_relative_to(os.path.realpath(place))), None)


@contextmanager
def new_folder(output: Path, *, apart_from: Sequence[Path] = ()) -> Iterator[Path]:
    """Yield a temporary folder to write into, which becomes `output` if the block succeeds.

    On any error, Ctrl-C included, it is removed, and so are the parents of `output` that were made for it.

    Raises:
        OutputError: see `check_free`; or the disk is full, or the place cannot be written.
    """
    check_free(output, apart_from=apart_from)
    made = [parent for parent in output.parents if not parent.exists()]
    partial: Path | None = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = _make_partial(output)
        yield partial
        _sync(partial)
        os.replace(partial, output)  # noqa: PTH105 (Path.replace reads as str.replace)
        _sync_folder(output.parent)
    except BaseException as error:
        if partial:
            shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise OutputError(
                f"{output} could not be written: {error}.", "Free space or choose another place."
            ) from error
        raise


def _make_partial(output: Path) -> Path:
    """Make `.<name>.partial-<pid>`, with a number added where an earlier run left one behind."""
    for number in range(1000):
        partial = output.with_name(f".{output.name}.partial-{os.getpid()}" + (f"-{number}" if number else ""))
        with suppress(FileExistsError):
            partial.mkdir()
            return partial
    raise OutputError(f"{output.parent} is full of unfinished folders.", "Remove the .*.partial-* folders in it.")


def _sync(folder: Path) -> None:
    """Flush every file to disk before the rename: after a power cut, a folder with its final name is complete."""
    entries = sorted(folder.rglob("*"))
    in_threads(_sync_file, [entry for entry in entries if entry.is_file()])
    for entry in (*(entry for entry in entries if entry.is_dir()), folder):
        _sync_folder(entry)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def first_free(stem: str, is_taken: Callable[[str], bool], suffix: str = "") -> str:
    """Return the first of STEM, STEM-2, STEM-3 ..., each with the suffix, that is not taken."""
    names = (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}" for number in count(1))
    return next(name for name in names if not is_taken(name))


def copy_file(source: Path, copy: Path) -> None:
    """Copy one file's content (links are followed), without its mode: a hub cache's files may be read-only."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)


class FileTaken(OutputError):
    """A file that exists already."""


def check_new_file(path: Path) -> None:
    """Refuse a file that exists, before starting the long work whose result it would hold.

    Raises:
        OutputError: it exists.
    """
    if os.path.lexists(path):
        raise FileTaken(f"{path} exists already.", "Choose another file; editkit never writes over one.")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which becomes `path` if the block succeeds; on any error nothing is left.

    Raises:
        OutputError: `path` exists, the disk is full, or the place cannot be written.
    """
    check_new_file(path)
    undo: list[Callable[[], object]] = [parent.rmdir for parent in reversed(path.parents) if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        undo.append(lambda: partial.unlink(missing_ok=True))
        yield partial
        try:
            path.open("xb").close()  # of two that want the name, one gets it
        except FileExistsError:
            check_new_file(path)
        undo.append(path.unlink)
        partial.replace(path)
    except BaseException as error:
        for step in reversed(undo):
            with suppress(OSError):
                step()
        if isinstance(error, OSError):
            raise OutputError(
                f"{path} could not be written: {error}.", "Free space or choose another place."
            ) from error
        raise
