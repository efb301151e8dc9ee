"""The PRM's three objectives in the game on the chain world, under the same budget: expected, sampled, log score.

    python benchmarks/prm_objectives.py --run runs/prm-objectives

Every objective starts from the same warm-up on rules. Reported are means over the last ten updates of the game, and over
seeds with their range: accuracy on fresh wrong rewrites and on untouched steps, the norm of the PRM's gradient, and
seconds per update. Writes `prm_objectives.json` and `prm_objectives.md` into the results folder.
"""

from __future__ import annotations

from pathlib import Path

from publishing import command_line, json_lines, over_seeds, table
from sparring.files import atomic_write_json, atomic_write_text
from sparring.runs import machine, source_commit
from sparring.training.aprm import AprmSettings, train_aprm

MEASURES = ("prm_accuracy_fresh", "prm_accuracy_clean", "prm_gradient_norm", "seconds")
UNITS = {"prm_accuracy_fresh": "fraction", "prm_accuracy_clean": "fraction"}
LAST = 10


def main() -> None:
    """Train, average, write."""
    parser = command_line(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/prm-objectives"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--warm", type=int, default=8, help="PRM updates on rules")
    parser.add_argument("--updates", type=int, default=30, help="updates of the game")
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    for objective in ("expected", "sampled", "log_score"):
        found[objective] = {name: [] for name in MEASURES}
        for seed in range(arguments.seeds):
            settings = AprmSettings.model_validate(
                {
                    "prm_objective": objective,
                    "prm_warm_steps": arguments.warm,
                    "adversary_warm_steps": 30,
                    "updates": arguments.updates,
                    "states_per_update": 16,
                    "samples_per_state": 4,
                    "snapshot_every": 0,
                    "seed": seed,
                    "device": "cpu",
                }
            )
            folder = arguments.run / f"{objective}-{seed}"
            train_aprm(settings, folder, resume=True)
            records = json_lines(folder / "log.jsonl")[-LAST:]
            for name in MEASURES:
                values = [record[name] for record in records if record[name] is not None]
                found[objective][name].append(sum(values) / len(values))
    atomic_write_json(
        arguments.results / "prm_objectives.json",
        {
            "seeds": arguments.seeds,
            "warm": arguments.warm,
            "updates": arguments.updates,
            "commit": source_commit(),
            "machine": machine(),
            "per_seed": found,
        },
    )
    lines = [
        "# Objectives of the PRM\n",
        f"{arguments.seeds} seeds, {arguments.warm} updates on rules, then {arguments.updates} of the game; mean over the "
        f"last {LAST} with Student's 95 % interval (lowest to highest seed). "
        f"Commit {source_commit()}; {machine()['processor']}.\n",
        rows(found),
    ]
    atomic_write_text(arguments.results / "prm_objectives.md", "\n".join(lines))
    print("\n".join(lines))


def rows(found: dict[str, dict[str, list[float]]]) -> str:
    """Return the table of the values of every seed, by objective and measure."""
    lines = [
        [objective, *(over_seeds(values[name], ".3f", UNITS.get(name, "")) for name in MEASURES)]
        for objective, values in found.items()
    ]
    return table(["objective", *MEASURES], lines)


if __name__ == "__main__":
    main()
