"""How long `editkit --help` takes beside importing the libraries that it cannot do without.

    python -m benchmarks.startup

Both are whole processes, run in turns; the ratio of the medians counts (the design's bound is 1.8).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 15
IMPORTS = "import typer, rich, pluggy, pydantic"
HELP = "import sys; from editkit.cli import main; sys.exit(main(['--help']))"


def seconds(code: str) -> float:
    """Time one Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print both medians and their ratio."""
    times: dict[str, list[float]] = {IMPORTS: [], HELP: []}
    for _ in range(REPEATS):
        for code, runs in times.items():
            runs.append(seconds(code))
    libraries, help_ = (statistics.median(runs) for runs in times.values())
    print(f"{IMPORTS}: {libraries:.3f} s\neditkit --help: {help_:.3f} s\nratio {help_ / libraries:.2f}")


if __name__ == "__main__":
    main()
