"""What a user can get wrong: each exits 1 with two lines (what, and what to do), and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import as_error, cache_at, done, run
from models import DEMO, spoil, table, tiny_clip, visu
from tiny_checkpoints import listing

EDIT, PLAN, EVAL = ("edit", "plan", "eval safeground")
BOTH = (EDIT, PLAN)
ALL = (EDIT, PLAN, EVAL)


def put_nan(values: np.ndarray) -> None:
    values[3] = np.nan


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Everything that the commands below name in braces: what is broken, and what is not but is misused."""
    root = tmp_path_factory.mktemp("input")
    made: dict[str, Path] = {"root": root}

    def nan_in(name: str, key: str) -> None:
        made[name] = shutil.copytree(made["model"], root / name)
        spoil(made[name], key, put_nan)

    def text(name: str, content: str) -> None:
        made[Path(name).stem] = root / name
        (root / name).write_text(content)

    made["good"] = table(root / "good")
    made["text_only"] = table(root / "text-only", columns=("safe_text", "unsafe_text"))
    made["image_only"] = table(root / "image-only", columns=("safe_image", "unsafe_image"))
    made["only_safe"] = table(root / "only-safe", columns=("safe_image", "safe_text"))
    made["no_partner"] = table(root / "no-partner", columns=("safe_image", "safe_text", "unsafe_text"))
    made["no_columns"] = table(root / "no-columns", columns=())
    made["unreadable"] = table(root / "unreadable")
    broken = root / "unreadable" / "unsafe-2.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    made["lost"] = table(root / "lost")
    (root / "lost" / "safe-4.jpg").unlink()
    rows = [json.loads(line) for line in made["good"].read_text().splitlines()]
    blank = "\n".join(json.dumps(row | {"unsafe_text": "", "unsafe_image": ""}) for row in rows)
    text("good/blank.jsonl", blank)
    text("empty.jsonl", "")
    text("empty_csv.csv", "id,safe_text,unsafe_text\n")
    made["visu_empty"] = visu(root / "visu-empty", 1)
    (root / "visu-empty" / "ViSU-Text_test.json").write_text("[]")

    made["model"] = tiny_clip(root / "model")
    nan_in("nan_target", "text_model.encoder.layers.1.self_attn.out_proj.weight")
    nan_in("nan_norm", "vision_model.pre_layrnorm.weight")
    nan_in("nan_late", "vision_model.post_layernorm.bias")
    made["no_weights"] = root / "no-weights"
    shutil.copytree(made["model"], made["no_weights"], ignore=shutil.ignore_patterns("*.safetensors"))
    made["truncated"] = shutil.copytree(made["model"], root / "truncated")
    whole = (made["truncated"] / "model.safetensors").read_bytes()
    (made["truncated"] / "model.safetensors").write_bytes(whole[:-100])
    made["no_tokenizer"] = root / "no-tokenizer"
    shutil.copytree(made["model"], made["no_tokenizer"], ignore=shutil.ignore_patterns("tokenizer*"))
    made["other_family"] = shutil.copytree(made["no_weights"], root / "other-family")
    (made["other_family"] / "config.json").write_text('{"model_type": "bert"}')
    made["deeper"] = shutil.copytree(made["model"], root / "deeper")
    config = json.loads((made["model"] / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (made["deeper"] / "config.json").write_text(json.dumps(config))

    text("recipe.yaml", "scorer: [unclosed")
    text("listing.yaml", "- a\n- b\n")
    text("stranger.yaml", "scorrer: uwm\n")
    text("plugin.py", "raise RuntimeError('broken')\n")
    made["taken"] = root / "taken"
    made["taken"].mkdir()
    with cache_at(root / "cache"):
        flags = ("--model", made["model"], "--data", made["good"], "--workers", 0)
        done("edit", *flags, "-o", root / "patch", "--save", root / "saved")
    made |= {"patch": root / "patch", "saved": root / "saved", "demo": DEMO / "model"}
    return made


MODEL = "--model {model}"
CASES: list[tuple[str, tuple[str, ...], str, tuple[str, ...]]] = [
    # components and options
    ("unknown scorer", BOTH, "--scorer uwn", ("'uwn'", "Did you mean 'uwm'?")),
    ("unknown selector", BOTH, "--selector adaptiv", ("Did you mean 'adaptive'?",)),
    ("unknown manipulator", BOTH, "--manipulator negat", ("Did you mean 'negate'?",)),
    ("unknown evaluation", ("eval safegroud",), "", ("Did you mean 'safeground'?",)),
    ("unknown data set", ALL, "--data visuu:x", ("'visuu'", "visu")),
    ("tau 0", BOTH, "--tau 0", ("selector.tau", "greater than 0")),
    ("tau 1.5", BOTH, "--tau 1.5", ("selector.tau", "less than 1")),
    ("tau nan", BOTH, "--tau nan", ("selector.tau",)),
    ("alpha 1", BOTH, "--alpha 1", ("alpha 1 leaves every weight as it is",)),
    ("alpha inf", BOTH, "--alpha inf", ("manipulator.alpha",)),
    ("tau with topk", BOTH, "--selector topk --tau 0.1", ("selector.fraction",)),
    ("alpha with negate", BOTH, "--manipulator negate --alpha -1", ("manipulator.alpha",)),
    ("alpha with zero", BOTH, "--manipulator zero --alpha 0", ("manipulator.alpha",)),
    ("fraction and sparsity", BOTH, "--selector topk --set selector.fraction=0.1 --set selector.sparsity=0.9",
     ("not both",)),
    ("unknown --set path", ALL, "--set foo.bar=1", ("foo.bar",)),
    ("misspelt option", BOTH, "--set scorer.agregation=means", ("Did you mean 'aggregation'?",)),
    ("--set without value", ALL, "--set scorer.prior", ("path=value",)),
    ("--set on a whole part", ALL, "--set calibration=3", ("calibration",)),
    ("--set on a tower", BOTH, "--set text=uwm", ("text",)),
    ("--set below a value", ALL, "--set model.path=x", ("model.path",)),
    ("limit 0", ALL, "--limit 0", ("limit", "1")),
    ("batch size 0", ALL, "--batch-size 0", ("batch_size",)),
    ("workers -1", ALL, "--workers -1", ("workers",)),
    ("bad dtype", ALL, "--dtype float8", ("dtype", "bfloat16")),
    ("bad device", (EDIT, EVAL), "--device tpu", ("tpu",)),
    ("bad --on-bad-item", ALL, "--on-bad-item ignore", ("on_bad_item",)),
    ("bad --by", (EVAL,), "--by colour", ("--by concept",)),
    ("matched without counts", BOTH, "--selector matched", ("selector.patch",)),
    # recipes and plugins
    ("missing recipe", ALL, "--recipe nowhere.yaml", ("nowhere.yaml",)),
    ("unreadable recipe", ALL, "--recipe {recipe}", ("recipe.yaml",)),
    ("recipe that is a list", ALL, "--recipe {listing}", ("mapping",)),
    ("recipe with an unknown key", ALL, "--recipe {stranger}", ("Did you mean 'scorer'?",)),
    ("recipe that is a folder", ALL, "--recipe {taken}", ("taken",)),
    ("broken plugin file", ("--plugin {plugin} plugins list",), "", ("RuntimeError: broken",)),
    ("missing plugin file", ("--plugin nowhere.py plugins list", "--plugin nowhere.py plan"), "", ("nowhere.py",)),
    # targets
    ("unknown target role", BOTH, "--target text:attn.otu", ("Did you mean 'text:attn.out'?",)),
    ("unknown target tower", BOTH, "--target audio:attn.out", ("audio",)),
    ("target past the last layer", BOTH, "--target text:attn.out[99]", ("matches no site", "text:attn.out (3)")),
    ("target without a role", BOTH, "--target text", ("TOWER:ROLE",)),
    ("uwm on the projection", BOTH, "--target text:proj", ("one token",)),
    # data
    ("unreadable image", (EDIT, EVAL), "--data {unreadable}", ("unsafe-2.jpg",)),
    ("lost image", ALL, "--data {lost}", ("safe-4.jpg", "row 5")),
    ("missing table", ALL, "--data pairs:nowhere.csv", ("nowhere.csv",)),
    ("missing column", ALL, "--data {no_partner}", ("safe_image but not unsafe_image",)),
    ("no known column", ALL, "--data {no_columns}", ("safe_text",)),
    ("only safe items", ALL, "--data {only_safe}", ("unsafe_image",)),
    ("unsafe cells blank", ALL, "--data {blank}", ("unsafe_",)),
    ("unsafe cells blank, skipped", ALL, "--data {blank} --on-bad-item skip", ("cannot be used",)),
    ("empty table", ALL, "--data {empty}", ("empty.jsonl",)),
    ("table without rows", ALL, "--data {empty_csv}", ("empty_csv.csv",)),
    ("empty visu file", ALL, "--data visu:{visu_empty} --split test", ("no elements",)),
    ("image-only table with default targets", BOTH, "--data {image_only}", ("add --target vision:mlp.out",)),
    ("text-only table with default targets", BOTH, "--data {text_only}", ("add --target text:attn.out",)),
    ("text-only table in an evaluation", (EVAL,), "--data {text_only}", ("images are missing",)),
    ("visu without a path", ALL, "--data visu", ("data.path has to be given",)),
    ("unknown split", ALL, "--split tset", ("Did you mean 'test'?",)),
    ("unknown concept", ALL, "--concepts wepons", ("Did you mean 'weapons'?",)),
    ("labelled images to edit with", BOTH, "--data demo-objects", ("labelled images",)),
    ("labelled images to SafeGround", (EVAL,), "--data demo-objects", ("labelled images",)),
    ("tuples to zero-shot", ("eval zeroshot",), "--data demo", ("tuples",)),
    ("tuples as knowledge", (EVAL,), "--knowledge demo", ("no labelled images",)),
    # models
    ("no such model", ALL, "--model ./nowhere", ("There is no model folder ./nowhere",)),
    ("no weights", ALL, "--model {no_weights}", ("There are no weights of",)),
    ("truncated weights", ALL, "--model {truncated}", ("not a whole safetensors file",)),
    ("unknown family", ALL, "--model {other_family}", ("'bert'",)),
    ("not a model folder", ALL, "--model {taken}", ("config.json",)),
    ("a lone weight file", ALL, "--model {model}/model.safetensors", ("open_clip:NAME@",)),
    ("config of another depth", BOTH, "--model {deeper}", ("text_model.encoder.layers.2",)),
    ("no tokenizer", (EDIT, EVAL), "--model {no_tokenizer} --data {good} --workers 0", ("has no tokenizer",)),
    ("NaN in a target", (EDIT, EVAL), "--model {nan_target} --data {good} --workers 0",
     ("layers.1.self_attn.out_proj.weight", "NaN")),
    ("NaN before the targets", (EDIT, EVAL), "--model {nan_norm} --data {good} --workers 0",
     ("pre_layrnorm.weight", "NaN")),
    ("NaN behind the targets", (EDIT, EVAL), "--model {nan_late} --data {good} --workers 0",
     ("post_layernorm.bias", "NaN")),
    ("NaN and a scorer of weights", (EDIT,), "--model {nan_target} --scorer magnitude",
     ("layers.1.self_attn.out_proj.weight", "NaN")),
    ("unknown open_clip name", ALL, "--model open_clip:ViT-B-23@{model}/model.safetensors", ("Did you mean",)),
    ("open_clip without its file", ALL, "--model open_clip:ViT-B-32@nowhere.pt", ("nowhere.pt",)),
    ("another architecture's file", (EDIT, EVAL), "--model open_clip:ViT-B-32@{model}/model.safetensors", ("model",)),
    # outputs
    ("output that exists", BOTH, "-o {taken}", ("exists already", "taken")),
    ("save that exists", BOTH, "--save {taken}", ("exists already", "taken")),
    ("output inside the model", (EDIT,), f"{MODEL} --data {{good}} -o {{model}}/patch", ("inside",)),
    # patches
    ("no patch", ("eval safeground", "eval zeroshot"), "--patch nowhere", ("nowhere is not a patch",)),
    ("a model as a patch", ("eval safeground",), "--patch {saved}", ("record.json",)),
    ("a patch of another model", ("eval safeground", "eval retrieval", "eval zeroshot"), "--patch {patch} --model demo",
     ("layers.0.self_attn.out_proj.weight", "the patch was made from")),
    ("a patch of the edited model", ("eval safeground",), "--patch {patch} --model {saved} --data {good}",
     ("already applied",)),
    ("control of a missing patch", (EDIT,), "--selector matched --set selector.patch=nowhere --limit 2", ("nowhere",)),
]  # fmt: skip
ROWS = [
    pytest.param(f"{command} {flags}", expected, id=f"{command}: {name}")
    for name, commands, flags, expected in CASES
    for command in commands
]


@pytest.mark.parametrize(("line", "expected"), ROWS)
def test_bad_input_is_an_error_of_two_lines_and_leaves_nothing_behind(
    line: str,
    expected: tuple[str, ...],
    places: Mapping[str, Path],
    tmp_path: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = listing(places["root"])
    message = as_error(run(*line.format(**places).split()))
    for part in expected:
        assert part in message
    assert listing(tmp_path) == []
    assert listing(places["root"]) == before
    assert not list(own_cache.rglob("*.partial*"))


def test_a_bad_device_is_refused_even_where_the_cache_makes_the_model_unnecessary(
    places: Mapping[str, Path], tmp_path: Path
) -> None:
    flags = ("--model", places["model"], "--data", places["good"], "--workers", 0)
    done("edit", *flags, "-o", tmp_path / "patch")
    assert "tpu" in as_error(run("edit", *flags, "--device", "tpu", "-o", tmp_path / "again"))


def test_scores_made_while_skipping_do_not_serve_a_run_that_stops_at_bad_items(
    places: Mapping[str, Path], tmp_path: Path
) -> None:
    flags = ("--model", places["model"], "--data", places["unreadable"], "--workers", 0)
    ran = done("edit", *flags, "--on-bad-item", "skip", "-o", tmp_path / "patch")
    assert "1 pairs left out, unreadable image (tuple-2)" in ran.out
    assert "unsafe-2.jpg" in as_error(run("edit", *flags, "-o", tmp_path / "again"))
    done("eval", "safeground", *flags, "--on-bad-item", "skip")
    assert "unsafe-2.jpg" in as_error(run("eval", "safeground", *flags))


@pytest.mark.parametrize(
    "line", ["edit --tau abc", "edit --nonsense", "eval retrieval --limit x", "nonsense", "apply x", "edit --seed x"]
)
def test_a_command_that_cannot_be_parsed_exits_2(line: str) -> None:
    ran = run(*line.split())
    assert ran.code == 2 and "Error" in ran.err and ran.out == ""


def test_an_empty_limit_of_concepts_is_an_error() -> None:
    assert "concept" in as_error(run("plan", "--concepts", ","))
