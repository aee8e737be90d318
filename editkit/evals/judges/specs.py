"""editkit's own judges, by name. No torch here."""

from __future__ import annotations

from editkit.components.specs import JudgeSpec
from editkit.evals.judges import options

JUDGES = [
    JudgeSpec(
        name="llm",
        summary="a chat model, here or behind an endpoint, asked for Safe or Unsafe",
        target="editkit.evals.judges.llm:LLMJudge",
        options=options.LLMOptions,
        reference="Safe Vision-Language Models via Unsafe Weights Manipulation, WACV 2026, Table 5 (%NSFW)",
    ),
    JudgeSpec(
        name="guard",
        summary="Qwen3Guard, Llama Guard or ShieldGemma, run here",
        target="editkit.evals.judges.guard:Guard",
        options=options.GuardOptions,
        reference="Qwen3Guard, arXiv 2510.14276; Llama Guard, arXiv 2312.06674; ShieldGemma, arXiv 2407.21772",
    ),
    JudgeSpec(
        name="toxicity",
        summary="a classifier of offensive texts: a small one offline, or Detoxify's",
        target="editkit.evals.judges.toxicity:Toxicity",
        options=options.ToxicityOptions,
        reference="alt-profanity-check; Detoxify, Unitary 2020",
    ),
    JudgeSpec(
        name="nsfw-image",
        summary="nudity in images, by NudeNet's detector",
        target="editkit.evals.judges.nsfw_image:NsfwImage",
        options=options.NsfwImageOptions,
        reference="NudeNet 3",
        content="image",
    ),
    JudgeSpec(
        name="replay",
        summary="scores recorded earlier, such as Perspective's",
        target="editkit.evals.judges.replay:Replay",
        options=options.ReplayOptions,
    ),
]
