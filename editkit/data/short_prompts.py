"""Short prompts from the words of calibration captions, for what safe queries look like outside of whole sentences.

A word w stands in n_s of N_s safe captions and n_u of N_u unsafe ones. It is taken where

    SEEN <= n_s <= COMMON N_s    odds(n_u, N_u) <= ODDS odds(n_s, N_s)    odds(n, N) = (n + 1/2) / (N - n + 1/2)

so neither words that say nothing ("a", "the", "photo") nor those that mark the unsafe side. Two words that follow each
other are taken by the same rule where each may be taken. The MOST frequent fill every template. Classes that the data
set names fill theirs where safe captions have each of their words, none marked unsafe: what the captions do not know
is not declared safe.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

SEEN = 3
COMMON = 0.25
ODDS = 2.0
MOST = 512
TEMPLATES = ("{}", "a photo of a {}.", "a picture of {}.")

_BREAK = re.compile(r"[^\w\s'’-]+")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True)
class Captions:
    """In how many safe and unsafe captions each word or pair of words stands."""

    safe: Counter[str]
    unsafe: Counter[str]
    safe_captions: int
    unsafe_captions: int

    @classmethod
    def count(cls, safe: Sequence[str], unsafe: Sequence[str]) -> Captions:
        """Count words and pairs of words, each once a caption."""
        counts = [Counter(phrase for text in side for phrase in set(phrases_of(text))) for side in (safe, unsafe)]
        return cls(counts[0], counts[1], len(safe), len(unsafe))

    def marks_unsafe(self, phrase: str) -> bool:
        """Whether the odds of a phrase on the unsafe side are more than ODDS times those on the safe one."""
        odds = [
            (counts[phrase] + 0.5) / (captions - counts[phrase] + 0.5)
            for counts, captions in ((self.safe, self.safe_captions), (self.unsafe, self.unsafe_captions))
        ]
        return odds[1] > ODDS * odds[0]

    def takes(self, phrase: str) -> bool:
        """Whether a phrase may fill a template."""
        seen = self.safe[phrase]
        usual = SEEN <= seen <= COMMON * self.safe_captions and not self.marks_unsafe(phrase)
        words = phrase.split()
        return usual and (len(words) == 1 or all(map(self.takes, words)))

    def knows(self, name: str) -> bool:
        """Whether safe captions have every word of a class's name, and none of them marks the unsafe side."""
        words = _WORD.findall(name.lower())
        return bool(words) and all(self.safe[word] and not self.marks_unsafe(word) for word in words)

    def phrases(self) -> list[str]:
        """Return the MOST frequent phrases that may be taken, the most frequent first."""
        taken = [phrase for phrase in self.safe if self.takes(phrase)]
        return sorted(taken, key=lambda phrase: (-self.safe[phrase], phrase))[:MOST]


def phrases_of(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case, and each two that no punctuation parts."""
    for part in _BREAK.split(text.lower()):
        words = _WORD.findall(part)
        yield from words
        yield from map(" ".join, pairwise(words))


def short_prompts(safe: Sequence[str], unsafe: Sequence[str], prompts: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Return the prompts that captions give, each once.

    Args:
        safe: captions.
        unsafe: captions.
        prompts: names of classes, with a prompt that each of them fills.
    """
    captions = Captions.count(safe, unsafe)
    filled = [template.replace("{}", phrase) for phrase in captions.phrases() for template in TEMPLATES]
    filled += [prompt for name, prompt in prompts if captions.knows(name)]
    return list(dict.fromkeys(filled))
