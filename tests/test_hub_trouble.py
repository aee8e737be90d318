"""What the hub says no with, and what breaks off on the way: two lines each, and running again completes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from command_line import Ran, as_error
from hub_contents import Files, Repository, read_files
from hub_faults import Answer, Fault, down, error, login_page, other_service, too_many
from hub_repositories import write
from hub_server import Hub, serving
from models import table
from on_the_hub import on_the_hub, visitor

BASE = "openai/clip-vit-large-patch14"
WEIGHTS = "model.safetensors"
EDIT = ("edit", "--scorer", "magnitude", "--tau", 0.02)
NUMBERS = count()
QUICK = """
import huggingface_hub.file_download as d, huggingface_hub.utils._http as h
for module in (d, h):
    patch.setattr(module.time, "sleep", lambda seconds: None)
"""
"""The library waits a second before it goes on with a download, and up to eight between two requests."""
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return read_files(write(tmp_path_factory.mktemp("made"), BASE))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("data"), 2)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving() as hub:
        hub.tokens.add("hf_known")
        yield hub


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(hub: Hub, cache: Path) -> Iterator[Run]:
    with visitor(hub, cache) as run:
        yield run


@pytest.fixture
def model(hub: Hub, files: Files) -> Repository:
    """A repository of the test's own."""
    return hub.add(f"org/model-{next(NUMBERS)}", files)


def plan(model: str, data: Path) -> tuple[object, ...]:
    return ("plan", "--model", model, "--data", data)


# Refused


REFUSED: dict[str, tuple[Answer, str]] = {
    "busy": (too_many(30), "no more requests for 30 seconds: it answered 429"),
    "broken": (down(500), "answered 500, a fault of its own"),
    "unavailable": (down(503), "answered 503, a fault of its own"),
    "forbidden": (error(403, "Forbidden"), "refuses access to org/forbidden (it answered 403)"),
    "legal": (error(451, "Unavailable For Legal Reasons"), "answered 451 when asked for org/legal: Unavailable For"),
    "page": (login_page(), "is no model hub"),
    "service": (other_service(), "is no model hub"),
    "absent-page": (login_page(404), "answered 404 when asked for org/absent-page"),
}


def test_every_refusal_says_what_it_is_in_two_lines(hub: Hub, run: Run, files: Files, data: Path) -> None:
    for name, (answer, _) in REFUSED.items():
        hub.add(f"org/{name}", files, faults=[Fault(answer)])
    hub.add("org/gated", files, gated=True)
    hub.add("org/whole", files)
    more = {
        "org/gated": "org/gated is gated. Accept its terms at https://huggingface.co/org/gated, then log in",
        "org/nothing": "no folder org/nothing here and no such model on the hub. Check the spelling; a private model",
        "org/whole@v9": "org/whole has no revision 'v9'",
        "org/whole/part": "org/whole has no folder 'part'",
    }
    for model, words in ({f"org/{name}": words for name, (_, words) in REFUSED.items()} | more).items():
        assert words in as_error(run(*plan(model, data)))
    assert hub.sent(file="*.safetensors") == 0


def test_a_token_without_access_and_one_that_is_nobodys(hub: Hub, run: Run, files: Files, data: Path) -> None:
    hub.add("org/gated", files, gated=True)
    hub.add("org/private", files, private=True)
    hub.add("org/open", files)
    said = as_error(run(*plan("org/gated", data), token="hf_known"))
    assert "org/gated is gated, and the account of your token has no access to it" in said
    assert "no such model on the hub" in as_error(run(*plan("org/private", data), token="hf_known"))
    said = as_error(run(*plan("org/open", data), token="hf_nobody"))
    assert "refuses access to org/open (it answered 401). Check your token" in said


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "hub.example"])
def test_an_endpoint_where_nothing_answers_is_named(address: str, tmp_path: Path) -> None:
    [ran] = on_the_hub(address, ("diff", "org/model", "org/model"), cache=tmp_path / "cache")
    said = as_error(ran)
    assert "There is no folder org/model here, and the hub could not be asked for it" in said
    assert f"Check HF_ENDPOINT ({address})" in said


# Broken off


def test_a_dropped_download_says_so_and_running_again_completes_it(
    hub: Hub, run: Run, model: Repository, cache: Path, tmp_path: Path
) -> None:
    command = (*EDIT, "--model", model.name, "-o", tmp_path / "patch")
    model.faults = [Fault(cut=3_000_000, files=WEIGHTS, method="GET")]
    broken = run(*command, first=QUICK)
    *waits, problem, remedy = broken.err.splitlines()
    assert waits[0] == f"Downloading 7 MB of {model.name}: model.safetensors"
    assert waits[1].startswith("The hub has trouble (peer closed connection") and waits[1].endswith(
        "resume download..."
    )
    assert len(waits) == 2
    assert problem.startswith(f"Error: The download of model.safetensors of {model.name} broke off: peer closed")
    assert remedy.startswith("Run the same command again: the files that have arrived are kept")
    assert broken.code == 1 and not (tmp_path / "patch").exists()
    assert not list(cache.rglob("*.incomplete"))
    model.faults = []
    small = hub.sent(model.name, "*.json")
    whole = run(*command)
    assert whole.code == 0, whole.err
    assert (tmp_path / "patch" / "record.json").is_file()
    assert hub.sent(model.name, "*.json") == small  # what had arrived was kept


def test_small_files_that_break_off_leave_no_half_of_a_model(run: Run, model: Repository, data: Path) -> None:
    model.faults = [Fault(cut=10, files="tokenizer.json")]
    for _ in range(2):
        ran = run(*plan(model.name, data), first=QUICK)
        assert ran.code == 1 and ran.out == ""
        problem, remedy = ran.err.splitlines()[-2:]
        assert problem.startswith(f"Error: The download of configuration and processing of {model.name} broke off")
        assert remedy.startswith("Run the same command again")
    model.faults = []
    whole = run(*plan(model.name, data))
    assert whole.code == 0, whole.err


def test_trouble_that_passes_is_waited_for_and_told_in_a_line(run: Run, model: Repository, tmp_path: Path) -> None:
    model.faults = [Fault(down(503), files=WEIGHTS, method="HEAD", times=2)]
    ran = run(*EDIT, "--model", model.name, "-o", tmp_path / "patch", first=QUICK)
    assert ran.code == 0, ran.err
    assert ran.err.splitlines() == [
        f"Downloading 7 MB of {model.name}: model.safetensors",
        "The hub has trouble (HTTP Error 503). Retrying in 1s [Retry 1/5].",
    ]


def test_trouble_that_stays_is_waited_for_23_seconds_with_a_line_for_each_wait(
    run: Run, model: Repository, tmp_path: Path
) -> None:
    model.faults = [Fault(down(503), files=WEIGHTS, method="HEAD")]
    ran = run(*EDIT, "--model", model.name, "-o", tmp_path / "patch", first=QUICK)
    lines = ran.err.splitlines()
    assert [line.rpartition("Retrying in ")[2] for line in lines[1:-2]] == [
        *("1s [Retry 1/5].", "2s [Retry 2/5].", "4s [Retry 3/5].", "8s [Retry 4/5].", "8s [Retry 5/5].")
    ]
    assert lines[-2] == f"Error: The download of model.safetensors of {model.name} broke off: the hub answered 503."


FULL = """
import errno, huggingface_hub.file_download as d
class Full:
    def __init__(self, file): self.file = file
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, data): raise OSError(errno.ENOSPC, "No space left on device")
get = d.http_get
patch.setattr(d, "http_get", lambda url, file, **more: get(url, Full(file) if ".safetensors" in url else file, **more))
"""
"""A disk that is full once the weights come: a real one would need the rights to mount it."""


def test_a_full_disk_is_named_as_one(run: Run, model: Repository, tmp_path: Path) -> None:
    ran = run(*EDIT, "--model", model.name, "-o", tmp_path / "patch", first=FULL)
    problem, remedy = ran.err.splitlines()[-2:]
    assert (
        problem
        == f"Error: The disk of the hub's cache is full: model.safetensors of {model.name} could not be written."
    )
    assert remedy == "Free space, or set HF_HOME to another disk; then run the same command again."
    assert ran.code == 1 and not (tmp_path / "patch").exists()


def test_a_proxy_that_ignores_ranges_is_not_read_from(run: Run, model: Repository, files: Files, data: Path) -> None:
    whole = Answer(200, {"Content-Type": "application/octet-stream"}, files[WEIGHTS])
    model.faults = [Fault(whole, files=WEIGHTS, method="GET")]
    said = as_error(run(*plan(model.name, data)))
    assert f"did not send the 8 bytes of model.safetensors of {model.name} that were asked for" in said
