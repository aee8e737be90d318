"""The key of an endpoint: read from the environment when it is needed, sent in one header, shown nowhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from editkit.errors import RecipeError
from editkit.evals.judges.options import LLMOptions

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Key:
    """A key that prints as nothing. An empty one is not sent: servers of one's own often want none."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Key({'set' if self else 'empty'})"

    def header(self) -> dict[str, str]:
        """Return the header that carries it."""
        return {"Authorization": f"Bearer {self._value}"} if self else {}

    def removed_from(self, text: str) -> str:
        """Return what a server said without the key, should it repeat it."""
        return text.replace(self._value, "[key]") if self else text


def read_key(options: LLMOptions) -> Key:
    """Return the key that the named environment variable holds.

    The default variable is likely to hold a key meant for another server, so without being named it is sent only over
    https or to this machine.

    Raises:
        RecipeError: the value cannot be a key; it is not shown.
    """
    parts = urlsplit(options.endpoint)
    named = "key_variable" in options.model_fields_set
    if not (named or parts.scheme == "https" or parts.hostname in _THIS_MACHINE):
        return Key("")
    value = os.environ.get(options.key_variable, "").strip()
    # an HTTP library that meets such a value raises an error that quotes it
    if any(not "!" <= letter <= "~" for letter in value):
        raise RecipeError(
            f"The environment variable {options.key_variable} holds spaces, line breaks or letters that no key has.",
            f"Set {options.key_variable} to the key alone.",
        )
    return Key(value)


@contextmanager
def no_headers_logged() -> Iterator[None]:
    """Keep the HTTP library from logging headers, in which a server may repeat the key, at level DEBUG."""
    logger = logging.getLogger("httpcore2")
    before = logger.level
    logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))
    try:
        yield
    finally:
        logger.setLevel(before)
