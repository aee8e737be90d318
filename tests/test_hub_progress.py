"""What is seen of a download: a bar with rate and time left in a terminal, a line in a log, megabytes for a program."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub_faults import Fault
from hub_server import Hub, serving
from huggingface_hub import constants
from on_the_hub import surroundings, visiting

from editkit.files.hub import MB, Repository, _bar
from editkit.progress import Advance

PIECE = constants.DOWNLOAD_CHUNK_SIZE
"""What the library tells of at once."""
WEIGHTS = bytes(3 * PIECE + 500_000)
SIZE = -(-len(WEIGHTS) // MB)
"""Of the weights, in megabytes: of the last there is a half."""
FETCH = """
from pathlib import Path
from editkit.cli.console import quiet_libraries
quiet_libraries()
from editkit.api.bars import stage
from editkit.files.hub import Repository
repository = {repository}
repository.fetch(["model.safetensors"], stage)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        hub.add("org/model", {"model.safetensors": WEIGHTS, "config.json": b"{}"})
        yield hub


def repository(hub: Hub, cache: Path) -> Repository:
    commit = hub.repositories["model", "org/model"].branches["main"]
    folder = cache / "models--org--model" / "snapshots" / commit
    folder.mkdir(parents=True)
    return Repository("org/model", "", commit, folder, {"model.safetensors": len(WEIGHTS)})


def fetching(hub: Hub, cache: Path) -> list[str]:
    found = repository(hub, cache)
    text = repr(found).replace(repr(found.folder), f"Path({str(found.folder)!r})")
    return [sys.executable, "-c", FETCH.format(repository=text)]


def test_a_terminal_shows_how_far_it_is_how_fast_and_how_long_it_takes(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["model", "org/model"].faults = [Fault(rate=PIECE, files="model.safetensors")]
    master, slave = pty.openpty()
    env = surroundings(hub, tmp_path / "cache") | {"COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(
        fetching(hub, tmp_path / "cache"), stderr=slave, stdout=subprocess.DEVNULL, env=env
    ) as process:
        os.close(slave)
        shown = "".join(_read(master))
    assert process.returncode == 0, shown
    assert f"Downloading {SIZE} MB of org/model: model.safetensors" in shown
    assert "downloading org/model, MB" in shown
    assert all(f"{done}/{SIZE}" in shown for done in (0, PIECE // MB, 2 * PIECE // MB)), shown
    assert "/s" in shown  # the rate
    assert "0:00:0" in shown  # the time left


def _read(terminal: int) -> Iterator[str]:
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return
        if not piece:
            return
        yield piece.decode(errors="replace")


def test_a_log_has_one_line(hub: Hub, tmp_path: Path) -> None:
    env = surroundings(hub, tmp_path / "cache")
    ran = subprocess.run(fetching(hub, tmp_path / "cache"), capture_output=True, text=True, check=True, env=env)
    assert ran.stderr == f"Downloading {SIZE} MB of org/model: model.safetensors\n"
    assert ran.stdout == ""


def fetched(found: Repository) -> list[tuple[str, int, int]]:
    """Fetch and return every stage: what it is, how many steps it has, and how many were told."""
    stages = []

    @contextmanager
    def stage(what: str, total: int) -> Iterator[Advance]:
        done: list[int] = []
        yield done.append
        stages.append((what, total, sum(done)))

    found.fetch(["model.safetensors"], stage)
    return stages


def test_a_program_is_told_of_whole_megabytes(hub: Hub, tmp_path: Path) -> None:
    with visiting(hub, tmp_path / "cache") as call:
        stages = call(fetched, repository(hub, tmp_path / "cache"))
    assert stages == [
        (f"Downloading {SIZE} MB of org/model: model.safetensors", 0, 0),
        ("downloading org/model, MB", SIZE, len(WEIGHTS) // MB),
    ]


@pytest.fixture
def told() -> list[int]:
    return []


def reporter(advance: Callable[[int], None]) -> object:
    """What the library shows a download of its own storage by, of 4 MB."""
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    if not hasattr(reporting, "XetDownloadProgressReporter"):
        pytest.skip("this huggingface_hub shows such a download by one bar")
    return reporting.XetDownloadProgressReporter(
        reconstruction_desc="file", total=4_000_000, log_level=30, tqdm_class=_bar(advance)
    )


class Report:
    """How far such a download is: bytes received, and bytes on the disk."""

    total_bytes = 4_000_000
    total_bytes_completion_rate = total_transfer_bytes_completion_rate = None

    def __init__(self, received: int, written: int) -> None:
        self.total_transfer_bytes_completed, self.total_bytes_completed = received, written


def test_bytes_that_are_shown_twice_as_received_and_as_written_are_counted_once(told: list[int]) -> None:
    with reporter(told.append) as shown:  # type: ignore[attr-defined]
        for received, written in ((2_500_000, 0), (3_000_000, 2_000_000), (4_000_000, 4_000_000)):
            shown.update_progress(Report(received, written))
    assert sum(told) == 4
    assert told[0] == 2  # what was received counts before it is written
