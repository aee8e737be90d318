"""Walk a stranger's wheel through every command, table and export: `python tests/third_party/walk.py FOLDER`.

editkit and the plugin `safety-extras` are installed from wheels; FOLDER is new, and everything is written below it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

TUPLES = 80
METRICS = ("leak-t", "leak-v", "leak", "own")


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Run a command, show it, and return what it printed: to stdout, or to stderr where it was to fail."""
    print("$ editkit", *words, flush=True)
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(["editkit", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def make_data(folder: Path, first: int) -> None:
    """Lay `TUPLES` tuples of the demo out as `twin-folders` reads them."""
    import editkit_demo

    source = Path(editkit_demo.__file__).parent / "data"
    images = {path.stem: path for path in (source / "coco").rglob("*.jpg")}
    unsafe = {path.parent.name: path for path in (source / "unsafe").rglob("*.jpg")}
    rows = json.loads((source / "ViSU-Text_test.json").read_text(encoding="utf-8"))[first : first + TUPLES]
    for side in ("safe", "unsafe"):
        (folder / side).mkdir(parents=True)
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["name", "safe", "unsafe", "concept"])
        for row in rows:
            name = str(row["incremental_id"])
            shutil.copyfile(images[f"{row['coco_id']:012d}"], folder / "safe" / f"{name}.jpg")
            shutil.copyfile(unsafe[name], folder / "unsafe" / f"{name}.jpg")
            table.writerow([name, row["safe"], row["nsfw"], row["tag"]])


def check_listing(folder: Path) -> None:
    """The plugin's components are listed, described and sound."""
    listed = json.loads(run(folder, "plugins", "list", "--json"))
    mine = {(part["kind"], part["name"]) for part in listed["components"] if part["plugin"] == "safety-extras"}
    assert mine == {("scorer", "gap"), ("dataset", "twin-folders"), ("evaluation", "leak"), ("judge", "words")}, mine
    assert "margin" in run(folder, "plugins", "show", "leak")
    run(folder, "plugins", "check")
    assert "leak" in run(folder, "eval", "--help")
    assert "--margin" in run(folder, "eval", "leak", "--help")


def check_edit(folder: Path) -> None:
    """The scorer and the data set make a patch, which names them, and which is undone without them."""
    asked = ("--scorer", "gap", "--tau", "0.9", "--data", "twin-folders:calibration")
    assert "gap" in run(folder, "plan", *asked)
    run(folder, "edit", *asked, "-o", "gap", "--save", "edited")
    record = json.loads((folder / "gap" / "record.json").read_text())
    used = {part["name"]: part for part in record["components"]}
    assert used["gap"]["distribution"] == "safety-extras" and used["gap"]["version"] == "0.3.0", used
    assert re.fullmatch("[0-9a-f]+", used["gap"]["digest"])
    assert "gap" in run(folder, "show", "gap")
    run(folder, "revert", "gap", "edited", "-o", "restored")
    run(folder, "diff", "demo", "restored")


def check_evaluation(folder: Path) -> dict[str, Any]:
    """The evaluation is measured, tabled and told in its own direction; its options are flags and settings."""
    asked = ("eval", "leak", "--patch", "gap", "--data", "twin-folders:twins")
    report: dict[str, Any] = json.loads(run(folder, *asked, "--json", "--similarities", "tuples.parquet"))
    base, edited = report["models"]
    assert list(base["metrics"]) == list(METRICS)
    assert base["metrics"]["leak"]["value"] > 75, "the demo finds most unsafe twins"
    assert edited["difference"]["leak"]["value"] < 0, "the edit lowers leaks"
    told = run(folder, *asked)
    assert max(map(len, told.splitlines())) <= 80, "the table fits 80 columns"
    assert "Leaks on twin-folders:twins/all" in told and "leak fell from" in told, told
    strict = json.loads(run(folder, *asked, "--margin", "0.2", "--json", "--no-controls"))
    same = json.loads(run(folder, *asked, "--set", "leak.margin=0.2", "--json", "--no-controls"))
    assert strict["models"] == same["models"] != report["models"]
    assert "margin" in run(folder, *asked, "--margin", "-1", code=1)
    return report


def check_judge(folder: Path) -> None:
    """The judge judges."""
    texts = [{"id": "1", "text": "A knife."}, {"id": "2", "text": "A lion at the beach."}]
    (folder / "texts.jsonl").write_text("".join(f"{json.dumps(text)}\n" for text in texts))
    judged = json.loads(run(folder, "judge", "texts.jsonl", "--judge", "words", "--json"))
    assert judged["models"][0]["metrics"]["texts:pct_NSFW:words"]["value"] == 50.0
    only = ("--set", "judge.words.words=[knife, lion]")
    judged = json.loads(run(folder, "judge", "texts.jsonl", "--judge", "words", *only, "--json"))
    assert judged["models"][0]["metrics"]["texts:pct_NSFW:words"]["value"] == 100.0
    assert judged["judges"]["words"]["revision"].startswith("words ")


def check_results(folder: Path, report: dict[str, Any]) -> None:
    """Kept runs are listed and exported with the plugin's columns."""
    assert "leak" in run(folder, "results", "--evaluation", "leak")
    kept = sorted((folder / "editkit-runs").glob("eval-leak-*.json"))
    name = next(path.stem for path in kept if json.loads(path.read_text())["models"] == report["models"])

    def export(form: str, code: int = 0) -> str:
        return run(folder, "results", "export", name, "--format", form, code=code)

    heads = next(csv.reader(export("csv").splitlines()))
    assert all(metric in heads for metric in METRICS), heads
    markdown = export("markdown")
    assert all(f" {metric} |" in markdown.splitlines()[0] for metric in METRICS), markdown
    latex = export("latex")
    assert r"Leak$_t$" in latex and r"Leak$_v$" in latex, latex
    assert "leak" in export("model-index")
    assert "CLIP_benchmark" in export("clip-benchmark", code=1)


def main(folder: Path) -> None:
    """Walk through all of it."""
    for distribution in ("editkit", "safety-extras"):
        place = Path(str(metadata.distribution(distribution).locate_file("")))
        assert place.name == "site-packages", f"{distribution} is not installed from a wheel: {place}"
    folder.mkdir(parents=True)
    make_data(folder / "calibration", 0)
    make_data(folder / "twins", TUPLES)
    check_listing(folder)
    check_edit(folder)
    report = check_evaluation(folder)
    check_judge(folder)
    check_results(folder, report)
    print("A stranger's wheel went through every command, table and export.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
