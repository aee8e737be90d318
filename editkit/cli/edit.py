"""`editkit edit` and `editkit plan`: one signature, so that a plan is exactly the edit it announces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from editkit.cli import flags
from editkit.cli.console import emit_json, note

EDIT_HELP = """Edit a model's weights and write the edit as a small, revertible patch.

    editkit edit --scorer uwm --alpha -1 --tau 0.02
"""
PLAN_HELP = "Show what `edit` with the same arguments would do: recipe, sites, memory, cache. Reads no weight."


def edit_command(*, plan_only: bool) -> Callable[..., None]:
    """Return the command; `plan_only` makes it stop at the plan, as `--dry-run` does."""

    def command(
        scorer: Annotated[str | None, typer.Option(help="How weights are scored. [default: uwm]")] = None,
        alpha: Annotated[float | None, typer.Option(help="Factor of selected weights. [default: -1]")] = None,
        tau: Annotated[float | None, typer.Option(help="Share of the score mass to select. [default: 0.02]")] = None,
        selector: Annotated[str | None, typer.Option(help="How weights are selected. [default: adaptive]")] = None,
        manipulator: Annotated[str | None, typer.Option(help="What they become. [default: scale]")] = None,
        model: flags.Model = None,
        data: flags.Data = None,
        target: Annotated[list[str] | None, typer.Option(help="Sites: text:attn.out, vision:mlp.out[12:24].")] = None,
        vision_tower: Annotated[
            str | None, typer.Option(help="Another model, whose vision tower takes this one's place.", metavar="MODEL")
        ] = None,
        text_tower: Annotated[
            str | None, typer.Option(help="Another model, whose text tower takes this one's place.", metavar="MODEL")
        ] = None,
        recipe: flags.RecipeFile = None,
        settings: flags.Settings = None,
        output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the patch.")] = None,
        save: Annotated[Path | None, typer.Option(help="Also write the edited model here.")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop at the plan.")] = False,
        json: flags.Json = False,
        limit: flags.Limit = None,
        concepts: flags.Concepts = None,
        split: flags.Split = None,
        seed: flags.Seed = None,
        batch_size: flags.BatchSize = None,
        workers: flags.Workers = None,
        device: flags.Device = None,
        dtype: flags.Dtype = None,
        autocast: flags.Autocast = None,
        memory: flags.Memory = None,
        no_cache: flags.NoCache = False,
        on_bad_item: flags.OnBadItem = None,
    ) -> None:
        from editkit.components.load import default_host
        from editkit.recipes.catalogue import origin
        from editkit.recipes.layers import given, parse_settings, read_recipe
        from editkit.recipes.tower_swap import tower_swap

        shared = flags.layer(
            model,
            data,
            limit,
            concepts,
            split,
            seed,
            batch_size,
            workers,
            device,
            dtype,
            no_cache,
            on_bad_item,
            autocast,
        )
        own = given(
            {
                "scorer.name": scorer,
                "selector.name": selector,
                "manipulator.name": manipulator,
                "manipulator.alpha": alpha,
                "selector.tau": tau,
                "targets": tuple(target) if target else None,
                "compute.memory": memory,
            }
        )
        own |= tower_swap(text_tower, vision_tower, own)
        layers = [(origin(recipe), read_recipe(recipe))] if recipe is not None else []
        layers += [("flag", {**shared, **own}), ("--set", parse_settings(settings or []))]
        host = default_host()
        from editkit.files.outputs import check_free

        for place in (output, save):
            if place is not None:
                check_free(place)
        from editkit.cli.console import quiet_libraries

        quiet_libraries()
        from editkit.editing.plan import make_plan

        plan = make_plan(layers, host)
        if plan_only or dry_run:
            from editkit.cli.render_plan import plan_as_json, print_plan

            emit_json(plan_as_json(plan)) if json else print_plan(plan)
            return
        from editkit.api import carry_out
        from editkit.cli.progress import stage
        from editkit.cli.render_edit import edit_as_json, print_edit

        result = carry_out(plan, output=output, save=save, stage=stage)
        for line in result.notes:
            note(line)
        emit_json(edit_as_json(result)) if json else print_edit(result)

    command.__doc__ = PLAN_HELP if plan_only else EDIT_HELP
    return command
