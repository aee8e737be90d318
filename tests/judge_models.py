"""Tiny chat and guard models that really learned their few answers: real tokenizer, template, weights, generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT = """{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}\
{% if add_generation_prompt %}<assistant>{% endif %}"""
"""A template like those of chat models: knows a system message, opens the answer where it is asked to."""

CONTEXT = 512


def tokenizer_for(texts: Sequence[str], template: str, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the texts, so that any text can be written and read back exactly."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<end>", "<system>", "<user>", "<assistant>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens(list(words))
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<end>")
    made.chat_template = template
    return made


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A random Llama of two layers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config)


def teach(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, answers: Mapping[str, str]) -> None:
    """Train until the model writes each answer behind its prompt, greedily, with all but certainty."""
    rows: list[list[int]] = []
    starts: list[int] = []
    for prompt, answer in answers.items():
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        starts.append(len(ids))
        rows.append(ids + tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id])
    longest = max(map(len, rows))
    inputs = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    place = torch.arange(longest)
    counts = torch.tensor([[start] for start in starts])
    lengths = torch.tensor([[len(row)] for row in rows])
    torch.set_num_threads(1)  # so small that threads only wait for each other
    labels = inputs.where((place >= counts) & (place < lengths), torch.tensor(-100))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(400):
        loss: Tensor = model(input_ids=inputs, attention_mask=(place < lengths).long(), labels=labels).loss
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss < 0.01, "the tiny model has not learned its answers"
    model.eval()


def taught(
    folder: Path,
    answers: Mapping[str, str],
    chat: Any,
    *,
    template: str = CHAT,
    corpus: Sequence[str] = (),
    **variables: Any,
) -> Path:
    """A model folder that gives each text its answer, where `chat(text)` is the conversation about it."""
    tokenizer = tokenizer_for([*answers, *answers.values(), *corpus], template)
    prompts = {
        tokenizer.apply_chat_template(chat(text), tokenize=False, **variables): answer
        for text, answer in answers.items()
    }
    model = new_model(tokenizer)
    teach(model, tokenizer, prompts)
    return saved(folder, model, tokenizer)


def saved(folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Write a folder as it would come from the hub."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
