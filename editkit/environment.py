"""What model libraries raise, in two lines; and an environment whose libraries do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from editkit.errors import EditkitError, InstallError, ModelError

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
