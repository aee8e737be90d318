"""Embedding for evaluations: images that are the same bytes are embedded once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import done
from hypothesis import given
from hypothesis import strategies as st
from models import table, tiny_clip

from editkit.evals.encoder import distinct
from editkit_clip.transformers_model import LoadedClip

names = st.lists(st.tuples(*[st.sampled_from(["a", "b", None])] * 2), max_size=12)


@given(names)
def test_every_group_has_the_place_of_the_first_one_like_it(digests: list[tuple[str | None, str | None]]) -> None:
    chosen, places = distinct(digests)
    assert chosen == sorted(set(chosen)) and sorted(set(places)) == list(range(len(chosen)))
    for group, place in enumerate(places):
        assert digests[chosen[place]] == digests[group] and chosen[place] <= group
        if not all(digests[group]):
            assert chosen[place] == group  # what could not be read is like no other


def test_scenes_told_in_two_ways_are_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / "cache"))
    rows = [json.loads(row) for row in table(tmp_path / "data", 4).read_text().splitlines()]
    twice = rows + [{**row, "id": f"again {row['id']}", "safe_text": f"look, {row['safe_text']}"} for row in rows]
    (tmp_path / "data" / "twice.jsonl").write_text("\n".join(map(json.dumps, twice)))
    seen: list[int] = []
    encode = LoadedClip.encode_images

    def counting(model: LoadedClip, inputs: dict[str, object]) -> object:
        seen.append(len(inputs["pixel_values"]))  # type: ignore[arg-type]
        return encode(model, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadedClip, "encode_images", counting)
    model = tiny_clip(tmp_path / "model")
    data = ("--model", model, "--data", f"pairs:{tmp_path}/data/twice.jsonl", "--workers", 0, "--knowledge", "none")
    report = done("eval", "retrieval", *data, "--json").json
    assert report["data"]["n"] == 8 and sum(seen) == 2 * 4
