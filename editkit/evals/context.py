"""What an evaluation of the form "model" is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

from editkit.components.beside import Companion
from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.specs import EvalSpec, JudgeSpec
from editkit.data.protocol import Evaluated as EvaluatedData
from editkit.data.tuples import LeftOut, TupleSet
from editkit.evals.encoder import Encoder
from editkit.evals.judges.panel import Chosen
from editkit.evals.provenance import describe_run
from editkit.evals.report import Chance, add_facts
from editkit.evals.subjects import LoadedPatches, calibrated_tuples, warn_of_overlap
from editkit.models.identity import ModelIdentity, identify_model
from editkit.models.variants import Variant
from editkit.progress import Stage
from editkit.recipes.recipe import Recipe
from editkit.reports.schema import SCHEMA, ComponentFacts, DataFacts, Omission, Report, Row


@dataclass(frozen=True)
class Evaluated:
    """A report; and the folder in which the evaluation keeps files of its own, the report among them, if it has one."""

    report: Report
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationContext:
    """One run of an evaluation, everything resolved and valid, and nothing loaded yet."""

    name: str
    """What the evaluation was asked for by, and what its report calls it."""
    choice: Choice
    recipe: Recipe
    """Of which `model`, `data`, `calibration` (split, limit, concepts, seed) and `compute` count."""
    adapter: Adapter
    files: ModelFiles
    device: str
    """What the model runs on, of what is there."""
    variants: Sequence[Variant]
    """The base, the patches, and their controls."""
    data: EvaluatedData
    """The items that were drawn: whole tuples, or labelled images."""
    patches: LoadedPatches
    judges: Sequence[Chosen]
    """Those that the user chose, of what the spec says that it has judged."""
    host: Host
    output: Path | None
    """Where the user wants the evaluation's own files."""
    runs: Path
    """Where they go if the user names no place: into a new folder below this one."""
    stage: Stage
    companions: Mapping[Companion, str | None] = field(default_factory=dict)
    """The data that go with the tuples and that the user asked for; None, or absent: those that the data set names."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of image files by path, so that each is hashed once."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing of how the data were found: the report's notes."""

    @property
    def spec(self) -> EvalSpec:
        """The evaluation's own."""
        assert isinstance(self.choice.spec, EvalSpec)
        return self.choice.spec

    @property
    def tuples(self) -> TupleSet:
        """The data of an evaluation of tuples."""
        assert isinstance(self.data, TupleSet)
        return self.data

    @cached_property
    def identity(self) -> str:
        """The sha256 of the base's tensors."""
        return self.files.checkpoint.identity()

    @cached_property
    def model_identity(self) -> ModelIdentity:
        """What the base's outputs depend on."""
        compute = self.recipe.compute
        return identify_model(self.adapter, self.files, self.identity, compute, self.device, self.host)

    @cached_property
    def encoder(self) -> Encoder:
        """What embeds the data with every variant; the model is loaded when the cache does not have something."""
        return Encoder(self.adapter, self.files, self.model_identity, self.recipe.compute, self.device, self.stage)

    def report(
        self,
        *,
        data: DataFacts,
        models: Sequence[Row],
        controls: Sequence[Row] = (),
        chance: Chance | None = None,
        left_out: Sequence[LeftOut] = (),
        warnings: Sequence[str] = (),
    ) -> Report:
        """Return a whole report of rows that the evaluation measured.

        Args:
            models: the base, then the edits; `reports.schema.Row` says what a row is.
        """
        made = Report(
            schema=SCHEMA,
            evaluation=self.name,
            data=data,
            chance={row: dict(levels) for row, levels in (chance or {}).items()},
            models=list(models),
            controls=list(controls),
            left_out=[Omission(id=item.id, reason=item.reason) for item in left_out],
            warnings=list(warnings),
        )
        return self.completed(made)

    def completed(
        self, report: Report, beside: Mapping[str, EvalSpec] | None = None, *, device: str | None = None
    ) -> Report:
        """Add what every report says: what its metrics are, what its numbers depend on, and which tuples flatter them.

        Args:
            beside: the other evaluations whose metrics stand in it, by metric.
            device: what numbers depend on, where it is not the device's name.
        """
        add_facts(report, self.spec, beside or {})
        if isinstance(self.data, TupleSet):
            report["warnings"] += warn_of_overlap(self.data, self.digests, calibrated_tuples(self.patches))
        report["notes"] = [*self.files.notes, *self.notes]
        options, device = self.choice.options, device or self.device
        report["run"] = describe_run(self.recipe, self.files, self.identity, self.patches, options, device)
        judges = [self.host.resolve(JudgeSpec, judge.name) for judge in self.judges]
        family = self.host.family_of(self.adapter)
        used = [self.spec, *(beside or {}).values(), *judges, self.recipe.data.spec, family]
        report["run"]["components"] = cast(list[ComponentFacts], self.host.origins(used))
        return report
