"""The gradients of single samples: the engine against each sample run alone in float64, in both CLIP formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import plain_gradients
import pytest
import torch
from conftest import GOLDEN, PAIRS
from models import tiny_open_clip
from naive import relative
from pair_samples import scorer
from plain_gradients import GoldenPairs, Gradients, OpenPairs, other_than, sample_scores
from torch import Tensor, nn

import editkit.editing.gradient_scores
from editkit.components.site import Site, match_targets
from editkit.editing.gradient_scores import embed_pairs, score_sample_gradients
from editkit.editing.input_scores import Scored
from editkit.errors import EditkitError, ModelError, ScoreError, SiteError
from editkit.methods.scorers.fisher import FisherRatio
from editkit.models.batches import Batch

Batches = Callable[[Any, str, int], Iterable[Batch]]
BOTH_TOWERS = pytest.mark.parametrize("tower", ["text", "vision"])
BOTH_SCORERS = pytest.mark.parametrize("name", ["snip", "fisher-ratio"])
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("snip", {}),
    ("snip", {"side": "safe"}),
    ("snip", {"loss": "g-unsafe"}),
    ("fisher-ratio", {}),
    ("fisher-ratio", {"loss": "g-unsafe"}),
]


def scored_of(
    model: Any, tower: Any, sites: Sequence[Site], made: dict[str, Any], batches: Batches, size: int = 5
) -> dict[str, Scored]:
    other, noting = other_than(tower), [label for label, one in made.items() if isinstance(one, FisherRatio)]
    frozen = embed_pairs(model, other, batches(model, other, 5), PAIRS, lambda pairs: None)
    return score_sample_gradients(model, tower, sites, made, batches(model, tower, size), frozen, noting=noting)


def largest(found: Scored, expected: dict[Site, Tensor]) -> float:
    assert found.scores.keys() == expected.keys() and expected
    return max(relative(found.scores[site], expected[site]) for site in expected)


# plain models, one sample at a time


@pytest.fixture(scope="module")
def golden(reference: dict[str, Tensor], clip_sites: list[Site]) -> Callable[[str, str], tuple[Any, Gradients]]:
    """`golden(tower, loss)`: the float64 model and the gradients at every site of a tower."""
    pairs = GoldenPairs(GOLDEN / "model", reference)
    found: dict[tuple[str, str], Gradients] = {}

    def gradients(tower: str, loss: str) -> tuple[Any, Gradients]:
        if (tower, loss) not in found:
            tensors = [pairs.plain.get_parameter(site.key) for site in match_targets([f"{tower}:*"], clip_sites)]
            encoders = {"text": pairs.text, "vision": pairs.image}
            found[tower, loss] = plain_gradients.sample_gradients(encoders, tensors, tower, loss)
        return pairs.plain, found[tower, loss]

    return gradients


@BOTH_TOWERS
@pytest.mark.parametrize(("name", "options"), METHODS)
def test_scores_of_every_role_equal_a_loop_over_samples_in_float64(
    clip: Any,
    clip_sites: list[Site],
    pair_batches: Batches,
    golden: Callable[[str, str], tuple[Any, Gradients]],
    tower: str,
    name: str,
    options: dict[str, Any],
) -> None:
    sites = match_targets([f"{tower}:*"], clip_sites)
    assert {site.role for site in sites} >= {"attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out", "proj"}
    plain, gradients = golden(tower, options.get("loss", "alignment"))
    expected = sample_scores(plain, gradients, sites, name, options.get("side", "unsafe"))
    found = scored_of(clip, tower, sites, {name: scorer(name, **options)}, pair_batches)
    assert largest(found[name], expected) <= 2e-5


@pytest.fixture(scope="module")
def open_pairs(tmp_path_factory: pytest.TempPathFactory) -> OpenPairs:
    return OpenPairs(tiny_open_clip(tmp_path_factory.mktemp("open") / "config"))


@BOTH_TOWERS
def test_fused_rows_and_raw_projections_of_open_clip_equal_the_loop(open_pairs: OpenPairs, tower: str) -> None:
    sites = match_targets([f"{tower}:*"], open_pairs.sites)
    assert sum(site.rows is not None for site in sites) == 6 and sum(site.transposed for site in sites) == 1
    tensors = [open_pairs.plain.get_parameter(site.key) for site in sites]
    encoders = {"text": open_pairs.text, "vision": open_pairs.image}
    gradients = plain_gradients.sample_gradients(encoders, tensors, tower, "alignment")
    made = {name: scorer(name) for name in ("snip", "fisher-ratio")}
    found = scored_of(open_pairs.loaded, tower, sites, made, open_pairs.batches)
    for name in made:
        assert largest(found[name], sample_scores(open_pairs.plain, gradients, sites, name, "unsafe")) <= 2e-5


# laws


@BOTH_TOWERS
@BOTH_SCORERS
@pytest.mark.parametrize("size", [1, 7, PAIRS])
def test_the_batch_size_changes_nothing(
    clip: Any, clip_sites: list[Site], pair_batches: Batches, tower: str, name: str, size: int
) -> None:
    sites = match_targets([f"{tower}:*"], clip_sites)
    expected = scored_of(clip, tower, sites, {name: scorer(name)}, pair_batches)[name].scores
    assert largest(scored_of(clip, tower, sites, {name: scorer(name)}, pair_batches, size)[name], expected) <= 1e-5


@BOTH_SCORERS
def test_gradients_may_be_made_one_at_a_time(
    clip: Any, clip_sites: list[Site], pair_batches: Batches, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = match_targets(["text:*"], clip_sites)
    expected = scored_of(clip, "text", sites, {name: scorer(name)}, pair_batches)[name].scores
    monkeypatch.setattr(editkit.editing.gradient_scores, "CHUNK", 1)
    assert largest(scored_of(clip, "text", sites, {name: scorer(name)}, pair_batches)[name], expected) <= 1e-6


def test_the_order_of_the_tuples_changes_nothing(clip: Any, clip_sites: list[Site], pair_batches: Batches) -> None:
    def turned(model: Any, tower: str, size: int) -> Iterable[Batch]:
        return reversed(list(pair_batches(model, tower, size)))

    sites, made = match_targets(["text:*"], clip_sites), {"fisher-ratio": scorer("fisher-ratio")}
    expected = scored_of(clip, "text", sites, made, pair_batches)["fisher-ratio"].scores
    assert largest(scored_of(clip, "text", sites, made, turned)["fisher-ratio"], expected) <= 1e-5


def test_scorers_of_different_sides_share_one_pass_and_score_as_they_do_alone(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    sites = match_targets(["vision:*"], clip_sites)
    made = {str(place): scorer(name, **options) for place, (name, options) in enumerate(METHODS)}
    runs: list[int] = []
    clip.module.visual_projection.register_forward_hook(lambda module, args, y: runs.append(len(y)))
    together = scored_of(clip, "vision", sites, made, pair_batches, 6)
    assert runs == [12, 12]  # safe and unsafe samples of six tuples, twice, for all five scorers
    for label, one in made.items():
        alone = scored_of(clip, "vision", sites, {label: one}, pair_batches, 6)[label]
        assert largest(together[label], alone.scores) <= 1e-5
        assert together[label].notes == alone.notes
    assert runs[2:] == [6, 6, 6, 6, 6, 6, 12, 12, 12, 12]  # one side alone where no scorer asks for the other


def test_what_a_scorer_multiplies_is_not_mistaken_for_a_run_of_the_site(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    made, (site,) = scorer("snip"), match_targets(["text:attn.out[0]"], clip_sites)
    expected = scored_of(clip, "text", [site], {"snip": made}, pair_batches)["snip"].scores
    plain = made.update
    made.update = lambda state, weight, side, gradients: (gradients @ weight, plain(state, weight, side, gradients))
    assert torch.equal(
        scored_of(clip, "text", [site], {"snip": made}, pair_batches)["snip"].scores[site], expected[site]
    )


# what is left behind


@pytest.mark.parametrize("stops", [False, True])
def test_a_scored_model_is_as_it_was_and_no_attention_stays_exchanged(open_pairs: OpenPairs, stops: bool) -> None:
    module = open_pairs.loaded.module
    bits = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def batches(*args: Any) -> Iterable[Batch]:
        yield from open_pairs.batches(*args)
        if stops and args[1] == "vision":
            raise KeyboardInterrupt

    try:
        made = {"snip": scorer("snip")}
        scored_of(open_pairs.loaded, "vision", match_targets(["vision:attn.*"], open_pairs.sites), made, batches)
    except KeyboardInterrupt:
        assert stops
    kinds = [type(part) for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
    assert kinds == [nn.MultiheadAttention] * 4
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())
    assert all(torch.equal(bits[name], tensor) for name, tensor in module.state_dict().items())


# errors


def refused(clip: Any, sites: Sequence[Site], batches: Iterable[Batch]) -> EditkitError:
    frozen = torch.ones(2, PAIRS, 32)
    with pytest.raises(EditkitError) as caught:
        score_sample_gradients(clip, "text", sites, {"snip": scorer("snip")}, batches, frozen)
    return caught.value


def test_no_tuple_at_all_is_an_error(clip: Any, clip_sites: list[Site]) -> None:
    error = refused(clip, match_targets(["text:proj"], clip_sites), [])
    assert isinstance(error, ScoreError) and "No tuple was left" in error.problem


def test_a_site_of_the_other_tower_never_runs_and_is_an_error(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    error = refused(clip, match_targets(["vision:mlp.out[0]"], clip_sites), pair_batches(clip, "text", 4))
    assert isinstance(error, SiteError) and "ran 0 times in one forward pass" in error.problem


def test_a_site_that_runs_for_nothing_is_an_error_and_not_zeros(
    clip: Any, clip_sites: list[Site], pair_batches: Batches
) -> None:
    (site,) = match_targets(["text:mlp.out[1]"], clip_sites)
    clip.module.text_model.encoder.layers[1].mlp.register_forward_hook(lambda module, args, y: y.detach())
    error = refused(clip, [site], pair_batches(clip, "text", 4))
    assert isinstance(error, SiteError) and f"{site.name} has no part in the tower's embeddings" in error.problem


def test_a_weight_that_is_not_finite_names_its_tensor(clip: Any, clip_sites: list[Site]) -> None:
    (site,) = match_targets(["text:mlp.in[1]"], clip_sites)
    clip.parameter(site.key).data[0, 0] = float("nan")
    error = refused(clip, [site], [])
    assert isinstance(error, ModelError) and f"Tensor {site.key} holds values that are not finite" in error.problem
