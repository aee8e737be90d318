"""Memory that does not suffice: the batch is halved, the user is told, and the result is that of small batches.

The allocators really refuse: a process of its own is given little more address space than it holds already. What it
runs there is built so that the tensors of a large batch are far larger than that margin, and everything else far
smaller; it has run once before, so that no library is imported and no buffer is made under the limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any, cast

import numpy as np
import pytest
import torch
from models import DEMO, PROCESSING, table
from torch import Tensor
from torch.utils.data import DataLoader

from editkit.components.protocols import ModelFiles
from editkit.errors import ModelError
from editkit.files.bits import to_tensor
from editkit.models.compute import Compute
from editkit.models.load import load_model
from editkit.models.memory import Batches, OutOfMemoryError, free_on_oom
from editkit.patch.patch import Patch
from editkit.progress import silent

MARGIN = 24 * 2**20
TUPLES = 64
WIDTH = 4096
"""Of the hidden layer of each MLP: a caption of 20 tokens takes 160 KiB there, and 64 pairs 20 MiB, several times."""

LIMITED = """
import json, resource, sys, threading
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from editkit.cli import main

threading.stack_size(2**18)  # files are hashed in threads

def held():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))

def limited(arguments, margin):
    resource.setrlimit(resource.RLIMIT_AS, (held() + margin, resource.RLIM_INFINITY))
    try:
        return main(arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

def ran(arguments, margin):
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = limited(arguments, margin) if margin else main(arguments)
    return code, err.getvalue().splitlines(), out.getvalue()

print(json.dumps([ran(*command) for command in json.load(sys.stdin)]))
"""


@dataclass(frozen=True)
class Limited:
    """What commands said and left behind, by name; most ran as "small", and as "large" in too little memory."""

    folder: Path
    codes: Mapping[str, int]
    said: Mapping[str, list[str]]
    printed: Mapping[str, str]


def wide_clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    settings = json.loads((DEMO / "model" / "config.json").read_text())
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": WIDTH}
    torch.manual_seed(0)
    towers = {name: settings[name] | small for name in ("text_config", "vision_config")}
    model = CLIPModel(CLIPConfig(**towers, projection_dim=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    for name in PROCESSING:
        copyfile(DEMO / "model" / name, folder / name)
    return folder


EDITS = {
    "inputs": ("--scorer", "uwm", "--target", "text:mlp.out", "--target", "vision:mlp.out"),
    "gradients": ("--scorer", "gradient", "--target", "text:attn.out"),
    "sample-gradients": ("--scorer", "snip", "--target", "vision:attn.out"),
    "moments": ("--manipulator", "redirect", "--target", "text:attn.out", "--set", "manipulator.order=sequential"),
}
TOO_LARGE = ("--manipulator", "redirect", "--target", "text:mlp.out[0]")
"""Its moments are three matrices of 2048 x 2048 float64, whatever the batch."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Limited:
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says how much address space a process holds, and limits it")
    folder = tmp_path_factory.mktemp("limited")
    common = ["--model", wide_clip(folder / "model"), "--data", table(folder / "data", TUPLES)]
    common += ["--workers", 0, "--no-cache", "--json"]
    commands: dict[str, tuple[list[object], int]] = {}
    for name, flags in EDITS.items():
        for size, batch, margin in (("small", 3, 0), ("large", 1000, MARGIN)):
            place = folder / f"{name}-{size}"
            commands[f"{name}-{size}"] = ["edit", *flags, *common, "--batch-size", batch, "-o", place], margin
    measure = ["eval", "safeground", "--patch", folder / "inputs-small", *common, "--no-controls"]
    measure += ["--split", "train", "--knowledge", "none", "--batch-size"]
    commands |= {"eval-small": ([*measure, 3], 0), "eval-large": ([*measure, 1000], MARGIN)}
    commands["too large"] = ["edit", *TOO_LARGE, *common, "-o", folder / "too large"], MARGIN
    given = [([str(part) for part in arguments], margin) for arguments, margin in commands.values()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    arguments = [sys.executable, "-c", LIMITED]
    pipes: dict[str, Any] = {"input": json.dumps(given), "capture_output": True, "text": True}
    ran = subprocess.run(arguments, env=environment, cwd=folder, **pipes)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    return Limited(folder, *(dict(zip(commands, column, strict=True)) for column in zip(*found, strict=True)))


# whole commands, in too little memory


PASSES = {
    "inputs": "scoring text",
    "gradients": "embedding images",
    "sample-gradients": "embedding captions",
    "moments": "moments text:attn.out[0] ...",
    "eval": "embedding captions x 2 models",
}


def said_of_batches(lines: list[str]) -> list[str]:
    """Leave out what else a command notes: an evaluation, where it kept its report."""
    return [line for line in lines if "out of memory" in line]


@pytest.mark.parametrize("name", PASSES)
def test_a_batch_that_is_too_large_is_halved_until_it_fits_and_the_user_is_told(limited: Limited, name: str) -> None:
    assert limited.codes[f"{name}-small"] == limited.codes[f"{name}-large"] == 0
    small, said = (said_of_batches(limited.said[f"{name}-{size}"]) for size in ("small", "large"))
    assert not small
    # of 1000 asked for there are 64, so that the first half is 32
    assert said[0] == f"{PASSES[name]}: out of memory, continuing with batches of {TUPLES // 2}"
    sizes = [int(line.rpartition(" ")[2]) for line in said]
    assert sizes == [TUPLES // 2**power for power in range(1, len(sizes) + 1)]  # a size that did not fit is not retried


@pytest.mark.parametrize("name", EDITS)
def test_the_edit_is_that_of_small_batches(limited: Limited, name: str) -> None:
    small, large = (Patch.load(limited.folder / f"{name}-{size}").changes for size in ("small", "large"))
    assert small.keys() == large.keys() and small
    for key, change in small.items():
        assert change.index is None or np.array_equal(change.index, large[key].index)
        ours, theirs = (to_tensor(each.after, each.dtype, key) for each in (change, large[key]))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EDITS)
def test_the_record_says_which_pass_ran_out_of_memory_and_what_it_went_on_with(limited: Limited, name: str) -> None:
    small, large = (
        json.loads((limited.folder / f"{name}-{size}" / "record.json").read_text()) for size in ("small", "large")
    )
    assert "out_of_memory" not in small and small["recipe_digest"] == large["recipe_digest"]
    found = [
        f"{one['pass']}: out of memory, continuing with batches of {one['batch_size']}"
        for one in large["out_of_memory"]
    ]
    assert found == limited.said[f"{name}-large"]


def test_an_evaluation_and_every_variant_in_it_is_that_of_small_batches(limited: Limited) -> None:
    small, large = (json.loads(limited.printed[f"eval-{size}"]) for size in ("small", "large"))
    assert len(small["models"]) == 2 and small == large


def test_what_does_not_fit_one_item_at_a_time_is_an_error_of_two_lines_that_leaves_nothing_behind(
    limited: Limited,
) -> None:
    assert limited.codes["too large"] == 1
    *notes, problem, remedy = limited.said["too large"]
    assert notes[-1] == "moments text: out of memory, continuing with batches of 1"
    size = 8 * WIDTH**2
    assert (
        problem == f"Error: Out of memory (moments text), with one item at a time: {size} bytes could not be allocated."
    )
    assert "--dtype bfloat16" in remedy and "--device" in remedy
    assert not (limited.folder / "too large").exists() and not limited.printed["too large"]


# one pass, refused by real allocators: no machine has four pebibytes

HUGE = 2**50


def in_a_worker(compute: Compute) -> None:
    for _ in DataLoader(cast(Any, _Hungry()), num_workers=1):
        pass


class _Hungry:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.empty(HUGE)


def wrapped_by_a_library(compute: Compute) -> None:
    try:
        torch.empty(HUGE)
    except RuntimeError as error:
        raise ModelError("The tower cannot be run.", "Check its folder.") from error


REFUSED: dict[str, Callable[[Compute], object]] = {
    "torch": lambda compute: torch.empty(HUGE),
    "torch-with-zeros": lambda compute: torch.zeros(HUGE),
    "numpy": lambda compute: np.empty(HUGE, dtype=np.uint8),
    "python": lambda compute: bytes(HUGE),
    "a-worker-process": in_a_worker,
    "a-library-in-its-own-words": wrapped_by_a_library,
}


def batches_of(size: int) -> tuple[Batches, list[str]]:
    said: list[str] = []

    @contextmanager
    def stage(what: str, total: int) -> Iterator[Callable[[int], None]]:
        assert total == 0
        said.append(what)
        yield lambda steps: None

    return Batches(Compute(batch_size=size), stage), said


@pytest.mark.parametrize("name", REFUSED)
def test_the_refusal_of_every_allocator_halves_the_batch(name: str) -> None:
    batches, said = batches_of(12)

    def attempt(compute: Compute) -> int:
        if compute.batch_size > 3:
            REFUSED[name](compute)
        return compute.batch_size

    assert batches.run_smaller("a pass", 100, attempt) == 3
    assert said == [f"a pass: out of memory, continuing with batches of {size}" for size in (6, 3)]
    assert batches.halved == [{"pass": "a pass", "batch_size": 6}, {"pass": "a pass", "batch_size": 3}]


def test_the_next_pass_begins_with_the_size_that_was_found() -> None:
    batches, _ = batches_of(8)
    begun = []

    def attempt(compute: Compute) -> None:
        begun.append(compute.batch_size)
        if compute.batch_size > 4:
            torch.empty(HUGE)

    batches.run_smaller("one", 100, attempt)
    batches.run_smaller("other", 100, attempt)
    assert begun == [8, 4, 4]


def test_halving_begins_with_the_items_that_there_are() -> None:
    batches, _ = batches_of(10**6)
    begun = []

    def attempt(compute: Compute) -> None:
        begun.append(compute.batch_size)
        if compute.batch_size > 2:
            torch.empty(HUGE)

    batches.run_smaller("a pass", 5, attempt)
    assert begun == [10**6, 2]


def test_what_an_attempt_held_is_free_before_the_next_one_begins() -> None:
    batches, _ = batches_of(2)
    held: list[weakref.ref[Tensor]] = []

    def attempt(compute: Compute) -> None:
        assert not any(reference() is not None for reference in held)
        tensor = torch.zeros(3)
        around = [tensor]
        around.append(cast(Any, around))  # only the garbage collector frees a cycle
        held.append(weakref.ref(tensor))
        if compute.batch_size > 1:
            torch.empty(HUGE)

    batches.run_smaller("a pass", 100, attempt)
    assert len(held) == 2


def test_what_surrounds_a_call_is_undone_once_its_tensors_are_free() -> None:
    held: list[weakref.ref[Tensor]] = []

    @contextmanager
    def undoing() -> Iterator[None]:
        try:
            yield
        finally:
            assert [reference() for reference in held] == [None]

    def call() -> None:
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        torch.empty(HUGE)

    with pytest.raises(OutOfMemoryError), undoing():
        free_on_oom(call)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_go_through_as_they_are_and_halve_nothing(error: Exception) -> None:
    batches, said = batches_of(8)

    def attempt(compute: Compute) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        batches.run_smaller("a pass", 100, attempt)
    assert caught.value is error and not said and batches.compute.batch_size == 8


def test_one_item_that_does_not_fit_is_an_error_that_says_what_was_refused() -> None:
    batches, said = batches_of(2)
    with pytest.raises(ModelError) as caught:
        batches.run_smaller("scoring text", 100, REFUSED["torch"])
    assert caught.value.problem == (
        f"Out of memory (scoring text), with one item at a time: {4 * HUGE} bytes could not be allocated."
    )
    assert len(said) == 1


def test_a_model_that_does_not_fit_is_said_so_and_no_batch_is_halved() -> None:
    class TooLarge:
        def load(self, files: ModelFiles, **how: object) -> object:
            return torch.empty(HUGE)

    files = ModelFiles("some/model", cast(Any, None), {}, "clip")
    with pytest.raises(ModelError, match="some/model does not fit the memory of cpu") as caught:
        load_model(cast(Any, TooLarge()), files, ("text",), device="cpu", dtype="float32", stage=silent)
    assert not isinstance(caught.value, OutOfMemoryError)
