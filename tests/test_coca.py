"""CoCa: its towers keep the adapters' contract, its class token and pooling attention are seen and edited."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from coca_models import FUSED, PUBLISHED, tiny_coca, tiny_settings
from command_line import cache_at, done
from models import table
from naive import relative
from open_clip_models import library_model, plain_open_clip
from safetensors.torch import load_file
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.protocols import ModelFiles
from editkit.components.site import TOWERS, Site, Tower
from editkit.errors import ModelError
from editkit.models.find import find_adapter
from editkit.models.observe import observe
from editkit.models.site_tensors import weight_of
from editkit.testing import check_adapter
from editkit.testing.adapter_case import encode, inputs_of, noise
from editkit_coca.adapter import POOL, CoCa
from editkit_coca.model import LoadedCoca

LIKE = pytest.mark.parametrize("like", [*PUBLISHED, FUSED])
BOTH_TOWERS = pytest.mark.parametrize("tower", TOWERS)
CAPTIONS = ("a dog", "Stop! A red bicycle leans against the old brick wall", "word " * 100)
BEGIN, END = 49406, 49407


@pytest.fixture(scope="module")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda like: tiny_coca(tmp_path_factory.mktemp("coca") / "model", like))


def opened(source: str) -> tuple[LoadedCoca, list[Site], ModelFiles]:
    adapter = CoCa()
    files = adapter.open(source)
    return adapter.load_captioner(files, device="cpu", dtype="float32"), adapter.sites(files), files


def items(tower: Tower) -> Any:
    return CAPTIONS if tower == "text" else noise()


def embedded(model: LoadedCoca, tower: Tower) -> Tensor:
    with torch.no_grad():
        return encode(model, tower, inputs_of(model, tower, items(tower))[0])


# the contract


@pytest.mark.parametrize("archive", [False, True], ids=["safetensors", "torch archive"])
@pytest.mark.parametrize("like", PUBLISHED)
def test_coca_keeps_the_contract(tmp_path: Path, like: str, archive: bool) -> None:
    check_adapter("coca", tiny_coca(tmp_path / "model", like, archive=archive), library=plain_open_clip)


def test_a_pool_whose_maps_are_rows_of_one_tensor_keeps_it_too(tmp_path: Path) -> None:
    check_adapter("coca", tiny_coca(tmp_path / "model", FUSED), library=plain_open_clip)


def test_a_coca_without_a_pool_keeps_it_too(tmp_path: Path) -> None:
    source = tiny_coca(tmp_path / "model", FUSED, attentional_pool=False)
    assert not [site for site in opened(source)[1] if site.role.startswith("pool.")]
    check_adapter("coca", source, library=plain_open_clip)


def test_coca_is_known_by_its_architectures_name_and_a_folder_by_its_decoder(source_of: Any, tmp_path: Path) -> None:
    for source in ("open_clip:coca_ViT-L-14/laion2b_s13b_b90k", "open_clip:coca_ViT-B-32@any.pt"):
        assert find_adapter(source, default_host()).name == "coca"
    _, _, files = opened(source_of(FUSED))
    CoCa().save_beside(files, tmp_path)
    assert find_adapter(str(tmp_path), default_host()).name == "coca"


# sites


@LIKE
def test_the_pool_is_three_sites_and_its_learned_query_none(source_of: Any, like: str) -> None:
    model, sites, _ = opened(source_of(like))
    pool = {site.name: site for site in sites if site.role.startswith("pool.")}
    assert list(pool) == ["vision:pool.attn.k[0]", "vision:pool.attn.v[0]", "vision:pool.attn.out[0]"]
    k, v, out = pool.values()
    width = model.module.visual.transformer.width
    assert (k.shape, v.shape, out.shape) == ((32, width), (32, width), (32, 32))
    if like == FUSED:
        assert (k.key, v.key) == (f"{POOL}.in_proj_weight",) * 2
        assert (k.rows, v.rows) == ((32, 64), (64, 96))
    else:
        assert (k.key, v.key) == (f"{POOL}.k_proj_weight", f"{POOL}.v_proj_weight")
        assert (k.rows, v.rows) == (None, None)


def test_the_pools_query_is_the_same_for_every_image(source_of: Any) -> None:
    model, _, _ = opened(source_of(PUBLISHED[0]))
    queries: list[Tensor] = []
    pool = model.module.visual.attn_pool.attn
    handle = pool.register_forward_pre_hook(lambda module, inputs: queries.append(inputs[0]))
    embedded(model, "vision")
    handle.remove()
    (query,) = queries
    assert all(torch.equal(one, query[0]) for one in query)


@LIKE
@BOTH_TOWERS
def test_a_towers_tensors_are_all_that_its_embeddings_depend_on(source_of: Any, like: str, tower: Tower) -> None:
    model, sites, files = opened(source_of(like))
    named = dict(model.module.requires_grad_(True).named_parameters())
    inputs, _ = inputs_of(model, tower, items(tower))
    towards = torch.randn(len(items(tower)), 32, generator=torch.Generator().manual_seed(0))
    loss = (encode(model, tower, inputs) * towards).sum()
    gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))
    reached = {key: gradient for key, gradient in gradients.items() if gradient is not None and bool(gradient.any())}
    assert reached.keys() == CoCa().tensors(files, tower).keys()
    for site in sites:
        if site.tower == tower:
            assert bool(weight_of(reached[site.key], site).any()), site.name
    assert not any(key.startswith("text_decoder.") for key in reached)


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"attentional_pool": "parallel"}, "it pools images by 'parallel' attention"),
        ({"attentional_pool": "cascade"}, "it pools images by 'cascade' attention"),
        ({"timm_model_name": "vit_tiny_patch16_224"}, "its vision tower is one of timm's"),
        ({"output_tokens": False}, "give the decoder no tokens"),
    ],
)
def test_forms_that_were_never_published_are_refused(source_of: Any, vision: dict[str, Any], reason: str) -> None:
    settings = tiny_settings(FUSED)
    settings["vision_cfg"] |= vision
    refused(source_of(FUSED), settings, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ({"hf_model_name": "roberta-base"}, "its text tower or tokenizer is one of Hugging Face's"),
        ({"hf_tokenizer_name": "roberta-base"}, "its text tower or tokenizer is one of Hugging Face's"),
        ({"embed_cls": False}, "its text tower has no class token"),
    ],
)
def test_other_text_towers_are_refused(source_of: Any, text: dict[str, Any], reason: str) -> None:
    settings = tiny_settings(FUSED)
    settings["text_cfg"] |= text
    refused(source_of(FUSED), settings, reason)


def refused(source: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip, "get_model_config", lambda name: settings)
        with pytest.raises(ModelError) as caught:
            opened(source)
    assert reason in caught.value.problem


# captions as inputs


def test_the_class_token_counts_and_padding_does_not(source_of: Any) -> None:
    model, _, _ = opened(source_of(FUSED))
    inputs, mask = model.text_inputs([[BEGIN, 0, 5, END], [BEGIN, END]], "real")  # id 0 is "!" as well as padding
    assert inputs["input_ids"].tolist() == [[BEGIN, 0, 5, END, 0], [BEGIN, END, 0, 0, 0]]
    assert mask.int().tolist() == [[1, 1, 1, 1, 0, 1], [1, 1, 0, 0, 0, 1]]


def test_the_released_mask_is_shifted_by_one(source_of: Any) -> None:
    model, _, _ = opened(source_of(FUSED))
    _, mask = model.text_inputs([[BEGIN, 7, 5, END], [BEGIN, END]], "released")
    assert mask.int().tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]
    full = [BEGIN, *range(1, 75), END]
    assert bool(model.text_inputs([full], "released")[1].all())


def test_the_released_mask_is_what_the_class_token_attends_to(source_of: Any) -> None:
    model, _, _ = opened(source_of(FUSED))
    inputs, mask = model.text_inputs([[BEGIN, 0, 5, END], [BEGIN, END]], "released")
    _, additive = model.module.text._embeds(inputs["input_ids"])  # [B * H, T + 1, T + 1]
    heads = model.module.text.heads
    assert torch.equal(additive[::heads, -1] == 0, mask)


def test_all_tokens_are_the_whole_context_and_the_class_token(source_of: Any) -> None:
    model, _, _ = opened(source_of(FUSED))
    inputs, mask = model.text_inputs([[BEGIN, END]], "all")
    assert (tuple(inputs["input_ids"].shape), tuple(mask.shape), bool(mask.all())) == ((1, 76), (1, 77), True)


@LIKE
@pytest.mark.parametrize("length", [2, 3, 40, 74, 75, 76])
def test_a_caption_needs_no_padding_to_the_context(source_of: Any, like: str, length: int) -> None:
    model, _, _ = opened(source_of(like))
    for words in ([0] * (length - 2), list(range(1000, 998 + length))):  # "!" is masked as padding is, by the model
        row = [BEGIN, *words, END]
        inputs, mask = model.text_inputs([row, [BEGIN, END]], "real")
        assert mask.shape == (2, min(length + 1, 76) + 1)
        whole = torch.tensor([row + [0] * (76 - length), [BEGIN, END] + [0] * 74])
        library = model.module.encode_text(whole, normalize=True)
        assert relative(model.encode_texts(inputs), library) <= 1e-6


# what observing and editing do


@LIKE
@BOTH_TOWERS
def test_observing_leaves_weights_alone_and_embeddings_too_once_it_ends(
    source_of: Any, like: str, tower: Tower
) -> None:
    model, sites, _ = opened(source_of(like))
    weights = {key: tensor.clone() for key, tensor in model.module.state_dict().items()}
    before = embedded(model, tower)
    seen: dict[Site, tuple[int, ...]] = {}
    own = [site for site in sites if site.tower == tower]
    with observe(model, own, lambda site, x, y: seen.update({site: tuple(x.shape)})) as observer:
        assert relative(embedded(model, tower), before) <= 1e-6
        observer.expect_one_run()
    assert torch.equal(embedded(model, tower), before)
    after = model.module.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in weights.items())
    assert {type(m).__name__ for m in model.module.modules() if isinstance(m, torch.nn.MultiheadAttention)} == {
        "MultiheadAttention"
    }
    tokens = {"text": 77, "vision": model.module.visual.positional_embedding.shape[0]}[tower]  # one caption is long
    for site, shape in seen.items():
        many = {"proj": 1, "pool.attn.out": 12}.get(site.role, tokens)
        assert shape == (3, many, site.shape[1]), site.name


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("pairs"))


def edit(source: str, pairs: Path, root: Path, *targets: str) -> Path:
    """The folder to which `editkit edit` saved the edited model."""
    named = [part for target in targets for part in ("--target", target)]
    flags = ("--model", source, "--data", pairs, "--tau", 0.2, "--workers", 0, "-o", root / "patch")
    with cache_at(root / "cache"):
        done("edit", *flags, *named, "--save", root / "saved")
    return root / "saved"


@LIKE
def test_an_edit_of_attention_outputs_changes_what_open_clip_embeds(
    source_of: Any, pairs: Path, tmp_path: Path, like: str
) -> None:
    source = source_of(like)
    saved = edit(source, pairs, tmp_path, "text:attn.out", "vision:attn.out")
    base, edited = plain_open_clip(source), plain_open_clip(str(saved))
    mine, _, _ = opened(str(saved))
    for tower in TOWERS:
        theirs = edited(tower, items(tower))
        assert relative(theirs, base(tower, items(tower))) >= 1e-2
        assert relative(embedded(mine, tower), theirs) <= 1e-5
    assert changed(source, saved) == {
        f"{tower}.transformer.resblocks.{layer}.attn.out_proj.weight"
        for tower, layers in (("text", 2), ("visual", 3))
        for layer in range(layers)
    }


@LIKE
@pytest.mark.parametrize("role", ["k", "v", "out"])
def test_an_edit_of_the_pool_changes_what_open_clip_embeds(
    source_of: Any, pairs: Path, tmp_path: Path, like: str, role: str
) -> None:
    source = source_of(like)
    saved = edit(source, pairs, tmp_path, f"vision:pool.attn.{role}")
    (key,) = changed(source, saved)
    assert key.startswith(f"{POOL}.")
    assert relative(plain_open_clip(str(saved))("vision", noise()), plain_open_clip(source)("vision", noise())) >= 1e-4
    if like == FUSED and role != "out":
        old, new = library_model(source)[0].state_dict()[key], library_model(saved)[0].state_dict()[key]
        parts = [torch.equal(a, b) for a, b in zip(old.chunk(3), new.chunk(3), strict=True)]
        assert parts == [True, role != "k", role != "v"]


def changed(source: str, saved: Path) -> set[str]:
    """The tensors that differ; all others, the decoder's too, are there bit by bit."""
    old = load_file(source.partition("@")[2])
    (file,) = saved.glob("*.safetensors")
    new = load_file(file)
    assert old.keys() == new.keys()
    return {key for key, tensor in old.items() if not torch.equal(tensor, new[key])}


@LIKE
def test_every_site_moves_the_embeddings_of_its_own_tower_only(source_of: Any, like: str) -> None:
    model, sites, _ = opened(source_of(like))
    before = {tower: embedded(model, tower) for tower in TOWERS}
    for site in sites:
        weight = weight_of(model.parameter(site.key), site)
        kept = weight.clone()
        weight.neg_()
        for tower in TOWERS:
            moved = relative(embedded(model, tower), before[tower])
            assert (moved >= 1e-4) if tower == site.tower else (moved == 0), (site.name, moved)
        weight.copy_(kept)
