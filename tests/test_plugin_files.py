"""Plugins in a single file: used like any other, and an error if they fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import naive
import numpy as np
import pytest
import torch
from plugin_samples import BROKEN

import editkit
from editkit.cli import main
from editkit.components.load import default_host, load_host
from editkit.components.specs import ScorerSpec
from editkit.errors import PluginError
from editkit.testing import score

SCORER = '''
    """Energy of unsafe inputs over energy of safe ones, times |W|: a plugin in one file."""

    import torch
    from pydantic import Field

    from editkit.plugin import Options, ScorerSpec, hookimpl

    EDITKIT_API = 1


    class EnergyOptions(Options):
        power: float = Field(1.0, gt=0, description="exponent of the energy")


    class Energy:
        def __init__(self, options):
            self.options = options

        def start(self, weight, site):
            zeros = torch.zeros(weight.shape[1])
            return {"safe": zeros, "unsafe": zeros.clone()}

        def update(self, state, weight, safe, unsafe):
            state["safe"] += safe.norm.square().sum(dim=0)
            state["unsafe"] += unsafe.norm.square().sum(dim=0)

        def finish(self, state, weight, site):
            return weight.abs() * (state["unsafe"] / state["safe"]) ** self.options.power


    @hookimpl
    def editkit_scorers():
        yield ScorerSpec(name="energy", summary="energy ratio", target=f"{__name__}:Energy", options=EnergyOptions)
'''


def test_a_scorer_in_one_file_is_used_like_any_other(plugin_file: Any) -> None:
    assert len(dedent(SCORER).strip().splitlines()) <= 40
    host = load_host((plugin_file("my_energy", SCORER),))
    draw = torch.Generator().manual_seed(0)
    weight, safe, unsafe = (torch.randn(shape, generator=draw) for shape in ((3, 4), (2, 5, 4), (2, 6, 4)))
    found = score("energy", weight, safe, None, unsafe, None, host=host, power=2)
    energy = [(naive.float64(x) ** 2).sum(axis=(0, 1)) for x in (safe, unsafe)]
    assert np.allclose(naive.float64(found), abs(naive.float64(weight)) * (energy[1] / energy[0]) ** 2, rtol=1e-5)
    with pytest.raises(editkit.EditkitError, match=r"scorer\.power = -1"):
        score("energy", weight, safe, None, unsafe, None, host=host, power=-1)
    assert "energy" not in default_host().of_kind(ScorerSpec)


def test_a_plugin_file_is_part_of_the_command_line(plugin_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = plugin_file("my_energy", SCORER)
    assert main(["--plugin", str(path), "plugins", "show", "energy", "--json"]) == 0
    (component,) = json.loads(capsys.readouterr().out)["components"]
    assert (component["plugin"], component["kind"], component["options"]) == ("my_energy", "scorer", ["power"])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit('no GPU here')", "SystemExit: no GPU here"),
        (BROKEN["another API"][0], "is written for API 99"),
        (BROKEN["hook"][0], "KeyError"),
    ],
)
def test_a_plugin_file_that_fails_is_an_error_since_it_was_asked_for(plugin_file: Any, code: str, why: str) -> None:
    path = plugin_file("failing_file", code)
    with pytest.raises(PluginError, match=why) as caught:
        load_host((path,))
    assert str(path) in caught.value.problem
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("name", ["missing.py", "notes.txt"])
def test_a_plugin_file_that_is_none_is_an_error(tmp_path: Path, name: str) -> None:
    if name == "notes.txt":
        (tmp_path / name).write_text("hello")
    with pytest.raises(PluginError, match="does not exist or is no Python file"):
        load_host((tmp_path / name,))


@pytest.mark.parametrize("name", ["json", "editkit", "timm"])
def test_a_plugin_file_cannot_take_another_modules_name(plugin_file: Any, name: str) -> None:
    held = sys.modules.get(name)
    path = plugin_file(name, SCORER)
    try:
        with pytest.raises(PluginError, match="Rename") as caught:
            load_host((path,))
        assert str(caught.value).count("\n") == 1
        assert sys.modules.get(name) is held
    finally:
        if held is not None:
            sys.modules[name] = held
