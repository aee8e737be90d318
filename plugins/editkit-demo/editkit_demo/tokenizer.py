"""Build the CLIP tokenizer of the demo model: byte-level BPE, its merges learned from the captions' words."""

import re
from collections import Counter
from itertools import pairwise

from transformers import CLIPTokenizer

from editkit_demo.captions import every_phrase

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 32
END_OF_WORD = "</w>"

Word = tuple[str, ...]


def build_tokenizer() -> CLIPTokenizer:
    """Learn merges until every word of the vocabulary is one token; END closes and pads a text, as in OpenAI's CLIP.

    All 256 bytes are kept as tokens, so that no text has an unknown token, which would read as the end of the text.
    """
    letters = list(_byte_letters())
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters)]
    merges = _learn_merges(_words())
    tokens += ["".join(merge) for merge in merges]
    tokens += [BEGIN, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def _words() -> list[str]:
    words: set[str] = set()
    for phrase in every_phrase():
        words.update(re.findall(r"[a-z]+|[.,]", re.sub(r"\{.*?\}", " ", phrase)))
    return sorted(words)


def _learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merge the most frequent pair of symbols, the alphabetically first among equals, until no word has a pair left."""
    split: list[Word] = [(*word[:-1], word[-1] + END_OF_WORD) for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in split for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = [_merge(word, best) for word in split]
    return merges


def _merge(word: Word, pair: tuple[str, str]) -> Word:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def _byte_letters() -> list[str]:
    """Give each byte the printable letter that byte-level BPE stands it for: itself, or one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
