"""Repositories in transformers' format as they are on the hub: small random models, published names of all there is.

Files that no command may need (TensorFlow's, Flax's, ONNX) are the right names with a signature and noise.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch
from llava_models import tiny_llava
from safetensors.torch import load_file, save_file
from siglip_models import sentencepiece_tokenizer, tiny_naflex, tiny_siglip, tiny_siglip2
from torch import Tensor

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
WIDTH, LAYERS, CONTEXT, WORDS, PATCHES = 32, 2, 77, 49408, 4
SIGNATURES = {".h5": b"\x89HDF\r\n\x1a\n", ".msgpack": b"\xde\x00\x03", ".onnx": b"\x08\x07\x12\x07pytorch"}
TENSORFLOW_AND_FLAX = ("tf_model.h5", "flax_model.msgpack")


def surround(folder: Path, *, licence: str = "mit") -> None:
    """Write what every repository has: a card and git's attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\nlicense: {licence}\ntags:\n- vision\n---\n\n# Model card\n")
    patterns = ("*.bin", "*.h5", "*.safetensors", "*.msgpack", "*.onnx", "*.model", "*.zip")
    (folder / ".gitattributes").write_text("".join(f"{one} filter=lfs diff=lfs merge=lfs -text\n" for one in patterns))


def unread(folder: Path, *names: str) -> None:
    """Write files of formats that are never read here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SIGNATURES.get(Path(name).suffix, b"") + name.encode() * 100)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def archive(folder: Path, tensors: Mapping[str, Tensor], *, shards: int = 1, name: str = "pytorch_model") -> None:
    """Write a `.bin` file, or several and their index."""
    if shards == 1:
        torch.save(dict(tensors), folder / f"{name}.bin")
        return
    places = {key: f"{name}-{i * shards // len(tensors) + 1:05d}-of-{shards:05d}.bin" for i, key in enumerate(tensors)}
    for file in sorted(set(places.values())):
        torch.save({key: tensor for key, tensor in tensors.items() if places[key] == file}, folder / file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / f"{name}.bin.index.json", {"metadata": {"total_size": size}, "weight_map": places})


# CLIP


def clip_config(act: str = "quick_gelu") -> dict[str, Any]:
    """The config.json of openai's models, of 2 layers a tower; its end of text is 2, where the tokenizer's is 49407."""
    small = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": 2,
        "num_hidden_layers": LAYERS,
    }
    shared = {**small, "hidden_act": act, "layer_norm_eps": 1e-05, "attention_dropout": 0.0, "projection_dim": 24}
    if act != "quick_gelu":  # the two `_dict`s win over what is beside them, with defaults for what they do not say
        small |= {"hidden_act": act}
    shared |= {"architectures": None, "initializer_factor": 1.0, "initializer_range": 0.02, "return_dict": True}
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    text = {"model_type": "clip_text_model", "vocab_size": WORDS, "max_position_embeddings": CONTEXT, **ends}
    vision = {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14, "num_channels": 3}
    return {
        "_name_or_path": "clip-vit-large-patch14/",
        "architectures": ["CLIPModel"],
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "clip",
        "projection_dim": 24,
        "text_config": shared | text,
        "text_config_dict": small | {"projection_dim": 24},
        "torch_dtype": "float32",
        "transformers_version": None,
        "vision_config": shared | vision,
        "vision_config_dict": small | {"image_size": 28, "patch_size": 14, "projection_dim": 24},
    }


def clip_tensors(act: str = "quick_gelu", seed: int = 0) -> dict[str, Tensor]:
    """The state of such a model, with the buffers `position_ids` that old checkpoints hold."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(**clip_config(act)))
    with torch.no_grad():  # the library starts biases at 0 and scales at 1: trained ones are neither
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    with TemporaryDirectory() as place:  # saved tensors have the published names, live ones need not
        model.save_pretrained(place)
        tensors = load_file(Path(place) / "model.safetensors")
    positions = {"text_model": CONTEXT, "vision_model": PATCHES + 1}
    buffers = {f"{tower}.embeddings.position_ids": torch.arange(n)[None] for tower, n in positions.items()}
    return dict(sorted((tensors | buffers).items()))


@cache
def clip_processing() -> dict[str, bytes]:
    """Tokenizer and image settings of openai's models: the whole vocabulary, which open_clip brings."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    known = SimpleTokenizer()
    merges = [pair for pair, _ in sorted(known.bpe_ranks.items(), key=lambda one: one[1])]
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    ends |= {"pad_token": "<|endoftext|>"}
    vocabulary = {**known.encoder}
    for ours, theirs in (("<start_of_text>", "<|startoftext|>"), ("<end_of_text>", "<|endoftext|>")):
        vocabulary[theirs] = vocabulary.pop(ours)
    settings = {"model_max_length": CONTEXT, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, **ends}
    images = {"crop_size": 28, "size": 28, "resample": 3, "image_mean": MEAN, "image_std": STD}
    images |= {"do_center_crop": True, "do_normalize": True, "do_resize": True}
    with TemporaryDirectory() as place:
        CLIPTokenizer(vocab=vocabulary, merges=merges, **ends, model_max_length=CONTEXT).save_pretrained(place)
        whole = (Path(place) / "tokenizer.json").read_bytes()
    return {
        "tokenizer.json": whole,
        "tokenizer_config.json": json.dumps(settings).encode(),
        "special_tokens_map.json": json.dumps(ends).encode(),
        "vocab.json": json.dumps(vocabulary).encode(),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]).encode(),
        "preprocessor_config.json": json.dumps({**images, "feature_extractor_type": "CLIPFeatureExtractor"}).encode(),
    }


def clip(
    folder: Path,
    *,
    safetensors: bool = True,
    shards: int = 1,
    others: tuple[str, ...] = TENSORFLOW_AND_FLAX,
    act: str = "quick_gelu",
    seed: int = 0,
) -> None:
    """Like openai/clip-vit-large-patch14.

    Args:
        shards: how many `.bin` files; 0: none.
        others: files in formats of other libraries.
    """
    surround(folder)
    tensors = clip_tensors(act, seed)
    write_json(folder / "config.json", clip_config(act))
    for name, content in clip_processing().items():
        (folder / name).write_bytes(content)
    if safetensors:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if shards:
        archive(folder, tensors, shards=shards)
    unread(folder, *others)


def clip_without_tokenizer(folder: Path) -> None:
    """Like aimagelab/safeclip_vit-l_14: another model's weights in the same settings, and nothing to prepare inputs."""
    surround(folder, licence="cc-by-nc-4.0")
    tensors = {key: tensor for key, tensor in clip_tensors(seed=1).items() if not key.endswith("position_ids")}
    write_json(folder / "config.json", clip_config() | {"_name_or_path": "openai/clip-vit-large-patch14"})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def onnx_only(folder: Path) -> None:
    """Like Xenova/clip-vit-base-patch32: another runtime's weights alone."""
    clip(folder, safetensors=False, shards=0, others=())
    for part in ("model", "text_model", "vision_model"):
        unread(folder, f"onnx/{part}.onnx", f"onnx/{part}_fp16.onnx", f"onnx/{part}_quantized.onnx")
    write_json(folder / "quantize_config.json", {"per_channel": False, "reduce_range": False})


def finetuned(folder: Path) -> None:
    """A model of somebody's own as a training leaves it, with everything pushed."""
    clip(folder, shards=0, others=())
    tensors = clip_tensors()
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    save_file(half, folder / "model.fp16.safetensors", metadata={"format": "pt"})
    archive(folder, half, name="model.fp16")
    arguments = {"learning_rate": 1e-5, "output_dir": "out"}
    for name in ("training_args.bin", "checkpoint-500/training_args.bin", "checkpoint-500/scheduler.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        torch.save(arguments, folder / name)
    torch.save({"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": []}, folder / "checkpoint-500/optimizer.pt")
    (folder / "checkpoint-500" / "rng_state.pth").write_bytes(pickle.dumps([1, 2, 3]))
    write_json(folder / "checkpoint-500" / "trainer_state.json", {"global_step": 500, "log_history": []})
    shutil.copyfile(folder / "config.json", folder / "checkpoint-500" / "config.json")
    save_file(clip_tensors(seed=2), folder / "checkpoint-500" / "model.safetensors", metadata={"format": "pt"})
    with ZipFile(folder / "weights.zip", "w") as file:
        file.writestr("model.bin", b"zipped" * 100)
    unread(folder, "runs/Jan01_00-00-00/events.out.tfevents.1700000000.host.1.0")


# SigLIP and LLaVA


def siglip(folder: Path, write: Callable[[Path], object]) -> None:
    """Like google's: one file of weights, a tokenizer in both its formats."""
    write(folder)
    surround(folder, licence="apache-2.0")
    write_json(folder / "special_tokens_map.json", {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"})


def llava(folder: Path) -> None:
    """Like llava-hf/llava-1.5-7b-hf: three shards and their index, the language model's tokenizer."""
    tiny_llava(folder)
    surround(folder, licence="llama2")
    write_json(folder / "added_tokens.json", {"<image>": 4, "<pad>": 3})
    write_json(folder / "special_tokens_map.json", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    with TemporaryDirectory() as place:
        sentencepiece_tokenizer(Path(place))
        shutil.copyfile(Path(place) / "spiece.model", folder / "tokenizer.model")


# Families that nobody here knows


def unknown_family(folder: Path, model_type: str = "florence2", *, code: bool = False) -> None:
    """Like microsoft/Florence-2-base; with `code` it brings Python files of its own, which `auto_map` names."""
    surround(folder)
    name = model_type.title()
    config: dict[str, Any] = {"architectures": [f"{name}ForConditionalGeneration"], "model_type": model_type}
    config |= {"projection_dim": 24, "vocab_size": 100, "torch_dtype": "float16", "transformers_version": "4.41.0"}
    config |= {"vision_config": {"model_type": "davit", "dim_embed": [8, 16]}, "text_config": {"d_model": 24}}
    if code:
        parts = {"AutoConfig": "configuration", "AutoModelForCausalLM": "modeling", "AutoProcessor": "processing"}
        config["auto_map"] = {auto: f"{part}_{model_type}.{name}" for auto, part in parts.items()}
        for part in parts.values():
            (folder / f"{part}_{model_type}.py").write_text('raise SystemExit("code of a repository was run")\n')
    write_json(folder / "config.json", config)
    torch.manual_seed(0)
    shapes = {"image_projection": (16, 24), "vision_tower.convs.0.proj.weight": (8, 3, 7, 7)}
    shapes |= {f"language_model.model.{part}.layers.0.fc1.weight": (48, 24) for part in ("decoder", "encoder")}
    tensors = {key: torch.randn(shape) for key, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    archive(folder, tensors)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "preprocessor_config.json"):
        (folder / file).write_bytes(clip_processing()[file])


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "openai/clip-vit-large-patch14": clip,
    "openai/clip-vit-base-patch16": partial(clip, safetensors=False),
    "someone/clip-vit-base-patch16-onnx": partial(clip, others=("onnx/model.onnx", "onnx/model_quantized.onnx")),
    "Xenova/clip-vit-base-patch32": onnx_only,
    "someone/clip-sharded-bin": partial(clip, safetensors=False, shards=3, others=()),
    "someone/clip-finetuned": finetuned,
    "aimagelab/safeclip_vit-l_14": clip_without_tokenizer,
    "google/siglip-so400m-patch14-384": partial(siglip, write=tiny_siglip),
    "google/siglip2-base-patch16-224": partial(siglip, write=tiny_siglip2),
    "google/siglip2-base-patch16-naflex": partial(siglip, write=tiny_naflex),
    "llava-hf/llava-1.5-7b-hf": llava,
    "florence-community/Florence-2-base": unknown_family,
    "microsoft/Florence-2-base": partial(unknown_family, code=True),
}
"""By hub id."""
