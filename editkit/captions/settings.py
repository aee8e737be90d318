"""What captions depend on: the first line of a captions file, and the comparison that lets a run go on with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from editkit.cache import key_of
from editkit.captions.options import Side

SCHEMA = "editkit.captions/1"


@dataclass(frozen=True)
class Settings:
    """Everything that decides a caption, except for the machine it is made on.

    `identity` is the digest of the base's weights, `processing` of what turns images into tensors, `patch` of the edit
    laid over them; `prompt` None: the one that the family is asked with.
    """

    identity: str
    processing: str
    patch: str | None
    prompt: str | None
    temperature: float
    max_new_tokens: int
    seed: int
    batch_size: int
    dtype: str
    fingerprint: str
    sides: tuple[Side, ...]

    @property
    def digest(self) -> str:
        """Eight hex digits that name these settings."""
        return key_of(asdict(self))[:8]

    def header(self, model: str, family_prompt: str, device: str) -> dict[str, Any]:
        """Return the first line of a captions file.

        Args:
            model: what the user calls the model.
            family_prompt: what it is asked with if the settings do not say.
            device: the kind of device, whose arithmetic and random numbers are its own.
        """
        return {
            "schema": SCHEMA,
            "model": model,
            **asdict(self),
            "prompt": family_prompt if self.prompt is None else self.prompt,
            "family_prompt": self.prompt is None or self.prompt == family_prompt,
            "sides": list(self.sides),
            "device": device,
        }

    def contradiction(self, header: Mapping[str, Any], device: str | None = None) -> tuple[str, Any, Any] | None:
        """Return the first setting in which a file differs: its name, the file's value, the one asked for.

        Args:
            device: also compared, where a run is to go on with the file.
        """
        asked = asdict(self) | {"sides": list(self.sides)} | ({} if device is None else {"device": device})
        for name, value in asked.items():
            if name == "prompt" and value is None:
                if not header.get("family_prompt"):
                    return name, header.get("prompt"), "the family's own"
            elif header.get(name) != value:
                return name, header.get(name), value
        return None
