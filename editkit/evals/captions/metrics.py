"""How alike a caption and its reference are, by libraries: ROUGE-L, BLEU, METEOR and CIDEr.

| metric | library | what |
|---|---|---|
| RougeL | rouge-score | F of the longest common subsequence; mean over captions |
| Bleu-1 .. Bleu-4 | sacrebleu | n-grams up to that order, of each caption alone, unsmoothed; mean over captions |
| corpus-Bleu | sacrebleu | its own default, in lower case: 4-grams counted over all captions together |
| Meteor | nltk | alpha 0.9, beta 3, gamma 0.5, with the synonyms of WordNet; mean over captions |
| CIDEr | pycocoevalcap | CIDEr-D, with the frequencies of n-grams in these very references; mean over captions |

ROUGE-L and BLEU have two definitions. `standard` compares words as they are, and BLEU's 13a tokens in lower case.
`released` does as the authors' code: ROUGE-L of stems (`use_stemmer=True`); BLEU of what stands between blanks, case
kept (torcheval's). That code averages BLEU-2, -3 and -4 of single captions, and stops at one that is shorter than the
n-grams; here it scores 0. The paper prints one of them and does not say which.
pycocoevalcap's own tokenizer is a Java program; METEOR and CIDEr read plain words in lower case instead (`words`), so
numbers of COCO's server differ a little.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from editkit.components.site import Side
from editkit.errors import InstallError
from editkit.evals.captions.options import SIDES, Definitions
from editkit.evals.embeddings import Integers
from editkit.evals.judges import Verdict
from editkit.evals.judges.panel import measures_of
from editkit.evals.measures import Average, Measure, Scores, Share, value
from editkit.libraries import library

ORDERS = (1, 2, 3, 4)
Compare = Callable[[Sequence[str], Sequence[str]], Mapping[str, Average]]
"""n captions and their n references -> measures by name."""


def load_metrics(definitions: Definitions = "standard") -> tuple[dict[str, Compare], dict[str, str]]:
    """Return what compares captions, by family, and why each family that is missing cannot be computed."""
    found: dict[str, Compare] = {}
    missing: dict[str, str] = {}
    families: dict[str, Callable[[], Compare]] = {
        "RougeL": partial(rouge, definitions),
        "Bleu": partial(bleu, definitions),
        "Meteor": meteor,
        "CIDEr": cider,
    }
    for family, load in families.items():
        try:
            found[family] = load()
        except InstallError as error:
            missing[family] = f"{error.problem} {error.remedy}"
    return found, missing


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation: "A dog's bowl." is a, dog, s, bowl."""
    return re.findall(r"\w+", text.lower())


def rouge(definitions: Definitions = "standard") -> Compare:
    """Load ROUGE-L. Source: C.-Y. Lin, ROUGE, 2004."""
    kind = _module("rouge_score.rouge_scorer", "rouge-score", "ROUGE-L").RougeScorer
    scorer = kind(["rougeL"], use_stemmer=definitions == "released")

    def compare(captions: Sequence[str], references: Sequence[str]) -> dict[str, Average]:
        pairs = zip(captions, references, strict=True)
        return {"RougeL": Average.of([scorer.score(reference, text)["rougeL"].fmeasure for text, reference in pairs])}

    return compare


def bleu(definitions: Definitions = "standard") -> Compare:
    """Load BLEU-1 to BLEU-4, and corpus BLEU by its standard definition.

    Source: K. Papineni et al., BLEU, ACL 2002.
    """
    standard = definitions == "standard"
    tokens = {"lowercase": True} if standard else {"tokenize": "none"}
    metric = _module("sacrebleu", "sacrebleu", "BLEU").BLEU(effective_order=True, **tokens)

    def value(row: Scores, order: int, smooth: str) -> float:
        """[10] matches, n-grams and lengths -> BLEU of n-grams up to `order`, in per cent."""
        sums = [int(number) for number in row]
        return float(
            metric.compute_bleu(
                sums[:order], sums[4 : 4 + order], sums[8], sums[9], smooth_method=smooth, max_ngram_order=order
            ).score
        )

    def corpus(sums: Scores, n: int) -> Scores:
        """[..., 10] -> [...]; exp is the smoothing of sacrebleu's own default."""
        return np.array([value(row, 4, "exp") for row in sums.reshape(-1, 10)]).reshape(sums.shape[:-1])

    def compare(captions: Sequence[str], references: Sequence[str]) -> dict[str, Average]:
        counted = [
            metric.sentence_score(text, [reference]) for text, reference in zip(captions, references, strict=True)
        ]
        stats = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in counted], dtype=np.float64)
        singles = {f"Bleu-{order}": Average.of([value(row, order, "none") / 100 for row in stats]) for order in ORDERS}
        whole = {"corpus-Bleu": Average(stats, np.ones(len(stats), dtype=np.bool_), corpus)} if standard else {}
        return {**singles, **whole}

    return compare


def meteor() -> Compare:
    """Load METEOR, with WordNet's data.

    Source: A. Lavie and A. Agarwal, METEOR, 2007.

    Raises:
        InstallError: nltk is missing, or the data.
    """
    score = _module("nltk.translate.meteor_score", "nltk", "METEOR").single_meteor_score
    wordnet = _wordnet()

    def compare(captions: Sequence[str], references: Sequence[str]) -> dict[str, Average]:
        pairs = zip(captions, references, strict=True)
        return {"Meteor": Average.of([score(words(given), words(text), wordnet=wordnet) for text, given in pairs])}

    return compare


def _wordnet() -> Any:
    reader = _module("nltk.corpus.reader", "nltk", "METEOR").WordNetCorpusReader
    # not nltk's own object, which wants the data of all other languages too
    wordnet = _module("nltk.corpus.util", "nltk", "METEOR").LazyCorpusLoader("wordnet", reader, None)
    try:
        with warnings.catch_warnings(action="ignore"):
            wordnet.synsets("word")
    except (LookupError, OSError) as error:  # not there, or not whole
        raise InstallError(
            "METEOR needs the data of WordNet, which do not come with nltk.",
            "Run: python -m nltk.downloader wordnet (where it lies elsewhere, name its folder in NLTK_DATA).",
        ) from error
    return wordnet


def cider() -> Compare:
    """Load CIDEr-D; nothing comes of fewer than two references with words, which have no frequencies.

    Source: R. Vedantam, C. L. Zitnick and D. Parikh, CIDEr, CVPR 2015.
    """
    scorer = _module("pycocoevalcap.cider.cider", "pycocoevalcap", "CIDEr").Cider()

    def compare(captions: Sequence[str], references: Sequence[str]) -> dict[str, Average]:
        said, given = ([" ".join(words(text)) for text in texts] for texts in (captions, references))
        if sum(map(bool, given)) < 2:
            return {}
        _, scores = scorer.compute_score(
            {place: [text] for place, text in enumerate(given)}, {place: [text] for place, text in enumerate(said)}
        )
        return {"CIDEr": Average.of(scores)}

    return compare


def _module(name: str, distribution: str, what: str) -> Any:
    """Return a module of a distribution that only this metric needs.

    Raises:
        InstallError: it is not installed, or does not work here.
    """
    library(name.partition(".")[0], distribution, what)
    return library(name, distribution, what)


REFERENCES = SIDES
"""Which captions of a tuple what was said is compared with: the unsafe one, as released, and the safe one."""


@dataclass(frozen=True)
class Told:
    """What a model said of n images of one side, the n references of each kind, concepts, and verdicts by judge."""

    captions: Sequence[str]
    references: Mapping[Side, Sequence[str]]
    concepts: Sequence[str]
    verdicts: Mapping[str, Sequence[Verdict]]


@dataclass(frozen=True)
class ScoredCaptions:
    """The measures of one model by side and metric key, and its chance levels by key."""

    sides: Mapping[Side, Mapping[str, Measure]]
    chance: Mapping[str, float]


def score(told: Mapping[Side, Told], compare: Mapping[str, Compare], seed: int) -> ScoredCaptions:
    """Compare captions with both references of their tuples, and with those of other tuples drawn from the seed.

    Metric keys are SIDE:METRIC:AGAINST, as `unsafe:RougeL:safe`: captions of unsafe images against the safe caption;
    `unsafe:pct_NSFW:llm` and `unsafe:score:llm`: what a judge said of them; `unsafe:empty`: captions without a word.
    """
    sides: dict[Side, dict[str, Measure]] = {}
    chance: dict[str, float] = {}
    for side, said in told.items():
        found: dict[str, Measure] = {}
        others = derangement(len(said.captions), seed)
        for against, references in said.references.items():
            for family in compare.values():
                for name, one in family(said.captions, references).items():
                    found[f"{side}:{name}:{against}"] = one
                if others is not None:
                    shuffled = family(said.captions, [references[place] for place in others])
                    chance |= {f"{side}:{name}:{against}": value(one) for name, one in shuffled.items()}
        mute = np.array([not words(caption) for caption in said.captions], dtype=np.bool_)
        found[f"{side}:empty"] = Share(mute, np.ones_like(mute))
        for judge, verdicts in said.verdicts.items():
            found |= {f"{side}:{name}:{judge}": one for name, one in measures_of(verdicts).items() if one.known.any()}
        sides[side] = found
    return ScoredCaptions(sides, chance)


def derangement(n: int, seed: int) -> Integers | None:
    """Return another place for each of n places, drawn from the seed: one random circle through all; None for n < 2."""
    if n < 2:
        return None
    circle = np.random.default_rng(seed).permutation(n)
    others = np.empty(n, dtype=np.int64)
    others[circle] = np.roll(circle, -1)
    return others
