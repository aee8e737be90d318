"""How numbers are written, alike in tables, sentences and exports."""

from __future__ import annotations

from editkit.reports.schema import Difference, Rate


def per_cent(value: float) -> str:
    """Four characters at most: 8.3, 50.0, 100."""
    return "100" if value > 99.95 else f"{value:.1f}"


def points(value: float) -> str:
    """A signed difference; "0.0" has no sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def rate_text(rate: Rate) -> str:
    """`4.5 [3.9, 5.1]`."""
    return f"{per_cent(rate['value'])} [{per_cent(rate['low'])}, {per_cent(rate['high'])}]"


def change_text(change: Difference) -> str:
    """`+0.1 [-0.2, +0.4]`."""
    return f"{points(change['value'])} [{points(change['low'])}, {points(change['high'])}]"


def p_text(p: float) -> str:
    """`0.62`, `0.003`, `<0.001`."""
    if p < 0.001:
        return "<0.001"
    return f"{p:.2f}" if p >= 0.01 else f"{p:.3f}"


def with_p(change: Difference) -> str:
    """`+0.5 [0.0, +1.2] points, p = 0.25`, and p after Holm's correction where it is corrected."""
    corrected = f" ({_equals(change['holm'])} after Holm's correction)" if "holm" in change else ""
    return f"{change_text(change)} points, p {_equals(change['p'])}{corrected}"


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"
