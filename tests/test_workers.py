"""Processes that decode images: too little shared memory is no end, and a killed one is told in two lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import DEMO
from torch import Tensor

from editkit.data.readers.images import ImageBytes
from editkit.errors import ModelError
from editkit.models.batches import image_batches, pass_over
from editkit.models.compute import Compute
from editkit.models.memory import Batches
from editkit.models.workers import WorkersUnusableError, require_shared_memory

IMAGE = next((DEMO / "data" / "coco").rglob("*.jpg"))
Usage = namedtuple("Usage", "total used free")


def decode(image: Any) -> Mapping[str, Tensor]:
    return {"pixel_values": torch.zeros(3, 100, 100)}  # 120 kB


class Killed:
    """Decoding that ends its process, but not the main one."""

    def __init__(self, number: int) -> None:
        self.number, self.main = number, os.getpid()

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        if os.getpid() != self.main:
            os.kill(os.getpid(), self.number)
        return decode(image)


def model(preprocess: Any = decode) -> Any:
    return SimpleNamespace(device="cpu", image_preprocessor=lambda: preprocess, image_mask=lambda inputs: None)


def taken(count: int = 8, workers: int = 2, size: int = 2, preprocess: Any = decode) -> list[int]:
    groups = [(IMAGE,)] * count
    batches = image_batches(model(preprocess), groups, batch_size=size, workers=workers)
    return [group for batch in batches for group in batch.groups]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory of 1 MB."""
    monkeypatch.setattr("shutil.disk_usage", lambda place: Usage(1e6, 0, 1e6))


def test_workers_hand_over_every_batch_in_order() -> None:
    assert taken() == list(range(8))


@pytest.mark.usefixtures("small")
def test_shared_memory_that_does_not_hold_what_workers_hand_over_is_noticed_before_they_start() -> None:
    require_shared_memory(160_000, 2)  # two for each worker, the one in use and the one before it: 960 kB
    with pytest.raises(WorkersUnusableError, match="2 workers hand over up to 2 MB of images, and /dev/shm has 1 MB"):
        require_shared_memory(250_000, 2)
    assert taken(size=1) == list(range(8))
    with pytest.raises(WorkersUnusableError) as error:
        taken(size=4)
    assert "docker run --shm-size=1g" in error.value.remedy
    assert taken(size=4, workers=0) == list(range(8))


@pytest.mark.usefixtures("small")
def test_the_first_image_that_can_be_decoded_is_the_measure() -> None:
    groups = [(ImageBytes(b"", "broken"),), *[(IMAGE,)] * 7]
    with pytest.raises(WorkersUnusableError):
        list(image_batches(model(), groups, batch_size=4, workers=2, on_unreadable=pass_over))


def test_a_system_without_such_a_folder_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editkit.models.workers.SHARED", Path("/nowhere"))
    require_shared_memory(1 << 60, 2)


@pytest.mark.usefixtures("small")
def test_a_pass_goes_on_in_the_main_process_and_says_why_once() -> None:
    said: list[str] = []

    @contextmanager
    def stage(what: str, total: int) -> Iterator[Any]:
        said.append(what)
        yield lambda steps: None

    passes = Batches(Compute(batch_size=4, workers=2), stage)
    for _ in range(2):
        found = passes.run_smaller("embedding images", 8, lambda c: taken(size=c.batch_size, workers=c.workers))
        assert found == list(range(8))
    [told] = said
    assert told.startswith("embedding images: decoding in the main process. 2 workers hand over")
    assert passes.compute.workers == 0 and passes.compute.batch_size == 4 and not passes.halved


def test_a_worker_that_the_kernel_ends_is_told_in_two_lines() -> None:
    with pytest.raises(ModelError) as error:
        taken(preprocess=Killed(signal.SIGKILL))
    assert "A process that decodes images ended by the signal: Killed;" in error.value.problem
    assert "--workers 0" in error.value.remedy and len(str(error.value).splitlines()) == 2


def test_a_worker_that_runs_out_of_shared_memory_after_all_is_done_without() -> None:
    with pytest.raises(WorkersUnusableError, match="ran out of shared memory"):
        taken(preprocess=Killed(signal.SIGBUS))


def test_workers_that_cannot_be_started_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refused)
    with pytest.raises(WorkersUnusableError, match="2 workers cannot be started"):
        taken()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_one_cpu_is_enough_and_no_advice_is_printed(tmp_path: Path) -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from editkit.cli import main; "
        "raise SystemExit(main(['eval', 'retrieval', '--limit', '40', '--no-controls', '--json']))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert b"Warning" not in ran.stderr
