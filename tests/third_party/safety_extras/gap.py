"""score = saliency of unsafe inputs less that of safe ones, for louder outputs."""

from editkit.plugin import pair_scorer, saliency


@pair_scorer
def gap(weight, safe, unsafe):
    """[O, I] and the inputs of both sides -> factors [B, O] and [B, I] of the score."""
    rows, unsafe_columns = saliency(weight.abs(), unsafe)
    _, safe_columns = saliency(weight.abs(), safe)
    return rows, (unsafe_columns - safe_columns).clamp(min=0)
