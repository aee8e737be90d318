"""The endpoint's key: sent in one header, and found nowhere else, whatever the server does with it."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from judge_server import Reply, Request, refuses, says, serving

from editkit.components.choice import validate_options
from editkit.errors import EditkitError, RecipeError
from editkit.evals.judges.key import Key, read_key
from editkit.evals.judges.llm import LLMJudge
from editkit.evals.judges.options import LLMOptions

SECRET = "sk-5ecret/With+Signs_0123456789abcdef"
VARIABLE = "JUDGE_TEST_KEY"


def echoed(request: Request) -> dict[str, str]:
    return {"X-Echo": request.headers["Authorization"], "WWW-Authenticate": request.headers["Authorization"]}


def answers(request: Request) -> Reply:
    return says("Safe")


def echoes_in_the_answer(request: Request) -> Reply:
    return says(json.dumps(request.headers), headers=echoed(request))


def echoes_in_errors(request: Request) -> Reply:
    if request.text == "first":
        return says("Safe", headers=echoed(request))
    return refuses(422, f"bad header {request.headers['Authorization']}", headers=echoed(request))


def echoes_in_a_refusal(status: int) -> Callable[[Request], Reply]:
    return lambda request: refuses(status, json.dumps(request.headers), headers=echoed(request))


def echoes_and_breaks(request: Request) -> Reply:
    return refuses(500, request.headers["Authorization"], headers=echoed(request))


def echoes_in_rubbish(request: Request) -> Reply:
    return Reply(200, b"{" + request.headers["Authorization"].encode(), echoed(request))


SERVERS: dict[str, Callable[[Request], Reply]] = {
    "answers": answers,
    "echoes in the answer": echoes_in_the_answer,
    "echoes in errors": echoes_in_errors,
    "echoes in a 401": echoes_in_a_refusal(401),
    "echoes in a 403": echoes_in_a_refusal(403),
    "echoes in a 404": echoes_in_a_refusal(404),
    "echoes in a 400": echoes_in_a_refusal(400),
    "echoes and breaks": echoes_and_breaks,
    "echoes rubbish": echoes_in_rubbish,
}


@pytest.mark.parametrize("script", SERVERS.values(), ids=SERVERS)
def test_the_key_is_in_the_header_and_in_nothing_that_is_printed_logged_stored_or_raised(
    script: Callable[[Request], Reply],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    with serving(script) as server:
        given = {"model": "m", "endpoint": server.url, "key_variable": VARIABLE, "first_wait": 0.01, "retries": 1}
        options = LLMOptions(**given)
        judge = LLMJudge(options)
        try:
            seen += [repr(verdict) for verdict in judge.judge(["first", "second", "third"])]
        except EditkitError as error:
            seen += [str(error), repr(error), *shown(error)]
        sent = {request.headers["Authorization"] for request in server.requests}
        assert sent == {f"Bearer {SECRET}"}
        assert all(SECRET not in json.dumps(request.body) for request in server.requests)
    seen += [options.model_dump_json(), repr(options), judge.revision, judge.prompt_hash, repr(vars(judge))]
    seen += [repr(pickle.dumps(options)), caplog.text, *capfd.readouterr()]
    assert all(SECRET not in text and SECRET[:12] not in text for text in seen), seen
    assert len(seen) > 6


def shown(error: BaseException) -> list[str]:
    """A traceback as a crash reporter writes it: causes, and the local variables of every frame but the test's own."""
    assert error.__traceback__ is not None
    outer = error.__traceback__.tb_next
    whole = traceback.TracebackException(type(error), error, outer, capture_locals=True)
    return list(whole.format())


def test_an_answer_that_repeats_the_key_is_shown_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    with serving(lambda request: says(f"you sent {request.headers['Authorization']}")) as server:
        judge = LLMJudge(LLMOptions(model="m", endpoint=server.url, key_variable=VARIABLE))
        assert [verdict.raw for verdict in judge.judge(["text"])] == ["you sent Bearer [key]"]


def test_a_key_prints_as_nothing() -> None:
    assert repr(Key(SECRET)) == f"{Key(SECRET)}" == "Key(set)"
    assert repr(Key("")) == "Key(empty)"


@pytest.mark.parametrize("value", [f"{SECRET} x", f"{SECRET}\nX-Other: 1", f"{SECRET}é", f"\x00{SECRET}"])
def test_a_value_that_is_no_key_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LLMOptions(model="m", endpoint="https://host/v1")
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": value})  # the system's own environment takes no zero byte
    with pytest.raises(RecipeError, match="OPENAI_API_KEY") as raised:
        read_key(options)
    assert SECRET not in str(raised.value)


def test_white_space_around_a_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    key = read_key(LLMOptions(model="m", endpoint="https://host/v1"))
    assert key.header() == {"Authorization": f"Bearer {SECRET}"}


def test_without_a_key_no_header_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(answers) as server:
        LLMJudge(LLMOptions(model="m", endpoint=server.url)).judge(["text"])
        assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("endpoint", "named", "sent"),
    [
        ("https://host/v1", False, True),
        ("http://localhost:8000/v1", False, True),
        ("http://127.0.0.1:8000/v1", False, True),
        ("http://host:8000/v1", False, False),
        ("http://host:8000/v1", True, True),
    ],
)
def test_the_default_variable_is_sent_unencrypted_to_no_other_machine(
    endpoint: str, named: bool, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    more = {"key_variable": "OPENAI_API_KEY"} if named else {}
    assert bool(read_key(LLMOptions(model="m", endpoint=endpoint, **more))) == sent


@pytest.mark.parametrize(
    "given",
    [
        {"endpoint": "https://host/v1", "key_variable": SECRET},
        {"key_variable": "sk-5ecret"},
        {"endpoint": f"https://user:{SECRET.replace('/', '')}@host/v1"},
        {"endpoint": f"https://host/v1?key={SECRET}"},
        {"endpoint": f"https://host/v1#{SECRET}"},
    ],
    ids=["as the variable", "short, as the variable", "as a password", "in the query", "in the fragment"],
)
def test_a_key_written_into_the_options_is_refused_and_not_repeated(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as raised:
        validate_options(LLMOptions, {"model": "m", **given}, "judge")
    said = [str(raised.value), "".join(traceback.format_exception(raised.value))]
    assert all("sk-5ecret" not in text for text in said), said
