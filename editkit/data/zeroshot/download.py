"""A webdataset of CLIP Benchmark from the hub, into the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from editkit.errors import DataError, one_line

WANTED = ("classnames.txt", "zeroshot_classification_templates.txt", "test/*")


def download(owner: str, name: str) -> Path:
    """Fetch the test split of OWNER/NAME, unless the cache has it, and return a folder in which it lies as NAME.

    Raises:
        DataError: no such data set, or no way to reach the hub.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(f"{owner}/{name}", repo_type="dataset", allow_patterns=list(WANTED)))
    except Exception as error:  # whatever the network raises
        raise DataError(
            f"The data set {owner}/{name} cannot be had from the hub: {one_line(error).rstrip('.')}.",
            "Check the name, go online, or give a folder: --data zeroshot:DIR",
        ) from error
    return snapshot
