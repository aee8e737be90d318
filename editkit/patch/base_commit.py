"""The commit of the hub that a patch was made from, beside that of the model at hand: a branch may have moved since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from editkit.errors import PatchError
from editkit.files.hub import cached
from editkit.files.source import HubId, hub_id
from editkit.patch.record_file import part_of


@dataclass(frozen=True)
class Moved:
    """A model of the hub, at another commit than the one that a patch was made from."""

    source: str
    """What the user called it."""
    made_from: str
    here: str

    @property
    def pinned(self) -> str:
        """The source as it names the commit that the patch was made from; empty where there is no way to write that."""
        prefix, found = _taken_apart(self.source)
        if found is None or cached(found.name, self.here) is None:  # open_clip's NAME/TAG is no hub id
            return ""
        return f"{prefix}{found.name}{f'/{found.inside}' if found.inside else ''}@{self.made_from}"

    @property
    def facts(self) -> str:
        """Both commits, in a sentence."""
        return f"the patch was made from commit {self.made_from[:12]} of {self.source}, and this is {self.here[:12]}"

    @property
    def note(self) -> str:
        """What the user should know where the weights are the same."""
        return f"{self.facts}, whose weights are the same"


def moved(record: Mapping[str, Any], source: str, commit: str) -> Moved | None:
    """Return how a model differs in its commit from a patch's base; None: it does not, or it is another's model.

    Args:
        record: the patch's.
        source: the model, as the user calls it.
        commit: its commit; empty: it is none of the hub's.
    """
    base = part_of(record, "model")
    made_from, of = str(base.get("commit") or ""), str(base.get("source") or "")
    if not commit or not made_from or commit == made_from or _repository(of) != _repository(source):
        return None
    return Moved(source, made_from, commit)


@contextmanager
def at_base_commit(record: Mapping[str, Any], source: str, commit: str, remedy: Callable[[str], str]) -> Iterator[None]:
    """Add to a refusal of the weights that the model's branch has moved since the patch was made.

    Args:
        remedy: says what to do, given the source as it names the patch's commit.

    Raises:
        PatchError: as it was raised inside, with both commits where they differ.
    """
    try:
        yield
    except PatchError as error:
        found = moved(record, source, commit)
        if found is None:
            raise
        problem = f"{error.problem.rstrip('.')}: {found.facts}."
        raise PatchError(problem, remedy(found.pinned) if found.pinned else error.remedy) from error


def _taken_apart(source: str) -> tuple[str, HubId | None]:
    """Return a family's prefix and the hub id behind it."""
    if found := hub_id(source):
        return "", found
    prefix, colon, rest = source.partition(":")
    return prefix + colon, hub_id(rest)


def _repository(source: str) -> tuple[str, str]:
    """Return what names a repository and a folder in it, whatever the revision."""
    found = _taken_apart(source)[1]
    return (found.name, found.inside) if found else (source, "")
