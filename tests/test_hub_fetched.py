"""What each command fetches of each repository, in requests and bytes; docs/hub.md has the same numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Ran
from hub_open_clip_repositories import repository_of, small_architectures
from hub_repositories import MODELS, stock
from hub_server import Hub, Request, serving
from models import table
from on_the_hub import on_the_hub

DOCS = Path(__file__).parents[1] / "docs" / "hub.md"
WEIGHTS = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".zip")
LAION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
TAG = "open_clip:ViT-B-32/openai"
LLAVA = tuple(f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))
ARCHIVES = tuple(f"pytorch_model-0000{number}-of-00003.bin" for number in (1, 2, 3))
READ: dict[str, tuple[str, ...]] = {
    "openai/clip-vit-large-patch14": ("model.safetensors",),
    "openai/clip-vit-base-patch16": ("pytorch_model.bin",),
    "someone/clip-vit-base-patch16-onnx": ("model.safetensors",),
    "someone/clip-sharded-bin": ARCHIVES,
    "someone/clip-finetuned": ("model.safetensors",),
    "aimagelab/safeclip_vit-l_14": ("model.safetensors",),
    "google/siglip-so400m-patch14-384": ("model.safetensors",),
    "google/siglip2-base-patch16-224": ("model.safetensors",),
    "google/siglip2-base-patch16-naflex": ("model.safetensors",),
    "llava-hf/llava-1.5-7b-hf": LLAVA,
    LAION: ("model.safetensors",),
    TAG: ("open_clip_model.safetensors",),
    "timm/vit_base_patch16_clip_224.openai": ("open_clip_model.safetensors",),
    "timm/vit_base_patch16_siglip_224.webli": ("model.safetensors",),
    "timm/ViT-B-16-SigLIP": ("open_clip_model.safetensors",),
    "laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k": ("open_clip_model.safetensors",),
}
"""The weight files of each that its family reads; all others stay where they are."""
REFUSED = ("Xenova/clip-vit-base-patch32", "florence-community/Florence-2-base", "microsoft/Florence-2-base")
EVALUATED = ("openai/clip-vit-large-patch14", TAG, "google/siglip-so400m-patch14-384")
"""Of which `eval` is asked first, with a cache of their own; it finds models as `edit` does."""


def repository(source: str) -> str:
    return repository_of("ViT-B-32", "openai") if source == TAG else source


class Visit:
    """Commands that were run, each in a process of its own, and what each of them asked the hub for."""

    def __init__(self, place: Path) -> None:
        self.ran: dict[tuple[str, str], Ran] = {}
        self.asked: dict[tuple[str, str], list[Request]] = {}
        first = small_architectures(place / "small")
        data = table(place / "data", 2)
        with serving() as hub:
            stock(hub, place / "made", *MODELS)
            for kind, sources in (("eval", EVALUATED), ("plan", (*READ, *REFUSED)), ("edit", tuple(READ))):
                cache = place / ("first" if kind == "eval" else "cache")
                commands = [self._command(kind, source, data, place) for source in sources]
                ran = self._run(hub, commands, cache, first)
                self.ran |= {(kind, source): one for source, one in zip(sources, ran, strict=True)}
                asked = hub.requests[:]
                hub.requests.clear()
                for source in sources:
                    self.asked[kind, source] = [one for one in asked if one.repository == repository(source)]

    @staticmethod
    def _command(kind: str, source: str, data: Path, place: Path) -> tuple[object, ...]:
        if kind == "eval":
            return ("eval", "retrieval", "--model", source, "--data", data, "--json")
        flags = ("--scorer", "magnitude", "--tau", 0.02, "--model", source, "--json")
        return (kind, *flags, *(("-o", place / source.replace("/", "-")) if kind == "edit" else ()))

    @staticmethod
    def _run(hub: Hub, commands: list[tuple[object, ...]], cache: Path, first: str) -> list[Ran]:
        return on_the_hub(hub, *commands, cache=cache, first=first, apart=True)

    def weights(self, kind: str, source: str, *, whole: bool) -> dict[str, int]:
        """Bytes by weight file: of those that came whole, or of the parts of headers."""
        sent: dict[str, int] = {}
        for one in self.asked[kind, source]:
            if one.file.endswith(WEIGHTS) and one.sent and (one.span is None) == whole:
                sent[one.file] = sent.get(one.file, 0) + one.sent
        return sent

    def small(self, kind: str, source: str) -> int:
        """Bytes of all other files."""
        return sum(one.sent for one in self.asked[kind, source] if not one.file.endswith(WEIGHTS))


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    yield Visit(tmp_path_factory.mktemp("visit"))


@pytest.mark.parametrize("source", READ)
def test_plan_fetches_small_files_and_headers_and_no_weights(visit: Visit, source: str) -> None:
    ran = visit.ran["plan", source]
    assert ran.code == 0, ran.err
    assert visit.weights("plan", source, whole=True) == {}
    headers = visit.weights("plan", source, whole=False)
    archives = READ[source][0].endswith(".bin")
    assert set(headers) == (set() if archives else set(READ[source]))
    assert sum(headers.values()) < 100_000
    # two ranges a header, each redirected once; a file's size and content, each redirected once if git holds it
    assert len([one for one in visit.asked["plan", source] if one.file.endswith(WEIGHTS)]) == 4 * len(headers)
    assert visit.small("plan", source) > 0
    assert "to download" in ran.json["model"]["pending"]
    assert ("to be converted" in ran.json["model"]["pending"]) == archives


@pytest.mark.parametrize("source", READ)
def test_edit_downloads_exactly_the_weights_that_the_family_reads(visit: Visit, source: str) -> None:
    ran = visit.ran["edit", source]
    assert ran.code == 0, ran.err
    assert set(visit.weights("edit", source, whole=True)) == set(READ[source])
    assert all(one.status < 400 for one in visit.asked["edit", source])
    assert visit.small("edit", source) == 0  # plan has fetched them
    commit = visit.ran["plan", source].json["model"]["commit"]
    assert ran.json["record"]["model"]["commit"] == commit


@pytest.mark.parametrize("source", EVALUATED)
def test_eval_downloads_the_same_and_its_report_has_the_commit(visit: Visit, source: str) -> None:
    ran = visit.ran["eval", source]
    assert ran.code == 0, ran.err
    sent = [one for one in visit.asked["eval", source] if one.file.endswith(WEIGHTS) and one.span is None and one.sent]
    assert sorted({one.file for one in sent}) == sorted(READ[source])
    assert ran.json["run"]["model"]["commit"] == visit.ran["plan", source].json["model"]["commit"]


@pytest.mark.parametrize("source", REFUSED)
def test_what_cannot_be_edited_is_refused_before_any_weight(visit: Visit, source: str) -> None:
    ran = visit.ran["plan", source]
    assert ran.code == 1 and ran.out == "" and len(ran.err.splitlines()) == 2
    assert [one for one in visit.asked["plan", source] if one.file.endswith(WEIGHTS)] == []


def test_the_table_in_the_docs_has_these_numbers(visit: Visit) -> None:
    rows = [line.split("|")[1:-1] for line in DOCS.read_text().splitlines() if line.startswith("| `")][1:]
    told = {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in rows}
    measured = {source: row_of(visit, source) for source in READ}
    assert told == measured, json.dumps(measured, indent=0)


def row_of(visit: Visit, source: str) -> list[str]:
    """The cells of the table: what is read, requests of `plan`, bytes of headers, further requests of `edit`."""
    plan, edit = (len(visit.asked[kind, source]) for kind in ("plan", "edit"))
    files = READ[source]
    named = f"`{files[0]}`" if len(files) == 1 else f"{len(files)} shards, `{files[0].split('-')[0]}-*`"
    return [named, str(plan), f"{sum(visit.weights('plan', source, whole=False).values()):,}", str(edit)]
