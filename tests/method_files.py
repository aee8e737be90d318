"""Methods of third parties, each a file of at most 30 lines, and how each is asked for by flags and by a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

LONGEST = 30


@dataclass(frozen=True)
class Method:
    """A plugin file, the components in it as (kind, name), and a recipe that uses them."""

    module: str
    components: tuple[tuple[str, str], ...]
    recipe: str
    flags: tuple[str, ...]
    code: str

    @property
    def lines(self) -> int:
        return len(dedent(self.code).strip().splitlines())


SCORER = Method(
    "louder_outputs",
    (("scorer", "louder"),),
    "scorer: louder\nselector: {name: topk, fraction: 0.05}\n",
    ("--scorer", "louder", "--selector", "topk", "--set", "selector.fraction=0.05"),
    '''
    """score = r^2 c: UWM's unsafe saliency, louder outputs first."""

    from editkit.plugin import ScorerSpec, hookimpl, pair_scorer, saliency

    EDITKIT_API = 1


    @hookimpl
    def editkit_scorers():
        return [ScorerSpec(name="louder", summary="unsafe inputs, louder outputs", target=f"{__name__}:louder")]


    @pair_scorer
    def louder(weight, safe, unsafe):
        rows, columns = saliency(weight.abs(), unsafe)  # [B, O], [B, I]
        return rows**2, columns
    ''',
)

GRADIENT_SCORER = Method(
    "taylor_of_samples",
    (("scorer", "taylor"),),
    "scorer: taylor\nselector: {name: adaptive, tau: 0.1}\n",
    ("--scorer", "taylor", "--tau", "0.1"),
    '''
    """score = mean over unsafe samples of (W dl/dW)^2, with l = 1 - cos(own caption, own image)."""

    from editkit.plugin import ScorerSpec, hookimpl

    EDITKIT_API = 1


    class Taylor:
        sides = ("unsafe",)

        def __init__(self, options):
            self.options = options

        def loss(self, own, other, other_twin):
            return 1 - (own * other).sum(dim=-1)  # [B]

        def start(self, weight, site):
            return {"sum": weight.new_zeros(weight.shape), "samples": weight.new_zeros(())}

        def update(self, state, weight, side, gradients):
            state["sum"] += gradients.square().sum(dim=0)  # [n, O, I]
            state["samples"] += len(gradients)

        def finish(self, state, weight, site):
            return weight.square() * state["sum"] / state["samples"]


    @hookimpl
    def editkit_scorers():
        yield ScorerSpec(name="taylor", summary="squares", target=f"{__name__}:Taylor", needs="sample-gradients")
    ''',
)

SELECTOR = Method(
    "above_the_mean",
    (("selector", "above-mean"),),
    "scorer: wanda\nselector: {name: above-mean, times: 3}\n",
    ("--scorer", "wanda", "--selector", "above-mean", "--set", "selector.times=3"),
    '''
    """Select what scores more than `times` the mean of its site."""

    from pydantic import Field

    from editkit.plugin import Options, SelectorSpec, hookimpl, per_site

    EDITKIT_API = 1


    class AboveMeanOptions(Options):
        times: float = Field(2.0, gt=0, description="how many means a score must exceed")


    @per_site
    def above_mean(scores, options):
        return scores.double() > options.times * scores.double().mean()


    @hookimpl
    def editkit_selectors():
        target = f"{__name__}:above_mean"
        return [SelectorSpec(name="above-mean", summary="high scores", target=target, options=AboveMeanOptions)]
    ''',
)

MANIPULATOR = Method(
    "deafen_inputs",
    (("manipulator", "deafen"),),
    "manipulator: {name: deafen, share: 0.5}\n",
    ("--manipulator", "deafen", "--set", "manipulator.share=0.5"),
    '''
    """W' = W - share W d d^T, with d the unit direction from the mean safe to the mean unsafe input."""

    from editkit.plugin import ManipulatorSpec, Options, hookimpl

    EDITKIT_API = 1


    class DeafenOptions(Options):
        share: float = 1.0


    class Deafen:
        def __init__(self, options):
            self.share = options.share

        def apply(self, site, weight, bias, mask, context):
            moments = context.moments[site]
            away = moments.unsafe - moments.safe  # [I] float64
            direction = away / away.norm()
            heard = (weight.double() @ direction).outer(direction)  # [O, I]
            return {"weight": (weight.double() - self.share * heard).to(weight.dtype)}


    @hookimpl
    def editkit_manipulators():
        needs, target = frozenset({"mean-inputs"}), f"{__name__}:Deafen"
        yield ManipulatorSpec(
            name="deafen", summary="unsafe", target=target, options=DeafenOptions, needs=needs, acts_on="sites"
        )
    ''',
)

WHOLE = Method(
    "hush_rows",
    (("scorer", "hush"), ("selector", "hush"), ("manipulator", "hush")),
    "scorer: hush\nselector: hush\nmanipulator: hush\n",
    ("--scorer", "hush", "--selector", "hush", "--manipulator", "hush"),
    '''
    """In each row, the weight of the input that unsafe samples excite most becomes the row's mean."""

    import torch

    from editkit.plugin import ManipulatorSpec, ScorerSpec, SelectorSpec, hookimpl, pair_scorer, per_site

    EDITKIT_API = 1

    HERE = f"{__name__}:"
    editkit_scorers = hookimpl(lambda: [ScorerSpec(name="hush", summary="excited", target=HERE + "excited")])
    editkit_selectors = hookimpl(lambda: [SelectorSpec(name="hush", summary="one a row", target=HERE + "first")])
    editkit_manipulators = hookimpl(lambda: [ManipulatorSpec(name="hush", summary="mean", target=HERE + "RowMean")])


    @pair_scorer
    def excited(weight, safe, unsafe):
        return unsafe.norm @ weight.abs().T, unsafe.norm / safe.norm  # [B, O], [B, I]


    @per_site
    def first(scores, options):
        return scores == scores.max(dim=1, keepdim=True).values


    class RowMean:
        def __init__(self, options): ...
        def apply(self, site, weight, bias, mask, context):
            return {"weight": torch.where(mask, weight.mean(dim=1, keepdim=True), weight)}
    ''',
)

METHODS = (SCORER, GRADIENT_SCORER, SELECTOR, MANIPULATOR, WHOLE)
