"""A repository of the Hugging Face hub at one commit: small files come at once, weights when they are asked for.

Everything is in the hub's own cache, where other libraries find it too. Never imports torch.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from editkit.errors import ModelError
from editkit.files.hub_errors import Unreachable, broken_off, refusal
from editkit.files.model_folder import ANY_INDEX, is_weights
from editkit.progress import Stage, tell

SMALL = (".json", ".txt", ".model", ".jinja", ".md", ".yaml", ".yml", ".gitattributes", "LICENSE", "NOTICE")
"""How the names of the files end that come with any model: configuration, processing, licence, card."""
SMALL_SIZE = 64 << 20
"""A larger file is none of them; the largest published tokenizer.json has 35 MB."""
MB = 1_000_000


@dataclass(frozen=True)
class Repository:
    """A model of the hub at one commit, as far as it is known here."""

    name: str
    revision: str
    """The branch, tag or commit that was asked for; empty: the main branch."""
    commit: str
    folder: Path
    """Its folder in the hub's cache: files lie there once they are fetched."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes by path of all its files; empty where the hub could not be asked, and only the cache is known."""
    note: str = ""
    """Why the hub was not asked, if it was to be."""

    def paths(self) -> frozenset[str]:
        """Return the paths of all its files, here or on the hub."""
        here = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return frozenset({*here, *self.sizes})

    def lacks(self, path: str) -> bool:
        """Whether a file is still to be fetched."""
        return not (self.folder / path).is_file()

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` of a file on the hub; nothing is kept.

        Raises:
            ModelError: the hub refuses, cannot be reached, or sends anything else.
        """
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        url = hf_hub_url(self.name, path, revision=self.commit)
        try:
            answer = get_session().get(url, headers={**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}"})
            hf_raise_for_status(answer)
            content = bytes(answer.content)
        except Exception as error:  # whatever the network raises
            raise refusal(error, self.name, self.revision) from error
        if len(content) != stop - start:
            raise ModelError(
                f"The hub sent {len(content):,} bytes of {path} of {self.name} where {stop - start:,} were asked for.",
                "Try again; a proxy that ignores ranges has to be bypassed (NO_PROXY).",
            )
        return content

    def fetch(self, paths: Sequence[str], stage: Stage) -> None:
        """Download files that are not here yet; what was cut off before is completed.

        Raises:
            ModelError: the hub refuses or cannot be reached, or the download broke off.
        """
        from huggingface_hub import hf_hub_download

        missing = [path for path in paths if self.lacks(path)]
        if not missing:
            return
        size = -(-sum(self.sizes.get(path, 0) for path in missing) // MB)
        tell(stage, f"Downloading {size:,} MB of {self.name}: {', '.join(missing)}")
        with stage(f"downloading {self.name}, MB", max(1, size)) as advance:
            bar = _bar(advance)
            for path in missing:
                try:
                    hf_hub_download(self.name, path, revision=self.commit, tqdm_class=bar)
                except Exception as error:  # whatever the network raises
                    raise broken_off(error, self.name, self.revision, path) from error


@cache  # a branch stays at one commit for the whole of a process
def open_repository(name: str, revision: str = "", inside: str = "") -> Repository:
    """Return a repository, its small files fetched to the hub's cache.

    Args:
        name: "org/name".
        revision: a branch, tag or commit; empty: the main branch.
        inside: a folder in it whose small files are wanted; empty: those at the top.

    Raises:
        ModelError: no such model or revision; gated; the hub cannot be reached and the cache has not got it.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True)
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
        small = [glob.escape(path) for path, size in sizes.items() if _is_small(path, size, inside)]
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=small or ["config.json"]))
    except Exception as error:  # whatever the network raises
        refused = refusal(error, name, revision)
        known = cached(name, revision)
        if not isinstance(refused, Unreachable) or known is None:
            raise refused from error
        note = f"{name} is commit {known.name[:12]} of the cache: {refused.why}" if not constants.HF_HUB_OFFLINE else ""
        return Repository(name, revision, known.name, known, note=note)
    return Repository(name, revision, folder.name, folder, sizes)


def cached(name: str, revision: str = "") -> Path | None:
    """Return the folder of a repository in the hub's cache, without asking the hub; None where it is not there."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    commit = revision or constants.DEFAULT_REVISION
    with suppress(OSError):
        commit = (place / "refs" / commit).read_text(encoding="utf-8").strip()
    folder = place / "snapshots" / commit
    return folder if folder.is_dir() else None


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

    found = cached(name)
    if found is None or not enough(found):
        with suppress(Exception):  # whatever the network raises
            found = Path(snapshot_download(name, allow_patterns=[glob.escape(file) for file in files]))
    return found


def _is_small(path: str, size: int, inside: str) -> bool:
    place = PurePosixPath(path)
    at_the_top = str(place.parent) == (inside or ".")
    if place.name.endswith(".index.json") or ANY_INDEX.search(place.name):
        return at_the_top and size <= SMALL_SIZE
    return at_the_top and place.name.endswith(SMALL) and size <= SMALL_SIZE and not is_weights(place.name)


def _bar(advance: Callable[[int], None]) -> Any:
    """Return a class that stands for tqdm in a download and tells `advance` of every whole megabyte."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Megabytes(tqdm):  # type: ignore[misc]
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **{**options, "disable": True})
            self.told, self.seen = 0, int(options.get("initial") or 0)
            self._tell()

        def update(self, n: float | None = 1) -> bool | None:
            self.seen += int(n or 0)
            self._tell()
            return None

        def _tell(self) -> None:
            if (whole := self.seen // MB) > self.told:
                advance(whole - self.told)
                self.told = whole

    return Megabytes
