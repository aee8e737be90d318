"""What differs between families of vision-language models: their classes, their projector, what they read, a turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from editkit.plugin import Role

Maps = tuple[tuple[Role, str], ...]
TWO_LAYERS: Maps = (("projector.in", "linear_1"), ("projector.out", "linear_2"))
LLAVA_PROMPT = "Question: Please, provide a caption for the image. Answer:"
"""What the paper's released code asks."""


@dataclass(frozen=True)
class Family:
    """One `model_type`.

    Attributes:
        architecture: the class of transformers that holds the whole model.
        projector: the class between vision tower and language model, "module:Name" below `transformers.models`.
        feature_layers: the hidden states that the projector is shown where the config leaves it out, as
            `vision_feature_layer` counts them; None: the last one behind its norm, whatever the config says.
        strategy: "default": without the first token (CLS); "full": all of them; where the config leaves it out.
        maps: the projector's linear maps, by role.
        transposed: a parameter of the projector that is a map by itself, [inputs, outputs]: the role projector.out.
        conversation: the form of a turn, where the folder has no chat template.
        prompt: what it is asked by default.
        image_settings: what the image processor has to be told so that the whole image comes first and alone.
    """

    architecture: str
    projector: str
    feature_layers: int | tuple[int, ...] | None = -2
    strategy: Literal["default", "full"] = "default"
    maps: Maps = TWO_LAYERS
    transposed: str = ""
    conversation: str = "USER: <image>\n{prompt} ASSISTANT:"
    prompt: str = LLAVA_PROMPT
    image_settings: Mapping[str, Any] | None = None

    def whole(self) -> Any:
        """Return the class of transformers that holds the whole model."""
        import transformers

        return getattr(transformers, self.architecture)

    def make_projector(self, config: Any) -> Any:
        """Return the projector of a configuration of the whole model, with weights that mean nothing yet."""
        module, _, name = self.projector.partition(":")
        return getattr(import_module(f"transformers.models.{module}"), name)(config)


IDEFICS = "<|im_start|>User:<image>{prompt}<end_of_utterance>\nAssistant:"
FAMILIES: Mapping[str, Family] = {
    "llava": Family("LlavaForConditionalGeneration", "llava.modeling_llava:LlavaMultiModalProjector"),
    "llava_next": Family(
        "LlavaNextForConditionalGeneration", "llava_next.modeling_llava_next:LlavaNextMultiModalProjector"
    ),
    "llava_next_video": Family(
        "LlavaNextVideoForConditionalGeneration",
        "llava_next_video.modeling_llava_next_video:LlavaNextVideoMultiModalProjector",
    ),
    "llava_onevision": Family(
        "LlavaOnevisionForConditionalGeneration",
        "llava_onevision.modeling_llava_onevision:LlavaOnevisionMultiModalProjector",
        feature_layers=-1,
        strategy="full",
        conversation="<|im_start|>user <image>\n{prompt}<|im_end|><|im_start|>assistant\n",
    ),
    "vipllava": Family(
        "VipLlavaForConditionalGeneration",
        "vipllava.modeling_vipllava:VipLlavaMultiModalProjector",
        feature_layers=(-2, -5, -8, -11, 6),
        conversation="###Human: <image>\n{prompt}###Assistant:",
    ),
    "paligemma": Family(
        "PaliGemmaForConditionalGeneration",
        "paligemma.modeling_paligemma:PaliGemmaMultiModalProjector",
        feature_layers=None,
        maps=(("projector.out", "linear"),),
        conversation="<image>{prompt}",
        prompt="caption en",
    ),
    "gemma3": Family(
        "Gemma3ForConditionalGeneration",
        "gemma3.modeling_gemma3:Gemma3MultiModalProjector",
        feature_layers=None,
        maps=(),
        transposed="mm_input_projection_weight",
        conversation="<start_of_turn>user\n<start_of_image>{prompt}<end_of_turn>\n<start_of_turn>model\n",
    ),
    "idefics3": Family(
        "Idefics3ForConditionalGeneration",
        "idefics3.modeling_idefics3:Idefics3Connector",
        feature_layers=None,
        maps=(("projector.out", "modality_projection.proj"),),
        conversation=IDEFICS,
        image_settings={"do_image_splitting": False},
    ),
    "smolvlm": Family(
        "SmolVLMForConditionalGeneration",
        "smolvlm.modeling_smolvlm:SmolVLMConnector",
        feature_layers=None,
        maps=(("projector.out", "modality_projection.proj"),),
        conversation=IDEFICS,
        image_settings={"do_image_splitting": False},
    ),
}
"""By `model_type`."""


def family_of(config: Mapping[str, Any]) -> Family:
    """Return the family of a config.json."""
    return FAMILIES[str(config.get("model_type", "llava"))]
