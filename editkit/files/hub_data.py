"""Data sets of the Hugging Face hub as files in its cache: those that are asked for, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from editkit.errors import DataError
from editkit.files.hub_errors import Unreachable, refusal

CARD = "README.md"


def fetch_data(name: str, patterns: Sequence[str], *, where: str) -> Path:
    """Return the folder of a data set, with the files that match patterns in it; those of the cache are not asked for.

    Args:
        name: "org/name".
        patterns: of paths in the repository, with wildcards.
        where: what to write for data that are on this disk.

    Raises:
        DataError: no such data set; gated; the hub cannot be reached and the cache has not got it.
    """
    from huggingface_hub import snapshot_download
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bars(tqdm):  # type: ignore[misc]
        """Seen in a terminal, and nowhere else."""

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **{**options, "disable": None, "leave": False})

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=list(patterns), tqdm_class=Bars))
    except Exception as error:  # whatever the network raises
        refused = refusal(error, name, what="data set")
        remedy = f"Go online, or give {where}" if isinstance(refused, Unreachable) else refused.remedy
        raise DataError(refused.problem, remedy) from error


def split_files(name: str, split: str, *, where: str) -> list[Path]:
    """Return the Parquet files that hold one split, fetched if need be, and no other split's.

    Returns:
        Nothing where neither the card nor the files' names say which they are.

    Raises:
        DataError: as `fetch_data`; or the card lists splits, and not this one.
    """
    told = _told(fetch_data(name, [CARD], where=where) / CARD)
    if told and split not in told:
        raise DataError(f"hf:{name} has no split '{split}'.", f"It has: {', '.join(told)}. Name one with --split.")
    named = [f"{folder}{split}{rest}" for folder in ("data/", "") for rest in ("-*.parquet", ".parquet")]
    patterns = told.get(split) or named
    folder = fetch_data(name, patterns, where=where)
    found = folder.rglob("*.parquet")
    return sorted(path for path in found if any(fnmatchcase(str(path.relative_to(folder)), one) for one in patterns))


def _told(card: Path) -> dict[str, list[str]]:
    """Return the patterns of each split's files, as a card's header lists them for its default configuration."""
    import yaml

    if not card.is_file():
        return {}
    _, *parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    try:
        content = yaml.safe_load(parts[0]) if len(parts) == 2 else {}
        configs = {one.get("config_name", "default"): one for one in (content or {}).get("configs", ())}
        chosen = configs.get("default") or (next(iter(configs.values())) if len(configs) == 1 else {})
        files = chosen.get("data_files") or []
        lists = {one["split"]: one["path"] if isinstance(one["path"], list) else [one["path"]] for one in files}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):  # written for another reader
        return {}
    return {str(split): [str(PurePosixPath(path)) for path in paths] for split, paths in lists.items()}
