"""`restoration`: what remains in the embeddings after an edit, and what an attacker needs to undo it there.

Two questions. What can a linear probe still tell: unsafe items from safe ones, and the concept of an unsafe one
(`questions`, `probe`)? And how many pairs of the calibration split bring back what the edit hides (`attacks`,
`recovery`)? The base answers both as well. Probes are scored, and attacks measured, on the evaluated tuples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from editkit.errors import DataError
from editkit.evals.calibration_pairs import calibration_pairs
from editkit.evals.context import Evaluated, EvaluationContext
from editkit.evals.embeddings import TupleEmbeddings
from editkit.evals.restoration.attacks import WITH_PAIRS, WITHOUT_PAIRS
from editkit.evals.restoration.options import RestorationOptions
from editkit.evals.restoration.probe import probe
from editkit.evals.restoration.questions import FEWEST, Question, questions_of
from editkit.evals.restoration.recovery import hits_of, recoveries
from editkit.evals.restoration.report import Attacker, Found, RestorationReport, row_of
from editkit.evals.run_tuples import embed
from editkit.evals.safeground import SafeGround
from editkit.models.joint_space import require_joint_space


class Restoration:
    """Probes the embeddings of the base and of each edit, and attacks them with more and more pairs."""

    def __init__(self, options: RestorationOptions) -> None:
        self.options = options

    def run(self, context: EvaluationContext) -> Evaluated:
        """Measure every variant.

        Raises:
            DataError: fewer than ten tuples.
            EditkitError: the model or an image cannot be used.
        """
        adapter, files, variants = context.adapter, context.files, context.variants
        require_joint_space(files, adapter.sites(files), f"`{context.name}` compares images with captions")
        tuples = embed(context, context.tuples)
        if tuples.facts["n"] < FEWEST:
            raise DataError(f"{tuples.facts['n']} tuples are too few to probe.", f"Evaluate at least {FEWEST}.")
        base = tuples.of(variants[0].name)
        seed = context.recipe.calibration.seed
        questions = [*questions_of(base.concepts, seed)]
        try:
            pairs, notes = embed(context, calibration_pairs(context)), []
        except DataError as error:
            pairs, notes = None, [f"Nothing was attacked: {error.problem}"]
        known = pairs.facts["n"] if pairs else 0
        ks = sorted({k for k in self.options.ks if k <= known})
        if pairs and (more := [str(k) for k in self.options.ks if k > known]):
            notes.append(f"Not attacked with {', '.join(more)} pairs: there are {known}.")
        found: list[Found] = []
        attacks = len(WITHOUT_PAIRS) + len(WITH_PAIRS) * len(ks) if pairs else 0
        with context.stage("probing and attacking embeddings", len(variants) * (1 + attacks)) as advance:
            for variant in variants:
                e = tuples.of(variant.name)
                probes = {one.name: probe(one.items(e), one.classes, one.folds) for one in questions}
                advance(1)
                pool = pairs.of(variant.name) if pairs else None
                got = [] if pool is None else [*recoveries(e, pool, ks, self.options.draws, seed, advance)]
                found.append(Found(probes, hits_of(e), got))
        rows = [row_of(variant, one, found[0], questions) for variant, one in zip(variants, found, strict=True)]
        report = context.report(
            data=tuples.facts,
            models=[row for row, variant in zip(rows, variants, strict=True) if not variant.is_control],
            controls=[row for row, variant in zip(rows, variants, strict=True) if variant.is_control],
            chance=_chance(base, questions),
            left_out=tuples.left_out,
        )
        report["notes"] = [*report["notes"], *notes]
        if pairs is None:
            return Evaluated(report)
        attacker = Attacker(pairs=pairs.facts, ks=ks, draws=self.options.draws)
        return Evaluated(cast(RestorationReport, {**report, "attacker": attacker}))


def _chance(base: TupleEmbeddings, questions: Sequence[Question]) -> dict[str, dict[str, float]]:
    """Per cent of a model that knows nothing: of a probe, the share of the largest class and an AUC of 50."""
    first = 100 / len(base.ids)
    told = {f"{one.name}:accuracy": one.chance for one in questions} | {f"{one.name}:AUC": 50.0 for one in questions}
    return {
        row: {**told, "1-P_u^t": 100 - levels["P_u^t"], "Tu-Vu": first, "GS": levels["GS"], "Ts-Vs": first}
        for row, levels in SafeGround().chance(base).items()
    }
