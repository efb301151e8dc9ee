"""Step scores as a column of a Ray Data set, for data larger than memory that flows through a cluster already.

    scored = score_dataset(ray.data.read_parquet("traces/"), "models/prm", actors=4)
    scored.write_parquet("scored/")

Contract: rows keep their columns and get one more; a row is a record in any format that is known and holds one trace
(`traces.readers`). Scores are those of `sparring score` to rounding, since Ray Data decides what is beside what. A row that
cannot be read or scored ends the job, as Ray Data's own errors do: what goes on from where it was killed, names what kills
it and writes every result once is `sparring score --engine ray`.
"""

from __future__ import annotations

import json
from typing import Any

from sparring.errors import DataError, install_extra, needs
from sparring.scorers.door import open_scorer
from sparring.scorers.pooled import BATCH, settled
from sparring.traces.fields import Fields
from sparring.traces.formats.common import Oddity, ReadOptions
from sparring.traces.readers import FORMATS, detect_format
from sparring.traces.records import Trace


def score_dataset(
    dataset: Any,
    model: str,
    *,
    column: str = "scores",
    data_format: str = "auto",
    actors: int = 1,
    cpus_per_actor: float = 1,
    gpus_per_actor: float = 0,
    batch: int = BATCH,
) -> Any:
    """Return the `ray.data.Dataset` with the step scores of every row; nothing is computed before it is asked for.

    Args:
        model: a PRM's folder, which every node has, or a server's address.
        column: name of the new column: per row a list with one number in [0, 1] per step.
        data_format: a name from `traces.readers.FORMATS`, or ``auto``.
        cpus_per_actor: cores that each reserves.
        gpus_per_actor: GPUs that each reserves.

    Raises:
        MissingPackageError: Ray Data is not installed.
    """
    with needs("score_dataset", "ray", install_extra("ray")):
        from ray.data import ActorPoolStrategy

    return dataset.map_batches(
        _Scoring,
        fn_constructor_args=(settled(model), column, data_format),
        batch_format="pyarrow",
        batch_size=batch,
        compute=ActorPoolStrategy(size=actors),
        num_cpus=cpus_per_actor,
        num_gpus=gpus_per_actor,
    )


class _Scoring:
    """Scores batches of rows in an actor."""

    def __init__(self, model: str, column: str, data_format: str) -> None:
        self._scorer, self._column, self._format = open_scorer(model), column, data_format

    def __call__(self, table: Any) -> Any:
        import pyarrow  # type: ignore[import-untyped]

        rows = self._scorer.score([self._trace(row) for row in table.to_pylist()])
        column = pyarrow.array(rows, type=pyarrow.list_(pyarrow.float64()))
        return table.append_column(self._column, column)

    def _trace(self, row: dict[str, Any]) -> Trace:
        """Return the one trace of a row.

        Raises:
            DataError: it has none, or several.
        """
        if isinstance(row.get("meta"), str):  # as our own Parquet files have it
            row = row | {"meta": json.loads(row["meta"])}
        name = detect_format(row) if self._format == "auto" else self._format
        found = list(FORMATS[name].traces(Fields(row), ReadOptions()))
        if len(found) != 1 or isinstance(found[0], Oddity):
            raise DataError(
                f"a row holds {len(found)} traces that can be used, and one is needed: {row!r:.200}"
            )
        return found[0]
