"""Ask an OpenAI-compatible endpoint: some questions at once, each until it is answered or given up, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential, wait_random_exponential
from tenacity.wait import wait_base

from editkit.errors import one_line
from editkit.evals.judges import Answer
from editkit.evals.judges.key import Key, no_headers_logged, read_key
from editkit.evals.judges.options import LLMOptions
from editkit.evals.judges.prompt import Message
from editkit.evals.judges.reply import REPEATED, Trouble, answer_in, asked_wait, refusal, told
from editkit.progress import Advance

PATIENCE = 8
"""Items in a row that no repeat could get an answer for, until the rest are not asked any more: the server is gone."""
LONGEST_BODY = 1 << 20
"""Bytes of a reply that are read; an answer of one word in its envelope is far below."""


def backoff(first: float, longest: float) -> wait_base:
    """Return waits that double: each between half of and all of min(longest, first, 2 first, 4 first, ...) seconds.

    Scattered, so that requests which failed together do not come back together.
    """
    half = {"multiplier": first / 2, "max": longest / 2}
    return wait_exponential(**half) + wait_random_exponential(**half)


class Endpoint:
    """Answers from `POST {endpoint}/chat/completions`."""

    def __init__(self, options: LLMOptions) -> None:
        self.options = options
        self.revision = f"{options.model} at {options.endpoint}"

    def answers(self, chats: Sequence[Sequence[Message]], on_item: Advance) -> list[Answer]:
        """Return one answer per conversation, in their order, however often each was asked.

        Raises:
            ModelError: status 401, 403 or 404; or any other that is not worth a repeat as the first answer of all.
        """
        asking = _Asking(self.options, read_key(self.options), on_item)
        with no_headers_logged(), start_blocking_portal() as portal:  # a loop of its own: notebooks already run one
            return portal.call(asking.all, chats)


@dataclass
class _Asking:
    """One run over all conversations."""

    options: LLMOptions
    key: Key
    on_item: Advance
    unanswered: int = 0
    """Items in a row without an answer."""
    answered: bool = False
    last_reason: str = field(default="")

    async def all(self, chats: Sequence[Sequence[Message]]) -> list[Answer]:
        found: dict[int, Answer] = {}
        positions = iter(range(len(chats)))  # shared by all workers, so that no item is handed out twice

        async def work() -> None:
            for position in positions:
                found[position] = await self.one(client, chats[position])
                self.on_item(1)
                if position == 0:  # alone: a wrong key or model is told by one request, not by many
                    return

        limits = httpx2.Limits(max_connections=self.options.concurrency)
        # no timeout of the library's: it would start over with every byte of a server that trickles
        async with httpx2.AsyncClient(headers=self.key.header(), limits=limits, timeout=None) as client:
            try:
                await work()
                async with anyio.create_task_group() as group:
                    for _ in range(self.options.concurrency):
                        group.start_soon(work)
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return [found[position] for position in range(len(chats))]

    async def one(self, client: httpx2.AsyncClient, chat: Sequence[Message]) -> Answer:
        """Ask until there is an answer, a refusal, or no repeat left."""
        if self.unanswered >= PATIENCE:
            return Answer(None, f"not asked, since {PATIENCE} items in a row got no answer ({self.last_reason})")
        answer: Answer = await self.repeating()(self.once, client, chat)
        return answer

    def repeating(self) -> AsyncRetrying:
        """Return what repeats a request that met trouble, no sooner than the server asks for."""
        options = self.options
        waits = backoff(options.first_wait, options.longest_wait)
        return AsyncRetrying(
            retry=retry_if_result(lambda outcome: isinstance(outcome, Trouble)),
            stop=lambda state: state.attempt_number > options.retries or _trouble(state).wait > options.longest_wait,
            wait=lambda state: max(waits(state), _trouble(state).wait),
            sleep=anyio.sleep,
            retry_error_callback=self.given_up,
        )

    def given_up(self, state: RetryCallState) -> Answer:
        """Return why an item has no answer after all repeats that it was worth."""
        trouble, attempts = _trouble(state), state.attempt_number
        self.unanswered += 1
        self.last_reason = trouble.reason
        if trouble.wait > self.options.longest_wait:
            self.last_reason += f", which asks to wait {trouble.wait:,.0f} s"
        return Answer(None, self.last_reason + (f"; asked {attempts} times" if attempts > 1 else ""))

    async def once(self, client: httpx2.AsyncClient, chat: Sequence[Message]) -> Answer | Trouble:
        """Send one request."""
        try:
            with anyio.fail_after(self.options.timeout):
                url = f"{self.options.endpoint.rstrip('/')}/chat/completions"
                async with client.stream("POST", url, json=self.request(chat)) as reply:
                    content = await self.content(reply)
        except TimeoutError:
            return Trouble(f"no answer within {self.options.timeout:g} s")
        except httpx2.RequestError as error:
            return Trouble(self.key.removed_from(one_line(error)).rstrip("."))
        if reply.status_code in REPEATED:
            return Trouble(f"status {reply.status_code}", asked_wait(reply.headers.get("Retry-After")))
        self.unanswered = 0
        return self.judged(reply.status_code, content)

    def request(self, chat: Sequence[Message]) -> dict[str, Any]:
        """Return the body of a request."""
        options = self.options
        body: dict[str, Any] = {"model": options.model, "messages": list(chat)}
        body[options.length_field] = options.max_new_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        return body

    async def content(self, reply: httpx2.Response) -> str | None:
        """Return the text of a reply without the key; None where it is too long."""
        body = bytearray()
        async for part in reply.aiter_bytes():
            body += part
            if len(body) > LONGEST_BODY:
                return None
        return self.key.removed_from(body.decode(errors="replace"))

    def judged(self, status: int, content: str | None) -> Answer:
        """Return what a server said that need not be asked again.

        Raises:
            ModelError: it would refuse every other request, too.
        """
        if status == 200:
            self.answered = True
            if content is None:
                return Answer(None, f"the reply is longer than {LONGEST_BODY:,} bytes")
            return answer_in(content, self.key)
        if status in (401, 403, 404) or not self.answered:
            raise refusal(status, content or "", self.key, self.options)
        return Answer(None, f"status {status}{told(content or '', self.key)}")


def _trouble(state: RetryCallState) -> Trouble:
    """Return what the last request met; only asked of a request that did meet trouble."""
    assert state.outcome is not None
    trouble: Trouble = state.outcome.result()
    return trouble
