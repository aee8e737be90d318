"""The tests' own hub, seen by huggingface_hub alone: it finds what it finds on huggingface.co, and fails as there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hub_contents import Repository
from hub_faults import Fault, down, error, login_page, other_service, too_many
from hub_server import Hub, serving
from huggingface_hub import (
    HfApi,
    constants,
    errors,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.utils import get_session, hf_raise_for_status
from on_the_hub import visiting

Call = Callable[..., Any]
WEIGHTS = bytes(range(256)) * 40
FILES = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "README.md": b"# A model\n",
    "config.json": b'{"model_type": "clip", "architectures": ["CLIPModel"]}',
    "model.safetensors": WEIGHTS,
    "onnx/model.onnx": b"onnx" * 8,
    "onnx/text/model b.onnx": b"text" * 8,
}
PIECE = constants.DOWNLOAD_CHUNK_SIZE
"""What the library writes at once, and loses of a broken download."""
NUMBERS = count()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture(scope="module")
def ask(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Calls in a process where nobody is logged in."""
    with visiting(hub, tmp_path_factory.mktemp("visitor")) as call:
        yield call


@pytest.fixture
def model(hub: Hub) -> Repository:
    """A repository of the test's own."""
    return hub.add(f"org/model-{next(NUMBERS)}", FILES)


# What the library's functions need a name for, since they are sent to another process


def info(name: str, **settings: Any) -> Any:
    return HfApi().model_info(name, **settings)


def listed(name: str, *args: Any, **settings: Any) -> list[tuple[str, str]]:
    return [(type(one).__name__, one.path) for one in HfApi().list_repo_tree(name, *args, **settings)]


def asked_for(name: str, paths: list[str]) -> list[Any]:
    return HfApi().get_paths_info(name, paths)


def refs(name: str) -> Any:
    return HfApi().list_repo_refs(name)


def metadata(name: str, file: str, **settings: Any) -> Any:
    return get_hf_file_metadata(hf_hub_url(name, file), **settings)


def part(name: str, file: str, span: str, token: str | None = None) -> tuple[int, bytes, str]:
    headers = {"Range": span, **({"Authorization": f"Bearer {token}"} if token else {})}
    answer = get_session().get(hf_hub_url(name, file), headers=headers)
    hf_raise_for_status(answer)
    return answer.status_code, answer.content, answer.headers["Content-Range"]


def header(name: str) -> Any:
    return HfApi().parse_safetensors_file_metadata(name, "model.safetensors")


def downloaded(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# What is there


def test_a_snapshot_holds_every_byte_and_lies_in_the_cache_as_the_library_lays_it_out(
    ask: Call, model: Repository, tmp_path: Path
) -> None:
    folder = ask(snapshot_download, model.name, cache_dir=tmp_path)
    assert downloaded(folder) == FILES
    assert Path(folder).name == model.branches["main"]
    blobs = {path.name for path in (Path(folder).parents[1] / "blobs").iterdir()}
    assert blobs == {file.etag for file in model.commits[model.branches["main"]].values()}
    assert sha256(WEIGHTS).hexdigest() in blobs


def test_patterns_decide_what_is_read(ask: Call, hub: Hub, model: Repository, tmp_path: Path) -> None:
    folder = ask(snapshot_download, model.name, cache_dir=tmp_path, allow_patterns=["*.json"])
    assert list(downloaded(folder)) == ["config.json"]
    assert [one.path.rpartition("/")[2] for one in hub.asked(model.name, "")] == ["main", model.branches["main"]]
    assert hub.sent(model.name) == hub.sent(model.name, "config.json") == len(FILES["config.json"])


def test_a_file_of_git_lfs_comes_from_elsewhere_and_without_the_token(
    ask: Call, hub: Hub, model: Repository, tmp_path: Path
) -> None:
    hub.tokens.add("hf_known")
    path = ask(hf_hub_download, model.name, "model.safetensors", cache_dir=tmp_path, token="hf_known")
    assert Path(path).read_bytes() == WEIGHTS
    found = [(one.place, one.method, one.status, one.token) for one in hub.asked(model.name, "model.safetensors")]
    assert found == [("hub", "HEAD", 302, "hf_known"), ("cdn", "GET", 200, None)]
    ask(hf_hub_download, model.name, "config.json", cache_dir=tmp_path)
    found = [(one.place, one.method, one.status) for one in hub.asked(model.name, "config.json")]
    assert found == [("hub", "HEAD", 307), ("hub", "HEAD", 200), ("hub", "GET", 200)]


def test_metadata_name_commit_size_and_content(ask: Call, hub: Hub, model: Repository) -> None:
    weights, config = ask(metadata, model.name, "model.safetensors"), ask(metadata, model.name, "config.json")
    assert weights.commit_hash == config.commit_hash == model.branches["main"]
    assert (weights.size, weights.etag) == (len(WEIGHTS), sha256(WEIGHTS).hexdigest())
    assert (config.size, len(config.etag)) == (len(FILES["config.json"]), 40)
    assert weights.location.startswith(hub.cdn) and config.location.startswith(hub.url)
    assert weights.xet_file_data is config.xet_file_data is None


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_range_costs_its_own_bytes(ask: Call, hub: Hub, model: Repository, file: str) -> None:
    content = FILES[file]
    assert ask(part, model.name, file, "bytes=3-12") == (206, content[3:13], f"bytes 3-12/{len(content)}")
    assert ask(part, model.name, file, f"bytes={len(content) - 4}-")[1] == content[-4:]
    assert ask(part, model.name, file, "bytes=-4")[1] == content[-4:]
    assert hub.sent(model.name, file) == 18
    assert hub.asked(model.name, file)[-1].span == "bytes=-4"
    with pytest.raises(errors.HfHubHTTPError, match="416"):
        ask(part, model.name, file, "bytes=100000-")


def test_the_description_lists_files_and_on_demand_their_sizes(ask: Call, model: Repository) -> None:
    found = ask(info, model.name)
    assert (found.id, found.sha, found.gated, found.private) == (model.name, model.branches["main"], False, False)
    assert found.config == {"model_type": "clip", "architectures": ["CLIPModel"]}
    assert [one.rfilename for one in found.siblings] == sorted(FILES)
    assert {one.size for one in found.siblings} == {None}
    sized = {one.rfilename: one for one in ask(info, model.name, files_metadata=True).siblings}
    assert {path: one.size for path, one in sized.items()} == {path: len(data) for path, data in FILES.items()}
    assert sized["model.safetensors"].lfs.sha256 == sha256(WEIGHTS).hexdigest() and sized["README.md"].lfs is None
    assert ask(info, model.name, expand=["sha"]).siblings is None


def test_a_tree_is_listed_whole_or_by_folder_and_in_pages(ask: Call, hub: Hub, model: Repository) -> None:
    everything = [*(("RepoFile", path) for path in FILES), ("RepoFolder", "onnx"), ("RepoFolder", "onnx/text")]
    everything.sort(key=lambda entry: entry[1])
    assert ask(listed, model.name, recursive=True) == everything
    assert ask(listed, model.name) == [entry for entry in everything if "/" not in entry[1]]
    assert ask(listed, model.name, "onnx") == [("RepoFile", "onnx/model.onnx"), ("RepoFolder", "onnx/text")]
    whole = len(hub.asked(model.name))
    hub.page = 3
    assert ask(listed, model.name, recursive=True) == everything
    assert len(hub.asked(model.name)) == whole + 3
    hub.page = 1000
    with pytest.raises(errors.EntryNotFoundError):
        ask(listed, model.name, "no_such_folder")
    assert [one.path for one in ask(asked_for, model.name, ["onnx", "README.md", "absent"])] == ["onnx", "README.md"]


def test_branches_tags_and_commits_name_revisions(ask: Call, model: Repository, tmp_path: Path) -> None:
    first = model.branches["main"]
    second = model.commit({"config.json": b"{}"})
    third = model.commit({"config.json": b"[]"}, "refs/pr/1")
    model.tags["v1"] = first
    for revision, commit in ((None, second), ("refs/pr/1", third), ("v1", first), (first, first), (first[:7], first)):
        assert ask(info, model.name, revision=revision).sha == commit
        path = ask(hf_hub_download, model.name, "config.json", revision=revision, cache_dir=tmp_path)
        assert Path(path).parent.name == commit
    assert [one.name for one in ask(refs, model.name).tags] == ["v1"]


def test_a_branch_can_move_between_two_calls(ask: Call, model: Repository, tmp_path: Path) -> None:
    first = model.branches["main"]
    second = model.commit({"config.json": b"{}"}, after_next_call=True)
    assert ask(info, model.name).sha == first
    assert ask(info, model.name).sha == second
    assert Path(ask(snapshot_download, model.name, cache_dir=tmp_path)).name == second


def test_data_sets_are_apart_from_models(ask: Call, hub: Hub, model: Repository, tmp_path: Path) -> None:
    data = hub.add(model.name, {"data/test.parquet": b"PAR1"}, kind="dataset")
    folder = ask(snapshot_download, data.name, repo_type="dataset", cache_dir=tmp_path)
    assert downloaded(folder) == {"data/test.parquet": b"PAR1"}
    assert Path(folder).parents[1].name == f"datasets--{data.name.replace('/', '--')}"


# What is not there, or not for everybody


@pytest.mark.parametrize("settings", [{}, {"private": True}])
def test_a_repository_that_a_visitor_cannot_see_is_not_found(
    ask: Call, hub: Hub, settings: dict[str, bool], tmp_path: Path
) -> None:
    name = f"org/hidden-{next(NUMBERS)}"
    if settings:
        hub.add(name, FILES, readers={"hf_reader"}, **settings)
        assert ask(info, name, token="hf_reader").private
    hub.tokens.add("hf_known")
    for token, status in ((None, 401), ("hf_known", 404)):
        for call, args in ((info, (name,)), (snapshot_download, (name,)), (hf_hub_download, (name, "config.json"))):
            more = {} if call is info else {"cache_dir": tmp_path}
            with pytest.raises(errors.RepositoryNotFoundError) as raised:
                ask(call, *args, token=token, **more)
            assert raised.value.response.status_code == status


def test_a_gated_repository_shows_its_list_and_gives_its_files_to_readers(ask: Call, hub: Hub, tmp_path: Path) -> None:
    name = f"org/gated-{next(NUMBERS)}"
    hub.add(name, FILES, gated=True, readers={"hf_reader"})
    hub.tokens.add("hf_known")
    assert ask(info, name).gated == "auto"
    assert ("RepoFile", "model.safetensors") in ask(listed, name)
    for token, status in ((None, 401), ("hf_known", 403)):
        for call, args in ((snapshot_download, (name,)), (hf_hub_download, (name, "config.json"))):
            with pytest.raises(errors.GatedRepoError) as raised:
                ask(call, *args, token=token, cache_dir=tmp_path)
            assert raised.value.response.status_code == status
    assert hub.sent(name) == 0
    assert downloaded(ask(snapshot_download, name, token="hf_reader", cache_dir=tmp_path)) == FILES


def test_a_token_that_is_nobodys_is_refused_even_by_what_is_public(ask: Call, model: Repository) -> None:
    with pytest.raises(errors.HfHubHTTPError, match="Invalid credentials") as raised:
        ask(info, model.name, token="hf_expired")
    assert not isinstance(raised.value, errors.RepositoryNotFoundError)


def test_a_missing_revision_and_a_missing_file_say_so(ask: Call, model: Repository, tmp_path: Path) -> None:
    for call, args in ((info, (model.name,)), (listed, (model.name,))):
        with pytest.raises(errors.RevisionNotFoundError):
            ask(call, *args, revision="v9")
    with pytest.raises(errors.RevisionNotFoundError):
        ask(snapshot_download, model.name, revision="v9", cache_dir=tmp_path)
    with pytest.raises(errors.EntryNotFoundError):
        ask(hf_hub_download, model.name, "absent.json", cache_dir=tmp_path)
    remembered = tmp_path.glob("models--*/.no_exist/*/absent.json")
    assert [path.parent.name for path in remembered] == [model.branches["main"]]


# What goes wrong on the way


def test_trouble_of_the_hub_is_an_error_or_is_waited_for(
    ask: Call, hub: Hub, model: Repository, tmp_path: Path
) -> None:
    model.faults = [Fault(down(503))]
    with pytest.raises(errors.HfHubHTTPError, match="503"):
        ask(info, model.name)
    with pytest.raises(errors.LocalEntryNotFoundError, match="503"):
        ask(snapshot_download, model.name, cache_dir=tmp_path)
    model.faults = [Fault(down(500), files="model.safetensors", times=2)]
    assert ask(hf_hub_download, model.name, "config.json", cache_dir=tmp_path)
    path = ask(hf_hub_download, model.name, "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert [one.status for one in hub.asked(model.name, "model.safetensors")] == [500, 500, 302, 200]


def test_too_many_requests_are_refused_for_a_while(ask: Call, hub: Hub, model: Repository, tmp_path: Path) -> None:
    model.faults = [Fault(too_many(30), files="", times=1), Fault(too_many(0), files="?*", method="GET", times=1)]
    with pytest.raises(errors.HfHubHTTPError, match="429") as raised:
        ask(info, model.name)
    assert raised.value.response.headers["Retry-After"] == "30"
    path = ask(hf_hub_download, model.name, "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert [one.status for one in hub.asked(model.name, "model.safetensors", "GET")] == [429, 200]


def test_a_download_that_was_cut_goes_on_behind_the_last_whole_piece(ask: Call, hub: Hub, tmp_path: Path) -> None:
    content = WEIGHTS * (PIECE // len(WEIGHTS) + 50)
    model = hub.add(f"org/large-{next(NUMBERS)}", {"model.safetensors": content})
    model.faults = [Fault(cut=PIECE + 1000, files="*.safetensors", times=1)]
    path = ask(hf_hub_download, model.name, "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == content
    first, second = hub.asked(model.name, "model.safetensors", "GET")
    assert (first.span, first.sent) == (None, PIECE + 1000)
    assert (second.span, second.sent) == (f"bytes={PIECE}-", len(content) - PIECE)


def test_a_slow_file_takes_its_time(ask: Call, hub: Hub, model: Repository, tmp_path: Path) -> None:
    model.faults = [Fault(rate=len(WEIGHTS) * 4, files="*.safetensors")]
    start = time.monotonic()
    path = ask(hf_hub_download, model.name, "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert 0.2 < time.monotonic() - start < 5


@pytest.mark.parametrize("answer", [login_page(), other_service()])
def test_another_service_at_the_hubs_address_is_no_hub(
    ask: Call, hub: Hub, model: Repository, tmp_path: Path, answer: Any
) -> None:
    hub.faults = [Fault(answer)]
    try:
        with pytest.raises((KeyError, ValueError)):  # no description of a model
            ask(info, model.name)
        with pytest.raises(errors.LocalEntryNotFoundError, match="X-Repo-Commit"):
            ask(hf_hub_download, model.name, "config.json", cache_dir=tmp_path)
    finally:
        hub.faults = []


def test_other_statuses_are_passed_on(ask: Call, model: Repository) -> None:
    model.faults = [Fault(error(451, "Unavailable For Legal Reasons"))]
    with pytest.raises(errors.HfHubHTTPError, match="451"):
        ask(info, model.name)
