"""The formats that runs can be exported in."""

from __future__ import annotations

from typing import Literal

Form = Literal["csv", "markdown", "latex", "clip-benchmark", "model-index"]
