"""What the reply of an endpoint means: an answer, trouble that may pass, or the refusal of a whole run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from editkit.errors import ModelError
from editkit.evals.judges import Answer, short
from editkit.evals.judges.key import Key
from editkit.evals.judges.options import LLMOptions

REPEATED = frozenset({429, 500, 502, 503, 504})
"""Statuses of a server that is busy or broken for now; any other refusal would only be repeated."""


@dataclass(frozen=True)
class Trouble:
    """A request that may be repeated: why it failed, and the seconds that the server asks to wait first."""

    reason: str
    wait: float = 0.0


def asked_wait(header: str | None) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or as a date; 0 where it says neither.

    Source: RFC 9110, section 10.2.3.
    """
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            until = parsedate_to_datetime(header or "")
        except ValueError:
            return 0.0
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def answer_in(content: str, key: Key) -> Answer:
    """Return the text in the envelope of a chat completion."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Answer(None, "the reply is no chat completion")
    return Answer(key.removed_from(text) if isinstance(text, str) else "")  # again: JSON may have escaped it


def told(content: str, key: Key) -> str:
    """Return what a refusal says of itself, in brackets and without the key; empty where it says nothing."""
    try:
        message = json.loads(content)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f" ({short(key.removed_from(message)).rstrip('.')})" if isinstance(message, str) else ""


def refusal(status: int, content: str, key: Key, options: LLMOptions) -> ModelError:
    """Return the error that ends a run whose every request would be refused."""
    who = f"The endpoint {options.endpoint} refused model '{options.model}' with status {status}"
    if status in (401, 403):  # what the server says of a wrong key may quote parts of it
        sent = f"the key in {options.key_variable}" if key else "no key"
        return ModelError(
            f"{who}; {sent} was sent.",
            "Put a valid key into an environment variable, and name that by `key_variable`.",
        )
    if status == 404:
        return ModelError(f"{who}.", "Check `model`, and `endpoint`, which ends before /chat/completions.")
    return ModelError(
        f"{who}{told(content, key)}.", "Check `endpoint`, `model`, `temperature` (or null) and `length_field`."
    )
