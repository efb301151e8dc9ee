"""The demo's numbers as a table: PRMs under the same budget, trained on rules, on a frozen generator and in the game.

    python benchmarks/demo.py --run runs/demo
    python benchmarks/demo.py --run runs/demo --more-seeds 1 2

Runs `sparring demo` in the folder unless it has been run there, and with each further seed in a folder beside it, then
writes `demo.json` (the first run's metrics.json) and `demo.md` into the results folder, `demo_seeds.json` and `.md` where
there are more seeds, and the picture of the README where --picture names one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from publishing import command_line, over_seeds, table
from sparring.demo import DemoSettings, run_demo
from sparring.files import atomic_write_json, atomic_write_text, writing
from sparring.report import plots
from sparring.report.cases import METHOD_NAMES, SPLIT_NAMES
from sparring.report.demo import KNOWN_OR_NOT, STRICT, kind_bars, prm_bars, solver_bars
from sparring.report.page import read_run
from sparring.runs import METRICS_FILE, Metric, machine, read_metrics, source_commit
from sparring.settings import load_settings

SPLITS = ("in_distribution", "longer")
PAIRS = (
    "aprm_minus_rules_prm",
    "aprm_minus_frozen_prm",
    "frozen_prm_minus_rules_prm",
    "rules_prm_minus_random",
    "rules_prm_minus_majority",
    "aprm_minus_majority",
)


def main() -> None:
    """Run if need be, and write."""
    parser = command_line(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--picture", type=Path, help="PNG to write")
    parser.add_argument("--more-seeds", type=int, nargs="*", default=[], help="further seeds, to compare")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the demo as key=value")
    arguments = parser.parse_args()
    metrics = measured(arguments.run, arguments.set)
    arguments.results.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(arguments.run / METRICS_FILE, arguments.results / "demo.json")
    text = page(metrics)
    atomic_write_text(arguments.results / "demo.md", text)
    if arguments.picture is not None:
        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
        write_result_picture(arguments.run, arguments.picture)
    print(text)
    if arguments.more_seeds:
        runs = {"first run": metrics}
        for seed in arguments.more_seeds:
            folder = arguments.run.with_name(f"{arguments.run.name}-seed-{seed}")
            runs[f"seed {seed}"] = measured(folder, [*arguments.set, f"seed={seed}"])
        write_seeds(runs, arguments.results)


def page(metrics: dict[str, Metric]) -> str:
    """Return all tables of a demo."""
    tables = (solver_table, kind_table, error_table, attack_table, cost_table)
    return "\n".join(table(metrics) for table in tables)


def measured(folder: Path, overrides: list[str]) -> dict[str, Metric]:
    """Return the metrics of a demo, which is run unless it has been."""
    if not (folder / METRICS_FILE).exists():
        run_demo(load_settings(DemoSettings, None, overrides), folder)
    return read_metrics(folder / METRICS_FILE)


def write_seeds(runs: dict[str, dict[str, Metric]], results: Path) -> None:
    """Write the main numbers of every seed, and their mean with the range over seeds."""
    names = [
        f"best_of_n.{split}.{what}"
        for split in SPLITS
        for what in (*(f"{method}.accuracy" for method in ("random", "majority", *METHOD_NAMES)), *PAIRS)
    ]
    names += [f"step_error.{split}.{method}.step_auc" for split in SPLITS for method in METHOD_NAMES]
    names += [f"kinds.{method}.{group}.accepted" for method in METHOD_NAMES for group in KNOWN_OR_NOT]
    names += [
        f"attack.{method}.trained.{rate}"
        for rate in ("fool_rate", "fool_rate_at_98")
        for method in METHOD_NAMES
    ]
    rows = []
    for name in names:
        values = [100 * float(value) for run in runs.values() if (value := run[name].value) is not None]
        rows.append([name, *(cell(run, name) for run in runs.values()), over_seeds(values)])
    page = table(["%", *runs, "mean [95 % interval, Student's t] (range)"], rows)
    atomic_write_text(results / "demo_seeds.md", page)
    seeds = {title: {name: run[name].value for name in names} for title, run in runs.items()}
    atomic_write_json(
        results / "demo_seeds.json", {"commit": source_commit(), "machine": machine(), "seeds": seeds}
    )
    print(page)


def solver_table(metrics: dict[str, Metric]) -> str:
    """Return accuracies of choosing one of N solutions, and the paired differences."""
    names = {m: f"{m}.accuracy" for m in ("greedy", "random", "majority", *METHOD_NAMES, "ceiling", "oracle")}
    names |= {pair.replace("_", " "): pair for pair in PAIRS}
    rows = [
        [said, *(cell(metrics, f"best_of_n.{split}.{name}") for split in SPLITS)]
        for said, name in names.items()
    ]
    return table(["solver accuracy, %", "in distribution", "longer chains"], rows)


def kind_table(metrics: dict[str, Metric]) -> str:
    """Return how many wrong steps of every kind are accepted."""
    kinds = dict.fromkeys(name.split(".")[2] for name in metrics if name.startswith("kinds."))
    rows = [
        [
            kind.replace("_", " "),
            *(cell(metrics, f"kinds.{method}.{kind}.accepted") for method in METHOD_NAMES),
        ]
        for kind in kinds
    ]
    return table(["wrong steps accepted, %", *METHOD_NAMES], rows)


def error_table(metrics: dict[str, Metric]) -> str:
    """Return how well the solver's first errors are found."""
    columns = [(split, method) for split in SPLITS for method in METHOD_NAMES]
    rows = [
        [measure, *(cell(metrics, f"step_error.{split}.{method}.{measure}") for split, method in columns)]
        for measure in ("f1", "accuracy_erroneous", "accuracy_correct", "step_auc", "step_auc_within")
    ]
    return table(
        ["first errors, %", *(f"{split.replace('_', ' ')}, {method}" for split, method in columns)], rows
    )


def attack_table(metrics: dict[str, Metric]) -> str:
    """Return fool rates per attacker, and what is accepted of untouched steps."""
    names = {f"{attacker} adversary": f"{attacker}.fool_rate" for attacker in ("rules", "frozen", "trained")}
    names["trained adversary, where 98 % of untouched steps are accepted"] = "trained.fool_rate_at_98"
    names["untouched steps accepted"] = "clean_accepted"
    rows = [
        [said, *(cell(metrics, f"attack.{m}.{name}") for m in METHOD_NAMES)] for said, name in names.items()
    ]
    return table(["fool rate, %", *METHOD_NAMES], rows)


def cost_table(metrics: dict[str, Metric]) -> str:
    """Return what the trainings cost."""
    rows = [
        [name.replace("_", " "), *(f"{metrics[f'training.{one}.{name}'].value:.0f}" for one in METHOD_NAMES)]
        for name in ("seconds", "updates", "labelled_steps")
    ]
    return table(["training", *METHOD_NAMES], rows)


def write_result_picture(run: Path, picture: Path) -> None:
    """Draw what every PRM accepts, and best-of-N accuracy on both splits, as one wide PNG on a light ground."""
    metrics = read_metrics(run / METRICS_FILE)
    settings = read_run(run).settings
    n, known = settings.get("best_of_n", "N"), settings.get("rule_kinds") or ["all kinds"]
    groups = {"known": f"{', '.join(known)}: the rules know it", "unlisted": "five kinds that nobody listed"}
    attacker = {f"trained.{STRICT}": "what an adversary gets past"}
    accepted = kind_bars(metrics, groups) | prm_bars(metrics, "attack.{}.{}", attacker)
    with matplotlib.rc_context(plots.RC):
        layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.12)
        figure = Figure(figsize=(16.5, 4.2), layout=layout, facecolor=plots.PALETTE["paper"])
        first, *others = figure.subplots(1, 3)
        plots.set_title(first, "Wrong steps accepted (lower is better)", legend_rows=1)
        plots.draw_bars(first, accepted)
        for axes, (split, name) in zip(others, SPLIT_NAMES.items(), strict=True):
            plots.set_title(axes, f"Best of {n}: {name}", legend_rows=1)
            plots.draw_bars(axes, solver_bars(metrics, split))
        for axes in (first, *others):
            axes.set_facecolor(plots.PALETTE["paper"])
        with writing(picture):
            figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})


def cell(metrics: dict[str, Metric], name: str) -> str:
    """Return a metric as a percentage with its interval."""
    return metrics[name].text(100)


if __name__ == "__main__":
    main()
