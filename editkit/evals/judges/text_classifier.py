"""A text classifier of transformers with a class for toxic texts, such as Detoxify's on the hub."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from editkit.errors import RecipeError, did_you_mean
from editkit.evals.judges.source import Source
from editkit.models.compute import resolve_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOXIC = ("toxicity", "toxic")
"""What Detoxify's models, and others, call the class."""
LONGEST = 512
"""Tokens that the models which Detoxify is made of can read."""


class TextClassifier:
    """The probability of one class: a sigmoid where classes are independent labels, else a softmax."""

    def __init__(self, name: str, *, label: str, device: str) -> None:
        self.source, self.label, self.device = Source(name), label, device

    @property
    def revision(self) -> str:
        """The model and its hub revision, or a digest of its weights."""
        return self.source.revision

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        tokenizer: PreTrainedTokenizerBase = self.source.load("AutoTokenizer")
        return tokenizer

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model, in evaluation mode and float32."""
        model: PreTrainedModel = self.source.load_weights(
            "AutoModelForSequenceClassification", device=resolve_device(self.device), dtype="float32"
        )
        return model

    @cached_property
    def index(self) -> int:
        """Which output is the toxic class.

        Raises:
            RecipeError: the model has no class of that name.
        """
        names = {str(name).lower(): int(index) for index, name in self.model.config.id2label.items()}
        for wanted in (self.label.lower(),) if self.label else TOXIC:
            if wanted in names:
                return names[wanted]
        asked = self.label or " or ".join(TOXIC)
        raise RecipeError(
            f"{self.source.name} has no class {asked}.{did_you_mean(asked, names)}",
            f"Set label to one of its classes: {', '.join(names)}.",
        )

    @torch.inference_mode()
    def scores(self, texts: list[str]) -> list[float]:
        """Return one probability per text; what exceeds the model's context is cut off, as Detoxify does."""
        positions = getattr(self.model.config, "max_position_embeddings", LONGEST)
        limit = min(self.tokenizer.model_max_length, positions, LONGEST)
        inputs = self.tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        logits = self.model(**inputs.to(self.model.device)).logits.float()  # [B, classes]
        several = self.model.config.problem_type == "multi_label_classification" or logits.shape[1] == 1
        probabilities = logits.sigmoid() if several else logits.softmax(dim=1)
        return [float(score) for score in probabilities[:, self.index]]
