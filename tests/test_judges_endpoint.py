"""The judge `llm` behind an endpoint: whatever the server does, the run ends, and each item is counted once."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic
from typing import Any

import pytest
from judge_server import Reply, Request, Server, refuses, says, serving

from editkit.errors import InstallError, ModelError
from editkit.evals.judges import Verdict
from editkit.evals.judges.endpoint import LONGEST_BODY, PATIENCE
from editkit.evals.judges.llm import LLMJudge
from editkit.evals.judges.options import LLMOptions
from editkit.evals.judges.prompt import CATEGORIES
from editkit.testing import check_judge

TEXTS = [f"a picture of {thing}" for thing in ("a dog", "a fight", "a lake", "a wound", "a cat", "a theft")]
UNSAFE = ("fight", "wound", "theft")


def truth(request: Request) -> Reply:
    return says("Unsafe" if any(word in request.text for word in UNSAFE) else "Safe")


def judged(server: Server | str, texts: list[str] = TEXTS, **options: Any) -> tuple[list[Verdict], list[int]]:
    """Judge with short waits; also the steps that were reported."""
    url = server if isinstance(server, str) else server.url
    quick = {"first_wait": 0.01, "longest_wait": 0.05, "timeout": 5.0, "retries": 2}
    steps: list[int] = []
    return LLMJudge(LLMOptions(model="m", endpoint=url, **(quick | options))).judge(texts, steps.append), steps


def states(verdicts: list[Verdict]) -> Counter[str]:
    return Counter(verdict.state for verdict in verdicts)


# A server that answers


def test_every_text_gets_its_own_verdict_in_the_order_of_the_texts() -> None:
    with serving(truth) as server:
        verdicts, steps = judged(server)
    assert [verdict.unsafe for verdict in verdicts] == [False, True, False, True, False, True]
    assert [verdict.raw for verdict in verdicts] == ["Safe", "Unsafe"] * 3
    assert all(verdict.score is None for verdict in verdicts)
    assert steps == [1] * len(TEXTS)
    assert server.counts == Counter(TEXTS)


def test_the_endpoint_judge_keeps_the_contract_of_judges() -> None:
    with serving(truth) as server:
        check_judge("llm", {"model": "m", "endpoint": server.url, "timeout": 5.0}, items=TEXTS)


def test_order_does_not_depend_on_which_answer_comes_first() -> None:
    def slower_first(request: Request) -> Reply:
        return says(truth(request).body and request.text.split()[-1], after=0.2 if "fight" in request.text else 0.0)

    with serving(slower_first) as server:
        verdicts, _ = judged(server)
    assert [verdict.raw for verdict in verdicts] == [text.split()[-1] for text in TEXTS]


def test_the_question_lists_the_twenty_categories_and_holds_the_text_alone_as_the_users_message() -> None:
    with serving(truth) as server:
        judged(server, ["  a {text} with braces "])
    body = server.requests[0].body
    system, user = body["messages"]
    assert len(CATEGORIES) == 20 and all(category in system["content"] for category in CATEGORIES)
    assert user == {"role": "user", "content": "  a {text} with braces "}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.0, 16)


def test_what_newer_models_refuse_can_be_left_out() -> None:
    with serving(truth) as server:
        judged(server, temperature=None, length_field="max_completion_tokens", max_new_tokens=512)
    assert set(server.requests[0].body) == {"model", "messages", "max_completion_tokens"}
    assert server.requests[0].body["max_completion_tokens"] == 512


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_than_asked_are_in_flight(concurrency: int) -> None:
    with serving(lambda request: says("Safe", after=0.05)) as server:
        judged(server, [f"text {i}" for i in range(6)], concurrency=concurrency)
    assert server.most_at_once == concurrency


def test_equal_texts_are_judged_each() -> None:
    with serving(truth) as server:
        verdicts, steps = judged(server, ["a dog"] * 3)
    assert len(verdicts) == 3 == len(steps)
    assert server.counts == {"a dog": 3}


def test_no_texts_ask_nothing() -> None:
    with serving(truth) as server:
        assert judged(server, []) == ([], [])
    assert server.requests == []


# Answers that are no verdict


@pytest.mark.parametrize("answer", ["I cannot help with that", "Safe or Unsafe", "unsafely", "", None, "Not safe"])
def test_any_other_answer_is_unparsable_and_never_guessed(answer: str | None) -> None:
    with serving(lambda request: truth(request) if "dog" in request.text else says(answer)) as server:
        verdicts, steps = judged(server)
    assert states(verdicts) == {"judged": 1, "unparsable": 5}
    assert all(verdict.unsafe is None for verdict in verdicts[1:])
    assert verdicts[1].raw == (answer or "")
    assert server.counts == Counter(TEXTS)  # an odd answer is an answer: it is not asked for again
    assert len(steps) == len(TEXTS)


@pytest.mark.parametrize("body", [b"<html>oops</html>", b"{}", b'{"choices": []}', b"[1, 2", b"\xff\xfe", b"[" * 9999])
def test_a_reply_that_is_no_chat_completion_is_a_failed_item(body: bytes) -> None:
    with serving(lambda request: truth(request) if "lake" in request.text else Reply(body=body)) as server:
        verdicts, _ = judged(server)
    assert states(verdicts) == {"judged": 1, "failed": 5}
    assert {verdict.reason for verdict in verdicts if verdict.state == "failed"} == {"the reply is no chat completion"}


def test_an_endless_reply_is_cut_off() -> None:
    huge = Reply(body=b" " * (LONGEST_BODY + 1))
    with serving(lambda request: huge if "fight" in request.text else truth(request)) as server:
        verdicts, _ = judged(server)
    assert verdicts[1].state == "failed" and "longer than" in verdicts[1].reason
    assert states(verdicts)["judged"] == 5


# A server in trouble


@pytest.mark.parametrize(
    "trouble",
    [
        *(refuses(status) for status in (429, 500, 502, 503, 504)),
        Reply(drop=True),
        says("Unsafe", after=60.0),
        Reply(trickle=True),
    ],
    ids=["429", "500", "502", "503", "504", "dropped", "too slow", "trickles"],
)
def test_what_passes_is_asked_again_and_counted_once(trouble: Reply) -> None:
    """Each text's first request meets trouble, some after the server had already decided: it may not count twice."""
    with serving(lambda request: truth(request) if request.repeat else trouble) as server:
        verdicts, steps = judged(server, timeout=0.5, concurrency=6)
    assert [verdict.unsafe for verdict in verdicts] == [False, True, False, True, False, True]
    assert steps == [1] * len(TEXTS)
    assert server.counts == Counter(TEXTS * 2)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (refuses(429), "status 429; asked 2 times"),
        (refuses(500), "status 500; asked 2 times"),
        (Reply(trickle=True), "no answer within 0.5 s; asked 2 times"),
    ],
    ids=["429", "500", "trickles"],
)
def test_what_does_not_pass_fails_that_item_alone(trouble: Reply, reason: str) -> None:
    with serving(lambda request: trouble if "wound" in request.text else truth(request)) as server:
        verdicts, steps = judged(server, timeout=0.5, retries=1)
    assert states(verdicts) == {"judged": 5, "failed": 1}
    assert verdicts[3] == Verdict("failed", reason=reason)
    assert server.counts["a picture of a wound"] == 2
    assert len(steps) == len(TEXTS)


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    def busy(request: Request) -> Reply:
        return truth(request) if request.repeat else refuses(429, headers={"Retry-After": "0.2"})

    with serving(busy) as server:
        start = monotonic()
        verdicts, _ = judged(server, TEXTS[:1], longest_wait=1.0)
        assert monotonic() - start >= 0.2
    assert states(verdicts) == {"judged": 1}


def test_a_wait_beyond_the_longest_is_not_sat_through() -> None:
    def busy(request: Request) -> Reply:
        return refuses(429, headers={"Retry-After": "3600"}) if "cat" in request.text else truth(request)

    with serving(busy) as server:
        verdicts, _ = judged(server)
    assert verdicts[4] == Verdict("failed", reason="status 429, which asks to wait 3,600 s")
    assert server.counts["a picture of a cat"] == 1


def test_a_wait_until_a_date_is_understood() -> None:
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)

    def busy(request: Request) -> Reply:
        return refuses(503, headers={"Retry-After": tomorrow}) if "cat" in request.text else truth(request)

    with serving(busy) as server:
        verdicts, _ = judged(server)
    assert re.fullmatch(r"status 503, which asks to wait 86,[34]\d\d s", verdicts[4].reason)


def test_a_refusal_of_one_text_fails_it_at_once_and_says_why() -> None:
    def filtered(request: Request) -> Reply:
        return refuses(400, "content filter") if "theft" in request.text else truth(request)

    with serving(filtered) as server:
        verdicts, _ = judged(server)
    assert verdicts[5] == Verdict("failed", reason="status 400 (content filter)")
    assert server.counts == Counter(TEXTS)


# A server that is not there


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_where_nobody_listens_the_run_ends_with_the_reason() -> None:
    with pytest.raises(ModelError, match="judged none of 6 items.*ConnectError") as raised:
        judged(closed_port())
    assert len(str(raised.value).splitlines()) == 2


def test_where_nothing_ever_answers_the_run_ends_with_the_reason() -> None:
    with socket.socket() as silent:  # connections are accepted by the system and never read
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        with pytest.raises(
            ModelError, match=r"judged none of 6 items. 6 times: no answer within 0.02 s; asked 3 times"
        ):
            judged(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", timeout=0.02)


def test_a_server_that_dies_is_left_alone_after_a_while_and_what_it_said_is_kept() -> None:
    texts = [f"text {i}" for i in range(60)]

    def dies(request: Request) -> Reply:
        return truth(request) if int(request.text.split()[1]) < 10 else Reply(drop=True)

    with serving(dies) as server:
        verdicts, steps = judged(server, texts, retries=0, concurrency=2)
    assert states(verdicts) == {"judged": 10, "failed": 50}
    assert [verdict.state for verdict in verdicts[:10]] == ["judged"] * 10
    assert len(steps) == 60
    unasked = [verdict for verdict in verdicts if verdict.reason.startswith("not asked")]
    assert len(server.requests) == 60 - len(unasked)
    assert PATIENCE <= len(server.requests) - 10 <= PATIENCE + 2  # those already in flight


# A run that makes no sense


@pytest.mark.parametrize(
    ("status", "what"), [(401, "no key was sent"), (403, "no key was sent"), (404, "ends before /chat/completions")]
)
def test_a_wrong_key_or_model_ends_the_run_with_its_first_request(
    status: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(lambda request: refuses(status)) as server, pytest.raises(ModelError, match=what) as raised:
        judged(server)
    assert len(server.requests) == 1
    assert f"status {status}" in raised.value.problem and len(str(raised.value).splitlines()) == 2


def test_a_key_that_is_revoked_on_the_way_ends_the_run() -> None:
    texts = [f"text {i}" for i in range(40)]
    with serving(lambda request: refuses(401) if request.text == "text 9" else truth(request)) as server:
        with pytest.raises(ModelError, match="status 401"):
            judged(server, texts, concurrency=2)
        assert len(server.requests) < 40


@pytest.mark.parametrize("status", [302, 400, 422])
def test_a_request_that_is_refused_from_the_first_on_is_an_error_with_the_servers_words(status: int) -> None:
    with serving(lambda request: refuses(status, "unknown field\nmax_tokens")) as server:
        with pytest.raises(ModelError, match=rf"status {status} \(unknown field max_tokens\)"):
            judged(server)
        assert len(server.requests) == 1


@pytest.mark.parametrize("missing", ["anyio", "httpx2", "tenacity"])
def test_where_a_library_of_the_endpoint_is_missing_the_error_names_the_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "editkit.evals.judges.endpoint")
    monkeypatch.setitem(sys.modules, missing, None)  # importing it fails
    with pytest.raises(InstallError, match=f"{missing} is not installed, which a judge behind an endpoint") as raised:
        LLMJudge(LLMOptions(model="m", endpoint="http://localhost/v1")).judge(TEXTS)
    assert raised.value.remedy == 'Run: pip install "editkit[endpoint]"'


def test_a_program_that_runs_an_event_loop_can_judge_as_well() -> None:
    async def notebook(server: Server) -> list[Verdict]:
        return judged(server)[0]

    with serving(truth) as server:
        assert states(asyncio.run(notebook(server))) == {"judged": 6}


def test_a_callback_that_fails_is_not_swallowed() -> None:
    def stop(steps: int) -> None:
        raise KeyboardInterrupt

    with serving(truth) as server, pytest.raises(KeyboardInterrupt):
        LLMJudge(LLMOptions(model="m", endpoint=server.url)).judge(TEXTS, stop)
