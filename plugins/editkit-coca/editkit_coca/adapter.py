"""The adapter for open_clip's CoCa: its two towers, the attention that pools images, and the decoder left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from editkit.plugin import TOWERS, ModelError, ModelFiles, Role, Site, Tower
from editkit_clip.open_clip_format import OpenClip
from editkit_coca.model import LoadedCoca

PREFIXES: Mapping[Tower, str] = {"text": "text.", "vision": "visual."}
POOL = "visual.attn_pool.attn"


class CoCa(OpenClip):
    """A contrastive captioner: two towers that embed, and a decoder that reads both and is never edited."""

    loaded = LoadedCoca

    def open(self, source: str) -> ModelFiles:
        """Resolve `open_clip:coca_NAME/TAG`, `open_clip:coca_NAME@PATH` or a folder.

        Raises:
            ModelError: no such architecture, tag or file; or an architecture without CoCa's own two towers.
        """
        files = super().open(source)
        _refuse_other_towers(source, files.config["model_cfg"])
        return replace(files, family="coca")

    def sites(self, files: ModelFiles) -> list[Site]:
        """List the linear maps of both towers' blocks, of the pooling attention, and both projections."""
        found = super().sites(files)
        projection = next(i for i, site in enumerate(found) if (site.tower, site.role) == ("vision", "proj"))
        return [*found[:projection], *_pool_sites(files), *found[projection:]]

    def tensors(self, files: ModelFiles, tower: Tower) -> dict[str, str]:
        """Return a tower's tensors; those of the decoder (`text_decoder.*`) belong to neither."""
        return {key: key for key in files.checkpoint.tensors if key.startswith(PREFIXES[tower])}

    def build(self, config: dict[str, Any]) -> Any:
        """Return the module of a `model_cfg`, with weights that mean nothing yet."""
        import open_clip

        return open_clip.CoCa(**{name: value for name, value in config.items() if name != "custom_text"})

    def load_captioner(
        self, files: ModelFiles, *, device: str, dtype: str, device_map: object | None = None
    ) -> LoadedCoca:
        """Load the whole model, which captions with the decoder it was trained with.

        Raises:
            ModelError: a device map is given; tensors are missing or do not fit the configuration.
        """
        if device_map is not None:
            raise ModelError(
                f"{files.source} is to be spread over devices by a device map, which open_clip has not.",
                "Leave the device map out: a CoCa fits on one device.",
            )
        held = self.load(files, device=device, dtype=dtype, towers=TOWERS)
        assert isinstance(held, LoadedCoca)  # what `loaded` says
        return held


def _pool_sites(files: ModelFiles) -> list[Site]:
    """Return the maps of the attention that pools an image's tokens; none where the class token is taken instead.

    Its query is learned, the same for every image, so the inputs of its query map say nothing of what an image shows:
    that map is no site. Of its outputs the first is the embedding, the others are what the decoder reads.
    """
    tensors = files.checkpoint.tensors
    output = f"{POOL}.out_proj"
    if f"{output}.weight" not in tensors:
        return []
    width = tensors[f"{output}.weight"].shape[0]
    found = []
    for part, name in ((1, "k"), (2, "v")):
        role: Role = "pool.attn.k" if name == "k" else "pool.attn.v"
        own = f"{POOL}.{name}_proj_weight"  # where the tokens are wider or narrower than the query
        if own in tensors:
            # The biases of q, k and v are one tensor all the same, of which a site without rows has no part.
            rows, columns = tensors[own].shape
            found.append(Site("vision", 0, role, POOL, own, (rows, columns)))
        else:
            fused, bias = f"{POOL}.in_proj_weight", f"{POOL}.in_proj_bias"
            place = (part * width, (part + 1) * width)
            found.append(Site("vision", 0, role, POOL, fused, (width, width), rows=place, bias=bias))
    shape = (width, width)
    found.append(Site("vision", 0, "pool.attn.out", output, f"{output}.weight", shape, bias=f"{output}.bias"))
    return found


def _refuse_other_towers(source: str, config: Mapping[str, Any]) -> None:
    """Check that both towers are open_clip's own, in the form in which CoCa was published.

    Raises:
        ModelError: names what is different.
    """
    text, vision = config.get("text_cfg", {}), config.get("vision_cfg", {})
    pool = vision.get("attentional_pool")
    reasons = {
        "its text tower or tokenizer is one of Hugging Face's": text.get("hf_model_name")
        or text.get("hf_tokenizer_name"),
        "its text tower has no class token (embed_cls)": not text.get("embed_cls"),
        "its vision tower is one of timm's": vision.get("timm_model_name"),
        "its towers give the decoder no tokens (output_tokens)": not (
            text.get("output_tokens") and vision.get("output_tokens")
        ),
        # open_clip calls these untested: its embeddings of B images are then [B, 1, D], which its own loss cannot take
        f"it pools images by '{pool}' attention, which open_clip has not finished": isinstance(pool, str),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ModelError(
                f"{source} is a CoCa that this adapter does not edit: {reason}.",
                "Use an architecture like coca_ViT-L-14 or coca_ViT-B-32.",
            )
