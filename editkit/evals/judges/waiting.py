"""How long to wait before a request is repeated: twice as long each time, scattered, and as long as the server asks."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

REPEATED = frozenset({429, 500, 502, 503, 504})
"""Statuses of a server that is busy or broken for now; any other refusal would only be repeated."""


def backoff(attempt: int, first: float, longest: float) -> float:
    """Return seconds to wait after failed attempt 0, 1, ...: between half of and all of min(longest, first 2^attempt).

    Scattered, so that requests which failed together do not come back together.
    """
    return min(longest, first * 2.0**attempt) * random.uniform(0.5, 1.0)


def asked_wait(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for (a number, or a date); None: it asks for nothing usable.

    Source: RFC 9110, section 10.2.3.
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
