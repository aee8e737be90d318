"""In which order tables show metrics: as the paper prints them, and then whatever else was measured.

Source: Safe Vision-Language Models via Unsafe Weights Manipulation, WACV 2026, tables 1, 2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable

SAFETY = (
    "zs_mean_acc",
    "Ts-Vs",
    "Vs-Ts",
    "Tu-Vu+s",
    "Vu-Tu+s",
    "P_s^t",
    "P_u^t",
    "P_s^v",
    "P_u^v",
    "Txt_s",
    "Img_s",
    "PS",
    "PU",
    "GS",
)
KNOWLEDGE = (
    "ImageNet",
    "V2",
    "R",
    "A",
    "Sketch",
    "CAL",
    "PETS",
    "FOOD",
    "FLWR",
    "C10",
    "C100",
    "ESAT",
    "CARS",
    "AIR",
    "DTD",
    "SUN",
    "UCF",
    "Mean",
)
CAPTIONS = ("pct_NSFW", "Toxicity", "RougeL", "Bleu", "Meteor")
PAPER = (*SAFETY, *KNOWLEDGE, *CAPTIONS)

LATEX = {
    "zs_mean_acc": "Acc.",
    "Ts-Vs": r"$T_s$-$V_s$",
    "Vs-Ts": r"$V_s$-$T_s$",
    "Tu-Vu+s": r"$T_u$-$V_{u+s}$",
    "Vu-Tu+s": r"$V_u$-$T_{u+s}$",
    **{name: f"${name}$" for name in ("P_s^t", "P_u^t", "P_s^v", "P_u^v")},
    "Txt_s": r"$\mathrm{Txt}_s$",
    "Img_s": r"$\mathrm{Img}_s$",
    "pct_NSFW": r"\%NSFW",
}
"""Heads that mathematics sets better than letters."""


def in_paper_order(metrics: Iterable[str]) -> list[str]:
    """Return each metric once: the columns of the paper's tables in their order, then the others as they appear."""
    return sorted(
        dict.fromkeys(metrics), key=lambda metric: len(PAPER) if (place := place_of(metric)) is None else place
    )


def place_of(metric: str) -> int | None:
    """Return the place of a metric among the paper's columns, or None.

    The accuracy on a single set (`top1 NAME`) stands where the paper has the mean; a mean over some of the sets where
    it has that; captions (`unsafe:RougeL:safe`) by the measure, whatever the side, reference or judge.
    """
    name = metric
    if metric.startswith("top1 "):
        name = "zs_mean_acc"
    elif metric.startswith("Mean of "):
        name = "Mean"
    elif metric.count(":") == 2:
        measure = metric.split(":")[1].partition("-")[0]
        name = "Toxicity" if measure == "score" else measure
    return PAPER.index(name) if name in PAPER else None


def is_accuracy(metric: str) -> bool:
    """Whether a metric is an accuracy on labelled images: `top1`, `top5`, `mean_per_class`."""
    return metric.startswith(("top", "mean_per_class"))
