"""For authors of components: run one by name, on tensors of your own. These call the engine's own objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.inputs import Inputs
from editkit.components.load import default_host
from editkit.components.protocols import ManipulationContext, SelectionContext
from editkit.components.site import Role, Site, Tower
from editkit.components.specs import ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.editing.moments import describe_embeddings, moments_of
from editkit.errors import RecipeError
from editkit.recipes.asked import asked_selectors


def score(
    scorer: str,
    weight: Tensor,
    safe: Tensor,
    safe_mask: Tensor | None,
    unsafe: Tensor,
    unsafe_mask: Tensor | None,
    *,
    tower: Tower = "text",
    host: Host | None = None,
    **options: object,
) -> Tensor:
    """Score one weight [O, I] with inputs on B pairs; safe and unsafe samples may differ in their number of tokens.

    Args:
        scorer: the name of any registered scorer that needs inputs or weights.
        weight: [O, I].
        safe: [B, T, I] inputs on the safe samples.
        safe_mask: [B, T] bool, tokens that count; None: all.
        unsafe: [B, T', I] inputs on the unsafe samples.
        unsafe_mask: [B, T'] bool; None: all.
        options: the scorer's options.

    Returns:
        [O, I] float32.

    Raises:
        PluginError: no such scorer.
        RecipeError: an option it does not take.

    Example:
        >>> weight, x = torch.randn(3, 4), torch.randn(2, 5, 4)
        >>> score("uwm", weight, x, None, x, None, tower="vision").round(decimals=3)
        tensor([[1., 1., 1., 1.],
                [1., 1., 1., 1.],
                [1., 1., 1., 1.]])
    """
    choice = _choose(ScorerSpec, scorer, options, host)
    if isinstance(choice.spec, ScorerSpec) and choice.spec.needs.endswith("gradients"):
        raise RecipeError(
            f"Scorer '{scorer}' needs gradients of a model, not inputs of one weight.",
            "Call its `loss`, `update` and `finish` yourself, or `editkit.edit` on a small model.",
        )
    site = _site(tower, weight)
    component = choice.build()
    held = weight.float()
    state = component.start(held, site)
    component.update(state, held, Inputs(safe, _mask(safe_mask)), Inputs(unsafe, _mask(unsafe_mask)))
    finished: Tensor = component.finish(state, held, site)
    return finished.float()


def select(
    selector: str,
    scores: Tensor,
    *,
    weight: Tensor | None = None,
    other_scores: Mapping[str, Tensor] | None = None,
    tower: Tower = "text",
    host: Host | None = None,
    **options: object,
) -> Tensor:
    """Select weights of one site by their scores [O, I].

    Args:
        weight: [O, I], for selectors that look at weights too; editkit's own do not.
        other_scores: [O, I] by label, for selectors that ask for `other_scorers` (`difference-set`: "other").
        options: the selector's options, such as `tau` or `fraction`.

    Returns:
        [O, I] bool.

    Raises:
        PluginError: no such selector.
        RecipeError: an option it does not take.
        ScoreError: the scores tell no weight apart.

    Example:
        >>> select("topk", torch.tensor([[1.0, 2.0], [2.0, 0.5]]), fraction=0.25)
        tensor([[False, False],
                [ True, False]])
    """
    host = host or default_host()
    choice = _choose(SelectorSpec, selector, options, host)
    site = _site(tower, scores)
    context = SelectionContext(
        other_scores={label: {site: held} for label, held in (other_scores or {}).items()},
        other_selectors={label: other.build() for label, other in asked_selectors(choice, host).items()},
    )
    masks = choice.build().select({site: scores}, context)
    chosen: Tensor = masks[site]
    return chosen


def manipulate(
    manipulator: str,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    safe: Tensor | None = None,
    unsafe: Tensor | None = None,
    own_embeddings: Tensor | None = None,
    other_embeddings: Tensor | None = None,
    other_scores: Mapping[str, Tensor] | None = None,
    other_weight: Tensor | None = None,
    role: Role = "mlp.out",
    tower: Tower = "text",
    host: Host | None = None,
    **options: object,
) -> Mapping[str, Tensor]:
    """Change one site's weight [O, I], as the engine would.

    Args:
        bias: [O].
        mask: [O, I] bool, the selected weights; None: all.
        safe: [B, I] activations of the safe samples of B pairs, for manipulators that look at pairs.
        unsafe: [B, I] of the unsafe ones.
        own_embeddings: [2, n, D] of this modality, safe then unsafe (`refuse` at `proj`, opposed).
        other_embeddings: [2, n, D] of the other modality (`refuse` at `proj`).
        other_scores: [O, I] by label (`dampen`: "fisher").
        other_weight: [O, I] of another checkpoint (`blend`).
        role: the site's role.
        tower: the site's tower.
        options: the manipulator's options.

    Returns:
        "weight" [O, I] and, if it changes, "bias" [O].

    Raises:
        PluginError: no such manipulator.
        RecipeError: an option it does not take, or it looks at pairs and there are none.
        SiteError: it cannot change such a site.

    Example:
        >>> manipulate("scale", torch.ones(1, 2), mask=torch.tensor([[True, False]]), alpha=0.5)["weight"]
        tensor([[0.5000, 1.0000]])
    """
    choice = _choose(ManipulatorSpec, manipulator, options, host)
    spec = cast(ManipulatorSpec, choice.spec)
    site = replace(_site(tower, weight), role=role, bias=None if bias is None else "layer.bias")
    spec.check_site(site, choice.options)
    moments = {} if safe is None or unsafe is None else {site: moments_of(weight, safe, unsafe)}
    if spec.needs & {"mean-inputs", "second-moments"} and not moments:
        raise RecipeError(f"Manipulator '{manipulator}' looks at pairs.", "Give `safe` and `unsafe`, [B, I] each.")
    context = ManipulationContext(
        moments=moments,
        own_modality=None if own_embeddings is None else describe_embeddings(own_embeddings),
        other_modality=None if other_embeddings is None else describe_embeddings(other_embeddings),
        other_scores={label: {site: held} for label, held in (other_scores or {}).items()},
        other_weights={} if other_weight is None else {site: other_weight},
    )
    everything = torch.ones(site.shape, dtype=torch.bool)
    given = everything if mask is None else mask
    changed: Mapping[str, Tensor] = choice.build().apply(site, weight, bias, given, context)
    return changed


def _choose(
    kind: type[ScorerSpec] | type[SelectorSpec] | type[ManipulatorSpec],
    name: str,
    options: dict[str, object],
    host: Host | None,
) -> Choice:
    return (host or default_host()).choose(kind, name, options, kind.kind)


def _site(tower: Tower, weight: Tensor) -> Site:
    outputs, inputs = weight.shape
    return Site(tower, 0, "mlp.out", "layer", "layer.weight", (outputs, inputs))


def _mask(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.bool()
