"""Half precision: `--autocast` leaves weights and statistics in float32; `--dtype` loads the weights in less."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import as_error, done, run
from models import OPEN_CLIP, table, tiny_clip, tiny_open_clip
from naive import relative
from PIL import Image
from torch import Tensor
from torch.nn import functional

from editkit.components.inputs import Inputs
from editkit.components.load import default_host
from editkit.components.protocols import Model
from editkit.components.site import TOWERS, Site, Tower
from editkit.editing.engine import select
from editkit.editing.input_scores import Scored
from editkit.editing.plan import make_plan
from editkit.editing.run import Run
from editkit.editing.score import score
from editkit.errors import RecipeError
from editkit.models.compute import require_autocast
from editkit.models.find import open_model
from editkit.models.load import load_model
from editkit.models.observe import observe
from editkit.progress import silent

CAPTIONS = ("a dog", "Stop! A red bicycle leans against the wall!", "two people share a meal at night")
TINY = {"transformers": 0.02, "open_clip": 0.05}
"""How far bfloat16, which keeps 8 bits, moves the embeddings of the tiny models."""

BOTH_TOWERS = pytest.mark.parametrize("tower", TOWERS)
HALVES = pytest.mark.parametrize("half", ["bfloat16", "float16"])
REDUCED = pytest.mark.parametrize(
    "reduced",
    [("autocast", "bfloat16"), ("autocast", "float16"), ("dtype", "bfloat16"), ("dtype", "float16")],
    ids="-".join,
)


@dataclass(frozen=True)
class Tiny:
    """A tiny model by its library's name."""

    library: str
    source: str

    def load(self, autocast_to: str = "none", dtype: str = "float32") -> Model:
        adapter, files = open_model(self.source, default_host())
        return load_model(adapter, files, TOWERS, device="cpu", dtype=dtype, autocast_to=autocast_to, stage=silent)

    def sites(self, tower: Tower) -> list[Site]:
        adapter, files = open_model(self.source, default_host())
        return [site for site in adapter.sites(files) if site.tower == tower]


@pytest.fixture(scope="module", params=TINY)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    if request.param == "transformers":
        return Tiny(request.param, str(tiny_clip(folder)))
    return Tiny(request.param, f"open_clip:{OPEN_CLIP}@{tiny_open_clip(folder)}")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("pairs"), 10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture
def flags(clip: Path, pairs: Path) -> tuple[object, ...]:
    return ("--model", clip, "--data", pairs, "--workers", 0)


def inputs_of(model: Model, tower: Tower) -> Mapping[str, Tensor]:
    if tower == "text":
        return model.text_inputs(model.tokenize(CAPTIONS), "real")[0]
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    prepare = model.image_preprocessor()
    return {"pixel_values": torch.stack([prepare(Image.fromarray(one))["pixel_values"] for one in noise])}


def embed(model: Model, tower: Tower) -> Tensor:
    encode = model.encode_texts if tower == "text" else model.encode_images
    with torch.no_grad():
        return encode(inputs_of(model, tower))


def bits(model: Model) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.module.state_dict().items()}


# the model


@BOTH_TOWERS
@HALVES
def test_embeddings_are_those_of_the_library_under_torch_autocast(clip: Path, tower: Tower, half: str) -> None:
    from transformers import CLIPModel

    library = CLIPModel.from_pretrained(clip).eval()
    model = Tiny("transformers", str(clip)).load(half)
    inputs = inputs_of(model, tower)
    with torch.no_grad(), torch.autocast("cpu", getattr(torch, half)):
        features = library.get_text_features(**inputs) if tower == "text" else library.get_image_features(**inputs)
    found = embed(model, tower)
    assert features.pooler_output.dtype == getattr(torch, half)
    assert torch.equal(found, functional.normalize(features.pooler_output.float(), dim=-1))


@BOTH_TOWERS
def test_embeddings_are_float32_of_length_one_and_near_those_in_full_precision(tiny: Tiny, tower: Tower) -> None:
    found, full = embed(tiny.load("bfloat16"), tower), embed(tiny.load(), tower)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3), rtol=1e-6, atol=0)
    assert 1e-4 < relative(found, full) < TINY[tiny.library]


def test_weights_are_float32_and_keep_every_bit(tiny: Tiny) -> None:
    model = tiny.load("bfloat16")
    before = bits(tiny.load())
    for tower in TOWERS:
        with observe(model, tiny.sites(tower), lambda site, x, y: None):
            embed(model, tower)
    after = bits(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) and after[key].dtype == before[key].dtype for key in before)


@BOTH_TOWERS
def test_what_is_not_a_forward_pass_is_the_models_own(tiny: Tiny, tower: Tower) -> None:
    model, plain = tiny.load("bfloat16"), tiny.load()
    assert model.towers == plain.towers and model.device == plain.device
    assert model.processing() == plain.processing()
    assert model.tokenize(CAPTIONS) == plain.tokenize(CAPTIONS)
    cosines = torch.tensor([[0.25]])
    assert torch.equal(model.scores(cosines), plain.scores(cosines))
    for site in tiny.sites(tower):
        assert model.parameter(site.key).dtype == torch.float32


def test_an_edit_of_a_weight_is_seen_by_the_next_pass(tiny: Tiny) -> None:
    """No copy in half precision outlives its pass, not even that of a weight which gradients are wanted of."""
    model = tiny.load("bfloat16")
    site = next(site for site in tiny.sites("vision") if site.role == "mlp.out")
    weight = model.parameter(site.key).requires_grad_(True)
    inputs = inputs_of(model, "vision")
    before = model.encode_images(inputs)
    with torch.no_grad():
        weight.mul_(-1)
    assert relative(model.encode_images(inputs).detach(), before.detach()) > 0.01


# what is observed


@BOTH_TOWERS
def test_every_site_is_observed_once_by_its_own_weight(tiny: Tiny, tower: Tower) -> None:
    model, sites = tiny.load("bfloat16"), tiny.sites(tower)
    computed: dict[Site, torch.dtype] = {}

    def receive(site: Site, x: Tensor, y: Tensor) -> None:
        computed[site] = y.dtype

    with observe(model, sites, receive) as observer:
        embed(model, tower)
        observer.expect_one_run()
    assert computed == dict.fromkeys(sites, torch.bfloat16)


@BOTH_TOWERS
def test_statistics_are_float32_to_the_last_digit(tiny: Tiny, tower: Tower) -> None:
    """They are taken within the forward pass, where a product of matrices would lose two thirds of its digits."""
    off: list[float] = []

    def receive(site: Site, x: Tensor, y: Tensor) -> None:
        held, exact = Inputs(x, None), x.double()
        expected = {"mean": exact.mean(dim=1), "norm": exact.norm(dim=1), "absolute": exact.abs().sum(dim=1)}
        for name, value in expected.items():
            found: Tensor = getattr(held, name)
            assert found.dtype == torch.float32
            off.append(relative(found, value.float()))
        square = torch.full((3, 3), 1 / 3)
        assert (square @ square).dtype == torch.float32

    model = tiny.load("bfloat16")
    with observe(model, tiny.sites(tower), receive):
        embed(model, tower)
    assert off and max(off) < 1e-5


def test_gradients_reach_the_float32_weights(tiny: Tiny) -> None:
    found = {}
    for precision in ("none", "bfloat16"):
        model = tiny.load(precision)
        sites = tiny.sites("vision")
        keys = list(dict.fromkeys(site.key for site in sites))
        weights = [model.parameter(key).requires_grad_(True) for key in keys]
        embedded = model.encode_images(inputs_of(model, "vision"))
        found[precision] = dict(zip(keys, torch.autograd.grad(embedded[:, 0].sum(), weights), strict=True))
    for key, full in found["none"].items():
        half = found["bfloat16"][key]
        assert half.dtype == torch.float32
        assert 0 < relative(half, full) < 0.1, key


# scores and edits


@cache
def scored(
    source: str, data: str, scorer: str, kind: str, precision: str
) -> tuple[dict[Site, Tensor], dict[Site, Tensor]]:
    """Scores and masks of both towers, made anew."""
    layer = {"model": source, "data.name": "pairs", "data.path": data, "scorer.name": scorer, "selector.tau": 0.2}
    layer |= {"compute.workers": 0, "compute.cache": False, f"compute.{kind}": precision}
    plan = make_plan([("flag", layer)], default_host())
    running = Run(plan, silent, plan.files.checkpoint.identity(), "cpu")
    scores: dict[Site, Tensor] = {}
    masks: dict[Site, Tensor] = {}
    for tower in TOWERS:
        found: dict[str, Scored] = score(running, tower)
        scores |= found["scorer"].scores
        masks |= select(plan, tower, found)
    return scores, masks


@REDUCED
@pytest.mark.parametrize(
    ("scorer", "bound"), [("uwm", 0.01), ("gradient", 0.06), ("snip", 0.02), ("fisher-ratio", 0.12)]
)
def test_scores_are_float32_within_the_rounding_of_the_pass_and_choose_much_the_same(
    tiny: Tiny, pairs: Path, scorer: str, bound: float, reduced: tuple[str, str]
) -> None:
    full, chosen = scored(tiny.source, str(pairs), scorer, "dtype", "float32")
    half, also = scored(tiny.source, str(pairs), scorer, *reduced)
    for site, expected in full.items():
        assert half[site].dtype == torch.float32
        # float16 keeps 11 bits, bfloat16 8
        assert 0 < relative(half[site], expected) < (bound if reduced[1] == "bfloat16" else bound / 4), site
    same = sum(int((chosen[site] & also[site]).sum()) for site in chosen)
    assert same / sum(int(mask.sum()) for mask in chosen.values()) > 0.94


@REDUCED
def test_an_edit_and_its_evaluation_run_from_end_to_end(
    flags: tuple[object, ...], reduced: tuple[str, str], tmp_path: Path
) -> None:
    precision = (f"--{reduced[0]}", reduced[1])
    done("edit", *flags, *precision, "--tau", 0.1, "-o", tmp_path / "patch")
    record = json.loads((tmp_path / "patch" / "record.json").read_text())
    assert record["recipe"][reduced[0]] == reduced[1]
    assert all(0 < site["count"] < site["shape"][0] * site["shape"][1] for site in record["sites"])
    measure = ("eval", "safeground", *flags, *precision, "--split", "train", "--patch", tmp_path / "patch")
    report = done(*measure, "--no-controls", "--knowledge", "none", "--json").json  # emit_json refuses a NaN
    assert [row["name"] for row in report["models"]] == ["base", "patch"]


@REDUCED
def test_moments_are_float64_and_near_those_in_full_precision(
    flags: tuple[object, ...], reduced: tuple[str, str], tmp_path: Path
) -> None:
    from editkit.files.bits import to_tensor
    from editkit.patch.patch import Patch

    edit = ("edit", *flags, "--manipulator", "redirect", "--target", "text:proj")
    done(*edit, "-o", tmp_path / "full")
    done(*edit, f"--{reduced[0]}", reduced[1], "-o", tmp_path / "half")
    [full], [half] = (list(Patch.load(tmp_path / name).changes.values()) for name in ("full", "half"))
    values = [to_tensor(each.after, each.dtype, "text:proj") for each in (half, full)]
    assert 0 < relative(*values) < 0.05


# what is part of what


def test_autocast_is_part_of_the_recipe_only_where_it_is_set(flags: tuple[object, ...]) -> None:
    plain, none, half = (
        done("plan", *flags, "--json", *more).json for more in ((), ("--autocast", "none"), ("--autocast", "bfloat16"))
    )
    assert "autocast" not in plain["recipe"] and plain["recipe"] == none["recipe"]
    assert plain["recipe_digest"] == none["recipe_digest"] != half["recipe_digest"]
    assert half["recipe"] == {**plain["recipe"], "autocast": "bfloat16"}
    assert half["origins"]["autocast"] == "flag"


def test_a_recipe_file_sets_it_and_a_flag_takes_it_back(flags: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("scorer: uwm\ncompute: {autocast: bfloat16}\n")
    with_file = ("plan", *flags, "--recipe", tmp_path / "r.yaml", "--json")
    assert done(*with_file).json["recipe"]["autocast"] == "bfloat16"
    assert "autocast" not in done(*with_file, "--autocast", "none").json["recipe"]


def test_scores_in_one_precision_are_no_answer_to_another(flags: tuple[object, ...], tmp_path: Path) -> None:
    def cached(*precision: str) -> bool:
        return all(row["cache"] == "hit" for row in done("plan", *flags, *precision, "--json").json["groups"])

    done("edit", *flags, "-o", tmp_path / "full")
    assert cached() and not cached("--autocast", "bfloat16")
    done("edit", *flags, "--autocast", "bfloat16", "-o", tmp_path / "half")
    assert cached() and cached("--autocast", "bfloat16") and not cached("--autocast", "float16")


def test_embeddings_in_one_precision_are_no_answer_to_another(flags: tuple[object, ...], own_cache: Path) -> None:
    def entries() -> int:
        return len(list((own_cache / "embeddings").rglob("*.safetensors")))

    measure = ("eval", "safeground", *flags, "--split", "train", "--knowledge", "none", "--json")
    found = []
    for number, precision in enumerate(("none", "bfloat16", "float16"), start=1):
        done(*measure, "--autocast", precision)
        assert entries() == 2 * number  # texts and images
        found.append(entries())
    done(*measure)
    assert entries() == found[-1]


# refused


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("command", [("edit",), ("plan",), ("eval", "safeground")])
def test_autocast_of_weights_that_are_no_float32_is_refused(command: tuple[str, ...], dtype: str) -> None:
    error = as_error(run(*command, "--model", "no/where", "--dtype", dtype, "--autocast", "bfloat16"))
    assert f"autocast bfloat16 is for weights in float32, but dtype is {dtype}; give one of the two." in error


def test_a_precision_that_is_none_is_refused_with_those_that_are(flags: tuple[object, ...]) -> None:
    error = as_error(run("plan", *flags, "--autocast", "float64"))
    assert "compute.autocast = 'float64'" in error and "'bfloat16'" in error


def test_a_precision_that_torch_leaves_off_with_a_mere_warning_is_refused() -> None:
    """Torch has no float64 autocast on the CPU: the case of every device that lacks one of the two offered."""
    with pytest.raises(RecipeError, match="torch does not compute so on the device 'cpu'"):
        require_autocast("float64", "cpu")
    for able in ("none", "bfloat16"):
        require_autocast(able, "cpu")
