"""Layers of a recipe: a YAML file, flags, defaults; each a flat mapping of dotted paths, the later ones winning.

Values come from editkit's defaults, the adapter, the data set, a recipe file and flags, in this order. Paths are flat,
so that every resolved value remembers where it came from.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit.components.site import TOWERS
from editkit.components.spec import Spec
from editkit.components.specs import DatasetSpec, ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.errors import RecipeError
from editkit.files.paths import Written, start_of, written_in
from editkit.files.yaml_text import read_yaml

COMPONENTS: dict[str, type[Spec]] = {
    "data": DatasetSpec,
    "scorer": ScorerSpec,
    "selector": SelectorSpec,
    "manipulator": ManipulatorSpec,
}
Layer = Mapping[str, Any]

JUDGE = "judge"
"""What the options of judges begin with, which are no part of a recipe but are set beside it: `judge.LABEL.OPTION`."""

HUB_PAGE = re.compile(r"(hf-hub:|hf_hub:|(https?://)?(huggingface|hf)\.co/)datasets/|hf-hub:|hf_hub:")
"""What may stand before the name of a data set of the hub, as a browser or another library writes it."""
DEFAULTS: Layer = {
    "model": "demo",
    "data.name": "demo",
    "calibration.split": "train",
    "scorer.name": "uwm",
    "selector.name": "adaptive",
    "manipulator.name": "scale",
}


FAMILIES = "families"
"""A recipe file's part with what differs for single model families: `families: {llava: {selector: {tau: 0.085}}}`."""


def of_family(layers: Sequence[tuple[str, Layer]], family: str = "") -> list[tuple[str, Layer]]:
    """Return the layers with what each says of this family laid over it; what they say of others is left out.

    Raises:
        RecipeError: `families` is no mapping of families to parts of a recipe.
    """
    found: list[tuple[str, Layer]] = []
    for origin, layer in layers:
        families = layer.get(FAMILIES, {})
        if not isinstance(families, Mapping) or not all(isinstance(part, Mapping) for part in families.values()):
            raise RecipeError(
                f"{FAMILIES} = {families!r}: this is no mapping.", "Write families: {llava: {selector: {tau: 0.085}}}."
            )
        found.append((origin, {path: value for path, value in layer.items() if path != FAMILIES}))
        if family in families:
            found.append((f"{origin}, for {family}", flatten(families[family])))
    return found


def merge(layers: Sequence[tuple[str, Layer]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge `(origin, layer)` pairs over editkit's defaults: values, and where each came from, by path."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in (("default", DEFAULTS), *layers):
        for path in list(_beaten(values, layer)):
            values.pop(path, None)
            origins.pop(path, None)
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    return values, origins


def _beaten(values: Layer, layer: Layer) -> Iterator[str]:
    """Yield the paths of earlier layers that a layer puts an end to without setting them.

    Where it names another component, the options belonged to the old one. What it says of both towers is said of each.
    """
    for path, value in layer.items():
        own = [f"{tower}.{path}" for tower in TOWERS] if path.split(".")[0] in COMPONENTS else []
        yield from own
        for name in (path, *own):
            if name.endswith(".name") and values.get(name, value) != value:
                yield from (known for known in values if known.startswith(name.removesuffix("name")))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn a nested recipe into dotted paths; a component given as a bare string is its name.

    A path ends at an option (`selector.tau`, `text.selector.tau`): a mapping that stands there is the option's value.

    Raises:
        RecipeError: a key of the file is not a string.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(key, str):
            raise RecipeError(f"Recipe key {key!r} is not text.", "Quote it, or correct the file.")
        path = f"{prefix}{key}"
        if path == FAMILIES:
            flat[path] = value
        elif isinstance(value, Mapping) and path.count(".") < _dots(path):
            flat |= flatten(value, f"{path}.")
        elif path.removeprefix("text.").removeprefix("vision.") in COMPONENTS:  # `selector.selector` is an option
            flat[f"{path}.name"] = "none" if value is None else value
        else:
            flat[path] = value
    return flat


def _dots(path: str) -> int:
    """Return how many dots an option's path has, by the part of the recipe that it begins with."""
    return 2 if path.partition(".")[0] in (*TOWERS, JUDGE) else 1


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """Read a YAML recipe, a file or one that editkit has by name, as a layer.

    Raises:
        RecipeError: there is no such file or name, it is no mapping, or a key occurs twice.
    """
    import yaml

    from editkit.recipes.catalogue import recipe_file

    path = recipe_file(recipe)
    try:
        tree = read_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RecipeError(f"Recipe {path}{start_of(path)} cannot be read: {reason}.", "Give a YAML file.") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"Recipe {path} is not a mapping.", "Write keys such as `scorer: uwm`.")
    return flatten(written_in(path.parent.absolute(), tree))


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make a layer of what was given: paths whose value is None are left to the layers below."""
    return {path: value for path, value in values.items() if value is not None}


def data_layer(text: str | None) -> dict[str, Any]:
    """Read NAME, NAME:PATH, or the path of a table, whose suffix says that it is one.

    Raises:
        RecipeError: a data set of the hub is named, and not what it holds.
    """
    if text is None:
        return {}
    name, colon, path = HUB_PAGE.sub("hf:", text).partition(":")
    if name == "hf":
        raise RecipeError(
            f"{text} is named as a data set of the hub, and not what it holds.",
            f"Write pairs:hf:{path} for safe and unsafe counterparts, zeroshot:hf:OWNER for CLIP Benchmark's sets.",
        )
    if not colon and Path(text).suffix in (".jsonl", ".csv", ".parquet"):
        return {"data.name": "pairs", "data.path": text}
    if isinstance(text, Written):
        path = Written(path, text.folder)
    return {"data.name": name, **({"data.path": path} if path else {})}


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read `--set path=value`; values are YAML (`-1`, `true`, `[a, b]`), so a bare word is text.

    Raises:
        RecipeError: a setting has no `=`.
    """
    import yaml

    tree: dict[str, Any] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {setting} is not path=value.", "Write, for example, --set selector.tau=0.05")
        try:
            tree[path.strip()] = read_yaml(value)
        except yaml.YAMLError as error:
            quoted = shlex.quote(f'{path}="{value}"')
            raise RecipeError(
                f"--set {setting}: the value cannot be read as YAML.",
                f"Quote text for YAML as well as for the shell: --set {quoted}",
            ) from error
    return flatten(tree)
