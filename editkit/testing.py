"""For authors of components: run one by name, on tensors of your own. These call the engine's own objects."""

from __future__ import annotations

from torch import Tensor

from editkit.observe import Inputs
from editkit.plugins import Host, default_host
from editkit.protocols import SelectionContext
from editkit.recipe import Choice, validate_options
from editkit.site import Site, Tower
from editkit.specs import ScorerSpec, SelectorSpec


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
    tower: Tower = "text",
    host: Host | None = None,
    **options: object,
) -> Tensor:
    """Select weights of one site by their scores [O, I].

    Args:
        weight: [O, I], for selectors that look at weights too; editkit's own do not.
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
    choice = _choose(SelectorSpec, selector, options, host)
    site = _site(tower, scores)
    masks = choice.build().select({site: scores}, SelectionContext())
    chosen: Tensor = masks[site]
    return chosen


def _choose(
    kind: type[ScorerSpec] | type[SelectorSpec], name: str, options: dict[str, object], host: Host | None
) -> Choice:
    spec = (host or default_host()).resolve(kind, name)
    return Choice(name, spec, validate_options(spec.options, options, spec.kind))


def _site(tower: Tower, weight: Tensor) -> Site:
    outputs, inputs = weight.shape
    return Site(tower, 0, "mlp.out", "layer", "layer.weight", (outputs, inputs))


def _mask(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.bool()
