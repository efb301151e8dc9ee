"""APRM on GSM8K with a real pretrained model: train, then measure the PRM before and after the game.

    python benchmarks/gsm8k_aprm.py --backbone models/SmolLM2-135M-Instruct --data data/gsm8k/train.jsonl \
        --processbench data/processbench/gsm8k.json --run runs/gsm8k-smollm2

Trains with the settings file (or goes on with the run in --run), writes the PRM as it was when the game began (warmed up
on rules only) and as it is at the end, and evaluates both on ProcessBench. Further settings can be given as key=value.
Writes `gsm8k_aprm.json` (the layout of metrics.json) and `gsm8k_aprm.md` into the results folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from publishing import ROOT, command_line, log_table, publish, shown, table
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.evaluation.scores import score_file
from sparring.runs import METRICS_FILE, JsonlLog, Metric, read_metrics
from sparring.scorers.door import StepScorer
from sparring.settings import dump_settings, load_settings
from sparring.training.aprm import AprmSettings, export_prm, load_snapshot, setup, train_aprm

MEASURES = ("f1", "accuracy_erroneous", "accuracy_correct", "step_auc", "solution_auc")
CURVE = (
    "fool_rate",
    "miss_rate",
    "failed",
    "undecided",
    "malformed",
    "prm_accuracy_clean",
    "prm_accuracy_fresh",
)


def main() -> None:
    """Train or go on, evaluate, write."""
    parser = command_line(__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "gsm8k-smollm2.yaml")
    parser.add_argument("--backbone", type=Path, required=True, help="model folder")
    parser.add_argument("--data", type=Path, required=True, help="GSM8K train file")
    parser.add_argument("--processbench", type=Path, required=True, help="ProcessBench subset")
    parser.add_argument("--run", type=Path, default=Path("runs/gsm8k-smollm2"))
    parser.add_argument("overrides", nargs="*", help="settings as key=value")
    arguments = parser.parse_args()
    overrides = [f"backbone={arguments.backbone}", f"data={arguments.data}", *arguments.overrides]
    settings = load_settings(AprmSettings, arguments.config, overrides)

    folders = {
        "after": train_aprm(settings, arguments.run, resume=True),
        "before": arguments.run / "prm-before",
    }
    run = setup(settings, arguments.run)
    load_snapshot(run, arguments.run, 0, "prm")
    export_prm(run, folders["before"])
    metrics = read_metrics(arguments.run / METRICS_FILE)
    for name, folder in folders.items():
        scores = arguments.run / f"scores-{name}.jsonl"
        score_file(folder, arguments.processbench, out=scores, show=0)
        given = {"data": [arguments.processbench], "scores": [scores], "seed": settings.seed}
        out = arguments.run / f"processbench-{name}"
        for rule, found in by_two_thresholds(given, out, arguments.processbench.stem).items():
            subset = f"processbench.{arguments.processbench.stem}."
            metrics |= {
                f"{name}.{rule}.{key.removeprefix(subset)}": metric
                for key, metric in found.items()
                if key.startswith(subset)
            }
            metrics[f"{name}.{rule}.threshold"] = found["processbench.threshold"]
    game = [one for one in JsonlLog(arguments.run / "log.jsonl").records() if one["phase"] == "game"]
    page = measures_table(metrics) + "\n" + log_table(["updates"], game, CURVE, 10, ".3f")
    publish(arguments.results, "gsm8k_aprm", metrics, page, settings=portable(settings), seed=settings.seed)


def by_two_thresholds(
    given: Mapping[str, Any], out: Path, split: str, scorer: StepScorer | None = None
) -> dict[str, dict[str, Metric]]:
    """Return ProcessBench's metrics by two rules for the threshold, in run directories named after them.

    `fixed` is 0.5, as trained; `best` the one with the best F1 on the subset `split`, which flatters that subset.
    """
    rules: dict[str, dict[str, Any]] = {"fixed": {"threshold": 0.5}, "best": {"threshold_split": split}}
    return {
        rule: evaluate_processbench(
            ProcessbenchSettings.model_validate({**given, **chosen}),
            out.with_name(f"{out.name}-{rule}"),
            scorer=scorer,
        )
        for rule, chosen in rules.items()
    }


def portable(settings: AprmSettings) -> dict[str, object]:
    """Return the settings with file names in place of this machine's paths."""
    return dump_settings(settings) | {
        "backbone": Path(settings.backbone).name,
        "data": None if settings.data is None else Path(settings.data).name,
    }


def measures_table(metrics: dict[str, Metric]) -> str:
    """Return the measures before and after as a Markdown table."""
    columns = [f"{name}.{rule}" for name in ("before", "after") for rule in ("fixed", "best")]
    heads = [f"{name} the game, {rule} threshold" for name, rule in (one.split(".") for one in columns)]
    rows = [[measure, *(shown(metrics[f"{one}.{measure}"]) for one in columns)] for measure in MEASURES]
    rows.append(["threshold", *(f"{metrics[f'{one}.threshold'].value:.3f}" for one in columns)])
    return table(["measure", *heads], rows)


if __name__ == "__main__":
    main()
