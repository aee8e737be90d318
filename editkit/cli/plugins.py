"""`editkit plugins list | show NAME | check`: what is installed, without importing any of it but for `check`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from editkit.cli.console import emit_json, out
from editkit.cli.flags import Json
from editkit.cli.session import Session

app = typer.Typer(help="List, describe and check installed components.", no_args_is_help=True)


@app.command("list")
def list_components(ctx: typer.Context, json: Json = False) -> None:
    """List every component by kind, with the distribution it comes from."""
    from rich.table import Table

    host = Session.of(ctx).host
    if json:
        components = [_describe(component) for component in host.components.values()]
        emit_json({"components": components, "failures": host.failures, "shadowed": _shadowed(host)})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("kind", "name", "from", "what it does"):
        table.add_column(header, no_wrap=header != "what it does")
    for component in host.components.values():
        spec = component.spec
        table.add_row(spec.kind, spec.name, component.plugin, spec.summary)
    out.print(table)
    for first, hidden in host.shadowed:
        out.print(
            f"{hidden.spec.kind} '{hidden.spec.name}' of {hidden.plugin} is hidden by {first.plugin}'s; "
            f"ask for it as {hidden.full_name}.",
            style="yellow",
        )


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A component's name, or distribution/name.")],
    json: Json = False,
) -> None:
    """Describe components of a name: what they do, their options and their source."""
    from editkit.errors import PluginError, did_you_mean

    host = Session.of(ctx).host
    everything = [*host.components.values(), *(hidden for _, hidden in host.shadowed)]
    found = [component for component in everything if name in (component.spec.name, component.full_name)]
    if not found:
        known = sorted({component.spec.name for component in everything})
        raise PluginError(
            f"No component is called '{name}'.{did_you_mean(name, known)}", "List them with `editkit plugins list`."
        )
    if json:
        emit_json({"components": [_describe(component) for component in found]})
        return
    for component in found:
        spec = component.spec
        out.print(f"[bold]{spec.name}[/bold]  {spec.kind} of {component.plugin}: {spec.summary}")
        if spec.reference:
            out.print(f"  source  {spec.reference}", highlight=False)
        out.print(f"  code    {spec.target}")
        for option, field in spec.options.model_fields.items():
            default = "required" if field.is_required() else f"default {field.get_default()}"
            out.print(f"  option  {option} ({default}): {field.description or ''}")


@app.command()
def check(ctx: typer.Context, json: Json = False) -> None:
    """Import every component and say what is wrong with those that fail; exit 3 if any does."""
    from editkit.cli.console import quiet_libraries
    from editkit.errors import EditkitError

    quiet_libraries()
    host = Session.of(ctx).host
    problems = dict(host.failures)
    for component in host.components.values():
        try:
            component.spec.load()
        except EditkitError as error:
            problems[component.full_name] = str(error).replace("\n", " ")
    if json:
        emit_json({"checked": len(host.components), "problems": problems})
    else:
        for plugin, why in problems.items():
            out.print(f"[red]{plugin}[/red]: {why}")
        out.print(f"{len(host.components)} components of {len(host.loaded)} plugins checked, {len(problems)} problems.")
    if problems:
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
