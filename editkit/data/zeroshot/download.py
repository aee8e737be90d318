"""A webdataset of CLIP Benchmark from the hub, into the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from editkit.files.hub_data import fetch_data

WANTED = ("classnames.txt", "zeroshot_classification_templates.txt", "test/*")


def download(owner: str, name: str) -> Path:
    """Fetch the test split of OWNER/NAME, unless the cache has it, and return a folder in which it lies as NAME.

    Raises:
        DataError: no such data set, or no way to reach the hub.
    """
    return fetch_data(f"{owner}/{name}", WANTED, where="a folder: --data zeroshot:DIR")
