"""Audit of the arithmetic and reference oracles on real steps: false alarms, recall, undecided, speed.

    python benchmarks/oracle_audit.py --data DATA --out runs/oracle_audit

Contract: reads GSM8K, MATH, ProcessBench and PRMBench from `--data` (subsets that are absent are named and
skipped), judges every step, and writes `metrics.json` (rates with Wilson 95 % intervals), `table.md`, and
`cases.jsonl` (every verdict of ``wrong`` on a step labelled correct, to be read by a person). What counts as
a correct step: all steps of solutions labelled correct and the steps before the first error; what counts as
wrong: the first error. Errors that are not arithmetic (a wrong reading of the problem) are in the recall's
denominator: the oracle cannot see them. Subsets named ``presumed_correct`` are solutions of models whose
final answer is correct: single steps of them can be wrong, so that their false alarms are an upper bound.

The reference oracle is measured on rule perturbations (which it should call wrong) and, for false alarms, on
text that its own package did not make: the rewrites and the real pairs of `oracle_rewrites.py`. Pairs of one
problem share texts, so their intervals, which take cases to be independent, are too narrow.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle_rewrites import REWRITERS, model_solutions, real_pairs
from sparring.oracles import PERTURBATIONS, ReferenceOracle, judge_against, perturb
from sparring.oracles.arithmetic import judge_text
from sparring.oracles.equations import ANNOTATION
from sparring.traces.records import Problem

EXAMPLE_SOLUTIONS = "gsm8k/example_model_solutions.jsonl"
REPLACEMENT_HEADER = ("kind", "pairs", "wrong", "correct", "undecided", "judgements/s")
Case = tuple[str, str]  # where it comes from, the step


@dataclass(frozen=True)
class Subset:
    """Steps of one source: those labelled correct, and first errors."""

    name: str
    correct: list[Case]
    wrong: list[Case]


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson 95 % interval of a rate; (0, 1) for an empty sample."""
    if total == 0:
        return 0.0, 1.0
    rate = successes / total
    centre = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def metric(successes: int, total: int) -> dict[str, Any]:
    """Return a rate with its interval and sample size."""
    low, high = wilson(successes, total)
    return {
        "value": successes / total if total else None,
        "low": low,
        "high": high,
        "n": total,
        "unit": "rate",
    }


# --- the data ---


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def gsm8k_traces(path: Path) -> list[tuple[str, list[str]]]:
    """Return (question, steps) of GSM8K reference solutions, the answer line left out."""

    def steps_of(answer: str) -> list[str]:
        return [step for step in answer.split("\n") if step.strip() and not step.startswith("####")]

    return [(record["question"], steps_of(record["answer"])) for record in lines(path)]


def numbered(traces: Iterable[Sequence[str]]) -> list[Case]:
    """Return the non-empty steps of traces as cases named ``trace.step``."""
    return [
        (f"{index}.{number}", step)
        for index, steps in enumerate(traces)
        for number, step in enumerate(steps)
        if step.strip()
    ]


def load_subsets(data: Path) -> list[Subset]:
    """Return the subsets whose files are there; names the missing ones on stderr."""
    subsets: list[Subset] = []
    for split in ("train", "test"):
        if present(path := data / "gsm8k" / f"{split}.jsonl"):
            cases = numbered(steps for _, steps in gsm8k_traces(path))
            bare = [(name, ANNOTATION.sub("", step)) for name, step in cases]
            subsets += [Subset(f"gsm8k_{split}", cases, []), Subset(f"gsm8k_{split}_bare", bare, [])]
    if present(path := data / EXAMPLE_SOLUTIONS):
        solutions = [solution for record in lines(path) for solution in model_solutions(record)]
        cases = numbered(steps for correct, steps in solutions if correct)
        subsets.append(Subset("gsm8k_model_solutions_presumed_correct", cases, []))
    for name in ("gsm8k", "math"):
        if present(path := data / "processbench" / f"{name}.json"):
            subsets.append(processbench(f"processbench_{name}", json.loads(path.read_text(encoding="utf-8"))))
    if present(path := data / "math" / "train_traces.jsonl"):
        subsets.append(Subset("math_train_traces", numbered(record["steps"] for record in lines(path)), []))
    if present(path := data / "math" / "solutions.jsonl"):
        paragraphs = (record["solution"].split("\n\n") for record in lines(path))
        subsets.append(Subset("math_solutions", numbered(paragraphs), []))
    return subsets + [
        prmbench("prmbench_" + path.stem.rsplit("4o_", 1)[-1], list(lines(path)))
        for path in sorted((data / "prmbench").glob("*.jsonl"))
    ]


def present(path: Path) -> bool:
    """Return whether a file is there; says so on stderr where not."""
    if not path.is_file():
        print(f"skipped: {path} is not there", file=sys.stderr)
    return path.is_file()


def processbench(name: str, records: Sequence[dict[str, Any]]) -> Subset:
    """Return the steps of ProcessBench records by their labels."""
    correct: list[Case] = []
    wrong: list[Case] = []
    for record in records:
        label = record["label"]
        end = len(record["steps"]) if label < 0 else label
        correct += [(f"{record['id']}.{number}", step) for number, step in enumerate(record["steps"][:end])]
        if label >= 0:
            wrong.append((f"{record['id']}.{label}", record["steps"][label]))
    return Subset(name, correct, wrong)


def prmbench(name: str, records: Sequence[dict[str, Any]]) -> Subset:
    """Return original steps as correct and first error steps as wrong, where a record names a usable one."""
    wrong: list[Case] = []
    for index, record in enumerate(records):
        errors = [step for step in record["error_steps"] if 1 <= step <= len(record["modified_process"])]
        if errors:
            wrong.append((f"{index}.{min(errors) - 1}", record["modified_process"][min(errors) - 1]))
    return Subset(name, numbered(record["original_process"] for record in records), wrong)


# --- the measurements ---


def audit(subset: Subset, metrics: dict[str, Any], cases: list[dict[str, Any]]) -> list[str]:
    """Judge one subset; fill `metrics` and `cases`; return its table row."""
    truths: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    begun = time.perf_counter()
    for label, steps in (("correct", subset.correct), ("wrong", subset.wrong)):
        for name, step in steps:
            verdict = judge_text(step)
            truths[label, verdict.truth] += 1
            reasons[verdict.reason] += 1
            if label == "wrong" or verdict.truth == "wrong" or verdict.reason.startswith("arithmetic:un"):
                cases.append(
                    {"subset": subset.name, "case": name, "label": label, "verdict": verdict.truth,
                     "reason": verdict.reason, "detail": verdict.detail, "step": step}
                )  # fmt: skip
    seconds = time.perf_counter() - begun
    good, bad = len(subset.correct), len(subset.wrong)
    key = f"arithmetic.{subset.name}"
    metrics[f"{key}.false_alarm"] = metric(truths["correct", "wrong"], good)
    metrics[f"{key}.confirmed"] = metric(truths["correct", "correct"], good)
    metrics[f"{key}.undecided"] = metric(truths["correct", "undecided"], good)
    metrics[f"{key}.recall"] = metric(truths["wrong", "wrong"], bad)
    metrics[f"{key}.undecided_on_errors"] = metric(truths["wrong", "undecided"], bad)
    metrics[f"{key}.steps_per_second"] = {"value": (good + bad) / seconds, "n": good + bad, "unit": "1/s"}
    metrics[f"{key}.reasons"] = {"value": dict(reasons.most_common()), "n": good + bad, "unit": "count"}
    return [
        subset.name, str(good), rate(metrics[f"{key}.false_alarm"]), rate(metrics[f"{key}.confirmed"]),
        str(bad), rate(metrics[f"{key}.recall"]), f"{(good + bad) / seconds:,.0f}",
    ]  # fmt: skip


def rate(entry: dict[str, Any]) -> str:
    """Write a rate and its interval in percent."""
    if entry["value"] is None:
        return "–"
    return f"{100 * entry['value']:.2f} [{100 * entry['low']:.2f}, {100 * entry['high']:.2f}]"


def audit_perturbations(
    traces: Sequence[tuple[str, list[str]]],
    seed: int,
    limit: int,
    metrics: dict[str, Any],
    cases: list[dict[str, Any]],
) -> list[list[str]]:
    """Perturb reference steps with every kind; return one table row per kind."""
    oracle, rng = ReferenceOracle(), random.Random(seed)
    steps = [
        (Problem(id=str(index), question=question), tuple(solution[:number]), step)
        for index, (question, solution) in enumerate(traces)
        for number, step in enumerate(solution)
    ]
    chosen = rng.sample(steps, min(limit, len(steps)))
    rows = []
    begun, judged = time.perf_counter(), 0
    for kind in PERTURBATIONS:
        truths: Counter[str] = Counter()
        for problem, prefix, step in chosen:
            made = perturb(problem, prefix, step, rng, kinds=(kind,))
            if made is None:
                continue
            verdict = oracle.judge_against(problem, prefix, step, made[1])
            truths[verdict.truth] += 1
            judged += 1
            if verdict.truth != "wrong":
                cases.append(
                    {"subset": f"perturbation_{kind}", "case": problem.id, "label": "wrong", "verdict":
                     verdict.truth, "reason": verdict.reason, "detail": step, "step": made[1]}
                )  # fmt: skip
        made_count = sum(truths.values())
        metrics[f"reference.{kind}.applies"] = metric(made_count, len(chosen))
        metrics[f"reference.{kind}.judged_wrong"] = metric(truths["wrong"], made_count)
        metrics[f"reference.{kind}.judged_correct"] = metric(truths["correct"], made_count)
        rows.append(
            [kind, rate(metrics[f"reference.{kind}.applies"]), str(made_count),
             rate(metrics[f"reference.{kind}.judged_wrong"]),
             rate(metrics[f"reference.{kind}.judged_correct"])]
        )  # fmt: skip
    speed = judged / (time.perf_counter() - begun)
    metrics["reference.perturb_and_judge_per_second"] = {"value": speed, "n": judged, "unit": "1/s"}
    return rows


@dataclass(frozen=True)
class Replacement:
    """A text in place of a step that is taken to be correct."""

    problem: Problem
    prefix: tuple[str, ...]
    original: str
    step: str


def audit_replacements(
    name: str, replacements: Sequence[Replacement], metrics: dict[str, Any], cases: list[dict[str, Any]]
) -> list[str]:
    """Judge replacements against their originals; return the table row with the share of each truth."""
    truths: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    begun = time.perf_counter()
    for item in replacements:
        verdict = judge_against(item.problem, item.prefix, item.original, item.step)
        truths[verdict.truth] += 1
        reasons[verdict.reason] += 1
        if verdict.truth == "wrong":
            cases.append(
                {"subset": name, "case": item.problem.id, "label": "unlabelled", "verdict": verdict.truth,
                 "reason": verdict.reason, "detail": verdict.detail, "original": item.original,
                 "step": item.step}
            )  # fmt: skip
    total = len(replacements)
    speed = total / max(time.perf_counter() - begun, 1e-9)
    for truth in ("wrong", "correct", "undecided"):
        metrics[f"reference.{name}.judged_{truth}"] = metric(truths[truth], total)
    metrics[f"reference.{name}.steps_per_second"] = {"value": speed, "n": total, "unit": "1/s"}
    metrics[f"reference.{name}.reasons"] = {"value": dict(reasons.most_common()), "n": total, "unit": "count"}
    shares = [
        rate(metrics[f"reference.{name}.judged_{truth}"]) for truth in ("wrong", "correct", "undecided")
    ]
    return [name, str(total), *shares, f"{speed:,.0f}"]


def rewrites_of(
    traces: Sequence[tuple[str, list[str]]], seed: int, limit: int
) -> dict[str, list[Replacement]]:
    """Return, by rewriter, rewritten steps against their originals and the originals against them."""
    steps = [
        (Problem(id=str(index), question=question), tuple(solution[:number]), step)
        for index, (question, solution) in enumerate(traces)
        for number, step in enumerate(solution)
    ]
    made: dict[str, list[Replacement]] = {name: [] for name in REWRITERS}
    for problem, prefix, step in random.Random(seed).sample(steps, min(limit, len(steps))):
        for name, rewriter in REWRITERS.items():
            text = rewriter(step)
            if text is not None:
                made[name].append(Replacement(problem, prefix, step, text))
                made[name].append(Replacement(problem, prefix, text, step))
    return made


def pairs_of(path: Path) -> dict[str, list[Replacement]]:
    """Return the real pairs of a file of model solutions, by kind."""
    made: dict[str, list[Replacement]] = {}
    for pair in real_pairs(lines(path)):
        problem = Problem(id=pair.case, question=pair.question)
        made.setdefault(pair.kind, []).append(Replacement(problem, pair.prefix, pair.original, pair.step))
    return made


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    head = "| " + " | ".join(header) + " |\n|" + "---|" * len(header) + "\n"
    return head + "".join("| " + " | ".join(row) + " |\n" for row in rows)


def main() -> None:
    """Parse the command line and write the three files."""
    parser = argparse.ArgumentParser(description="Audit the arithmetic and reference oracles on real steps.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with gsm8k/, math/, processbench/, prmbench/"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for metrics.json, table.md, cases.jsonl"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the perturbations")
    parser.add_argument(
        "--perturbed-steps", type=int, default=4000, help="GSM8K train steps to perturb, per kind"
    )
    parser.add_argument(
        "--rewritten-steps", type=int, default=4000, help="GSM8K train steps to rewrite in every way"
    )
    settings = parser.parse_args()
    metrics: dict[str, Any] = {}
    cases: list[dict[str, Any]] = []
    rows = [audit(subset, metrics, cases) for subset in load_subsets(settings.data)]
    text = "Arithmetic oracle; rates in % with Wilson 95 % intervals.\n\n" + table(
        ("subset", "correct steps", "false alarms", "confirmed", "first errors", "recall", "steps/s"), rows
    )
    if present(path := settings.data / "gsm8k" / "train.jsonl"):
        kinds = audit_perturbations(
            gsm8k_traces(path), settings.seed, settings.perturbed_steps, metrics, cases
        )
        text += "\nRule perturbations of GSM8K train steps, judged against the original.\n\n" + table(
            ("kind", "applies", "made", "judged wrong", "judged correct"), kinds
        )
        made = rewrites_of(gsm8k_traces(path), settings.seed, settings.rewritten_steps)
        every = [item for items in made.values() for item in items]
        rewritten = [
            audit_replacements(f"rewrite.{kind}", items, metrics, cases) for kind, items in made.items()
        ] + [audit_replacements("rewrite.all", every, metrics, [])]
        text += (
            "\nMeaning-keeping rewrites of GSM8K train steps, both ways round: `wrong` is a false alarm.\n\n"
        )
        text += table(REPLACEMENT_HEADER, rewritten)
    if present(path := settings.data / EXAMPLE_SOLUTIONS):
        kinds = [
            audit_replacements(f"pair.{kind}", items, metrics, cases)
            for kind, items in pairs_of(path).items()
        ]
        text += (
            "\nSteps of two solutions of one problem at the same position. `same_state` and `other_state`: both "
            "final answers are correct, so `wrong` is presumably a false alarm. `wrong_answer`: the second "
            "solution is wrong somewhere, not always in this step.\n\n"
        )
        text += table(REPLACEMENT_HEADER, kinds)
    settings.out.mkdir(parents=True, exist_ok=True)
    record = {
        "metrics": metrics,
        "settings": {
            "data": str(settings.data),
            "perturbed_steps": settings.perturbed_steps,
            "rewritten_steps": settings.rewritten_steps,
        },
        "seed": settings.seed,
        "versions": {"python": platform.python_version()},
        "machine": platform.processor() or platform.machine(),
    }
    (settings.out / "metrics.json").write_text(
        json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8"
    )
    (settings.out / "table.md").write_text(text, encoding="utf-8")
    with (settings.out / "cases.jsonl").open("w", encoding="utf-8") as file:
        for case in cases:
            file.write(json.dumps(case, ensure_ascii=False) + "\n")
    print(text)


if __name__ == "__main__":
    main()
