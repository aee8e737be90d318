"""Where a model's files are: a folder or file on this disk, or a repository of the hub. Never imports torch."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from editkit.errors import ModelError
from editkit.files.hub import Repository, open_repository
from editkit.files.model_folder import is_adapter
from editkit.files.shard import TensorInfo, parse_header, read_header
from editkit.progress import Stage

_NAME = r"[A-Za-z0-9][\w.-]*"
_ID = re.compile(rf"(?P<name>{_NAME}/{_NAME})(?P<inside>(/{_NAME})*)(@(?P<revision>[\w./-]+))?")
_PAGE = re.compile(rf"(?P<name>{_NAME}/{_NAME})(/(?P<kind>tree|blob|resolve|raw|commit)/(?P<rest>[^?#]+?))?/?([?#].*)?")
_HOSTS = ("https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/")
HUB_PREFIXES = ("hf-hub:", "hf_hub:", *_HOSTS)
"""What other libraries, and browsers, write before a hub id."""
_NO_MODELS = ("datasets", "spaces")
"""What else has pages on the hub; no owner of models is called so."""


@dataclass(frozen=True)
class HubId:
    """A model of the hub by its name: `org/name[/folder][@revision]`."""

    name: str
    inside: str = ""
    revision: str = ""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model's files; of the hub's, the small ones are here and the others come by `fetch`."""

    source: str
    """What the user called it."""
    root: Path
    repository: Repository | None = None
    inside: str = ""
    """The folder in the repository; empty: its top."""

    @property
    def commit(self) -> str:
        """The commit of the hub that its files are of; empty for a folder of the user's."""
        return self.repository.commit if self.repository else ""

    @property
    def note(self) -> str:
        """Why the hub was not asked, if it was to be."""
        return self.repository.note if self.repository else ""

    @property
    def is_partial(self) -> bool:
        """Whether it may lack files that only the hub has, which was not asked."""
        return self.repository is not None and not self.repository.sizes

    def notes(self) -> tuple[str, ...]:
        """Return what the user should know of the folder, one line each."""
        adapters = sorted(name for name in self.names() if is_adapter(name) and name.endswith((".safetensors", ".bin")))
        beside = f"{adapters[0]} beside the weights is an adapter: it is not laid over them" if adapters else ""
        return tuple(filter(None, (self.note, beside)))

    def names(self) -> frozenset[str]:
        """Return the names of the files at its top, those that are still on the hub included."""
        if self.repository is None:
            return frozenset(entry.name for entry in self.root.iterdir() if not entry.is_dir())
        paths = map(PurePosixPath, self.repository.paths())
        return frozenset(path.name for path in paths if str(path.parent) == (self.inside or "."))

    def holds(self, path: str) -> bool:
        """Whether a file is in it, here or on the hub."""
        known = self.repository is not None and self._path(path) in self.repository.sizes
        return known or (self.root / path).is_file()

    def size(self, name: str) -> int:
        """Return a file's size in bytes; 0 where only the hub would know."""
        here = self.root / name
        if here.is_file() or self.repository is None:
            return here.stat().st_size
        return self.repository.sizes.get(self._path(name), 0)

    def lacks(self, name: str) -> bool:
        """Whether a file is still on the hub."""
        return self.repository is not None and self.repository.lacks(self._path(name))

    def header(self, name: str) -> dict[str, TensorInfo]:
        """Return the header of a safetensors file; of one on the hub, nothing else is read.

        Raises:
            ModelError: it is no safetensors file, or cannot be read.
        """
        if self.repository is None or not self.lacks(name):
            return read_header(self.root / name, name)
        repository, path = self.repository, self._path(name)

        def read(start: int, stop: int) -> bytes:
            return repository.read_range(path, start, stop)

        return parse_header(read, self.size(name), name, f"{path} of {repository.name}")

    def fetch(self, names: list[str], stage: Stage) -> None:
        """Download those of the files that are still on the hub.

        Raises:
            ModelError: the hub refuses or cannot be reached, or the download broke off.
        """
        if self.repository is not None:
            self.repository.fetch([self._path(name) for name in names], stage)

    def sibling(self, folder: str) -> ModelFolder:
        """Return another folder beside this one: the `tokenizer` of a pipeline beside its `text_encoder`."""
        if self.repository is None:
            beside = self.root.absolute().parent / folder
            return ModelFolder(str(beside), beside)
        inside = str(PurePosixPath(self.inside).parent / folder)
        return _of_hub(self.source, HubId(self.repository.name, inside, self.repository.revision))

    def _path(self, name: str) -> str:
        return f"{self.inside}/{name}" if self.inside else name


def hub_id(source: str) -> HubId | None:
    """Return the hub id that a source spells, as editkit, another library or a browser writes it; None: it is none."""
    prefix = next((prefix for prefix in HUB_PREFIXES if source.startswith(prefix)), "")
    rest = source.removeprefix(prefix)
    if rest.startswith(tuple(f"{kind}/" for kind in _NO_MODELS)):
        return None
    if prefix in _HOSTS and (found := _PAGE.fullmatch(rest)):
        revision, _, path = (found["rest"] or "").partition("/")
        inside = path if found["kind"] == "tree" else posixpath.dirname(path)
        return HubId(found["name"], inside, unquote(revision))
    if found := _ID.fullmatch(rest.rstrip("/")):
        return HubId(found["name"], (found["inside"] or "").lstrip("/"), found["revision"] or "")
    return None


def model_folder(source: str | Path) -> ModelFolder:
    """Return the folder that a source names: an existing one as it is, a hub id with its small files fetched.

    Raises:
        ModelError: it is one file; or neither a folder nor a model on the hub; or the hub says no.
    """
    named = str(source)
    path = Path(named).expanduser()
    if path.is_file():
        raise ModelError(
            f"{named} is one file, which does not say what architecture its tensors belong to.",
            f"Name the folder that holds its config.json, or write open_clip:NAME@{named}",
        )
    if path.is_dir():
        return ModelFolder(named, path)
    wanted = hub_id(named)
    if wanted is None:
        raise _no_model(named)
    return _of_hub(named, wanted)


def _no_model(named: str) -> ModelError:
    """Return the error for what is neither a path nor a hub id, with what to write instead."""
    name = re.sub(rf"^({'|'.join(map(re.escape, HUB_PREFIXES))})", "", named)
    if name.startswith("datasets/"):
        data = "/".join(name.split("/")[1:3])
        return ModelError(f"{named} is a data set, and no model.", f"Give it as --data pairs:hf:{data}")
    if "://" in named:
        return ModelError(
            f"{named} is the address of no model on huggingface.co.",
            "Write org/name; another hub than huggingface.co is named by the variable HF_ENDPOINT.",
        )
    return ModelError(f"There is no model folder {named}.", "Give a folder, a hub id org/name, or open_clip:NAME/TAG.")


def _of_hub(source: str, wanted: HubId) -> ModelFolder:
    repository = open_repository(wanted.name, wanted.revision, wanted.inside)
    root = repository.folder / wanted.inside if wanted.inside else repository.folder
    if not root.is_dir():
        raise ModelError(
            f"{wanted.name} has no folder '{wanted.inside}'.",
            f"See https://huggingface.co/{wanted.name}/tree/main for those it has.",
        )
    return ModelFolder(source, root, repository, wanted.inside)
