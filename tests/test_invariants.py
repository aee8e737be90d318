"""The invariants of the architecture, one test each by its name, and what belongs to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import as_error, done, run, sha
from models import DEMO, OPEN_CLIP, spoil, table, tiny_clip, tiny_open_clip
from tiny_checkpoints import digests, listing

from editkit.components.load import default_host
from editkit.editing import engine, score
from editkit.editing.plan import Plan, make_plan
from editkit.errors import EditkitError, SiteError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("invariants") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("invariants"), 4)


def plan_of(model: str | Path, pairs: Path, **values: Any) -> Plan:
    layer = {"model": str(model), "data.name": "pairs", "data.path": str(pairs), "compute.workers": 0} | values
    return make_plan([("flag", layer)], default_host())


def bits(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone().view(torch.uint8) for key, tensor in module.state_dict().items() if tensor.dim()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("library", ["transformers", "open_clip"])
def test_invariant_1_nothing_before_apply_changes_a_model(
    library: str, model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "open_clip":
        weights = tiny_open_clip(tmp_path / "open-clip")
        plan, folder = plan_of(f"open_clip:{OPEN_CLIP}@{weights}", pairs), weights.parent
    else:
        plan, folder = plan_of(model, pairs), model
    on_disk = digests(folder)
    load, loaded = plan.adapter.__class__.load, []

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = load(self, *args, **kwargs)
        loaded.append((found.module, bits(found.module), [type(part) for part in found.module.modules()]))
        return found

    monkeypatch.setattr(plan.adapter.__class__, "load", watched)
    assert engine.make_patch(plan).changes
    [(module, before, classes)] = loaded
    assert equal(bits(module), before)
    assert [type(part) for part in module.modules()] == classes
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())
    assert digests(folder) == on_disk


def test_invariant_1_an_evaluation_of_patches_leaves_the_loaded_base_as_it_was(
    model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit_clip.transformers_format import TransformersClip

    flags = ("--model", model, "--data", pairs, "--workers", 0)
    done("edit", *flags, "--tau", 0.3, "-o", tmp_path / "p")
    on_disk = digests(model)
    load, loaded = TransformersClip.load, []

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = load(self, *args, **kwargs)
        loaded.append((found.module, bits(found.module)))
        return found

    monkeypatch.setattr(TransformersClip, "load", watched)
    done("eval", "safeground", *flags, "--patch", tmp_path / "p")
    assert len(loaded) == 1 and equal(bits(loaded[0][0]), loaded[0][1])
    assert digests(model) == on_disk


def test_invariant_2_a_patch_applies_only_to_its_own_weights_and_reverts_to_the_exact_bytes(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    done("edit", "--model", model, "--data", pairs, "--workers", 0, "-o", tmp_path / "p")
    stranger = tiny_clip(tmp_path / "stranger", seed=1)
    assert "does not hold the weights" in as_error(run("apply", tmp_path / "p", stranger, "-o", tmp_path / "out"))
    done("apply", tmp_path / "p", model, "-o", tmp_path / "applied")
    done("revert", tmp_path / "p", tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)


def test_invariant_2_bit_patterns_are_compared_and_not_values(pairs: Path, tmp_path: Path) -> None:
    model = tiny_clip(tmp_path / "model")

    def zero(values: np.ndarray) -> None:
        values[0] = 0.0

    def minus_zero(values: np.ndarray) -> None:
        assert values[0] == 0
        values[0] = -0.0

    spoil(model, "visual_projection.weight", zero)
    done("edit", "--model", model, "--data", pairs, "--workers", 0, "-o", tmp_path / "p")
    spoil(model, "visual_projection.weight", minus_zero)
    assert "differ" in as_error(run("apply", tmp_path / "p", model, "-o", tmp_path / "out"))


def test_invariant_3_scores_depend_on_nothing_but_weights_data_and_scorer(
    model: Path, pairs: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("edit", "--model", model, "--data", pairs, "--workers", 0)
    done(*flags, "--tau", 0.1, "-o", tmp_path / "first")

    def stored() -> dict[str, str]:
        return {path.name: sha(path) for path in (own_cache / "scores").rglob("*.safetensors")}

    first = stored()
    assert len(first) == 4  # one for each site

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("scored twice")

    with monkeypatch.context() as patch:
        patch.setattr(score, "score_pairs", refuse)
        for number, own in enumerate((("--tau", 0.4), ("--alpha", 0), ("--selector", "topk"), ("--batch-size", 1))):
            done(*flags, *own, "-o", tmp_path / str(number))
    assert stored() == first
    done(*flags, "--set", "scorer.aggregation=means", "-o", tmp_path / "means")
    done(*flags, "--limit", 3, "-o", tmp_path / "fewer")
    done(*flags, "--model", tiny_clip(tmp_path / "other", seed=1), "-o", tmp_path / "weights")
    assert len(stored()) == 4 * 4


PLUGIN = """
import torch
from editkit.plugin import ManipulatorSpec, SelectorSpec, hookimpl

EDITKIT_API = 1

class Nothing:
    def __init__(self, options): ...
    def select(self, scores, context):
        return {site: torch.zeros(site.shape, dtype=torch.bool) for site in scores}

class Same:
    def __init__(self, options): ...
    def apply(self, site, weight, bias, mask, context):
        return {"weight": weight.clone()}

@hookimpl
def editkit_selectors():
    return [SelectorSpec(name="nothing", summary="selects nothing", target=f"{__name__}:Nothing")]

@hookimpl
def editkit_manipulators():
    return [ManipulatorSpec(name="same", summary="changes nothing", target=f"{__name__}:Same")]
"""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--target", "text:attn.out[7]"), "matches no site"),
        (("--selector", "nothing"), "No weight of the text tower was selected"),
        (("--manipulator", "same"), "leaves every weight of text:attn.out[0] as it was"),
        (("--alpha", "1"), "leaves every weight as it is"),
        (("--set", "scorer=none"), "ranks weights by their scores, but there is no scorer"),
        (("--set", "targets=[]"), "nothing would be edited"),
    ],
)
def test_invariant_4_nothing_is_silently_empty(
    flags: tuple[str, ...], said: str, model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plugin = tmp_path / f"empty_{tmp_path.name}.py"  # its name is a module's: one of its own for each test
    plugin.write_text(PLUGIN)
    ran = run("--plugin", plugin, "edit", "--model", model, "--data", pairs, "--workers", 0, *flags)
    assert said in as_error(ran)
    assert [name for name in listing(tmp_path) if "__pycache__" not in name] == [plugin.name]


def test_invariant_4_a_site_that_never_runs_is_an_error(
    model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(model, pairs)
    load = plan.adapter.__class__.load

    def skipping(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = load(self, *args, **kwargs)
        last = found.module.text_model.encoder.layers[1]
        last.forward = lambda hidden, *args, **kwargs: hidden
        return found

    monkeypatch.setattr(plan.adapter.__class__, "load", skipping)
    with pytest.raises(SiteError, match=r"text:attn.out\[1\].* ran 0 times"):
        engine.make_patch(plan)


def test_invariant_4_equal_safe_and_unsafe_items_are_an_error_where_only_their_difference_counts(
    model: Path, tmp_path: Path
) -> None:
    rows = '{"safe_text": "a dog in the park", "unsafe_text": "a dog in the park"}\n'
    (tmp_path / "same.jsonl").write_text(rows)
    flags = ("--model", model, "--data", tmp_path / "same.jsonl", "--target", "text:attn.out")
    assert "zero" in as_error(run("edit", *flags, "--scorer", "difference", "-o", tmp_path / "p"))


FILE_WORK = """
import sys
from editkit.cli import main

def call(*args, code=0):
    assert main(list(args)) == code, args

patch, model, base, out = sys.argv[1:]
call("--help")
call("plugins", "list")
call("plugins", "show", "uwm")
call("edit", "--help")
call("show", patch)
call("apply", patch, model, "-o", out + "/applied")
call("revert", patch, out + "/applied", "-o", out + "/reverted")
call("diff", model, out + "/applied", code=3)
call("apply", patch, out + "/applied", "-o", out + "/twice", code=1)
heavy = {"torch", "transformers", "open_clip", "timm", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""


def test_invariant_5_help_plugins_and_file_work_import_no_model_library(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    done("edit", "--model", model, "--data", pairs, "--workers", 0, "-o", tmp_path / "p")
    arguments = [str(place) for place in (tmp_path / "p", model, DEMO, tmp_path)]
    finished = subprocess.run(
        [sys.executable, "-c", FILE_WORK, *arguments], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert digests(tmp_path / "reverted") == digests(model)


def test_invariant_5_help_imports_no_numpy_or_pillow_either() -> None:
    code = (
        "import sys; from editkit.cli import main; assert main(['--help']) == 0; "
        "bad = {'torch', 'numpy', 'transformers', 'PIL'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_invariant_6_text_and_vision_share_one_code_path(
    model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(model, pairs, **{"compute.cache": False})
    called: list[tuple[str, bool]] = []
    score_pairs = score.score_pairs

    def watched(loaded: Any, tower: str, sites: Any, scorers: Any, batches: Any, **rest: Any) -> Any:
        held = list(batches)
        called.extend((tower, batch.mask is None) for batch in held)
        return score_pairs(loaded, tower, sites, scorers, held, **rest)

    monkeypatch.setattr(score, "score_pairs", watched)
    engine.make_patch(plan)
    assert sorted(set(called)) == [("text", False), ("vision", True)]  # the mask is the whole difference


def test_invariant_6_a_mask_is_data_and_stands_for_shorter_samples() -> None:
    from editkit.testing import score

    torch.manual_seed(0)
    weight, safe, unsafe = torch.randn(5, 6), torch.randn(3, 9, 6), torch.randn(3, 9, 6)
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[:, :4] = True
    for scorer in ("uwm", "difference", "unsafe"):
        short = score(scorer, weight, safe[:, :4], None, unsafe[:, :4], None, prior="none")
        for tower in ("text", "vision"):
            masked = score(scorer, weight, safe, mask, unsafe, mask, tower=tower, prior="none")
            assert torch.allclose(masked, short, rtol=1e-5)


def test_an_error_of_the_library_is_one_type() -> None:
    assert issubclass(SiteError, EditkitError)
