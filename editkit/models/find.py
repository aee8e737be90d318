"""Find the adapter of a model, from its name or its files, without importing torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.specs import AdapterSpec
from editkit.errors import InstallError, ModelError, PluginError, did_you_mean
from editkit.files.checkpoint import Checkpoint
from editkit.files.source import HUB_PREFIXES, ModelFolder, model_folder
from editkit.files.weights import open_any_weights
from editkit.models.reading import read_json
from editkit.progress import Stage, silent


def find_adapter(source: str, host: Host) -> AdapterSpec:
    """Return the adapter of a model: by its name's pattern, its prefix, its `model_type`, or its marker files.

    Of a hub id no weights are fetched. Of adapters that fit alike, one whose weights are there comes first, then one
    that knows more of the model's towers, then the one that asks for more keys, then the one registered first.

    Raises:
        ModelError: no installed adapter knows the family; names the closest.
    """
    adapters = list(host.of_kind(AdapterSpec).values())
    by_name = [spec for spec in adapters if any(fnmatchcase(source, pattern) for pattern in spec.patterns)]
    by_name += [spec for spec in adapters if any(_has_prefix(source, prefix) for prefix in spec.prefixes)]
    if by_name:
        return by_name[0]
    _refuse_unknown_prefix(source, adapters)
    folder = model_folder(source)
    there, family = folder.names(), _model_type(folder.root)
    fitting = [spec for spec in adapters if family in spec.model_types or _is_marked(folder.root, spec)]
    if not fitting:
        raise _unknown(source, folder, family, adapters)
    refuse_own_code(source, folder.root)
    return min(fitting, key=lambda spec: _rank(spec, family, there))


def _rank(spec: AdapterSpec, family: str | None, there: Collection[str]) -> tuple[bool, bool, int, int]:
    has_weights = any(name in there for name in spec.weights.all())
    return not has_weights, family not in spec.model_types, -len(spec.towers), -len(spec.keys)


def refuse_own_code(source: str, folder: Path) -> None:
    """Refuse a model that is defined by code in its own folder: without it, its weights mean another model.

    Raises:
        ModelError: its config.json has an `auto_map`.
    """
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if isinstance(named := config.get("auto_map"), dict) and named:
        raise ModelError(
            f"{source} is defined by code in its own folder (auto_map: {next(iter(named.values()))}), which editkit "
            "never runs.",
            "If its library's own class loads these weights, take auto_map out of a copy of its config.json.",
        )


@dataclass(frozen=True)
class Found:
    """Weights, and what writes beside a copy of them whatever their source lacks to be loadable on its own."""

    checkpoint: Checkpoint
    save_beside: Callable[[Path], None] | None = None
    commit: str = ""
    """Of the hub; empty: they are the user's own."""


def weights_of(source: str | Path, host: Host, holding: Collection[str] = (), stage: Stage = silent) -> Found:
    """Return the weights of whatever `editkit edit` takes as a model, on this disk and in safetensors.

    Nothing is imported that needs torch, but where the weights are an archive or the name one of an adapter's own.

    Args:
        holding: keys that must be there, where a folder holds the weights of several libraries.

    Raises:
        ModelError: there is no such model, or the hub cannot be asked.
    """
    name = str(source)
    if not Path(name).expanduser().exists():
        for spec in host.of_kind(AdapterSpec).values():
            if spec.folder is not None and name in spec.prefixes:
                return Found(Checkpoint.open(spec.folder, holding=holding))
            if any(_has_prefix(name, prefix) for prefix in spec.prefixes):
                return _by_adapter(name, host, stage)
    first = None
    with suppress(ModelError):  # a family that no adapter knows has weights too
        first = find_adapter(name, host).weights
    found = open_any_weights(source, holding, first).here(stage)
    return Found(found, commit="" if Path(name).expanduser().exists() else model_folder(name).commit)


def _by_adapter(name: str, host: Host, stage: Stage) -> Found:
    """Ask the adapter whose name for a model it is; without its libraries, NAME@PATH still has its weights at PATH."""
    try:
        adapter, files = open_model(name, host, stage)
    except (InstallError, PluginError):
        if "@" not in name:
            raise
        return Found(Checkpoint.open(name.partition("@")[2]))
    return Found(files.checkpoint, partial(adapter.save_beside, files), files.commit)


def _has_prefix(source: str, prefix: str) -> bool:
    return source == prefix or source.startswith(f"{prefix}:")


def _refuse_unknown_prefix(source: str, adapters: Sequence[AdapterSpec]) -> None:
    """Raise ModelError for NAME:... that is no path: the plugin is missing, or its prefix misspelt."""
    prefix, colon, _ = source.partition(":")
    if source.startswith(HUB_PREFIXES) or "://" in source or Path(source).expanduser().exists():
        return
    if colon and re.fullmatch(r"[A-Za-z][\w-]+", prefix):
        known = sorted(prefix for spec in adapters for prefix in spec.prefixes)
        raise ModelError(
            f"No installed adapter knows models called {prefix}:NAME.{did_you_mean(prefix, known)}",
            f"Known are: {', '.join(known) or 'none'}. Install the plugin for this family.",
        )


def _unknown(source: str, place: ModelFolder, family: str | None, adapters: Sequence[AdapterSpec]) -> ModelError:
    """Return the error for a folder of no known family, with what it seems to be instead of a model."""
    folder = place.root
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
    if place.is_partial and not (folder / "config.json").is_file():
        return ModelError(
            f"The hub's cache here has only a part of {source}: there is no config.json.",
            "Go online once, so that it is downloaded.",
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


def open_model(source: str, host: Host, stage: Stage | None = None) -> tuple[Adapter, ModelFiles]:
    """Return the adapter of a model and the model's files.

    Args:
        stage: given, the weights are brought too: downloaded, or converted. None: only headers are read.

    Raises:
        ModelError: no adapter knows it, there is no such model, or it has no weights.
    """
    spec = find_adapter(source, host)
    adapter = host.adapter(spec)
    files = adapter.open(source)
    return adapter, files if stage is None else with_weights(files, stage)


def with_weights(files: ModelFiles, stage: Stage) -> ModelFiles:
    """Return a model with its weights on this disk.

    Raises:
        ModelError: the hub refuses, or an archive holds anything but tensors.
    """
    return replace(files, checkpoint=files.checkpoint.here(stage))
