"""Where output goes: results to stdout, progress and notes to stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def emit_json(result: Any) -> None:
    """Print one JSON object to stdout, plain: never wrapped, never coloured."""
    print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))


def note(message: str) -> None:
    """Print a dim line to stderr, for what the user should know but did not ask for."""
    err.print(message, style="dim", markup=False)
