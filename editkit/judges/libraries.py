"""Libraries that only one judge needs: imported when it is used, and asked for in two lines where they are missing."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

from editkit.errors import InstallError, one_line


def library(module: str, distribution: str, what: str) -> Any:
    """Return a module.

    Raises:
        InstallError: it is not installed, or does not work here.
    """
    try:
        return import_module(module)
    except Exception as error:  # a model inside a package may fail to load with anything
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise _missing(distribution, what) from error
        raise InstallError(
            f"{distribution} is installed, but cannot be imported, which {what} needs: {one_line(error)[:300]}.",
            f"Run: pip install --upgrade {distribution}",
        ) from error


def release(distribution: str, what: str) -> str:
    """Return the name and version of an installed distribution.

    Raises:
        InstallError: it is not installed.
    """
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError as error:
        raise _missing(distribution, what) from error


def _missing(distribution: str, what: str) -> InstallError:
    return InstallError(f"{distribution} is not installed, which {what} needs.", f"Run: pip install {distribution}")
