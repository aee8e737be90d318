"""An error inside a plugin, or of editkit itself, is two lines that say whose it is and where its traceback lies."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Ran, as_error, done, run
from models import table, tiny_clip
from plugin_samples import Install

import editkit
from editkit.components.guard import Guard, at, guarded_as
from editkit.components.load import load_host
from editkit.components.site import Site
from editkit.errors import DataError, PluginError

PLUGIN = """
    import torch

    from editkit.plugin import (
        AdapterSpec,
        DatasetOptions,
        DatasetSpec,
        EvalSpec,
        JudgeSpec,
        ManipulatorSpec,
        Options,
        ScorerSpec,
        SelectorSpec,
        hookimpl,
        per_site,
    )
    from editkit_clip.transformers_format import TransformersClip

    EDITKIT_API = 1
    HERE = f"{__name__}:"


    class Where(Options):
        where: str = ""


    class WhereOfData(DatasetOptions):
        where: str = ""


    class Failing:
        def __init__(self, options):
            self.where = options.where
            self.fail("init")

        def fail(self, where):
            if self.where == where:
                raise ValueError(f"broken in {where}\\nfor good")


    class Louder(Failing):
        def start(self, weight, site):
            self.fail("start")
            return {"sum": torch.zeros_like(weight)}

        def update(self, state, weight, safe, unsafe):
            self.fail("update")

        def finish(self, state, weight, site):
            self.fail("finish")
            return weight.abs()

        def notes(self, state, weight):
            self.fail("notes")
            return {"zeros": 1}


    class Slope(Louder):
        sides = ("unsafe",)

        def loss(self, own, other, other_twin):
            return 1 - (own * other).sum(dim=-1)

        def update(self, state, weight, side, gradients):
            self.fail("update")


    class Pick(Failing):
        def select(self, scores, context):
            self.fail("select")
            return {site: values > 0 for site, values in scores.items()}


    @per_site
    def by_site(scores, options):
        raise ValueError("broken in by_site, for good")


    class Move(Failing):
        def apply(self, site, weight, bias, mask, context):
            self.fail("apply")
            return {"weight": -weight}


    class Tuples(Failing):
        def load(self, split):
            self.fail("load")


    class Share(Failing):
        name, data = "share", "tuples"

        def hits(self, embeddings):
            raise ValueError("broken in hits")

        def chance(self, embeddings):
            return {"independent": {}, "collapsed": {}}

        def groups(self, embeddings):
            return ()


    class Critic(Failing):
        name, revision, prompt_hash = "critic", "1", ""

        def judge(self, items, on_item=None, *, ids=None):
            raise ValueError("broken in judge")


    class Broken(TransformersClip):
        place = ""

        def open(self, source):
            if self.place == "open":
                raise ValueError("broken in open")
            return super().open(source)

        def sites(self, files):
            if self.place == "sites":
                raise ValueError("broken in sites")
            return super().sites(files)

        def load(self, files, *, device, dtype, towers):
            model = super().load(files, device=device, dtype=dtype, towers=towers)

            def broken(inputs):
                raise ValueError("broken in encode")

            model.encode_texts = broken
            return model


    class Unopened(Broken):
        place = "open"


    class Unlisted(Broken):
        place = "sites"


    @hookimpl
    def editkit_scorers():
        yield ScorerSpec(name="louder", summary="", target=HERE + "Louder", options=Where, notes=True)
        yield ScorerSpec(name="slope", summary="", target=HERE + "Slope", options=Where, needs="sample-gradients")


    @hookimpl
    def editkit_selectors():
        yield SelectorSpec(name="pick", summary="", target=HERE + "Pick", options=Where)
        yield SelectorSpec(name="by-site", summary="", target=HERE + "by_site")


    @hookimpl
    def editkit_manipulators():
        yield ManipulatorSpec(name="move", summary="", target=HERE + "Move", options=Where)


    @hookimpl
    def editkit_datasets():
        yield DatasetSpec(name="tuples", summary="", target=HERE + "Tuples", options=WhereOfData)


    @hookimpl
    def editkit_evals():
        yield EvalSpec(name="share", summary="", target=HERE + "Share", options=Where)


    @hookimpl
    def editkit_judges():
        yield JudgeSpec(name="critic", summary="", target=HERE + "Critic", options=Where)


    @hookimpl
    def editkit_adapters():
        yield AdapterSpec(name="unopened", summary="", target=HERE + "Unopened", patterns=("*/unopened",))
        yield AdapterSpec(name="unlisted", summary="", target=HERE + "Unlisted", patterns=("*/unlisted",))
        yield AdapterSpec(name="mute", summary="", target=HERE + "Broken", patterns=("*/mute",))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage")
    tiny_clip(root / "model")
    for name in ("unopened", "unlisted", "mute"):
        (root / name).symlink_to(root / "model")
    table(root / "pairs")
    return root


@pytest.fixture
def installed(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin above as the distribution louder-dist, and a folder of its own for tracebacks."""
    install("louder-dist", "louder_dist", PLUGIN)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


def traceback_of(ran: Ran) -> str:
    """Check that an error is two lines of which the second names a file, and return what the file holds."""
    as_error(ran)
    assert ran.err.count("\n") == 2
    found = re.search(r"The traceback is in (\S+)$", ran.err.strip())
    assert found, ran.err
    return Path(found[1]).read_text()


EDIT = ("edit", "--target", "text:attn.out[1]", "--limit", 6, "--workers", 0, "-o")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            "--scorer louder --set scorer.where=init",
            "Scorer 'louder' of louder-dist failed: ValueError: broken in init",
        ),
        ("--scorer louder --set scorer.where=start", "Scorer 'louder' of louder-dist failed at text:attn.out[1]: "),
        ("--scorer louder --set scorer.where=update", "Scorer 'louder' of louder-dist failed at text:attn.out[1]: "),
        ("--scorer louder --set scorer.where=finish", "Scorer 'louder' of louder-dist failed at text:attn.out[1]: "),
        ("--scorer louder --set scorer.where=notes", "Scorer 'louder' of louder-dist failed at text:attn.out[1]: "),
        ("--scorer slope --set scorer.where=update", "Scorer 'slope' of louder-dist failed at text:attn.out[1]: "),
        ("--selector by-site", "Selector 'by-site' of louder-dist failed at text:attn.out[1]: ValueError: "),
        ("--selector pick --set selector.where=select", "Selector 'pick' of louder-dist failed: ValueError: "),
        (
            "--manipulator move --set manipulator.where=apply",
            "Manipulator 'move' of louder-dist failed at text:attn.out[1]: ",
        ),
        ("--data tuples --set data.where=load", "Dataset 'tuples' of louder-dist failed: ValueError: "),
    ],
)
def test_an_error_inside_a_component_names_it_and_the_site(stage: Path, tmp_path: Path, flags: str, said: str) -> None:
    data = () if "--data" in flags else ("--data", stage / "pairs" / "t.jsonl")
    ran = run(*EDIT, tmp_path / "patch", "--model", stage / "model", *data, *flags.split())
    assert f"Error: {said}" in ran.err.replace("\n", " ") and "for good" in as_error(ran)
    assert "This is a defect of louder-dist: tell its author." in ran.err
    assert "raise ValueError(" in traceback_of(ran)
    assert not (tmp_path / "patch").exists()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("unopened", "Adapter 'unopened' of louder-dist failed: ValueError: broken in open"),
        ("unlisted", "Adapter 'unlisted' of louder-dist failed: ValueError: broken in sites"),
        ("mute", "Adapter 'mute' of louder-dist failed: ValueError: broken in encode"),
    ],
)
def test_an_error_inside_an_adapter_or_its_model_names_the_adapter(
    stage: Path, tmp_path: Path, model: str, said: str
) -> None:
    ran = run(*EDIT, tmp_path / "patch", "--model", stage / model, "--data", stage / "pairs" / "t.jsonl")
    assert said in as_error(ran)
    assert "ValueError: broken in" in traceback_of(ran)


@pytest.mark.usefixtures("installed")
def test_an_error_inside_an_evaluation_or_a_judge_names_it(stage: Path, tmp_path: Path) -> None:
    data = ("--model", stage / "model", "--data", stage / "pairs" / "t.jsonl", "--workers", 0)
    ran = run("eval", "share", *data)
    assert "Evaluation 'share' of louder-dist failed: ValueError: broken in hits" in as_error(ran)
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    ran = run("judge", tmp_path / "texts.jsonl", "--judge", "critic", "-o", tmp_path / "verdicts")
    assert "Judge 'critic' of louder-dist failed: ValueError: broken in judge" in as_error(ran)


@pytest.mark.usefixtures("installed")
def test_the_traceback_is_printed_where_it_is_asked_for_and_then_kept_nowhere(stage: Path, tmp_path: Path) -> None:
    flags = ("--scorer", "louder", "--set", "scorer.where=update", "--data", stage / "pairs" / "t.jsonl")
    ran = run("--traceback", *EDIT, tmp_path / "patch", "--model", stage / "model", *flags)
    assert ran.code == 1 and "Traceback (most recent call last)" in ran.err
    assert ran.err.strip().endswith("This is a defect of louder-dist: tell its author.")
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.usefixtures("installed")
def test_an_error_of_the_user_leaves_no_traceback(tmp_path: Path) -> None:
    as_error(run("plan", "--scorer", "louder", "--set", "scorer.were=update"))
    as_error(run("plan", "--scorer", "loudr"))
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.usefixtures("installed")
def test_an_unexpected_error_of_editkit_is_two_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ZeroDivisionError("of editkit's own")

    monkeypatch.setattr("editkit.editing.plan.resolve", fail)
    ran = run("plan")
    assert "Error: ZeroDivisionError: of editkit's own" in ran.err
    assert "This is a defect of editkit: report it." in ran.err
    assert "in fail" in traceback_of(ran)


@pytest.mark.usefixtures("installed")
def test_a_traceback_that_cannot_be_kept_costs_its_line_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    ran = run("plan", "--scorer", "louder", "--set", "scorer.where=init")
    assert "editkit --traceback" in as_error(ran)


def test_python_is_given_the_original_error_as_the_cause(install: Install, stage: Path, tmp_path: Path) -> None:
    install("louder-dist", "louder_dist", PLUGIN)
    with pytest.raises(PluginError, match="Manipulator 'move' of louder-dist failed at ") as caught:
        editkit.edit(
            manipulator="move",
            model=stage / "model",
            data=str(stage / "pairs" / "t.jsonl"),
            settings={"manipulator.where": "apply", "compute.workers": 0},
            output=tmp_path / "patch",
            host=load_host(),
        )
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value).count("\n") == 1


# The guard


class Component:
    limit = 3

    def work(self, action: Callable[[], Any], site: Site | None = None) -> Any:
        return action()


def guarded() -> Any:
    return Guard(Component(), "Scorer 'x' of y", "y")


def fails(error: BaseException) -> Callable[[], Any]:
    def action() -> Any:
        raise error

    return action


def test_a_guard_is_the_component_that_it_holds() -> None:
    made = guarded()
    assert isinstance(made, Component) and not isinstance(made, str)
    assert made.limit == 3 and made.work(lambda: 7) == 7 and type(made.__wrapped__) is Component
    assert not hasattr(made, "elsewhere") and repr(made) == "<Scorer 'x' of y>"


@pytest.mark.parametrize("error", [ValueError("a\nb"), KeyError("k"), SystemExit(3), MemoryError()])
def test_whatever_a_component_raises_is_one_error_with_the_original_as_its_cause(error: BaseException) -> None:
    with pytest.raises(PluginError, match="Scorer 'x' of y failed: ") as caught:
        guarded().work(fails(error))
    assert caught.value.__cause__ is error and str(caught.value).count("\n") == 1


@pytest.mark.parametrize("error", [DataError("no", "give"), KeyboardInterrupt(), GeneratorExit()])
def test_errors_in_two_lines_and_interrupts_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        guarded().work(fails(error))
    assert caught.value is error


def test_the_site_is_the_calls_own_or_the_one_that_is_worked_at() -> None:
    one, other = (Site("text", layer, "mlp.out", "m", "k", (1, 1)) for layer in (1, 2))
    with pytest.raises(PluginError, match=r"failed at text:mlp\.out\[1\]: "), at(one):
        guarded().work(fails(ValueError()))
    with pytest.raises(PluginError, match=r"failed at text:mlp\.out\[2\]: "), at(one):
        guarded().work(fails(ValueError()), other)
    with pytest.raises(PluginError, match=r"failed: "):  # and no longer
        guarded().work(fails(ValueError()))


def test_what_a_component_makes_is_guarded_under_its_name() -> None:
    made = guarded_as(guarded(), Component(), apart_from=("answer",))
    with pytest.raises(PluginError, match="Scorer 'x' of y failed: "):
        made.work(fails(ValueError()))
    plain = Component()
    assert guarded_as(Component(), plain) is plain


def test_memory_that_a_component_runs_out_of_is_still_answered_by_smaller_batches(
    plugin_file: Any, stage: Path, tmp_path: Path
) -> None:
    path = plugin_file(
        "hungry",
        """
        import torch
        from editkit.plugin import ScorerSpec, hookimpl

        EDITKIT_API = 1

        class Hungry:
            def __init__(self, options): ...
            def start(self, weight, site): return {}
            def update(self, state, weight, safe, unsafe):
                if len(safe.x) > 2:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 GiB.")
            def finish(self, state, weight, site): return weight.abs()

        @hookimpl
        def editkit_scorers():
            return [ScorerSpec(name="hungry", summary="", target="hungry:Hungry")]
        """,
    )
    data = ("--model", stage / "model", "--data", stage / "pairs" / "t.jsonl", "--workers", 0, "--batch-size", 8)
    given = ("--plugin", path, "edit", "--scorer", "hungry", *data, "--target", "text:attn.out")
    record = done(*given, "-o", tmp_path / "patch", "--json").json["record"]
    assert [entry["batch_size"] for entry in record["out_of_memory"]] == [3, 1]
