"""`check_adapter`: both formats of CLIP keep the contract, and an adapter that breaks a clause is told which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pluggy
import pytest
import torch
from models import OPEN_CLIP, tiny_clip, tiny_open_clip
from open_clip_models import plain_open_clip
from torch import Tensor

from editkit.components.host import Component, Host
from editkit.components.protocols import ModelFiles
from editkit.components.site import Site
from editkit.components.specs import AdapterSpec
from editkit.testing import ContractError, check_adapter
from editkit_clip.transformers_format import TransformersClip
from editkit_clip.transformers_model import LoadedClip

OUT = "text:attn.out[0]"
POSITIONS = "text_model.embeddings.position_embedding"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip") / "model")


# The libraries themselves, one item at a time


def plain_transformers(source: str) -> Callable[..., Tensor]:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(source).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(source), AutoImageProcessor.from_pretrained(source)
    context = model.config.text_config.max_position_embeddings

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        with torch.no_grad():
            if tower == "text":
                rows = [
                    model.get_text_features(**tokenizer(item, truncation=True, max_length=context, return_tensors="pt"))
                    for item in items
                ]
            else:
                rows = [model.get_image_features(**processor(images=item, return_tensors="pt")) for item in items]
        return torch.cat([row.pooler_output for row in rows])

    return embed


def test_clip_in_transformers_format_keeps_the_contract(clip_folder: Path) -> None:
    check_adapter("clip", clip_folder, library=plain_transformers)


def test_a_sharded_checkpoint_in_half_precision_keeps_it_too(tmp_path: Path) -> None:
    check_adapter("clip", tiny_clip(tmp_path / "model", "bfloat16", sharded=True))


def test_clip_in_open_clip_format_keeps_the_contract(tmp_path: Path) -> None:
    weights = tiny_open_clip(tmp_path / "model")
    check_adapter("open_clip", f"open_clip:{OPEN_CLIP}@{weights}", library=plain_open_clip)


# Adapters that break it, each in one place


class Altered(TransformersClip):
    """Lists `OUT` with the fields that its subclass names in place of its own."""

    fields: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **fields: Any) -> None:
        cls.fields = fields

    def sites(self, files: ModelFiles) -> list[Site]:
        return [replace(site, **self.fields) if site.name == OUT else site for site in super().sites(files)]


class MissingModule(Altered, module="text_model.encoder.layers.0.self_attn.projection"):
    pass


class OtherModule(Altered, module="text_model.encoder.layers.1.self_attn.out_proj"):
    pass


class WrongShape(Altered, shape=(32, 31)):
    pass


class WrongKey(Altered, key="text_model.encoder.layers.0.self_attn.out.weight"):
    pass


class Transposed(Altered, transposed=True):
    pass


class OtherTower(Altered, tower="vision", layer=7):
    pass


class NeverRuns(Altered, module=POSITIONS, key=f"{POSITIONS}.weight", shape=(32, 32), bias=None):
    pass


class SameName(Altered, layer=1):
    pass


class ReadsFiles(TransformersClip):
    def sites(self, files: ModelFiles) -> list[Site]:
        (files.checkpoint.root / "config.json").read_text()
        return super().sites(files)


class Elsewhere(TransformersClip):
    def tensors(self, files: ModelFiles, tower: Any) -> dict[str, str]:
        return {key: f"clip.{key}" for key in super().tensors(files, tower)}


class LeavesOutProjections(TransformersClip):
    def tensors(self, files: ModelFiles, tower: Any) -> dict[str, str]:
        return {name: key for name, key in super().tensors(files, tower).items() if "projection" not in name}


class Pooled(Altered, pooled=True):
    pass


class NoSuchTarget(TransformersClip):
    def default_targets(self, files: ModelFiles) -> tuple[str, ...]:
        return ("text:attn.out", "vision:mlp.out[9]")


class Loads(TransformersClip):
    """Loads its own `loaded`."""


class Unnormalised(Loads):
    class loaded(LoadedClip):
        def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
            return 2 * super().encode_texts(inputs)


class LooksAtNeighbours(Loads):
    class loaded(LoadedClip):
        def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
            pixels = inputs["pixel_values"]
            return super().encode_images({"pixel_values": pixels - 0.1 * pixels.mean(dim=0)})


class ReadsPadding(Loads):
    class loaded(LoadedClip):
        def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
            found = super().encode_texts(inputs) + 0.01 * inputs["input_ids"].shape[1]
            return found / found.norm(dim=-1, keepdim=True)


class OtherProcessing(Loads):
    class loaded(LoadedClip):
        def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
            return super().encode_images({"pixel_values": 1.01 * inputs["pixel_values"]})


class LoneTowerDiffers(Loads):
    class loaded(LoadedClip):
        def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
            found = super().encode_images(inputs)
            return found if "text" in self.towers else found.flip(-1)


class ClaimsBothTowers(Loads):
    class loaded(LoadedClip):
        def __init__(self, module: Any, tokenizer: Any, processor: Any, towers: Any, bases: Any) -> None:
            super().__init__(module, tokenizer, processor, ("text", "vision"), bases)


class ChangesWhenRun(Loads):
    class loaded(LoadedClip):
        def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
            self.module.text_model.final_layer_norm.bias.mul_(1 + 1e-6)
            return super().encode_texts(inputs)


class GivesCopies(Loads):
    class loaded(LoadedClip):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._parameters = {key: tensor.clone() for key, tensor in self._parameters.items()}


class EncodesWithoutGrad(Loads):
    class loaded(LoadedClip):
        @torch.no_grad()
        def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
            return super().encode_images(inputs)


class AlwaysFloat32(TransformersClip):
    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Any]) -> LoadedClip:
        return super().load(files, device=device, dtype="float32", towers=towers)


class HalfEmbeddings(Loads):
    class loaded(LoadedClip):
        def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
            return super().encode_texts(inputs).to(self.module.dtype)


class CachesWeights(TransformersClip):
    """Reads the weights of whatever was opened first."""

    first: ModelFiles | None = None

    def load(self, files: ModelFiles, *, device: str, dtype: str, towers: Sequence[Any]) -> LoadedClip:
        CachesWeights.first = CachesWeights.first or files
        return super().load(CachesWeights.first, device=device, dtype=dtype, towers=towers)


class WritesOverFiles(TransformersClip):
    def save_beside(self, files: ModelFiles, folder: Path) -> None:
        (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")


BROKEN = {
    MissingModule: ("sites are live tensors", "projection"),
    OtherModule: ("sites are live tensors", "layers.1.self_attn.out_proj holds no text_model.encoder.layers.0"),
    WrongShape: ("sites are live tensors", "shape (32, 32), not (32, 31)"),
    WrongKey: ("sites are live tensors", "has no tensor text_model.encoder.layers.0.self_attn.out.weight"),
    GivesCopies: ("sites are live tensors", "holds no"),
    ReadsFiles: ("sites are listed without weights", "config.json"),
    SameName: ("sites are listed without weights", "2 sites are called text:attn.out[1]"),
    NoSuchTarget: ("default targets match sites", "vision:mlp.out[9]"),
    Elsewhere: ("a tower names its tensors", "the checkpoint has no ['clip.text_model"),
    LeavesOutProjections: ("a tower names its tensors", "text:proj: text_projection.weight is not among"),
    Pooled: ("every site is observed once", "tokens, pooled=True"),
    NeverRuns: ("every site is observed once", f"{OUT} ran 0 times in the text tower"),
    OtherTower: ("a tower names its tensors", "vision:attn.out[7]: text_model.encoder.layers.0.self_attn.out_proj"),
    Transposed: ("every site is observed once", "its outputs are not x W^T (+ b)"),
    Unnormalised: ("embeddings are normalised", "lengths"),
    ChangesWhenRun: ("observing changes nothing", "text embeddings differ after observing"),
    LooksAtNeighbours: ("an item alone embeds as in a batch", "vision"),
    ReadsPadding: ("an item alone embeds as in a batch", "text"),
    OtherProcessing: ("embeddings are the librarys", "vision"),
    LoneTowerDiffers: ("each tower loads alone", "vision alone"),
    ClaimsBothTowers: ("each tower loads alone", "its towers are ('text', 'vision')"),
    CachesWeights: ("an edit of files is that of the live model", "loaded from files"),
    WritesOverFiles: ("reverting restores every byte", "config.json differs"),
    AlwaysFloat32: ("every dtype loads", "torch.float32, loaded in float16"),
    HalfEmbeddings: ("every dtype loads", "text embeddings in float16 are torch.float16"),
    EncodesWithoutGrad: ("gradients reach the weights", "vision embeddings have no gradient by vision:mlp.out[0]"),
}


def host_of(adapter: type, family: str = "clip") -> Host:
    target = f"{__name__}:{adapter.__name__}"
    spec = AdapterSpec(name="broken", summary="breaks one clause", target=target, model_types=(family,))
    return Host(pluggy.PluginManager("editkit"), {("adapter", "broken"): Component(spec, "tests")})


@pytest.mark.parametrize("adapter", BROKEN, ids=lambda adapter: adapter.__name__)
def test_a_broken_clause_is_named_with_what_was_found(adapter: type, clip_folder: Path) -> None:
    clause, found = BROKEN[adapter]
    with pytest.raises(ContractError) as caught:
        library = plain_transformers if adapter is OtherProcessing else None
        check_adapter("broken", clip_folder, library=library, host=host_of(adapter))
    assert f"breaks '{clause}" in caught.value.problem
    assert found in caught.value.problem
    assert str(caught.value).count("\n") == 1 and caught.value.remedy


def test_a_source_that_leads_elsewhere_breaks_the_first_clause(clip_folder: Path) -> None:
    with pytest.raises(ContractError, match="breaks 'the source leads to it'.*leads to the adapter 'clip'"):
        check_adapter("open_clip", clip_folder)
    with pytest.raises(ContractError, match="breaks 'the source leads to it'.*No installed adapter knows"):
        check_adapter("broken", clip_folder, host=host_of(TransformersClip, family="siglip"))


def test_the_subclass_that_changes_nothing_keeps_the_contract(clip_folder: Path) -> None:
    check_adapter("broken", clip_folder, host=host_of(Altered))
