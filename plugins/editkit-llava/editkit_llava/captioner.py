"""A whole vision-language model that says what images show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editkit.plugin import ModelError, ModelFiles, library_errors
from editkit_llava.architecture import drops_first_token, part_type
from editkit_llava.families import Family, family_of
from editkit_llava.names import live_name, published_name
from editkit_llava.processing import require_vocabulary

if TYPE_CHECKING:
    from PIL import Image


class LlavaCaptioner:
    """A LLaVA, or another of its kind, with its processor.

    The released prompt is a bare question. Here it stands in the turn of a conversation, as the model was trained to be
    asked: in the form that the folder's chat template gives, or the family's own where there is none.
    """

    def __init__(self, module: Any, processor: Any, family: Family) -> None:
        self.module = module
        self.prompt = family.prompt
        self._turn = family.conversation
        self.device: torch.device = module.device
        self._processor = processor
        self._tensors = {live_name(name): tensor for name, tensor in module.state_dict(keep_vars=True).items()}

    def captions(
        self,
        images: Sequence[Image.Image],
        prompt: str | None = None,
        *,
        temperature: float = 0.0,
        max_new_tokens: int = 64,
        seed: int = 0,
    ) -> list[str]:
        """Return one caption per RGB image, all made in one batch; the same again for the same images and seed.

        Args:
            temperature: 0: the likeliest token each time; else drawn from the model's whole distribution, from `seed`.
        """
        if not images:
            return []
        text = self._conversation(self.prompt if prompt is None else prompt)
        inputs = self._processor(
            images=[[image] for image in images],
            text=[text] * len(images),
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self.device, self.module.dtype)
        # a checkpoint's own sampling settings, and the library's (the 50 likeliest tokens), would be nobody's choice
        drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        devices = list({tensor.device for tensor in self._tensors.values() if tensor.is_cuda})
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            made = self.module.generate(
                **inputs,
                do_sample=temperature > 0,
                num_beams=1,
                max_new_tokens=max_new_tokens,
                pad_token_id=self._processor.tokenizer.pad_token_id,
                **drawn,
            )
        new = made[:, inputs["input_ids"].shape[1] :]
        return [caption.strip() for caption in self._processor.batch_decode(new, skip_special_tokens=True)]

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key.

        Raises:
            ModelError: `device_map` put it where it cannot be changed.
        """
        live: Tensor = self._tensors[live_name(key)]
        if live.is_meta:
            raise ModelError(
                f"{key} did not fit on the devices and is read in when it runs, so no edit can be laid over it.",
                "Use a device with more memory, or apply the patch to a copy of the checkpoint.",
            )
        return live

    def _conversation(self, prompt: str) -> str:
        if not self._processor.chat_template:
            return self._turn.format(prompt=prompt)
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
        return str(self._processor.apply_chat_template([turn], add_generation_prompt=True))


def load_captioner(files: ModelFiles, *, device: str, dtype: str, device_map: Any = None) -> LlavaCaptioner:
    """Load a whole model through transformers; `device_map` in place of `device` spreads it over several.

    Raises:
        ModelError: a tensor, the tokenizer or the image processor is missing, or does not fit the configuration.
    """
    from transformers import AutoProcessor

    folder, family = files.checkpoint.root, family_of(files.config)
    with library_errors(f"The model {files.source} cannot be loaded"):
        require_vocabulary(files.source, folder)
        processor = AutoProcessor.from_pretrained(folder)
        if getattr(processor, "patch_size", 0) is None:  # folders that are older than these settings
            processor.patch_size = files.config["vision_config"]["patch_size"]
            processor.vision_feature_select_strategy = "default" if drops_first_token(files.config) else "full"
            processor.num_additional_image_tokens = int(part_type(files.config, "vision_config") == "clip_vision_model")
        module, info = family.whole().from_pretrained(
            folder, dtype=getattr(torch, dtype), device_map=device_map or device, output_loading_info=True
        )
    if lacking := sorted(map(str, info["missing_keys"] or info["mismatched_keys"])):
        raise ModelError(
            f"{files.source} has no tensor {published_name(live_name(lacking[0]), files.config['model_type'])} of the "
            f"shape that its config.json promises (tensors that are missing: {len(lacking)}).",
            "Check that config.json and the weights belong together, or download the model again.",
        )
    return LlavaCaptioner(module.eval().requires_grad_(requires_grad=False), processor, family)
