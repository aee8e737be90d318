"""Every manipulator and selector from the command line to a model and back, and what they make of its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import as_error, cache_at, done, run
from lora_samples import shapes_of, write_adapter
from models import DEMO, OPEN_CLIP, table, tiny_clip, tiny_open_clip
from safetensors.torch import load_file, save_file
from tiny_checkpoints import digests, listing
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.specs import ManipulatorSpec
from editkit.editing import engine
from editkit.editing.engine import make_patch
from editkit.editing.plan import make_plan

OTHER = "OTHER"
"""Stands for another checkpoint of the demo's architecture."""
ADAPTER = "ADAPTER"
"""Stands for a LoRA adapter of the demo's queries."""
BASE = DEMO / "model"
UNITS = ("--scorer", "neuron-ratio", "--selector", "units")


def settings(*texts: str) -> tuple[str, ...]:
    return tuple(part for text in texts for part in ("--set", text))


METHODS: dict[str, tuple[object, ...]] = {
    "dampen": ("--manipulator", "dampen", "--scorer", "fisher-ratio", "--tau", 0.1, "--target", "text:attn.out"),
    "blend": ("--manipulator", "blend", *settings(f"manipulator.model={OTHER}", "manipulator.amount=0.5")),
    "blend-all": ("--manipulator", "blend", *settings(f"manipulator.model={OTHER}"), "--target", "all"),
    "lora": ("--manipulator", "lora", "--target", "*:attn.q", *settings(f"manipulator.adapter={ADAPTER}")),
    "merge": (
        *("--manipulator", "merge", "--selector", "all", "--target", "*:attn.out"),
        *settings(f"manipulator.models=[{OTHER}]", "manipulator.how=ties"),
    ),
    "mean-ablate": ("--manipulator", "mean-ablate", *settings("selector.fraction=0.05")),
    "project": ("--manipulator", "project", "--target", "text:attn.out", "--target", "vision:proj"),
    "leace": ("--manipulator", "leace", "--target", "text:mlp.out", "--target", "vision:proj"),
    "inlp": ("--manipulator", "inlp", *settings("manipulator.rounds=2")),
    "null-space": ("--manipulator", "null-space", "--preserve", "words"),
    "redirect": ("--manipulator", "redirect"),
    "redirect-quiet": ("--manipulator", "redirect", *settings("manipulator.null_space=0.05", "manipulator.ridge=0.1")),
    "refuse": ("--manipulator", "refuse"),
    "refuse-inside": (
        *("--manipulator", "refuse", "--target", "text:mlp.out"),
        *settings("manipulator.direction=minus-mean", "manipulator.order=sequential"),
    ),
    "towers-apart": settings("text.manipulator=redirect", "vision.selector=topk"),
    "threshold": ("--scorer", "neuron-ratio", "--selector", "threshold", *settings("selector.above=1.5")),
    "global": ("--selector", "global", *settings("selector.fraction=0.01")),
    "units": (*UNITS, *settings("selector.axis=outputs")),
    "adaptive-signed": ("--scorer", "difference", "--selector", "adaptive-signed"),
    "difference-set": ("--scorer", "wanda", "--selector", "difference-set"),
    "matched": ("--scorer", "random", "--selector", "matched", *settings("selector.selector=topk")),
}
WITH_BIASES = {"mean-ablate": 7, "project": 3, "leace": 3, "blend-all": 0}
"""Methods that also change biases of sites, and how many."""
DENSE = ("redirect", "refuse", "blend-all")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the demo's edits: many of them score alike."""
    with cache_at(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model with noise on every tensor; beside it an adapter."""
    folder = tmp_path_factory.mktemp("moved") / "model"
    shutil.copytree(BASE, folder)
    draw = torch.Generator().manual_seed(0)
    held = load_file(BASE / "model.safetensors")
    noisy = {key: tensor + 0.01 * torch.randn(tensor.shape, generator=draw) for key, tensor in held.items()}
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    queries = [key.removesuffix(".weight") for key in held if key.endswith("self_attn.q_proj.weight")]
    write_adapter(folder.parent / "adapter", shapes_of(BASE, queries))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("cli") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("cli"), 6)


@pytest.fixture(scope="module")
def open_clip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open_clip(tmp_path_factory.mktemp("cli") / "open-clip")


# from the command line to a model and back


@pytest.mark.parametrize("method", METHODS)
def test_an_edit_of_the_demo_applies_shows_and_reverts(
    method: str, warm: Path, moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(warm))
    monkeypatch.chdir(tmp_path)
    named = {OTHER: str(moved), ADAPTER: str(moved.parent / "adapter")}
    flags = [str(flag) for flag in METHODS[method]]
    for name, place in named.items():
        flags = [flag.replace(name, place) for flag in flags]
    told = done("edit", "--limit", 16, "--workers", 0, *flags, "-o", "p", "--json").json
    [summary] = done("show", "--json", "p").json["patches"]
    shown = done("show", "p")
    done("apply", "p", BASE, "-o", "edited")
    done("revert", "p", "edited", "-o", "reverted")
    assert digests(tmp_path / "reverted") == digests(BASE)
    assert run("diff", BASE, "edited").code == 3 and run("diff", BASE, "reverted").code == 0

    before, after = (load_file(folder / "model.safetensors") for folder in (BASE, tmp_path / "edited"))
    counts = {key: int((before[key] != after[key]).sum()) for key in before}
    changed = {key: count for key, count in counts.items() if count}
    assert (summary["weights"], summary["tensors"]) == (sum(changed.values()), len(changed))
    assert f"{sum(changed.values()):,} weights in {len(changed)} tensors (F32)" in shown.flat
    sites = {site["key"] for site in told["record"]["sites"]}
    assert sum(key not in sites for key in changed) == WITH_BIASES.get(method, 0)
    for tower in told["record"]["towers"]["edited"]:
        for kind in ("scorer", "selector", "manipulator"):
            if part := told["record"]["recipe"][tower][kind]:
                assert part["name"] in shown.flat
    assert all(np.isfinite(tensor.numpy()).all() for tensor in after.values())


def test_every_manipulator_and_selector_is_run_above() -> None:
    """The others have tests of their own: the paper's `scale`, `zero` and `negate`, `adaptive`, `topk` and `all`."""
    from editkit.components.specs import SelectorSpec

    flags = {str(flag).partition("=")[2] or str(flag) for method in METHODS.values() for flag in method}
    for kind, tested in ((ManipulatorSpec, {"scale", "zero", "negate"}), (SelectorSpec, {"adaptive", "all"})):
        assert set(default_host().of_kind(kind)) - tested <= flags


@pytest.mark.parametrize("method", DENSE)
def test_a_change_of_whole_tensors_is_stored_without_positions(
    method: str, warm: Path, moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(warm))
    flags = [str(flag).replace(OTHER, str(moved)) for flag in METHODS[method]]
    done("edit", "--limit", 16, "--workers", 0, *flags, "-o", tmp_path / "p")
    columns = load_file(tmp_path / "p" / "patch.safetensors")
    held = load_file(BASE / "model.safetensors")
    assert columns and not any(name.startswith("index:") for name in columns)
    assert all(tensor.shape == held[name.partition(":")[2]].shape for name, tensor in columns.items())


# invariants


def source_of(library: str, model: Path, open_clip_weights: Path) -> str:
    return str(model) if library == "transformers" else f"open_clip:{OPEN_CLIP}@{open_clip_weights}"


@pytest.mark.parametrize("library", ["transformers", "open_clip"])
@pytest.mark.parametrize("manipulator", ["redirect", "refuse", "mean-ablate", "project", "dampen"])
def test_invariant_1_nothing_before_apply_changes_a_model(
    manipulator: str, library: str, model: Path, open_clip_weights: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = {"model": source_of(library, model, open_clip_weights), "manipulator.name": manipulator}
    layer |= {"data.name": "pairs", "data.path": str(pairs), "compute.workers": 0}
    plan = make_plan([("flag", layer)], default_host())
    load, loaded = plan.adapter.__class__.load, []

    def bits(module: torch.nn.Module) -> dict[str, Tensor]:
        return {key: tensor.clone().view(-1).view(torch.uint8) for key, tensor in module.state_dict().items()}

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = load(self, *args, **kwargs)
        loaded.append((found.module, bits(found.module), [type(part) for part in found.module.modules()]))
        return found

    monkeypatch.setattr(plan.adapter.__class__, "load", watched)
    on_disk = digests(model), open_clip_weights.read_bytes()
    assert make_patch(plan).changes
    [(module, before, classes)] = loaded
    after = bits(module)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [type(part) for part in module.modules()] == classes
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())
    assert on_disk == (digests(model), open_clip_weights.read_bytes())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("manipulator", ["redirect", "refuse", "mean-ablate", "blend"])
def test_invariant_2_a_patch_applies_only_to_its_own_weights_and_reverts_to_the_exact_bytes(
    manipulator: str, dtype: str, pairs: Path, tmp_path: Path
) -> None:
    model, stranger = (tiny_clip(tmp_path / name, dtype, seed=seed) for name, seed in (("model", 0), ("stranger", 1)))
    more = (*settings(f"manipulator.model={stranger}"), "--target", "all") if manipulator == "blend" else ()
    common = ("--model", model, "--data", pairs, "--workers", 0)
    done("edit", *common, "--manipulator", manipulator, *more, "-o", tmp_path / "p", "--save", tmp_path / "saved")
    done("apply", tmp_path / "p", model, "-o", tmp_path / "applied")
    assert digests(tmp_path / "applied") == digests(tmp_path / "saved") != digests(model)
    assert run("apply", tmp_path / "p", stranger, "-o", tmp_path / "out").code == 1
    assert run("apply", tmp_path / "p", tmp_path / "applied", "-o", tmp_path / "out").code == 1
    done("revert", tmp_path / "p", tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)


@pytest.mark.parametrize(
    "flags",
    [
        ("--manipulator", "project", *settings("manipulator.beta=0")),
        ("--manipulator", "refuse", *settings("manipulator.own=1", "manipulator.keep=0", "manipulator.push=0")),
        ("--manipulator", "blend", *settings(f"manipulator.model={OTHER}", "manipulator.amount=0")),
        ("--manipulator", "blend", *settings(f"manipulator.model={OTHER}"), "--selector", "all"),
        ("--manipulator", "dampen", *settings("manipulator.strength=1e30")),
    ],
    ids=["project", "refuse", "blend nothing", "blend with itself", "dampen"],
)
def test_invariant_4_an_edit_that_leaves_a_site_as_it_was_is_refused(
    flags: tuple[str, ...], model: Path, pairs: Path, tmp_path: Path
) -> None:
    own = [flag.replace(OTHER, str(model)) for flag in flags]
    error = as_error(run("edit", "--model", model, "--data", pairs, "--workers", 0, *own, "-o", tmp_path / "p"))
    assert "leaves every weight of text:" in error
    assert listing(tmp_path) == []


def test_invariant_4_mean_ablating_inputs_that_are_cut_already_is_refused(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(model, cut)
    held = load_file(model / "model.safetensors")
    key = "text_model.encoder.layers.0.mlp.fc2.weight"
    save_file(held | {key: torch.zeros_like(held[key])}, cut / "model.safetensors", metadata={"format": "pt"})
    flags = ("--model", cut, "--data", pairs, "--workers", 0, "--target", "text:mlp.out[0]")
    method = ("--manipulator", "mean-ablate", "--scorer", "random")
    error = as_error(run("edit", *flags, *method, "-o", tmp_path / "p"))
    assert "leaves every weight of text:mlp.out[0] as it was" in error


# what a manipulator may give


PLUGIN = """
from editkit.plugin import ManipulatorSpec, hookimpl
import torch

EDITKIT_API = 1

class Given:
    def __init__(self, options): ...
    def apply(self, site, weight, bias, mask, context):
        return {GIVEN}

@hookimpl
def editkit_manipulators():
    return [ManipulatorSpec(name="given", summary="gives something else", target=f"{__name__}:Given")]
"""


@pytest.mark.parametrize(
    ("given", "target", "said"),
    [
        ('{"weight": weight[:1] * 2}', "text:mlp.out", "This is a defect of the manipulator"),
        ('{"weight": weight.double() * 2}', "text:mlp.out", "This is a defect of the manipulator"),
        ('{"bias": bias * 2}', "text:mlp.out", "This is a defect of the manipulator"),
        ('{"weight": weight * 2, "scale": bias}', "text:mlp.out", "This is a defect of the manipulator"),
        ('{"weight": weight * 2, "bias": weight[:, 0]}', "text:proj", "This is a defect of the manipulator"),
        ('{"weight": weight * 2}', "text:mlp.out", "changed weights of text:mlp.out[0] that were not selected"),
        ('{"weight": weight * 1e39}', "text:mlp.out", "gives values that are not finite"),
        ('{"weight": weight * 2, "bias": bias / 0}', "text:mlp.out", "gives values that are not finite"),
        ('{"weight": weight.clone(), "bias": bias.clone()}', "text:mlp.out", "leaves every weight of text:mlp.out[0]"),
    ],
    ids=[
        "shape",
        "dtype",
        "no weight",
        "name",
        "no such bias",
        "not selected",
        "infinite",
        "infinite bias",
        "the same",
    ],
)
def test_what_a_manipulator_gives_is_checked(
    given: str, target: str, said: str, model: Path, tmp_path: Path, plugin_file: Callable[[str, str], Path]
) -> None:
    plugin = plugin_file(f"given_{tmp_path.name}", PLUGIN.replace("{GIVEN}", given))
    flags = ("--model", model, "--manipulator", "given", "--scorer", "magnitude", "--target", target)
    assert said in as_error(run("--plugin", plugin, "edit", *flags, "-o", tmp_path / "p"))
    assert not (tmp_path / "p").exists()


def test_a_bias_alone_may_change(model: Path, tmp_path: Path, plugin_file: Callable[[str, str], Path]) -> None:
    plugin = plugin_file("bias_alone", PLUGIN.replace("{GIVEN}", '{"weight": weight, "bias": bias + 1}'))
    flags = ("--model", model, "--manipulator", "given", "--scorer", "magnitude", "--target", "*:attn.k[0]")
    done("--plugin", plugin, "edit", *flags, "-o", tmp_path / "p")
    touched = json.loads((tmp_path / "p" / "record.json").read_text())["base"]["touched"]
    assert {key.rpartition(".")[2] for key in touched} == {"bias"} and len(touched) == 2


def test_the_bias_of_one_part_of_a_fused_tensor_changes_in_its_rows_only(
    open_clip_weights: Path, tmp_path: Path, plugin_file: Callable[[str, str], Path]
) -> None:
    plugin = plugin_file("bias_rows", PLUGIN.replace("{GIVEN}", '{"weight": weight * 2, "bias": bias + 1}'))
    source = f"open_clip:{OPEN_CLIP}@{open_clip_weights}"
    flags = ("--model", source, "--manipulator", "given", "--selector", "all", "--target", "text:attn.k[0]")
    done("--plugin", plugin, "edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "edited")
    [file] = (tmp_path / "edited").glob("*.safetensors")
    before, after = load_file(open_clip_weights), load_file(file)
    bias, weight = "transformer.resblocks.0.attn.in_proj_bias", "transformer.resblocks.0.attn.in_proj_weight"
    expected = {key: tensor.clone() for key, tensor in before.items()}
    expected[weight][32:64] *= 2
    expected[bias][32:64] += 1
    assert all(torch.equal(after[key], expected[key]) for key in before)


def test_the_engine_gives_a_manipulator_that_asks_for_nothing_an_empty_context() -> None:
    context = engine.plain_context([], {})
    assert not context.moments and context.other_modality is None and not context.other_weights
