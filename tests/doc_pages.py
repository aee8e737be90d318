"""README and the pages of the documentation as what is in them to run: fenced blocks, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHELL, PYTHON, FILES = ("sh", "bash", "console", "shell"), ("python", "py", "pycon"), ("csv", "json", "yaml")
_FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?$")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_NAMED = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """Of its first line."""
    language: str
    text: str
    file: str = ""
    """What it is to be saved as: its title, or the name in its first line's comment."""
    not_run: str = ""
    """Why it is not run, by the comment above it."""

    @property
    def runs(self) -> bool:
        """Whether it is commands or code, and not a file or an output."""
        return self.language in (*SHELL, *PYTHON) and not self.file


def pages() -> list[str]:
    """README and every page of the documentation."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    places = iter(range(len(lines)))
    for place in places:
        if not lines[place].startswith("```"):
            continue
        fence = _FENCE.match(lines[place])
        assert fence, f"{page}:{place + 1} is a fence that no one understands: {lines[place]}"
        end = next(last for last in range(place + 1, len(lines)) if lines[last] == "```")
        text = "".join(f"{line}\n" for line in lines[place + 1 : end])
        reason = _NOT_RUN.fullmatch(next((line for line in reversed(lines[:place]) if line), ""))
        named = _NAMED.match(text)
        file = fence[2] or (named[1] if named else "")
        yield Block(page, place + 2, fence[1], text, file, reason[1] if reason else "")
        for _ in range(end - place):
            next(places)
