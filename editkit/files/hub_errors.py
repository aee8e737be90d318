"""What the hub says no with, in two lines: gated, unknown, too many requests, no way to reach it, cut off."""

from __future__ import annotations

import errno
import os

from editkit.errors import ModelError

RETRY = "Run the same command again: the files that have arrived are kept, and the rest is fetched."
NOT_ASKED = "the hub could not be asked: "


class Unreachable(ModelError):
    """The hub did not answer as a hub does: what the cache holds may still do. `why` in one line."""

    def __init__(self, problem: str, remedy: str, why: str = "") -> None:
        super().__init__(problem, remedy)
        self.why = why or problem


def refusal(error: Exception, name: str, revision: str = "", *, what: str = "model") -> ModelError:
    """Return the error to raise for whatever went wrong when the hub was asked for a model, or a data set.

    Args:
        name: the hub id.
        revision: what was asked for of it; empty: the main branch.
        what: "model" or "data set".
    """
    from huggingface_hub import errors, get_token

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # why the hub was not asked
    page = f"https://huggingface.co/{'' if what == 'model' else 'datasets/'}{name}"
    spelt = f"{name}@{revision}" if revision else name
    if isinstance(error, ModelError):
        return error
    if isinstance(error, errors.GatedRepoError):
        if not get_token():
            return ModelError(f"{name} is gated.", f"Accept its terms at {page}, then log in: `hf auth login`.")
        return ModelError(
            f"{name} is gated, and the account of your token has no access to it.",
            f"Accept its terms at {page} with that account, or wait until its owners have agreed.",
        )
    if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
        return ModelError(
            f"There is no folder {name} here and no such {what} on the hub.",
            f"Check the spelling; a private {what} needs `hf auth login`.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(f"{name} has no revision '{revision}'.", f"See {page}/commits for those it has.")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Unreachable(
            f"There is no folder {spelt} here, nor is it in the hub's cache; HF_HUB_OFFLINE forbids asking the hub.",
            "Unset HF_HUB_OFFLINE to download it, or give the path of a model folder.",
            "HF_HUB_OFFLINE forbids asking the hub",
        )
    if isinstance(error, errors.HfHubHTTPError) and getattr(error, "response", None) is not None:
        return _answered(error, name)
    return _unreached(error, name)


def broken_off(error: Exception, name: str, revision: str, path: str) -> ModelError:
    """Return the error to raise for a download that did not come to its end."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"The disk of the hub's cache is full: {path} of {name} could not be written.",
            "Free space, or set HF_HOME to another disk; then run the same command again.",
        )
    refused = refusal(error, name, revision)
    if not isinstance(refused, Unreachable):
        return refused
    return ModelError(f"The download of {path} of {name} broke off: {refused.why.removeprefix(NOT_ASKED)}.", RETRY)


def _answered(error: Exception, name: str) -> ModelError:
    """Return the error for an answer with a status that the hub has no special meaning for."""
    answer = error.response  # type: ignore[attr-defined]
    status = answer.status_code
    if status == 429:
        wait = answer.headers.get("Retry-After", "")
        after = f" for {wait} seconds" if wait.isdigit() else ""
        return Unreachable(
            f"The hub takes no more requests{after}: it answered 429 (too many) when asked for {name}.",
            "Wait and run the same command again; with a token (`hf auth login`) the hub allows more.",
            "the hub answered 429, too many requests",
        )
    if status >= 500:
        return Unreachable(
            f"The hub answered {status}, a fault of its own, when asked for {name}.",
            "Try again later; https://status.huggingface.co tells how the hub is.",
            f"the hub answered {status}",
        )
    if status in (401, 403):
        return ModelError(
            f"The hub refuses access to {name} (it answered {status}).",
            "Check your token: `hf auth whoami`, `hf auth login`.",
        )
    said = answer.headers.get("X-Error-Message", "")
    return Unreachable(
        f"The hub answered {status} when asked for {name}{f': {said}' if said else ''}.",
        _other_place(),
        f"the hub answered {status}",
    )


def _unreached(error: Exception, name: str) -> Unreachable:
    """Return the error for no answer, or for one that is not the hub's."""
    from huggingface_hub import constants

    why = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    if isinstance(error, (ValueError, KeyError)) and not isinstance(error, OSError):  # a page, or another's JSON
        why = f"what answers at {constants.ENDPOINT} is no model hub"
    return Unreachable(
        f"There is no folder {name} here, and the hub could not be asked for it: {why}.",
        _other_place(),
        f"{NOT_ASKED}{why}",
    )


def _other_place() -> str:
    """Say what to do where the hub itself is the trouble."""
    if endpoint := os.environ.get("HF_ENDPOINT"):
        return f"Check HF_ENDPOINT ({endpoint}) and that it can be reached, or give the path of a model folder."
    return "Go online, or give the path of a model folder."
