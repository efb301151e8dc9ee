"""Outcome reward models and value models on real GSM8K solutions: which are right, how sure, and the best of four.

    python benchmarks/gsm8k_values.py --backbone models/SmolLM2-135M-Instruct --data data/gsm8k --run runs/gsm8k-values

Two parts, together or one at a time (`--parts example,own`); what is finished in --run is not done again.

- `example`: GSM8K's published solutions of 6B and 175B models (four per problem, with outcomes). Both models learn from
  the outcomes of the training problems: the ORM at the last step, the value model at every step. A solution is one rollout
  of its writer from each of its own prefixes, so its outcome is an unbiased estimate of their value; rollouts of the small
  model would measure another, far weaker prover, and best-of-four chooses among the writers' solutions.
- `own`: the small model, after a brief fine-tuning on reference solutions of other problems, solves problems whose
  reference solution has two steps (without both restrictions next to no solution is right). `sparring label` measures every
  prefix of its solutions, and of the reference solutions, by rollouts; both models learn from that.

All splits are by problem. A held-out rollout is a case: a prefix with 3 right rollouts of 8 is 3 positive and 5 negative
cases, so nothing is thresholded. Intervals are 95 % bootstraps over problems of the mean over training seeds. The models
are the first `--layers` layers of the backbone with adapters in the last `--adapted` of them: what a CPU core can train.
Writes `gsm8k_values.json` (the layout of metrics.json) and `gsm8k_values.md` into the results folder.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fine_tuning import fine_tune
from gsm8k_measures import SPLITS, Tables, best_of_four, data_facts, measure, report
from publishing import command_line, publish
from sparring.errors import DataError, SettingsError
from sparring.evaluation.scores import stream_scores
from sparring.files import atomic_directory, atomic_write_json
from sparring.labels.command import run_label
from sparring.labels.job import labelled_values
from sparring.labels.posterior import estimate
from sparring.labels.settings import LabelSettings
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.prompts import layout_for
from sparring.models.scorer import load_scorer
from sparring.runs import METRICS_FILE, JsonlLog, Metric, machine, read_metrics, source_commit, write_metrics
from sparring.statistics import bootstrap_mean
from sparring.traces.formats.common import ReadOptions
from sparring.traces.jsonl import read_traces, write_problems, write_traces
from sparring.traces.readers import read_problems_as, read_traces_as
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import encode
from sparring.training.supervised import OrmSettings, SupervisedSettings, ValueSettings, train_supervised

KINDS: dict[str, type[SupervisedSettings]] = {"orm": OrmSettings, "value": ValueSettings}
SMALL = {"example_problems": (16, 8, 10), "own_problems": (4, 2, 2), "fine_tuning": 32, "layers": 4, "adapted": 2,
         "n_cov": 2, "n_mc": 2}  # fmt: skip
Options = argparse.Namespace


def main() -> None:
    """Do the parts asked for, then write the page of all parts that are done."""
    options = parse()
    torch.manual_seed(0)
    check_settings(options)
    parts: dict[str, Callable[[Options], dict[str, Metric]]] = {"example": example, "own": own}
    for name in options.parts.split(","):
        if name not in parts:
            raise SettingsError(f"--parts: {name!r} is not one of {', '.join(parts)}")
        if not (options.run / name / METRICS_FILE).exists():
            write_metrics(options.run / name, parts[name](options), settings=portable(options), seed=0)
    done = [name for name in parts if (options.run / name / METRICS_FILE).exists()]
    metrics = {k: v for name in done for k, v in read_metrics(options.run / name).items()}
    reliability = {name: _read_json(options.run / name / "reliability.json") for name in done}
    with JsonlLog(options.run / "costs.jsonl") as log:
        costs = list(log.records())
    extra = {"costs": costs, "reliability": reliability}
    about = (
        f"{options.seeds} training seeds on one split; first {options.layers} layers of {options.backbone.name}, "
        f"adapters in the last {options.adapted} of them. Commit {source_commit()}; {machine()['processor']}."
    )
    page = report(about, metrics, reliability, costs)
    publish(options.results, "gsm8k_values", metrics, page, settings=portable(options), extra=extra)


def parse() -> Options:
    """Return the options; `--small` sets every size to a miniature that only shows that all of it runs."""
    parser = command_line(__doc__)
    parser.add_argument("--backbone", type=Path, required=True, help="model folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with GSM8K's files")
    parser.add_argument("--run", type=Path, default=Path("runs/gsm8k-values"))
    parser.add_argument("--parts", default="example,own")
    parser.add_argument(
        "--seeds", type=int, default=2, help="training seeds 0, 1, …; the splits stay the same"
    )
    parser.add_argument("--layers", type=int, default=12, help="of the backbone's layers, the first so many")
    parser.add_argument("--adapted", type=int, default=5, help="of these, the last so many get adapters")
    for name, sizes in (("--example-problems", (200, 50, 200)), ("--own-problems", (75, 25, 60))):
        parser.add_argument(
            name, type=int, nargs=3, metavar=("TRAIN", "VALIDATION", "HELDOUT"), default=sizes
        )
    parser.add_argument("--fine-tuning", type=int, default=400, help="reference solutions to fine-tune on")
    parser.add_argument("--n-cov", type=int, default=4, help="solutions per problem")
    parser.add_argument("--n-mc", type=int, default=2, help="rollouts per prefix")
    parser.add_argument("--temperature", type=float, default=0.7, help="of solutions and rollouts")
    parser.add_argument("--small", action="store_true", help="a miniature; its numbers mean nothing")
    options = parser.parse_args()
    if options.small:
        vars(options).update(SMALL)
    return options


# --- the two parts ---------------------------------------------------------------------------------------------------


def example(options: Options) -> dict[str, Metric]:
    """Published solutions: train, measure, choose the best of four."""
    folder = options.run / "example"
    file = options.data / "example_model_solutions.jsonl"
    read = read_traces_as(file, "gsm8k_solutions", ReadOptions())
    write_split(folder, [_own_rollout(trace) for trace in read.traces], options.example_problems)
    scores = train_and_score(options, "example", balance="none")
    return measure("example", folder, scores) | best_of_four(folder, scores) | data_facts("example", folder)


def own(options: Options) -> dict[str, Metric]:
    """Solutions of the small model: fine-tune, sample, label by rollouts, train, measure."""
    folder = options.run / "own"
    folder.mkdir(parents=True, exist_ok=True)
    problems = read_problems_as(options.data / "train.jsonl", "gsm8k", ReadOptions()).problems
    easy = [problem for problem in problems if len(problem.solution or ()) == 2]
    random.Random(0).shuffle(easy)
    wanted = sum(options.own_problems)
    if len(easy) < wanted + options.fine_tuning:
        raise DataError(f"{len(easy)} problems with two steps are fewer than asked for", file=options.data)
    chosen, others = easy[:wanted], easy[wanted : wanted + options.fine_tuning]
    base = first_layers(options) if options.small else options.backbone
    if not (folder / "policy").exists():
        with timed(options, "own: fine-tuning of the policy") as note:
            solutions = [(problem.question, _written(problem)) for problem in others]
            note["tokens"] = fine_tune(base, solutions, folder / "policy", about="GSM8K")
    references = [Trace(p, _written(p), outcome=True, source="reference") for p in chosen]
    write_problems(folder / "problems.jsonl", chosen)
    write_traces(folder / "references.jsonl", references)
    traces: list[Trace] = []
    metrics: dict[str, Metric] = {}
    for name, file in (("sampled", "problems.jsonl"), ("reference", "references.jsonl")):
        labels = folder / f"labels-{name}"
        if not (labels / METRICS_FILE).exists():
            settings = LabelSettings(
                policy=str(folder / "policy"), data=str(folder / file), data_format="sparring",
                solutions="sample" if name == "sampled" else "given", n_cov=options.n_cov, n_mc=options.n_mc,
                temperature=options.temperature, max_new_tokens=120, last_number=False,
                device="cpu", dtype="bfloat16",
            )  # fmt: skip
            with timed(options, f"own: labels, {name}") as note:
                run_label(settings, labels, Console(stderr=True))
                cost = read_metrics(labels)
                note["tokens"] = sum(cost[f"label.tokens_{k}"].value or 0 for k in ("generated", "prefilled"))
        traces += [replace(one, source=name) for one in read_traces(labels / "traces.jsonl")]
        metrics |= {f"own.{name}.{k}": v for k, v in read_metrics(labels).items()}
        metrics |= {f"own.{name}.{k}": v for k, v in values_by_length(labels).items()}
    write_split(folder, traces, options.own_problems)
    scores = train_and_score(options, "own", balance="weights")
    return metrics | measure("own", folder, scores) | data_facts("own", folder)


def values_by_length(labels: Path) -> dict[str, Metric]:
    """Return the share of right rollouts after so many steps, for prefixes of up to two; intervals over problems."""
    found: dict[str, Metric] = {}
    runs = labelled_values(labels)
    for length in range(3):
        cases = [one for one in runs if length < len(one.counts) and one.counts[length]]
        values = [one.values[length] for one in cases]
        problems = [one.trace.problem.id for one in cases]
        found[f"value_after_{length}"] = bootstrap_mean(values, clusters=problems, unit="fraction")
    return found


def write_split(folder: Path, traces: Sequence[Trace], sizes: Sequence[int]) -> None:
    """Write train.jsonl, validation.jsonl and heldout.jsonl: so many problems each, in a seeded random order.

    Raises:
        DataError: there are fewer problems than that.
    """
    names = sorted({trace.problem.question for trace in traces})
    random.Random(0).shuffle(names)
    if len(names) < sum(sizes):
        raise DataError(f"{sum(sizes)} problems are asked for, the solutions are of {len(names)}")
    start = 0
    for split, size in zip(SPLITS, sizes, strict=True):
        chosen = set(names[start : start + size])
        write_traces(folder / f"{split}.jsonl", [one for one in traces if one.problem.question in chosen])
        start += size


# --- training and scoring --------------------------------------------------------------------------------------------


def train_and_score(options: Options, part: str, *, balance: str) -> dict[str, Tables]:
    """Train every kind with every seed; return split → kind → seed → rows of step scores."""
    folder, base = options.run / part, first_layers(options)
    adapted = "|".join(str(n) for n in range(options.layers - options.adapted, options.layers))
    splits = {split: read_traces(folder / f"{split}.jsonl") for split in SPLITS[1:]}
    scores: dict[str, Tables] = {split: {kind: [] for kind in KINDS} for split in splits}
    for kind, cls in KINDS.items():
        for seed in range(options.seeds):
            out = folder / f"{kind}-{seed}"
            settings = cls.model_validate(
                {
                    "data": str(folder / "train.jsonl"), "data_format": "sparring", "validation_share": 0.0,
                    "backbone": str(base), "adapter": "lora", "seed": seed, "calibrate": False,
                    "lora_targets": rf".*layers\.({adapted})\..*_proj", "class_balance": balance,
                    "batch_traces": 16, "token_budget": 2048, "learning_rate": 5e-4, "warmup_share": 0.1,
                    "checkpoint_every": 20, "device": "cpu", "dtype": "bfloat16",
                }
            )  # fmt: skip
            if not (out / METRICS_FILE).exists():
                with timed(options, f"{part}: training") as note:
                    train_supervised(settings, out, resume=True)
                    with JsonlLog(out / "log.jsonl") as log:
                        note["tokens"] = sum(record["tokens"] for record in log.records())
            for split, traces in splits.items():
                scores[split][kind].append(step_scores(options, part, out, split, traces))
    return scores


def step_scores(
    options: Options, part: str, run: Path, split: str, traces: Sequence[Trace]
) -> list[list[float]]:
    """Return a row of scores per trace, computed once."""
    file = run / f"scores-{split}.json"
    if not file.exists():
        with timed(options, f"{part}: scoring") as note:
            scorer = load_scorer(run / "model", device="cpu", dtype="bfloat16", batch_tokens=2048)
            journal = file.with_suffix(".partial")
            made = stream_scores(
                scorer, lambda: traces, journal=journal, scorer_name=str(run), total=len(traces)
            )
            rows = [row for _, row in made]
            tokenizer = load_tokenizer(run / "model")
            layout = layout_for(tokenizer, "plain")
            note["tokens"] = sum(
                len(encode(one.problem.question, one.steps, tokenizer, layout).input_ids) for one in traces
            )
        atomic_write_json(file, rows)
    found: list[list[float]] = _read_json(file)
    return found


def first_layers(options: Options) -> Path:
    """Write the first layers of the backbone as an ordinary folder, once."""
    folder: Path = options.run / f"backbone-{options.layers}"
    if not folder.exists():
        model = load_causal_model(options.backbone, device=torch.device("cpu"), dtype=torch.float32)
        del model.model.layers[options.layers :]
        model.config.num_hidden_layers = options.layers
        with atomic_directory(folder) as draft:
            model.save_pretrained(draft)
            load_tokenizer(options.backbone).save_pretrained(draft)
    return folder


# --- small things ----------------------------------------------------------------------------------------------------


@contextmanager
def timed(options: Options, stage: str) -> Iterator[dict[str, Any]]:
    """Note the stage's CPU and wall seconds, and what its body adds, in costs.jsonl once it is finished."""
    note: dict[str, Any] = {"stage": stage}
    cpu, wall = time.process_time(), time.perf_counter()
    yield note
    spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    with JsonlLog(options.run / "costs.jsonl") as log:
        log.append(note | spent)


def portable(options: Options) -> dict[str, Any]:
    """Return the options that results depend on, with file names in place of this machine's paths."""
    free = {"run", "results", "parts", "data", "backbone"}
    kept = {name: value for name, value in vars(options).items() if name not in free}
    return json.loads(json.dumps(kept)) | {"backbone": options.backbone.name}  # type: ignore[no-any-return]


def check_settings(options: Options) -> None:
    """Keep the options beside the run.

    Raises:
        SettingsError: the run directory was begun with other ones.
    """
    file = options.run / "settings.json"
    if file.exists() and _read_json(file) != portable(options):
        raise SettingsError(
            f"'{options.run}' was begun with other options, see {file.name}; choose another --run"
        )
    options.run.mkdir(parents=True, exist_ok=True)
    atomic_write_json(file, portable(options))


def _own_rollout(trace: Trace) -> Trace:
    """Take the solution for the one rollout from each of its prefixes."""
    return replace(trace, estimates=tuple(estimate(int(bool(trace.outcome)), 1) for _ in trace.steps))


def _written(problem: Problem) -> tuple[str, ...]:
    """Return the reference solution with its answer as the last step, as the policy is to write it."""
    return (*(problem.solution or ()), f"#### {problem.answer}")


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
