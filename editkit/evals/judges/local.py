"""A causal language model on this machine: greedy answers, and the logits of single tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editkit.errors import ModelError
from editkit.evals.judges import Answer
from editkit.evals.judges.chat_template import written
from editkit.evals.judges.options import GuardOptions, LLMOptions
from editkit.evals.judges.prompt import Message
from editkit.evals.judges.source import Source
from editkit.models.compute import resolve_device
from editkit.progress import Advance

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalChat:
    """A model folder or hub id; its tokenizer and weights are read when the first question comes."""

    def __init__(self, options: LLMOptions | GuardOptions) -> None:
        self.options = options
        self.source = Source(options.model)

    @property
    def revision(self) -> str:
        """The model and its hub revision, or a digest of its weights."""
        return self.source.revision

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer; it pads on the left, since the answer is written behind the prompt.

        Raises:
            ModelError: it cannot be loaded, or has no chat template.
        """
        tokenizer: PreTrainedTokenizerBase = self.source.load("AutoTokenizer")
        if not tokenizer.chat_template:
            raise ModelError(
                f"{self.source.name} has no chat template, so it cannot be asked anything.",
                "Choose a model that was tuned for chat (its name often ends in Instruct).",
            )
        tokenizer.padding_side = "left"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token
        return tokenizer

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model, in evaluation mode.

        Raises:
            ModelError: it cannot be loaded.
        """
        model: PreTrainedModel = self.source.load_weights(
            "AutoModelForCausalLM", device=resolve_device(self.options.device), dtype=self.options.dtype
        )
        return model

    def answers(self, chats: Sequence[Sequence[Message]], on_item: Advance) -> list[Answer]:
        """Return the greedy answer to each conversation."""
        # templates of models that reason first know `enable_thinking`; to the others it is an unused variable
        variables = {"add_generation_prompt": True, "enable_thinking": False}
        return self.complete([written(self.tokenizer, chat, **variables) for chat in chats], on_item)

    def complete(self, prompts: Sequence[str], on_item: Advance) -> list[Answer]:
        """Return what the model writes behind each prompt; one that its context has no room for gets no answer."""

        def generate(inputs: dict[str, Tensor]) -> Iterable[Answer]:
            tokens = self.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,  # a folder's own settings are for chatting
                max_new_tokens=self.options.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            new = tokens[:, inputs["input_ids"].shape[1] :]
            return map(Answer, self.tokenizer.batch_decode(new, skip_special_tokens=True))

        return list(self._in_batches(prompts, generate, lambda reason: Answer(None, reason), on_item))

    def next_logits(self, prompts: Sequence[str], tokens: Sequence[int], on_item: Advance) -> list[Tensor | str]:
        """Return the float32 logits [k] of k tokens behind each prompt; a reason where there is no room for one."""

        def forward(inputs: dict[str, Tensor]) -> Iterable[Tensor]:
            positions = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)  # the padding counts for none
            logits: Tensor = self.model(**inputs, position_ids=positions, logits_to_keep=1).logits
            return logits[:, -1, list(tokens)].float().cpu()

        return list(self._in_batches(prompts, forward, lambda reason: reason, on_item))

    @torch.inference_mode()
    def _in_batches(
        self,
        prompts: Sequence[str],
        work: Callable[[dict[str, Tensor]], Iterable[Any]],
        refuse: Callable[[str], Any],
        on_item: Advance,
    ) -> Iterator[Any]:
        context = getattr(self.model.config, "max_position_embeddings", None) or float("inf")
        for start in range(0, len(prompts), self.options.batch_size):
            batch = list(prompts[start : start + self.options.batch_size])
            ids = self.tokenizer(batch, add_special_tokens=False)["input_ids"]  # the template wrote them
            kept = [row for row in ids if len(row) + self.options.max_new_tokens <= context]
            done: Iterator[Any] = iter(())
            if kept:
                padded = self.tokenizer.pad({"input_ids": kept}, return_tensors="pt").to(self.model.device)
                done = iter(work({name: padded[name] for name in ("input_ids", "attention_mask")}))
            for row in ids:
                if len(row) + self.options.max_new_tokens <= context:
                    yield next(done)
                else:
                    yield refuse(f"its {len(row):,} tokens leave no room for an answer in a context of {context:,}")
                on_item(1)
