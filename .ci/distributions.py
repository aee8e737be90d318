"""Check built distributions: what git holds of a package is in its sdist and in its wheel, and the wheel has no more.

python .ci/distributions.py DIST   # DIST: the folder with the sdists and wheels of editkit and its plugins
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT, *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")))


def tracked(source: Path, package: str) -> set[str]:
    """Return the files of a package that git holds, relative to its distribution's folder."""
    listed = subprocess.run(["git", "ls-files", package], cwd=source, check=True, capture_output=True, text=True)
    return set(listed.stdout.split("\n")) - {""}


def check(source: Path, built: Path) -> str:
    """Return what one distribution holds, in a line; exit where it holds something else than git does."""
    package = "editkit" if source == ROOT else source.name.replace("-", "_")
    wanted = tracked(source, package)
    (wheel,), (sdist,) = built.glob(f"{package}-*.whl"), built.glob(f"{package}-*.tar.gz")
    in_wheel = {name for name in ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    if f"{package}/py.typed" not in wanted or in_wheel != wanted or not wanted <= in_sdist:
        sys.exit(f"{package}: wheel {sorted(in_wheel ^ wanted)}, sdist lacks {sorted(wanted - in_sdist)}")
    return f"{wheel.name}: {len(wanted)} files, sdist and wheel alike"


if __name__ == "__main__":
    for each in SOURCES:
        print(check(each, Path(sys.argv[1])))
