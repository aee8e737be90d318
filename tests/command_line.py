"""The command line called in-process, with what it printed; and looking at what it left behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from editkit.cli import main


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def flat(self) -> str:
        """Everything printed to stdout, with line breaks as spaces: tables and sentences wrap."""
        return " ".join(self.out.split())


def run(*args: object) -> Ran:
    """Run a command, whatever its exit code."""
    if "transformers" in sys.modules:  # a test imported it first, too early for the command line to silence it
        from transformers.utils import logging

        logging.disable_progress_bar()
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(arg) for arg in args])
    return Ran(code, out.getvalue(), err.getvalue())


def done(*args: object) -> Ran:
    """Run a command that must succeed."""
    ran = run(*args)
    assert ran.code == 0, ran.err
    return ran


def as_error(ran: Ran) -> str:
    """Check that a command failed as a user's error does: exit 1, two lines on stderr, nothing on stdout."""
    lines = ran.err.splitlines()
    assert ran.code == 1, (ran.out, ran.err)
    assert len(lines) == 2 and lines[0].startswith("Error: "), ran.err
    assert all(len(line) > 8 for line in lines)
    assert ran.out == ""
    return " ".join(lines)


@contextmanager
def cache_at(folder: Path) -> Iterator[Path]:
    """Use `folder` as the cache: fixtures that outlive one test need one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITKIT_CACHE_DIR", str(folder))
        yield folder


def sha(path: Path) -> str:
    """The sha256 of one file."""
    return sha256(path.read_bytes()).hexdigest()
