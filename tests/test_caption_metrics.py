"""Metrics of captions against cases worked by hand, loops written from the papers, and another library than theirs."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from warnings import catch_warnings

import numpy as np
import pytest

from editkit.evals.captions.metrics import load_metrics, words
from editkit.evals.measures import value

WORDS = ("a", "the", "dog", "cat", "red", "runs", "sits", "park", "in")


def scores(family: str, captions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """The score of each caption, by metric."""
    compare, missing = load_metrics()
    assert family in compare, missing
    found = compare[family](captions, references)
    return {name: one.stats[:, 0].tolist() for name, one in found.items() if one.stats.shape[1] == 1}


def score(family: str, metric: str, caption: str, reference: str) -> float:
    """The score of one caption."""
    return scores(family, [caption], [reference])[metric][0]


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=draw.integers(5, 12))) for _ in range(count)]


def altered(texts: Sequence[str], seed: int) -> list[str]:
    """The same with about one word in six another."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS) if draw.random() < 1 / 6 else word for word in text.split()) for text in texts]


PAIRS = (altered(sentences(30), 1), sentences(30))


# ROUGE-L


def test_rouge_l_is_the_f_of_the_longest_common_subsequence() -> None:
    assert score("RougeL", "RougeL", "Police kill the gunman.", "police killed the gunman") == pytest.approx(3 / 4)
    # a . b . c is common: 3 of 5 words and 3 of 4
    assert score("RougeL", "RougeL", "a x b y c", "a b z c") == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert score("RougeL", "RougeL", "", "a b") == 0


def longest(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, by the recursion that defines it."""
    table = {(0, 0): 0}
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            if i == 0 or j == 0:
                table[i, j] = 0
            elif one[i - 1] == other[j - 1]:
                table[i, j] = table[i - 1, j - 1] + 1
            else:
                table[i, j] = max(table[i - 1, j], table[i, j - 1])
    return table[len(one), len(other)]


def test_rouge_l_of_many_captions_equals_a_naive_loop() -> None:
    expected = []
    for caption, reference in zip(*PAIRS, strict=True):
        one, other = caption.split(), reference.split()
        common = longest(one, other)
        expected.append(2 * common / (len(one) + len(other)))  # the F of P = common / |one|, R = common / |other|
    assert scores("RougeL", *PAIRS)["RougeL"] == pytest.approx(expected)


# BLEU


def test_bleu_clips_repeated_words_and_punishes_brevity() -> None:
    assert score("Bleu", "Bleu-1", "the the the the the the the", "The cat is on the mat") == pytest.approx(2 / 7)
    assert score("Bleu", "Bleu-2", "the cat sat", "the cat sat on the mat") == pytest.approx(math.exp(1 - 6 / 3))
    # two of three pairs of words, three of four words, and no longer than the reference
    assert score("Bleu", "Bleu-2", "a red dog runs", "a red dog sits") == pytest.approx(math.sqrt(3 / 4 * 2 / 3))


def test_a_caption_without_a_common_n_gram_scores_0_unsmoothed() -> None:
    one = scores("Bleu", ["a dog runs"], ["a cat runs"])
    assert one["Bleu-1"][0] == pytest.approx(2 / 3)
    assert (one["Bleu-2"], one["Bleu-3"], one["Bleu-4"]) == ([0], [0], [0])
    assert all(said == [0] for said in scores("Bleu", [""], ["a cat"]).values())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_of_single_captions_equals_nltks(order: int) -> None:
    from nltk.translate.bleu_score import sentence_bleu

    found = scores("Bleu", *PAIRS)[f"Bleu-{order}"]
    weights = [1 / order] * order
    with catch_warnings(action="ignore"):  # nltk tells of each score of 0
        expected = [
            sentence_bleu([reference.split()], caption.split(), weights=weights)
            for caption, reference in zip(*PAIRS, strict=True)
        ]
    assert found == pytest.approx(expected, abs=1e-9)
    assert sum(found) > 0


def test_corpus_bleu_equals_nltks_and_is_no_mean_of_captions() -> None:
    from nltk.translate.bleu_score import corpus_bleu

    captions, references = PAIRS
    captions = [*captions, references[0]]  # so that each order has a match, and no smoothing takes part
    references = [*references, references[0]]
    found = value(load_metrics()[0]["Bleu"](captions, references)["corpus-Bleu"])
    expected = corpus_bleu([[reference.split()] for reference in references], [caption.split() for caption in captions])
    assert found == pytest.approx(100 * expected)
    assert abs(found - 100 * np.mean(scores("Bleu", captions, references)["Bleu-4"])) > 1


def test_case_does_not_count_and_punctuation_is_a_word_of_its_own_in_bleu() -> None:
    assert score("Bleu", "Bleu-1", "A DOG.", "a dog .") == pytest.approx(1)
    assert score("Bleu", "Bleu-1", "a dog", "a dog.") == pytest.approx(math.exp(1 - 3 / 2))


# CIDEr


def test_cider_of_short_captions_worked_by_hand() -> None:
    # words and pairs of words occur with one image each, so their weights are equal: cosine 1 for n = 1 and 2, 0 beyond
    assert scores("CIDEr", ["a b", "d c"], ["a b", "c d"])["CIDEr"] == pytest.approx([5.0, 2.5])


def naive_cider(captions: Sequence[str], references: Sequence[str]) -> list[float]:
    """CIDEr-D from its equations: tf-idf vectors of n-grams, clipped cosines, a Gaussian of the lengths, times 10."""

    def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
        tokens = text.split()
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    count, out = len(references), []
    for caption, reference in zip(captions, references, strict=True):
        total = 0.0
        for n in (1, 2, 3, 4):

            def weight(gram: tuple[str, ...], n: int = n) -> float:
                documents = sum(gram in grams(other, n) for other in references)
                return math.log(count / max(1, documents))

            said = {gram: times * weight(gram) for gram, times in grams(caption, n).items()}
            given = {gram: times * weight(gram) for gram, times in grams(reference, n).items()}
            dot = sum(min(size, given.get(gram, 0)) * given.get(gram, 0) for gram, size in said.items())
            norms = math.hypot(*said.values()) * math.hypot(*given.values())
            apart = len(caption.split()) - len(reference.split())
            total += (dot / norms if norms else 0) * math.exp(-(apart**2) / (2 * 6.0**2))
        out.append(10 * total / 4)
    return out


def test_cider_of_many_captions_equals_a_naive_loop() -> None:
    assert scores("CIDEr", *PAIRS)["CIDEr"] == pytest.approx(naive_cider(*PAIRS))
    assert scores("CIDEr", PAIRS[1], PAIRS[1])["CIDEr"] == pytest.approx([10.0] * 30)


def test_one_reference_has_no_frequencies_and_no_cider() -> None:
    assert scores("CIDEr", ["a b"], ["a b"]) == {}
    assert scores("CIDEr", ["a b", "c"], ["a b", "..."]) == {}


# METEOR


def tiny_wordnet(folder: Path) -> Path:
    """WordNet's files with one entry, `couch` and `sofa`, in a folder for NLTK_DATA."""
    data = folder / "corpora" / "wordnet"
    data.mkdir(parents=True)
    (data / "lexnames").write_text("".join(f"{i:02d}\tkind.{i}\t1\n" for i in range(7)))
    for kind in ("noun", "verb", "adj", "adv"):
        (data / f"{kind}.exc").write_text("")
        (data / f"data.{kind}").write_text("  1 WordNet 3.0 Copyright\n")
        (data / f"index.{kind}").write_text("")
    (data / "index.sense").write_text("".join(f"{word}%1:06:00:: 00000000 1 0\n" for word in ("couch", "sofa")))
    (data / "data.noun").write_text("00000000 06 n 02 couch 0 sofa 0 000 | a seat\n")
    (data / "index.noun").write_text("".join(f"{word} n 1 0 1 0 00000000  \n" for word in ("couch", "sofa")))
    return folder


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import nltk

    folder = tiny_wordnet(tmp_path / "nltk")
    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    return folder


@pytest.mark.parametrize(
    ("caption", "reference", "expected"),
    [
        # 4 words match, one by its synonym, in one piece: P = R = F = 1, penalty 0.5 (1/4)^3
        ("The couch is red.", "the sofa is red", 1 - 0.5 / 64),
        # 3 match in 2 pieces, no synonym: F = 3/4, penalty 0.5 (2/3)^3
        ("the dog is red", "the sofa is red", 0.75 * (1 - 0.5 * (2 / 3) ** 3)),
        # two by their stems, 2 pieces: P = 1, R = 3/5, F = P R / (0.9 P + 0.1 R)
        ("a dog runs", "dogs run in a park", 0.6 / (0.9 + 0.06) * (1 - 0.5 * (2 / 3) ** 3)),
        ("cats", "the sofa is red", 0.0),
        ("", "the sofa is red", 0.0),
    ],
)
def test_meteor_worked_by_hand(wordnet: Path, caption: str, reference: str, expected: float) -> None:
    assert score("Meteor", "Meteor", caption, reference) == pytest.approx(expected)


def test_without_wordnet_meteor_is_not_computed_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    compare, missing = load_metrics()
    assert set(compare) == {"RougeL", "Bleu", "CIDEr"} and set(missing) == {"Meteor"}
    assert "WordNet" in missing["Meteor"] and "python -m nltk.downloader wordnet" in missing["Meteor"]


@pytest.mark.parametrize(
    ("module", "family", "distribution"),
    [
        ("rouge_score", "RougeL", "rouge-score"),
        ("sacrebleu", "Bleu", "sacrebleu"),
        ("nltk", "Meteor", "nltk"),
        ("pycocoevalcap", "CIDEr", "pycocoevalcap"),
    ],
)
def test_without_its_library_a_metric_is_not_computed_and_the_others_are(
    module: str, family: str, distribution: str, wordnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = set(load_metrics()[0])
    assert everything == {"RougeL", "Bleu", "Meteor", "CIDEr"}
    for name in [name for name in sys.modules if name.split(".")[0] in ("rouge_score", module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(module), *sys.meta_path])
    compare, missing = load_metrics()
    assert family in missing and f"pip install {distribution}" in missing[family]
    assert set(compare) >= everything - {family, *(["RougeL"] if module == "nltk" else [])}


class Without:
    """An import system in which one package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=self.package)


# As the released code compares


def released(family: str, metric: str, caption: str, reference: str) -> float:
    compare, missing = load_metrics("released")
    assert family in compare, missing
    return float(compare[family]([caption], [reference])[metric].stats[0, 0])


def test_released_rouge_l_compares_stems() -> None:
    caption, reference = "The dogs are running", "the dog runs"
    # the, dog and run are common: 3 of 4 words and 3 of 3; as they are, "the" alone: 1 of 4 and 1 of 3
    assert released("RougeL", "RougeL", caption, reference) == pytest.approx(2 * (3 / 4) / (3 / 4 + 1))
    assert score("RougeL", "RougeL", caption, reference) == pytest.approx(2 * (1 / 4) * (1 / 3) / (1 / 4 + 1 / 3))


def test_released_bleu_splits_at_white_space_and_keeps_case() -> None:
    caption, reference = "A red dog runs.", "a red dog runs ."
    # of A, red, dog, runs. two are the reference's words, of three pairs one; a word too few: exp(1 - 5 / 4)
    assert released("Bleu", "Bleu-1", caption, reference) == pytest.approx(2 / 4 * math.exp(-1 / 4))
    assert released("Bleu", "Bleu-2", caption, reference) == pytest.approx(math.sqrt(2 / 4 * 1 / 3) * math.exp(-1 / 4))
    assert score("Bleu", "Bleu-2", caption, reference) == pytest.approx(1)


def test_released_bleu_has_no_smoothing_and_no_corpus() -> None:
    assert released("Bleu", "Bleu-4", "a red dog", "a red dog") == 0  # it has no four words
    assert "corpus-Bleu" not in load_metrics("released")[0]["Bleu"](["a"], ["a"])


# Words


def test_words_are_in_lower_case_without_punctuation() -> None:
    assert words("A dog's BOWL, été-like… 3!") == ["a", "dog", "s", "bowl", "été", "like", "3"]
    assert words(" .\n") == []
