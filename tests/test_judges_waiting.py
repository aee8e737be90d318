"""Waits between repeats: they double, scatter, and follow what the server asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from editkit.evals.judges.waiting import asked_wait, backoff

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("attempt", "most"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (900, 60)])
def test_a_wait_is_between_half_of_and_all_of_a_doubling_time_with_a_limit(attempt: int, most: float) -> None:
    waits = [backoff(attempt, 1.0, 60.0) for _ in range(200)]
    assert most / 2 <= min(waits) < max(waits) <= most


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("-3", 0.0)])
def test_seconds_are_read(header: str, seconds: float) -> None:
    assert asked_wait(header, NOW) == seconds


def test_dates_are_read() -> None:
    assert asked_wait(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW) == 90.0
    assert asked_wait(format_datetime(NOW - timedelta(days=1), usegmt=True), NOW) == 0.0


@pytest.mark.parametrize("header", [None, "", "soon", "nan", "inf", "-inf", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_anything_else_asks_for_nothing(header: str | None) -> None:
    assert asked_wait(header, NOW) is None
