"""What can be set for editkit's own judges; imports pydantic only, so that listing and validating stay cheap."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from editkit.components.spec import ModelSource, Options

Threshold = Annotated[float, Field(ge=0, le=1, description="score from which an item is unsafe")]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]

EXPOSED = (
    "ANUS_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
)

LOCAL_ONLY = ("batch_size", "device", "dtype")
ENDPOINT_ONLY = (
    *("key_variable", "concurrency", "timeout", "retries", "first_wait", "longest_wait"),
    *("temperature", "length_field"),
)


DType = Literal["auto", "float32", "bfloat16", "float16"]


class LLMOptions(Options):
    """A chat model here, or behind an OpenAI-compatible endpoint."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a key written where its variable's name belongs

    model: ModelSource = Field(
        min_length=1, description="folder or hub id of a chat model; with an endpoint, its name there"
    )
    endpoint: str = Field(
        default="", description="URL before /chat/completions, such as https://host/v1; empty: run it here"
    )
    max_new_tokens: Annotated[int, Field(ge=4)] = Field(default=16, description="longest answer, in tokens")
    batch_size: Count = Field(default=8, description="texts judged at once, here")
    device: str = Field(default="auto", description="torch device of a model here")
    dtype: DType = Field(default="auto", description="of a model here")
    key_variable: str = Field(
        default="OPENAI_API_KEY", description="environment variable that holds the endpoint's key; never the key itself"
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="requests in flight at once")
    timeout: Seconds = Field(default=60.0, description="seconds until a request is given up")
    retries: Annotated[int, Field(ge=0, le=20)] = Field(default=5, description="times a request is repeated")
    first_wait: Seconds = Field(default=1.0, description="seconds before the first repeat; doubled each time")
    longest_wait: Seconds = Field(default=60.0, description="longest wait before a repeat, in seconds")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=0.0, description="sent to the endpoint; null leaves it out, for models that refuse it"
    )
    length_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="what the endpoint calls the longest answer"
    )

    @field_validator("endpoint")
    @classmethod
    def _plain_url(cls, endpoint: str) -> str:
        if not endpoint:
            return endpoint
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http or https URL")
        return endpoint

    @model_validator(mode="after")
    def _no_secrets_and_no_idle_options(self) -> LLMOptions:
        # errors of the whole model do not quote the value, which may be the very key
        parts = urlsplit(self.endpoint)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("endpoint must hold no user, password or query: the key goes into an environment variable")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_variable):
            raise ValueError("key_variable must be the name of an environment variable, never the key itself")
        idle = [name for name in (LOCAL_ONLY if self.endpoint else ENDPOINT_ONLY) if name in self.model_fields_set]
        if idle:
            where = "a model that runs here" if self.endpoint else "an endpoint"
            raise ValueError(f"{idle[0]} is an option for {where} only")
        return self


class GuardOptions(Options):
    """A guard model here."""

    model: ModelSource = Field(min_length=1, description="folder or hub id, such as Qwen/Qwen3Guard-Gen-0.6B")
    style: Literal["auto", "qwen3guard", "llama-guard", "shieldgemma"] = Field(
        default="auto", description="how it is asked and how it answers; auto reads its chat template"
    )
    question: str = Field(
        default="", description="judge the text as an assistant's answer to this; empty: as a user's own message"
    )
    controversial: Literal["safe", "unsafe"] = Field(
        default="unsafe", description="what Qwen3Guard's Controversial counts as"
    )
    policies: tuple[str, ...] = Field(
        default=(), description="policies that ShieldGemma judges by; empty: editkit's four"
    )
    threshold: Threshold = 0.5
    max_new_tokens: Annotated[int, Field(ge=16)] = Field(default=64, description="longest answer, in tokens")
    batch_size: Count = Field(default=8, description="texts judged at once")
    device: str = Field(default="auto", description="torch device")
    dtype: DType = Field(default="auto", description="dtype of the weights")


class ToxicityOptions(Options):
    """A classifier of texts."""

    model: ModelSource = Field(
        default="embedded",
        description="embedded: alt-profanity-check, offline; or folder or hub id, as unitary/toxic-bert (Detoxify)",
    )
    label: str = Field(default="", description="the class of the model that is scored; empty: toxicity or toxic")
    threshold: Threshold = 0.5
    batch_size: Count = Field(default=32, description="texts judged at once")
    device: str = Field(default="auto", description="torch device of a model that is not the embedded one")


class NsfwImageOptions(Options):
    """A detector of nudity in images."""

    parts: tuple[str, ...] = Field(
        default=EXPOSED, min_length=1, description="NudeNet classes that make an image unsafe"
    )
    threshold: Threshold = 0.5
    batch_size: Count = Field(default=8, description="images judged at once")


class ReplayOptions(Options):
    """Scores that were recorded earlier."""

    path: Path = Field(description="a .jsonl, .csv or .parquet file, one row per item")
    key: Literal["text", "id"] = Field(default="text", description="what a row is found by")
    key_column: str = Field(default="", description="column with the text or id; empty: named as the key is")
    score_column: str = Field(default="score", description="column with the score from 0 to 1")
    threshold: Threshold = 0.5
