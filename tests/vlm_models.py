"""Tiny random vision-language models on disk, in the settings and under the names of published ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from clip_family_models import perturbed
from llava_models import WORDS
from safetensors.torch import load_file, save_file
from torch import Tensor
from vlm_settings import ENDS, PUBLISHED, SPECIAL


def tiny_vlm(folder: Path, name: str, *, published: bool = True, processor: bool = True) -> Path:
    """Write a small model of a family under published names, or under those that transformers 5 gives live modules.

    Args:
        processor: whether all that captioning needs is written, and not only tokenizer and image processor.
    """
    import transformers

    one = PUBLISHED[name]
    kind = getattr(transformers, one.architecture)
    model = perturbed(kind, kind.config_class.from_dict(json.loads(json.dumps(one.config))))
    with torch.no_grad():  # captions are of words, and of what the image shows
        said = model.get_output_embeddings().weight
        said[: len(SPECIAL)] *= 0.01
        said[len(SPECIAL) + len(WORDS) :] *= 0.01
        for key, parameter in model.named_parameters():
            parameter *= 5 if "projector" in key or "connector" in key else 1
    model.generation_config = transformers.GenerationConfig(**ENDS)
    model.save_pretrained(folder)
    if not published:
        tied = {id(tensor): key for key, tensor in reversed(model.state_dict(keep_vars=True).items())}
        tensors = {
            key: tensor.detach() for key, tensor in model.state_dict(keep_vars=True).items() if tied[id(tensor)] == key
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    elif one.config["model_type"] not in ("idefics3", "smolvlm"):
        saved = load_file(folder / "model.safetensors")
        save_file({_published(key): tensor for key, tensor in saved.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**one.config, "architectures": [one.architecture]}, indent=2))
    images = getattr(transformers, one.images)(**one.image_settings)
    images.save_pretrained(folder)
    if processor:
        parts = {"image_processor": images, "tokenizer": _tokenizer(one.named_tokens)}
        if one.videos:
            parts["video_processor"] = getattr(transformers, one.videos)()
        getattr(transformers, one.processor)(**parts, **one.settings).save_pretrained(folder)
        images.save_pretrained(folder)
    else:
        _tokenizer(one.named_tokens).save_pretrained(folder)
    return folder


def plain_vlm(name: str) -> Callable[[str], Callable[..., Tensor]]:
    """What embeds with transformers alone, an item at a time: the mean of what the whole model shows its projector, and
    of the language model's last hidden state."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    def library(source: str) -> Callable[..., Tensor]:
        model, info = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=torch.float32,
            attn_implementation="eager",  # the others let PaliGemma look ahead where there is no padding
            output_loading_info=True,
        )
        assert not any(info.values()), info
        model.eval()
        tokenizer, processor = AutoTokenizer.from_pretrained(source), AutoImageProcessor.from_pretrained(source)
        whole = model.model
        projector, language = (
            (whole.connector, whole.text_model)
            if hasattr(whole, "connector")
            else (whole.multi_modal_projector, whole.language_model)
        )
        shown: list[Tensor] = []
        projector.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))

        def embed(tower: str, items: Sequence[Any]) -> Tensor:
            rows = []
            for item in items:
                with torch.no_grad():
                    if tower == "text":
                        ids = tokenizer(item, return_tensors="pt")["input_ids"]
                        rows.append(language(input_ids=ids, use_cache=False).last_hidden_state.mean(dim=1))
                    else:
                        inputs = processor(images=item, return_tensors="pt", **PUBLISHED[name].shown)
                        model.get_image_features(
                            **{key: held for key, held in inputs.items() if key in ("pixel_values", "image_sizes")}
                        )
                        rows.append(shown.pop()[:1].mean(dim=1))
            return torch.cat(rows)

        return embed

    return library


def _published(key: str) -> str:
    """What checkpoints on the hub call a tensor that transformers saves."""
    if key.startswith("vision_tower.") and not key.startswith("vision_tower.vision_model."):
        return key.replace("vision_tower.", "vision_tower.vision_model.")
    return key


def _tokenizer(named: Mapping[str, str]) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=dict(named) or list(SPECIAL[4:]),
    )


def with_tower(folder: Path, kind: str) -> None:
    """Write a LLaVA's config.json and weights, with a vision tower of another kind, by its name alone."""
    tiny_vlm(folder, "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", processor=False)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "llava", "vision_config": {"model_type": kind, "num_hidden_layers": 2}}
    (folder / "config.json").write_text(json.dumps(config))
