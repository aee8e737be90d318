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
PARTIAL = 206
"""The status of an answer that is the part of a file that was asked for."""


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
        headers = {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}"}
        try:
            with get_session().stream("GET", url, headers=headers) as answer:
                hf_raise_for_status(answer)
                # else the whole file comes, of which nothing is read
                content = bytes(answer.read()) if answer.status_code == PARTIAL else b""
        except Exception as error:  # whatever the network raises
            raise refusal(error, self.name, self.revision) from error
        if len(content) != stop - start:
            raise ModelError(
                f"The hub did not send the {stop - start:,} bytes of {path} of {self.name} that were asked for.",
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
            for path in missing:
                try:
                    hf_hub_download(self.name, path, revision=self.commit, tqdm_class=_bar(advance))
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
    from huggingface_hub import constants

    try:
        folder, sizes = _small_files(name, revision, inside)
    except Exception as error:  # whatever the network raises
        refused = refusal(error, name, revision)
        known = cached(name, revision)
        if not isinstance(refused, Unreachable) or known is None:
            raise refused from error
        note = f"{name} is commit {known.name[:12]} of the cache: {refused.why}" if not constants.HF_HUB_OFFLINE else ""
        return Repository(name, revision, known.name, known, note=note)
    return Repository(name, revision, folder.name, folder, sizes)


def _small_files(name: str, revision: str, inside: str) -> tuple[Path, dict[str, int]]:
    """Fetch a repository's small files; return their folder in the cache, and the sizes of all its files."""
    from huggingface_hub import HfApi, snapshot_download

    for _ in range(2):
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True)
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
        small = [path for path, size in sizes.items() if _is_small(path, size, inside)] or ["config.json"]
        patterns, bar = [glob.escape(path) for path in small], _bar(_hidden)
        try:
            folder = snapshot_download(name, revision=revision or None, allow_patterns=patterns, tqdm_class=bar)
        except Exception as error:  # whatever the network raises; a part of them is no model
            raise broken_off(error, name, revision, "configuration and processing") from error
        if Path(folder).name == info.sha:
            return Path(folder), sizes
    raise ModelError(  # twice somebody pushed between the two calls
        f"{name} is being changed on the hub while it is opened.", "Try again, or name a commit: org/name@COMMIT"
    )


def cached(name: str, revision: str = "") -> Path | None:
    """Return the folder of a repository in the hub's cache, without asking the hub; None where it is not there."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    commit = revision or constants.DEFAULT_REVISION
    if ".." in commit:  # no git revision, but a way out of the folder
        return None
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


def _hidden(megabytes: int) -> None:
    """Show nothing of what takes no time."""


def _bar(advance: Callable[[int], None]) -> Any:
    """Return a class that stands for tqdm in the download of one file and tells `advance` of every whole megabyte.

    The library may show a file by two bars, of what was received and of what is on the disk: the one ahead counts.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    told = 0

    class Megabytes(tqdm):  # type: ignore[misc]
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **{**options, "disable": True})
            self.seen = int(options.get("initial") or 0)
            self._tell()

        def update(self, n: float | None = 1) -> bool | None:
            self.seen += int(n or 0)
            self._tell()
            return None

        def _tell(self) -> None:
            nonlocal told
            whole = (min(self.seen, self.total) if self.total else self.seen) // MB
            if whole > told:
                advance(whole - told)
                told = whole

    return Megabytes
