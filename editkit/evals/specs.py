"""editkit's own evaluations. No numpy here: listing plugins reads this file."""

from __future__ import annotations

from editkit.components.beside import Beside
from editkit.components.specs import EvalSpec
from editkit.evals.captions.options import CaptioningOptions
from editkit.evals.options import ExposureOptions, RetrievalOptions, RobustnessOptions
from editkit.evals.overrefusal.options import OverRefusalOptions
from editkit.evals.restoration.options import RestorationOptions
from editkit.methods.references import UWM
from editkit.reports import metrics

ACCURACY = Beside(evaluation="zeroshot", metrics=("top1",))
"""Zero-shot accuracy on the labelled images that belong to a data set."""

ASKED = ("safe queries", "neutral queries", "safe captions")
"""Texts that should find nothing unsafe."""

EVALUATIONS = [
    EvalSpec(
        name="safeground",
        summary="safety at nine granularities",
        target="editkit.evals.safeground:SafeGround",
        reference=f"{UWM}, Eqs. 3-7",
        title="SafeGround",
        metrics=metrics.SAFEGROUND,
        wrecks=True,
        filter=True,
        # what an edit must not cost
        beside=(
            Beside(evaluation="retrieval", options={"ks": (1,), "directions": ("Ts-Vs", "Vs-Ts")}),
            # and what it must not bring up
            Beside(
                evaluation="exposure",
                options={"kinds": ASKED, "directions": ("T-V",)},
                metrics=tuple(f"{kind} T-V@10" for kind in ASKED),
            ),
            ACCURACY,
        ),
    ),
    EvalSpec(
        name="retrieval",
        summary="recall at k, safe queries and unsafe ones",
        target="editkit.evals.retrieval:Retrieval",
        options=RetrievalOptions,
        reference=f"{UWM}, Eqs. 1 and 2",
        title="Retrieval, R@k",
        metrics=metrics.RETRIEVAL,
        columns=True,
        filter=True,
        beside=(ACCURACY,),
    ),
    EvalSpec(
        name="exposure",
        summary="how many of the first items that a query finds are unsafe",
        target="editkit.evals.exposure:Exposure",
        options=ExposureOptions,
        title="Exposure, unsafe@k",
        metrics=metrics.EXPOSURE,
        scores=True,
        filter=True,
        companions=("queries",),
        beside=(ACCURACY,),
    ),
    EvalSpec(
        name="robustness",
        summary="SafeGround and exposure slice by slice: other wordings, other cues, unseen concepts",
        target="editkit.evals.robustness:Robustness",
        options=RobustnessOptions,
        title="Robustness",
        metrics=metrics.ROBUSTNESS,
        scores=True,
        filter=True,
        companions=("slices",),
    ),
    EvalSpec(
        name="overrefusal",
        summary="what an edit does to benign items that look unsafe, and to unseen unsafe ones",
        target="editkit.evals.overrefusal.evaluation:OverRefusal",
        options=OverRefusalOptions,
        title="Over-refusal",
        form="model",
        metrics=metrics.OVERREFUSAL,
        companions=("slices", "benign"),
        table="editkit.evals.overrefusal.table:render",
    ),
    EvalSpec(
        name="zeroshot",
        summary="top-1, top-5 and mean per class on labelled images: knowledge",
        target="editkit.evals.zeroshot:ZeroShot",
        data="classes",
        title="Zero-shot",
        metrics=metrics.ZEROSHOT,
        weights=True,
        recipe={"data.name": "demo-objects"},
    ),
    EvalSpec(
        name="restoration",
        summary="what an edit leaves in embeddings, and how many pairs undo it",
        target="editkit.evals.restoration.evaluation:Restoration",
        options=RestorationOptions,
        form="model",
        title="Restoration",
        metrics=metrics.RESTORATION,
        controls=False,
        table="editkit.evals.restoration.table:render",
        description="Probe the embeddings of a model and of edits of it, and attack them with a few pairs.",
    ),
    EvalSpec(
        name="captioning",
        summary="captions of images, compared, and judged",
        target="editkit.evals.captions.evaluation:Captioning",
        options=CaptioningOptions,
        reference=f"{UWM}, Table 5",
        form="model",
        items="images",
        metrics=metrics.CAPTIONS,
        controls=False,  # each takes as long as its patch
        judges="text",
        folder=True,
        # so many images fit 48 GB with a model of 13 billion weights in half precision, however long it speaks
        recipe={"compute.batch_size": 8},
        table="editkit.evals.captions.table:render",
        description="Caption images with a model and with edits of it, and compare and judge the captions.\n\n"
        "Stopped at any moment, the same command continues with the next batch.",
        example="editkit eval captioning --model llava-hf/llava-1.5-7b-hf --patch editkit-runs/uwm-... "
        "--judge toxicity",
    ),
]
