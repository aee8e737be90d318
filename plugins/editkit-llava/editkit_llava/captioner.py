"""A whole vision-language model that says what images show."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editkit.plugin import ModelError, ModelFiles, fill_architecture, library_errors
from editkit_llava.architecture import drops_first_token, part_type
from editkit_llava.families import Family, family_of
from editkit_llava.names import live_name
from editkit_llava.processing import require_fit, require_vocabulary

if TYPE_CHECKING:
    from PIL import Image

GENERATION = "generation_config.json"


class LlavaCaptioner:
    """A LLaVA, or another of its kind, with its processor, and the folder of what did not fit on the devices, if any.

    The released prompt is a bare question. Here it stands in the turn of a conversation, as the model was trained to be
    asked: in the form that the folder's chat template gives, or the family's own where there is none.
    """

    def __init__(
        self, module: Any, processor: Any, family: Family, offloaded: TemporaryDirectory[str] | None = None
    ) -> None:
        self.module = module
        self.prompt = family.prompt
        self._turn = family.conversation
        self._offloaded = offloaded  # lives as long as the model that reads from it
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
    """Load a whole model from its checkpoint's own tensors; `device_map` in place of `device` spreads it over several.

    Raises:
        ModelError: a tensor, the tokenizer or the image processor is missing, or does not fit the configuration.
    """
    from transformers import AutoProcessor, GenerationConfig

    folder, family = files.checkpoint.root, family_of(files.config)
    offloaded = TemporaryDirectory(prefix="editkit-") if device_map else None
    with library_errors(f"The model {files.source} cannot be loaded"):
        require_vocabulary(files.source, folder)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        config = family.whole().config_class.from_dict(dict(files.config))
        require_fit(files.source, config, processor.tokenizer, processor.image_processor)
        if getattr(processor, "patch_size", 0) is None:  # folders that are older than these settings
            processor.patch_size = files.config["vision_config"]["patch_size"]
            processor.vision_feature_select_strategy = "default" if drops_first_token(files.config) else "full"
            processor.num_additional_image_tokens = int(part_type(files.config, "vision_config") == "clip_vision_model")
        place, spread = offloaded.name if offloaded else None, device_map or device
        module = fill_architecture(family.whole(), files, dtype=dtype, device_map=spread, offload_folder=place)
        if (folder / GENERATION).is_file():
            module.generation_config = GenerationConfig.from_pretrained(folder)
    return LlavaCaptioner(module.eval().requires_grad_(requires_grad=False), processor, family, offloaded)
