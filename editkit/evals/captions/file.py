"""The captions file: JSON lines that only ever grow, by whole batches, and survive a kill at any moment.

The first line says what the captions depend on, each other line is one image, in the order of the plan:
`{"id", "side", "concept", "caption", "batch", "seed"}`. An image that cannot be read has the caption null and a
`reason`. A run that continues it drops a half-written line, and the lines of a batch that is not whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editkit.errors import OutputError
from editkit.evals.captions.plan import INSTALLED, SCHEMA, CaptionBatch, Settings, Task, says_what_made_it
from editkit.files.whole_text import json_text

_START = b'{"schema": "' + SCHEMA.encode()
_ANEW = "Give another folder with -o, or repeat the earlier run's settings."
_AS_THEY_ARE = "Give another folder with -o; `editkit judge` judges captions that are there as they are."


@dataclass(frozen=True)
class CaptionLine:
    """One image and what the model said of it; `caption` None: it could not be read, for the `reason`."""

    id: str
    side: str
    concept: str
    caption: str | None
    batch: int
    seed: int
    reason: str = ""


@dataclass
class CaptionFile:
    """A captions file and how far it is: `rows` are those of the whole batches in it."""

    path: Path
    settings: Settings
    batches: Sequence[CaptionBatch]
    header: dict[str, Any] | None = None
    rows: list[CaptionLine] = field(default_factory=list)
    done: int = 0
    """Number of batches that are whole."""
    _size: int = 0

    @classmethod
    def open(cls, path: Path, settings: Settings, batches: Sequence[CaptionBatch]) -> CaptionFile:
        """Read what there is; changes nothing.

        Raises:
            OutputError: another file has the name, it was made with other settings, or it is damaged.
        """
        file = cls(path, settings, batches)
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise OutputError(f"{path} cannot be read: {error}.", "Give another folder with -o.") from error
        *lines, rest = content.split(b"\n")
        if not (lines[0] if lines else rest).startswith(_START) and not _START.startswith(content):
            raise OutputError(f"{path} is no captions file of editkit.", "Give another folder with -o.")
        if lines:
            file._read(lines)
        return file

    @property
    def is_complete(self) -> bool:
        """Whether every batch is there."""
        return self.done == len(self.batches)

    def go_on(self, header: dict[str, Any]) -> None:
        """Make ready to append: cut off what is not whole.

        Args:
            header: the first line of a new file; the one that is there must say the same.

        Raises:
            OutputError: the earlier captions were made on another kind of device, or the place cannot be written.
        """
        if self.header is not None:
            self._require_same(self.settings.contradiction(self.header, header["device"]))
        try:
            if self.path.exists():
                with self.path.open("r+b") as stream:
                    stream.truncate(self._size)
        except OSError as error:
            raise self._unwritable(error) from error
        self.header = header if self.header is None else self.header

    def append(self, batch: CaptionBatch, captions: Sequence[str | None], reasons: Sequence[str]) -> None:
        """Add a finished batch, and return once it is on the disk.

        Raises:
            OutputError: the disk is full, or another run writes to the same file.
        """
        rows = [
            CaptionLine(task.id, task.side, task.concept, caption, batch.number, batch.seed, reason)
            for task, caption, reason in zip(batch.tasks, captions, reasons, strict=True)
        ]
        # the first line comes with the first batch: a run that fails before it leaves no file
        self._write([*([] if self._size or self.header is None else [self.header]), *map(_line, rows)])
        self.rows += rows
        self.done += 1

    def _write(self, lines: Sequence[dict[str, Any]]) -> None:
        content = "".join(f"{json_text(line)}\n" for line in lines).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("r+b" if self.path.exists() else "xb") as stream:
                if stream.seek(0, os.SEEK_END) != self._size:
                    raise OutputError(
                        f"Another run writes to {self.path}.", "Wait for it, or give another folder with -o."
                    )
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self._size += len(content)

    def _read(self, lines: Sequence[bytes]) -> None:
        self.header = self._parse(lines[0], 1)
        if not says_what_made_it(self.header):
            raise OutputError(
                f"{self.path} is of an older editkit and does not say which code, libraries and configuration made its "
                "captions, so this run may not make the same.",
                _AS_THEY_ARE,
            )
        self._require_same(self.settings.contradiction(self.header))
        sizes = [len(line) + 1 for line in lines]
        tasks = [(batch, task) for batch in self.batches for task in batch.tasks]
        if len(lines) - 1 > len(tasks):
            raise self._damaged(f"it has {len(lines) - 1} captions, where the data have {len(tasks)} images")
        found = [self._row(line, place, *tasks[place]) for place, line in enumerate(lines[1:])]
        for batch in self.batches:
            if len(self.rows) + len(batch.tasks) > len(found):
                break
            self.rows += found[len(self.rows) : len(self.rows) + len(batch.tasks)]
            self.done += 1
        self._size = sum(sizes[: 1 + len(self.rows)])

    def _row(self, line: bytes, place: int, batch: CaptionBatch, task: Task) -> CaptionLine:
        held = self._parse(line, place + 2)
        expected: dict[str, Any] = {"id": task.id, "side": task.side, "concept": task.concept}
        expected |= {"batch": batch.number, "seed": batch.seed}
        if {name: held.get(name) for name in expected} != expected or "caption" not in held:
            raise self._damaged(f"line {place + 2} is not the caption of '{task.id}', {task.side}, which is due there")
        return CaptionLine(**expected, caption=held["caption"], reason=held.get("reason", ""))

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            held = json.loads(line.decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise self._damaged(f"line {number} is no JSON") from error
        if not isinstance(held, dict):
            raise self._damaged(f"line {number} is no object")
        return held

    def _require_same(self, contradiction: tuple[str, Any, Any] | None) -> None:
        if contradiction:
            name, was, now = contradiction
            remedy = _AS_THEY_ARE if name.startswith(INSTALLED) else _ANEW
            raise OutputError(f"{self.path} holds captions made with {name} {was!r}; this run has {now!r}.", remedy)

    def _damaged(self, why: str) -> OutputError:
        return OutputError(f"{self.path} cannot be continued: {why}.", "Give another folder with -o, or move it away.")

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path} cannot be written: {error}.", "Free space, then run the same command: finished batches stay."
        )


def _line(row: CaptionLine) -> dict[str, Any]:
    line = {name: value for name, value in vars(row).items() if name != "reason"}
    return line if row.caption is not None else {**line, "reason": row.reason}
