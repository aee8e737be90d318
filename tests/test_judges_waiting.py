"""Waits between repeats: they double, scatter, and follow what the server asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tenacity import RetryCallState, Retrying

from editkit.evals.judges.endpoint import backoff
from editkit.evals.judges.reply import asked_wait


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (9999, 60)])
def test_a_wait_is_between_half_of_and_all_of_a_doubling_time_with_a_limit(attempt: int, most: float) -> None:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    waits = [backoff(1.0, 60.0)(state) for _ in range(200)]
    assert most / 2 <= min(waits) < max(waits) <= most


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", 0.0), ("1.5", 1.5), ("-3", 0.0)])
def test_seconds_are_read(header: str, seconds: float) -> None:
    assert asked_wait(header) == seconds


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000"])
def test_dates_are_read(zone: str) -> None:
    now = datetime.now(UTC)
    soon, past = (f"{when:%a, %d %b %Y %H:%M:%S} {zone}" for when in (now + timedelta(seconds=90), now - timedelta(1)))
    assert asked_wait(soon) == pytest.approx(90.0, abs=5)
    assert asked_wait(past) == 0.0


@pytest.mark.parametrize("header", [None, "", "soon", "nan", "inf", "-inf", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_anything_else_asks_for_nothing(header: str | None) -> None:
    assert asked_wait(header) == 0.0
