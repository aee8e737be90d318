"""`editkit cache`, what plans say of the cache, what edits find in it, and a cache that costs no run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import as_error, cache_at, done, run, sha
from models import table, tiny_clip

import editkit
from editkit.editing import context

REDIRECT = ("--manipulator", "redirect", "--target", "text:attn.out", "--target", "vision:mlp.out")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and tuples."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_clip(folder / "model")
    table(folder / "data", 4)
    return folder


@pytest.fixture
def flags(place: Path) -> list[object]:
    return ["--model", place / "model", "--data", f"pairs:{place / 'data' / 't.jsonl'}", "--workers", 0]


@pytest.fixture
def refuse(flags: list[object]) -> list[object]:
    return [*flags, "--manipulator", "refuse"]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Call it, and from then on no model can be loaded."""
    from editkit_clip.transformers_format import TransformersClip

    def forbid() -> None:
        def load(*args: object, **kwargs: object) -> None:
            raise AssertionError("the model was loaded")

        monkeypatch.setattr(TransformersClip, "load", load)

    yield forbid


def counts() -> dict[str, int]:
    return {kind["kind"]: kind["entries"] for kind in done("cache", "list", "--json").json["kinds"]}


# editkit cache


def test_the_cache_is_listed_by_kind_sized_pruned_and_cleared(
    flags: list[object], refuse: list[object], own_cache: Path, tmp_path: Path
) -> None:
    assert done("cache", "dir").out == f"{own_cache}\n" and done("cache", "dir", "--json").json == {
        "folder": str(own_cache)
    }
    assert set(counts().values()) == {0}
    done("edit", *flags, "--tau", 0.1, "-o", tmp_path / "scale")
    done("edit", *refuse, "-o", tmp_path / "refuse")
    assert counts() == {"scores": 4, "embeddings": 2, "moments": 2, "converted": 0, "digests": 1}
    files = sum(path.stat().st_size for path in own_cache.rglob("*") if path.is_file())
    sized = done("cache", "size", "--json").json
    assert sized["bytes"] == files and sized["limit"] == 20 * 10**9
    assert sized["computed"] == files - (own_cache / "digests.json").stat().st_size
    rows = {line.split()[0]: line.split() for line in done("cache", "list").out.splitlines()}
    assert rows["scores"][1] == "4" and rows["converted"][1] == "0" and rows["moments"][-1].count(":") == 1
    freed = done("cache", "prune", "--to", "0", "--json").json
    assert freed == {"entries": 8, "bytes": sized["computed"]}
    assert counts()["digests"] == 1
    assert done("cache", "clear", "digests").out.startswith("Removed 1 entry, ")
    assert done("cache", "clear").out == "Removed 0 entries, 0 bytes.\n"


def test_what_the_commands_do_is_a_function_too(flags: list[object], tmp_path: Path, own_cache: Path) -> None:
    done("edit", *flags, "--tau", 0.1, "-o", tmp_path / "scale")
    assert editkit.cache_root() == own_cache
    assert {kind.kind: kind.entries for kind in editkit.cache_contents()} == counts()
    assert editkit.prune_cache("0").entries == 4 and editkit.clear_cache().entries == 1


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("prune", "--to", "much"), "--to = 'much' is no size"),
        (("clear", "embedding"), "Did you mean 'embeddings'?"),
    ],
)
def test_what_is_no_size_or_kind_is_refused(command: tuple[str, ...], told: str) -> None:
    assert told in as_error(run("cache", *command))


def test_the_commands_do_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from editkit.cli import main; codes = [main(['cache', *c.split()]) for c in "
        "('dir', 'size', 'list', 'prune', 'clear')]; print(codes, {'torch', 'transformers'} & set(sys.modules))"
    )
    env = {**os.environ, "EDITKIT_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0] set()", ran.stderr


# Plans


def test_a_plan_says_what_a_run_would_add_and_a_run_adds_that(
    flags: list[object], refuse: list[object], tmp_path: Path, own_cache: Path
) -> None:
    for command, kinds in (([*flags, "--tau", 0.1], ("scores",)), (refuse, ("embeddings", "moments"))):
        cache = done("plan", *command, "--json").json["cache"]
        assert {part["kind"] for part in cache["parts"]} == set(kinds)
        assert cache["adds"] == sum(part["adds"] for part in cache["parts"])
        before = counts()
        held = done("cache", "size", "--json").json["computed"]
        done("edit", *command, "-o", tmp_path / "-".join(kinds))
        added = done("cache", "size", "--json").json["computed"] - held
        entries = sum(counts()[kind] - before[kind] for kind in kinds)
        assert 0 < added - cache["adds"] < 1200 * entries  # but for the entries' headers
        again = done("plan", *command, "--json").json["cache"]
        assert again["adds"] == 0 and {part["state"] for part in again["parts"]} == {"hit"}
        assert again["folder"] == str(own_cache) and again["limit"] == 20 * 10**9


def test_a_plan_warns_where_the_cache_would_become_too_large(
    flags: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "A run would add 45.1 kB of scores." in done("plan", *flags).flat
    assert "EDITKIT_CACHE_SIZE" not in done("plan", *flags).flat
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", "20kB")
    assert "may hold 20.0 kB (EDITKIT_CACHE_SIZE): what was used longest ago goes first" in done("plan", *flags).flat
    monkeypatch.setenv("EDITKIT_CACHE_SIZE", "plenty")
    assert "EDITKIT_CACHE_SIZE = 'plenty' is no size" in as_error(run("plan", *flags))


def test_a_plan_says_that_statistics_are_in_the_cache(refuse: list[object], tmp_path: Path) -> None:
    assert "statistics take one pass" in done("plan", *refuse).flat
    done("edit", *refuse, "-o", tmp_path / "p")
    told = done("plan", *refuse).flat
    assert "The text tower's statistics are in the cache." in told and "one pass" not in told


# Moments


@pytest.mark.parametrize(
    "more",
    [
        ("--manipulator", "refuse"),
        REDIRECT,
        ("--manipulator", "project"),
        ("--manipulator", "mean-ablate", "--scorer", "neuron-ratio", "--selector", "units"),
        (*REDIRECT, "--set", "manipulator.order=sequential"),
    ],
)
def test_a_second_edit_loads_no_model_and_writes_the_same_bytes_as_without_a_cache(
    flags: list[object], more: tuple[str, ...], tmp_path: Path, no_model: Any
) -> None:
    done("edit", *flags, *more, "--no-cache", "-o", tmp_path / "without")
    assert set(counts().values()) == {0}
    done("edit", *flags, *more, "-o", tmp_path / "first")
    no_model()
    done("edit", *flags, *more, "-o", tmp_path / "second")
    assert len({sha(tmp_path / name / "patch.safetensors") for name in ("without", "first", "second")}) == 1
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("first", "second")]
    assert {**records[0], "created": ""} == {**records[1], "created": ""}


def test_moments_that_are_lost_are_streamed_again_and_the_others_are_not(
    flags: list[object], tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed: list[int] = []
    stream = context.stream_moments

    def counted(model: Any, tower: Any, sites: Any, *args: Any, **more: Any) -> Any:
        streamed.append(len(sites))
        return stream(model, tower, sites, *args, **more)

    monkeypatch.setattr(context, "stream_moments", counted)
    edit = ["edit", *flags, *REDIRECT]
    done(*edit, "-o", tmp_path / "first")
    next((own_cache / "moments").rglob("*.safetensors")).unlink()
    done(*edit, "-o", tmp_path / "second")
    assert streamed == [2, 2, 1]
    assert sha(tmp_path / "first" / "patch.safetensors") == sha(tmp_path / "second" / "patch.safetensors")


def test_a_sequential_fit_looks_at_what_was_edited_before(flags: list[object], tmp_path: Path) -> None:
    edit = ["edit", *flags, *REDIRECT, "--set", "manipulator.order=sequential"]
    done(*edit, "-o", tmp_path / "one")
    before = counts()["moments"]
    done(*edit, "--set", "manipulator.ridge=0.5", "-o", tmp_path / "two")
    towers = 2  # whose first sites are edited before any other
    assert counts()["moments"] == 2 * before - towers


def test_an_unreadable_image_that_was_skipped_is_still_an_error_for_who_does_not_skip_it(
    place: Path, tmp_path: Path
) -> None:
    data = table(tmp_path / "data", 5)
    (data.parent / next(path.name for path in data.parent.glob("safe-*.jpg"))).write_bytes(b"no image")
    flags = ["--model", place / "model", "--data", f"pairs:{data}", "--workers", 0, "--manipulator", "refuse"]
    skipped = [
        done("edit", *flags, "--on-bad-item", "skip", "--json", "-o", tmp_path / str(number)).json for number in (1, 2)
    ]
    assert skipped[0]["record"]["dropped"] == skipped[1]["record"]["dropped"]
    assert skipped[0]["record"]["dropped"]["vision"]["unreadable image"]["count"] == 1
    assert "cannot be read" in as_error(run("edit", *flags, "-o", tmp_path / "strict"))


def test_an_edit_and_an_evaluation_share_embeddings(place: Path, flags: list[object], tmp_path: Path) -> None:
    done("edit", *flags, "--manipulator", "refuse", "-o", tmp_path / "p")
    texts = counts()["embeddings"]
    shared = ["--model", place / "model", "--data", f"pairs:{place / 'data' / 't.jsonl'}", "--workers", 0]
    report = done("eval", "retrieval", *shared, "--knowledge", "none", "--no-controls", "--json").json
    assert report["models"][0]["metrics"] and counts()["embeddings"] <= texts + 2


# Failing caches


def test_a_full_or_missing_cache_is_a_note_and_the_numbers_are_the_same(
    flags: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, evaluate = ["edit", *flags, "--tau", 0.1], ["eval", "retrieval", *flags, "--knowledge", "none", "--json"]
    done(*edit, "-o", tmp_path / "whole")
    report = done(*evaluate).json
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / "file"))
    ran = done(*edit, "-o", tmp_path / "without")
    assert ran.err.count("cannot be written") == 1 and "this run continues without it" in " ".join(ran.err.split())
    assert sha(tmp_path / "without" / "patch.safetensors") == sha(tmp_path / "whole" / "patch.safetensors")
    ran = done(*evaluate)
    assert ran.err.count("cannot be written") == 1 and ran.json == report
    assert done("plan", *flags, "--json").json["cache"]["parts"][0]["state"] == "unknown"


def test_an_archive_is_converted_though_the_cache_cannot_be_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[object]
) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file

    model = shutil.copytree(place / "model", tmp_path / "model")
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / "file"))
    done("edit", *flags, "--model", model, "--tau", 0.1, "-o", tmp_path / "p")
    with cache_at(tmp_path / "cache"):
        done("edit", *flags, "--tau", 0.1, "-o", tmp_path / "q")
        done("plan", *flags, "--model", model)
        assert counts()["converted"] == 0  # a plan does not open an archive
        done("edit", *flags, "--model", model, "--tau", 0.1, "-o", tmp_path / "r")
        assert counts()["converted"] == 1 and editkit.clear_cache("converted").entries == 1
    assert sha(tmp_path / "p" / "patch.safetensors") == sha(tmp_path / "q" / "patch.safetensors")


# Records


def test_records_name_distribution_version_and_digest_of_every_component(flags: list[object], tmp_path: Path) -> None:
    record = done("edit", *flags, "--tau", 0.1, "--json", "-o", tmp_path / "p").json["record"]
    assert [(one["kind"], one["name"], one["distribution"]) for one in record["components"]] == [
        ("scorer", "uwm", "editkit"),
        ("selector", "adaptive", "editkit"),
        ("manipulator", "scale", "editkit"),
        ("dataset", "pairs", "editkit"),
        ("adapter", "clip", "editkit-clip"),
    ]
    report = done("eval", "retrieval", *flags, "--patch", tmp_path / "p", "--json").json
    assert [(one["kind"], one["name"]) for one in report["run"]["components"]] == [
        ("evaluation", "retrieval"),
        ("dataset", "pairs"),
        ("adapter", "clip"),
    ]
    for one in (*record["components"], *report["run"]["components"]):
        assert one["version"] == editkit.__version__ and len(one["digest"]) == 64


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert editkit.__version__ == version("editkit") and done("--version").out == f"editkit {version('editkit')}\n"
    assert "__version__" in dir(editkit)
