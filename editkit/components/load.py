"""Load plugins: entry points, each in its own `try`, then single files; and the host that functions use by default."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata, util
from pathlib import Path

import pluggy

from editkit.components import hooks
from editkit.components.admission import why_excluded
from editkit.components.host import BUILT_IN, Host
from editkit.errors import PluginError, did_you_mean, one_line
from editkit.files.paths import start_of, user_path
from editkit.libraries import header

VARIABLE = "EDITKIT_PLUGINS"
OFF = "off"


def _wanted(plugins: Sequence[tuple[str, str]]) -> set[str] | None:
    """Return the plugins that EDITKIT_PLUGINS allows (entry-point or distribution names), None for all.

    Args:
        plugins: the distribution and the entry point of each that is installed.

    Raises:
        PluginError: it names one that is not installed.
    """
    setting = os.environ.get(VARIABLE)
    if setting is None:
        return None
    wanted = set() if setting.strip().lower() == OFF else {name.strip() for name in setting.split(",")} - {""}
    known = {name for names in plugins for name in names}
    for stranger in sorted(wanted - known):
        raise PluginError(
            f"{VARIABLE}={setting}: no plugin called '{stranger}' is installed.{did_you_mean(stranger, {OFF, *known})}",
            f"It takes {OFF}, or names separated by commas of: {', '.join(sorted(dict(plugins))) or 'none'}.",
        )
    return wanted


def load_host(files: Sequence[str | Path] = ()) -> Host:
    """Load editkit's own components, then each installed plugin, then single `files`.

    Raises:
        PluginError: one of `files` is missing or fails; a file that was asked for is not optional. Or EDITKIT_PLUGINS
            names a plugin that is not installed.
    """
    manager = pluggy.PluginManager("editkit")
    manager.add_hookspecs(hooks)
    host = Host(manager)
    entries = _entry_points()
    wanted = _wanted([(plugin, entry.name) for plugin, entry in entries if plugin != BUILT_IN])
    for plugin, entry in entries:
        if wanted is not None and plugin != BUILT_IN and not wanted & {plugin, entry.name}:
            host.left_out.append(plugin)
            continue
        try:
            implementation = entry.load()
        except (Exception, SystemExit) as error:  # isolated: the others still load
            host.fail(plugin, error, why_excluded(entry.dist))
            continue
        host.register(plugin, implementation)
    for path in files:
        _register_file(host, user_path(path))
    return host


def _entry_points() -> list[tuple[str, metadata.EntryPoint]]:
    """Return the distributions with plugins, and the plugins, by name.

    editkit's own come first: of two components of a name they win.
    """
    entries = metadata.entry_points(group="editkit")
    found = [((entry.dist and header(entry.dist, "Name")) or entry.name, entry) for entry in entries]
    return sorted(found, key=lambda one: (one[0] != BUILT_IN, one[1].name))


def _register_file(host: Host, path: Path) -> None:
    module_spec = util.spec_from_file_location(path.stem, path)
    if not path.is_file() or module_spec is None or module_spec.loader is None:
        raise PluginError(
            f"Plugin file {path}{start_of(path)} does not exist or is no Python file.", "Pass --plugin FILE.py."
        )
    if _is_another_module(path):
        raise PluginError(
            f"Plugin file {path} has the name of another Python module, '{path.stem}'.", "Rename the file."
        )
    module = util.module_from_spec(module_spec)
    sys.modules[path.stem] = module  # so that the file's own targets ("name:Class") can be imported
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        raise PluginError(f"Plugin file {path} failed: {one_line(error)}", "Correct the file.") from error
    host.register(path.stem, module)
    if path.stem in host.failures:
        raise PluginError(f"Plugin file {path} failed: {host.failures[path.stem]}", "Correct the file.")


def _is_another_module(path: Path) -> bool:
    """Say whether importing the file's name gives, now or later, some other module."""
    try:
        known = util.find_spec(path.stem)
    except (ImportError, ValueError):  # a dotted name; a module without a spec, such as __main__
        return path.stem in sys.modules
    return known is not None and known.origin is not None and Path(known.origin).resolve() != path.resolve()


@cache
def default_host() -> Host:
    """Return the host that `host=None` means: the plugins that are installed, loaded once in a process."""
    return load_host()
