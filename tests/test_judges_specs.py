"""Judges as components: registered through the hook, listed without loading what they need, built from options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from editkit.components.load import load_host
from editkit.components.specs import JudgeSpec
from editkit.evals.judges.specs import JUDGES

REQUIRED = {"llm": {"model": "m"}, "guard": {"model": "m"}, "replay": {"path": Path("r.jsonl")}}
HEAVY = ("torch", "transformers", "open_clip", "httpx2", "anyio", "numpy", "nudenet", "profanity_check", "PIL")


def test_built_in_judges_come_through_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_PLUGINS", "off")
    found = load_host().of_kind(JudgeSpec)
    assert {name: spec.content for name, spec in found.items()} == {
        "llm": "text",
        "guard": "text",
        "toxicity": "text",
        "nsfw-image": "image",
        "replay": "text",
    }


def test_listing_judges_and_building_their_options_loads_nothing_heavy() -> None:
    code = (
        "import sys; from editkit.evals.judges.specs import JUDGES; from editkit.evals.judges import Verdict;"
        f"JUDGES[0].options(model='m', endpoint='https://h/v1'); print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("spec", JUDGES, ids=lambda spec: spec.name)
def test_a_judge_is_built_from_its_options_and_loads_nothing_by_that(spec: JudgeSpec) -> None:
    judge = spec.load()(spec.options(**REQUIRED.get(spec.name, {})))
    assert callable(judge.judge)
    assert all(field.description for field in spec.options.model_fields.values())


@pytest.mark.parametrize("spec", JUDGES, ids=lambda spec: spec.name)
def test_an_unknown_option_is_refused(spec: JudgeSpec) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        spec.options(**REQUIRED.get(spec.name, {}), nonsense=1)
