"""The one way in which a subset is drawn: by a hash of seed and id.

An item's place in the draw depends on nothing but the seed and its own id. So the draw is the same on every
machine and for every order of the rows, and a larger limit keeps all that a smaller one chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from editkit.errors import DataError


def draw_order(ids: Sequence[str], seed: int) -> list[int]:
    """Return the positions of `ids` in the order in which they are drawn."""
    return sorted(
        range(len(ids)), key=lambda position: sha256(f"{seed}:{ids[position]}".encode(errors="surrogatepass")).digest()
    )


def drawn_places(ids: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Return the positions of the first `limit` of `ids` that are drawn, in ascending order; None: of all.

    Raises:
        DataError: the limit is below 1.
    """
    check_limit("limit", limit)
    return sorted(draw_order(ids, seed)[:limit])


def check_limit(name: str, limit: int | None) -> None:
    """Refuse a limit that would keep nothing.

    Raises:
        DataError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise DataError(
            f"{name} is {limit}, which keeps no item.", f"Give {name} at least 1, or leave it out to keep all."
        )
