"""The schema `editkit.eval/1`: published as it is, met by what is built, and checked on what is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_samples import benchmark, measured

from editkit.reports.read import RecordError, read_report
from editkit.reports.schema import json_schema

DOCS = Path(__file__).parents[1] / "docs"


def read(folder: Path, content: object) -> Any:
    """Write what may be a report and read it."""
    path = folder / "eval-x.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_report(path)


def changed(change: Callable[[Any], object]) -> Any:
    """A report as a program would hold it, with something changed in place."""
    report = json.loads(json.dumps(measured()))
    change(report)
    return report


def test_the_published_schema_is_the_one_that_is_checked() -> None:
    published = json.loads((DOCS / "eval-schema.json").read_text())
    assert published == json_schema(), "run `python -m editkit.reports.schema > docs/eval-schema.json`"


def test_every_part_and_member_of_the_schema_is_in_the_page() -> None:
    page = (DOCS / "records.md").read_text()
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert all(f"`{member}`" in page for member in part["properties"]), part["title"]


def test_a_second_reader_of_json_schema_agrees_on_what_is_a_report() -> None:
    """The published file alone suffices: a small reader written from the standard finds the same faults."""
    schema = json_schema()
    assert not faults(json.loads(json.dumps(measured())), schema, schema)
    for change, where in (
        (lambda r: r["models"][1]["metrics"]["GS"].pop("n"), "n"),
        (lambda r: r["data"].update(n=0), "n"),
        (lambda r: r.update(schema="editkit.eval/2"), "schema"),
        (lambda r: r.update(models=[]), "models"),
    ):
        found = faults(changed(change), schema, schema)
        assert found and where in found[0]


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """Check a value against the few words of JSON Schema that the file uses."""
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, at)
    if "anyOf" in schema:
        return min((faults(value, one, root, at) for one in schema["anyOf"]), key=len)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return [at]
    wrong = value != schema.get("const", value) or ("minimum" in schema and value < schema["minimum"])
    if wrong or ("minItems" in schema and len(value) < schema["minItems"]):
        return [at]
    if isinstance(value, list):
        return [fault for item in value for fault in faults(item, schema.get("items", {}), root, at)]
    if not isinstance(value, dict):
        return []
    found = [f"{at}.{name}" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        more = schema.get("additionalProperties")
        part = schema.get("properties", {}).get(name, more if isinstance(more, dict) else {})
        found += faults(item, part, root, f"{at}.{name}")
    return found


def test_what_is_built_is_read_back_unchanged(tmp_path: Path) -> None:
    for made in (measured(), benchmark()):
        assert read(tmp_path, made) == json.loads(json.dumps(made))


def test_a_report_of_before_runs_were_described_is_still_read(tmp_path: Path) -> None:
    old = changed(lambda report: [report.pop(name) for name in ("run", "beside", "notes")])
    assert read(tmp_path, old)["models"][0]["name"] == "base"


def test_members_that_this_version_does_not_know_are_kept(tmp_path: Path) -> None:
    more = changed(lambda report: (report.update(judges={"llm": 1}), report["models"][0].update(captions="c.jsonl")))
    found = read(tmp_path, more)
    assert found["judges"] == {"llm": 1} and found["models"][0]["captions"] == "c.jsonl"


SET = json.loads(json.dumps(benchmark()))["sets"][0]
SET["models"][0]["metrics"]["top1"].pop("n")


def rate(report: Any) -> Any:
    return report["models"][1]["metrics"]["GS"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: rate(r).pop("n"), "models.1.metrics.GS.n is missing"),
        (lambda r: rate(r).update(n=0), "models.1.metrics.GS.n"),
        (lambda r: rate(r).update(n=2.5), "models.1.metrics.GS.n"),
        (lambda r: rate(r).update(value="4.5"), "models.1.metrics.GS.value"),
        (lambda r: rate(r).update(value=float("nan")), "models.1.metrics.GS.value"),
        (lambda r: rate(r).update(low=60.0, high=50.0), "models.1.metrics.GS low 60 is above high 50"),
        (lambda r: r["models"][1]["difference"]["GS"].update(p=1.2), "models.1.difference.GS.p"),
        (lambda r: r["models"][1]["by_concept"]["blood"]["GS"].pop("low"), "models.1.by_concept.blood.GS.low"),
        (lambda r: r["models"][1]["difference"].update(XX=r["models"][1]["difference"]["GS"]), "'uwm'.*in XX"),
        (lambda r: r["models"][0].update(difference=r["models"][1]["difference"]), "no difference to itself"),
        (lambda r: r.update(models=[]), "models"),
        (lambda r: r.pop("data"), "data is missing"),
        (lambda r: r["data"].pop("fingerprint"), "data.fingerprint is missing"),
        (lambda r: r.update(created="2026-01-31T10:00:00"), "created has no time zone"),
        (lambda r: r.update(created="yesterday"), "created"),
        (lambda r: r["run"]["model"].pop("identity"), "run.model.identity is missing"),
        (
            lambda r: r.update(schema="editkit.eval/2"),
            "schema editkit.eval/2; this editkit reads editkit.eval/1",
        ),
        (lambda r: r.update(sets=[SET], of=2), "sets.0.models.0.metrics.top1.n is missing"),
        (lambda r: r.update(schema="editkit.patch-record/1"), "is no report of an evaluation"),
        (lambda r: r.clear(), "is no report of an evaluation"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(change: Callable[[Any], object], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        read(tmp_path, changed(change))
    assert str(tmp_path / "eval-x.json") in caught.value.problem and "\n" not in caught.value.problem


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", '"text"', '{"schema": ["editkit.eval/1"]}'])
def test_a_file_that_is_no_report_is_said_to_be_none(content: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no JSON|no report"):
        read(tmp_path, content)


def test_a_truncated_report_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is damaged"):
        read(tmp_path, json.dumps(measured())[:-40])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nowhere.json cannot be read"):
        read_report(tmp_path / "nowhere.json")
