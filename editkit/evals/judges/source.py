"""A transformers model as a judge names it: where it lies, what exactly it is, and how a part of it is loaded."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from editkit.errors import ModelError, one_line
from editkit.files.checkpoint import Checkpoint
from editkit.files.source import model_folder
from editkit.files.weights import open_any_weights
from editkit.libraries import library


class Source:
    """A model folder, or a hub id `org/name[@revision]`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Its weights, on this disk and in safetensors.

        Raises:
            ModelError: there is no such folder and no such hub id, or it is no folder of a model.
        """
        if not model_folder(self.name).holds("config.json"):
            raise ModelError(
                f"{self.name} is no folder of a model: it has no config.json.", "Give a model folder or a hub id."
            )
        return open_any_weights(self.name).here()

    @property
    def folder(self) -> Path:
        """Where the model lies."""
        return self.checkpoint.root

    @cached_property
    def revision(self) -> str:
        """`name@commit` of a hub model, else the folder's name and a digest of its weights."""
        if commit := model_folder(self.name).commit:
            return f"{self.name.partition('@')[0]}@{commit}"
        return f"{Path(self.name).expanduser().resolve().name} {self.checkpoint.identity()[:16]}"

    def load(self, auto_class: str, **options: Any) -> Any:
        """Return what a class of transformers, such as AutoTokenizer, makes of the folder.

        Raises:
            ModelError: it cannot be loaded.
            InstallError: there is no transformers here.
        """
        transformers = library("transformers", "transformers", "a language model that runs here")
        try:
            # code that comes with a model is never run
            return getattr(transformers, auto_class).from_pretrained(
                str(self.folder), trust_remote_code=False, local_files_only=True, **options
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise ModelError(
                f"{self.name} cannot be loaded by {auto_class}: {one_line(error)[:300].rstrip('.')}.",
                "Check that the folder is complete, and of a family that this transformers knows.",
            ) from error

    def load_weights(self, auto_class: str, *, device: str, dtype: str) -> Any:
        """Return a model in evaluation mode on a device; its weights are safetensors.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self.load(auto_class, dtype=dtype, use_safetensors=True).eval().to(device)
