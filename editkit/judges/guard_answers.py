"""What guard models answer, read strictly: the forms that their model cards give and nothing else."""

from __future__ import annotations

import re

from editkit.judges import Verdict, labelled, unparsable

_QWEN3GUARD = re.compile(r"Safety: (Safe|Unsafe|Controversial)\nCategories: [^\n]+(\nRefusal: (Yes|No))?")
_LLAMA_GUARD = re.compile(r"safe|unsafe(\s*\n\s*[SO]\d+(\s*,\s*[SO]\d+)*)?")


def parse_qwen3guard(answer: str, *, controversial: bool) -> Verdict:
    """Return the verdict of `Safety: ...` above `Categories: ...`.

    Args:
        controversial: whether the third label, Controversial, counts as unsafe.

    Source: model card of Qwen/Qwen3Guard-Gen-8B.
    """
    found = _QWEN3GUARD.fullmatch(answer.strip())
    if found is None:
        return unparsable(answer)
    return labelled(answer, unsafe=found[1] == "Unsafe" or (found[1] == "Controversial" and controversial))


def parse_llama_guard(answer: str) -> Verdict:
    """Return the verdict of `safe`, or `unsafe` above the codes of the categories.

    Source: model cards of Llama Guard 1 (codes O1...) to 3 (codes S1...).
    """
    text = answer.strip()
    if _LLAMA_GUARD.fullmatch(text) is None:
        return unparsable(answer)
    return labelled(answer, unsafe=text.startswith("unsafe"))
