"""`editkit edit` and `editkit plan`: one signature, so that a plan is exactly the edit it announces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from editkit.cli import flags
from editkit.cli.console import emit_json, note, quiet_libraries
from editkit.cli.session import Session

EDIT_HELP = """Edit a model's weights and write the edit as a small, revertible patch.

    editkit edit --scorer uwm --alpha -1 --tau 0.02
"""
PLAN_HELP = "Show what `edit` with the same arguments would do: recipe, sites, memory, cache. Reads no weight."


def edit_command(*, plan_only: bool) -> Callable[..., None]:
    """Return the command; `plan_only` makes it stop at the plan, as `--dry-run` does."""

    def command(
        ctx: typer.Context,
        scorer: Annotated[str | None, typer.Option(help="How weights are scored. [default: uwm]")] = None,
        alpha: Annotated[
            float | None, typer.Option(help="What selected weights are multiplied by. [default: -1]")
        ] = None,
        tau: Annotated[float | None, typer.Option(help="Share of the score mass to select. [default: 0.02]")] = None,
        selector: Annotated[str | None, typer.Option(help="How weights are selected. [default: adaptive]")] = None,
        manipulator: Annotated[
            str | None, typer.Option(help="What is done to selected weights. [default: scale]")
        ] = None,
        model: flags.Model = None,
        data: flags.Data = None,
        target: Annotated[
            list[str] | None,
            typer.Option(
                help="Sites to edit, such as text:attn.out or vision:mlp.out[12:24]; may be repeated.", metavar="TARGET"
            ),
        ] = None,
        preserve: Annotated[
            list[str] | None,
            typer.Option(
                help="What refuse or redirect leave as it is: NAME or NAME:PATH, words or none; may be repeated.",
                metavar="DATA",
            ),
        ] = None,
        vision_tower: Annotated[
            str | None, typer.Option(help="Another model, whose vision tower replaces this one's.", metavar="MODEL")
        ] = None,
        text_tower: Annotated[
            str | None, typer.Option(help="Another model, whose text tower replaces this one's.", metavar="MODEL")
        ] = None,
        recipe: flags.RecipeFile = None,
        settings: flags.Settings = None,
        output: Annotated[
            Path | None,
            typer.Option(
                "-o", "--output", help="New folder for the patch. [default: in editkit-runs]", parser=flags.path
            ),
        ] = None,
        save: Annotated[
            Path | None, typer.Option(help="Also write the edited model, to this new folder.", parser=flags.path)
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan, as `plan` does.")] = False,
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
        from editkit.files.outputs import check_free
        from editkit.recipes.arguments import Arguments
        from editkit.recipes.layers import parse_settings

        asked = Arguments(
            recipe=recipe,
            settings=parse_settings(settings or []),
            model=model,
            data=data,
            targets=target,
            preserve=preserve,
            vision_tower=vision_tower,
            text_tower=text_tower,
            scorer=scorer,
            selector=selector,
            tau=tau,
            manipulator=manipulator,
            alpha=alpha,
            on_bad_item=on_bad_item,
            limit=limit,
            concepts=flags.words(concepts),
            split=split,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            device=device,
            dtype=dtype,
            autocast=autocast,
            memory=memory,
            cache=False if no_cache else None,
        )
        layers = asked.layers(called="flag", settings_called="--set")
        check_free(output, save)
        session = Session.of(ctx)
        quiet_libraries()
        from editkit.editing.plan import make_plan

        plan = make_plan(layers, session.host)
        if plan_only or dry_run:
            from editkit.cli.render_plan import plan_as_json, print_plan

            emit_json(plan_as_json(plan)) if json else print_plan(plan)
            return
        from editkit.api.bars import stage
        from editkit.api.carry_out import carry_out
        from editkit.cli.render_edit import edit_as_json, print_edit
        from editkit.cli.stopped import ANEW, from_cache, when_stopped

        when_stopped(ctx, ANEW if no_cache else from_cache("scores and statistics"))
        result = carry_out(plan, output=output, save=save, stage=stage)
        for line in result.notes:
            note(line)
        emit_json(edit_as_json(result)) if json else print_edit(result, session)

    command.__doc__ = PLAN_HELP if plan_only else EDIT_HELP
    return command
