"""A model family whose linear maps have a role that editkit does not know goes through every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import as_error, done, run
from models import table, tiny_clip
from tiny_checkpoints import digests

from editkit.components.load import load_host
from editkit.components.site import ROLES
from editkit.testing import check_adapter

ADAPTER = """
    from dataclasses import replace

    from editkit.plugin import AdapterSpec, hookimpl
    from editkit_clip.transformers_format import TransformersClip

    EDITKIT_API = 1


    class Mixer(TransformersClip):
        def sites(self, files):
            return [
                replace(site, role="mixer.down") if site.role == "mlp.out" else site for site in super().sites(files)
            ]

        def default_targets(self, files):
            return ("*:mixer.down",)


    @hookimpl
    def editkit_adapters():
        yield AdapterSpec(name="mixer", summary="", target=f"{__name__}:Mixer", patterns=("*/mixer-*", "*/edited"))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage")
    tiny_clip(root / "mixer-model")
    table(root / "pairs")
    return root


def test_a_role_of_the_adapters_own_goes_through_every_command(stage: Path, tmp_path: Path, plugin_file: Any) -> None:
    assert "mixer.down" not in ROLES
    given = ("--plugin", plugin_file("mixers", ADAPTER))
    model, patch = stage / "mixer-model", tmp_path / "patch"
    data = ("--model", model, "--data", stage / "pairs" / "t.jsonl", "--workers", 0)
    planned = done(*given, "plan", *data, "--json").json
    assert [group["sites"] for group in planned["groups"]] == ["text:mixer.down", "vision:mixer.down"]
    target = ("--target", "vision:mixer.*[-1]", "--tau", 0.3)
    done(*given, "edit", *data, *target, "-o", patch, "--save", tmp_path / "saved")
    shown = done(*given, "show", patch).out
    assert "vision:mixer.down[1]" in shown
    (site,) = done("show", patch, "--json").json["patches"][0]["sites"]
    assert (site["site"], site["role"]) == ("vision:mixer.down[1]", "mixer.down")
    done("apply", patch, model, "-o", tmp_path / "applied")
    assert digests(tmp_path / "applied") == digests(tmp_path / "saved") != digests(model)
    done("revert", patch, tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)
    done(*given, "eval", "safeground", *data, "--patch", patch, "--limit", 8, "--knowledge", "none")


def test_a_role_that_only_other_families_have_is_refused_with_those_of_the_model(stage: Path, plugin_file: Any) -> None:
    model = stage / "mixer-model"
    ran = run("--plugin", plugin_file("mixers", ADAPTER), "plan", "--model", model, "--target", "text:mlp.out")
    assert "matches no site of this model" in as_error(ran)
    assert "text:mixer.down (2)" in ran.err


def test_an_adapter_with_a_role_of_its_own_keeps_the_contract(stage: Path, plugin_file: Any) -> None:
    check_adapter("mixer", stage / "mixer-model", host=load_host((plugin_file("mixers", ADAPTER),)))
