"""The plugin host: real distributions on the path, each of which may be broken without hurting the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import naive
import numpy as np
import pytest
import torch

import editkit
from editkit.cli import main
from editkit.errors import InstallError, PluginError
from editkit.plugins import Host, default_host, load_host, use_files
from editkit.specs import AdapterSpec, DatasetSpec, EvalSpec, ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.testing import score

Install = Callable[..., None]

GOOD = """
    from editkit.hookspecs import hookimpl
    from editkit.specs import ScorerSpec

    @hookimpl
    def editkit_scorers():
        target = "editkit.scorers.weights:Magnitude"
        return [ScorerSpec(name="{scorer}", summary="test", target=target, needs="weights")]
"""

SCORER = '''
    """Energy of unsafe inputs over energy of safe ones, times |W|: a plugin in one file."""

    import torch
    from pydantic import Field

    from editkit import hookimpl
    from editkit.specs import Options, ScorerSpec


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


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(dist, module, code)`: a distribution with one entry point, found as pip's are."""
    root = tmp_path / "site-packages"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.delenv("EDITKIT_PLUGINS", raising=False)

    def write(dist: str, module: str, code: str, **more: str) -> None:
        entries = {module: code, **more}
        for name, content in entries.items():
            (root / f"{name}.py").write_text(dedent(content))
        info = root / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        points = "".join(f"{name} = {name}\n" for name in entries)
        (info / "entry_points.txt").write_text(f"[editkit]\n{points}")

    before = set(sys.modules)
    yield write  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def built_ins(monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("EDITKIT_PLUGINS", "off")
    return load_host()


def scorers(host: Host) -> set[str]:
    return set(host.of_kind(ScorerSpec))


OWN = {"uwm", "difference", "unsafe", "magnitude", "random"}


# what is there


def test_built_ins_come_through_the_same_hooks(built_ins: Host) -> None:
    assert scorers(built_ins) == OWN
    assert set(built_ins.of_kind(SelectorSpec)) == {"adaptive", "topk", "matched", "all"}
    assert set(built_ins.of_kind(ManipulatorSpec)) == {"scale", "negate", "zero"}
    assert set(built_ins.of_kind(DatasetSpec)) == {"visu", "pairs", "classes"}
    assert set(built_ins.of_kind(EvalSpec)) == {"safeground", "retrieval", "zeroshot"}
    assert built_ins.of_kind(AdapterSpec) == {}
    assert built_ins.loaded == ["editkit"]
    assert all(component.plugin == "editkit" for component in built_ins.components.values())


def test_every_component_that_is_installed_can_be_imported() -> None:
    host = default_host()
    assert {"clip", "open_clip"} <= set(host.of_kind(AdapterSpec))
    for component in host.components.values():
        assert callable(component.spec.load()), component.full_name


def test_an_installed_distribution_is_found(install: Install) -> None:
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    host = load_host()
    assert scorers(host) == OWN | {"good"}
    assert host.components["scorer", "good"].full_name == "editkit-good/good"
    assert host.failures == {}


def test_a_distribution_may_have_several_entry_points(install: Install) -> None:
    install("editkit-two", "two_a", GOOD.format(scorer="a"), two_b=GOOD.format(scorer="b"))
    host = load_host()
    assert scorers(host) == OWN | {"a", "b"}
    assert host.failures == {}
    assert host.components["scorer", "b"].plugin == "editkit-two"


def test_one_broken_entry_point_of_a_distribution_leaves_the_other(install: Install) -> None:
    install("editkit-two", "two_a", "1 / 0", two_b=GOOD.format(scorer="b"))
    host = load_host()
    assert scorers(host) == OWN | {"b"}
    assert "ZeroDivisionError" in host.failures["editkit-two"]


# broken plugins


BROKEN = {
    "import": ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    "syntax": ("def (:", "SyntaxError"),
    "raises": ("raise RuntimeError('no GPU here')", "RuntimeError: no GPU here"),
    "exits": ("import sys; sys.exit('no GPU here')", "SystemExit: no GPU here"),
    "hook": (
        """
        from editkit import hookimpl
        @hookimpl
        def editkit_scorers():
            raise KeyError("which")
        """,
        "KeyError: 'which'",
    ),
    "generator": (
        GOOD.format(scorer="half")
        + """
    @hookimpl
    def editkit_selectors():
        from editkit.specs import SelectorSpec
        yield SelectorSpec(name="half-selector", summary="", target="a:b")
        raise ValueError("second")
    """,
        "ValueError: second",
    ),
    "wrong kind": (
        """
        from editkit import hookimpl
        from editkit.specs import SelectorSpec
        @hookimpl
        def editkit_scorers():
            return [SelectorSpec(name="x", summary="", target="a:b")]
        """,
        "which is no ScorerSpec",
    ),
    "no list": (
        """
        from editkit import hookimpl
        @hookimpl
        def editkit_scorers():
            return 5
        """,
        "TypeError",
    ),
    "API": (
        GOOD.format(scorer="future").replace('summary="test"', 'summary="test", api=99'),
        "TypeError: scorer 'future' is for API 99, this editkit has 1",
    ),
    "signature": (
        """
        from editkit import hookimpl
        @hookimpl
        def editkit_scorers(model):
            return []
        """,
        "PluginValidationError",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_loses_only_itself(install: Install, kind: str) -> None:
    code, why = BROKEN[kind]
    install("editkit-broken", "broken_plugin", code)
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    install("editkit-zest", "zest_plugin", GOOD.format(scorer="zest"))
    host = load_host()
    assert scorers(host) == OWN | {"good", "zest"}
    assert "half-selector" not in host.of_kind(SelectorSpec)
    assert list(host.failures) == ["editkit-broken"]
    assert why in host.failures["editkit-broken"]
    assert "editkit-broken" not in host.loaded
    assert "broken_plugin" not in {getattr(plugin, "__name__", "") for plugin in host.manager.get_plugins()}


def test_asking_for_what_a_broken_plugin_would_have_brought_gives_its_error(install: Install) -> None:
    install("editkit-broken", "broken_plugin", "raise RuntimeError('no GPU here')")
    with pytest.raises(PluginError) as caught:
        load_host().resolve(ScorerSpec, "lost")
    assert caught.value.problem == (
        "Unknown scorer 'lost'. Plugin editkit-broken could not be loaded (RuntimeError: no GPU here)."
    )
    assert "`editkit plugins check`" in caught.value.remedy


def test_an_error_of_several_lines_is_told_in_one(install: Install) -> None:
    install("editkit-broken", "broken_plugin", "raise RuntimeError('first\\nsecond')")
    with pytest.raises(PluginError) as caught:
        load_host().resolve(ScorerSpec, "lost")
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere.at_all:Scorer", "ModuleNotFoundError: No module named 'nowhere'"),
        ("editkit.scorers.uwm:Scorer", "AttributeError"),
        ("exits_at_once:Scorer", "SystemExit: first second"),
    ],
)
def test_a_component_that_cannot_be_imported_is_an_error_only_when_it_is_used(
    install: Install, target: str, why: str
) -> None:
    install("editkit-exits", "exits_at_once", "raise SystemExit('first\\nsecond')")
    code = GOOD.format(scorer="lazy").replace("editkit.scorers.weights:Magnitude", target)
    install("editkit-lazy", "lazy_plugin", code)
    host = load_host()
    assert "editkit-lazy" not in host.failures
    with pytest.raises(PluginError) as caught:
        host.resolve(ScorerSpec, "lazy").load()
    assert caught.value.problem.startswith(f"scorer 'lazy' cannot be loaded from {target}: {why}")
    assert str(caught.value).count("\n") == 1


def test_torch_and_torchvision_of_different_builds_are_recognised(install: Install) -> None:
    hidden = "raise ImportError('CLIPModel') from RuntimeError('operator torchvision::nms does not exist')"
    install("editkit-mismatched", "mismatched", hidden)
    spec = ScorerSpec(name="lazy", summary="", target="mismatched:Scorer")
    with pytest.raises(InstallError, match="of different builds") as caught:
        spec.load()
    assert "pip install" in caught.value.remedy


# names


def test_a_built_in_wins_and_the_full_name_selects_the_other(install: Install) -> None:
    install("editkit-other", "other_plugin", GOOD.format(scorer="uwm"))
    host = load_host()
    assert host.resolve(ScorerSpec, "uwm").target == "editkit.scorers.uwm:Uwm"
    assert host.resolve(ScorerSpec, "editkit/uwm").target == "editkit.scorers.uwm:Uwm"
    assert host.resolve(ScorerSpec, "editkit-other/uwm").summary == "test"
    assert [(a.full_name, b.full_name) for a, b in host.shadowed] == [("editkit/uwm", "editkit-other/uwm")]


def test_a_name_is_unique_within_its_kind_only(built_ins: Host) -> None:
    with pytest.raises(PluginError, match="Unknown selector 'uwm'"):
        built_ins.resolve(SelectorSpec, "uwm")


@pytest.mark.parametrize(
    ("kind", "name", "closest"),
    [
        (ScorerSpec, "uwn", "uwm"),
        (SelectorSpec, "adaptve", "adaptive"),
        (ManipulatorSpec, "zeros", "zero"),
        (EvalSpec, "retreival", "retrieval"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(built_ins: Host, kind: Any, name: str, closest: str) -> None:
    with pytest.raises(PluginError) as caught:
        built_ins.resolve(kind, name)
    assert caught.value.problem.endswith(f"'{name}'. Did you mean '{closest}'?")
    assert caught.value.remedy.startswith("Choose one of: ")


def test_a_kind_of_which_nothing_is_installed_says_so(built_ins: Host) -> None:
    with pytest.raises(PluginError, match="Choose one of: none installed"):
        built_ins.resolve(AdapterSpec, "clip")


# which plugins load


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("off", set()),
        ("OFF", set()),
        ("", set()),
        ("editkit-good", {"good"}),
        ("good_plugin", {"good"}),
        ("editkit-good, zest_plugin", {"good", "zest"}),
        ("another", set()),
    ],
)
def test_the_environment_says_which_plugins_load(
    install: Install, monkeypatch: pytest.MonkeyPatch, setting: str, expected: set[str]
) -> None:
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    install("editkit-zest", "zest_plugin", GOOD.format(scorer="zest"))
    monkeypatch.setenv("EDITKIT_PLUGINS", setting)
    host = load_host()
    assert scorers(host) == OWN | expected
    assert host.of_kind(AdapterSpec) == {}


def test_a_plugin_that_is_off_is_not_even_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("editkit-broken", "broken_plugin", "1 / 0")
    monkeypatch.setenv("EDITKIT_PLUGINS", "off")
    assert load_host().failures == {}
    assert "broken_plugin" not in sys.modules


# observers


def observer(body: str) -> str:
    return f"""
    from editkit import hookimpl
    @hookimpl
    def editkit_finished(record, output):
        {body}
    """


def test_observers_are_told_and_one_that_fails_spoils_nothing(install: Install, tmp_path: Path) -> None:
    install("editkit-a", "observer_a", observer("raise OSError('disk full')"))
    install("editkit-b", "observer_b", observer("(output / 'seen').write_text(record['name'])"))
    host = load_host()
    assert host.finished({"name": "run"}, tmp_path) == [
        "Plugin editkit-a failed in editkit_finished: OSError: disk full"
    ]
    assert (tmp_path / "seen").read_text() == "run"


def test_without_observers_nothing_is_reported(built_ins: Host, tmp_path: Path) -> None:
    assert built_ins.finished({}, tmp_path) == []


# single files


@pytest.fixture
def plugin_file(tmp_path: Path) -> Any:
    names = []

    def write(name: str, code: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(code))
        names.append((name, str(path)))
        return path

    yield write
    for name, path in names:
        if getattr(sys.modules.get(name), "__file__", None) == path:
            del sys.modules[name]
    use_files(())


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
        (BROKEN["API"][0], "is for API 99"),
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


# the command line


def test_plugins_check_names_what_is_broken_and_exits_with_three(
    install: Install, capsys: pytest.CaptureFixture[str], plugin_file: Any
) -> None:
    install("editkit-broken", "broken_plugin", "raise RuntimeError('no GPU here')")
    use_files(())  # drop the host of earlier tests
    assert main(["plugins", "check", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["problems"] == {"editkit-broken": "RuntimeError: no GPU here"}
    assert captured.err.count("editkit-broken") == 1
    assert "editkit plugins check" in " ".join(captured.err.split())


def test_plugins_list_shows_what_is_hidden(
    install: Install, capsys: pytest.CaptureFixture[str], plugin_file: Any
) -> None:
    install("editkit-other", "other_plugin", GOOD.format(scorer="uwm"))
    use_files(())
    assert main(["plugins", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["shadowed"] == [{"hidden": "editkit-other/uwm", "by": "editkit/uwm"}]
    assert {"uwm", "adaptive", "clip"} <= {component["name"] for component in listed["components"]}


def imported(*commands: list[str], modules: str = "") -> set[str]:
    """Top-level modules that a fresh process has after running commands and importing modules."""
    code = f"""
import sys, io, contextlib
from editkit.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    codes = [main(command) for command in {list(commands)!r}]
assert codes == [0] * len(codes), codes
{f"import {modules}" if modules else ""}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    env = {**os.environ, "EDITKIT_CACHE_DIR": os.environ["EDITKIT_CACHE_DIR"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


MODEL_LIBRARIES = {"torch", "torchvision", "transformers", "open_clip", "timm"}


def test_help_imports_nothing_heavy() -> None:
    seen = imported(["--help"], ["edit", "--help"], ["eval", "--help"], ["plugins", "--help"])
    assert "editkit" in seen
    assert not seen & (MODEL_LIBRARIES | {"numpy", "PIL", "safetensors", "pyarrow", "huggingface_hub"})


def test_invariant_5_listing_plugins_imports_no_model_library() -> None:
    seen = imported(["plugins", "list"], ["plugins", "show", "uwm"], ["plugins", "list", "--json"])
    assert "editkit_clip" in seen
    assert not seen & (MODEL_LIBRARIES | {"numpy", "PIL"})


def test_invariant_5_file_commands_import_no_model_library() -> None:
    files = "editkit.cli.apply, editkit.cli.show, editkit.cli.diff, editkit.patch, editkit.applying, editkit.difference"
    assert not imported(modules=files) & MODEL_LIBRARIES


def test_resolving_a_recipe_imports_no_model_library() -> None:
    assert not imported(modules="editkit.recipe, editkit.options, editkit.site") & MODEL_LIBRARIES
