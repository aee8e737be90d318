"""Write the tables of docs/methods.md from the components' specs: `python docs/generate.py`; see tests/test_docs.py.

Names, options and references are the specs'; a formula is one line of what the component's module says in full.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from editkit.components.spec import Options
from editkit.components.specs import ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.methods.manipulators.specs import MANIPULATORS
from editkit.methods.references import UWM
from editkit.methods.scorers.specs import SCORERS
from editkit.methods.selectors.specs import SELECTORS

PAGE = Path(__file__).parent / "methods.md"
PART = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

SCORES = {
    "uwm": "Phi_u / Phi_s, with Phi = mean over samples of r[o] z[i] c[i] / s[i]",
    "difference": "Phi_u - Phi_s",
    "unsafe": "Phi_u",
    "gradient": "mean over tuples of abs(dL/dW), L the loss of the batch that the tuple is in",
    "wanda": "abs(W[o,i]) norm(X[i])",
    "wanda-ratio": "abs(W[o,i]) norm(X_u[i]) / norm(X_s[i])",
    "multiflow": "(mean_i' norm(X[i']) abs(W[o,i'])) (norm(X[i]) mean_o' abs(W[o',i])) abs(W[o,i])",
    "neuron-ratio": "importance_u[i] / importance_s[i]",
    "snip": "mean over samples of abs(W dl/dW)",
    "fisher-ratio": "F_u / F_s, with F = mean over samples of (dl/dW)^2",
    "salun": "abs(mean over samples of dl/dW)",
    "magnitude": "abs(W)",
    "random": "uniform between 0 and 1",
}
CHOICES = {
    "adaptive": "of each site, the smallest set of top weights that holds `tau` of the sum of positive scores",
    "adaptive-signed": "of each site, the top weights whose running share of the signed sum is above 1 - `tau`",
    "topk": "of each site or row, the top n - int((1 - fraction) n)",
    "threshold": "score > above",
    "global": "of all of a tower's sites together, the top n - int((1 - fraction) n)",
    "units": "of each site, the top n - int((1 - fraction) n) columns or rows by the mean or maximum of their scores",
    "difference-set": "of each site, the top `fraction` less the top `other_fraction` by the scorer `other`",
    "matched": "of each site, the top k, with k the count of another choice",
    "all": "everything",
}
CHANGES = {
    "scale": "W' = alpha W on S",
    "negate": "W' = -W on S",
    "zero": "W' = 0 on S",
    "dampen": "W' = min(lambda F_s / F_u, 1) W on S",
    "blend": "W' = (1 - lambda) W + lambda W_other on S",
    "merge": "W' = W + lambda tau on S, with tau the mean or the TIES merge of W_k - W",
    "lora": "W' = W - amount scaling B A, with A and B of the adapter, scaling alpha / r",
    "mean-ablate": "W'[:,i] = 0 and b' = b + sum of W[:,i] m_s[i], over the columns i of S",
    "project": "W' = W - beta r r^T W and b' = b - beta r r^T b, with r = W (m_u - m_s) made a unit vector",
    "leace": "W' = W - d a^T W / (a^T d) and b' = b + d a^T W m / (a^T d), with a = S^+ d, S and d of outputs",
    "inlp": "W' = P W and b' = P b, with P = I - sum of w_k w_k^T, w_k the least-squares classifier of round k",
    "null-space": "W' = W - W R R^T, with R of most unsafe energy in the null space of Z_ss + Z_pp",
    "redirect": "W' = W + G A^-1, with G = W (Z_su - Z_uu)",
    "refuse": "W' = W + G A^-1, with G = W ((h - 1) Z_uu + g Z_su) + k m n m_u^T",
}
NEEDS = {
    "weights": "the weights alone",
    "inputs": "inputs",
    "gradients": "gradients of batches",
    "sample-gradients": "gradients of single samples",
}
STATISTICS = {
    "mean-inputs": "mean inputs",
    "second-moments": "second moments of inputs",
    "preserved": "preserved items, if any",
    "embeddings": "both towers' embeddings, at `proj`",
}
ACTS_ON = {"weights": "any weights", "units": "whole input columns", "sites": "whole sites"}


def tables() -> dict[str, str]:
    """Return the tables by name."""
    return {
        "scorers": components("score[o,i]", SCORERS, code(SCORES)),
        "scorer_options": options(SCORERS),
        "selectors": components("selects", SELECTORS, CHOICES),
        "selector_options": options(SELECTORS),
        "manipulators": components("new values", MANIPULATORS, code(CHANGES)),
        "manipulator_options": options(MANIPULATORS),
    }


def code(formulas: dict[str, str]) -> dict[str, str]:
    """Return formulas in code font."""
    return {name: f"`{formula}`" for name, formula in formulas.items()}


def components(
    what: str, specs: Sequence[ScorerSpec | SelectorSpec | ManipulatorSpec], formulas: dict[str, str]
) -> str:
    """Return a row for each component: name, formula, needs, reference."""
    rows = [[f"`{spec.name}`", formulas[spec.name], needs(spec), spec.reference.replace(UWM, "UWM")] for spec in specs]
    return table(["name", what, "needs", "reference"], rows)


def needs(spec: ScorerSpec | SelectorSpec | ManipulatorSpec) -> str:
    """Say what has to be known before the component can work."""
    if isinstance(spec, ScorerSpec):
        return NEEDS[spec.needs] + (" with a spread over tokens" if spec.spread else "")
    if isinstance(spec, SelectorSpec):
        found = ["scores"] if spec.ranks else ["nothing"]
    else:
        found = [ACTS_ON[spec.acts_on], *(STATISTICS[need] for need in STATISTICS if need in spec.needs)]
    found += ["another scorer's scores"] if says(spec, "other_scorers") else []
    found += ["another checkpoint"] if says(spec, "other_checkpoint") else []
    found += ["several checkpoints"] if says(spec, "other_checkpoints") else []
    return "; ".join(found)


def says(spec: SelectorSpec | ManipulatorSpec, field: str) -> bool:
    """Return whether a spec sets a field."""
    defaults = {entry.name: entry.default for entry in fields(spec)}
    return field in defaults and vars(spec)[field] is not defaults[field]


def options(specs: Sequence[ScorerSpec | SelectorSpec | ManipulatorSpec]) -> str:
    """Return a row for each option of each component: default, values, meaning."""
    rows = [
        [
            f"`{spec.name}`",
            f"`{name}`",
            default(spec.options, name),
            values(spec.options, name),
            bars(field.description),
        ]
        for spec in specs
        for name, field in spec.options.model_fields.items()
    ]
    return table(["component", "option", "default", "values", "meaning"], rows)


def bars(description: str | None) -> str:
    """Return a description with abs(W) for |W|: bars divide the cells of a table."""
    return re.sub(r"\|(\w+)\|", r"abs(\1)", description or "")


def default(model: type[Options], name: str) -> str:
    """Return an option's default as it is written in a recipe."""
    field = model.model_fields[name]
    value = field.get_default()
    if field.is_required():
        return "required"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {entry}" for key, entry in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def values(model: type[Options], name: str) -> str:
    """Return what an option may be: its names, or its type with the bounds of numbers."""
    schema = model.model_json_schema()["properties"][name]
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    return " or ".join(_kind(kind) for kind in kinds)


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(schema["enum"])
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    words = {"object": "mapping", "string": "text"}
    return " ".join([words.get(schema["type"], schema["type"]), ", ".join(bounds)]).strip()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table. Cells hold no vertical bars: not every reader of Markdown escapes them alike."""
    assert not any("|" in cell for row in rows for cell in row)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def fill(text: str) -> str:
    """Return a page with its tables as they should be."""
    made = tables()
    return PART.sub(lambda part: f"{part[1]}\n{made[part[2]]}\n{part[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text()))
