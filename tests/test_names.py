"""The core knows no component by name: nothing outside a component compares with what one, or its metric, is called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from editkit.evals.judges.specs import JUDGES
from editkit.evals.specs import EVALUATIONS
from editkit.reports.metrics import BUILT_IN

ROOT = Path(__file__).parents[1] / "editkit"
IMPLEMENTATIONS = (
    *("methods", "builtins.py", "data/zeroshot", "data/visu.py", "data/pairs.py", "data/classes.py"),
    *("evals/safeground.py", "evals/retrieval.py", "evals/zeroshot.py", "evals/captions", "evals/judges"),
    "evals/restoration",
)
"""What a component is made of may know its own name; of all other modules the core consists."""
NAMES = {
    *(spec.name for spec in (*EVALUATIONS, *JUDGES)),
    *(metric.name for metric in BUILT_IN),
    *("judge", "demo", "demo-objects", "visu", "pairs", "uwm", "refuse", "redirect", "project"),
}
TELLING = ("startswith", "endswith", "removeprefix", "removesuffix")
BEGINNINGS = ("top1", "top5", "top", "mean_per_class", "Ts-", "Vs-", "Tu-", "Vu-", "demo-")
"""What names begin with: enough to tell them by."""


def core() -> list[Path]:
    return [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if not any(path.is_relative_to(ROOT / place) for place in IMPLEMENTATIONS)
    ]


def texts(node: ast.AST) -> Iterator[str]:
    """The strings in an expression, those in its lists and tuples included."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string that something is compared with, looked up by, or told by its beginning or end; and its line."""
    for node in ast.walk(tree):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if isinstance(key, ast.Constant)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TELLING:
            parts = list(node.args)
        for part in parts:
            yield from ((getattr(node, "lineno", 0), text) for text in texts(part))


def names_in(code: str) -> list[str]:
    return [text for _, text in compared(ast.parse(code)) if text in NAMES or text in BEGINNINGS]


@pytest.mark.parametrize("path", core(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_component_or_metric_is_told_by_its_name(path: Path) -> None:
    assert names_in(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        'if report["evaluation"] == "retrieval": ...',
        'if name in ("captioning", "judge"): ...',
        'metric.startswith(("top", "mean"))',
        'LAYOUTS = {"safeground": 1}',
        'match name:\n    case "demo": ...',
    ],
)
def test_a_comparison_with_a_name_would_be_found(code: str) -> None:
    assert names_in(code)


def test_components_themselves_are_not_looked_at() -> None:
    assert {"evals/run.py", "reports/show.py", "cli/evaluate.py"} <= {str(path.relative_to(ROOT)) for path in core()}
    assert all((ROOT / place).exists() for place in IMPLEMENTATIONS)
