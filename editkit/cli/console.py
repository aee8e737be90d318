"""Where output goes: results to stdout, progress and notes to stderr."""

from __future__ import annotations

import json
import logging
import os
import warnings
from typing import Any

from rich.console import Console
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def emit_json(result: Any) -> None:
    """Print one JSON object to stdout, plain: never wrapped, never coloured."""
    print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))


def note(message: str) -> None:
    """Print a dim line to stderr, for what the user should know but did not ask for."""
    err.print(message, style="dim", markup=False, soft_wrap=True)


def quiet_libraries() -> None:
    """Silence what says nothing a user of the command line can act on; errors still raise."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns in every forked worker
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    from editkit.cli.hub_waits import tell_waits  # which prints by this module

    tell_waits()


def print_next(command: str) -> None:
    """Print a command to type next."""
    write_line(f"Next: {command}")


def write_line(text: str | Text = "", style: str = "") -> None:
    """Print one line; a long path is never cut, since it is there to be copied."""
    out.print(text, style=style, markup=False, soft_wrap=True)


def size_text(count: int) -> str:
    """Return a number of bytes in words, in the units that flags and variables take (`--memory 8GB`)."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
