"""What libraries call the files of a model's weights: who reads a folder says which of them are the model."""

from __future__ import annotations

from dataclasses import dataclass

from editkit.files.model_folder import INDEX

ARCHIVE_INDEX = ".index.json"


@dataclass(frozen=True)
class WeightNames:
    """One file or shards behind an index, in safetensors or else as torch archives; other files are not the model."""

    safetensors: str = "model.safetensors"
    archive: str = "pytorch_model.bin"

    @property
    def index(self) -> str:
        """The index of safetensors shards."""
        return self.safetensors.removesuffix(".safetensors") + INDEX

    @property
    def archive_index(self) -> str:
        """The index of archives."""
        return self.archive + ARCHIVE_INDEX

    def all(self) -> tuple[str, ...]:
        """Return the names in the order in which they are looked for."""
        return self.safetensors, self.index, self.archive, self.archive_index


TRANSFORMERS = WeightNames()
"""Of transformers, diffusers' parts that are its models, and timm."""
OPEN_CLIP = WeightNames("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
