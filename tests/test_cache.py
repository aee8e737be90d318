"""The cache itself: whole entries or none, room for the latest used, and a disk that fails costs the cache alone."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editkit.errors import RecipeError
from editkit.files import eviction
from editkit.files.cache import Cache
from editkit.files.cache_folder import cache_contents, cache_root, stored
from editkit.files.eviction import clear_cache, prune_cache
from editkit.files.remembered import remember, remembered_digests

KILOBYTE = np.arange(250, dtype=np.float32)
ENTRY = 1300  # bytes, with its header


def key(number: int) -> str:
    return f"{number:02d}" * 32


def fill(cache: Cache, count: int, *, first: int = 0) -> None:
    """Save entries, each used a minute after the one before it, all of them long ago."""
    for number in range(first, first + count):
        cache.save("scores", key(number), {"scores": KILOBYTE}, {})
        os.utime(cache.path("scores", key(number)), (number * 60, number * 60))


def held(cache: Cache, count: int) -> list[int]:
    return [number for number in range(count) if cache.has("scores", key(number))]


# Entries


def test_an_entry_is_returned_bit_for_bit_with_its_notes() -> None:
    arrays: dict[str, Any] = {
        "a": np.array([[np.nan, -0.0], [np.inf, 1e-45]], np.float32),
        "b": np.random.default_rng(0).standard_normal((3, 5)),
        "c": np.zeros((0, 4), np.float32),
        "d": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    }
    notes = {"norm": 0.1 + 0.2, "text": "“é”\n", "list": [1, None]}
    Cache().save("moments", key(1), arrays, notes)
    found = Cache().load("moments", key(1))
    assert found is not None and found[1] == notes and found[0].keys() == arrays.keys()
    for name, array in found[0].items():
        assert array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
        assert array.tobytes() == arrays[name].tobytes() and array.flags.writeable


def test_a_kind_is_part_of_what_is_asked_for() -> None:
    Cache().save("scores", key(1), {"scores": KILOBYTE}, {})
    assert Cache().load("moments", key(1)) is None and Cache().load("scores", key(1)) is not None


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.99])
def test_one_flipped_bit_anywhere_makes_an_entry_a_miss_and_removes_it(place: float) -> None:
    cache = Cache()
    cache.save("scores", key(1), {"scores": KILOBYTE}, {"notes": "x" * 300})
    path = cache.path("scores", key(1))
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    assert cache.load("scores", key(1)) is None and not path.exists()


@pytest.mark.parametrize("content", [b"", b"x" * 7, b"\xff" * 50, b"\x00" * 5000])
def test_what_is_no_entry_is_removed_and_none(content: bytes) -> None:
    cache = Cache()
    cache.path("scores", key(1)).parent.mkdir(parents=True)
    cache.path("scores", key(1)).write_bytes(content)
    assert cache.load("scores", key(1)) is None and not cache.has("scores", key(1))


def test_a_cache_that_is_off_neither_reads_nor_writes(own_cache: Path) -> None:
    Cache().save("scores", key(1), {"scores": KILOBYTE}, {})
    off = Cache(enabled=False)
    off.save("scores", key(2), {"scores": KILOBYTE}, {})
    assert off.load("scores", key(1)) is None and not off.has("scores", key(1)) and not Cache().has("scores", key(2))


def test_nothing_but_entries_is_left_in_the_folder(own_cache: Path) -> None:
    fill(Cache(), 3)
    assert [path.suffix for path in own_cache.rglob("*") if path.is_file()] == [".safetensors"] * 3


# Room


def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(Cache(), 5)
    assert Cache().load("scores", key(0)) is not None  # used now
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", str(4 * ENTRY))
    Cache().save("scores", key(5), {"scores": KILOBYTE}, {})
    assert held(Cache(), 6) == [0, 3, 4, 5]


def test_an_entry_that_another_process_used_since_the_folder_was_looked_through_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", str(4 * ENTRY))
    cache = Cache()
    fill(cache, 3)
    os.utime(cache.path("scores", key(0)))  # as reading does
    fill(cache, 2, first=3)
    assert held(cache, 5) == [0, 2, 3, 4]


def test_the_folder_is_looked_through_once_however_many_entries_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def counted(kinds: Any) -> Iterator[Any]:
        looked.append(kinds)
        return stored(kinds)

    monkeypatch.setattr(eviction, "stored", counted)
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", str(10 * ENTRY))
    cache = Cache()
    fill(cache, 40)
    assert len(looked) == 1 and held(cache, 40) == list(range(30, 40))


def test_an_entry_replaced_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", str(3 * ENTRY))
    cache = Cache()
    fill(cache, 2)
    for _ in range(5):
        cache.save("scores", key(1), {"scores": KILOBYTE}, {})
    assert held(cache, 2) == [0, 1]


@pytest.mark.parametrize("limit", ["0", "500"])
def test_an_entry_above_the_limit_is_not_kept_and_drives_no_other_out(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", limit)
    told: list[str] = []
    Cache(tell=told.append).save("scores", key(1), {"scores": KILOBYTE}, {})
    assert not Cache().has("scores", key(1)) and told == []


@pytest.mark.parametrize("size", ["much", "-1GB", "20 pints"])
def test_a_limit_that_is_no_size_is_refused(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", size)
    with pytest.raises(RecipeError, match="EDITKIT_CACHE_SIZE") as caught:
        Cache()
    assert "20GB" in caught.value.remedy


def test_pruning_leaves_the_latest_used_and_clearing_one_kind_leaves_the_others(own_cache: Path) -> None:
    cache = Cache()
    fill(cache, 6)
    cache.save("moments", key(1), {"safe": KILOBYTE}, {})
    freed = prune_cache(4 * ENTRY)
    assert freed.entries == 3 and held(cache, 6) == [3, 4, 5] and cache.has("moments", key(1))
    assert prune_cache("1MB").entries == 0
    assert clear_cache("scores").entries == 3 and held(cache, 6) == [] and cache.has("moments", key(1))
    (own_cache / "moments" / "00" / "notes.txt").parent.mkdir(parents=True)
    (own_cache / "moments" / "00" / "notes.txt").write_text("someone's")
    assert clear_cache().entries == 1
    assert [path.name for path in own_cache.rglob("*") if path.is_file()] == ["notes.txt"]
    assert clear_cache().entries == prune_cache(0).entries == 0
    with pytest.raises(RecipeError, match="Did you mean 'scores'"):
        clear_cache("score")


def test_what_an_interrupted_run_left_half_written_counts_and_goes(own_cache: Path) -> None:
    fill(Cache(), 1, first=1)
    partial = own_cache / "scores" / "00" / f".{key(0)}.partial-1-ab"
    partial.parent.mkdir()
    partial.write_bytes(b"x" * 5000)
    os.utime(partial, (1, 1))
    (scores,) = (kind for kind in cache_contents() if kind.kind == "scores")
    assert scores.entries == 2 and scores.size > 5000
    prune_cache(2 * ENTRY)
    assert not partial.exists() and held(Cache(), 2) == [1]


# A disk that fails


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 600 bytes: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_once_and_leaves_nothing_half_written(own_cache: Path) -> None:
    told: list[str] = []
    cache = Cache(tell=told.append)
    with full_disk():
        fill_failing(cache)
        remember({f"file {number}": "ab" * 32 for number in range(100)})
    assert len(told) == 1 and str(own_cache) in told[0] and "continues without it" in told[0]
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def fill_failing(cache: Cache) -> None:
    for number in range(3):
        cache.save("scores", key(number), {"scores": KILOBYTE}, {})
        assert cache.load("scores", key(number)) is None


@pytest.mark.parametrize("place", ["file/cache", "/proc/editkit", "/dev/null/editkit"])
def test_a_folder_that_cannot_be_made_is_told_once(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / place))
    told: list[str] = []
    fill_failing(Cache(tell=told.append))
    remember({"file": "ab" * 32})
    assert len(told) == 1 and remembered_digests() == {}
    assert list(stored()) == [] and clear_cache().entries == prune_cache().entries == 0


def test_without_a_home_there_is_no_cache_and_no_folder_called_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDITKIT_CACHE_DIR")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")  # as where no home is known
    monkeypatch.setenv("HOME", "~")
    told: list[str] = []
    fill_failing(Cache(tell=told.append))
    assert len(told) == 1 and list(tmp_path.iterdir()) == []


def test_a_home_in_the_variable_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("EDITKIT_CACHE_DIR", "~/caches")
    assert cache_root() == Path("/home/someone/caches")


def test_a_folder_that_vanishes_is_a_miss_and_is_made_again(own_cache: Path) -> None:
    told: list[str] = []
    cache = Cache(tell=told.append)
    fill(cache, 2)
    shutil.rmtree(own_cache)
    assert cache.load("scores", key(0)) is None
    fill(cache, 1)
    assert held(cache, 2) == [0] and told == []


# Remembered digests


def test_digests_are_remembered_beside_those_known_before_and_the_latest_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("editkit.files.remembered.MOST", 3)
    remember({"a": "1", "b": "2"})
    remember({"c": "3", "a": "4"})
    assert remembered_digests() == {"b": "2", "c": "3", "a": "4"}
    remember({"d": "5"})
    assert remembered_digests() == {"c": "3", "a": "4", "d": "5"}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1, "b": {}}', "\x00"])
def test_remembered_digests_that_are_damaged_are_none(content: str, own_cache: Path) -> None:
    (own_cache / "digests.json").write_text(content)
    assert remembered_digests() == {}
    remember({"a": "1"})
    assert remembered_digests() == {"a": "1"}
