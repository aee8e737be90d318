"""`editkit.plugin` is all that a plugin imports of editkit; the plugins, samples and pages here keep to it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import editkit.plugin
from editkit.components.spec import API_VERSION

ROOT = Path(__file__).parents[1]
DOORS = {"editkit", "editkit.plugin", "editkit.testing"}
"""What a third party may import."""


def imported(code: str) -> set[str]:
    """The modules of editkit that code imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module.partition(".")[0] == "editkit"}


def targets(code: str) -> set[str]:
    """The modules that code names in the targets of specs."""
    texts = (node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
    named = (re.fullmatch(r"(editkit(?:\.\w+)*):\w+", text) for text in texts if isinstance(text, str))
    return {found[1] for found in named if found}


def strings(code: str) -> Iterator[str]:
    """Every text in code that is code itself: the plugins that tests write."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "from editkit" in node.value:
            yield dedent(node.value)


def sources() -> dict[str, str]:
    """What a third party writes: the plugins here, the Python of the pages, the plugins that tests write."""
    found = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "plugins").rglob("*.py")}
    for page in (ROOT / "docs").glob("*.md"):
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        found |= {f"docs/{page.name}, block {number}": block for number, block in enumerate(blocks, start=1)}
    for name in ("method_files", "plugin_samples", "evaluation_files"):
        texts = strings((ROOT / "tests" / f"{name}.py").read_text())
        found |= {f"tests/{name}, text {number}": text for number, text in enumerate(texts, start=1)}
    return found


@pytest.mark.parametrize("where", sources())
def test_a_plugin_imports_nothing_else_of_editkit(where: str) -> None:
    code = sources()[where]
    assert imported(code) | targets(code) <= DOORS


@pytest.mark.parametrize("folder", sorted((ROOT / "plugins").iterdir()), ids=lambda folder: folder.name)
def test_each_plugin_says_its_api_with_a_number_of_its_own(folder: Path) -> None:
    (module,) = folder.glob("*/__init__.py")
    said = [
        node.value.value
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EDITKIT_API"
        if isinstance(node.value, ast.Constant)
    ]
    assert said == [API_VERSION]


def test_every_name_of_the_facade_is_there() -> None:
    assert sorted(editkit.plugin.__all__) == sorted(dir(editkit.plugin)) == sorted(editkit.plugin._MODULES)
    assert len(set(editkit.plugin.__all__)) == len(editkit.plugin.__all__)
    for name in editkit.plugin.__all__:
        assert getattr(editkit.plugin, name) is not None
    with pytest.raises(AttributeError, match=r"module 'editkit\.plugin' has no attribute 'Nothing'"):
        _ = editkit.plugin.Nothing


def test_specs_load_neither_torch_nor_numpy_nor_an_image_library() -> None:
    code = """
    import sys
    from editkit.plugin import *SPECS*, Options, Site, EditkitError, VisuOptions, hookimpl
    import editkit_clip, editkit_coca, editkit_demo, editkit_llava, editkit_siglip, editkit_timm
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """
    specs = [name for name in editkit.plugin.__all__ if name.endswith("Spec")]
    program = dedent(code).replace("*SPECS*", ", ".join(specs))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "PIL", "transformers", "open_clip", "timm"}
