"""Every tuple's similarities, hits and ranks in a Parquet file: what the rates of a report were counted from.

A row for each tuple and model, with these columns:

    model, patch, control     the row of the report: its name, its patch, whether it is a control
    id, concept               the tuple
    s_vs_ts, s_vu_ts          float32: how similar the safe and the unsafe image are to the safe caption
    s_vs_tu, s_vu_tu          float32: and to the unsafe caption
    GS, Ts-Vs@5, ...          whether the tuple meets each metric of the evaluation
    rank Ts-Vs, ...           what else the evaluation says of a tuple (`columns`): here the place of the own safe item

The similarities are the very numbers that were compared, so that comparing them again gives the same hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from editkit.evals.embeddings import TupleEmbeddings, similarities_of
from editkit.files.outputs import new_file
from editkit.models.variants import Variant

SCHEMA = "editkit.tuples/1"


@dataclass
class SimilarityFile:
    """A Parquet file that grows by one row group per model."""

    path: Path
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the file's metadata says besides its schema."""
    _writer: Any = None

    def write(
        self, variant: Variant, embeddings: TupleEmbeddings, columns: Mapping[str, npt.NDArray[np.generic]]
    ) -> None:
        """Write a model's tuples.

        Args:
            columns: [n] each: its hits by metric, and what else is said of a tuple.
        """
        n, s = len(embeddings.ids), similarities_of(embeddings)
        table = {
            "model": pa.array([variant.name] * n, pa.string()),
            "patch": pa.array([variant.patch] * n, pa.string()),
            "control": np.full(n, variant.is_control),
            "id": pa.array(embeddings.ids, pa.string()),
            "concept": pa.array(embeddings.concepts, pa.string()),
            **{"s_vs_ts": s.ss, "s_vu_ts": s.us, "s_vs_tu": s.su, "s_vu_tu": s.uu},
            **columns,
        }
        self._write(pa.table(table))

    def _write(self, table: Any) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.path, table.schema.with_metadata({"schema": SCHEMA, **self.facts}), compression="zstd"
            )
        self._writer.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def similarity_file(path: Path, facts: Mapping[str, str]) -> Iterator[SimilarityFile]:
    """Give a file to write models to; it appears under its name when the block ends well.

    Raises:
        OutputError: `path` exists, or cannot be written.
    """
    with new_file(path) as partial:
        file = SimilarityFile(partial, facts)
        try:
            yield file
        finally:
            file.close()
