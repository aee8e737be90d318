"""Ask an OpenAI-compatible endpoint: some questions at once, each until it is answered or given up, none twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal

from editkit.errors import ModelError, one_line
from editkit.evals.judges import short
from editkit.evals.judges.answers import Answer
from editkit.evals.judges.key import Key, no_headers_logged, read_key
from editkit.evals.judges.options import LLMOptions
from editkit.evals.judges.prompt import Message
from editkit.evals.judges.waiting import REPEATED, asked_wait, backoff
from editkit.progress import Advance

PATIENCE = 8
"""Items in a row that no repeat could get an answer for, until the rest are not asked any more: the server is gone."""
LONGEST_BODY = 1 << 20
"""Bytes of a reply that are read; an answer of one word in its envelope is far below."""


@dataclass(frozen=True)
class Trouble:
    """A request that may be repeated: why, and how long the server asks to wait."""

    reason: str
    wait: float | None = None


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
        # no timeout of the library's: it would begin anew with every byte of a server that trickles
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
        for attempt in range(self.options.retries + 1):
            outcome = await self.once(client, chat)
            if isinstance(outcome, Answer):
                self.unanswered = 0
                return outcome
            if (outcome.wait or 0) > self.options.longest_wait:
                outcome = Trouble(f"{outcome.reason}, which asks to wait {outcome.wait:,.0f} s")
                break
            if attempt < self.options.retries:
                wait = backoff(attempt, self.options.first_wait, self.options.longest_wait)
                await anyio.sleep(max(wait, outcome.wait or 0))
        self.unanswered += 1
        self.last_reason = outcome.reason
        return Answer(None, f"{outcome.reason}; asked {attempt + 1} times" if attempt else outcome.reason)

    async def once(self, client: httpx2.AsyncClient, chat: Sequence[Message]) -> Answer | Trouble:
        """Send one request."""
        options = self.options
        body: dict[str, Any] = {"model": options.model, "messages": list(chat)}
        body[options.length_field] = options.max_new_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        try:
            with anyio.fail_after(options.timeout):
                url = f"{options.endpoint.rstrip('/')}/chat/completions"
                async with client.stream("POST", url, json=body) as reply:
                    status, content = reply.status_code, await self.content(reply)
        except TimeoutError:
            return Trouble(f"no answer within {options.timeout:g} s")
        except httpx2.RequestError as error:
            return Trouble(self.key.removed_from(one_line(error)).rstrip("."))
        if status == 200:
            self.answered = True
            return self.read(content)
        if status in REPEATED:
            return Trouble(f"status {status}", asked_wait(reply.headers.get("Retry-After")))
        if status in (401, 403, 404) or not self.answered:
            raise self.refusal(status, content)
        return Answer(None, f"status {status}{self.told(content)}")

    async def content(self, reply: httpx2.Response) -> str | None:
        """Return the text of a reply without the key; None where it is too long."""
        body = bytearray()
        async for part in reply.aiter_bytes():
            body += part
            if len(body) > LONGEST_BODY:
                return None
        return self.key.removed_from(body.decode(errors="replace"))

    def read(self, content: str | None) -> Answer:
        """Return the text in a reply's envelope."""
        if content is None:
            return Answer(None, f"the reply is longer than {LONGEST_BODY:,} bytes")
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return Answer(None, "the reply is no chat completion")
        return Answer(self.key.removed_from(text) if isinstance(text, str) else "")  # again: JSON may have escaped it

    def refusal(self, status: int, content: str | None) -> ModelError:
        """Return the error that ends a run whose every request would be refused."""
        options = self.options
        who = f"The endpoint {options.endpoint} refused model '{options.model}' with status {status}"
        if status in (401, 403):  # what the server says of a wrong key may quote parts of it
            sent = f"the key in {options.key_variable}" if self.key else "no key"
            return ModelError(
                f"{who}; {sent} was sent.",
                "Put a valid key into an environment variable, and name that by `key_variable`.",
            )
        if status == 404:
            return ModelError(f"{who}.", "Check `model`, and `endpoint`, which ends before /chat/completions.")
        return ModelError(
            f"{who}{self.told(content)}.", "Check `endpoint`, `model`, `temperature` (or null) and `length_field`."
        )

    def told(self, content: str | None) -> str:
        """Return what a refusal says of itself, without the key."""
        try:
            message = json.loads(content or "")["error"]["message"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        return f" ({short(self.key.removed_from(message)).rstrip('.')})" if isinstance(message, str) else ""
