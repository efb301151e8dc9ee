"""All search methods on the chain world: accuracy against compute with the tiny policy and a given PRM, N up to 64.

    python benchmarks/search_chain.py --prm runs/aprm/prm

One run of `sparring search` with several seeds of the search on the same problems; intervals are over problems. With
`--value` the beam goes by the effective reward of that value model, in the settings of PAV (three expansions, α = 0.5,
the best of 4 as prover). Writes `search_chain.json`, `.md` and `.svg` into the results folder; can be killed and
started again.
"""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from publishing import command_line, shown, table
from sparring.evaluation.search import CURVES_FILE, LINES, SearchSettings, run_search_command
from sparring.files import atomic_write_text
from sparring.runs import METRICS_FILE, Metric


def main() -> None:
    """Search and write."""
    parser = command_line(__doc__)
    parser.add_argument("--prm", required=True, help="PRM folder")
    parser.add_argument(
        "--value", action="store_true", help="the PRM is a value model: search with its progress"
    )
    parser.add_argument("--name", default="search_chain", help="name of the results' files")
    parser.add_argument("--run", type=Path, default=Path("runs/search-chain"))
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--most", type=int, default=64, help="largest N; the others are 1, 4, 16")
    parser.add_argument("--samples", type=int, default=128, help="independent solutions, for equal cost")
    parser.add_argument("--seeds", type=int, default=2, help="searches of every problem")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = SearchSettings(
        prm=arguments.prm,
        problems=arguments.problems,
        methods=("beam", "dvts", "lookahead", "puct", "particles"),
        n=tuple(sorted({n for n in (1, 4, 16, 64) if n < arguments.most} | {arguments.most})),
        baseline_samples=max(arguments.samples, arguments.most),
        repeats=arguments.seeds,
        expansions=3,
        alpha=0.5 if arguments.value else 0.0,
        max_steps=12,
        max_step_tokens=24,
        max_new_tokens=200,
        lookahead_steps=1,
        device="cpu",
    )
    metrics = run_search_command(settings, arguments.run, console=Console(width=200))
    arguments.results.mkdir(parents=True, exist_ok=True)
    for source, ending in ((METRICS_FILE, "json"), (CURVES_FILE, "svg")):
        text = (arguments.run / source).read_text(encoding="utf-8")
        atomic_write_text(arguments.results / f"{arguments.name}.{ending}", text)
    atomic_write_text(arguments.results / f"{arguments.name}.md", costs_table(metrics, settings))


OTHERS = {
    "best_of_n": "− best-of-N, same N",
    "best_of_n_at_equal_cost": "− best-of-N, same cost",
    "majority_at_equal_cost": "− majority, same cost",
}
NOTE = """
Costs per problem; work: how many independent solutions have as many tokens written; differences in points,
[95 % interval over problems], at the same N where that is the same work within a quarter.
"""


def costs_table(metrics: dict[str, Metric], settings: SearchSettings) -> str:
    """Return the results as Markdown."""
    rows = []
    for name in (*LINES, *settings.methods):
        for n in settings.n:
            key = f"search.{name}.n_{n}"
            if f"{key}.accuracy" not in metrics:
                continue
            costs = [metrics[f"{key}.{count}"].value for count in ("tokens_generated", "tokens_scored")]
            flops = metrics[f"{key}.flops"].value
            work = metrics[f"{key}.work"].value if f"{key}.work" in metrics else float(n)
            cells = [name.replace("_", " "), str(n)]
            cells += ["–" if work is None else f"{work:.1f}", shown(metrics[f"{key}.accuracy"])]
            cells += ["–" if cost is None else f"{cost:.0f}" for cost in costs]
            cells += ["–" if flops is None else f"{flops / 1e6:.0f}"]
            rows.append(cells + [compared(metrics, f"{key}.minus_{what}") for what in OTHERS])
    heads = ["method", "N", "work, solutions", "accuracy, %", "tokens written", "tokens scored", "MFLOPs"]
    return table([*heads, *OTHERS.values()], rows) + NOTE


def compared(metrics: dict[str, Metric], key: str) -> str:
    """Return a difference with interval and p-value, a dash where there is none."""
    metric = metrics.get(key)
    if metric is None or metric.value is None:
        return "–"
    return f"{metric.text(100)}, p = {metrics[f'{key}.p_value'].value:.3f}"


if __name__ == "__main__":
    main()
