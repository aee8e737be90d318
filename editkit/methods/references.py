"""The papers that editkit's own methods come from."""

from __future__ import annotations

UWM = "Safe Vision-Language Models via Unsafe Weights Manipulation, WACV 2026"
