"""Recognise a Python environment whose libraries do not fit together, and say how to mend it."""

from __future__ import annotations

from editkit.errors import InstallError

_MISMATCH = "torchvision::nms"


def explain_import_failure(error: BaseException) -> None:
    """Raise InstallError if `error` comes from a torch and a torchvision of different builds.

    transformers hides the cause: importing its CLIP classes fails with the operator's name
    somewhere in the chain, so the whole chain is read.
    """
    seen: BaseException | None = error
    while seen is not None:
        if _MISMATCH in str(seen):
            raise InstallError(
                "torch and torchvision are of different builds (operator torchvision::nms does not exist).",
                "Reinstall both from one source: pip install --force-reinstall torch torchvision",
            ) from error
        seen = seen.__cause__ or seen.__context__
