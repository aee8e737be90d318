"""Every row of the paper's tables that defines an edit is a recipe, which does what the row's own marks say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from editkit.components.host import Host
from editkit.components.load import load_host
from editkit.recipes.catalogue import find_recipe, list_recipes
from editkit.recipes.layers import read_recipe
from editkit.recipes.recipe import Recipe, resolve

PAPER = json.loads((Path(__file__).parent / "paper" / "tables.json").read_text())
TABLES: dict[str, dict[str, Any]] = PAPER["tables"]
KNOWN: dict[str, dict[str, Any]] = PAPER["general"]["settings_known"]
UWM = KNOWN["UWM/ViT-L14"]
ROLES = {
    "Fc1": "mlp.in",
    "Fc2": "mlp.out",
    "Value": "attn.v",
    "Out": "attn.out",
    "fc2": "mlp.out",
    "out_proj": "attn.out",
}
NON_ADAPTIVE = {"name": "topk", "sparsity": 0.98}  # main.3, third note


@dataclass(frozen=True)
class Tower:
    """What a row says is done to one tower."""

    role: str
    scorer: str
    prior: bool | None
    selector: dict[str, Any]
    alpha: float


@dataclass(frozen=True)
class Row:
    """A row that defines an edit: the recipe's name, what the row's marks say of each tower, what is printed."""

    recipe: str
    towers: dict[str, Tower]
    printed: str

    def __str__(self) -> str:
        return self.recipe


def uwm(tower: str, **changes: Any) -> Tower:
    """UWM as `settings_known` has it; the prior is on text alone (supplement A.1)."""
    (layer,) = UWM[tower]["layers"]
    selector = {"name": "adaptive", "tau": UWM[tower]["tau"]}
    values = {"role": ROLES[layer], "scorer": "uwm", "prior": tower == "text", "selector": selector}
    return Tower(**values | {"alpha": UWM[tower]["alpha"]} | changes)


def both(**changes: Any) -> dict[str, Tower]:
    return {tower: uwm(tower, **changes) for tower in ("text", "vision")}


def gradient(method: str, tower: str) -> Tower:
    known = KNOWN[f"{method}/ViT-L14"][tower]
    (layer,) = known["layers"]
    topk = {"name": "topk", "sparsity": known["sparsity"]}
    adaptive = {"name": "adaptive", "tau": round(1 - known["sparsity"], 9)}
    chosen = {"hard top-k per layer": topk, "adaptive cumulative mass": adaptive}[known["selector"].partition(" (")[0]]
    return Tower(ROLES[layer], f"gradient {method.lower()}", None, chosen, known["alpha"])


def of_main_1(row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    method = row["method"]
    if f"{method}/ViT-L14" not in KNOWN:
        assert row["group"] != "training-free"
        return {}
    own = both() if method == "UWM" else {tower: gradient(method, tower) for tower in ("text", "vision")}
    return {f"main1-{method.lower()}": own}


def of_components(table: str, row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    marks = row["flags"]
    if not any(marks.values()):
        return {}
    name, scorer = ("ratio", "uwm") if marks["ratio"] else ("unsafe", "unsafe")
    if marks.get("diff"):
        name, scorer = "diff", "difference"
    if marks["adapt"] and name == "diff":  # signed scores, which the released code divides by their sum
        return {f"{table}-diff-adaptive": both(scorer=scorer, selector={"name": "adaptive-signed", "tau": 0.02})}
    if marks["adapt"]:
        return {f"{table}-{name}-adaptive": both(scorer=scorer)}
    return {f"{table}-{name}": both(scorer=scorer, selector=NON_ADAPTIVE)}


def of_priors(row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    """The printed marks are shifted; where one row stands for two of the text's, each is a recipe."""
    marks = row["flags_per_text"]
    if marks is None:
        return {}
    cases = [marks] if "W_T" in marks else [{"W_T": False, "W_V": True}, {"W_T": True, "W_V": True}]
    names = {(False, False): "no-prior", (True, False): "text-prior", (False, True): "vision-prior"}
    return {
        f"supp2-{names.get((case['W_T'], case['W_V']), 'both-priors')}": {
            "text": uwm("text", prior=case["W_T"]),
            "vision": uwm("vision", prior=case["W_V"]),
        }
        for case in cases
    }


def of_layers(row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    text, image = row["text_layer"], row["image_layer"]
    if text is None:
        return {}
    own = {"text": uwm("text", role=ROLES[text]), "vision": uwm("vision", role=ROLES[image])}
    return {f"supp3-{text}-{image}".lower(): own}


def of_modalities(row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    towers = [tower for tower, mark in (("text", "T"), ("vision", "V")) if row["flags"][mark]]
    if not towers:
        return {}
    return {f"supp4-{towers[0] if len(towers) == 1 else 'both'}": {tower: uwm(tower) for tower in towers}}


def of_architectures(row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    """No sites or tau are printed for these models, nor released: UWM's for ViT-L/14 (supplement A.1)."""
    return {f"main4-{row['method'].lower()}": both()} if row["variant"] == "+UWM" else {}


def of_llava(row: dict[str, Any]) -> dict[str, dict[str, Tower]]:
    known = KNOWN["UWM/LLaVA-1.5-13B and LLaVA+Safe-CLIP"]
    assert set(known) == {"vision"}
    own = uwm("vision", selector={"name": "adaptive", "tau": known["vision"]["tau"]})
    return {f"main5-{row['method'].lower().replace('+', '-')}": {"vision": own}} if row["variant"] == "+UWM" else {}


def rows() -> list[Row]:
    readers = {
        "main.1": of_main_1,
        "main.3": lambda row: of_components("main3", row),
        "main.4": of_architectures,
        "main.5": of_llava,
        "supp.1": lambda row: of_components("supp1", row),
        "supp.2": of_priors,
        "supp.3": of_layers,
        "supp.4": of_modalities,
    }
    found = []
    for key, read in readers.items():
        for row in TABLES[key]["rows"]:
            cells = zip(TABLES[key]["columns"], row["values"], strict=True)
            printed = ", ".join(f"{column} {'-' if value is None else value}" for column, value in cells)
            found += [Row(f"paper/{name}", towers, printed) for name, towers in read(row).items()]
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def host() -> Host:
    """editkit's own components only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITKIT_PLUGINS", "off")
        return load_host()


def resolved(name: str, host: Host) -> Recipe:
    return resolve([("data", {"data.name": "pairs", "data.path": "x"}), ("recipe", read_recipe(name))], host)


def done_to_towers(recipe: Recipe) -> dict[str, Tower]:
    """What a resolved recipe does to each tower that it targets, in a row's terms."""
    towers = {}
    for target in recipe.targets:
        tower, role = target.split(":")
        assert tower not in towers
        parts = recipe.describe()[tower]
        scorer, selector, manipulator = parts["scorer"], parts["selector"], parts["manipulator"]
        assert manipulator["name"] == "scale"
        assert selector.pop("per", "site") == "site" and selector.pop("fraction", None) is None
        name = f"gradient {scorer['loss']}" if scorer["name"] == "gradient" else scorer["name"]
        prior = scorer["prior"] in (tower, "both") if "prior" in scorer else None
        towers[tower] = Tower(role, name, prior, selector, manipulator["alpha"])
    return towers


def test_every_row_that_defines_an_edit_has_its_recipe_and_every_recipe_a_row() -> None:
    named = [row.recipe for row in ROWS]
    assert len(named) == len(set(named)) == 3 + 3 + 6 + 2 + 6 + 4 + 16 + 3
    assert sorted(named) == sorted(recipe.name for recipe in list_recipes() if recipe.name.startswith("paper/"))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_recipe_does_what_its_row_says(row: Row, host: Host) -> None:
    assert done_to_towers(resolved(row.recipe, host)) == row.towers


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_recipe_calibrates_as_the_released_code_does(row: Row, host: Host) -> None:
    recipe = resolved(row.recipe, host)
    assert (recipe.calibration.limit, recipe.calibration.per_concept) == (UWM["calibration_tuples"], None)
    assert recipe.calibration.tokens == "released"
    for part in recipe.towers.values():
        assert part.scorer is not None
        assert getattr(part.scorer.options, "aggregation", "pairs") == "pairs"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_recipe_quotes_its_rows_numbers(row: Row) -> None:
    text = find_recipe(row.recipe).text
    comment = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert f"Printed: {row.printed}" in comment
    table = row.recipe.removeprefix("paper/").partition("-")[0]
    title = f"{'Supp. ' if table.startswith('supp') else ''}Table {table[-1]}, "
    assert text.startswith(f"# {title}")


def test_uwm_is_one_edit_in_all_seven_tables_and_that_of_the_released_code(host: Host) -> None:
    whole = both()
    names = [row.recipe for row in ROWS if row.towers == whole]
    assert [name.removeprefix("paper/").partition("-")[0] for name in names] == [
        "main1", "main3", *["main4"] * 6, "supp1", "supp2", "supp3", "supp4",
    ]  # fmt: skip
    digests = {resolved(name, host).digest for name in (*names, "uwm-released")}
    assert len(digests) == 1


def test_the_gradient_baselines_take_the_released_losses(host: Host) -> None:
    unsafe, safe_clip = (
        [resolved(f"paper/main1-{name}", host).towers[tower].scorer for tower in ("text", "vision")]
        for name in ("g-unsafe", "g-safe-clip")
    )
    described = [choice.describe() for choice in (*unsafe, *safe_clip) if choice is not None]
    assert [one["target"] for one in described] == ["cross-modal", "cross-modal", None, None]
    assert [one["loss_batch"] for one in described] == [512, 64, 512, 64]


def test_flags_beat_a_recipe_of_two_towers(host: Host) -> None:
    given = {"scorer.target": "same-modal", "selector.tau": 0.05, "text.selector.sparsity": 0.95}
    flags = ("flag", given)  # as the recipe's comment and docs/recipes.md have it
    layers = [
        ("data", {"data.name": "pairs", "data.path": "x"}),
        ("recipe", read_recipe("paper/main1-g-unsafe")),
        flags,
    ]
    towers = resolve(layers, host).towers
    for tower, size in (("text", 512), ("vision", 64)):
        scorer = towers[tower].scorer  # type: ignore[index]
        assert scorer is not None
        assert (scorer.describe()["target"], scorer.describe()["loss_batch"]) == ("same-modal", size)
    assert towers["vision"].selector.describe() == {"name": "adaptive", "tau": 0.05}
    assert towers["text"].selector.describe()["sparsity"] == 0.95


def test_the_released_mixture_of_the_unsafe_row_is_one_setting_away(host: Host) -> None:
    layers = [
        ("data", {"data.name": "pairs", "data.path": "x"}),
        ("recipe", read_recipe("paper/supp1-unsafe-adaptive")),
        ("--set", {"text.scorer.name": "uwm"}),
    ]
    towers = resolve(layers, host).towers
    assert towers["text"].scorer is not None and towers["vision"].scorer is not None
    assert towers["text"].scorer.describe() == {"name": "uwm", "prior": "text", "aggregation": "pairs"}
    assert towers["vision"].scorer.describe() == {"name": "unsafe", "prior": "text"}
