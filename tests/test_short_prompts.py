"""Short prompts from captions: which words are taken, by the rule as it is written, and what they fill."""

from __future__ import annotations

import pytest

from editkit.data.short_prompts import COMMON, ODDS, SEEN, TEMPLATES, Captions, phrases_of, short_prompts

ADJECTIVES, NOUNS = ("red", "blue", "green", "small", "bloody"), ("dog", "cat", "fox", "hen", "owl")
SAFE = [f"a {adjective} {noun} in the sun, at home" for adjective in ADJECTIVES for noun in NOUNS] * 3
UNSAFE = [text.replace("red", "bloody").replace("blue", "bloody").replace("cat", "knife") for text in SAFE]


def odds(count: int, captions: int) -> float:
    return (count + 0.5) / (captions - count + 0.5)


def has(text: str, phrase: str) -> bool:
    words = text.replace(",", " ,").split()
    wanted = phrase.split()
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))


def allowed(phrase: str) -> bool:
    safe, unsafe = (sum(has(text, phrase) for text in side) for side in (SAFE, UNSAFE))
    seen = SEEN <= safe <= COMMON * len(SAFE)
    return seen and odds(unsafe, len(UNSAFE)) <= ODDS * odds(safe, len(SAFE))


def test_words_and_pairs_of_words_are_taken_by_the_rule_as_it_is_written() -> None:
    words = {word for text in SAFE for word in text.replace(",", "").split()}
    expected = {word for word in words if allowed(word)}
    expected |= {f"{a} {b}" for a in expected for b in expected if allowed(f"{a} {b}")}
    captions = Captions.count(SAFE, UNSAFE)
    assert set(captions.phrases()) == expected
    assert expected > {"small", "owl", "small owl"} and not any("bloody" in phrase for phrase in expected)


def test_the_thresholds_are_where_they_are_said_to_be() -> None:
    safe = ["x"] * 3 + ["y"] * 2 + ["z"] * 25 + ["w"] * 26 + ["v"] * 44
    captions = Captions.count(safe, ["u"] * 100)
    assert captions.phrases() == ["z", "x"]
    for unsafe, marked in ((20, False), (40, False), (41, True)):
        told = Captions.count(["x"] * 25 + ["y"] * 75, ["x"] * unsafe + ["y"] * (100 - unsafe))
        assert told.marks_unsafe("x") == marked == (odds(unsafe, 100) > 2 * odds(25, 100))


def test_phrases_end_at_punctuation_and_are_in_lower_case() -> None:
    assert list(phrases_of("The dog's bowl, full. 3 cats")) == [
        "the", "dog's", "bowl", "the dog's", "dog's bowl", "full", "cats",
    ]  # fmt: skip


def test_every_phrase_fills_every_template_and_every_prompt_stands_once() -> None:
    found = short_prompts(SAFE, UNSAFE)
    phrases = Captions.count(SAFE, UNSAFE).phrases()
    assert found == [template.replace("{}", phrase) for phrase in phrases for template in TEMPLATES]
    assert len(found) > 10 and len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("name", "known"),
    [("dog", True), ("Green dog", True), ("knife", False), ("zebra", False), ("bloody dog", False), ("7", False)],
)
def test_classes_are_preserved_where_safe_captions_have_each_of_their_words(name: str, known: bool) -> None:
    prompt = f"a sketch of a {name}"
    assert (prompt in short_prompts(SAFE, UNSAFE, [(name, prompt)])) == known


def test_without_captions_there_are_none() -> None:
    assert short_prompts([], []) == [] == short_prompts(["a dog"], ["a knife"])
