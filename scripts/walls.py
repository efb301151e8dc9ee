"""Regression walls: what the package does, recorded before a change of structure and compared with a record made after it.

    PYTHONPATH=OLD/src python scripts/walls.py record walls/old --data data
    PYTHONPATH=NEW/src python scripts/walls.py record walls/new --cases walls/old/cases.jsonl
    python scripts/walls.py compare walls/old walls/new

Recorded is the package that Python finds first, and only through what survives a redesign: its command line, `Panel`,
and files. Parts (`--only verdicts,help`):

    verdicts     every oracle's (truth, reason, span) on thousands of steps, and the panel's
    help         `--help` of every command, and `--explain` of those that have it

`--data` is a folder as for `benchmarks/oracle_audit.py`; without it steps are those of the tests. The steps are drawn once
into `cases.jsonl`; `--cases` asks the same again. A record holds texts of data sets and is not for publication.
`compare` ends with status 1 where something differs. Left out: what a verdict says in words (`detail`), and times.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import io
import itertools
import json
import os
import random
import re
import resource
import runpy
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

MEMBERS = ("arithmetic", "reference", "algebra", "quantities", "preconditions", "logic", "answer")
Case = dict[str, Any]
SHOWN = 5  # examples per difference
STEP_TESTS = (
    "test_algebra", "test_answer_oracle", "test_arithmetic_oracle", "test_calculus", "test_logic", "test_numbers",
    "test_panel", "test_perturbations", "test_preconditions", "test_quantities", "test_reference_oracle",
    "test_right_statements", "test_stated_answers",
)  # fmt: skip


def tree() -> Path:
    """Return the root of the tree whose package is recorded."""
    import sparring

    return Path(sparring.__file__).resolve().parents[2]


def sparring(*words: str) -> tuple[int, str, str]:
    """Run a command in this process, as `python -m sparring` would; return its status and what it printed."""
    output, errors, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["sparring", *words]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            runpy.run_module("sparring", run_name="__main__")
        status: Any = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return int(status), output.getvalue(), errors.getvalue()


# --- verdicts --------------------------------------------------------------------------------------------------------


def record_verdicts(folder: Path, options: argparse.Namespace) -> None:
    """Ask every member, and all together, about every case; write one line of verdicts per case."""
    from sparring import Panel, Problem

    cases = read_lines(options.cases) if options.cases else draw_cases(options.data, options.seed)
    write_lines(folder / "cases.jsonl", cases)
    asked = [
        (
            Problem(str(number), case["problem"], answer=case["answer"]),
            case["prefix"],
            case["original"],
            case["step"],
        )
        for number, case in enumerate(cases)
    ]
    renamed = dict(word.split("=", 1) for word in options.rename)
    members = [renamed.get(member, member) for member in MEMBERS]

    def ask(questions: Sequence[tuple[Any, Sequence[str], str | None, str]]) -> list[dict[str, Any]]:
        """Return every member's verdict on each question, and the panel's, which it combines from what it has cached."""
        with Panel(members, workers=1, limits=patient_limits()) as panel:
            found = panel.judge_members_many(questions)
            combined = [
                panel.judge(problem, prefix, step)
                if original is None
                else panel.judge_against(problem, prefix, original, step)
                for problem, prefix, original, step in questions
            ]
        return [
            {
                name: [verdict.truth, verdict.reason, verdict.span and list(verdict.span)]
                for name, verdict in zip((*MEMBERS, "panel"), (*verdicts.values(), together), strict=True)
            }
            for verdicts, together in zip(found, combined, strict=True)
        ]

    rows = ask(asked)
    late = [
        place
        for place, row in enumerate(rows)
        if any(reason.startswith("sandbox:") for _, reason, _ in row.values())
    ]
    for place, row in zip(late, ask([asked[place] for place in late]), strict=True):
        rows[place] = row  # a busy machine is no difference
    write_lines(folder / "verdicts.jsonl", rows)
    for name in (*MEMBERS, "panel"):
        print(f"{name:14} {dict(Counter(row[name][0] for row in rows))}")
    print(f"{sum(map(len, rows))} verdicts on {len(rows)} steps; {len(late)} steps were asked twice")


def patient_limits() -> Any:
    """Return limits of time that a busy machine keeps, where their class is still at its place; else the usual ones."""
    try:
        from sparring.oracles.sandbox import SandboxLimits
    except ImportError:
        return None
    return SandboxLimits(seconds=30.0)


def draw_cases(data: Path | None, seed: int) -> list[Case]:
    """Return a sample of steps: of data sets, mistakes planted in them, and what the tests ask about."""
    rng = random.Random(seed)
    cases = []
    for kind, count, found in (
        *real_cases(data, rng),
        ("logic", 300, logic_cases()),
        ("tests", 3500, test_cases()),
    ):
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
    """Return a rule perturbation of a step, where the package's own function for it is still at its place."""
    from sparring import Problem

    try:
        from sparring.oracles import perturb
    except ImportError:
        return []
    made = perturb(Problem("", problem, answer=answer), prefix, step, rng)
    return [made[1]] if made else []


def logic_cases() -> list[Case]:
    """Return right and false arguments of the generated world of logic, where that is still at its place."""
    try:
        from sparring.worlds.logic import generate
    except ImportError:
        return []
    cases = []
    for example in map(generate, range(100)):
        steps = example.trace.steps
        for place, fallacies in enumerate(example.fallacies):
            asked = (steps[place], *(fallacy for _, fallacy in fallacies))
            question = example.trace.problem.question
            cases += [case_of(question, None, steps[:place], None, step) for step in asked]
    return cases


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


def processor_seconds() -> float:
    """Return the processor time of this process and of its ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + usage.ru_utime + usage.ru_stime


def compare_verdicts(one: Path, two: Path) -> list[str]:
    """Return the changes of verdicts, counted by member and kind, with the first steps of each."""
    cases = read_lines(one / "cases.jsonl")
    if cases != read_lines(two / "cases.jsonl"):
        return ["the steps differ: record with --cases of the first record"]
    counts: Counter[tuple[str, ...]] = Counter()
    examples: dict[tuple[str, ...], list[str]] = {}
    rows = zip(cases, read_lines(one / "verdicts.jsonl"), read_lines(two / "verdicts.jsonl"), strict=True)
    for number, (case, old, new) in enumerate(rows):
        for member in {**old, **new}:
            before, after = (side.get(member, ["absent", "", None]) for side in (old, new))
            if before != after:
                same = before[:2] == after[:2]
                key = (
                    member,
                    *(f"{truth} {reason}{' (span)' * same}" for truth, reason, _ in (before, after)),
                )
                counts[key] += 1
                spans = f" spans {before[2]} → {after[2]}" * (before[2] != after[2])
                found = examples.setdefault(key, [])
                if len(found) < SHOWN:
                    original = f" (original: {case['original'][:200]!r})" if case["original"] else ""
                    found.append(f"    case {number}, {case['set']}:{spans} {case['step'][:300]!r}{original}")
    return [
        line for (member, before, after), count in counts.most_common()
        for line in (f"{member}: {count} × {before} → {after}", *examples[member, before, after])
    ]  # fmt: skip


# --- help ------------------------------------------------------------------------------------------------------------


def record_help(folder: Path, options: argparse.Namespace) -> None:
    """Write `--help` of every command, and `--explain` where there is one."""
    texts: dict[str, str] = {}

    def walk(*words: str) -> None:
        _, text, errors = sparring(*words, "--help")
        texts[" ".join((*words, "--help"))] = text + errors
        panel = text.partition(" Commands ")[2]
        for name in re.findall(r"^│ ([a-z][\w-]*)", panel, re.MULTILINE):
            walk(*words, name)
        if "--explain" in text:
            for given in range(4):  # arguments that must be there
                status, explained, _ = sparring(*words, *["x"] * given, "--explain")
                if status == 0:
                    texts[" ".join((*words, "--explain"))] = explained
                    break

    walk()
    write_json(folder / "help.json", texts)
    print(f"{len(texts)} texts")


def compare_tables(name: str) -> Callable[[Path, Path], list[str]]:
    """Return a comparison of two tables of texts or values, by their keys."""

    def compare(one: Path, two: Path) -> list[str]:
        old, new = (json.loads((side / name).read_text(encoding="utf-8")) for side in (one, two))
        lines = []
        for key in sorted({*old, *new}):
            if key not in old or key not in new:
                lines.append(f"{key}: only in the {'first' if key in old else 'second'}")
            elif old[key] != new[key]:
                lines.append(f"{key}:")
                before, after = (_lines_of(table[key]) for table in (old, new))
                changes = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
                lines += [f"    {line}" for line in changes[:40]]
        return lines

    return compare


def _lines_of(value: Any) -> list[str]:
    return (value if isinstance(value, str) else json.dumps(value, indent=1)).splitlines()


# --- command line ----------------------------------------------------------------------------------------------------


def read_lines(file: Path) -> list[Any]:
    """Return the records of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def write_lines(file: Path, records: Iterable[Any]) -> None:
    """Write a JSONL file."""
    file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file with sorted keys."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")


Record = Callable[[Path, argparse.Namespace], None]
Compare = Callable[[Path, Path], list[str]]
PARTS: dict[str, tuple[Record, Compare]] = {
    "verdicts": (record_verdicts, compare_verdicts),
    "help": (record_help, compare_tables("help.json")),
}


def parts(text: str) -> list[str]:
    """Return the names of parts in a list with commas."""
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(
            f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}"
        )
    return names


def main(words: Sequence[str] | None = None) -> int:
    """Record or compare; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="record what the package on PYTHONPATH does")
    record.add_argument("folder", type=Path)
    record.add_argument("--data", type=Path, help="folder with gsm8k/, math/, processbench/, prmbench/")
    record.add_argument("--cases", type=Path, help="cases.jsonl of an earlier record: ask the same")
    record.add_argument("--seed", type=int, default=0, help="of the sample of steps")
    record.add_argument(
        "--rename", nargs="*", default=[], help="members by another name: logic=package.module:judge"
    )
    compare = commands.add_parser("compare", help="print what differs between two records")
    compare.add_argument("folder", type=Path)
    compare.add_argument("other", type=Path)
    for command in (record, compare):
        command.add_argument("--only", type=parts, default=list(PARTS), help=f"of {','.join(PARTS)}")
    options = parser.parse_args(words)
    status = 0
    for part in options.only:
        record_part, compare_part = PARTS[part]
        if options.command == "compare":
            lines = compare_part(options.folder, options.other)
            status |= bool(lines)
            print(
                "\n".join([f"{part}: {'different' if lines else 'equal'}", *(f"  {line}" for line in lines)])
            )
            continue
        options.folder.mkdir(parents=True, exist_ok=True)
        begun, processor = time.monotonic(), processor_seconds()
        record_part(options.folder, options)
        spent = processor_seconds() - processor
        print(
            f"{part}: {spent:.0f} s of processor time, {time.monotonic() - begun:.0f} s in all\n", flush=True
        )
    return status


if __name__ == "__main__":
    for variable in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        os.environ.pop(variable, None)
    os.environ |= {
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    sys.exit(main())
