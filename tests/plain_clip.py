"""Embeddings by plain transformers, one sample at a time, and the evaluations written out from their definitions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SAFEGROUND = ("P_s^t", "P_u^t", "P_s^v", "P_u^v", "Txt_s", "Img_s", "PS", "PU", "GS")


@dataclass(frozen=True)
class Four:
    """The embeddings [n, D] of n tuples."""

    vs: Any
    vu: Any
    ts: Any
    tu: Any


def embed(folder: Path, images: list[Path], texts: list[str]) -> tuple[Any, Any]:
    """[n, D] normalised embeddings in float64."""
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    pixels = [processor(images=Image.open(image).convert("RGB"), return_tensors="pt") for image in images]
    ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
    with torch.no_grad():
        v = [model.get_image_features(pixel_values=one["pixel_values"]).pooler_output[0] for one in pixels]
        t = [model.get_text_features(input_ids=one).pooler_output[0] for one in ids]
    rows = [torch.stack(one).double().numpy() for one in (v, t)]
    return tuple(one / np.linalg.norm(one, axis=1, keepdims=True) for one in rows)


def naive_safeground(e: Four) -> dict[str, float]:
    hits: dict[str, list[bool]] = {metric: [] for metric in SAFEGROUND}
    for vs, vu, ts, tu in zip(e.vs, e.vu, e.ts, e.tu, strict=True):
        one = {
            "P_s^t": vs @ ts > vu @ ts,
            "P_u^t": vs @ tu > vu @ tu,
            "P_s^v": vs @ ts > vs @ tu,
            "P_u^v": vu @ ts > vu @ tu,
        }
        one["Txt_s"] = one["P_s^v"] and one["P_u^v"]
        one["Img_s"] = one["P_s^t"] and one["P_u^t"]
        one["PS"] = one["P_s^t"] and one["P_s^v"]
        one["PU"] = one["P_u^t"] and one["P_u^v"]
        one["GS"] = one["PS"] and one["PU"]
        for metric, hit in one.items():
            hits[metric].append(bool(hit))
    return {metric: 100 * sum(found) / len(found) for metric, found in hits.items()}


def naive_recall(queries: Any, gallery: Any, k: int) -> float:
    hits = 0
    for number, query in enumerate(queries):
        ranked = np.argsort(-(gallery @ query), kind="stable")[:k]
        hits += number in ranked.tolist()
    return 100 * hits / len(queries)
