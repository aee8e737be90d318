"""Whatever decides a number is part of what it is cached under: each part is changed in turn, and no other misses."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_world import Keys, World, build, copy_of_editkit, world_at
from models import spoil

from editkit import libraries
from editkit.components.load import load_host
from editkit.components.specs import AdapterSpec, ScorerSpec
from editkit.files.cache import Cache
from editkit.libraries import LIBRARIES

ALL = {"scores", "moments", "preserved", "texts", "images", "captions"}
Change = Callable[[World], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build(folder)
    return folder


@pytest.fixture
def world(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of the test's own."""
    folder = shutil.copytree(built, tmp_path / "world")
    monkeypatch.delenv("EDITKIT_PLUGINS", raising=False)
    with world_at(folder, monkeypatch) as made:
        yield made


def missed(before: Keys, after: Keys) -> set[str]:
    """The kinds of which nothing is found again; of the others everything is."""
    gone = {kind for kind in before if before[kind].isdisjoint(after[kind])}
    assert all(before[kind] == after[kind] for kind in before if kind not in gone)
    assert not any(None in keys for keys in (*before.values(), *after.values()))
    return gone


def set_config(*path: str, value: Any) -> Change:
    def change(world: World) -> None:
        config = json.loads((world.model / "config.json").read_text())
        part = config
        for name in path[:-1]:
            part = part[name]
        assert part.get(path[-1], ...) != value
        part[path[-1]] = value
        (world.model / "config.json").write_text(json.dumps(config))

    return change


def set_layer(path: str, value: Any) -> Change:
    return lambda world: world.layer.update({path: value})


def edit_json(name: str, key: str, value: Any) -> Change:
    def change(world: World) -> None:
        path = world.model / name
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return change


def version_of(distribution: str, version: str = "99.0") -> Change:
    """Another version of something installed."""

    def change(world: World) -> None:
        real = libraries.installed_version
        world.patch.setattr(
            libraries, "installed_version", lambda name: version if name == distribution else real(name)
        )

    return change


def release(distribution: str) -> Change:
    """Another version of one of the world's own distributions, whose modules are the same."""
    name = f"site-packages/{distribution.replace('-', '_')}-1.0.dist-info/METADATA"
    return lambda world: world.rewrite(name, lambda text: text.replace("Version: 1.0", "Version: 1.1"))


def append(name: str) -> Change:
    return lambda world: world.append(name)


def own_code(name: str) -> Change:
    """A changed module of editkit's own."""

    def change(world: World) -> None:
        path = copy_of_editkit(world) / name
        path.write_text(path.read_text() + "\n# changed\n")

    return change


def without(module: str) -> Change:
    return lambda world: world.patch.setitem(sys.modules, module, None)


def other_weight(world: World) -> None:
    def change(values: np.ndarray) -> None:
        values[0] += 1

    spoil(world.model, "text_model.final_layer_norm.bias", change)


def other_caption(world: World) -> None:
    world.rewrite("data/t.jsonl", lambda text: text.replace('"safe_text": "', '"safe_text": "Now ', 1))


def other_image(world: World) -> None:
    images = sorted(world.file("data").glob("safe-*.jpg"))
    images[0].write_bytes(images[1].read_bytes())


def matmul(world: World) -> None:
    world.patch.setattr("torch.get_float32_matmul_precision", lambda: "high")


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "weights": (other_weight, ALL),
    "hidden_act": (set_config("text_config", "hidden_act", value="gelu"), ALL),
    "a number of the configuration": (set_config("vision_config", "layer_norm_eps", value=1e-3), ALL),
    "a whole number of the configuration": (set_config("text_config", "eos_token_id", value=7), ALL),
    "a flag of the configuration": (set_config("text_config", "new_flag", value=True), ALL),
    "an empty value of the configuration": (set_config("new_value", value=None), ALL),
    "a list of the configuration": (set_config("vision_config", "image_sizes", value=[64, 64]), ALL),
    "the tokenizer's settings": (edit_json("tokenizer_config.json", "model_max_length", 7), ALL),
    "the vocabulary": (edit_json("tokenizer.json", "version", "2.0"), ALL),
    "the image processor": (edit_json("preprocessor_config.json", "image_mean", [0.1, 0.1, 0.1]), ALL),
    "no torchvision": (without("torchvision"), ALL),
    "no tokenizers": (without("tokenizers"), ALL),
    **{f"version of {name}": (version_of(name), ALL) for name, module in LIBRARIES.items() if find_spec(module)},
    "dtype": (set_layer("compute.dtype", "float16"), ALL),
    "autocast": (set_layer("compute.autocast", "bfloat16"), ALL),
    "precision of products": (matmul, ALL),
    "kind of device": (lambda world: setattr(world, "device", "cuda:1"), ALL - {"captions"}),  # which compare it apart
    "a caption": (other_caption, {"scores", "moments", "preserved", "texts", "captions"}),
    "an image": (other_image, {"scores", "moments", "images", "captions"}),
    "fewer tuples": (set_layer("calibration.limit", 3), ALL),
    "tokens": (set_layer("calibration.tokens", "all"), {"scores", "moments", "preserved"}),
    "an option of the scorer": (set_layer("scorer.power", 3), {"scores"}),
    "another scorer": (set_layer("scorer.name", "uwm"), {"scores"}),
    "the scorer's module": (append("site-packages/louder/scorer.py"), {"scores"}),
    "a helper of the scorer": (append("site-packages/louder/helper.py"), {"scores"}),
    "a new module of the scorer's package": (append("site-packages/louder/more.py"), {"scores"}),
    "a compiled module of the scorer's package": (append("site-packages/louder/fast.abi3.so"), {"scores"}),
    "what the scorer imports that is not installed": (append("loose/loose_numbers/deep.py"), {"scores"}),
    "the scorer's version": (release("editkit-louder"), {"scores"}),
    "the adapter": (append("site-packages/acme/adapter.py"), ALL),
    "a module deep in the adapter's package": (append("site-packages/acme/inner/deep.py"), ALL),
    "the adapter's version": (release("editkit-acme"), ALL),
    "a package that the adapter builds on": (append("site-packages/acme_base/adapter.py"), ALL),
    "the version of what the adapter builds on": (release("editkit-acme-base"), ALL),
    "the version of a plain requirement": (release("acme-plain"), ALL),
    "a base class that belongs to no distribution": (append("loose/loose_mixin.py"), ALL),
    "what such a class's module imports": (append("loose/loose_helper.py"), ALL),
    "editkit's scoring": (own_code("editing/input_scores.py"), ALL),
    "editkit's model code": (own_code("models/observe.py"), ALL),
    "editkit's own formulas": (own_code("methods/scorers/pairs.py"), ALL),
}


@pytest.mark.parametrize("part", CHANGES)
def test_a_changed_part_is_a_miss_for_what_depends_on_it_and_for_nothing_else(world: World, part: str) -> None:
    change, expected = CHANGES[part]
    before = world.keys()
    change(world)
    assert missed(before, world.keys()) == expected


def touch_everything(world: World) -> None:
    for path in world.folder.rglob("*"):
        os.utime(path, (1, 1))


def moved_model(world: World) -> None:
    world.layer["model"] = f"acme:{shutil.copytree(world.model, world.file('elsewhere'))}"


IRRELEVANT: dict[str, Change] = {
    "nothing": lambda world: None,
    "alpha": set_layer("manipulator.alpha", 0.5),
    "tau": set_layer("selector.tau", 0.5),
    "the selector": set_layer("selector.name", "topk"),
    "batch size": set_layer("compute.batch_size", 1),
    "workers": set_layer("compute.workers", 2),
    "memory": set_layer("compute.memory", "1MB"),
    "the seed, where order does not matter": set_layer("calibration.seed", 0),
    "times of change": touch_everything,
    "the place of the model": moved_model,
    "a note in the model's folder": append("model/README.md"),
    "a text in the scorer's package": append("site-packages/louder/notes.txt"),
    "bytecode": append("site-packages/louder/__pycache__/scorer.cpython-311.pyc"),
    "the order of the configuration": lambda world: reorder(world.model / "config.json"),
    "editkit's command line": own_code("cli/show.py"),
    "editkit's reports": own_code("reports/show.py"),
    "a plugin that is not used": append("site-packages/acme_plain.py"),
}


def reorder(path: Path) -> None:
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))


@pytest.mark.parametrize("part", IRRELEVANT)
def test_what_moves_no_number_is_a_hit(world: World, part: str) -> None:
    before = world.keys()
    IRRELEVANT[part](world)
    assert missed(before, world.keys()) == set()


@pytest.mark.parametrize(("scorer", "expected"), [("gradient", {"scores"}), ("fisher-ratio", set()), ("uwm", set())])
def test_the_seed_counts_for_scores_only_where_the_order_of_tuples_does(
    world: World, scorer: str, expected: set[str]
) -> None:
    world.layer["scorer.name"] = scorer
    before = world.keys()
    world.layer["calibration.seed"] = 1
    assert missed({"scores": before["scores"]}, {"scores": world.keys()["scores"]}) == expected


# Code


def test_code_that_changes_while_it_runs_is_neither_served_nor_kept(world: World) -> None:
    host = load_host()
    scorer, adapter = host.resolve(ScorerSpec, "louder"), host.resolve(AdapterSpec, "acme")
    before = {spec.name: host.code_of(spec) for spec in (scorer, adapter)}
    os.utime(world.file("site-packages/louder/helper.py"), (1, 1))
    assert host.code_of(scorer) == before["louder"]  # touched only
    text = world.file("site-packages/louder/helper.py").read_text()
    world.append("site-packages/louder/helper.py")
    digests = {code.name: code.digest for code in host.code_of(scorer)}
    assert digests["editkit-louder"] is None and digests["editkit"] is not None
    assert host.code_of(adapter) == before["acme"]
    fresh = load_host()  # as a new process does, which knows what it loads
    assert fresh.code_of(fresh.resolve(ScorerSpec, "louder")) not in (before["louder"], host.code_of(scorer))
    world.file("site-packages/louder/helper.py").write_text(text)
    assert host.code_of(scorer) == before["louder"]


def test_code_that_cannot_be_read_is_not_cached_under(world: World, tmp_path: Path) -> None:
    host = load_host()
    scorer = host.resolve(ScorerSpec, "louder")
    assert all(code.digest is not None for code in host.code_of(scorer))
    shutil.rmtree(world.file("site-packages/louder"))
    assert {code.digest for code in host.code_of(scorer) if code.name == "editkit-louder"} == {None}
    cache = Cache()
    cache.save("scores", None, {"scores": np.zeros(3, np.float32)}, {})
    assert cache.load("scores", None) is None and not cache.has("scores", None)
    assert not (tmp_path / "scores").exists()


def test_a_plugin_in_one_file_counts_with_the_modules_that_it_imports(
    tmp_path: Path, plugin_file: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loose").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "loose"))
    (tmp_path / "loose" / "my_losses.py").write_text("import my_numbers\n")
    (tmp_path / "loose" / "my_numbers.py").write_text("ONE = 1\n")
    plugin = plugin_file(
        "one_file",
        """
        from editkit.plugin import ScorerSpec, hookimpl

        EDITKIT_API = 1

        @hookimpl
        def editkit_scorers():
            return [ScorerSpec(name="mine", summary="mine", target="one_file:Mine")]

        class Mine:
            def __init__(self, options):
                import my_losses
                import scipy
        """,
    )

    def digests() -> dict[str, str | None]:
        host = load_host((plugin,))
        found = {code.name: code.digest for code in host.code_of(host.resolve(ScorerSpec, "mine"))}
        assert [about["distribution"] for about in host.origins([host.resolve(ScorerSpec, "mine")])] == ["one_file"]
        return found

    before = digests()
    assert set(before) == {"editkit", "one_file", "my_losses", "my_numbers", "scipy"}
    (tmp_path / "loose" / "my_numbers.py").write_text("ONE = 2\n")
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {"my_numbers"}
    assert all(before[name] for name in before if name != "scipy")


def test_a_built_in_component_is_of_editkit_and_a_datasets_plugin_is_named(world: World) -> None:
    host = load_host()
    built_in, acme = host.origins([host.resolve(ScorerSpec, "uwm"), host.resolve(AdapterSpec, "acme")])
    assert (built_in["distribution"], acme["distribution"], acme["version"]) == ("editkit", "editkit-acme", "1.0")
    assert all(len(about["digest"]) == 64 for about in (built_in, acme))
