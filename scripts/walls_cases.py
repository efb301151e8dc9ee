"""The steps that `walls.py` asks the oracles about: of data sets, mistakes planted in them, and of the oracles' own tests.

Contract: a function of the data folder, the seed and the tests; data sets are read without the package's readers, whose
changes must not change what is asked.
"""

from __future__ import annotations

import ast
import itertools
import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Case = dict[str, Any]
STEP_TESTS = (
    "test_algebra", "test_answer_oracle", "test_arithmetic_oracle", "test_calculus", "test_logic", "test_numbers",
    "test_panel", "test_perturbations", "test_preconditions", "test_quantities", "test_reference_oracle",
    "test_right_statements", "test_stated_answers",
)  # fmt: skip


def tree() -> Path:
    """Return the root of the tree whose package is recorded."""
    import sparring

    return Path(sparring.__file__).resolve().parents[2]


def draw_cases(data: Path | None, seed: int) -> list[Case]:
    """Return a sample of steps: of data sets, mistakes planted in them, and what the tests ask about."""
    rng = random.Random(seed)
    cases = []
    for kind, count, found in (*real_cases(data, rng), ("tests", 3500, test_cases())):
        unique = list({json.dumps(case): case for case in found}.values())
        drawn = rng.sample(unique, min(count, len(unique)))
        cases += [{"set": kind, **case} for case in drawn]
        print(f"{kind:20} {len(drawn)} of {len(unique)}")
    return cases


def case_of(problem: str, answer: str | None, prefix: Sequence[str], original: str | None, step: str) -> Case:
    """Return one question to the oracles."""
    return {"problem": problem, "answer": answer, "prefix": list(prefix), "original": original, "step": step}


def real_cases(data: Path | None, rng: random.Random) -> list[tuple[str, int, list[Case]]]:
    """Return (name, how many to draw, cases) of every data set in the folder."""
    if data is None:
        return []
    judged = []
    for name in ("gsm8k", "math"):
        for row in json.loads((data / "processbench" / f"{name}.json").read_text(encoding="utf-8")):
            end = len(row["steps"]) if row["label"] < 0 else row["label"] + 1
            judged += [
                case_of(row["problem"], None, row["steps"][:n], None, row["steps"][n]) for n in range(end)
            ]
    changed = []
    for file in sorted((data / "prmbench").glob("*.jsonl")):
        for row in read_lines(file):
            old, new = row["original_process"], row["modified_process"]
            places = [n for n in range(min(len(old), len(new))) if old[n] != new[n]]
            changed += [case_of(row["modified_question"], None, new[:n], old[n], new[n]) for n in places]
    written, reworded, planted = [], [], []
    for name, row in (
        *(("gsm8k", row) for row in read_lines(data / "gsm8k" / "train.jsonl")),
        *(("math", row) for row in read_lines(data / "math" / "solutions.jsonl")),
        *(("traces", row) for row in read_lines(data / "math" / "train_traces.jsonl")),
    ):
        if name == "gsm8k":
            *steps, last = row["answer"].splitlines()
            answer = last.removeprefix("####").strip()
        else:
            steps = row.get("steps") or re.split(r"(?<=[.!?\]])\s+(?=[A-Z$\\])", row["solution"])
            answer = next(iter(re.findall(r"\\boxed\{([^{}]*)\}", steps[-1])), None)
        plain = [re.sub(r"<<[^<>]*>>", "", step) for step in steps]
        noted, steps = steps, plain if rng.random() < 0.5 else steps
        problem = row.get("question") or row["problem"]
        place = rng.randrange(len(steps))
        if not steps[place].strip() or (name == "gsm8k" and rng.random() < 0.7):
            continue
        prefix = [step for step in steps[:place] if step.strip()]
        written.append(case_of(problem, answer, prefix, None, steps[place]))
        said = plain[place].replace(" * ", " × ").replace(r"\cdot", r"\times")
        reworded.append(
            case_of(problem, answer, prefix, noted[place], rng.choice(("", "So ", "Then ")) + said)
        )
        made = mistakes(problem, answer, prefix, steps[place], rng)
        planted += [case_of(problem, answer, prefix, steps[place], one) for one in made]
    return [
        ("processbench", 800, judged),
        ("prmbench", 500, changed),
        ("reference", 500, written),
        ("reworded", 300, reworded),
        ("planted", 900, planted),
    ]


def mistakes(
    problem: str, answer: str | None, prefix: Sequence[str], step: str, rng: random.Random
) -> list[str]:
    """Return a rule perturbation of a step, if there is one."""
    from sparring import Problem
    from sparring.oracles.perturbations import perturb

    made = perturb(Problem("", problem, answer=answer), prefix, step, rng)
    return [made[1]] if made else []


def test_cases() -> list[Case]:
    """Return what the tests of the oracles ask about: a list of pairs, and the rows of those files' tables.

    Nothing says which text of a row is the question, a prefix, the original or the step: each is tried as several.
    """
    tests = tree() / "tests"
    lines = (tests / "right_and_false_steps.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" ||| ") for line in lines if " ||| " in line]
    for name in STEP_TESTS:
        if not (file := tests / f"{name}.py").exists():
            continue
        module = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(module):
            if isinstance(node, ast.List | ast.Tuple | ast.Call):
                inner = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
                row = [text for text in inner if isinstance(text, str) and re.search(r"[^a-z_:]", text)]
                rows.append([text for text in row if 3 < len(text) < 1000][:5])
    cases = []
    for row in rows:
        cases += [case_of("?", None, [], None, text) for text in row]
        for one, other in itertools.pairwise(row[:3]):
            cases += [
                case_of("?", None, [], one, other),
                case_of("?", None, [], other, one),
                case_of("?", None, [one], None, other),
                case_of("?", None, [other], None, one),
                case_of(one, None, [], None, other),
            ]
        if len(row) > 2:
            cases.append(case_of(row[0], None, row[1:-1], None, row[-1]))
    return cases


def read_lines(file: Path) -> list[Any]:
    """Return the records of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def write_lines(file: Path, records: Iterable[Any]) -> None:
    """Write a JSONL file."""
    file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
