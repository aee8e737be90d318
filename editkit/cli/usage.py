"""A command that cannot be read, in two lines: the second says where a flag belongs, or where help is."""

from __future__ import annotations

from typing import Any

import typer

from editkit.errors import EditkitError

UsageErrors: type[BaseException] = typer.BadParameter.__mro__[
    2
]  # the base of all, which is click's in some releases, typer's own in others


class UsageFault(EditkitError):
    """A command, a flag or an argument that there is not, or a value that a flag does not take."""


def explain_usage(error: Any) -> UsageFault:
    """Return a usage error in two lines.

    Args:
        error: one of `UsageErrors`; its context is that of the command that could not be read.
    """
    problem = " ".join(error.format_message().replace(": Value error, ", ": ").split()).rstrip(".")
    return UsageFault(f"{problem}{'' if problem.endswith('?') else '.'}", _remedy(error))


def _remedy(error: Any) -> str:
    if error.ctx is None:
        return "`editkit --help` lists the commands."
    flag, root = getattr(error, "option_name", None), error.ctx.find_root()
    if flag and root is not error.ctx and any(flag in parameter.opts for parameter in root.command.params):
        what = next(parameter for parameter in root.command.params if flag in parameter.opts)
        value = "" if what.is_flag else f" {what.metavar or 'VALUE'}"
        command = error.ctx.command_path.removeprefix(root.command_path).strip()
        return f"{flag} stands before the command: {root.command_path} {flag}{value} {command} ..."
    return f"`{error.ctx.command_path} --help` says what it takes."
