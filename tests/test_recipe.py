"""Recipes: layers, where each value came from, one schema for flags and YAML, and errors that name the path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from editkit.components.host import Host
from editkit.components.load import load_host
from editkit.errors import EditkitError, PluginError, RecipeError
from editkit.recipes.layers import data_layer, flatten, given, parse_settings, read_recipe
from editkit.recipes.recipe import Recipe, resolve

DATA = ("test", {"data.name": "pairs", "data.path": "tuples.jsonl"})


@pytest.fixture(scope="module")
def host() -> Host:
    """editkit's own components only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITKIT_PLUGINS", "off")
        return load_host()


@pytest.fixture
def made(host: Host) -> Any:
    """`made(layer, layer ...)`: the recipe of flat layers, the last one winning; a layer may be (origin, values)."""

    def resolved(*layers: Any) -> Recipe:
        named = [layer if isinstance(layer, tuple) else (f"layer {n}", layer) for n, layer in enumerate(layers)]
        return resolve([DATA, *named], host)

    return resolved


def settings(*texts: str) -> dict[str, Any]:
    return parse_settings(texts)


def refused(kind: type[EditkitError], made: Any, *layers: Any) -> EditkitError:
    with pytest.raises(kind) as caught:
        made(*layers)
    assert str(caught.value).count("\n") == 1
    return caught.value


# layers


def test_the_defaults_are_the_papers(made: Any) -> None:
    recipe = made()
    for tower in ("text", "vision"):
        part = recipe.towers[tower]
        assert part.scorer.describe() == {"name": "uwm", "prior": "text", "aggregation": "pairs"}
        assert part.selector.describe() == {"name": "adaptive", "tau": 0.02}
        assert part.manipulator.describe() == {"name": "scale", "alpha": -1.0}
    assert (recipe.calibration.limit, recipe.calibration.seed, recipe.calibration.tokens) == (8192, 0, "real")
    assert recipe.compute.dtype == "float32"


def test_a_later_layer_beats_an_earlier_one(made: Any) -> None:
    recipe = made({"selector.tau": 0.1, "compute.batch_size": 4}, {"selector.tau": 0.2})
    assert recipe.towers["text"].selector.options.tau == 0.2
    assert recipe.compute.batch_size == 4


def test_what_a_layer_says_of_the_models_family_beats_what_it_says_of_all(host: Host) -> None:
    layer = {"selector.tau": 0.1, "families": {"llava": {"selector": {"tau": 0.2}}, "clip": {"selector.tau": 0.3}}}
    layers = [DATA, ("recipe x", layer)]
    assert resolve(layers, host, "llava").towers["text"].selector.options.tau == 0.2
    assert resolve(layers, host, "llava").origins["selector.tau"] == "recipe x, for llava"
    assert resolve(layers, host).towers["text"].selector.options.tau == 0.1
    later = [*layers, ("flag", {"selector.tau": 0.4})]
    assert resolve(later, host, "llava").towers["text"].selector.options.tau == 0.4


@pytest.mark.parametrize("families", ["llava", {"llava": 0.2}])
def test_families_that_are_no_mapping_are_refused(made: Any, families: Any) -> None:
    assert "this is no mapping" in str(refused(RecipeError, made, {"families": families}))


def test_every_value_remembers_where_it_came_from(made: Any) -> None:
    recipe = made(("recipe file", {"selector.tau": 0.1, "model": "m"}), ("flag", {"selector.tau": 0.2}))
    assert recipe.origins["selector.tau"] == "flag"
    assert recipe.origins["model"] == "recipe file"
    assert recipe.origins["scorer.name"] == "default"
    assert recipe.origins["data.path"] == "test"


def test_another_component_starts_its_options_afresh(made: Any) -> None:
    recipe = made(("file", {"selector.tau": 0.1}), ("flag", {"selector.name": "topk"}))
    assert recipe.towers["text"].selector.describe()["fraction"] is None
    assert "selector.tau" not in recipe.origins
    assert recipe.origins["selector.name"] == "flag"


def test_the_same_component_keeps_the_options_below_it(made: Any) -> None:
    recipe = made({"selector.name": "adaptive", "selector.tau": 0.1}, {"selector.name": "adaptive"})
    assert recipe.towers["text"].selector.options.tau == 0.1


def test_another_data_set_drops_the_options_of_the_old_one(made: Any, host: Host) -> None:
    recipe = made({"data.name": "visu", "data.path": "folder", "data.images": False})
    assert recipe.data.options.images is False
    error = refused(RecipeError, made, {"data.name": "visu"})
    assert error.problem == "data.path has to be given."


def test_options_of_a_component_that_another_layer_chose_are_checked_against_it(made: Any) -> None:
    error = refused(RecipeError, made, {"selector.name": "topk"}, {"selector.tau": 0.1})
    assert error.problem == "selector: topk has no tau; set selector.fraction instead."


# towers


def test_a_tower_may_have_its_own_component(made: Any) -> None:
    recipe = made({"selector.tau": 0.1}, settings("text.selector=topk", "text.selector.fraction=0.3"))
    assert recipe.towers["text"].selector.describe() == {
        "name": "topk",
        "fraction": 0.3,
        "sparsity": None,
        "per": "site",
    }
    assert recipe.towers["vision"].selector.describe() == {"name": "adaptive", "tau": 0.1}


def test_a_tower_may_override_one_option_of_the_shared_component(made: Any) -> None:
    recipe = made({"scorer.aggregation": "means"}, {"vision.scorer.prior": "both", "vision.selector.tau": 0.5})
    assert recipe.towers["vision"].scorer.describe() == {"name": "uwm", "prior": "both", "aggregation": "means"}
    assert recipe.towers["text"].scorer.describe() == {"name": "uwm", "prior": "text", "aggregation": "means"}
    assert recipe.towers["vision"].selector.options.tau == 0.5
    assert recipe.towers["text"].selector.options.tau == 0.02


def test_what_a_later_layer_says_of_both_towers_beats_what_an_earlier_one_says_of_each(made: Any) -> None:
    own = {"text.selector.tau": 0.1, "vision.selector.tau": 0.2, "text.scorer.prior": "both"}
    recipe = made(own, {"selector.tau": 0.5})
    assert [part.selector.options.tau for part in recipe.towers.values()] == [0.5, 0.5]
    assert recipe.towers["text"].scorer.options.prior == "both" and "text.selector.tau" not in recipe.origins
    recipe = made(own, {"selector.tau": 0.5, "vision.selector.tau": 0.3})
    assert [recipe.towers[tower].selector.options.tau for tower in ("text", "vision")] == [0.5, 0.3]
    assert made({"selector.tau": 0.5, **own}).towers["text"].selector.options.tau == 0.1  # one layer


def test_another_component_for_both_towers_ends_a_towers_own(made: Any) -> None:
    own = {"text.selector.name": "topk", "text.selector.fraction": 0.3}
    assert made(own, {"selector.tau": 0.1}).towers["text"].selector.options.fraction == 0.3  # topk has no tau
    assert made(own, {"selector.name": "adaptive"}).towers["text"].selector.describe()["name"] == "adaptive"
    assert made(own, {"selector.name": "topk"}).towers["vision"].selector.name == "topk"
    same = made({"text.selector.name": "topk", "text.selector.fraction": 0.3}, {"selector.name": "topk"})
    assert same.towers["text"].selector.options.fraction == 0.3


def test_a_tower_may_have_no_scorer(made: Any) -> None:
    recipe = made(settings("vision.scorer=none", "vision.selector=all"))
    assert recipe.towers["vision"].scorer is None
    assert recipe.towers["text"].scorer.name == "uwm"


@pytest.mark.parametrize("path", ["text.data.path", "vision.tau", "text.calibration.limit"])
def test_a_tower_has_its_own_scorer_selector_and_manipulator_only(made: Any, path: str) -> None:
    assert refused(RecipeError, made, {path: 1}).problem == f"'{path}' cannot be set for one tower."


# paths and values


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"modle": "x"}, "A recipe has no 'modle'. Did you mean 'model'?"),
        ({"seletor.tau": 0.1}, "A recipe has no 'seletor.tau'. Did you mean 'selector'?"),
        ({"selector.tua": 0.1}, "selector.tua is not an option here. Did you mean 'tau'?"),
        ({"calibration.limt": 3}, "calibration.limt is not an option here. Did you mean 'limit'?"),
        ({"compute.batchsize": 3}, "compute.batchsize is not an option here. Did you mean 'batch_size'?"),
        ({"calibration": 5}, "A recipe has no 'calibration'."),
        ({"text": "topk"}, "A recipe has no 'text'."),
        ({"model.name": "x"}, "A recipe has no 'model.name'."),
        ({"targets.text": "x"}, "A recipe has no 'targets.text'."),
        ({"manipulator.name": "negate", "manipulator.alpha": -1}, "manipulator.alpha is not an option here."),
    ],
)
def test_an_unknown_path_is_an_error_that_names_it(made: Any, values: dict[str, Any], problem: str) -> None:
    assert refused(RecipeError, made, values).problem == problem


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("selector.tau=0", "selector.tau = 0:"),
        ("selector.tau=1.5", "selector.tau = 1.5:"),
        ("selector.tau=1", "selector.tau = 1:"),
        ("selector.tau=-0.1", "selector.tau = -0.1:"),
        ("selector.tau=lots", "selector.tau = 'lots':"),
        ("selector.tau=.nan", "selector.tau = nan:"),
        ("manipulator.alpha=1", "manipulator.alpha = 1: alpha 1 leaves every weight as it is"),
        ("manipulator.alpha=1.0", "manipulator.alpha = 1.0: alpha 1 leaves every weight as it is"),
        ("manipulator.alpha=.inf", "manipulator.alpha = inf:"),
        ("scorer.aggregation=median", "scorer.aggregation = 'median':"),
        ("scorer.prior=[text]", "scorer.prior = ['text']:"),
        ("calibration.limit=0", "calibration.limit = 0:"),
        ("calibration.tokens=some", "calibration.tokens = 'some':"),
        ("compute.batch_size=0", "compute.batch_size = 0:"),
        ("compute.workers=-1", "compute.workers = -1:"),
        ("compute.dtype=int8", "compute.dtype = 'int8':"),
    ],
)
def test_a_value_that_is_not_accepted_names_path_value_and_options(made: Any, setting: str, path: str) -> None:
    error = refused(RecipeError, made, settings(setting))
    assert error.problem.startswith(path)
    assert error.remedy.startswith("Options: ")
    assert setting.partition("=")[0].split(".")[1] in error.remedy


@pytest.mark.parametrize(
    ("values", "kind", "closest"),
    [
        ({"scorer.name": "uvm"}, "scorer", "uwm"),
        ({"selector.name": "adaptiv"}, "selector", "adaptive"),
        ({"manipulator.name": "negat"}, "manipulator", "negate"),
        ({"data.name": "pair"}, "dataset", "pairs"),
        ({"text.scorer.name": "unsave"}, "scorer", "unsafe"),
    ],
)
def test_an_unknown_component_is_named_with_the_closest(
    made: Any, values: dict[str, str], kind: str, closest: str
) -> None:
    (name,) = values.values()
    error = refused(PluginError, made, values)
    assert error.problem == f"Unknown {kind} '{name}'. Did you mean '{closest}'?"
    assert closest in error.remedy


@pytest.mark.parametrize("targets", [None, 5, {"text": "attn.out"}, [None]])
def test_targets_that_are_no_list_of_text_are_an_error(made: Any, targets: Any) -> None:
    assert refused(RecipeError, made, {"targets": targets}).problem.startswith("targets = ")


def test_targets_may_be_one_text_or_several(made: Any) -> None:
    assert made({"targets": "text:attn.out"}).targets == ("text:attn.out",)
    assert made({"targets": ["a", "b"]}, {"targets": ["c"]}).targets == ("c",)


# YAML and --set


def test_a_yaml_file_is_a_layer(tmp_path: Path, made: Any) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model: some/folder\n"
        "targets: [text:attn.out, 'vision:mlp.out[2:]']\n"
        "scorer: {name: uwm, aggregation: means}\n"
        "selector: topk\n"
        "manipulator:\n  alpha: 0\n"
        "calibration: {limit: 100, concepts: [a, b]}\n"
        "vision:\n  selector:\n    name: adaptive\n    tau: 1e-1\n"
    )
    recipe = made(("recipe file", read_recipe(path)), {"calibration.limit": 5})
    assert recipe.model == "some/folder"
    assert recipe.targets == ("text:attn.out", "vision:mlp.out[2:]")
    assert recipe.towers["text"].scorer.options.aggregation == "means"
    assert recipe.towers["text"].selector.name == "topk"
    assert recipe.towers["vision"].selector.describe() == {"name": "adaptive", "tau": 0.1}
    assert recipe.towers["text"].manipulator.options.alpha == 0
    assert (recipe.calibration.limit, recipe.calibration.concepts) == (5, ("a", "b"))


def test_a_scorer_left_empty_in_yaml_is_none(tmp_path: Path, made: Any) -> None:
    (tmp_path / "r.yaml").write_text("scorer:\nselector: all\n")
    assert made(read_recipe(tmp_path / "r.yaml")).towers["text"].scorer is None


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"just text", b"", b"a: [1,", b"\xff\xfe\x00", b"1: 2\n"])
def test_a_file_that_is_no_recipe_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value).count("\n") == 1


def test_a_recipe_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Recipe .*none\.yaml cannot be read"):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("selector.tau=0.05", {"selector.tau": 0.05}),
        ("manipulator.alpha=-1", {"manipulator.alpha": -1}),
        ("text.selector=topk", {"text.selector.name": "topk"}),
        ("scorer=none", {"scorer.name": "none"}),
        ("calibration.concepts=[a, b]", {"calibration.concepts": ["a", "b"]}),
        ("compute.cache=false", {"compute.cache": False}),
        ("selector={name: topk, fraction: 0.1}", {"selector.name": "topk", "selector.fraction": 0.1}),
        ("data.path=a=b", {"data.path": "a=b"}),
        ("calibration.limit=null", {"calibration.limit": None}),
        ("selector.counts={'text:attn.out[0]': 3}", {"selector.counts": {"text:attn.out[0]": 3}}),
    ],
)
def test_a_setting_is_a_path_and_a_yaml_value(text: str, expected: dict[str, Any]) -> None:
    assert settings(text) == expected


def test_the_later_of_two_settings_wins() -> None:
    assert settings("selector.tau=0.1", "selector.tau=0.2") == {"selector.tau": 0.2}


@pytest.mark.parametrize("text", ["selector.tau", "=3", "", "selector.tau=[1"])
def test_a_setting_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(RecipeError, match="--set") as caught:
        settings(text)
    assert str(caught.value).count("\n") == 1


def test_an_option_may_be_called_like_a_component(made: Any) -> None:
    written = {"selector": {"name": "matched", "selector": "adaptive", "scorer": "unsafe", "tau": 0.1}}
    by_flags = settings("selector=matched", "selector.selector=adaptive", "selector.scorer=unsafe", "selector.tau=0.1")
    for layer in (flatten(written), by_flags):
        options = made(layer).towers["vision"].selector.options
        assert (options.selector, options.scorer, options.tau) == ("adaptive", "unsafe", 0.1)
    own = made(settings("text.selector=matched", "text.selector.selector=topk"))
    assert own.towers["text"].selector.options.selector == "topk"


def test_what_is_not_given_is_left_to_the_layers_below() -> None:
    assert given({"a": None, "b": 0, "c": False, "d": ""}) == {"b": 0, "c": False, "d": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("demo", {"data.name": "demo"}),
        ("visu:/data/ViSU", {"data.name": "visu", "data.path": "/data/ViSU"}),
        ("pairs:hf:org/name", {"data.name": "pairs", "data.path": "hf:org/name"}),
        ("folder/my.jsonl", {"data.name": "pairs", "data.path": "folder/my.jsonl"}),
        ("my.parquet", {"data.name": "pairs", "data.path": "my.parquet"}),
    ],
)
def test_data_is_a_name_a_name_and_a_path_or_a_table(text: str | None, expected: dict[str, str]) -> None:
    assert data_layer(text) == expected


# digest


def test_the_digest_changes_with_what_defines_the_edit_and_with_nothing_else(made: Any) -> None:
    first = made()
    assert made().digest == first.digest
    assert made({"compute.batch_size": 7, "compute.workers": 0, "compute.cache": False}).digest == first.digest
    changes: list[dict[str, Any]] = [
        {"selector.tau": 0.03},
        {"vision.selector.tau": 0.03},
        {"scorer.aggregation": "means"},
        {"manipulator.alpha": 0},
        {"calibration.limit": 7},
        {"compute.dtype": "float16"},
        {"targets": ["text:proj"]},
        {"model": "other"},
    ]
    digests = {made(change).digest for change in changes} | {first.digest}
    assert len(digests) == len(changes) + 1
