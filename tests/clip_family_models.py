"""Tiny random models of CLIP's family in the settings of published ones: its kin, single towers, parts of pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hub_transformers_repositories import MEAN, STD, clip_processing
from safetensors.torch import load_file, save_file
from torch import Tensor

BLOCKS = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
ENDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
TEXT = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "hidden_act": "quick_gelu",
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "projection_dim": 24,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": 49408,
    **ENDS,
    **BLOCKS,
}
"""Of Stable Diffusion's text_encoder/config.json; its end of text is 2, where the tokenizer's is 49407."""
VISION = {
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "hidden_act": "gelu",
    "image_size": 28,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_channels": 3,
    "patch_size": 14,
    "projection_dim": 24,
    "torch_dtype": "float16",
    "transformers_version": "4.28.0.dev0",
    **BLOCKS,
}
"""Of IP-Adapter's image_encoder/config.json."""
TEXT_WORDS = """
a an the of on in at and with two people person dog cat bird red green bicycle leans against old brick wall share meal
night stop street car house tree
"""
WORDS = tuple(TEXT_WORDS.split())


def perturbed(kind: Any, config: Any, seed: int = 0) -> Any:
    """A random model with no parameter at 0 or 1, as trained ones have none."""
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write(
    folder: Path, architecture: str, config: Mapping[str, Any], rename: Callable[[str], str] = str, seed: int = 0
) -> Path:
    """Write a model as `save_pretrained` does, with another's `config.json` and under other names of its tensors."""
    import transformers

    kind = getattr(transformers, architecture)
    perturbed(kind, kind.config_class.from_dict(dict(config)), seed).save_pretrained(folder)
    tensors = {rename(key): tensor for key, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [architecture]}, indent=2))
    return folder


# Towers alone


def tiny_text_encoder(folder: Path, *, projected: bool = False, published: bool = True, seed: int = 0) -> Path:
    """Like Stable Diffusion's text_encoder, or with a projection SDXL's text_encoder_2; no tokenizer is with it."""
    prefix = "text_model." if published and not projected else ""
    architecture = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    config = {**TEXT, **({"hidden_act": "gelu"} if projected else {})}
    return write(folder, architecture, config, lambda key: prefix + key, seed)


def tiny_image_encoder(folder: Path, *, projected: bool = True, published: bool = True) -> Path:
    """Like IP-Adapter's image_encoder; without a projection, a tower that LLaVA was made of."""
    prefix = "vision_model." if published and not projected else ""
    architecture = "CLIPVisionModelWithProjection" if projected else "CLIPVisionModel"
    return write(folder, architecture, VISION, lambda key: prefix + key)


def write_tokenizer(folder: Path) -> Path:
    """Write CLIP's tokenizer as pipelines hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in clip_processing().items():
        if name != "preprocessor_config.json":
            (folder / name).write_bytes(content)
    return folder


def write_image_processor(folder: Path) -> Path:
    """Write CLIP's image settings as pipelines hold them, in `feature_extractor`."""
    folder.mkdir(parents=True, exist_ok=True)
    size = {"crop_size": {"height": 28, "width": 28}, "size": {"shortest_edge": 28}, "resample": 3}
    settings = {**size, "image_mean": MEAN, "image_std": STD, "feature_extractor_type": "CLIPFeatureExtractor"}
    settings |= {f"do_{step}": True for step in ("center_crop", "convert_rgb", "normalize", "rescale", "resize")}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"rescale_factor": 1 / 255}))
    return folder


def tiny_pipeline(folder: Path) -> Path:
    """The parts of a pipeline like SDXL's with IP-Adapter that editkit may edit, and what prepares their inputs."""
    tiny_text_encoder(folder / "text_encoder")
    tiny_text_encoder(folder / "text_encoder_2", projected=True)
    tiny_image_encoder(folder / "image_encoder")
    for name in ("tokenizer", "tokenizer_2"):
        write_tokenizer(folder / name)
    write_image_processor(folder / "feature_extractor")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    return folder


def plain_tower(source: str) -> Callable[..., Tensor]:
    """What embeds with the tower's own class of transformers alone, an item at a time."""
    import transformers

    folder = Path(source)
    kind = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    model.eval()

    def place(own: str, beside: str) -> Path:
        suffix = folder.name.removeprefix("text_encoder") if beside == "tokenizer" else ""
        return folder if (folder / own).exists() else folder.parent / f"{beside}{suffix}"

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        if tower == "text":
            tokenizer = transformers.CLIPTokenizer.from_pretrained(place("tokenizer.json", "tokenizer"))
            made = [{"input_ids": tokenizer(item, return_tensors="pt")["input_ids"]} for item in items]
        else:
            settings = place("preprocessor_config.json", "feature_extractor")
            processor = transformers.CLIPImageProcessor.from_pretrained(settings)
            made = [dict(processor(images=item, return_tensors="pt")) for item in items]
        with torch.no_grad():
            return torch.cat([_first(model(**one)) for one in made])

    return embed


def _first(output: Any) -> Tensor:
    names = ("text_embeds", "image_embeds", "pooler_output")
    found: Tensor = output[next(name for name in names if output.get(name) is not None)]
    return found


# Kin


def tiny_metaclip2(folder: Path) -> Path:
    """Like facebook/metaclip-2-worldwide-huge-quickgelu: XLM-R's vocabulary in a causal text tower."""
    text = {**TEXT, "_name_or_path": "", "model_type": "metaclip_2_text_model", "vocab_size": 100}
    write(folder, "MetaClip2Model", _both("metaclip_2", text, {"model_type": "metaclip_2_vision_model"}))
    _xlm_r(folder)
    return write_image_processor(folder)


def tiny_altclip(folder: Path, *, published: bool = True) -> Path:
    """Like BAAI/AltCLIP: an XLM-R whose blocks are called `layer`; transformers 5 calls those of both towers so."""
    text = {
        **BLOCKS,
        **ENDS,
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 80,
        "model_type": "altclip_text_model",
        "pooler_fn": "cls",
        "position_embedding_type": "absolute",
        "project_dim": 28,
        "type_vocab_size": 1,
        "vocab_size": 100,
    }
    config = _both("altclip", text, {"model_type": "altclip_vision_model"})
    config |= {"direct_kd": False, "text_config_dict": None, "text_model_name": None, "num_layers": 3}
    vision = "vision_model.encoder.layer."

    def rename(key: str) -> str:
        return key.replace(vision, "vision_model.encoder.layers.") if published else key

    write(folder, "AltCLIPModel", config, rename)
    _xlm_r(folder)
    return write_image_processor(folder)


def tiny_chinese_clip(folder: Path) -> Path:
    """Like OFA-Sys/chinese-clip-vit-base-patch16: a BERT that reads captions, pooled at the first token."""
    from transformers import BertTokenizer

    text = {
        **BLOCKS,
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "directionality": "bidi",
        "eos_token_id": None,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 64,
        "model_type": "chinese_clip_text_model",
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "vocab_size": 100,
    }
    write(folder, "ChineseCLIPModel", _both("chinese_clip", text, {"model_type": "chinese_clip_vision_model"}))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"!.,"]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    return write_image_processor(folder)


def plain_clip(source: str) -> Callable[..., Tensor]:
    """What embeds with transformers alone, as its documentation does, an item at a time."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(source).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(source), AutoImageProcessor.from_pretrained(source)

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        rows = []
        for item in items:
            with torch.no_grad():
                if tower == "text":
                    rows.append(model.get_text_features(**tokenizer(item, return_tensors="pt")).pooler_output)
                else:
                    pixels = processor(images=item, return_tensors="pt")["pixel_values"]
                    rows.append(model.get_image_features(pixel_values=pixels).pooler_output)
        return torch.cat(rows)

    return embed


def _both(model_type: str, text: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": model_type,
        "projection_dim": 24,
        "text_config": dict(text),
        "torch_dtype": "float32",
        "vision_config": {**VISION, "hidden_act": "quick_gelu", **vision},
    }


def _xlm_r(folder: Path) -> None:
    from transformers import XLMRobertaTokenizer

    special = [(word, 0.0) for word in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces = [(f"▁{word}", -1.0) for word in WORDS] + [(letter, -9.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    XLMRobertaTokenizer(vocab=[*special, *pieces, ("<mask>", 0.0)]).save_pretrained(folder)
