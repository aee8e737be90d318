"""Third-party libraries: imported on first use, their failures in two lines, their versions without importing them."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata, util
from typing import Any

from editkit.errors import EditkitError, InstallError, ModelError, one_line

_MISMATCH = "torchvision::nms"
TORCH_EXTRA = ("torch", "safetensors", "PIL", "pyarrow")
"""Modules of the extra `torch`, which a plain installation of editkit does without."""


def explain_import_failure(error: BaseException) -> None:
    """Raise InstallError if `error` comes from a missing torch, or from a torch and a torchvision of different builds.

    transformers hides the cause: importing its CLIP classes fails with the operator's name
    somewhere in the chain, so the whole chain is read.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ModuleNotFoundError) and seen.name in TORCH_EXTRA:
            raise InstallError(
                f"This needs {seen.name}, which is not installed.",
                'Install a model plugin, such as editkit-clip, or run: pip install "editkit[torch]"',
            ) from error
        if _MISMATCH in str(seen):
            raise InstallError(
                "torch and torchvision are of different builds (operator torchvision::nms does not exist).",
                "Reinstall both from one source: pip install --force-reinstall torch torchvision",
            ) from error
        seen = seen.__cause__ or seen.__context__


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Turn any exception of a model library into a ModelError of two lines.

    Raises:
        InstallError: torch and torchvision do not fit together.
        ModelError: anything else that went wrong.
    """
    try:
        yield
    except EditkitError:
        raise
    except Exception as error:  # the libraries raise whatever their own libraries raise
        explain_import_failure(error)
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{what}: {type(error).__name__}: {reason}",
            "Check that the folder holds config, weights, tokenizer and image processor files, all of one model.",
        ) from error


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


@contextmanager
def of_extra(extra: str, what: str) -> Iterator[None]:
    """Import, inside this context, libraries that an extra of editkit installs.

    Raises:
        InstallError: one of them is not installed; names the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InstallError(
            f"{error.name} is not installed, which {what} needs.", f'Run: pip install "editkit[{extra}]"'
        ) from error


def release(distribution: str, what: str) -> str:
    """Return the name and version of an installed distribution.

    Raises:
        InstallError: it is not installed.
    """
    if version := installed_version(distribution):
        return f"{distribution} {version}"
    raise _missing(distribution, what)


def _missing(distribution: str, what: str) -> InstallError:
    return InstallError(f"{distribution} is not installed, which {what} needs.", f"Run: pip install {distribution}")


def installed_version(distribution: str) -> str | None:
    """Return the version of a distribution; None: it is not installed."""
    try:
        return header(metadata.distribution(distribution), "Version")
    except metadata.PackageNotFoundError:
        return None


def header(distribution: metadata.Distribution, field: str) -> str | None:
    """Return a field of a distribution's metadata; `Distribution.metadata` parses all of its README for that."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    found = re.search(rf"^{field}: *(\S+)", text, re.MULTILINE)
    return found and found[1]


LIBRARIES = {
    "editkit": "editkit",
    "torch": "torch",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "sentencepiece": "sentencepiece",
    "open_clip_torch": "open_clip",
    "ftfy": "ftfy",
    "timm": "timm",
    "accelerate": "accelerate",
    "Pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "pillow-avif-plugin": "pillow_avif",
    "pillow-jxl-plugin": "pillow_jxl",
    "numpy": "numpy",
}
"""What the numbers of a result depend on, as distribution and module; whether one is missing can matter as well:
without torchvision transformers prepares images by other code."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of those `LIBRARIES` that are installed and can be found; imports none."""
    found = {"python": platform.python_version()}
    for distribution, module in LIBRARIES.items():
        try:
            if util.find_spec(module) is not None and (version := installed_version(distribution)):
                found[distribution] = version
        except (ImportError, ValueError):
            continue
    return found
