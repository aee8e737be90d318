"""The judge `llm` with a model here: its own template, greedy and in batches, in the order of the texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hub_cache import into_cache
from huggingface_hub import constants
from judge_models import CHAT, CONTEXT, new_model, saved, taught, tokenizer_for

from editkit.errors import InstallError, ModelError, RecipeError
from editkit.evals.judges.chat_template import written
from editkit.evals.judges.llm import LLMJudge
from editkit.evals.judges.local import LocalChat
from editkit.evals.judges.options import LLMOptions
from editkit.evals.judges.prompt import SYSTEM_PROMPT, question

ANSWERS = {
    "a dog in the grass": "Safe",
    "a man bleeds on the floor of a kitchen, and two others hold knives": "Unsafe.",
    "a cup": "It depends on the cup",
    "a gun": "Unsafe",
}
LONG = "word " * CONTEXT
LOCAL: dict[str, Any] = {"device": "cpu", "dtype": "auto", "batch_size": 2, "max_new_tokens": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "tiny-chat"
    return taught(folder, ANSWERS, question, corpus=[SYSTEM_PROMPT], add_generation_prompt=True)


def judge(folder: Path, **options: Any) -> LLMJudge:
    return LLMJudge(LLMOptions(model=str(folder), **({"device": "cpu", "max_new_tokens": 32} | options)))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_text_gets_the_models_own_answer_whatever_the_batches(folder: Path, batch_size: int) -> None:
    steps: list[int] = []
    verdicts = judge(folder, batch_size=batch_size).judge(list(ANSWERS), steps.append)
    assert [verdict.raw for verdict in verdicts] == list(ANSWERS.values())
    assert [verdict.unsafe for verdict in verdicts] == [False, True, None, True]
    assert [verdict.state for verdict in verdicts] == ["judged", "judged", "unparsable", "judged"]
    assert steps == [1] * len(ANSWERS)


def test_an_answer_is_cut_at_the_longest_that_is_asked_for(folder: Path) -> None:
    [verdict] = judge(folder, max_new_tokens=4).judge(["a cup"])
    assert verdict.raw != ANSWERS["a cup"] and ANSWERS["a cup"].startswith(verdict.raw)


def test_a_text_longer_than_the_context_is_failed_and_the_others_are_judged(folder: Path) -> None:
    steps: list[int] = []
    verdicts = judge(folder).judge(["a gun", LONG, "a dog in the grass"], steps.append)
    assert [verdict.unsafe for verdict in verdicts] == [True, None, False]
    assert verdicts[1].state == "failed" and f"in a context of {CONTEXT}" in verdicts[1].reason
    assert steps == [1, 1, 1]


def test_where_every_text_is_too_long_the_run_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="judged none of 2 items. 2 times: its .* tokens leave no room"):
        judge(folder).judge([LONG, LONG])


def test_no_texts_have_no_verdicts(folder: Path) -> None:
    assert judge(folder).judge([]) == []


def test_the_revision_names_the_weights(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny-chat"
    shutil.copytree(folder, copy)
    assert judge(folder).revision == judge(copy).revision
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert judge(folder).revision != judge(copy).revision


def test_the_revision_of_a_hub_model_is_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))  # huggingface_hub reads its variable once, imported
    snapshot = into_cache(tmp_path, "org/chat", folder)
    chat = LocalChat(LLMOptions(model="org/chat@main", **LOCAL))
    assert chat.revision == f"org/chat@{snapshot.name}"


# Templates

REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT
DROPS_SYSTEM = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
WANTS_PARTS = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}<end>{% endfor %}"
PARTS_NO_SYSTEM = WANTS_PARTS.replace("in messages", "in messages if m.role != 'system'", 1)


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM, PARTS_NO_SYSTEM])
def test_without_a_system_role_the_instructions_go_before_the_text(template: str) -> None:
    prompt = written(tokenizer_for(["a"], template), question("a dog"))
    assert prompt == f"<user>{SYSTEM_PROMPT}\n\na dog<end>"


@pytest.mark.parametrize("template", [CHAT, WANTS_PARTS])
def test_a_template_is_given_what_it_understands(template: str) -> None:
    prompt = written(tokenizer_for(["a"], template), question(" a dog "))
    assert prompt.replace(" a dog ", "a dog") == f"<system>{SYSTEM_PROMPT}<end><user>a dog<end>"


@pytest.mark.parametrize("template", ["hello", "{{ raise_exception('never') }}"])
def test_a_template_that_drops_the_text_is_an_error(template: str) -> None:
    with pytest.raises(ModelError, match=r"refuses, or leaves out, messages of a conversation \(system, user\)"):
        written(tokenizer_for(["a"], template), question("a dog"))


def test_a_model_that_would_reason_first_is_asked_not_to(tmp_path: Path) -> None:
    thinks = CHAT + "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    tokenizer = tokenizer_for(["a"], thinks)
    chat = LocalChat(LLMOptions(model=str(saved(tmp_path, new_model(tokenizer), tokenizer)), **LOCAL))
    prompts: list[str] = []
    chat.complete = lambda given, on_item: prompts.extend(given) or []  # type: ignore[method-assign, func-returns-value]
    chat.answers([question("a dog")], print)
    assert prompts[0].endswith("a dog<end><assistant>")


# What cannot be used


def test_a_model_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "base"
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        judge(copy).judge(["a dog"])


@pytest.mark.parametrize("model", ["no/such-model", "/no/such/folder", "."])
def test_a_model_that_is_not_there_is_an_error(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        LLMJudge(LLMOptions(model=model)).judge(["a dog"])


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "with-code"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "new", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        judge(copy).judge(["a dog"])
    assert not (tmp_path / "ran").exists()


def test_weights_in_a_pickle_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pickled"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read as plain tensors"):
        judge(copy).judge(["a dog"])


def test_a_device_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(RecipeError, match="Device 'cuda:99'"):
        judge(folder, device="cuda:99").judge(["a dog"])


def test_without_transformers_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("editkit.libraries.import_module", missing)
    with pytest.raises(InstallError) as raised:
        judge(folder).judge(["a dog"])
    assert raised.value.remedy == "Run: pip install transformers"
