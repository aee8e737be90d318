"""What is said of a folder in which the weights that are looked for are not: what is there in their place."""

from __future__ import annotations

import re

from editkit.errors import ModelError
from editkit.files.model_folder import ARCHIVE_SUFFIXES, is_adapter
from editkit.files.source import ModelFolder
from editkit.files.weight_names import WeightNames

TRAINING = ("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth")
"""What trainers leave beside a model's weights."""
SHARD = re.compile(r"-\d{5}-of-\d{5}\.(?P<format>\w+)$")


def no_weights(folder: ModelFolder, names: WeightNames) -> ModelError:
    """Return the error for a folder without the weights that a library would load."""
    weights = (".safetensors", ".distcp", *ARCHIVE_SUFFIXES)
    instead = sorted(name for name in folder.names() if name.lower().endswith(weights) and name not in TRAINING)
    problem = f"There are no weights of {folder.source}: neither {names.safetensors} nor {names.archive} is there"
    if folder.is_partial:
        return ModelError(f"{problem} in the hub's cache.", "Go online once, so that they are downloaded.")
    if not instead:
        return ModelError(f"{problem}.", "Give the folder or the file that holds them.")
    if adapters := [name for name in instead if is_adapter(name)]:
        return ModelError(
            f"{problem}, only {adapters[0]}, an adapter that belongs to another model.",
            "Merge it into that model (`merge_and_unload`), save the result, and give its folder.",
        )
    more = f" and {len(instead) - 3} more" if len(instead) > 3 else ""
    return ModelError(f"{problem}, only {', '.join(instead[:3])}{more}.", _remedy(instead, names))


def _remedy(instead: list[str], names: WeightNames) -> str:
    if all(name.endswith(".distcp") for name in instead):
        return "Join the parts of the distributed checkpoint first: python -m torch.distributed.checkpoint.format_utils"
    if all(shard := [SHARD.search(name) for name in instead]):
        index = names.index if {found["format"] for found in shard if found} == {"safetensors"} else names.archive_index
        return f"They are shards without their index: download or copy {index} too."
    return f"If one of them is the whole model, copy or link it as {names.safetensors} (or {names.archive})."
