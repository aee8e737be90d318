"""`preserve`: which data an edit is to leave as they are, as a recipe says it: NAME or NAME:PATH, one or several.

"words" stands for short prompts from the calibration data's own words, "none" for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.specs import DatasetSpec
from editkit.errors import RecipeError
from editkit.recipes.layers import data_layer

NONE = "none"
WORDS = "words"


def preserve_sources(value: Any, host: Host, on_bad_item: Any = None) -> Mapping[str, Choice | None]:
    """Return the data sets that a recipe's `preserve` names, by their text; None for "words".

    Args:
        on_bad_item: what the recipe says of its own data; None: each data set's own default.

    Raises:
        RecipeError: it is no list of names, names "none" beside others, or a data set does not take its path.
        PluginError: there is no such data set.
    """
    texts = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) and text for text in texts):
        raise RecipeError(f"preserve = {value!r}: this names no data.", "Write preserve: [words, pairs:FILE.jsonl].")
    if NONE in texts and len(texts) > 1:
        raise RecipeError(
            f"preserve = {', '.join(texts)}: none cannot stand beside others.", "Leave out either it or them."
        )
    return {text: None if text == WORDS else _choose(text, host, on_bad_item) for text in texts if text != NONE}


def _choose(text: str, host: Host, on_bad_item: Any) -> Choice:
    given = {path.removeprefix("data."): value for path, value in data_layer(text).items()}
    given |= {} if on_bad_item is None else {"on_bad_item": on_bad_item}
    return host.choose(DatasetSpec, str(given.pop("name")), given, f"preserve ({text})")
