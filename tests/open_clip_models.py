"""Tiny random open_clip and timm models on disk, from the configurations of published ones, and the libraries alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from models import elements
from safetensors.torch import save_file
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from editkit.models.architecture import without_memory


def _vocabulary_once() -> None:
    """Have open_clip read its vocabulary once a process: that is a tenth of a second for each of hundreds of models."""
    tokenizer = open_clip.tokenizer.SimpleTokenizer
    make = tokenizer.__init__
    made: dict[str, Any] = {}

    def init(self: Any, *args: Any, **settings: Any) -> None:
        key = repr((args, sorted(settings.items())))
        if key not in made:
            make(self, *args, **settings)
            made[key] = dict(vars(self))
        vars(self).update(made[key], cache=dict(made[key]["cache"]))

    tokenizer.__init__ = init


_vocabulary_once()
SMALL_VIT = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 32, "patch_size": 8}
SMALL_TEXT = {"width": 32, "heads": 2, "layers": 2}


def tiny_vit(architecture: str, **arguments: Any) -> Any:
    """A small random model of one of timm's architectures, with no parameter at 0 or 1, as trained ones have none."""
    torch.manual_seed(0)
    return perturbed(timm.create_model(architecture, pretrained=False, **{**SMALL_VIT, **arguments}))


def perturbed(model: Any) -> Any:
    """The same model in evaluation mode, with noise on every parameter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


# open_clip builds timm's models by their names alone, so small ones need names

default_cfgs = generate_default_cfgs(
    {
        "vit_editkit_plain.noise": {
            "input_size": (3, 32, 32),
            "mean": (0.4, 0.5, 0.6),
            "std": (0.3, 0.2, 0.1),
            "num_classes": 5,
            "fixed_input_size": True,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def vit_editkit_plain(pretrained: bool = False, **given: Any) -> Any:
    """A small vit_base_patch16_224, with published weights that say how images are prepared."""
    return build_model_with_cfg(VisionTransformer, "vit_editkit_plain", pretrained, **{**SMALL_VIT, **given})


@register_model
def vit_editkit_clip(pretrained: bool = False, **given: Any) -> Any:
    """A small vit_large_patch14_clip_224, the tower of MobileCLIP2-L-14."""
    return timm.create_model("vit_large_patch14_clip_224", pretrained=pretrained, **{**SMALL_VIT, **given})


@register_model
def vit_editkit_gap(pretrained: bool = False, **given: Any) -> Any:
    """A small vit_medium_patch16_gap_256."""
    return timm.create_model("vit_medium_patch16_gap_256", pretrained=pretrained, **{**SMALL_VIT, **given})


@register_model
def vit_editkit_siglip(pretrained: bool = False, **given: Any) -> Any:
    """A small vit_so400m_patch14_siglip_384, as siglip_models.py has it: the image is no multiple of the patch."""
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 48, "patch_size": 14, "mlp_ratio": 40 / 24}
    return timm.create_model("vit_so400m_patch14_siglip_384", pretrained=pretrained, **{**small, **given})


def settings_like(published: str, *, vision: dict[str, Any], text: dict[str, Any], embed_dim: int) -> dict[str, Any]:
    """A published architecture's configuration, with less of everything."""
    settings = open_clip.get_model_config(published)
    return {
        **settings,
        "embed_dim": embed_dim,
        "vision_cfg": {**settings["vision_cfg"], **vision},
        "text_cfg": {**settings["text_cfg"], **SMALL_TEXT, **text},
    }


def own_vision() -> dict[str, Any]:
    """A small vision transformer of open_clip's own."""
    return {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "mlp_ratio": 2.0}


def siglip_settings() -> dict[str, Any]:
    """A small ViT-SO400M-14-SigLIP-384."""
    return settings_like(
        "ViT-SO400M-14-SigLIP-384",
        embed_dim=24,
        vision={"timm_model_name": "vit_editkit_siglip", "image_size": 48},
        text={"width": 24, "heads": 2, "layers": 2, "vocab_size": 400, "mlp_ratio": 40 / 24},
    )


def write_folder(
    folder: Path,
    settings: dict[str, Any],
    *,
    tokenizer: Callable[[Path], None] | None = None,
    preprocess: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
) -> Path:
    """A folder as the hub has them: `open_clip_config.json`, `open_clip_model.safetensors` and tokenizer files.

    Args:
        tensors: None: random ones.
    """
    folder.mkdir(parents=True)
    config = {"model_cfg": settings, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(tensors or random_tensors(settings), folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer(folder)
    return folder


def random_tensors(settings: dict[str, Any]) -> dict[str, Tensor]:
    """The state of a random model of an architecture."""
    torch.manual_seed(0)
    config = {name: value for name, value in settings.items() if name != "custom_text"}
    model = perturbed(kind_of(settings)(**config))
    with torch.no_grad():
        model.logit_scale.fill_(2.3)  # SigLIP's are about 4.7 and -16: here probabilities are far from 0
        if model.logit_bias is not None:
            model.logit_bias.fill_(-1.7)
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def outline(settings: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of an architecture's tensors, built without memory for them."""
    config = {name: value for name, value in settings.items() if name != "custom_text"}
    with without_memory():
        model = kind_of(settings)(**config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def kind_of(settings: dict[str, Any]) -> Any:
    """The class that open_clip builds of an architecture."""
    if "multimodal_cfg" in settings:
        return open_clip.CoCa
    custom = settings.get("custom_text") or "hf_model_name" in settings["text_cfg"]
    return open_clip.CustomTextCLIP if custom else open_clip.CLIP


def sparse_checkpoint(place: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A checkpoint in full size: a true header, and zeros that take no space on the disk."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for key, shape in shapes.items():
        end = at + 2 * prod(shape)
        head[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with place.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return place


def add_architecture(folder: Path, name: str, settings: dict[str, Any]) -> str:
    """Make an architecture known to open_clip, by its own means: its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder / f"{name}.json")
    return name


HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def tiny_open_clip_siglip(folder: Path) -> Path:
    """Like timm/ViT-SO400M-14-SigLIP-384: timm's tower that pools by attention, T5's tokens, captions filled to 64."""
    return write_folder(folder, siglip_settings(), tokenizer=t5_tokenizer, preprocess=HALF)


def t5_tokenizer(folder: Path) -> None:
    """Write a `T5Tokenizer` as timm/ViT-B-16-SigLIP has it: the end of text is its padding too, id 1."""
    from transformers import T5Tokenizer

    tokenizer = T5Tokenizer(
        vocab=list(pieces()), eos_token="</s>", pad_token="</s>", unk_token="<unk>", extra_ids=0, model_max_length=64
    )
    tokenizer.save_pretrained(folder)


def mt5_tokenizer(folder: Path, *, padding_side: str = "right") -> None:
    """Write a `T5Tokenizer` as google/mt5-base has it: padding 0, end of text 1."""
    from transformers import T5Tokenizer

    T5Tokenizer(vocab=list(pieces()), extra_ids=0, padding_side=padding_side).save_pretrained(folder)


def bert_tokenizer(folder: Path) -> None:
    """Write a `BertTokenizer` as bert-base-uncased has it: padding 0, [CLS] first and [SEP] last."""
    from transformers import BertTokenizer

    BertTokenizer(vocab=dict(_word_pieces())).save_pretrained(folder)


def library_model(source: str | Path) -> tuple[Any, Any, Any]:
    """A checkpoint or a folder loaded by open_clip alone: model, image transform, tokenizer."""
    name, _, weights = str(source).removeprefix("open_clip:").partition("@")
    name = name if weights else f"local-dir:{source}"
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=weights or None)
    return model.eval(), transform, open_clip.get_tokenizer(name)


def plain_open_clip(source: str) -> Callable[..., Tensor]:
    """What embeds raw captions and images with open_clip alone."""
    model, transform, tokenizer = library_model(source)

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        with torch.no_grad():
            if tower == "text":
                return model.encode_text(tokenizer(list(items)))
            return model.encode_image(torch.stack([transform(item) for item in items]))

    return embed


def _captions() -> list[str]:
    return [element[side] for element in elements("calibration") for side in ("safe", "nsfw")]


@cache
def pieces() -> tuple[tuple[str, float], ...]:
    """The vocabulary of a small unigram tokenizer, with the scores of its pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(_captions(), trainer)
    return tuple((piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"])


@cache
def _word_pieces() -> tuple[tuple[str, int], ...]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        _captions(), trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    return tuple(sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]))
