"""Everything that a hub of the tests can be stocked with, by the hub ids under which people know it."""

from __future__ import annotations

from pathlib import Path

import hub_data_sets
import hub_open_clip_repositories
import hub_transformers_repositories
from hub_contents import Repository
from hub_server import Hub

MODELS = {**hub_transformers_repositories.WRITERS, **hub_open_clip_repositories.WRITERS}
DATA_SETS = hub_data_sets.WRITERS


def write(place: Path, name: str) -> Path:
    """Write the files of a model or a data set into a folder below `place`, and return it."""
    folder = place / name
    {**MODELS, **DATA_SETS}[name](folder)
    return folder


def stock(hub: Hub, place: Path, *names: str) -> list[Repository]:
    """Write these below `place` and open them on the hub, in this order."""
    return [hub.add(name, write(place, name), "dataset" if name in DATA_SETS else "model") for name in names]
