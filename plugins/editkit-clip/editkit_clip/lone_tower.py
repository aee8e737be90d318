"""One tower of a CLIP without the other: Stable Diffusion's text encoders, IP-Adapter's image encoder, LLaVA's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from editkit.plugin import (
    TRANSFORMERS,
    ModelError,
    ModelFiles,
    ModelFolder,
    Site,
    Tower,
    fill_architecture,
    library_errors,
    model_folder,
    open_weights,
    outline,
    read_json,
    saved_dtype,
)
from editkit_clip.base_model import Part, What, digest_of, find_parts, notes_on
from editkit_clip.fitting import fitting_images, fitting_tokenizer
from editkit_clip.lone_tower_model import LoadedTower
from editkit_clip.names import under_names, with_keys
from editkit_clip.transformers_format import PROJECTIONS, block_sites, projection_site

PARTS: Mapping[Tower, What] = {"text": "tokenizer", "vision": "image processor"}
SIBLINGS: Mapping[Tower, tuple[tuple[str, str], ...]] = {
    "text": (("text_encoder", "tokenizer"),),
    "vision": (("image_encoder", "feature_extractor"), ("image_encoder", "image_processor")),
}
"""In a pipeline of diffusers: the folder of a tower, and the one beside it with what prepares its inputs."""
VOCABULARY = 49408
"""How many tokens CLIP's own tokenizer knows."""
ALONE = "it is a {0} tower alone; the whole model, which can be evaluated, takes it in by `edit --{0}-tower`"
POOLED = "a caption's embedding is its pooled output: the model has no projection, and a pipeline reads hidden states"


class LoneTower:
    """The adapter of a tower that is a model of its own; `tower` and the classes of transformers are its subclasses'.

    Published checkpoints name the tensors as in the whole CLIP, behind `text_model.` or `vision_model.`; transformers 5
    saves a tower without a projection under bare names. Sites are listed, and towers exchanged, by CLIP's names.
    """

    tower: ClassVar[Tower]
    plain: ClassVar[str]
    """The class of transformers without a projection."""
    projected: ClassVar[str] = ""
    """The one with; empty: there is none."""
    loaded: ClassVar[type[LoadedTower]] = LoadedTower
    family: ClassVar[str] = "clip"

    def open(self, source: str) -> ModelFiles:
        """Resolve a folder, a part of a pipeline (`PIPELINE/text_encoder`), or a hub id; read no weights."""
        folder = model_folder(source)
        config = read_json(folder.root / "config.json")
        checkpoint = open_weights(folder, TRANSFORMERS, partial(self._outline, config), saved_dtype(config))
        part = self.part(source, folder, config)
        return ModelFiles(
            source,
            checkpoint,
            config,
            self.family,
            digest_of(part),
            no_joint_space=ALONE.format(self.tower),
            commit=folder.commit,
            notes=(*folder.notes(), *notes_on(part), *self.notes(config)),
        )

    def notes(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what the user should know of the tower's embedding."""
        return () if self.tower == "vision" or self.is_projected(config) else (POOLED,)

    def part(self, source: str, folder: ModelFolder, config: Mapping[str, Any]) -> Part:
        """Return what prepares the tower's inputs: its own, its pipeline's, that of the CLIP that it is of, or none."""
        what, whole = PARTS[self.tower], {"model_type": self.family, f"{self.tower}_config": config}
        (own,) = find_parts(source, folder.root, {**whole, "model_type": "none"}, (what,))
        if own.folder is not None:
            return own
        for beside in _siblings(folder, self.tower):
            (theirs,) = find_parts(source, beside.root, {"model_type": "none"}, (what,))
            if theirs.folder is not None:
                return replace(theirs, base=f"its pipeline ({beside.root.name})")
        usual = self.tower == "vision" or config.get("vocab_size", VOCABULARY) == VOCABULARY
        return find_parts(source, folder.root, whole, (what,))[0] if usual else own

    def sites(self, files: ModelFiles) -> list[Site]:
        """List every linear map of the tower, and its projection if it has one."""
        names = self.tensors(files, self.tower)
        found = with_keys(self.tower_sites(self._as_whole(files, names)), names)
        return [replace(site, module=self.live_name(files.config, site.module)) for site in found]

    def tower_sites(self, files: ModelFiles) -> list[Site]:
        """List the sites by CLIP's names; `files` are as if the tower were a CLIP's."""
        found = block_sites(files, self.tower)
        projected = self.is_projected(files.config[f"{self.tower}_config"])
        return [*found, projection_site(files, self.tower)] if projected else found

    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        """Return the role that the paper edits in CLIP's tower."""
        return {"text": ("text:attn.out",), "vision": ("vision:mlp.out",)}[self.tower]

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return the tower's tensors, named as in the whole CLIP."""
        if tower != self.tower:
            return {}
        own = (f"{tower}_model.", f"{PROJECTIONS[tower]}.")
        return {key if key.startswith(own) else own[0] + key: key for key in files.checkpoint.tensors}

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Tower]) -> LoadedTower:
        """Load the tower in evaluation mode.

        Raises:
            ModelError: the other tower is asked for; tensors are missing or do not fit; nothing prepares its inputs.
        """
        if tuple(towers) != (self.tower,):
            raise ModelError(
                f"{files.source} is a {self.tower} tower alone: there is no other to load.",
                f"Ask for the {self.tower} tower, or give the whole model.",
            )
        part = self._part(files)
        with library_errors(f"The {self.tower} tower {files.source} cannot be loaded"):
            made = self._processing(files, part)  # before the weights are read: it may be missing
            module = fill_architecture(self._architecture(files.config), files, dtype=dtype)
        module = module.to(device).eval().requires_grad_(requires_grad=False)
        return self.loaded(module, made, self.tower, partial(self.live_name, files.config), part)

    def _processing(self, files: ModelFiles, part: Part) -> Any:
        config = self._architecture(files.config).config_class.from_dict(dict(files.config))
        if self.tower == "vision":
            return fitting_images(files.source, part, config, config)
        return fitting_tokenizer(files.source, part, config, config, reads_end=self.family == "clip")

    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        """Write the tokenizer or image processor that is used: the folder then loads alone, and in its pipeline."""
        self._part(files).save_into(folder)

    def is_projected(self, config: Mapping[str, Any]) -> bool:
        """Whether the tower ends in a projection, as the config's `architectures` say."""
        return bool(self.projected) and self.projected in (config.get("architectures") or ())

    def live_name(self, config: Mapping[str, Any], name: str) -> str:
        """Return what the live tower calls a tensor or module, from CLIP's name or the checkpoint's."""
        return name if self.is_projected(config) else name.removeprefix(f"{self.tower}_model.")

    def _architecture(self, config: Mapping[str, Any]) -> Any:
        import transformers

        return getattr(transformers, self.projected if self.is_projected(config) else self.plain)

    def _outline(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        shapes = outline(self._architecture(config), config)
        own = (f"{self.tower}_model.", f"{PROJECTIONS[self.tower]}.")
        return {key if key.startswith(own) else own[0] + key: shape for key, shape in shapes.items()}

    def _as_whole(self, files: ModelFiles, names: Mapping[str, str]) -> ModelFiles:
        return replace(under_names(files, names), config={f"{self.tower}_config": files.config})

    def _part(self, files: ModelFiles) -> Part:
        """Return what `open` found: converted weights lie in another folder than the pipeline's."""
        return self.part(files.source, model_folder(files.source), files.config)


class ClipText(LoneTower):
    """The adapter for `model_type: clip_text_model`."""

    tower, plain, projected = "text", "CLIPTextModel", "CLIPTextModelWithProjection"


class ClipVision(LoneTower):
    """The adapter for `model_type: clip_vision_model`."""

    tower, plain, projected = "vision", "CLIPVisionModel", "CLIPVisionModelWithProjection"


def _siblings(folder: ModelFolder, tower: Tower) -> list[ModelFolder]:
    """Return the folders beside a pipeline's part that may hold what prepares its inputs."""
    name = PurePosixPath(folder.inside).name if folder.repository else folder.root.absolute().name
    found = []
    for part, beside in SIBLINGS[tower]:
        if name.startswith(part):
            with suppress(ModelError):  # of the hub's: there is no such folder
                found.append(folder.sibling(beside + name.removeprefix(part)))
    return found
