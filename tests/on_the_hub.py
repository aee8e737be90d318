"""New processes whose hub is a test's: huggingface_hub reads `HF_ENDPOINT` as it is imported, and never again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from command_line import Ran, run
from hub_server import Hub

ABSENT = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
"""What the tests' own process may have, and a visitor must not."""
RUN = """
import os, sys
{first}
import editkit.cli
for line in {lines}:
    if {apart} and (child := os.fork()):
        os.waitpid(child, 0)
        continue
    code = editkit.cli.main(line)
    sys.stdout.flush()
    print("", code, sep="\\0", end="\\0", flush=True)
    print("\\0", end="", file=sys.stderr, flush=True)
    if {apart}:
        os._exit(0)
"""
LIBRARIES = "import editkit.api.edit, editkit.evals.run, open_clip, timm, torch, transformers"
"""What every command would import; imported before processes part, it is imported once."""


def on_the_hub(
    hub: Hub | str,
    *commands: Sequence[object],
    cache: Path,
    token: str | None = None,
    first: str = "",
    apart: bool = False,
    variables: Mapping[str, str] | None = None,
) -> list[Ran]:
    """Run editkit's commands one after another in one new process, or each in one of its own.

    Args:
        hub: the hub, or any address in its place.
        cache: a folder for the hub's cache, with editkit's beside it; passed again, what was downloaded is there.
        token: the visitor's; None: nobody is logged in.
        first: Python code to run before them; it can import what tests can.
        apart: a process each, forked from one with the libraries in it: none knows what another learnt of the hub.
        variables: more of the environment, such as {"HF_HUB_OFFLINE": "1"}.
    """
    lines = [[str(part) for part in command] for command in commands]
    env = {**surroundings(hub, cache, token), **(variables or {})}
    code = RUN.format(first=f"{LIBRARIES}\n{first}" if apart else first, lines=lines, apart=apart)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    *parts, _ = ran.stdout.split("\0")
    *errors, rest = ran.stderr.split("\0")
    assert ran.returncode == 0, rest
    return [Ran(int(code), *said) for code, *said in zip(parts[1::2], parts[::2], errors, strict=True)]


@contextmanager
def visiting(hub: Hub | str, cache: Path, token: str | None = None) -> Iterator[Callable[..., Any]]:
    """Yield what calls a function in one new process and returns its value or raises its exception, both by pickle."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            for name in ABSENT:
                patch.delenv(name, raising=False)
            for name, value in surroundings(hub, cache, token).items():
                patch.setenv(name, value)
            pool.submit(os.getpid).result()  # the process starts now, with this environment

        def call(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
            return pool.submit(function, *args, **keywords).result()

        yield call


@contextmanager
def visitor(hub: Hub | str, cache: Path) -> Iterator[Callable[..., Ran]]:
    """Yield what runs commands of editkit one by one in one new process: `run(*args, token=..., first=...)`.

    Quick, since the libraries are imported once; but what the process learnt of a repository it does not ask again.
    """
    with visiting(hub, cache) as call:
        yield lambda *args, **more: call(_ran, [str(arg) for arg in args], **more)


def _ran(args: Sequence[str], token: str | None = None, first: str = "") -> Ran:
    """Run a command as somebody, with code before it in which `patch` undoes afterwards what it changes."""
    with pytest.MonkeyPatch.context() as patch:
        if token is not None:
            patch.setenv("HF_TOKEN", token)
        exec(first, {"patch": patch})
        return run(*args)


def surroundings(hub: Hub | str, cache: Path, token: str | None = None) -> dict[str, str]:
    """Return the environment of a visitor: nothing of the machine's own cache or login is in it."""
    env = {name: value for name, value in os.environ.items() if name not in ABSENT}
    own = {
        "HF_ENDPOINT": hub if isinstance(hub, str) else hub.url,
        "HF_HOME": str(cache / "home"),
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "EDITKIT_CACHE_DIR": f"{cache}-own",  # beside it: nothing is written into the hub's
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([env.get("PYTHONPATH", ""), str(Path(__file__).parent)]).strip(os.pathsep),
    }
    return {**env, **own, **({"HF_TOKEN": token} if token else {})}
