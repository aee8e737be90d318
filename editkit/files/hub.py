"""Model sources on the command line: a path, or a Hugging Face hub id `org/name[@revision]`. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from editkit.errors import ModelError
from editkit.files.model_folder import WEIGHT_FOLDERS, WEIGHT_SUFFIXES

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_WANTED = (".safetensors", ".safetensors.index.json")


def resolve(source: str | Path) -> Path:
    """Return the folder (or file) that `source` names; a hub id is downloaded to the hub's cache, safetensors only.

    A path that exists is meant as a path. The cache's own files are read, never written to by editkit.

    Raises:
        ModelError: neither a path nor a model on the hub; gated; no such revision; the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if path.exists() or not _ID.fullmatch(str(source)):
        return path
    name, _, revision = str(source).partition("@")
    return Path(_download(name, revision or None))


def fetch_files(name: str, files: Sequence[str], enough: Callable[[Path], bool]) -> Path | None:
    """Return the cached folder of a hub id that holds some small files, fetched only if the cache has not enough.

    Args:
        name: a hub id.
        files: names of files, of which the model need not have all.
        enough: whether a folder holds what is needed of them; asked of the cache before the hub is.

    Returns:
        None where nothing was found: no such model, or no way to reach the hub.
    """
    from huggingface_hub import snapshot_download

    found = None
    for from_cache in (True, False):
        with suppress(Exception):  # whatever the network raises
            found = Path(snapshot_download(name, allow_patterns=list(files), local_files_only=from_cache))
            if enough(found):
                break
    return found


def _download(name: str, revision: str | None) -> str:
    from huggingface_hub import errors, snapshot_download

    unwanted = [f"*{suffix}" for suffix in WEIGHT_SUFFIXES if suffix not in _WANTED]
    unwanted += [f"{folder}/*" for folder in WEIGHT_FOLDERS]
    page = f"https://huggingface.co/{name}"
    try:
        folder = snapshot_download(name, revision=revision, ignore_patterns=unwanted)
        if not any(Path(folder).glob("*.safetensors")):  # older models have nothing else
            archives = [pattern for pattern in unwanted if pattern != "*.bin"]
            folder = snapshot_download(name, revision=revision, ignore_patterns=archives)
    except errors.GatedRepoError as error:
        raise ModelError(f"{name} is gated.", f"Accept its terms at {page}, then log in: `hf auth login`.") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(
            f"There is no folder {name} here and no such model on the hub.",
            "Check the spelling; a private model needs `hf auth login`.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision '{revision}'.", f"See {page}/commits for those it has.") from error
    except Exception as error:  # whatever the network raises
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"There is no folder {name} here, and the hub could not be asked for it: {why}.",
            "Go online, or give the path of a model folder.",
        ) from error
    if not any(file.name.endswith(WEIGHT_SUFFIXES) for file in Path(folder).rglob("*")):
        raise ModelError(
            f"There are no weights of {name}: the hub has none, or its cache here has only other files.",
            "Check the spelling; go online once if they are to be downloaded.",
        )
    return folder
