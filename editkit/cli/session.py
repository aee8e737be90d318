"""One call of the command line: the plugins it was given, kept in the context of its command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import typer

from editkit.components.host import Host
from editkit.components.load import load_host


@dataclass(frozen=True)
class Session:
    """The host that every command hands on, and the `--plugin` files in it."""

    host: Host
    plugin_files: tuple[Path, ...]

    @classmethod
    def start(cls, ctx: typer.Context, plugin_files: tuple[Path, ...]) -> Session:
        """Load the plugins that are installed, then these files, and keep them for the command that follows.

        Raises:
            PluginError: one of the files is missing or fails.
        """
        ctx.obj = cls(load_host(plugin_files), plugin_files)
        return cls.of(ctx)

    @classmethod
    def of(cls, ctx: typer.Context) -> Session:
        """Return the session that a command belongs to."""
        session: Session = ctx.obj
        return session

    def command(self, *words: object) -> str:
        """Return a command to type next, quoted for a shell, with the plugin files of this one."""
        files = [word for path in self.plugin_files for word in ("--plugin", path)]
        return shlex.join(map(str, ("editkit", *files, *words)))
