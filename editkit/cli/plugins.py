"""`editkit plugins list | show NAME | check`: what is installed; only `check` imports any of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from editkit.cli.console import emit_json, write_line
from editkit.cli.flags import Json
from editkit.cli.session import Session

app = typer.Typer(help="List, describe and check installed components.", no_args_is_help=True)


@app.command("list")
def list_components(ctx: typer.Context, json: Json = False) -> None:
    """List every component by kind, with the distribution it comes from."""
    from editkit.cli.table import print_table, prose, whole

    host = Session.of(ctx).host
    if json:
        components = [_describe(component) for component in host.components.values()]
        emit_json({"components": components, "failures": host.failures, "shadowed": _shadowed(host)})
        return
    print_table(
        [whole("kind"), whole("name"), whole("from"), prose("what it does")],
        [(found.spec.kind, found.spec.name, found.plugin, found.spec.summary) for found in host.components.values()],
    )
    for first, hidden in host.shadowed:
        write_line(
            f"{hidden.spec.kind} '{hidden.spec.name}' of {hidden.plugin} is hidden by {first.plugin}'s; "
            f"ask for it as {hidden.full_name}.",
            "yellow",
        )


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A component's name, or distribution/name.")],
    json: Json = False,
) -> None:
    """Describe components of a name: what they do, their options and their source."""
    from editkit.cli.table import print_table, prose, whole
    from editkit.errors import PluginError, did_you_mean

    host = Session.of(ctx).host
    found = [component for component in host.everything if name in (component.spec.name, component.full_name)]
    if not found:
        known = sorted({component.spec.name for component in host.everything})
        raise PluginError(
            f"No component is called '{name}'.{did_you_mean(name, known)}", "List them with `editkit plugins list`."
        )
    if json:
        emit_json({"components": [_describe(component) for component in found]})
        return
    for component in found:
        spec = component.spec
        write_line(Text.assemble((spec.name, "bold"), f"  {spec.kind} of {component.plugin}: {spec.summary}"))
        facts = [("source", spec.reference)] if spec.reference else []
        facts += [("code", spec.target)]
        for option, field in spec.options.model_fields.items():
            default = "required" if field.is_required() else f"default {field.get_default()}"
            facts += [("option", f"{option} ({default}): {field.description or ''}")]
        print_table([whole(), prose()], [(f"  {name}", fact) for name, fact in facts])


@app.command()
def check(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Plugins or components; everything by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Hold components to the contracts of their kinds, and say what is wrong; exit 3 if anything is."""
    from editkit.cli.console import quiet_libraries
    from editkit.testing.installed import check_installed

    quiet_libraries()
    found = check_installed(Session.of(ctx).host, names or ())
    if json:
        count = len(found.kept) + len(found.partly) + len(found.problems)
        emit_json({"checked": count, "partly": found.partly, "problems": found.problems})
    else:
        for name, why in found.partly.items():
            write_line(Text(f"{name} was checked in part: {why}", style="dim"))
        for name, why in found.problems.items():
            write_line(Text.assemble((name, "red"), f": {why}"))
        write_line(
            f"{len(found.kept)} components keep their contracts, {len(found.partly)} were checked in part, "
            f"{len(found.problems)} problems."
        )
    if found.problems:
        raise typer.Exit(3)


def _describe(component: Any) -> dict[str, Any]:
    spec = component.spec
    return {
        "kind": spec.kind,
        "name": spec.name,
        "plugin": component.plugin,
        "summary": spec.summary,
        "reference": spec.reference,
        "target": spec.target,
        "options": sorted(spec.options.model_fields),
    }


def _shadowed(host: Any) -> list[dict[str, str]]:
    return [{"hidden": hidden.full_name, "by": first.full_name} for first, hidden in host.shadowed]
