"""APRM on GSM8K with a real pretrained model: train, then measure the PRM before and after the game.

    python benchmarks/gsm8k_aprm.py --backbone models/SmolLM2-135M-Instruct --data data/gsm8k/train.jsonl \
        --processbench data/processbench/gsm8k.json --run runs/gsm8k-smollm2

Trains with the settings file (or goes on with the run in --run), writes the PRM as it was when the game began (warmed up
on rules only) and as it is at the end, and evaluates both on ProcessBench. Further settings can be given as key=value.
Writes `gsm8k_aprm.json` (the layout of metrics.json) and `gsm8k_aprm.md` into the results folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.evaluation.scores import score_file
from sparring.files import atomic_write_text
from sparring.runs import METRICS_FILE, JsonlLog, Metric, read_metrics, write_metrics
from sparring.settings import dump_settings, load_settings
from sparring.training.aprm import AprmSettings, export_snapshot, train_aprm

ROOT = Path(__file__).resolve().parents[1]
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "gsm8k-smollm2.yaml")
    parser.add_argument("--backbone", type=Path, required=True, help="model folder")
    parser.add_argument("--data", type=Path, required=True, help="GSM8K train file")
    parser.add_argument("--processbench", type=Path, required=True, help="ProcessBench subset")
    parser.add_argument("--run", type=Path, default=Path("runs/gsm8k-smollm2"))
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("overrides", nargs="*", help="settings as key=value")
    arguments = parser.parse_args()
    overrides = [f"backbone={arguments.backbone}", f"data={arguments.data}", *arguments.overrides]
    settings = load_settings(AprmSettings, arguments.config, overrides)

    folders = {
        "after": train_aprm(settings, arguments.run, resume=True),
        "before": arguments.run / "prm-before",
    }
    export_snapshot(settings, arguments.run, 0, folders["before"])
    metrics = read_metrics(arguments.run / METRICS_FILE)
    for name, folder in folders.items():
        scores = arguments.run / f"scores-{name}.jsonl"
        score_file(folder, arguments.processbench, out=scores, show=0)
        # Two rules for the threshold: as trained, and the best there is on these cases (optimistic).
        for rule, split in (("fixed", None), ("best", arguments.processbench.stem)):
            found = evaluate_processbench(
                ProcessbenchSettings(
                    data=[arguments.processbench],
                    scores=[scores],
                    threshold=None if split else 0.5,
                    threshold_split=split,
                    seed=settings.seed,
                ),
                arguments.run / f"processbench-{name}-{rule}",
            )
            subset = f"processbench.{arguments.processbench.stem}."
            metrics |= {
                f"{name}.{rule}.{key.removeprefix(subset)}": metric
                for key, metric in found.items()
                if key.startswith(subset)
            }
            metrics[f"{name}.{rule}.threshold"] = found["processbench.threshold"]
    write_metrics(
        arguments.results, metrics, settings=portable(settings), seed=settings.seed
    )  # as metrics.json, renamed below
    (arguments.results / METRICS_FILE).replace(arguments.results / "gsm8k_aprm.json")
    page = table(metrics) + "\n" + curve(arguments.run / "log.jsonl")
    atomic_write_text(arguments.results / "gsm8k_aprm.md", page)
    print(page)


def portable(settings: AprmSettings) -> dict[str, object]:
    """Return the settings with file names in place of this machine's paths."""
    return dump_settings(settings) | {
        "backbone": Path(settings.backbone).name,
        "data": None if settings.data is None else Path(settings.data).name,
    }


def table(metrics: dict[str, Metric]) -> str:
    """Return the measures before and after as a Markdown table."""
    columns = [(name, rule) for name in ("before", "after") for rule in ("fixed", "best")]
    lines = [
        "| measure | " + " | ".join(f"{name} the game, {rule} threshold" for name, rule in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for measure in MEASURES:
        cells = [metrics[f"{name}.{rule}.{measure}"].text(100) for name, rule in columns]
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    thresholds = [f"{metrics[f'{name}.{rule}.threshold'].value:.3f}" for name, rule in columns]
    lines.append("| threshold | " + " | ".join(thresholds) + " |")
    return "\n".join(lines) + "\n"


def curve(log: Path) -> str:
    """Return the game's shares, averaged over blocks of ten updates, as a Markdown table."""
    game = [record for record in JsonlLog(log).records() if record["phase"] == "game"]
    lines = [
        "| updates | " + " | ".join(name.replace("_", " ") for name in CURVE) + " |",
        "|---" * (len(CURVE) + 1) + "|",
    ]
    for start in range(0, len(game), 10):
        block = game[start : start + 10]
        cells = []
        for name in CURVE:
            values = [record[name] for record in block if record.get(name) is not None]
            cells.append(f"{sum(values) / len(values):.3f}" if values else "–")
        lines.append(f"| {block[0]['update']}–{block[-1]['update']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
