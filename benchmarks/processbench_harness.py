"""Check the ProcessBench harness against published step scores: the same scores must give the known F1.

    python benchmarks/processbench_harness.py --data data/processbench

Needs a folder with `gsm8k.json`, `math.json` (here: every second record of the public subsets) and, for
each, the step scores that two public PRMs gave (`<subset>_public_prm_scores.jsonl`). `EXPECTED` was
computed on these halves with an independent script; `PUBLISHED` are the papers' numbers on the whole subsets
(arXiv 2412.06559 and 2501.07301), for orientation: they need not agree, least of all Skywork's, whose
published threshold was tuned on the GSM8K subset.

Writes `processbench_harness.json` (the layout of metrics.json) and `processbench_harness.md` into the results
folder, and ends with status 1 if an F1 differs from the expected one in the first decimal.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from publishing import DATA, command_line, publish, table
from sparring.errors import SparringError
from sparring.evaluation.processbench import MEASURES, evaluate, make_case
from sparring.evaluation.scored import SubsetTraces, Threshold, scores_from_files
from sparring.runs import Metric

SUBSETS = ("gsm8k", "math")
MODELS = {"qwen": "Qwen2.5-Math-PRM-7B", "skywork": "Skywork-o1-Open-PRM-Qwen-2.5-7B"}
EXPECTED = {
    ("qwen", "gsm8k"): 81.7,
    ("qwen", "math"): 76.2,
    ("skywork", "gsm8k"): 68.5,
    ("skywork", "math"): 51.4,
}
PUBLISHED = {
    ("qwen", "gsm8k"): 82.4,
    ("qwen", "math"): 77.6,
    ("skywork", "gsm8k"): 70.8,
    ("skywork", "math"): 53.6,
}
THRESHOLD = Threshold(0.5, "fixed 0.5")
AVERAGES = ("mean", "weighted", "pooled")


def main() -> int:
    """Measure, write both files, and return the exit status."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA / "processbench",
        help="folder with the subsets and their score files",
    )
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        metrics = measure(options.data, options.resamples, options.seed)
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    settings = {
        "inputs": digests(options.data),
        "threshold": THRESHOLD,
        "resamples": options.resamples,
        "interval": "95 %: percentile bootstrap over cases within subsets; Wilson for accuracies of a set",
    }
    publish(
        options.results,
        "processbench_harness",
        metrics,
        markdown(metrics, options.seed, options.resamples),
        settings=settings,
        seed=options.seed,
        extra={"expected_f1": {f"{key}.{subset}": value for (key, subset), value in EXPECTED.items()}},
    )
    return 0 if all(agrees(metrics, *place) for place in EXPECTED) else 1


def measure(data: Path, resamples: int, seed: int) -> dict[str, Metric]:
    """Return ``<model>.<subset or average>.<measure>`` for every model."""
    subsets = SubsetTraces([data / f"{subset}.json" for subset in SUBSETS])
    files = [data / f"{subset}_public_prm_scores.jsonl" for subset in SUBSETS]
    metrics: dict[str, Metric] = {}
    for key, model in MODELS.items():
        rows, _, _ = scores_from_files(subsets, files, model)
        cases = [
            make_case(identity, trace, row, subset)
            for identity, subset, trace in subsets.subsets()
            if (row := rows.get(identity)) is not None
        ]
        found = evaluate(cases, THRESHOLD, resamples=resamples, seed=seed)
        metrics |= {f"{key}.{name}": metric for name, metric in found.items()}
    return metrics


def agrees(metrics: dict[str, Metric], key: str, subset: str) -> bool:
    """Return whether an F1 rounds to the expected one."""
    value = metrics[f"{key}.{subset}.f1"].value
    return value is not None and round(100 * value, 1) == EXPECTED[key, subset]


def digests(data: Path) -> dict[str, str]:
    """Return the SHA-256 of every input file."""
    names = [f"{subset}{end}" for subset in SUBSETS for end in (".json", "_public_prm_scores.jsonl")]
    return {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in names}


def markdown(metrics: dict[str, Metric], seed: int, resamples: int) -> str:
    """Return the table of all measures, with the expected and the published F1 beside ours."""
    heads = ["model", "cases", "n", "expected F1", "published F1 (whole subset)", "F1"]
    heads += ["acc. erroneous", "acc. correct", "step AUC", "solution AUC"]
    rows = []
    for key, model in MODELS.items():
        for name in (*SUBSETS, *AVERAGES):
            place = (key, name)
            expected = (
                f"{EXPECTED[place]} ({'agrees' if agrees(metrics, *place) else 'DIFFERS'})"
                if place in EXPECTED
                else ""
            )
            cells = [metrics[f"{key}.{name}.{measure}"].text(100) for measure in MEASURES]
            n = metrics[f"{key}.{name}.f1"].n
            rows.append([model, name, str(n), expected, str(PUBLISHED.get(place, "")), *cells])
    return "\n".join(
        [
            "# ProcessBench harness against published step scores",
            "",
            f"Threshold {THRESHOLD.value} ({THRESHOLD.rule}). Percent, with 95 % intervals: percentile",
            f"bootstrap over cases within subsets ({resamples} resamples, seed {seed}), Wilson for the",
            "accuracies of one set of cases. Cases: every second record of each subset, so the published",
            "numbers, on whole subsets, are for orientation; `expected` was computed independently on the",
            "same halves. Averages: `mean` unweighted over subsets, `weighted` by cases, `pooled` all cases",
            "as one set.",
            "",
            table(heads, rows),
            "Made by `python benchmarks/processbench_harness.py`.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
