"""A page of the documentation carried out: one folder, one process, commands as a shell reads them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_line import run
from doc_pages import FILES, PYTHON, ROOT, SHELL, Block

ENDS = {"editkit diff": (0, 3)}
"""Exit codes that are no failure: 3 says that two models differ."""


@dataclass
class PageSession:
    """What the blocks of a page share: the current folder, and the names of its Python code."""

    names: dict[str, Any] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    """The commands so far, as their words."""

    def carry_out(self, block: Block) -> None:
        """Save a file, run commands or run code; whatever fails names the line of the page."""
        if block.file or block.language in FILES:
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language in SHELL:
            for command in commands(block.text):
                self.command(command, f"{block.page}:{block.line}")
        elif block.language in PYTHON:
            exec(compile(block.text, f"{block.page}:{block.line}", "exec"), self.names)

    def command(self, command: str, where: str) -> None:
        """Run one command."""
        line, _, target = command.partition(" > ")
        words = read_by_shell(line)
        if words[0] == "pip":
            require_installable(words)
        elif words[0] != "pytest":  # which is what runs here
            assert words[0] == "editkit", f"{where}: no one knows how to run {words[0]}"
            ended = run(*words[1:])
            assert ended.code in ENDS.get(" ".join(words[:2]), (0,)), f"{where}: {command}\n{ended.out}\n{ended.err}"
            if target:
                Path(target.strip()).write_text(ended.out, encoding="utf-8")
        self.ran.append(" ".join(words))

    def forget(self, folder: Path) -> None:
        """Forget the plugins that lie in a folder: another page may have some of the same names."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(folder)):
                del sys.modules[name]


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a block, each on one line, without the comments beside them."""
    for line in text.replace("\\\n", " ").splitlines():
        told = re.sub(r"(^|\s)#.*", "", line).strip()
        if told:
            yield from told.split(" && ")


def read_by_shell(command: str) -> list[str]:
    """Return the words of a command as bash reads them; a pattern that fits no file is an error, as it is in zsh."""
    read = subprocess.run(
        ["bash", "-O", "failglob", "-c", f"printf '%s\\0' {command}"],
        capture_output=True,
        text=True,
        cwd=_here(command),
    )
    assert read.returncode == 0, f"{command}: {read.stderr}"
    return read.stdout.split("\0")[:-1]


def _here(command: str) -> Path:
    """Installing starts at the repository."""
    return ROOT if command.startswith("pip ") else Path.cwd()


def require_installable(words: Sequence[str]) -> None:
    """Check that `pip install` names what there is: folders, files, and editkit's own extras; `.ci/run` runs it."""
    assert words[1] == "install", words
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words[2:]:
        if own := re.fullmatch(r"editkit\[(.+)\]", word):
            assert set(own[1].split(",")) <= set(extras), word
        elif word.startswith((".", "-r", "requirements")):
            assert word == "-r" or (ROOT / word).exists(), word
