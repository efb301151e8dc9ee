"""What `sparring label --compare-provers` adds to a labelling run: which prover to choose before anything is trained.

Contract: reads finished label runs, prints the comparison and writes it to `provers/metrics.json` in the run directory.
Not here: the estimators (`provers.py`), making labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sparring.errors import SettingsError, plural
from sparring.labels.command import label_files
from sparring.labels.job import TRACES_FILE, labelled_values
from sparring.labels.settings import LabelSettings
from sparring.pool import PoolSettings
from sparring.progress.logs import logged_traces
from sparring.progress.provers import ProverComparison, compare_provers, comparison_metrics, comparison_table
from sparring.runs import write_metrics
from sparring.settings import dump_settings
from sparring.traces.readers import stream_traces
from sparring.traces.samples import FOLDER, sample_row, write_samples


def refuse_other_provers(settings: LabelSettings) -> None:
    """Refuse settings whose values are not those of the base policy.

    Raises:
        SettingsError: provers can only be compared on the base policy's own values.
    """
    wanted = {"prover": "base", "mode": "montecarlo", "adaptive": False}
    for name, value in wanted.items():
        if (given := getattr(settings, name)) != value:
            raise SettingsError(
                f"{name} is {given!r}; --compare-provers needs independent rollouts of the base policy itself "
                f"(best-of-K provers are derived from them): label with {name}={str(value).lower()}"
            )


def label_and_compare(
    settings: LabelSettings,
    out: Path,
    *,
    compare_provers: bool = False,
    other_run: Sequence[Path] | None = None,
    samples: bool = False,
    license: str = "unknown",
    console: Console,
    pool: PoolSettings | None = None,
) -> None:
    """Label solutions; where asked, write them as a data set to share, and end with the comparison of provers."""
    if compare_provers:
        refuse_other_provers(settings)
    label_files(settings, out, console, pool=pool)
    if samples:
        count = write_samples(
            out / FOLDER,
            (sample_row(trace) for trace in stream_traces(out / TRACES_FILE, "sparring")),
            command="sparring label",
            settings=dump_settings(settings),
            license=license,
        )
        console.print(f"{plural(count, 'sample')} to share: {out / FOLDER}", highlight=False)
    if compare_provers:
        compare_label_runs(out, other_run or (), console)


def compare_label_runs(out: Path, others: Sequence[Path], console: Console) -> ProverComparison:
    """Compare provers on the values of a finished run, show the table and write its metrics.

    Args:
        out: the run of the base policy.
        others: runs of other policies that labelled the same solutions; each is named by its folder.
        console: for the table.

    Raises:
        DataError: the runs do not fit together, or their values are no shares of rollouts.
    """
    traces = logged_traces(labelled_values(out), {other.name: labelled_values(other) for other in others})
    comparison = compare_provers(traces)
    console.print(comparison_table(comparison))
    write_metrics(
        out / "provers",
        comparison_metrics(comparison),
        settings={"run": str(out), "others": [str(other) for other in others]},
        seed=0,
    )
    return comparison
