"""Open a model: from what a user calls it to its adapter and its files, with no weight read."""

from __future__ import annotations

from editkit.models import find_adapter
from editkit.plugins import Host
from editkit.protocols import Adapter, ModelFiles


def open_model(source: str, host: Host) -> tuple[Adapter, ModelFiles]:
    """Return the adapter of a model and the model's files.

    Raises:
        ModelError: no adapter knows it, there is no such model, or it has no weights.
    """
    spec = find_adapter(source, host)
    adapter: Adapter = spec.load()(spec.options())
    return adapter, adapter.open(source)
