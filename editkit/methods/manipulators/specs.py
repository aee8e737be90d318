"""editkit's own manipulators, by name. No torch here."""

from __future__ import annotations

from editkit.components.specs import ManipulatorSpec
from editkit.methods.manipulators import options
from editkit.methods.manipulators.sites import require_bias, require_shared_space
from editkit.methods.references import UWM

MANIPULATORS = [
    ManipulatorSpec(
        name="scale",
        summary="multiply by alpha",
        target="editkit.methods.manipulators.scale:Scale",
        options=options.ScaleOptions,
        reference=f"{UWM}, Eq. 11",
    ),
    ManipulatorSpec(
        name="negate",
        summary="flip the sign: alpha -1",
        target="editkit.methods.manipulators.scale:Negate",
        reference=UWM,
    ),
    ManipulatorSpec(name="zero", summary="prune: alpha 0", target="editkit.methods.manipulators.scale:Zero"),
    ManipulatorSpec(
        name="dampen",
        summary="shrink by the ratio of safe to unsafe Fisher information",
        target="editkit.methods.manipulators.dampen:Dampen",
        options=options.DampenOptions,
        other_scorers=options.DampenOptions.other_scorers,
        reference="Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening, AAAI 2024, Eq. 6",
    ),
    ManipulatorSpec(
        name="blend",
        summary="interpolate towards another checkpoint",
        target="editkit.methods.manipulators.blend:Blend",
        options=options.BlendOptions,
        other_checkpoint=options.BlendOptions.other_checkpoint,
        reference="Robust fine-tuning of zero-shot models (WiSE-FT), CVPR 2022",
    ),
    ManipulatorSpec(
        name="merge",
        summary="add what several checkpoints changed",
        target="editkit.methods.manipulators.merge:Merge",
        options=options.MergeOptions,
        other_checkpoints=options.MergeOptions.other_checkpoints,
        reference="TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023",
    ),
    ManipulatorSpec(
        name="mean-ablate",
        summary="replace selected inputs by their safe mean, folded into the bias",
        target="editkit.methods.manipulators.mean_ablate:MeanAblate",
        needs=frozenset({"mean-inputs"}),
        acts_on="units",
        check_site=require_bias,
    ),
    ManipulatorSpec(
        name="project",
        summary="take the unsafe direction out of the outputs",
        target="editkit.methods.manipulators.project:Project",
        options=options.ProjectOptions,
        reference="Refusal in Language Models Is Mediated by a Single Direction, NeurIPS 2024",
        needs=frozenset({"mean-inputs"}),
        acts_on="sites",
    ),
    ManipulatorSpec(
        name="leace",
        summary="erase what linear classifiers tell of unsafe from safe",
        target="editkit.methods.manipulators.leace:Leace",
        options=options.LeaceOptions,
        reference="LEACE: Perfect linear concept erasure in closed form, NeurIPS 2023",
        needs=frozenset({"second-moments"}),
        acts_on="sites",
        role="proj",
    ),
    ManipulatorSpec(
        name="inlp",
        summary="project onto the null spaces of classifiers of unsafe outputs",
        target="editkit.methods.manipulators.inlp:Inlp",
        options=options.InlpOptions,
        reference="Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection, ACL 2020",
        needs=frozenset({"second-moments"}),
        acts_on="sites",
        role="proj",
    ),
    ManipulatorSpec(
        name="null-space",
        summary="take out what unsafe inputs excite where safe ones are quiet",
        target="editkit.methods.manipulators.null_space:NullSpace",
        options=options.NullSpaceOptions,
        reference="After Deep Unlearning: Fast and Efficient Gradient-free Approach to Class Forgetting, 2024",
        needs=frozenset({"second-moments", "preserved"}),
        acts_on="sites",
        role="proj",
    ),
    ManipulatorSpec(
        name="redirect",
        summary="send unsafe inputs where their safe twins go",
        target="editkit.methods.manipulators.redirect:Redirect",
        options=options.RedirectOptions,
        sequential=options.RedirectOptions.sequential,
        twins=options.RedirectOptions.twins,
        needs=frozenset({"second-moments", "preserved"}),
        acts_on="sites",
        role="proj",
    ),
    ManipulatorSpec(
        name="refuse",
        summary="send unsafe inputs away from what safe queries find",
        target="editkit.methods.manipulators.refuse:Refuse",
        options=options.RefuseOptions,
        sequential=options.RefuseOptions.sequential,
        check_site=require_shared_space,
        needs=frozenset({"second-moments", "embeddings", "preserved"}),
        acts_on="sites",
        role="proj",
        preserve=("words",),
    ),
]
