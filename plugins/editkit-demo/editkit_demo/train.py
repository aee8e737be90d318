"""Train the demo's CLIP model: `python -m editkit_demo.train --art NODE_MODULES_DIR -o DIR [--resume]`.

Plain contrastive training on normally captioned scenes, safe and unsafe, a scene and its unsafe twin in one batch. The
batch of a step depends on seed and step alone, so a run that was cut off goes on as if it had not been.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from editkit_demo.batches import Batch, draw_batch, draw_pairs, rendered_scenes
from editkit_demo.make_data import DATA
from editkit_demo.metrics import measure_split
from editkit_demo.scenes import SIDE
from editkit_demo.tokenizer import MAX_TOKENS, build_tokenizer

SEED = 7
WARMUP_STEPS = 150
WEIGHT_DECAY = 0.05
LARGEST_SCALE = math.log(100)  # of the logits, as in CLIP


def main() -> None:
    """Parse the command line, train, and save the model with its measurements."""
    options = _parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    options.output.mkdir(parents=True, exist_ok=True)
    processor = build_processor()
    model = build_model(processor.tokenizer)
    # on a CPU, in bfloat16, three times as fast as the fused kernel's backward pass
    model.set_attn_implementation("eager")
    pairs = draw_pairs(options.tuples, SEED)
    images = rendered_scenes(options.art, options.output / f"scenes-{options.tuples}.npy", pairs, SEED)
    _check_preprocessing(processor, images[0, 0].copy())
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=options.rate, betas=(0.9, 0.98), fused=True)
    progress = Progress(options.output / "checkpoint.pt", model, optimizer)
    if options.resume:
        progress.load()
    model.train()
    started = time.monotonic() - progress.seconds
    running = 0.0
    while progress.step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = options.rate * learning_rate_share(progress.step, options.steps)
        batch = draw_batch(images, pairs, options.batch, random.Random(f"{SEED}-{progress.step}"))
        loss = contrastive_loss(model, processor, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(max=LARGEST_SCALE)
        progress.step += 1
        progress.seconds = time.monotonic() - started
        running += (loss.item() - running) / min(20, progress.step)
        if progress.step % 20 == 0:
            print(f"step {progress.step} loss {running:.3f} {progress.seconds:.0f} s", flush=True)
        if progress.step % options.every == 0:
            progress.save()
            _report(model, processor, options.output, ["validation"], progress)
    _report(model, processor, options.output, ["validation", "test"], progress)


class Progress:
    """A training run that can be cut off: the step reached, the seconds spent, weights and optimizer state."""

    def __init__(self, file: Path, model: CLIPModel, optimizer: torch.optim.Optimizer) -> None:
        self.file, self.model, self.optimizer = file, model, optimizer
        self.step, self.seconds = 0, 0.0

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.file.with_suffix(".part")
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "step": self.step, "seconds": self.seconds}, partial)
        partial.replace(self.file)

    def load(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]


def build_processor() -> CLIPProcessor:
    """Build the tokenizer and an image processor for 60 pixels, with CLIP's mean and deviation."""
    size = {"height": SIDE, "width": SIDE}
    image_processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size)
    return CLIPProcessor(image_processor, build_tokenizer())


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build an untrained CLIP model, seeded by torch's generator."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "image_size": SIDE,
        "patch_size": 12,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def contrastive_loss(model: CLIPModel, processor: CLIPProcessor, batch: Batch) -> Tensor:
    """Return CLIP's symmetric loss; captions true of another image of the batch too are no negatives for it."""
    pixels = _preprocess(processor.image_processor, batch.images)  # [B, 3, 64, 64]
    tokens = processor.tokenizer([said.text for said in batch.captions], padding=True, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        images = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        texts = model.text_projection(model.text_model(**tokens).pooler_output)
    logits = model.logit_scale.exp() * normalize(images.float(), dim=1) @ normalize(texts.float(), dim=1).T  # [B, B]
    also_true = torch.from_numpy(batch.also_true()).fill_diagonal_(False)
    logits = logits.masked_fill(also_true, -torch.inf)
    targets = torch.arange(len(logits))
    return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets)) / 2


def learning_rate_share(step: int, steps: int) -> float:
    """Rise linearly over the warm-up, then fall to zero along a cosine."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)))


def _preprocess(image_processor: CLIPImageProcessor, images: np.ndarray) -> Tensor:
    """Do what the image processor does to a 60-pixel image, [B, 60, 60, 3] bytes, but for the resizing to itself."""
    mean, deviation = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
    levels = torch.from_numpy(images).float().div_(255)
    return levels.sub_(mean).div_(deviation).permute(0, 3, 1, 2).contiguous()


def _check_preprocessing(processor: CLIPProcessor, image: np.ndarray) -> None:
    shipped = processor.image_processor(images=image, return_tensors="pt")["pixel_values"]
    trained = _preprocess(processor.image_processor, image[None])
    if not torch.allclose(shipped, trained, atol=1e-5):
        raise ValueError("training would see other pixels than the shipped image processor gives")


def _parameter_groups(model: CLIPModel) -> list[dict[str, object]]:
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    return [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _report(model: CLIPModel, processor: CLIPProcessor, folder: Path, splits: list[str], progress: Progress) -> None:
    """Measure, save the model in transformers' format, and say how far it is."""
    model.train(False)
    measured = {split: measure_split(model, processor, DATA, split) for split in splits}
    model.train()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    parameters = sum(weight.numel() for weight in model.parameters())
    facts = {"steps": progress.step, "seconds": round(progress.seconds), "seed": SEED, "parameters": parameters}
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    processor.image_processor.save_pretrained(folder / "model")  # under the older name other libraries look for
    record = json.dumps({**facts, **measured, "versions": versions}, indent=2)
    (folder / "model" / "TRAINING.json").write_text(record + "\n", encoding="utf-8")
    print(json.dumps({**facts, **measured}), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder holding the unpacked emoji-datasource packages")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for scenes, checkpoint and model")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints and validations")
    parser.add_argument("--batch", type=int, default=64, help="tuples in a batch: twice as many images")
    parser.add_argument("--tuples", type=int, default=40_000, help="training tuples to render")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
