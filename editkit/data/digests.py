"""Digests of content: what tells two sets of images apart, whatever the files are called."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from pathlib import Path

from editkit.data.readers.images import ImageSource
from editkit.errors import DataError
from editkit.files.digests import file_key

READERS = 8  # threads: reading many small files waits for the disk, and hashing releases the interpreter lock

Remembered = MutableMapping[str, str]
"""`file_key` -> sha256 of a file's bytes; the caller may keep it between runs."""


def image_digests(images: Sequence[ImageSource | None], remembered: Remembered | None = None) -> list[str | None]:
    """Return the sha256 of each image's bytes, None where there is no image.

    Args:
        remembered: digests from before by `file_key`; those missing are computed and added.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    known: Remembered = {} if remembered is None else remembered
    keys = [file_key(image) if isinstance(image, Path) else None for image in images]
    files = {key: image for key, image in zip(keys, images, strict=True) if isinstance(image, Path) and key is not None}
    unknown = [key for key in files if key not in known]
    with ThreadPoolExecutor(READERS) as pool:
        # The mapping may be a database that belongs to this thread: the readers only hash.
        for key, digest in zip(unknown, pool.map(_hash_file, (files[key] for key in unknown)), strict=True):
            known[key] = digest
    return [_hash_known(image, key, known) for image, key in zip(images, keys, strict=True)]


def content_number(content: str) -> int:
    """Return a signed number of 64 bits, equal for equal texts; of an image, give the digest."""
    return int.from_bytes(sha256(content.encode(errors="surrogatepass")).digest()[:8], signed=True)


def _hash_known(image: ImageSource | None, key: str | None, known: Remembered) -> str | None:
    if key is not None:
        return known[key]
    return None if image is None or isinstance(image, Path) else sha256(image.data).hexdigest()


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"The image {path} cannot be read: {error.strerror}.", "Check the file and its permissions."
        ) from error
