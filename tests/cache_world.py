"""A model, tuples and plugins on disk, of which tests change one part at a time, and the keys of what is cached."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import spec_from_file_location
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from models import table, tiny_clip

import editkit
from editkit.components.load import load_host
from editkit.data.preserved import preserved_of
from editkit.editing.identities import Identities
from editkit.editing.plan import make_plan
from editkit.evals.captions.plan import Settings
from editkit.models.identity import ModelIdentity, identify_model

Keys = dict[str, set[str | None]]

DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "editkit-louder": ("editkit",),
    "editkit-acme": ("editkit", "editkit-acme-base>=1", "acme_plain ; python_version > '3'"),
    "editkit-acme-base": ("editkit-clip",),
    "acme-plain": (),
}
"""Names, and what each requires."""

MODULES: Mapping[str, str] = {
    "site-packages/louder/__init__.py": """
        from editkit.plugin import Options, ScorerSpec, hookimpl

        EDITKIT_API = 1

        class LouderOptions(Options):
            power: int = 2

        @hookimpl
        def editkit_scorers():
            return [ScorerSpec(name="louder", summary="louder", target="louder.scorer:Louder", options=LouderOptions)]
    """,
    "site-packages/louder/scorer.py": """
        import loose_numbers
        from editkit.methods.scorers.pairs import PairScorer
        from louder import helper

        class Louder(PairScorer):
            def factors(self, weight, safe, unsafe):
                return {"one": helper.factors(weight, unsafe, self.options.power)}

            def combine(self, means, weight, site):
                return means["one"]
    """,
    "site-packages/louder/helper.py": """
        def factors(weight, unsafe, power):
            return (unsafe.norm @ weight.abs().T) ** power, unsafe.norm
    """,
    "site-packages/acme/__init__.py": """
        from editkit.plugin import AdapterSpec, hookimpl

        EDITKIT_API = 1

        @hookimpl
        def editkit_adapters():
            return [AdapterSpec(name="acme", summary="acme", target="acme.adapter:Acme", prefixes=("acme",))]
    """,
    "site-packages/acme/adapter.py": """
        from dataclasses import replace

        from acme_base.adapter import Base
        from loose_mixin import Mixin

        class Acme(Mixin, Base):
            def open(self, source):
                return replace(super().open(source.removeprefix("acme:")), source=source)
    """,
    "site-packages/acme/inner/deep.py": "DEPTH = 1",
    "site-packages/acme_base/__init__.py": "EDITKIT_API = 1",
    "site-packages/acme_base/adapter.py": """
        from editkit_clip.transformers_format import TransformersClip

        class Base(TransformersClip):
            pass
    """,
    "site-packages/acme_plain.py": "",
    "loose/loose_mixin.py": """
        class Mixin:
            def first(self):
                from loose_helper import ONE

                return ONE
    """,
    "loose/loose_helper.py": "ONE = 1",
    "loose/loose_numbers/__init__.py": "TWO = 2",
    "loose/loose_numbers/deep.py": "THREE = 3",
}
"""`loose` belongs to no distribution and is not where distributions are installed: a package on PYTHONPATH."""


@dataclass
class World:
    """Everything that decides what an edit of `folder`'s model computes."""

    folder: Path
    patch: pytest.MonkeyPatch
    layer: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    @property
    def model(self) -> Path:
        return Path(str(self.layer["model"]).removeprefix("acme:"))

    def file(self, name: str) -> Path:
        return self.folder / name

    def append(self, name: str, text: str = "\n# changed\n") -> None:
        """Change a file, or make one."""
        path = self.file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(text)

    def rewrite(self, name: str, change: Callable[[str], str]) -> None:
        path = self.file(name)
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before

    def keys(self) -> Keys:
        """What all that an edit, an evaluation and captioning compute of the text tower is kept under, by kind."""
        host = load_host()
        plan = make_plan([("test", self.layer)], host)
        assert plan.data is not None
        weights = plan.files.checkpoint.identity()
        model = identify_model(plan.adapter, plan.files, weights, plan.recipe.compute, self.device, host)
        plan = replace(plan, preserved=preserved_of(plan.data))
        assert plan.data is not None
        identities = Identities(plan, model, plan.data)
        sites, scorer = plan.sites_of("text"), plan.recipe.towers["text"].scorer
        assert scorer is not None
        return {
            "scores": {identity.key for identity in identities.scores(scorer, sites).values()},
            "moments": {identity.key for identity in identities.moments(sites, second=True).values()},
            "preserved": {identity.key for identity in identities.preserved(sites).values()},
            "texts": {identities.embeddings("text").key},
            "images": {identities.embeddings("vision").key},
            "captions": {_captions(model, identities.fingerprint).key},
        }


def _captions(model: ModelIdentity, fingerprint: str) -> Settings:
    return Settings(replace(model, device=""), None, None, 0.2, 16, 0, 8, fingerprint, ("unsafe",))


def build(folder: Path) -> None:
    """Write the model, the tuples and the plugins."""
    tiny_clip(folder / "model")
    table(folder / "data", 4)
    for name, code in MODULES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(code).lstrip())
    for name, required in DISTRIBUTIONS.items():
        info = folder / "site-packages" / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        requires = "".join(f"Requires-Dist: {one}\n" for one in required)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}")
        module = name.removeprefix("editkit-").replace("-", "_")
        if name.startswith("editkit-"):
            (info / "entry_points.txt").write_text(f"[editkit]\n{module} = {module}\n")


@contextmanager
def world_at(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give the world in a folder, with its plugins found as pip's are."""
    before = set(sys.modules)
    for place in ("loose", "site-packages"):
        patch.syspath_prepend(str(folder / place))
    layer = {"model": f"acme:{folder / 'model'}", "data.name": "pairs", "data.path": str(folder / "data" / "t.jsonl")}
    yield World(folder, patch, {**layer, "scorer.name": "louder", "compute.workers": 0})
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def copy_of_editkit(world: World) -> Path:
    """Let a copy of editkit's files stand for those of the editkit that runs; return its folder."""
    copy = world.file("own/editkit")
    shutil.copytree(Path(str(editkit.__file__)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    spec = spec_from_file_location("editkit", copy / "__init__.py", submodule_search_locations=[str(copy)])
    world.patch.setattr(editkit, "__spec__", spec)
    return copy
