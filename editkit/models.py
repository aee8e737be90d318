"""Find the adapter of a model, from its name or its files, without importing torch."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from editkit.errors import ModelError, did_you_mean
from editkit.plugins import Host, default_host
from editkit.specs import AdapterSpec


def find_adapter(source: str, host: Host) -> AdapterSpec:
    """Return the adapter whose pattern, prefix, `model_type` or marker file fits `source`.

    A hub id is resolved to its folder first.

    Raises:
        ModelError: no installed adapter knows the family; names the closest.
    """
    adapters = host.of_kind(AdapterSpec)
    by_name = [spec for spec in adapters.values() if any(fnmatchcase(source, pattern) for pattern in spec.patterns)]
    by_name += [
        spec
        for spec in adapters.values()
        if any(source == prefix or source.startswith(f"{prefix}:") for prefix in spec.prefixes)
    ]
    if by_name:
        return by_name[0]
    folder = local_folder(source)
    family = _model_type(folder)
    for spec in sorted(adapters.values(), key=lambda spec: -len(spec.keys)):
        if family in spec.model_types or (family is None and _is_marked(folder, spec)):
            return spec
    known = sorted(name for spec in adapters.values() for name in spec.model_types)
    found = f"its config.json says model_type '{family}'" if family else "it has no config.json with a model_type"
    raise ModelError(
        f"No installed adapter knows the model {source}: {found}.{did_you_mean(family or '', known)}",
        f"Installed adapters: {', '.join(sorted(adapters)) or 'none'} (families: {', '.join(known) or 'none'}). "
        "Install the plugin for this family.",
    )


def local_folder(source: str) -> Path:
    """Return the folder of a model: an existing one as it is, a hub id downloaded to the hub's cache.

    Raises:
        ModelError: there is no such folder and no such hub id.
    """
    path = Path(source).expanduser()
    if path.is_file():
        raise ModelError(
            f"{source} is one file, which does not say what architecture its tensors belong to.",
            f"Name the folder that holds its config.json, or write open_clip:NAME@{source}",
        )
    if path.is_dir():
        return path
    from editkit.hub import resolve

    folder = resolve(source)
    if not folder.is_dir():
        raise ModelError(
            f"There is no model folder {source}.", "Give a folder, a hub id org/name, or open_clip:NAME/TAG."
        )
    return folder


def weights_path(source: str | Path) -> Path:
    """Return the folder or file that holds a model's weights, without torch.

    A path is itself; a plugin's own model (`demo`) is its folder; `open_clip:NAME@PATH` is PATH; anything else may be
    a hub id.

    Raises:
        ModelError: there is no such model, or the hub cannot be asked.
    """
    from editkit.hub import resolve

    name = str(source)
    if not Path(name).expanduser().exists():
        for spec in default_host().of_kind(AdapterSpec).values():
            if spec.folder is not None and name in spec.prefixes:
                return spec.folder
            if "@" in name and name.startswith(tuple(f"{prefix}:" for prefix in spec.prefixes)):
                return Path(name.partition("@")[2]).expanduser()
    return resolve(source)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises:
        ModelError: the file cannot be read, or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", "Check the model folder, or download it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object.", "Check the model folder, or download it again.")
    return content


def _model_type(folder: Path) -> str | None:
    config = folder / "config.json"
    family = read_json(config).get("model_type") if config.is_file() else None
    return family if isinstance(family, str) else None


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
