"""`toxicity`: a classifier scores how offensive a text is.

`embedded` is alt-profanity-check: a linear model over words, inside its package, trained on offensive tweets and
comments. It knows insults and sex, and hardly a plainly worded scene of violence: a weapon in a caption scores near 0.
Importing that package unpickles the model it ships, so it is trusted as its code is; editkit itself opens no pickle.

Any other model is a text classifier of transformers, read from safetensors. Detoxify's are among them
(unitary/toxic-bert, unitary/unbiased-toxic-roberta); the package `detoxify` is not used, since it unpickles a download.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

from editkit.evals.judges import Verdict, ignore, scored
from editkit.evals.judges.options import ToxicityOptions
from editkit.libraries import library, release
from editkit.progress import Advance

EMBEDDED = "alt-profanity-check"


class Classifier(Protocol):
    """Scores texts from 0 to 1."""

    @property
    def revision(self) -> str: ...
    def scores(self, texts: list[str]) -> list[float]: ...


class WordModel:
    """alt-profanity-check's probability that a text is offensive."""

    @cached_property
    def _package(self) -> Any:
        return library("profanity_check", EMBEDDED, "the judge `toxicity`")

    @property
    def revision(self) -> str:
        """The package and its version, which is also its model's."""
        return release(EMBEDDED, "the judge `toxicity`")

    def scores(self, texts: list[str]) -> list[float]:
        """Return one probability per text."""
        return [float(score) for score in self._package.predict_prob(texts)]


class Toxicity:
    """Scores texts in batches."""

    prompt_hash: ClassVar[str] = ""

    def __init__(self, options: ToxicityOptions) -> None:
        self.options = options

    @cached_property
    def _classifier(self) -> Classifier:
        if self.options.model == "embedded":
            return WordModel()
        from editkit.evals.judges.text_classifier import TextClassifier

        return TextClassifier(self.options.model, label=self.options.label, device=self.options.device)

    @property
    def revision(self) -> str:
        """The model and its hub revision or digest; the package and its version."""
        return self._classifier.revision

    def judge(
        self, items: Sequence[str], on_item: Advance = ignore, *, ids: Sequence[str] | None = None
    ) -> list[Verdict]:
        """Return one verdict per text."""

        def verdicts() -> Iterator[Verdict]:
            for start in range(0, len(items), self.options.batch_size):
                batch = list(items[start : start + self.options.batch_size])
                for score in self._classifier.scores(batch):
                    yield scored(score, self.options.threshold, f"{score:.3f}")
                    on_item(1)

        return list(verdicts())
