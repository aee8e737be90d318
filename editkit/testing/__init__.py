"""For authors of components: run one on tensors of your own, hold it to its contract.

A contract is a list of clauses, functions of one sentence each (`editkit/testing/*_contract.py`). The first that is
broken is a `ContractError`, which says what was found and what is promised.
"""

from __future__ import annotations

from editkit.testing.adapter_contract import check_adapter
from editkit.testing.contract import ContractError, UncheckedError
from editkit.testing.dataset_contract import check_dataset
from editkit.testing.eval_contract import check_eval
from editkit.testing.judge_contract import check_judge
from editkit.testing.manipulator_contract import check_manipulator
from editkit.testing.methods import manipulate, score, select
from editkit.testing.scorer_contract import check_scorer
from editkit.testing.selector_contract import check_selector

__all__ = [
    "ContractError",
    "UncheckedError",
    "check_adapter",
    "check_dataset",
    "check_eval",
    "check_judge",
    "check_manipulator",
    "check_scorer",
    "check_selector",
    "manipulate",
    "score",
    "select",
]
