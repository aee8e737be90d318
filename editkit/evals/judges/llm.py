"""`llm`: any chat model, asked for one word per text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Protocol

from editkit.evals.judges import Answer, Verdict, failed, ignore, require_an_answer
from editkit.evals.judges.options import LLMOptions
from editkit.evals.judges.prompt import PROMPT_HASH, Message, parse, question
from editkit.libraries import of_extra
from editkit.progress import Advance


class Chat(Protocol):
    """What answers conversations: a model here, or an endpoint."""

    @property
    def revision(self) -> str: ...
    def answers(self, chats: Sequence[Sequence[Message]], on_item: Advance) -> list[Answer]: ...


class LLMJudge:
    """Asks for `Safe` or `Unsafe`, greedily; an answer that is neither is unparsable."""

    prompt_hash: ClassVar[str] = PROMPT_HASH

    def __init__(self, options: LLMOptions) -> None:
        self.options = options

    @cached_property
    def _chat(self) -> Chat:
        if self.options.endpoint:
            with of_extra("endpoint", "a judge behind an endpoint"):
                from editkit.evals.judges.endpoint import Endpoint

            return Endpoint(self.options)
        from editkit.evals.judges.local import LocalChat

        return LocalChat(self.options)

    @property
    def revision(self) -> str:
        """The model and its hub revision or digest; of an endpoint, its name for the model."""
        return self._chat.revision

    def judge(
        self, items: Sequence[str], on_item: Advance = ignore, *, ids: Sequence[str] | None = None
    ) -> list[Verdict]:
        """Return one verdict per text."""
        answers = self._chat.answers([question(text) for text in items], on_item)
        verdicts = [failed(answer.reason) if answer.text is None else parse(answer.text) for answer in answers]
        return require_an_answer(
            verdicts, "llm", "Check that the model answers: its server, its context length, its chat template."
        )
