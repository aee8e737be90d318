"""What pairs look like at a site: streamed moments against a float64 loop over samples from plain hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN, PAIRS
from manipulator_samples import moments_of as looped
from models import tiny_open_clip
from naive import float64, relative
from torch import Tensor

from editkit.components.site import Site, match_targets
from editkit.components.statistics import Moments
from editkit.editing.moments import describe_embeddings, memory_of, moments_of, stream_moments
from editkit.errors import EditkitError, ModelError, ScoreError
from editkit.models.batches import Batch
from editkit.models.site_tensors import weight_of

TOWERS = ("text", "vision")
EVERY_TOWER = pytest.mark.parametrize("tower", TOWERS)
SECOND = ("safe_safe", "unsafe_unsafe", "safe_unsafe")
Batches = Callable[..., Iterator[Batch]]


def streamed(model: Any, tower: Any, sites: list[Site], batches: Any, *, second: bool = True) -> dict[str, Moments]:
    found = stream_moments(model, tower, sites, batches, second=second)
    return {site.name: moments for site, moments in found.items()}


def sites_of(tower: str, every_site: list[Site]) -> list[Site]:
    return match_targets([f"{tower}:*"], every_site)


# the reference: plain transformers, one sample at a time, sums as the definition has them


def activations(reference: dict[str, Tensor], tower: str) -> dict[str, list[Any]]:
    """By module, the mean input [I] float64 over the tokens of each sample, each run alone and unpadded."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(GOLDEN / "model").eval()
    own = ("text_model.encoder", "text_projection") if tower == "text" else ("vision_model.encoder", "visual_proj")
    seen: dict[str, list[Any]] = {}

    def recorder(name: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            rows = float64(args[0]).reshape(-1, args[0].shape[-1])  # [T, I]; the projection sees one
            total = np.zeros(rows.shape[1])
            for row in rows:
                total += row
            seen.setdefault(name, []).append(total / len(rows))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith(own):
            module.register_forward_pre_hook(recorder(name))
    with torch.no_grad():
        for row in range(2 * PAIRS):
            if tower == "vision":
                model.get_image_features(pixel_values=reference["pixel_values"][row, None])
            else:
                real = reference["attention_mask"][row].bool()
                model.get_text_features(input_ids=reference["input_ids"][row, real][None])
    return seen


def naive(samples: list[Any], weight: Any) -> dict[str, Any]:
    """The moments of 2 * B samples, the safe ones first, one pair at a time."""
    pairs = len(samples) // 2
    width = len(samples[0])
    found: dict[str, Any] = {"safe": np.zeros(width), "unsafe": np.zeros(width), "safe_output_norm": 0.0}
    found |= {name: np.zeros((width, width)) for name in SECOND}
    for s, u in zip(samples[:pairs], samples[pairs:], strict=True):
        found["safe"] += s / pairs
        found["unsafe"] += u / pairs
        for name, (x, y) in zip(SECOND, ((s, s), (u, u), (s, u)), strict=True):
            found[name] += np.outer(x, y) / pairs
        found["safe_output_norm"] += np.sqrt(sum((row @ s) ** 2 for row in weight)) / pairs
    return found


@EVERY_TOWER
def test_moments_are_those_of_a_float64_loop_over_samples_at_every_site(
    clip: Any, clip_sites: list[Site], reference: dict[str, Tensor], pair_batches: Batches, tower: Any
) -> None:
    sites = sites_of(tower, clip_sites)
    found = streamed(clip, tower, sites, pair_batches(clip, tower, 5))
    samples = activations(reference, tower)
    assert {site.module for site in sites} == samples.keys() and len(sites) == 13
    for site in sites:
        moments = found[site.name]
        expected = naive(samples[site.module], float64(weight_of(clip.parameter(site.key), site)))
        assert moments.pairs == PAIRS
        for name, value in expected.items():
            assert relative(getattr(moments, name), value) <= 1e-6, (site.name, name)


@pytest.mark.parametrize("tokens", ["real", "all"])
def test_only_the_tokens_that_count_are_averaged(
    clip: Any, clip_sites: list[Site], reference: dict[str, Tensor], tokens: str
) -> None:
    lengths = reference["attention_mask"].sum(dim=1).tolist()
    assert len(set(lengths)) > 1
    ids = [row[:length] for row, length in zip(reference["input_ids"].tolist(), lengths, strict=True)]
    inputs, mask = clip.text_inputs(ids, tokens)
    sites = match_targets(["text:mlp.out"], clip_sites)
    found = streamed(clip, "text", sites, [Batch(tuple(range(PAIRS)), inputs, mask)])
    samples = activations(reference, "text")
    errors = [relative(found[site.name].safe, sum(samples[site.module][:PAIRS]) / PAIRS) for site in sites]
    assert all(error <= 1e-6 if tokens == "real" else error > 1e-2 for error in errors)


def test_the_projection_sees_the_pooled_token_whatever_the_mask(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    [site] = match_targets(["text:proj"], clip_sites)
    batches = list(pair_batches(clip, "text", 12))
    masked = [replace(batch, mask=torch.zeros_like(batch.mask)) for batch in batches if batch.mask is not None]
    same, found = (streamed(clip, "text", [site], those)[site.name] for those in (batches, masked))
    assert torch.equal(found.safe, same.safe) and bool(found.safe.any())


# open_clip's projection is a parameter that no module owns


@EVERY_TOWER
def test_the_raw_projection_of_open_clip_is_observed(tmp_path: Any, tower: Any) -> None:
    import open_clip

    from editkit_clip.open_clip_format import OpenClip

    adapter = OpenClip()
    files = adapter.open(f"open_clip:editkit-tiny@{tiny_open_clip(tmp_path / 'open-clip')}")
    model = adapter.load(files, device="cpu", dtype="float32", towers=TOWERS)
    [site] = match_targets([f"{tower}:proj"], adapter.sites(files))
    assert site.transposed and site.module == ""
    torch.manual_seed(0)
    pixels = torch.randn(6, 3, 64, 64)
    ids = open_clip.tokenizer.SimpleTokenizer(context_length=77)(["a", "a dog", "two cats", "an ox", "no", "a tree"])
    inputs, mask = {"pixel_values": pixels}, None
    if tower == "text":
        inputs, mask = model.text_inputs([row[row.ne(0)].tolist() for row in ids], "real")
    found = streamed(model, tower, [site], [Batch((0, 1, 2), inputs, mask)])[site.name]

    # the pooled input is what the library multiplies by `proj`: solve for it with the identity in its place
    held = model.parameter(site.key)
    weight = float64(held).T  # [O, I]
    samples = []
    with torch.no_grad():
        for row in range(6):
            identity = torch.nn.Parameter(torch.eye(held.shape[0]))
            if tower == "text":
                model.module.text_projection = identity
                samples.append(float64(model.module.encode_text(ids[row, None]))[0])
            else:
                model.module.visual.proj = identity
                samples.append(float64(model.module.encode_image(pixels[row, None]))[0])
    for name, value in naive(samples, weight).items():
        assert relative(getattr(found, name), value) <= 1e-5, name


# laws


@EVERY_TOWER
@pytest.mark.parametrize("size", [1, 5])
def test_splitting_batches_changes_nothing(
    clip: Any, clip_sites: list[Site], pair_batches: Batches, tower: Any, size: int
) -> None:
    clip.module.double()  # so that a batch's size does not move the activations themselves
    sites = sites_of(tower, clip_sites)
    one, other = (streamed(clip, tower, sites, pair_batches(clip, tower, n)) for n in (PAIRS, size))
    for site in sites:
        for name in ("safe", "unsafe", *SECOND):
            assert relative(getattr(one[site.name], name), getattr(other[site.name], name)) <= 1e-10, (site.name, name)


@EVERY_TOWER
def test_where_unsafe_samples_are_the_safe_ones_the_cross_moment_is_the_unsafe_one_bit_for_bit(
    clip: Any, clip_sites: list[Site], pair_batches: Batches, tower: Any
) -> None:
    def twins(batch: Batch) -> Batch:
        rows = list(range(len(batch.groups))) * 2
        mask = None if batch.mask is None else batch.mask[rows]
        return Batch(batch.groups, {name: tensor[rows] for name, tensor in batch.inputs.items()}, mask)

    sites = sites_of(tower, clip_sites)
    for size in (1, 5, 12):
        found = streamed(clip, tower, sites, map(twins, pair_batches(clip, tower, size)))
        for moments in found.values():
            assert moments.safe_unsafe is not None and moments.unsafe_unsafe is not None
            assert torch.equal(moments.safe_unsafe, moments.unsafe_unsafe)
            assert torch.equal(moments.safe, moments.unsafe)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 1), (6, 2)])
@pytest.mark.parametrize("pairs", [1, 9])
def test_moments_of_activations_at_hand_are_the_definition(shape: tuple[int, int], pairs: int) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=draw)
    safe, unsafe = (torch.randn(pairs, shape[1], generator=draw) for _ in range(2))
    found, expected = moments_of(weight, safe, unsafe), looped(weight.double(), safe.double(), unsafe.double())
    for field in fields(Moments):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if one is None and other is None:  # of preserved items, which are no pairs
            continue
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other), rtol=1e-12, atol=1e-14)


def test_moments_of_equal_sides_are_equal_bit_for_bit() -> None:
    for width in (1, 3, 7, 64, 65):
        safe = torch.randn(11, width, generator=torch.Generator().manual_seed(width))
        found = moments_of(torch.ones(2, width), safe, safe.clone())
        assert found.safe_unsafe is not None and torch.equal(found.safe_unsafe, found.unsafe_unsafe)


def test_pairs_in_another_order_have_the_same_moments_and_other_pairs_have_not() -> None:
    draw = torch.Generator().manual_seed(0)
    weight, safe, unsafe = (torch.randn(9, 4, generator=draw) for _ in range(3))
    turned = torch.arange(8, -1, -1)
    one = moments_of(weight, safe, unsafe)
    same, broken = moments_of(weight, safe[turned], unsafe[turned]), moments_of(weight, safe, unsafe[turned])
    torch.testing.assert_close(same.safe_unsafe, one.safe_unsafe)
    assert relative(broken.safe_unsafe, one.safe_unsafe) > 0.1
    torch.testing.assert_close(broken.unsafe_unsafe, one.unsafe_unsafe)


# what is held


def test_means_alone_hold_no_matrix(clip: Any, clip_sites: list[Site], pair_batches: Batches) -> None:
    sites = sites_of("vision", clip_sites)
    batches = list(pair_batches(clip, "vision", 6))
    whole, means = (streamed(clip, "vision", sites, batches, second=second) for second in (True, False))
    for site in sites:
        found = means[site.name]
        assert (found.safe_safe, found.unsafe_unsafe, found.safe_unsafe) == (None, None, None)
        assert torch.equal(found.safe, whole[site.name].safe) and torch.equal(found.unsafe, whole[site.name].unsafe)


@pytest.mark.parametrize("second", [True, False])
def test_the_memory_of_a_site_is_that_of_its_sums_and_of_the_weight_they_need(
    clip: Any, clip_sites: list[Site], pair_batches: Batches, second: bool
) -> None:
    for site in match_targets(["vision:mlp.*", "vision:proj"], clip_sites):
        found = streamed(clip, "vision", [site], pair_batches(clip, "vision", 12), second=second)[site.name]
        held = [getattr(found, name) for name in ("safe", "unsafe", *SECOND)]
        assert all(tensor.dtype == torch.float64 for tensor in held if tensor is not None)
        sums = sum(tensor.nbytes for tensor in held if tensor is not None)
        assert memory_of(site, second=second) == sums + (site.size * 8 if second else 0)


# errors


def refused(kind: type[EditkitError], said: str, *args: Any, **options: Any) -> None:
    with pytest.raises(kind) as caught:
        stream_moments(*args, second=True, **options)
    assert said in caught.value.problem and str(caught.value).count("\n") == 1


def test_no_pair_is_an_error(clip: Any, clip_sites: list[Site]) -> None:
    refused(ScoreError, "No pair was left", clip, "text", sites_of("text", clip_sites), [])


def test_an_activation_that_is_not_finite_names_the_tuple_and_the_site(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    sites = match_targets(["vision:mlp.in[0]"], clip_sites)
    batches = list(pair_batches(clip, "vision", 12))
    batches[0].inputs["pixel_values"][PAIRS + 7] = torch.nan  # an unsafe sample
    name_of = "item-{}".format
    refused(ModelError, "tuple 'item-7' at vision:mlp.in[0]", clip, "vision", sites, batches, name_of=name_of)


def test_a_weight_of_half_precision_is_observed_in_float64(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    sites = match_targets(["vision:proj"], clip_sites)
    exact = streamed(clip, "vision", sites, pair_batches(clip, "vision", 12))["vision:proj"]
    clip.module.to(torch.bfloat16)
    found = streamed(clip, "vision", sites, pair_batches(clip, "vision", 12))["vision:proj"]
    assert found.safe_safe is not None and found.safe_safe.dtype == torch.float64
    assert 1e-5 < relative(found.safe_safe, exact.safe_safe) < 5e-2


# embeddings


def test_embeddings_are_described_by_their_mean_and_second_moment() -> None:
    embeddings = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    described = describe_embeddings(embeddings)
    mean, second = np.zeros(3), np.zeros((3, 3))
    for side in float64(embeddings):
        for e in side:
            mean += e / 10
            second += np.outer(e, e) / 10
    assert relative(described.mean, mean) <= 1e-14
    assert relative(described.second_moment, second) <= 1e-14
    assert described.mean.dtype == torch.float64
