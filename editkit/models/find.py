"""Find the adapter of a model, from its name or its files, without importing torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.specs import AdapterSpec
from editkit.errors import ModelError, did_you_mean
from editkit.models.reading import local_folder, read_json

if TYPE_CHECKING:
    from editkit.components.protocols import ModelFiles


def find_adapter(source: str, host: Host) -> AdapterSpec:
    """Return the adapter of a model: by its name's pattern, its prefix, its `model_type`, or its marker files.

    A hub id is resolved to its folder first. Of adapters that fit alike, the one registered first is taken.

    Raises:
        ModelError: no installed adapter knows the family; names the closest.
    """
    adapters = list(host.of_kind(AdapterSpec).values())
    by_name = [spec for spec in adapters if any(fnmatchcase(source, pattern) for pattern in spec.patterns)]
    by_name += [spec for spec in adapters if any(_has_prefix(source, prefix) for prefix in spec.prefixes)]
    if by_name:
        return by_name[0]
    _refuse_unknown_prefix(source, adapters)
    folder = local_folder(source)
    if family := _model_type(folder):
        fitting = [spec for spec in adapters if family in spec.model_types]
    else:  # of several that match, the most specific
        fitting = sorted((spec for spec in adapters if _is_marked(folder, spec)), key=lambda spec: -len(spec.keys))
    if not fitting:
        raise _unknown(source, folder, family, adapters)
    return fitting[0]


def weights_path(source: str | Path, host: Host) -> Path:
    """Return the folder or file that holds a model's weights, without torch.

    A path is itself; a plugin's own model (`demo`) is its folder; `open_clip:NAME@PATH` is PATH; anything else may be
    a hub id.

    Raises:
        ModelError: there is no such model, or the hub cannot be asked.
    """
    from editkit.files.hub import resolve

    name = str(source)
    if not Path(name).expanduser().exists():
        for spec in host.of_kind(AdapterSpec).values():
            if spec.folder is not None and name in spec.prefixes:
                return spec.folder
            if "@" in name and name.startswith(tuple(f"{prefix}:" for prefix in spec.prefixes)):
                return Path(name.partition("@")[2]).expanduser()
    return resolve(source)


def _has_prefix(source: str, prefix: str) -> bool:
    return source == prefix or source.startswith(f"{prefix}:")


def _refuse_unknown_prefix(source: str, adapters: Sequence[AdapterSpec]) -> None:
    """Raise ModelError for NAME:... that is no path: the plugin is missing, or its prefix misspelt."""
    prefix, colon, _ = source.partition(":")
    if colon and re.fullmatch(r"[A-Za-z][\w-]+", prefix) and not Path(source).exists():
        known = sorted(prefix for spec in adapters for prefix in spec.prefixes)
        raise ModelError(
            f"No installed adapter knows models called {prefix}:NAME.{did_you_mean(prefix, known)}",
            f"Known are: {', '.join(known) or 'none'}. Install the plugin for this family.",
        )


def _unknown(source: str, folder: Path, family: str | None, adapters: Sequence[AdapterSpec]) -> ModelError:
    """Return the error for a folder of no known family, with what it seems to be instead of a model."""
    known = sorted(name for spec in adapters for name in spec.model_types)
    families = f"families: {', '.join(known) or 'none'}"
    if family is None and (folder / "model_index.json").is_file():
        return ModelError(
            f"{source} is a pipeline of diffusers, which is several models.",
            f"Give the folder of one of them, if an installed adapter knows it ({families}).",
        )
    if family is None and (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "another model"
        return ModelError(
            f"{source} is an adapter that PEFT trained for {base}, and no whole model.",
            "Merge it into that model (`merge_and_unload`), save the result, and give its folder.",
        )
    found = f"its config.json says model_type '{family}'" if family else "it has no config.json"
    if not family and (folder / "config.json").is_file():
        found = "its config.json says no model_type"
    return ModelError(
        f"No installed adapter knows the model {source}: {found}.{did_you_mean(family or '', known)}",
        f"Installed adapters: {', '.join(sorted(spec.name for spec in adapters)) or 'none'} ({families}). "
        "Install the plugin for this family.",
    )


def _model_type(folder: Path) -> str | None:
    config = folder / "config.json"
    family = read_json(config).get("model_type") if config.is_file() else None
    return family if isinstance(family, str) and family else None


def _is_marked(folder: Path, spec: AdapterSpec) -> bool:
    """Whether the folder has a marker file of the family with every key that it must hold."""
    for name in spec.files:
        if (folder / name).is_file():
            content = read_json(folder / name) if spec.keys else {}
            if all(_holds(content, key.split(".")) for key in spec.keys):
                return True
    return False


def _holds(content: object, path: list[str]) -> bool:
    for part in path:
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def open_model(source: str, host: Host) -> tuple[Adapter, ModelFiles]:
    """Return the adapter of a model and the model's files.

    Raises:
        ModelError: no adapter knows it, there is no such model, or it has no weights.
    """
    spec = find_adapter(source, host)
    adapter = host.adapter(spec)
    return adapter, adapter.open(source)
