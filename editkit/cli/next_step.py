"""Commands to type next: evaluating what was edited, applying it, or editing what was evaluated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from editkit.cli.console import note, write_line
from editkit.cli.session import Session
from editkit.components.host import Host
from editkit.errors import EditkitError
from editkit.patch.record_file import part_of, recipe_of
from editkit.recipes.layers import DEFAULTS

Record = Mapping[str, Any]
OTHER_DATA = "NAME:PATH"
"""Where the user's own data have to be named."""


@dataclass(frozen=True)
class Step:
    """A command, and why it names no data, if it leaves them for the user to name: then it cannot be typed as it is."""

    words: Sequence[str]
    lacking: str = ""


def print_step(session: Session, step: Step) -> None:
    """Print a command to type next; one that cannot be typed as it is, as a note."""
    (note if step.lacking else write_line)(told(session, step))


def told(session: Session, step: Step) -> str:
    """Say which command comes next, and what it lacks."""
    command = session.command(*step.words)
    return f"{step.lacking}. With other data: {command}" if step.lacking else f"Next: {command}"


def evaluate_patches(
    records: Sequence[Record], patches: Sequence[object], host: Host, *, model: str | None = None
) -> Step | None:
    """Return the command that evaluates patches with these records; None where nothing can be compared."""
    if any(part_of(record, "model").get("no_joint_space") for record in records):
        return None
    lacking = next((why for record in records if (why := _unfit_to_measure(record, host))), "")
    data = [_data(part_of(recipe_of(record), "data")) for record in records]
    if not lacking and any(words != data[0] for words in data):
        lacking = "The patches were calibrated on different data"
    named = ["--data", OTHER_DATA] if lacking else data[0]
    chosen = _model(model or _source(records[0]))
    return Step(
        ["eval", "safeground", *chosen, *named, *(str(w) for patch in patches for w in ("--patch", patch))], lacking
    )


def can_be_evaluated(model: str, host: Host) -> bool:
    """Whether `eval` takes a model that `apply` took: a family must be known for it, and torch be there to run it."""
    from editkit.models.find import find_adapter

    try:
        find_adapter(model, host)
        return find_spec("torch") is not None
    except (EditkitError, ImportError):  # whoever keeps a module from being imported may do so by an error
        return False


def apply_patch(record: Record, patch: object) -> Step:
    """Return the command that applies a patch to the model that it was made from."""
    return Step(["apply", str(patch), _source(record) or "MODEL", "-o", f"{patch}-model"])


def edit_evaluated(run: Mapping[str, Any], host: Host) -> Step:
    """Return the command that edits what a report's `run` measured, by other tuples of the same data."""
    lacking = ""
    if _measures_what_calibrates(run["data"], run["selection"]["split"], host, "edit"):
        lacking = "An edit is to be calibrated on other tuples than these"
    named = ["--data", OTHER_DATA] if lacking else _data(run["data"])
    return Step(
        ["edit", "--scorer", "uwm", "--alpha", "-1", "--tau", "0.02", *_model(run["model"]["source"]), *named], lacking
    )


def _unfit_to_measure(record: Record, host: Host) -> str:
    """Say why an edit cannot be measured on the data set that it was calibrated on; nothing if it can."""
    data, recipe = part_of(record, "data"), recipe_of(record)
    if not data:
        return ""
    if data.get("whole") == 0:
        return "These tuples lack images or captions, and an evaluation compares both"
    split = part_of(recipe, "calibration").get("split")
    if _measures_what_calibrates(part_of(recipe, "data"), split, host, "eval"):
        return "These tuples calibrated the edit, and would flatter it"
    return ""


def _measures_what_calibrates(data: Record, split: object, host: Host, purpose: str) -> bool:
    """Whether a data set gives for `purpose` the tuples of this split; one that no plugin knows is not suspected."""
    from editkit.components.specs import DatasetSpec
    from editkit.recipes.recipe import default_split

    with suppress(EditkitError):
        options = {key: value for key, value in data.items() if key != "name"}
        chosen = host.choose(DatasetSpec, data.get("name", DEFAULTS["data.name"]), options, "data")
        return not chosen.asks("splits") or default_split(chosen, purpose)["calibration.split"] == split
    return False


def _source(record: Record) -> str | None:
    """Return the model that a record names, seen from the current folder."""
    source = part_of(record, "model").get("source", recipe_of(record).get("model"))
    if not isinstance(source, str):
        return None
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else source


def _model(source: str | None) -> list[str]:
    return [] if source in (None, DEFAULTS["model"]) else ["--model", str(source)]


def _data(data: Record) -> list[str]:
    """Return the flags that name the data set, if it is not the default, and what was set of it."""
    chosen = dict(data)
    name, path = chosen.pop("name", DEFAULTS["data.name"]), chosen.pop("path", None)
    named = [] if name == DEFAULTS["data.name"] and path is None else ["--data", _named(name, path)]
    return named + [word for option, value in chosen.items() for word in ("--set", f"data.{option}={_yaml(value)}")]


def _named(name: str, path: object) -> str:
    return name if path is None else f"{name}:{path}"


def _yaml(value: object) -> str:
    """Return a value as `--set` reads it: text that YAML would take for something else is quoted."""
    import yaml

    with suppress(yaml.YAMLError):
        if isinstance(value, str) and yaml.safe_load(value) == value:
            return value
    return json.dumps(value, ensure_ascii=False)  # which is YAML
