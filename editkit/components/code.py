"""Which code made a result: the version of each distribution behind it, and a digest of every module that can matter.

From a component this follows its own package, those of its class's bases, the plugins that its distribution requires or
imports, and editkit itself. A plain requirement counts by its version. What belongs to no distribution counts by its
content, wherever a plugin imports it: a plugin in one file, a package on PYTHONPATH.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from importlib import machinery, metadata, util
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from editkit.libraries import LIBRARIES, header, installed_version

OWN = "editkit"
SHOWING = frozenset({"cli", "reports", "testing"})
"""Rooms of editkit that show results, or check other code, and can change no number."""
INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class Code:
    """A distribution, or a module that belongs to none (then `version` is empty), as it was loaded.

    `digest` is the sha256 (hex) of all its modules. Empty: it counts by its version. None: its modules cannot be read,
    or were changed while the process ran, so that nobody knows what runs, and nothing may be cached under it.
    """

    name: str
    version: str = ""
    digest: str | None = ""


@dataclass
class Codebase:
    """The code of a host's plugins. Digests are taken once: what runs is what was loaded."""

    modules: dict[str, set[str]] = field(default_factory=dict)
    """By plugin: the modules that its hooks and its components are in."""
    _digests: dict[frozenset[str], tuple[object, str]] = field(default_factory=dict)
    """Of packages: when their files were changed last, and their digest."""
    _imports: dict[str, list[str]] = field(default_factory=dict)

    def note(self, plugin: str, module: str) -> None:
        """Add a module of a plugin."""
        self.modules.setdefault(plugin, set()).add(module)

    def of(self, plugin: str) -> Code:
        """Return the code of one plugin alone: a distribution's name, or what a single file is called."""
        name = canonicalize_name(plugin)
        if name in self._roots:
            return Code(plugin, installed_version(name) or "", self._digest(frozenset(self._roots[name])))
        roots = {root_of(module) for module in self.modules.get(plugin, ())}
        return Code(plugin, "", self._digest(frozenset(root for root in roots if root not in self._owners)))

    def behind(self, plugin: str, target: str, made: object) -> tuple[Code, ...]:
        """Return all the code that a component's results can depend on, by name.

        Args:
            plugin: what registered it.
            target: "package.module:Name".
            made: the class, or function, at the target.
        """
        found: dict[str, Code] = {}
        self._add(OWN, found)
        if canonicalize_name(plugin) in self._roots:
            self._add(canonicalize_name(plugin), found)
        bases = getattr(made, "__mro__", type(made).__mro__)
        for module in (target.partition(":")[0], *self.modules.get(plugin, ()), *(base.__module__ for base in bases)):
            self._follow(module, found)
        return tuple(found[name] for name in sorted(found))

    def _add(self, distribution: str, found: dict[str, Code]) -> None:
        """Add a plugin's distribution and what it requires."""
        if distribution in found:
            return
        found[distribution] = self.of(distribution)
        if distribution == OWN:  # whose libraries `versions` tells
            return
        for name in _required(distribution):
            if name in self._roots:
                self._add(name, found)
            elif version := installed_version(name):
                found.setdefault(name, Code(name, version))
        for root in sorted(self._roots[distribution]):
            for module in self._imported(root):
                if root_of(module) in self._owners or _is_loose(root_of(module)):
                    self._follow(module, found)

    def _follow(self, module: str, found: dict[str, Code]) -> None:
        """Add what a module belongs to: a plugin, a library, or nothing but its own package and its imports."""
        root = root_of(module)
        if root in self._owners:
            self._add(self._owners[root], found)
        elif _is_loose(root) and root not in found:
            found[root] = Code(root, "", self._digest(frozenset({root})))
            for imported in self._imported(root):
                self._follow(imported, found)
        elif root not in sys.stdlib_module_names and root not in LIBRARIES.values():
            for name in _distributions(root):
                found.setdefault(name, Code(name, installed_version(name) or ""))

    @cached_property
    def _roots(self) -> dict[str, set[str]]:
        """The packages of every distribution with plugins, loaded or not; an editable one lists no files."""
        found: dict[str, set[str]] = {}
        for entry in metadata.entry_points(group="editkit"):
            if entry.dist is not None and (name := header(entry.dist, "Name")):
                found.setdefault(canonicalize_name(name), set()).add(root_of(entry.module))
        owned = set().union(*found.values())
        for plugin, modules in self.modules.items():  # it may have further packages, but not another plugin's
            if canonicalize_name(plugin) in found:
                found[canonicalize_name(plugin)] |= {root_of(module) for module in modules} - owned
        return found

    @cached_property
    def _owners(self) -> dict[str, str]:
        return {root: name for name, roots in self._roots.items() for root in roots}

    def _imported(self, root: str) -> list[str]:
        """Return what the modules of a package import, which is looked up once, as digests are."""
        if root not in self._imports:
            self._imports[root] = sorted(_imports(root))
        return self._imports[root]

    def _digest(self, roots: frozenset[str]) -> str | None:
        files = _files(roots)
        try:
            stamp = [(each.st_size, each.st_mtime_ns) for each in (path.stat() for path in files.values())]
            before, known = self._digests.get(roots, (None, ""))
            if stamp != before:
                digest = _digest_of(files)
                if known not in ("", digest):
                    return None  # changed under a process that may have loaded the older modules
                self._digests[roots] = stamp, digest
        except OSError:
            return None
        return self._digests[roots][1] if files else None


def root_of(module: str) -> str:
    """Return the outermost package of a module that is no namespace: those hold several distributions' packages."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(1, len(parts)))
    return next((name for name in names if (spec := _spec(name)) and spec.origin is not None), module)


def _digest_of(files: Mapping[str, Path]) -> str:
    digest = sha256()
    for name in sorted(files):
        state = files[name].stat()
        digest.update(f"{name}\0{_file_digest(files[name], state.st_size, state.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


@cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    """Return the sha256 (hex) of a file of this size, last changed then: each host of a process would read them all."""
    return sha256(path.read_bytes()).hexdigest()


def _files(roots: frozenset[str]) -> dict[str, Path]:
    """Return the files of packages by name, wherever the packages lie; none where one is not made of files."""
    found: dict[str, Path] = {}
    for root in sorted(roots):
        spec = _spec(root)
        place = spec.origin if spec else getattr(sys.modules.get(root), "__file__", None)
        if spec and spec.submodule_search_locations:
            folders = spec.submodule_search_locations
            without = SHOWING if root == OWN else frozenset()
            own = {f"{root}/{name}": path for folder in folders for name, path in _walk(folder, without)}
        else:
            own = {root: Path(place)} if place and Path(place).is_file() else {}
        if not own:
            return {}
        found |= own
    return found


def _walk(folder: str, without: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """Yield every module below a folder, source or compiled, but for those in the subfolders `without`.

    A folder whose name is no identifier holds data: nothing can be imported from it.
    """
    suffixes = tuple(machinery.all_suffixes())
    for here, folders, names in os.walk(folder):
        inside = Path(here).relative_to(folder)
        left_out = without if not inside.parts else frozenset()
        folders[:] = [name for name in folders if name.isidentifier() and name not in {"__pycache__", *left_out}]
        for name in names:
            if name.endswith(suffixes):
                yield (inside / name).as_posix(), Path(here, name)


def _spec(name: str) -> machinery.ModuleSpec | None:
    try:
        return util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # a namespace that is none; `__main__`
        return None


def _is_loose(root: str) -> bool:
    """Whether a module belongs neither to Python nor to what is installed, so that only its content tells it apart."""
    if root in sys.stdlib_module_names:
        return False
    spec = _spec(root)
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else [""]
    return not any(
        INSTALLED & {*Path(place).parts} or any(Path(place).is_relative_to(folder) for folder in _standard_folders())
        for place in places
    )


@cache
def _standard_folders() -> list[Path]:
    return [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")]


def _imports(root: str) -> set[str]:
    """Return the modules that the files of a package import from elsewhere, those inside of functions too."""
    found: set[str] = set()
    for path in _files(frozenset({root})).values():
        if path.suffix == ".py":
            state = path.stat()
            found |= _file_imports(path, state.st_size, state.st_mtime_ns)
    return {name for name in found if root_of(name) != root and _spec(root_of(name)) is not None}


@cache
def _file_imports(path: Path, size: int, changed: int) -> frozenset[str]:
    """Return what a file of this size, last changed then, imports by an absolute name."""
    found: set[str] = set()
    with suppress(SyntaxError):  # a template among the modules
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module)
    return frozenset(found)


def _required(distribution: str) -> list[str]:
    """Return the names of what a distribution requires, its extras too: what is not installed counts for nothing."""
    found: list[str] = []
    with suppress(metadata.PackageNotFoundError):
        for line in metadata.requires(distribution) or []:
            with suppress(InvalidRequirement):
                found.append(canonicalize_name(Requirement(line).name))
    return found


def _distributions(root: str) -> list[str]:
    """Return the distributions that a top-level module comes from."""
    return [root] if installed_version(root) else sorted(set(_packages().get(root, ())))


@cache
def _packages() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()  # half a second: it reads what every distribution installed
