"""What a patch is, by its record and the sizes of its files. No numpy: to look at a patch costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editkit.files.paths import user_path
from editkit.patch.record_file import RECORD, TENSORS, part_of, read_record


@dataclass(frozen=True)
class PatchSummary:
    """A patch as its folder describes it."""

    folder: Path
    record: Mapping[str, Any] = field(repr=False)
    """All of record.json."""
    sizes: Mapping[str, int]
    """Bytes of its files, by name."""

    @classmethod
    def of(cls, folder: Path, record: Mapping[str, Any]) -> PatchSummary:
        """Describe a patch whose record has been read."""
        return cls(folder, record, {name: (folder / name).stat().st_size for name in (TENSORS, RECORD)})

    @classmethod
    def read(cls, folder: str | Path) -> PatchSummary:
        """Describe the patch in a folder.

        Raises:
            PatchError: there is none, or its files are not those that the record was written for.
        """
        place = user_path(folder)
        return cls.of(place, read_record(place))

    @property
    def touched(self) -> Mapping[str, Mapping[str, Any]]:
        """What the record says of each tensor that the patch changes."""
        found: Mapping[str, Mapping[str, Any]] = self.record["base"]["touched"]
        return found

    @property
    def weights(self) -> int:
        """How many elements the patch changes."""
        return sum(entry.get("changed", 0) for entry in self.touched.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the tensors that it changes, sorted."""
        return tuple(sorted({entry["dtype"] for entry in self.touched.values()}))

    @property
    def sites(self) -> list[Mapping[str, Any]]:
        """What the record says of each site that was edited."""
        return [site for site in self.record.get("sites") or [] if isinstance(site, Mapping)]

    @property
    def edited_towers(self) -> tuple[str, ...]:
        """The towers that were edited; both where the record does not say."""
        return tuple(part_of(self.record, "towers").get("edited") or ("text", "vision"))
