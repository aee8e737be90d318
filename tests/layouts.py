"""Model folders in every layout that people have, by the name of its row in docs/models.md, made of one small CLIP."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hub_transformers_repositories import archive, write_json
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
WEIGHTS, ARCHIVE = "model.safetensors", "pytorch_model.bin"
WORKS: dict[str, Callable[[Path], None]] = {}
"""Given a folder of transformers with one `model.safetensors`, makes the layout of it; the model stays the same."""
REFUSED: dict[str, Callable[[Path], None]] = {}
"""The same of layouts that are refused."""


def layout(
    rows: dict[str, Callable[[Path], None]], name: str
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Enter a builder under the name of its row."""

    def enter(build: Callable[[Path], None]) -> Callable[[Path], None]:
        rows[name] = build
        return build

    return enter


def taken(folder: Path) -> Tensors:
    """Take the weights out of a folder."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    return tensors


def put(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), path, metadata={"format": "pt"})


def other(tensors: Tensors) -> Tensors:
    """Weights of another model: whoever takes them computes other numbers."""
    return {key: tensor + 0.1 for key, tensor in tensors.items()}


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def split(folder: Path, tensors: Tensors, name: str, index: str, *, metadata: bool = True) -> None:
    """Write two shards, `name` with their number in it, and an index."""
    places = {key: name.format(i % 2 + 1) for i, key in enumerate(sorted(tensors))}
    for file in set(places.values()):
        put(folder / file, {key: tensor for key, tensor in tensors.items() if places[key] == file})
    write_json(folder / index, {"weight_map": places, **({"metadata": {"total_size": 1}} if metadata else {})})


def alter(path: Path, **values: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **values})


@layout(WORKS, "`model.safetensors`, beside it TensorFlow's, Flax's, ONNX files and checkpoints of the training")
def twins(folder: Path) -> None:
    for name in ("tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "training_args.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"noise" * 9)
    (folder / "checkpoint-5").mkdir()
    put(folder / "checkpoint-5" / WEIGHTS, other(load_file(folder / WEIGHTS)))


@layout(WORKS, "shards whose index has no `metadata`")
def without_metadata(folder: Path) -> None:
    split(folder, taken(folder), "model-0000{}-of-00002.safetensors", f"{WEIGHTS}.index.json", metadata=False)


@layout(WORKS, "two indexes")
def two_indexes(folder: Path) -> None:
    tensors = taken(folder)
    split(folder, other(tensors), "consolidated-{}.safetensors", "consolidated.safetensors.index.json")
    split(folder, tensors, "model-0000{}-of-00002.safetensors", f"{WEIGHTS}.index.json")


@layout(WORKS, "`pytorch_model.bin`")
def zip_archive(folder: Path) -> None:
    torch.save(taken(folder), folder / ARCHIVE)


@layout(WORKS, "`pytorch_model.bin` of torch before 1.6")
def old_archive(folder: Path) -> None:
    torch.save(taken(folder), folder / ARCHIVE, _use_new_zipfile_serialization=False)


@layout(WORKS, "`.bin` shards and their index")
def archive_shards(folder: Path) -> None:
    archive(folder, taken(folder), shards=3)


@layout(WORKS, "`pytorch_model.fp16.bin` beside `pytorch_model.bin`")
def variant_beside(folder: Path) -> None:
    tensors = taken(folder)
    torch.save(tensors, folder / ARCHIVE)
    torch.save(other(tensors), folder / "pytorch_model.fp16.bin")


@layout(WORKS, "other safetensors beside `pytorch_model.bin`")
def strange_safetensors(folder: Path) -> None:
    tensors = taken(folder)
    torch.save(tensors, folder / ARCHIVE)
    put(folder / "probe.safetensors", {"head.weight": torch.ones(2, 2)})
    put(folder / "earlier.safetensors", other(tensors))


@layout(WORKS, "an adapter (`adapter_model.safetensors`) beside `model.safetensors`")
def adapter_beside(folder: Path) -> None:
    key = "base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_{}.weight"
    put(folder / "adapter_model.safetensors", {key.format("A"): torch.ones(2, 48), key.format("B"): torch.ones(48, 2)})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    write_json(folder / "adapter_config.json", settings | {"base_model_name_or_path": str(folder)})


@layout(WORKS, "an adapter beside `pytorch_model.bin`")
def adapter_beside_archive(folder: Path) -> None:
    adapter_beside(folder)
    zip_archive(folder)


@layout(WORKS, "`model.fp16.safetensors` alone")
def variant_alone(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model.fp16.safetensors")


@layout(WORKS, "shards of a variant alone (`model.safetensors.index.fp16.json`)")
def variant_shards(folder: Path) -> None:
    split(folder, taken(folder), "model.fp16-0000{}-of-00002.safetensors", f"{WEIGHTS}.index.fp16.json")


@layout(WORKS, "`MODEL.SAFETENSORS`")
def capitals(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "MODEL.SAFETENSORS")


@layout(WORKS, "files that are symbolic links")
def links(folder: Path) -> None:
    place = folder.with_name(f"{folder.name}-files")
    folder.rename(place)
    folder.mkdir()
    for file in place.iterdir():
        (folder / file.name).symlink_to(os.path.relpath(file, folder))


@layout(WORKS, "a read-only folder")
def read_only(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


@layout(WORKS, "safetensors saved from DistributedDataParallel (`module.`)")
def from_ddp(folder: Path) -> None:
    put(folder / WEIGHTS, prefixed(taken(folder), "module."))


@layout(WORKS, "safetensors saved from torch.compile (`_orig_mod.`)")
def from_compile(folder: Path) -> None:
    put(folder / WEIGHTS, prefixed(taken(folder), "_orig_mod."))


@layout(WORKS, "an archive saved from FullyShardedDataParallel (`_fsdp_wrapped_module.`)")
def from_fsdp(folder: Path) -> None:
    tensors = taken(folder)
    wrapped = {key.replace(".layers.0.", ".layers.0._fsdp_wrapped_module."): tensor for key, tensor in tensors.items()}
    torch.save(prefixed(wrapped, "_fsdp_wrapped_module."), folder / ARCHIVE)


@layout(WORKS, "a checkpoint of Lightning (`state_dict` of `model.`)")
def from_lightning(folder: Path) -> None:
    content = {"epoch": 3, "pytorch-lightning_version": "2.4.0", "state_dict": prefixed(taken(folder), "model.")}
    content["optimizer_states"] = [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}]
    torch.save(content, folder / "last.ckpt")


@layout(WORKS, "an archive that nests the tensors (`model`, `model_state_dict`, `ema`, ...)")
def nested(folder: Path) -> None:
    torch.save({"model_state_dict": taken(folder), "optimizer": {"state": {}}, "epoch": 3}, folder / ARCHIVE)


@layout(REFUSED, "an adapter alone beside `config.json`")
def adapter_alone(folder: Path) -> None:
    adapter_beside(folder)
    (folder / WEIGHTS).unlink()


@layout(REFUSED, "shards without their index")
def no_index(folder: Path) -> None:
    without_metadata(folder)
    (folder / f"{WEIGHTS}.index.json").unlink()


@layout(REFUSED, "an index of `.bin` shards, one of them missing")
def missing_shard(folder: Path) -> None:
    archive_shards(folder)
    (folder / "pytorch_model-00002-of-00003.bin").unlink()


@layout(REFUSED, "several safetensors, none of a library's name")
def several(folder: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copyfile(folder / WEIGHTS, folder / name)
    (folder / WEIGHTS).unlink()


@layout(REFUSED, "an archive with the weights and their moving average")
def two_models(folder: Path) -> None:
    tensors = taken(folder)
    torch.save({"model": tensors, "ema": other(tensors)}, folder / ARCHIVE)


@layout(REFUSED, "a model with code of its own (`auto_map`)")
def own_code(folder: Path) -> None:
    alter(folder / "config.json", auto_map={"AutoModel": "modeling.Own"})


@layout(REFUSED, "tensors that the architecture has not")
def unknown_tensors(folder: Path) -> None:
    tensors = taken(folder)
    put(folder / WEIGHTS, {**tensors, "text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 32)})


@layout(REFUSED, "a tokenizer with more ids than the text tower embeds")
def more_ids(folder: Path) -> None:
    tensors, key = taken(folder), "text_model.embeddings.token_embedding.weight"
    put(folder / WEIGHTS, {**tensors, key: tensors[key][:1500].contiguous()})
    config = json.loads((folder / "config.json").read_text())
    alter(folder / "config.json", text_config=config["text_config"] | {"vocab_size": 1500})


@layout(REFUSED, "a tokenizer with another end of text than the model")
def other_end(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    alter(folder / "config.json", text_config=config["text_config"] | {"eos_token_id": 1520})


@layout(REFUSED, "padding above the end of text where `eos_token_id` is 2")
def padding_above(folder: Path) -> None:
    tensors, key = taken(folder), "text_model.embeddings.token_embedding.weight"
    put(folder / WEIGHTS, {**tensors, key: torch.cat([tensors[key], torch.ones(1, 32)])})
    text = json.loads((folder / "config.json").read_text())["text_config"]
    alter(folder / "config.json", text_config=text | {"vocab_size": len(tensors[key]) + 1, "eos_token_id": 2})
    alter(folder / "tokenizer_config.json", pad_token="<|pad|>")


@layout(REFUSED, "an image processor of another size than the model")
def other_size(folder: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink()
    size = {"size": {"shortest_edge": 72}, "crop_size": {"height": 72, "width": 72}}
    write_json(folder / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **size})
