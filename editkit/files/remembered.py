"""Digests of files that earlier runs read, by path, size, time of change and inode.

Only plans go by them: a run that edits or evaluates hashes what it reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from editkit.files.cache_folder import digests_file
from editkit.files.digests import file_key

if TYPE_CHECKING:
    from editkit.files.checkpoint import Checkpoint

MOST = 1 << 18
"""How many are kept, the most recent ones: 50 MB."""


def remembered_digests() -> dict[str, str]:
    """Return the digests that are remembered, by `file_key`; none where they cannot be read."""
    try:
        known = json.loads(digests_file().read_text())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}


def remember(digests: Mapping[str, str]) -> None:
    """Keep digests for later plans; a disk that cannot be written is no reason to fail a run."""
    path = digests_file()
    partial = path.with_suffix(f".partial-{os.getpid()}")
    older = {key: value for key, value in remembered_digests().items() if key not in digests}
    latest = list({**older, **digests}.items())[-MOST:]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(dict(latest)))
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()


def files_key(checkpoint: Checkpoint) -> str:
    """Name the present content of a checkpoint's files without reading them."""
    return "weights|" + "|".join(file_key(checkpoint.root / name) for name in checkpoint.files)
