"""What `sparring attack` does: load, attack, write, show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sparring.evaluation.attack import AttackResult, AttackSettings, attack
from sparring.evaluation.scoring import progress_bar
from sparring.evaluation.tables import percent, plain
from sparring.files import atomic_write_jsonl
from sparring.models.scorer import load_scorer
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.training.tasks import load_task

_COLUMNS = ("fool_rate", "miss_rate", "failed", "undecided", "malformed")


def run_attack(prm: Path, settings: AttackSettings, out: Path, *, console: Console) -> dict[str, Metric]:
    """Attack a PRM folder; write `metrics.json`, `attack.jsonl` (the trained adversary's curve) and `cases.jsonl`.

    Raises:
        CheckpointError, DataError: the PRM or the data cannot be used.
    """
    scorer = load_scorer(prm, device=settings.device)
    task = load_task(settings)
    with progress_bar(Console(stderr=True)) as bar:
        work = bar.add_task("attacking", total=settings.warm_steps + settings.updates)

        def progress(phase: str, done: int, total: int) -> None:
            bar.update(work, description=phase, advance=1)

        result = attack(scorer, task, settings, out / "attack.jsonl", progress)
    metrics = {f"attack.{name}": metric for name, metric in result.metrics.items()}
    write_metrics(
        out,
        metrics,
        settings=dump_settings(settings) | {"prm": str(prm), "threshold": scorer.threshold},
        seed=settings.seed,
        extra={"left_out": dict(task.left_out)},
    )
    atomic_write_jsonl(out / "cases.jsonl", _cases(result))
    console.print(_table(result, settings, scorer.threshold))
    console.print(f"untouched correct steps accepted: {percent(result.metrics['clean_accepted'])}")
    for reason, count in task.left_out.items():
        console.print(f"left out: {count} × {plain(reason)}", style="yellow")
    return metrics


def _table(result: AttackResult, settings: AttackSettings, threshold: float) -> Table:
    budget = f"{settings.updates} updates of {settings.states_per_update} states × {settings.samples_per_state} rewrites"
    table = Table(
        title="How often are wrong steps accepted?",
        caption=f"threshold {threshold:g}; trained with {budget}; 95 % intervals",
    )
    table.add_column("adversary")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for name in result.rewrites:
        table.add_row(name, *(percent(result.metrics[f"{name}.{column}"]) for column in _COLUMNS))
    return table


def _cases(result: AttackResult) -> Iterator[dict[str, Any]]:
    """Yield every evaluated rewrite with its verdict and score."""
    for name, made in result.rewrites.items():
        for state, group, row in zip(made.states, made.groups, result.scores[name], strict=True):
            scores = iter(row)
            for item in group:
                yield {
                    "adversary": name,
                    "id": state.problem.id,
                    "question": state.problem.question,
                    "prefix": state.prefix,
                    "step": state.step,
                    "rewrite": item.text,
                    "malformed": item.malformed,
                    "truth": None if item.verdict is None else item.verdict.truth,
                    "reason": None if item.verdict is None else item.verdict.reason,
                    "score": None if item.malformed is not None else next(scores),
                }
