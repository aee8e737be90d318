"""Where output goes: results to stdout, progress and notes to stderr."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from typing import Any

from rich.console import Console
from rich.text import Text

from editkit.api.screen import err as err
from editkit.api.screen import note as note
from editkit.cli.hub_waits import tell_waits
from editkit.files.whole_text import json_text

# names of files and classes are text: neither [brackets] nor :colons: in them mean anything
out = Console(highlight=False, markup=False, emoji=False)


def print_any_text() -> None:
    """Let stdout and stderr escape what their encoding lacks, a pipe's on Windows or a name that is no UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def emit_json(result: Any) -> None:
    """Print one JSON object to stdout, plain: never wrapped, never coloured, in ASCII where stdout is not UTF-8."""
    text = json_text(result, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(result, indent=2, allow_nan=False)
    print(text)


def quiet_libraries() -> None:
    """Silence what says nothing a user of the command line can act on; errors still raise."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns in every forked worker
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    tell_waits(note)


def write_line(text: str | Text = "", style: str = "") -> None:
    """Print one line; a long path is never cut, since it is there to be copied."""
    out.print(text, style=style, soft_wrap=True)


def size_text(count: int) -> str:
    """Return a number of bytes in words, in the units that flags and variables take (`--memory 8GB`)."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
