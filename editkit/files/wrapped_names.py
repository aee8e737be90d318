"""What training puts around the names of a model's tensors, and taking it off: no library loads a model saved so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

ANYWHERE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Of torch.compile, FullyShardedDataParallel and activation checkpointing: around the model, or around its blocks."""
AT_THE_START = "module."
"""Of DataParallel and DistributedDataParallel."""


def plain_name(key: str) -> str:
    """Return a tensor's name without what torch's own wrappers put into it."""
    name = ".".join(part for part in key.split(".") if part not in ANYWHERE)
    while name.startswith(AT_THE_START):
        name = name.removeprefix(AT_THE_START)
    return name


def plain_names(keys: Iterable[str], expected: Callable[[], Collection[str]]) -> dict[str, str]:
    """Return key -> name without any wrapper; all as they are where two would become one.

    Args:
        expected: names that the model's tensors have. A training module that holds the model (Lightning's `model.`)
            puts one word before all of them: it is taken off where the names then are the expected ones.
    """
    kept = {key: key for key in keys}
    names = {key: plain_name(key) for key in kept}
    holders = {name.partition(".")[0] for name in names.values()}
    if len(holders) == 1 and all("." in name for name in names.values()):
        inner = {key: name.partition(".")[2] for key, name in names.items()}
        known = set(expected())
        if known & set(inner.values()) and not known & set(names.values()):
            names = inner
    return names if len(set(names.values())) == len(kept) else kept
