"""Text that can be written: JSON and YAML can spell half of a surrogate pair, which is no character of any encoding.

Python also puts such a half in the place of each byte of a file's name that is no UTF-8.
"""

from __future__ import annotations

import json
import re
from typing import Any

_HALF = re.compile(r"[\ud800-\udfff]")


def half_pair(text: str) -> str | None:
    """Say of a text that holds half of a surrogate pair which one; None: it is whole.

    Example:
        >>> half_pair(chr(0xD83D))
        'half of a surrogate pair (\\\\ud83d), which is no text'
    """
    found = _HALF.search(text)
    return found and f"half of a surrogate pair (\\u{ord(found[0]):04x}), which is no text"


def json_text(value: Any, **layout: Any) -> str:
    """Return JSON in UTF-8's reach: characters as they are, unless a file's name that is no UTF-8 is among them."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **layout)
    return json.dumps(value, allow_nan=False, **layout) if half_pair(text) else text
