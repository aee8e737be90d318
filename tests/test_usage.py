"""What a newcomer types wrong, where output cannot go, and Ctrl-C: two lines that say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Ran, as_error, run
from plugin_samples import GOOD, Install
from zeroshot_layouts import write

from editkit.components.load import load_host
from editkit.errors import PluginError


def misread(ran: Ran) -> list[str]:
    """The two lines about a command that cannot be read: exit 2, nothing on stdout."""
    lines = ran.err.splitlines()
    assert ran.code == 2 and ran.out == "" and len(lines) == 2 and lines[0].startswith("Error: "), ran
    return lines


# What cannot be read


@pytest.mark.parametrize(
    ("line", "problem", "remedy"),
    [
        ("results export x --format html", "'html' is not one of 'csv', 'markdown'", "`editkit results export --help`"),
        ("edit --limit many", "Invalid value for '--limit'", "`editkit edit --help`"),
        ("apply", "Missing argument 'PATCH'.", "`editkit apply --help`"),
        ("evall safeground", "No such command 'evall'. Did you mean 'eval'?", "`editkit --help`"),
        ("--foo", "No such option: --foo.", "`editkit --help`"),
        ("eval safeground --patchs x", "No such option: --patchs", "`editkit eval safeground --help`"),
    ],
)
def test_a_command_that_cannot_be_read_is_refused_in_two_lines(line: str, problem: str, remedy: str) -> None:
    told = misread(run(*line.split()))
    assert problem in told[0] and told[1].startswith(remedy)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("show x --plugin y.py", "--plugin stands before the command: editkit --plugin FILE show ..."),
        ("eval safeground --plugin y.py", "--plugin stands before the command: editkit --plugin FILE eval safeground"),
        ("edit --traceback", "--traceback stands before the command: editkit --traceback edit ..."),
    ],
)
def test_a_flag_of_all_commands_is_sent_before_the_command(line: str, remedy: str) -> None:
    assert misread(run(*line.split()))[1].startswith(remedy)


def test_a_misspelt_evaluation_is_told_with_the_one_that_was_meant() -> None:
    assert "Unknown evaluation 'captionning'. Did you mean 'captioning'?" in as_error(run("eval", "captionning"))


@pytest.mark.parametrize("line", ["", "eval"])
def test_a_command_without_its_arguments_still_shows_its_help(line: str) -> None:
    ran = run(*line.split())
    assert ran.code == 2 and "Commands:" in ran.out + ran.err


# Which plugins


def test_a_plugin_that_is_not_installed_is_refused_with_what_the_variable_takes(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    monkeypatch.setenv("EDITKIT_PLUGINS", "editkit-goood")
    message = as_error(run("plugins", "list"))
    assert "no plugin called 'editkit-goood' is installed. Did you mean 'editkit-good'?" in message
    assert "It takes off, or names separated by commas of: " in message and " editkit-good," in message
    monkeypatch.setenv("EDITKIT_PLUGINS", "of")
    with pytest.raises(PluginError, match="Did you mean 'off'"):
        load_host()


def test_what_is_missing_with_plugins_off_is_told_with_the_reason(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    monkeypatch.setenv("EDITKIT_PLUGINS", "off")
    message = as_error(run("plan", "--scorer", "good", "--data", "pairs:x.csv"))
    assert "Unknown scorer 'good'" in message and "EDITKIT_PLUGINS leaves out " in message and ": unset it." in message


# The other profile's sets


@pytest.mark.usefixtures("runs_here")
def test_sets_that_lie_as_another_profile_has_them_are_told_with_that_profile() -> None:
    write(Path("sets"), "pets", "dtd")
    (Path("shards") / "wds_vtab-pets" / "test").mkdir(parents=True)
    flags = ("eval", "zeroshot", "--data")
    message = as_error(run(*flags, "zeroshot:sets", "--profile", "clip-benchmark"))
    assert "sets holds none of the 15 sets of profile clip-benchmark, but sets of another one." in message
    assert "pets, dtd lie there as profile uwm has them: add --profile uwm" in message
    assert "pets lie there as profile clip-benchmark has them" in as_error(run(*flags, "zeroshot:shards"))
    asked = as_error(run(*flags, "zeroshot:shards", "--sets", "pets"))
    assert "is not in shards" in asked and "add --profile clip-benchmark" in asked


# Output that goes nowhere


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize(
    "line", ["show patch", "recipes list", "recipes show uwm-paper", "plugins list --json", "--help"]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_output_is_told_in_two_lines(line: str, unbuffered: str, saved: Path) -> None:
    words = [str(saved) if word == "patch" else word for word in line.split()]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", "from editkit.cli import run; run()", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert ran.returncode == 1 and ran.stderr.splitlines() == [
        "Error: What was printed could not be written: No space left on device.",
        "Free space, or send the output elsewhere.",
    ]


# Ctrl-C

STOPPED = "Error: Stopped. Nothing is left half-written."


def interrupted(monkeypatch: pytest.MonkeyPatch, place: str, *words: object) -> list[str]:
    """What is told when Ctrl-C comes while a function works."""

    def stop(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, stop)
    ran = run(*words)
    assert ran.code == 130 and ran.out == ""
    return ran.err.splitlines()[-2:]


FEW = ("--limit", 4, "--workers", 0)


@pytest.mark.usefixtures("runs_here")
def test_ctrl_c_says_what_this_command_can_resume(monkeypatch: pytest.MonkeyPatch, saved: Path, model: Path) -> None:
    edit = ("edit", *FEW)
    make, measure = "editkit.api.carry_out.make_patch", "editkit.evals.run.evaluated_variants"
    go_on = "Run the same command to go on: {} that were finished come from the cache."
    anew = "Run the same command to start anew: it keeps nothing on the way."
    assert interrupted(monkeypatch, make, *edit) == [STOPPED, go_on.format("scores and statistics")]
    assert interrupted(monkeypatch, make, *edit, "--no-cache") == [STOPPED, anew]
    assert interrupted(monkeypatch, measure, "eval", "safeground", *FEW) == [STOPPED, go_on.format("embeddings")]
    assert interrupted(monkeypatch, measure, "eval", "safeground", *FEW, "--no-cache") == [STOPPED, anew]
    captioning = ("eval", "captioning", "--limit", 4)
    assert interrupted(monkeypatch, "editkit.evals.run.load_items", *captioning, "-o", "captions") == [
        "Error: Stopped. What was finished stays in captions.",
        "Run the same command to go on from there.",
    ]
    applied = interrupted(monkeypatch, "editkit.patch.patch.rewrite", "apply", saved, model, "-o", "edited")
    assert applied == [STOPPED, anew] and not Path("edited").exists()
