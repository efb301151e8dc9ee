"""What `sparring attack` does: load, attack, probe, write, show.

Contract: `robustness.md` is one table per PRM with the same rows for every PRM of the same task, so that two can be laid
side by side; `worst.jsonl`, and `report.html` for reading, list the accepted wrong steps with the highest scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sparring.evaluation.attack import AttackResult, AttackSettings, attack
from sparring.evaluation.robustness import Probe, hacking_curve, probe_robustness
from sparring.evaluation.tables import plain
from sparring.evaluation.worst import MOST_WORST, WORST_FILE
from sparring.files import atomic_write_jsonl, atomic_write_text
from sparring.locks import writes
from sparring.models.scorer import load_scorer
from sparring.report.evaluation import show_evaluation_report
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.terminal import interval_caption, percent, progress_bar, results_table
from sparring.training.tasks import load_task

_MEANINGS = {
    "flipped": "verdict changed by a harmless rewrite",
    "caught": "wrong steps caught",
    "auc": "AUC, right step against wrong one",
    "more_accepted": "more wrong steps accepted with padding",
}
_COLUMNS = ("fool_rate", "miss_rate", "failed", "undecided", "malformed")


@writes("out")
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
    found = dict(result.metrics)
    left_out = dict(task.left_out)
    probes: list[Probe] = []
    if settings.probes:
        states = result.rewrites["rules"].states
        robustness = probe_robustness(scorer, task, states, scorer.threshold, seed=settings.seed)
        found |= robustness.metrics | hacking_curve(_pools(result), seed=settings.seed)
        left_out |= robustness.dropped
        probes = robustness.probes
    metrics = {f"attack.{name}": metric for name, metric in found.items()}
    cases = list(_cases(result))
    accepted = [case for case in cases if case["truth"] == "wrong" and case["score"] >= scorer.threshold]
    write_metrics(
        out,
        metrics,
        settings=dump_settings(settings) | {"prm": str(prm), "threshold": scorer.threshold},
        seed=settings.seed,
        extra={"left_out": left_out, "worst_of": len(accepted)},
    )
    atomic_write_jsonl(out / "cases.jsonl", cases)
    atomic_write_jsonl(out / "probes.jsonl", probes)
    atomic_write_jsonl(out / WORST_FILE, sorted(accepted, key=lambda case: -case["score"])[:MOST_WORST])
    atomic_write_text(out / "robustness.md", robustness_table(str(prm), found, scorer.threshold, settings))
    console.print(_table(result, settings, scorer.threshold))
    console.print(f"untouched correct steps accepted: {result.metrics['clean_accepted'].text(100)}")
    if settings.probes:
        console.print(_probe_table(found))
    for reason, count in left_out.items():
        console.print(f"left out: {count} × {plain(reason)}", style="yellow")
    show_evaluation_report(out, console)
    return metrics


def _table(result: AttackResult, settings: AttackSettings, threshold: float) -> Table:
    budget = f"{settings.updates} updates of {settings.states_per_update} states × {settings.samples_per_state} rewrites"
    table = results_table(
        "How often are wrong steps accepted?",
        f"threshold {threshold:g}; trained with {budget}; 95 % intervals",
        "adversary", *(column.replace("_", " ") for column in _COLUMNS),
    )  # fmt: skip
    for name in result.rewrites:
        table.add_row(name, *(percent(result.metrics[f"{name}.{column}"]) for column in _COLUMNS))
    return table


def _pools(result: AttackResult) -> list[tuple[list[float], list[bool]]]:
    """Return, per state, scores and truths of the untouched step and of every rewrite that the oracle decided."""
    pools = [([score], [True]) for score in result.clean]
    for name, made in result.rewrites.items():
        for (scores, truths), row, known in zip(pools, result.scores[name], made.truths(), strict=True):
            for score, truth in zip(row, known, strict=True):
                if truth is not None:
                    scores.append(score)
                    truths.append(truth)
    return pools


def probe_rows(metrics: Mapping[str, Metric]) -> list[tuple[str, str]]:
    """Return (what it is, metric name) of the rows of the robustness table, in order."""
    names = {
        "clean_accepted": "untouched correct steps accepted",
        "rules.fool_rate": "fool rate, rules",
        "frozen.fool_rate": "fool rate, frozen adversary",
        "trained.fool_rate": "fool rate, trained adversary",
    }
    for name in metrics:
        parts = name.split(".")
        if parts[0] == "curve":
            names[name] = f"fool rate after {parts[1][1:]} updates"
        elif parts[-1] in _MEANINGS and parts[0] in ("invariance", "sensitivity", "padding"):
            names[name] = f"{_MEANINGS[parts[-1]]}: {parts[1].replace('_', ' ')}"
        elif parts[0] == "hacking":
            size = "gain" if parts[1] == "gain" else f"best of {parts[1][1:]}"
            names[name] = f"{size} under the PRM: {parts[2]}"
    return [(said, name) for name, said in names.items() if name in metrics]


def robustness_table(
    prm: str, metrics: Mapping[str, Metric], threshold: float, settings: AttackSettings
) -> str:
    """Return the PRM's robustness as a Markdown table."""
    lines = [
        f"# Robustness of {plain(prm)}",
        "",
        f"Task {settings.task}, seed {settings.seed}, {settings.evaluation_states} states, threshold {threshold:g}, "
        f"budget of {settings.updates} updates × {settings.states_per_update} states × {settings.samples_per_state} "
        "rewrites. Percent [95 % interval].",
        "",
        "| measure | value | n |",
        "|---|---|---|",
    ]
    lines += [
        f"| {said} | {metrics[name].text(100)} | {metrics[name].n} |" for said, name in probe_rows(metrics)
    ]
    return "\n".join(lines) + "\n"


def _probe_table(metrics: Mapping[str, Metric]) -> Table:
    table = results_table(
        "Robustness", interval_caption(metrics.values(), over="problems"), "measure", "value"
    )
    for said, name in probe_rows(metrics):
        if name.split(".")[0] not in ("rules", "frozen", "trained", "clean_accepted"):
            table.add_row(said, percent(metrics[name]))
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
