"""Checkpoints that call tensors otherwise than their architecture does: a view under its names, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from editkit.plugin import ModelFiles, Site


def under_names(files: ModelFiles, names: Mapping[str, str]) -> ModelFiles:
    """Return files whose checkpoint has the tensors of `names` (name -> checkpoint key), called by their names."""
    tensors = {name: files.checkpoint.tensors[key] for name, key in names.items()}
    return replace(files, checkpoint=replace(files.checkpoint, tensors=tensors))


def with_keys(sites: Iterable[Site], names: Mapping[str, str]) -> list[Site]:
    """Return sites that were listed under `names` with the checkpoint's own keys."""
    return [replace(site, key=names[site.key], bias=names[site.bias] if site.bias else None) for site in sites]
