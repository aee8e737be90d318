"""editkit's own evaluations. No numpy here: listing plugins reads this file."""

from __future__ import annotations

from editkit.components.specs import EvalSpec
from editkit.evals.options import RetrievalOptions
from editkit.methods.references import UWM
from editkit.reports import metrics

EVALUATIONS = [
    EvalSpec(
        name="safeground",
        summary="safety at nine granularities",
        target="editkit.evals.safeground:SafeGround",
        reference=f"{UWM}, Eqs. 3-7",
        title="SafeGround",
        metrics=metrics.SAFEGROUND,
    ),
    EvalSpec(
        name="retrieval",
        summary="recall at k, safe queries and unsafe ones",
        target="editkit.evals.retrieval:Retrieval",
        options=RetrievalOptions,
        reference=f"{UWM}, Eqs. 1 and 2",
        title="Retrieval, R@k",
        metrics=metrics.RETRIEVAL,
    ),
    EvalSpec(
        name="zeroshot",
        summary="top-1, top-5 and mean per class on labelled images: knowledge",
        target="editkit.evals.zeroshot:ZeroShot",
        data="classes",
        title="Zero-shot",
        metrics=metrics.ZEROSHOT,
    ),
]
