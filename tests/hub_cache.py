"""The hub's cache as huggingface_hub lays it out on disk: blobs, snapshots of links to them, and refs."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha1, sha256
from pathlib import Path


def into_cache(
    cache: Path, name: str, folder: Path, *, revision: str = "main", leaving_out: Collection[str] = ()
) -> Path:
    """Put a folder's files into a cache as the hub id `name` at `revision`; return the snapshot's folder."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = sha1(f"{name}@{revision}".encode()).hexdigest()
    snapshot = repository / "snapshots" / commit
    for part in ("blobs", "refs"):
        (repository / part).mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    (repository / "refs" / revision).write_text(commit)
    for file in folder.iterdir():
        if file.name not in leaving_out:
            content = file.read_bytes()
            blob = repository / "blobs" / sha256(content).hexdigest()
            blob.write_bytes(content)
            (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot
