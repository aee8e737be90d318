"""An error on the screen: two lines, and where its traceback is if one helps whoever has to mend it."""

from __future__ import annotations

import shlex
import sys
import tempfile
from traceback import format_exception

from editkit.cli.console import err
from editkit.errors import EditkitError, PluginError, one_line
from editkit.libraries import explain_import_failure


class UnexpectedError(EditkitError):
    """An error that editkit has no words for: a defect of its own."""


def tell(error: Exception, *, traceback: bool) -> None:
    """Print what went wrong and what to do.

    Args:
        traceback: print the traceback before; else that of a defect, a plugin's or editkit's, goes to a file.
    """
    known = explained(error)
    remedy = known.remedy
    if traceback:
        err.print("".join(format_exception(error)), soft_wrap=True)
    elif isinstance(known, (UnexpectedError, PluginError)) and known.__cause__ is not None:
        remedy = f"{remedy} {_kept(error)}"
    err.print(f"Error: {known.problem}", style="red", soft_wrap=True)
    err.print(remedy, soft_wrap=True)


def explained(error: Exception) -> EditkitError:
    """Return the error in two lines: itself, a known reason why an import failed, or that it is a defect."""
    if isinstance(error, EditkitError):
        return error
    try:
        explain_import_failure(error)
        raise UnexpectedError(one_line(error), "This is a defect of editkit: report it.") from error
    except EditkitError as known:
        return known


def _kept(error: Exception) -> str:
    """Write the traceback to a new file and say where it is."""
    lines = [f"{shlex.join(sys.argv)}\n\n", *format_exception(error)]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="editkit-", suffix="-traceback.txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.writelines(lines)
    except OSError:
        return "The traceback is printed with editkit --traceback."
    return f"The traceback is in {file.name}"
