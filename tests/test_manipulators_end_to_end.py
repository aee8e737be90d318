"""What the manipulators that look at pairs make of a model's weights, against plain libraries and the formulas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import done
from conftest import GOLDEN, PAIRS
from models import OPEN_CLIP, table, tiny_clip, tiny_open_clip
from naive import float64, relative
from safetensors.torch import load_file, save_file
from torch import Tensor

from editkit import testing
from editkit.components.load import default_host
from editkit.components.protocols import ManipulationContext
from editkit.components.site import match_targets
from editkit.components.specs import ManipulatorSpec
from editkit.editing.moments import describe_embeddings, stream_moments
from editkit.errors import RecipeError, SiteError
from editkit.models.site_tensors import weight_of


def settings(*texts: str) -> tuple[str, ...]:
    return tuple(part for text in texts for part in ("--set", text))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("fits") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("fits"), 6)


@pytest.fixture(scope="module")
def open_clip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open_clip(tmp_path_factory.mktemp("fits") / "open-clip")


def edit(model: object, pairs: Path, out: Path, *flags: object) -> dict[str, Tensor]:
    """Edit a model from the command line, and read what was saved."""
    common = ("--model", model, "--data", pairs, "--workers", 0)
    done("edit", *common, *flags, "-o", out / "p", "--save", out / "edited")
    [file] = (out / "edited").glob("*.safetensors")
    return load_file(file)


def test_mean_ablate_cuts_columns_and_keeps_the_output_at_the_mean_of_safe_inputs(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    flags = ("--manipulator", "mean-ablate", "--target", "text:mlp.out", *settings("selector.fraction=0.2"))
    after, before = edit(model, pairs, tmp_path, *flags), load_file(model / "model.safetensors")
    inputs = transformers_inputs(model, pairs, "text", ".mlp.fc2")
    assert len(inputs) == 2
    for module, rows in inputs.items():
        cut = after[f"{module}.weight"].eq(0).all(dim=0)
        assert int(cut.sum()) == 13 and not bool(before[f"{module}.weight"].eq(0).all(dim=0).any())  # 0.2 of 64
        assert torch.equal(after[f"{module}.weight"][:, ~cut], before[f"{module}.weight"][:, ~cut])
        mean = sum(rows[: len(rows) // 2]) / (len(rows) // 2)
        outputs = [float64(of[f"{module}.weight"]) @ mean + float64(of[f"{module}.bias"]) for of in (before, after)]
        assert relative(outputs[1], outputs[0]) <= 1e-6
        assert relative(after[f"{module}.bias"], before[f"{module}.bias"]) > 1e-2


def test_project_takes_the_difference_of_mean_outputs_out_of_weight_and_bias(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    after = edit(model, pairs, tmp_path, "--manipulator", "project", "--target", "vision:mlp.out")
    before = load_file(model / "model.safetensors")
    for module, rows in transformers_inputs(model, pairs, "vision", ".mlp.fc2").items():
        half = len(rows) // 2
        weight, bias = (float64(before[f"{module}.{part}"]) for part in ("weight", "bias"))
        r = weight @ (sum(rows[half:]) / half - sum(rows[:half]) / half)
        r = r / np.linalg.norm(r)
        assert relative(after[f"{module}.weight"], weight - np.outer(r, r @ weight)) <= 1e-5
        assert relative(after[f"{module}.bias"], bias - r * (r @ bias)) <= 1e-5


FITTED = ("manipulator.preserve=2", "manipulator.ridge=0.01")
REFUSED = ("manipulator.own=0.5", "manipulator.keep=0.3", "manipulator.push=0.7", "manipulator.direction=minus-mean")
FITS: dict[str, tuple[str, ...]] = {"redirect": FITTED, "refuse": (*FITTED, *REFUSED)}


def fitted(manipulator: str, weight: Any, rows: list[Any], others: list[Any]) -> Any:
    """W' from its objective, pair by pair: `rows` [I] and the other tower's embeddings [D], the safe ones first."""
    pairs, width = len(rows) // 2, len(rows[0])
    safe, unsafe = rows[:pairs], rows[pairs:]
    own, keep, push = (0.0, 1.0, 0.0) if manipulator == "redirect" else (0.5, 0.3, 0.7)
    away = -sum(others) / np.linalg.norm(sum(others))
    length = sum(np.linalg.norm(weight @ s) for s in safe) / pairs
    gap, system = np.zeros_like(weight), np.zeros((width, width))
    for s, u in zip(safe, unsafe, strict=True):
        wanted = own * (weight @ u) + keep * (weight @ s) + push * length * away
        gap += np.outer(wanted - weight @ u, u) / pairs
        system += (np.outer(u, u) + 2 * np.outer(s, s)) / pairs
    system += 0.01 * np.trace(system) / width * np.eye(width)
    return weight + gap @ np.linalg.inv(system)


@pytest.mark.parametrize("manipulator", FITS)
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_fit_of_the_projection_is_the_solution_of_its_objective(
    manipulator: str, tower: str, model: Path, pairs: Path, tmp_path: Path
) -> None:
    flags = ("--manipulator", manipulator, "--target", f"{tower}:proj", *settings(*FITS[manipulator]))
    after = edit(model, pairs, tmp_path, *flags)
    name = {"text": "text_projection", "vision": "visual_projection"}
    [rows], [other_rows] = (
        transformers_inputs(model, pairs, which, name[which]).values()
        for which in (tower, "vision" if tower == "text" else "text")
    )
    before = {which: float64(load_file(model / "model.safetensors")[f"{name[which]}.weight"]) for which in name}
    outputs = [before["vision" if tower == "text" else "text"] @ row for row in other_rows]
    expected = fitted(manipulator, before[tower], rows, [y / np.linalg.norm(y) for y in outputs])
    assert relative(after[f"{name[tower]}.weight"], expected) <= 1e-5
    assert relative(expected, before[tower]) > 1e-3


def transformers_inputs(model: Path, pairs: Path, tower: str, ending: str) -> dict[str, list[Any]]:
    """By module, the mean input [I] of each sample, the safe ones first, by hooks on plain transformers."""
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    clip = CLIPModel.from_pretrained(model).eval()
    seen: dict[str, list[Any]] = {}
    for name, module in clip.named_modules():
        if name.endswith(ending) and name.startswith("text" if tower == "text" else "vis"):
            module.register_forward_pre_hook(
                lambda _, args, name=name: seen.setdefault(name, []).append(
                    float64(args[0]).reshape(-1, args[0].shape[-1]).mean(axis=0)
                )
            )
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    with torch.no_grad():
        for side in ("safe", "unsafe"):
            for row in rows:
                if tower == "text":
                    text = AutoTokenizer.from_pretrained(model)(row[f"{side}_text"], return_tensors="pt")
                    clip.get_text_features(input_ids=text["input_ids"])
                else:
                    picture = Image.open(pairs.parent / row[f"{side}_image"]).convert("RGB")
                    pixels = AutoImageProcessor.from_pretrained(model)(images=picture, return_tensors="pt")
                    clip.get_image_features(pixel_values=pixels["pixel_values"])
    return seen


# open_clip's projections: parameters that no module owns, stored transposed


def open_clip_pooled(weights: Path, pairs: Path) -> dict[str, list[Any]]:
    """By tower, what open_clip multiplies by its projection, each sample alone, the safe ones first."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    model = open_clip.create_model(OPEN_CLIP, pretrained=str(weights)).eval()
    model.text_projection = torch.nn.Parameter(torch.eye(model.text_projection.shape[0]))
    model.visual.proj = torch.nn.Parameter(torch.eye(model.visual.proj.shape[0]))
    transform = image_transform_v2(PreprocessCfg(size=64), is_train=False)
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    found: dict[str, list[Any]] = {"text": [], "vision": []}
    with torch.no_grad():
        for side in ("safe", "unsafe"):
            for row in rows:
                picture = Image.open(pairs.parent / row[f"{side}_image"]).convert("RGB")
                found["vision"].append(float64(model.encode_image(transform(picture)[None]))[0])
                ids = open_clip.tokenizer.SimpleTokenizer(context_length=77)([row[f"{side}_text"]])
                found["text"].append(float64(model.encode_text(ids))[0])
    return found


@pytest.mark.parametrize("manipulator", FITS)
def test_a_raw_projection_of_open_clip_is_fitted_end_to_end(
    manipulator: str, open_clip_weights: Path, pairs: Path, tmp_path: Path
) -> None:
    import open_clip

    source = f"open_clip:{OPEN_CLIP}@{open_clip_weights}"
    flags = ("--manipulator", manipulator, "--target", "*:proj", *settings(*FITS[manipulator]))
    after, before = edit(source, pairs, tmp_path, *flags), load_file(open_clip_weights)
    pooled = open_clip_pooled(open_clip_weights, pairs)
    keys = {"text": "text_projection", "vision": "visual.proj"}
    assert {key for key in before if not torch.equal(before[key], after[key])} == set(keys.values())
    for tower, key in keys.items():
        other = "vision" if tower == "text" else "text"
        outputs = [float64(before[keys[other]]).T @ row for row in pooled[other]]
        weight = float64(before[key]).T  # stored [I, O]
        expected = fitted(manipulator, weight, pooled[tower], [y / np.linalg.norm(y) for y in outputs])
        assert relative(after[key].T, expected) <= 1e-5 < 1e-3 < relative(expected, weight)
    loaded = open_clip.create_model(f"local-dir:{tmp_path / 'edited'}")
    assert torch.equal(loaded.state_dict()["visual.proj"], after["visual.proj"])
    done("revert", tmp_path / "p", tmp_path / "edited", "-o", tmp_path / "reverted")
    [file] = (tmp_path / "reverted").glob("*.safetensors")
    assert file.read_bytes() == open_clip_weights.read_bytes()


@pytest.mark.parametrize(
    ("manipulator", "options", "tolerated"),
    [
        ("redirect", FITTED, 1e-6),
        ("refuse", (*FITTED, *REFUSED), 1e-6),
        ("refuse", (*FITTED, "manipulator.direction=opposed"), 1e-5),  # an eigenvector is less exact than its matrix
    ],
    ids=["redirect", "refuse", "refuse opposed"],
)
def test_both_formats_of_one_model_are_given_the_same_projections(
    manipulator: str,
    options: tuple[str, ...],
    tolerated: float,
    clip: Any,
    clip_sites: list[Any],
    reference: dict[str, Tensor],
    pair_batches: Callable[..., Any],
    tmp_path: Path,
) -> None:
    from test_open_clip import CONFIG, ported

    from editkit_clip.open_clip_format import OpenClip

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    weights = ported(load_file(GOLDEN / "model" / "model.safetensors"))
    save_file(weights, tmp_path / "m" / "open_clip_model.safetensors", metadata={"format": "pt"})
    adapter = OpenClip()
    files = adapter.open(str(tmp_path / "m"))
    model = adapter.load(files, device="cpu", dtype="float32", towers=("text", "vision"))

    def new_weights(loaded: Any, sites: list[Any]) -> dict[str, Tensor]:
        embedded = {
            "vision": loaded.encode_images({"pixel_values": reference["pixel_values"]}),
            "text": loaded.encode_texts({"input_ids": reference["input_ids"]}),
        }
        described = {tower: describe_embeddings(rows.view(2, PAIRS, -1)) for tower, rows in embedded.items()}
        spec = default_host().resolve(ManipulatorSpec, manipulator)
        given = dict(setting.removeprefix("manipulator.").split("=") for setting in options)
        component = spec.load()(spec.options(**given))
        found = {}
        for site in match_targets(["*:proj"], sites):
            moments = stream_moments(loaded, site.tower, [site], pair_batches(loaded, site.tower, 5), second=True)
            own, other = ("text", "vision") if site.tower == "text" else ("vision", "text")
            context = ManipulationContext(moments=moments, own_modality=described[own], other_modality=described[other])
            held = weight_of(loaded.parameter(site.key), site)
            found[site.name] = component.apply(site, held, None, torch.ones(site.shape).bool(), context)["weight"]
            assert relative(found[site.name], held) > 1e-3
        return found

    ours, theirs = new_weights(model, adapter.sites(files)), new_weights(clip, clip_sites)
    assert ours.keys() == theirs.keys() == {"text:proj", "vision:proj"}
    for name in ours:
        assert relative(ours[name], theirs[name]) <= tolerated, name


# for authors


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("manipulator", ["redirect", "refuse", "project", "mean-ablate"])
def test_what_the_engine_does_to_a_site_may_be_done_to_tensors_at_hand(
    manipulator: str, tower: Any, model: Path, pairs: Path, tmp_path: Path
) -> None:
    role = {"mean-ablate": "mlp.in", "project": "mlp.in"}.get(manipulator, "proj")
    share = settings("selector.fraction=0.2") if manipulator == "mean-ablate" else ()
    target = f"{tower}:{role}" + ("" if role == "proj" else "[0]")
    after = edit(model, pairs, tmp_path, "--manipulator", manipulator, "--target", target, *share)
    before = load_file(model / "model.safetensors")
    names = {"text": "text_projection", "vision": "visual_projection"}
    module = names[tower] if role == "proj" else f"{tower}_model.encoder.layers.0.mlp.fc1"
    weight, bias = (before.get(f"{module}.{part}") for part in ("weight", "bias"))
    assert weight is not None
    samples = torch.from_numpy(np.stack(transformers_inputs(model, pairs, tower, module)[module]))  # [2 * B, I]
    embedded = {}
    for which, name in names.items():
        rows = torch.from_numpy(np.stack(transformers_inputs(model, pairs, which, name)[name]))
        outputs = rows @ before[f"{name}.weight"].double().T
        embedded[which] = (outputs / outputs.norm(dim=1, keepdim=True)).view(2, len(rows) // 2, -1)
    cut = after[f"{module}.weight"].eq(0).all(dim=0).expand_as(weight)
    found = testing.manipulate(
        manipulator,
        weight,
        bias,
        mask=cut if manipulator == "mean-ablate" else None,
        safe=samples[: len(samples) // 2],
        unsafe=samples[len(samples) // 2 :],
        own_embeddings=embedded[tower],
        other_embeddings=embedded["vision" if tower == "text" else "text"],
        role=role,  # type: ignore[arg-type]
        tower=tower,
    )
    for part, tensor in found.items():
        assert relative(tensor, after[f"{module}.{part}"]) <= 1e-4, part
    assert relative(found["weight"], weight) > 1e-3


def test_tensors_at_hand_are_refused_as_the_engine_refuses_a_site() -> None:
    weight, x = torch.ones(2, 3), torch.randn(4, 3)
    with pytest.raises(RecipeError, match="Manipulator 'redirect' looks at pairs"):
        testing.manipulate("redirect", weight)
    with pytest.raises(SiteError, match="the towers share no space"):
        testing.manipulate("refuse", weight, safe=x, unsafe=x + 1)
    with pytest.raises(SiteError, match="has no bias"):
        testing.manipulate("mean-ablate", weight, safe=x, unsafe=x + 1)
