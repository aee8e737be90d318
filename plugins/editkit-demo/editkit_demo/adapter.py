"""The demo model's adapter: editkit-clip's, for a folder that lies in this package."""

from __future__ import annotations

from dataclasses import replace

from editkit.plugin import ModelFiles
from editkit_clip.transformers_format import TransformersClip
from editkit_demo import MODEL


class DemoClip(TransformersClip):
    """CLIP in transformers' format, under the name `demo`."""

    def open(self, source: str) -> ModelFiles:
        """Open the embedded folder; records keep the name, since the folder's place is the machine's."""
        return replace(super().open(str(MODEL)), source=source)
