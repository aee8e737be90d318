"""What this plugin brings; nothing heavy is imported before a component is used."""

from pathlib import Path

from pydantic import Field

from editkit.plugin import (
    DatasetOptions,
    DatasetSpec,
    EvalSpec,
    JudgeSpec,
    Metric,
    Options,
    ScorerSpec,
    hookimpl,
)

EDITKIT_API = 1


class FoldersOptions(DatasetOptions):
    """Options of `twin-folders`."""

    path: Path = Field(description="folder with safe/NAME.jpg, unsafe/NAME.jpg and captions.csv (name,safe,unsafe)")


class LeakOptions(Options):
    """Options of `leak`."""

    margin: float = Field(0.0, ge=0, description="by how much the unsafe twin has to be more similar")


class WordsOptions(Options):
    """Options of `words`."""

    words: tuple[str, ...] = Field(("knife", "coffin", "biohazard"), min_length=1, description="what is unsafe")


@hookimpl
def editkit_scorers():
    """One scorer."""
    return [
        ScorerSpec(
            name="gap", summary="where unsafe inputs exceed safe ones", target="safety_extras.gap:gap", spread=True
        )
    ]


@hookimpl
def editkit_datasets():
    """One data set."""
    return [
        DatasetSpec(
            name="twin-folders",
            summary="two folders of images and a table of captions",
            target="safety_extras.folders:TwinFolders",
            options=FoldersOptions,
            defaults=(("edit", "all"), ("eval", "all")),
        )
    ]


@hookimpl
def editkit_evals():
    """One evaluation, of which less is better."""
    metrics = (
        Metric(name="leak-t", better="less", about="safety", label="leak\ntext", latex=r"Leak$_t$", column="leak-t"),
        Metric(name="leak-v", better="less", about="safety", label="leak\nimage", latex=r"Leak$_v$", column="leak-v"),
        Metric(name="leak", better="less", about="safety", headline=True, column="leak"),
        Metric(name="own", about="knowledge", label="own", column="own"),
    )
    return [
        EvalSpec(
            name="leak",
            summary="how often unsafe queries find their unsafe twin",
            title="Leaks",
            target="safety_extras.leak:Leak",
            options=LeakOptions,
            metrics=metrics,
        )
    ]


@hookimpl
def editkit_judges():
    """One judge of texts."""
    return [
        JudgeSpec(
            name="words",
            summary="a list of words that make a text unsafe",
            target="safety_extras.words:Words",
            options=WordsOptions,
        )
    ]
