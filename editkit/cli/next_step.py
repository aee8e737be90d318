"""The commands to type next: measure a patch on the data it was made for, or apply it where nothing can be compared."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from editkit.cli.flags import plugin_files


def measure(record: Mapping[str, Any], patches: Sequence[str], *, model: str | None = None) -> str | None:
    """Return the command that evaluates patches of which one has this record; None: their model compares nothing."""
    if record.get("model", {}).get("no_joint_space"):
        return None
    words = [*(["--model", model] if model else []), *_data(record)]
    words += [word for patch in patches for word in ("--patch", patch)]
    return f"editkit {plugin_files()}eval safeground {shlex.join(words)}"


def _data(record: Mapping[str, Any]) -> list[str]:
    """Return the flags that name the data set, if it is not the default, and what was set of it."""
    chosen = dict(record.get("recipe", {}).get("data", {}))
    name, path = chosen.pop("name", "demo"), chosen.pop("path", None)
    named = [] if name == "demo" and path is None else ["--data", name if path is None else f"{name}:{path}"]
    return named + [word for option, value in chosen.items() for word in ("--set", f"data.{option}={value}")]
