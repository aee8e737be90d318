"""For authors of components: run one on tensors of your own, hold it to its contract."""

from __future__ import annotations

from editkit.testing.adapter_contract import ContractError, check_adapter
from editkit.testing.methods import manipulate, score, select

__all__ = ["ContractError", "check_adapter", "manipulate", "score", "select"]
