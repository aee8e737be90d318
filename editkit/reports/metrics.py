"""The facts of editkit's own metrics: its evaluations declare them, and reports from before they were kept need them.

Columns are those of Safe Vision-Language Models via Unsafe Weights Manipulation, WACV 2026, tables 1, 2 and 5.
"""

from __future__ import annotations

from editkit.components.metric import About, ClipBenchmarkMetric, HubMetric, Metric


def _preference(
    name: str, about: About = "safety", *, headline: bool = False, compared: bool = False, latex: str = ""
) -> Metric:
    hub = HubMetric(task="safeground", title="SafeGround")
    return Metric(name=name, about=about, headline=headline, compared=compared, column=name, latex=latex, hub=hub)


SAFEGROUND = (
    _preference("GS", headline=True),
    _preference("PS", "safe inputs", compared=True),
    _preference("PU", compared=True),
    _preference("P_s^t", "safe inputs", latex="$P_s^t$"),
    _preference("P_u^t", latex="$P_u^t$"),
    _preference("P_s^v", "safe inputs", latex="$P_s^v$"),
    _preference("P_u^v", latex="$P_u^v$"),
    _preference("Txt_s", latex=r"$\mathrm{Txt}_s$"),
    _preference("Img_s", latex=r"$\mathrm{Img}_s$"),
)


def _recall(direction: str, about: About, *, latex: str, clip_benchmark: str = "") -> list[Metric]:
    """Return the facts of R@1 in one direction, whose name is the bare direction, and those of every other R@k."""

    def hub(k: str) -> HubMetric:
        return HubMetric(task="image-text-retrieval", title="Image-text retrieval", kind=f"recall_at_{k}")

    def exported(k: str) -> ClipBenchmarkMetric | None:
        key = f"{clip_benchmark}@{k}"
        return ClipBenchmarkMetric(task="zeroshot_retrieval", key=key) if clip_benchmark else None

    return [
        Metric(
            name=direction,
            about=about,
            headline=True,
            label=f"R@1\n{direction}",
            group="R@1",
            column=direction,
            latex=latex,
            hub=hub("1"),
            clip_benchmark=exported("1"),
        ),
        Metric(
            name=f"{direction}@*",
            about=about,
            label=f"R@*\n{direction}",
            group="R@*",
            latex=f"{latex}@*",
            hub=hub("*"),
            clip_benchmark=exported("*"),
        ),
    ]


RETRIEVAL = (
    *_recall("Ts-Vs", "knowledge", latex="$T_s$-$V_s$", clip_benchmark="image_retrieval_recall"),
    *_recall("Vs-Ts", "knowledge", latex="$V_s$-$T_s$", clip_benchmark="text_retrieval_recall"),
    *_recall("Tu-Vu+s", "safety", latex="$T_u$-$V_{u+s}$"),
    *_recall("Vu-Tu+s", "safety", latex="$V_u$-$T_{u+s}$"),
)


def _accuracy(
    name: str, title: str, *, hub: str, clip_benchmark: str, headline: bool = False, column: str = ""
) -> Metric:
    return Metric(
        name=name,
        about="knowledge",
        headline=headline,
        compared=True,
        title=title,
        group="accuracy",
        column=column,
        of_data=True,
        hub=HubMetric(task="zero-shot-image-classification", title="Zero-shot image classification", kind=hub),
        clip_benchmark=ClipBenchmarkMetric(task="zeroshot_classification", key=clip_benchmark),
    )


ZEROSHOT = (
    _accuracy("top1", "top-1", hub="accuracy", clip_benchmark="acc1", headline=True, column="zs_mean_acc"),
    _accuracy("top5", "top-5", hub="top_5_accuracy", clip_benchmark="acc5"),
    _accuracy("mean_per_class", "mean per class", hub="balanced_accuracy", clip_benchmark="mean_per_class_recall"),
)

RESTORATION = (
    Metric(name="1-P_u^t", better="less", about="safety", headline=True),
    Metric(name="Tu-Vu", better="less", about="safety", headline=True),
    Metric(name="unsafe:*:AUC", better="less", headline=True, group="unsafe"),
    Metric(name="unsafe:*:accuracy", better="less", group="unsafe"),
    Metric(name="concept:*:AUC", better="less", group="concept"),
    Metric(name="concept:*:accuracy", better="less", group="concept"),
    Metric(name="GS", about="safety"),
    Metric(name="Ts-Vs", about="knowledge", headline=True),
)
"""What a linear probe reads in embeddings, and what unsafe captions find in them."""

_SEEN = {"T-V": "images", "V-V": "images", "V-T": "captions", "T-T": "captions"}


def _exposure(kind: str, direction: str) -> list[Metric]:
    """Return the facts of unsafe@k and of any@k of one kind of queries in one direction."""
    side, of = kind.split()
    about: About = "safety" if side == "unsafe" else "safe inputs"
    across, hub = direction in ("T-V", "V-T"), HubMetric(task="exposure", title="Exposure to unsafe items")
    one = f"{'an' if side == 'unsafe' else 'a'} {side} {'query' if of == 'queries' else of[:-1]}"
    return [
        Metric(
            name=f"{kind} {direction}@*",
            better="less",
            about=about,
            headline=direction == "T-V" and side != "unsafe",
            compared=across or side != "unsafe",
            label=f"{direction}@*\n{side}\n{of}",
            title=f"unsafe@* of {kind}, {direction}",
            seen=f"unsafe {_SEEN[direction]} among the first * that {one} finds",
            out_of="*",
            group=f"{direction}@*",
            hub=hub,
        ),
        Metric(
            name=f"{kind} {direction} any@*",
            better="less",
            compared=across and side != "unsafe",
            title=f"{kind} with an unsafe item among the first *, {direction}",
            aside=True,
            hub=hub,
        ),
    ]


_KINDS = (
    *("safe queries", "neutral queries", "safe captions", "safe images"),
    *("unsafe queries", "unsafe captions", "unsafe images"),
)
EXPOSURE = tuple(metric for direction in _SEEN for kind in _KINDS for metric in _exposure(kind, direction))
"""The first that there is, is the primary one: what is asked in few words tells most."""


def _some(metrics: tuple[Metric, ...], *names: str, headline: bool = True) -> list[Metric]:
    """Return those of the names; unless `headline` is False, as what is told first."""
    return [one.model_copy(update={"headline": headline}) for one in metrics if one.name in names]


ROBUSTNESS = (
    *_some(SAFEGROUND, "GS"),
    *_some(SAFEGROUND, "PS", headline=False),
    *_some(EXPOSURE, "safe captions T-V@*", "safe images V-T@*"),
)


def _of_group(group: str, what: str, *, flagged: bool) -> Metric:
    """Return the facts of one number on benign items, or on unseen unsafe ones, of which the opposite is good."""
    benign = group == "benign"
    return Metric(
        name=f"{group} {what} flagged" if flagged else f"{group} {what}",
        better="less" if flagged == benign else "more",
        about="other" if benign else "safety",
        headline=benign,
        compared=True,
        label=f"{'flagged' if flagged else 'R@1'}\n{group}\n{what}",
        title=f"flagged {group} {what}" if flagged else f"R@1 of {group} items, {what}",
        group="flagged" if flagged else "R@1",
        hub=HubMetric(task="over-refusal", title="Over-refusal"),
    )


OVERREFUSAL = (
    *(_of_group(group, what, flagged=True) for what in ("captions", "images") for group in ("benign", "unseen")),
    *(_of_group(group, what, flagged=False) for what in ("T-V", "V-T") for group in ("benign", "unseen")),
    Metric(name="top1 *", about="knowledge", headline=True, compared=True, label="top1\n*", group="accuracy"),
)

JUDGED = (
    Metric(name="*:pct_NSFW:*", better="less", about="safety", headline=True, column="pct_NSFW"),
    Metric(name="*:score:*", better="less", about="safety", column="Toxicity"),
)
"""What judges say of texts and images: the share that is unsafe, and the mean score."""

CAPTIONS = (
    Metric(name="*:RougeL:*", headline=True, column="RougeL"),
    Metric(name="*:Bleu-*:*", column="Bleu"),
    Metric(name="*:Meteor:*", column="Meteor"),
    *JUDGED,
    Metric(name="*:empty", better="less"),
)

BUILT_IN = (*SAFEGROUND, *RETRIEVAL, *EXPOSURE, *ZEROSHOT, *CAPTIONS)
