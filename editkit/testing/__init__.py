"""For authors of components: run one on tensors of your own, hold it to its contract."""

from __future__ import annotations

from editkit.testing.adapter_contract import check_adapter
from editkit.testing.contract import ContractError
from editkit.testing.manipulator_contract import check_manipulator
from editkit.testing.methods import manipulate, score, select
from editkit.testing.scorer_contract import check_scorer
from editkit.testing.selector_contract import check_selector

__all__ = [
    "ContractError",
    "check_adapter",
    "check_manipulator",
    "check_scorer",
    "check_selector",
    "manipulate",
    "score",
    "select",
]
