"""editkit's own scorers, by name. No torch here."""

from __future__ import annotations

from editkit.components.specs import ScorerSpec
from editkit.methods.references import UWM
from editkit.methods.scorers import options

SCORERS = [
    ScorerSpec(
        name="uwm",
        summary="ratio of unsafe to safe saliency",
        target="editkit.methods.scorers.uwm:Uwm",
        options=options.UwmOptions,
        reference=f"{UWM}, Eqs. 8-10",
        spread=True,
        notes=True,
    ),
    ScorerSpec(
        name="difference",
        summary="unsafe minus safe saliency",
        target="editkit.methods.scorers.difference:Difference",
        options=options.PriorOptions,
        reference=f"{UWM}, supplement",
        spread=True,
        notes=True,
    ),
    ScorerSpec(
        name="unsafe",
        summary="unsafe saliency alone",
        target="editkit.methods.scorers.unsafe:Unsafe",
        options=options.PriorOptions,
        reference=f"{UWM}, supplement",
        spread=True,
        notes=True,
    ),
    ScorerSpec(
        name="gradient",
        summary="|gradient| of G-Unsafe's or G-Safe-CLIP's loss",
        target="editkit.methods.scorers.gradient:Gradient",
        options=options.GradientOptions,
        reference=f"{UWM}, supplement A.3",
        needs="gradients",
    ),
    ScorerSpec(
        name="wanda",
        summary="|W| times the norm of its input",
        target="editkit.methods.scorers.wanda:Wanda",
        options=options.SideOptions,
        reference="A Simple and Effective Pruning Approach for Large Language Models, ICLR 2024, Eq. 1",
        notes=True,
    ),
    ScorerSpec(
        name="wanda-ratio",
        summary="|W| times the ratio of its input's unsafe to safe norm",
        target="editkit.methods.scorers.wanda:WandaRatio",
        reference="A Simple and Effective Pruning Approach for Large Language Models, ICLR 2024, as a ratio",
        notes=True,
    ),
    ScorerSpec(
        name="multiflow",
        summary="|W| times the importance of the units it joins",
        target="editkit.methods.scorers.multiflow:Multiflow",
        options=options.SideOptions,
        reference="MULTIFLOW: Shifting Towards Task-Agnostic Vision-Language Pruning, CVPR 2024",
        notes=True,
    ),
    ScorerSpec(
        name="neuron-ratio",
        summary="ratio of an input unit's unsafe to safe importance",
        target="editkit.methods.scorers.neuron_ratio:NeuronRatio",
        options=options.NeuronRatioOptions,
        reference="Modality-Aware Neuron Pruning for Unlearning in Multimodal LLMs (MANU), ACL 2025",
        notes=True,
    ),
    ScorerSpec(
        name="snip",
        summary="mean |W x gradient| over samples",
        target="editkit.methods.scorers.snip:Snip",
        options=options.SideLossOptions,
        reference="SNIP: Single-shot Network Pruning based on Connection Sensitivity, ICLR 2019",
        needs="sample-gradients",
    ),
    ScorerSpec(
        name="fisher-ratio",
        summary="ratio of unsafe to safe Fisher information",
        target="editkit.methods.scorers.fisher:FisherRatio",
        options=options.SampleLossOptions,
        reference="Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening, AAAI 2024",
        needs="sample-gradients",
        notes=True,
    ),
    ScorerSpec(
        name="salun",
        summary="|mean gradient| over samples",
        target="editkit.methods.scorers.salun:Salun",
        options=options.SideLossOptions,
        reference="SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency, ICLR 2024, Eq. 3",
        needs="gradients",
    ),
    ScorerSpec(
        name="magnitude",
        summary="|W|: a control that sees no data",
        target="editkit.methods.scorers.weights:Magnitude",
        needs="weights",
        reference="Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015",
    ),
    ScorerSpec(
        name="random",
        summary="a seeded draw: chance",
        target="editkit.methods.scorers.weights:Random",
        options=options.RandomOptions,
        needs="weights",
    ),
]
