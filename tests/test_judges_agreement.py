"""Agreement of judges, against worked cases and a naive loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from editkit.errors import DataError
from editkit.evals.judges import Verdict, failed, labelled, unparsable
from editkit.evals.judges.agreement import agreements


def verdicts(labels: str) -> list[Verdict]:
    """`u` unsafe, `s` safe, `?` unparsable, `-` failed."""
    made = {"u": labelled("", unsafe=True), "s": labelled("", unsafe=False), "?": unparsable("x"), "-": failed("gone")}
    return [made[label] for label in labels]


def both(unsafe_unsafe: int, unsafe_safe: int, safe_unsafe: int, safe_safe: int) -> dict[str, list[Verdict]]:
    counts = (unsafe_unsafe, unsafe_safe, safe_unsafe, safe_safe)
    first = "".join(label * count for label, count in zip("uuss", counts, strict=True))
    second = "".join(label * count for label, count in zip("usus", counts, strict=True))
    return {"a": verdicts(first), "b": verdicts(second)}


def naive_kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = 0.0
    for label in (False, True):
        chance += (sum(a == label for a in first) / n) * (sum(b == label for b in second) / n)
    return (observed - chance) / (1 - chance)


def test_a_worked_case() -> None:
    """20 both unsafe, 5 and 10 apart, 15 both safe: observed 35/50, by chance (25 x 30 + 25 x 20) / 50^2 = 1/2."""
    [found] = agreements(both(20, 5, 10, 15))
    assert found["judges"] == ("a", "b")
    assert found["agreement"]["value"] == pytest.approx(70.0) and found["agreement"]["n"] == 50
    assert found["chance"] == pytest.approx(50.0)
    assert found["kappa"]["value"] == pytest.approx(0.4) and found["kappa"]["n"] == 50
    assert found["unsafe"] == (25, 30) and found["left_out"] == 0


def test_the_interval_of_agreement_is_wilsons() -> None:
    """35 of 50, z = 1.959964: (35 + z^2/2 -+ z sqrt(35 x 15 / 50 + z^2/4)) / (50 + z^2)."""
    [found] = agreements(both(20, 5, 10, 15))
    assert found["agreement"]["low"] == pytest.approx(56.2496, abs=1e-3)
    assert found["agreement"]["high"] == pytest.approx(80.8964, abs=1e-3)


def test_the_interval_of_kappa_is_that_of_resampled_items() -> None:
    judged = both(20, 5, 10, 15)
    first, second = ([verdict.unsafe is True for verdict in judged[name]] for name in "ab")
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(4000):
        rows = rng.integers(0, 50, size=50)
        drawn.append(naive_kappa([first[i] for i in rows], [second[i] for i in rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    [found] = agreements(judged)
    assert found["kappa"]["low"] == pytest.approx(low, abs=0.03)
    assert found["kappa"]["high"] == pytest.approx(high, abs=0.03)
    assert agreements(judged) == [found]


@pytest.mark.parametrize(("counts", "value"), [((7, 0, 0, 3), 1.0), ((0, 5, 5, 0), -1.0), ((6, 2, 3, 1), 0.0)])
def test_kappa_is_one_for_twins_minus_one_for_opposites_and_zero_by_chance(
    counts: tuple[int, int, int, int], value: float
) -> None:
    [found] = agreements(both(*counts))
    assert found["kappa"]["value"] == pytest.approx(value)


def test_high_agreement_may_be_no_more_than_chance() -> None:
    """Both call 9 of 100 items unsafe, none the same: they agree on 82, and by chance would on 83.62."""
    [found] = agreements(both(0, 9, 9, 82))
    assert found["agreement"]["value"] == pytest.approx(82.0) and found["chance"] == pytest.approx(83.62)
    assert found["kappa"]["value"] == pytest.approx((0.82 - 0.8362) / (1 - 0.8362))


def test_where_both_call_everything_safe_kappa_is_not_defined() -> None:
    [found] = agreements(both(0, 0, 0, 12))
    assert found["agreement"]["value"] == 100.0 and found["chance"] == 100.0
    assert found["kappa"] == {"value": None, "low": None, "high": None, "n": 12}


def test_only_items_that_both_judged_count() -> None:
    [found] = agreements({"a": verdicts("us?-us"), "b": verdicts("uuus-s")})
    assert found["agreement"]["n"] == 3 and found["left_out"] == 3
    assert found["agreement"]["value"] == pytest.approx(100 * 2 / 3)


def test_three_judges_make_three_pairs() -> None:
    found = agreements({"a": verdicts("uuss"), "b": verdicts("usss"), "c": verdicts("sssu")})
    assert [pair["judges"] for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair["agreement"]["value"] for pair in found] == [75.0, 25.0, 50.0]


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        ({"a": "us"}, "asked of 1 judges"),
        ({"a": "us", "b": "u"}, r"2 judges with \[1, 2\] verdicts"),
        ({"a": "u-", "b": "?s"}, "judged no item both"),
        ({"a": "", "b": ""}, "judged no item both"),
    ],
)
def test_nothing_to_compare_is_an_error(judges: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        agreements({name: verdicts(labels) for name, labels in judges.items()})
