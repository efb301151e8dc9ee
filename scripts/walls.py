"""Regression walls: what the package does, recorded before a change of structure and compared with a record made after it.

    PYTHONPATH=OLD/src python scripts/walls.py record walls/old --data data
    PYTHONPATH=NEW/src python scripts/walls.py record walls/new --cases walls/old/cases.jsonl
    python scripts/walls.py compare walls/old walls/new
    PYTHONPATH=NEW/src python scripts/walls.py speed --against OLD/src --cases walls/old/cases.jsonl

Recorded is the package that Python finds first, and only through what survives a redesign: its command line, `Panel`,
and files. Parts (`--only verdicts,help`):

    verdicts     every oracle's (truth, reason, span) on thousands of steps, and the panel's
    help         `--help` of every command, and `--explain` of those that have it
    runs         logs, metrics and weights of short runs: APRM, RL, supervised, labels, search, attack
    evaluations  what `score`, `convert`, `migrate` and every `eval` command write, with models trained on the spot
    wheel        the wheel's files that are no code, its top-level packages, dependencies and commands

`--data` is a folder as for `benchmarks/oracle_audit.py`; without it steps are those of the tests. The steps are drawn once
into `cases.jsonl`; `--cases` asks the same again. A record holds texts of data sets and is not for publication.
`compare` ends with status 1 where something differs, `speed` where something is more than 5 % slower by processor time in
the best and the median round, both trees in turn. `record` never overwrites what is recorded. Left out: what a verdict
says in words (`detail`), pages and pictures, what is printed, and times.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import re
import resource
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from walls_cases import Case, draw_cases, read_lines, tree, write_lines

MEMBERS = ("arithmetic", "reference", "algebra", "quantities", "preconditions", "logic", "answer")
Question = tuple[Any, Sequence[str], str | None, str]  # problem, prefix, original, step
Record = Callable[[Path, argparse.Namespace], None]
Compare = Callable[[Path, Path], list[str]]
SHOWN = 5  # examples per difference


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
    from sparring import Panel
    from sparring.oracles.sandbox import SandboxLimits

    cases = read_lines(options.cases) if options.cases else draw_cases(options.data, options.seed)
    write_lines(folder / "cases.jsonl", cases)
    asked = questions_of(cases)

    def ask(questions: Sequence[Question]) -> list[dict[str, Any]]:
        """Return every member's verdict on each question, and the panel's, which it combines from what it has cached."""
        with Panel(MEMBERS, workers=1, limits=SandboxLimits(seconds=30.0)) as panel:
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


def questions_of(cases: Sequence[Case]) -> list[Question]:
    """Return cases as a panel takes them."""
    from sparring import Problem

    return [
        (
            Problem(str(n), case["problem"], answer=case["answer"]),
            case["prefix"],
            case["original"],
            case["step"],
        )
        for n, case in enumerate(cases)
    ]


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
                lines += [f"    {line}" for line in differences(old[key], new[key])[:40]]
        return lines

    return compare


def differences(old: Any, new: Any) -> list[str]:
    """Return the lines that only one of two values has, of long ones the part where they begin to differ."""
    before, after = (
        value.splitlines() if isinstance(value, str) else named_lines(value) for value in (old, new)
    )
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    lines = [] if gone or come else ["the same lines in another order"]
    for one, two in itertools.zip_longest(gone.elements(), come.elements(), fillvalue=""):
        places = (n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
        start = max(0, next(places, min(len(one), len(two))) - 60)
        lines += [f"{sign} {text[start : start + 160]}" for sign, text in (("-", one), ("+", two)) if text]
    return lines


def named_lines(value: Any, name: str = "") -> list[str]:
    """Return a JSON value as lines ``where.it.is = value``."""
    if isinstance(value, dict) and value:
        return [
            line for key in sorted(value) for line in named_lines(value[key], f"{name}.{key}".lstrip("."))
        ]
    return [f"{name} = {json.dumps(value)}"]


# --- runs and evaluations ---------------------------------------------------------------------------------------------

SMALL = "device=cpu dtype=float32 seed=3"
APRM = (
    "prm_warm_steps=2 adversary_warm_steps=2 updates=3 states_per_update=4 samples_per_state=3 snapshot_every=2 "
    f"checkpoint_every=2 {SMALL}"
)
RL = f"updates=3 problems_per_update=2 samples_per_problem=3 watch_problems=3 watch_every=2 prover_rollouts=2 {SMALL}"
SUPERVISED = f"backbone=tiny-chain-policy batch_traces=8 learning_rate=1e-3 evaluate_every=4 checkpoint_every=4 {SMALL}"
LABEL = f"problems=3 n_cov=2 n_mc=2 {SMALL}"
TRAIN_PRM = f"train prm --out prm data=traces.jsonl epochs=2 validation_share=0.25 {SUPERVISED}"
RUNS = (
    f"train aprm --out aprm {APRM}",
    f"train aprm --out aprm-rules adversary=rules prm_objective=expected adapter=lora lora_rank=4 {APRM}",
    f"train aprm --out aprm-text task=text data=sums.jsonl backbone=bytes max_step_tokens=16 {APRM}",
    f"train rl --out rl-progress {RL}",
    f"train rl --out rl-soft-min credit=soft_min prm=aprm/prm baseline=value {RL}",
    f"train rl --out rl-step-sum credit=step_sum prm=aprm/prm objective=reinforce adapter=lora lora_rank=4 epochs=2 {RL}",
    f"train rl --out rl-soft-min-group credit=soft_min prm=aprm/prm {RL}",
    TRAIN_PRM,
    f"train prm --out prm-tokens data=traces.jsonl head=label_tokens adapter=lora lora_rank=4 backbone=bytes "
    f"class_balance=weights calibrate=true {SUPERVISED.replace('backbone=tiny-chain-policy ', '')}",
    f"train orm --out orm data=traces.jsonl {SUPERVISED}",
    f"train value --out value data=traces.jsonl {SUPERVISED}",
    "train world-policy --out world-policy updates=4 batch=8 width=32 earlier=[2] evaluation_problems=5",
    "train chain-policy --out chain-policy problems=64 detection_problems=64 width=32 layers=2 evaluation_problems=5",
    f"label --out label {LABEL}",
    f"label --out label-adaptive adaptive=true prover=best-of-2 label=posterior_mean {LABEL}",
    f"label --out label-binary mode=binary_search {LABEL}",
    f"label --out label-pit mode=first_pit pit_samples=4 {LABEL}",
    f"search --out search prm=aprm/prm methods=[beam,dvts,lookahead,puct,particles] n=[1,3] problems=3 baseline_samples=3 "
    f"max_steps=4 {SMALL}",
    f"attack aprm/prm --out attack updates=2 warm_steps=2 evaluation_states=8 states_per_update=4 samples_per_state=3 "
    f"{SMALL}",
)
EVALUATIONS = (
    TRAIN_PRM,
    f"train value --out value data=traces.jsonl {SUPERVISED}",
    "convert-prm prm/model --out converted-prm family=trl",
    "score prm/model single.jsonl --out scores-a.jsonl",
    "score value/model single.jsonl --out scores-b.jsonl",
    "convert other.jsonl converted/trl.jsonl --to trl_stepwise",
    "convert other.jsonl converted/shepherd.jsonl --to math_shepherd",
    "convert converted/trl.jsonl converted/again.jsonl",
    "migrate openrlhf.jsonl converted/migrated.jsonl source=openrlhf label_key=value",
    "eval processbench traces.jsonl other.jsonl --model prm/model --threshold-split traces --out processbench",
    "eval processbench single.jsonl --scores scores-a.jsonl --out from-scores",
    "eval prmbench data=[classes] model=prm/model --out prmbench",
    "eval calibration data=[traces.jsonl,other.jsonl] model=prm/model fit_on=traces store=true --out calibration",
    "eval bon data=[other.jsonl] model=prm/model --out bon",
    "eval compare scores-a.jsonl scores-b.jsonl data=[single.jsonl] --out compare",
    "eval oracle gsm8k=[sums.jsonl] prmbench=classes reference_steps=20 perturbed_steps=8 workers=1 step_seconds=30 "
    "--out oracle",
)
_TIMES = r"(?:[\w.]*\.)?(?:(?:cpu_|new_)?seconds|tokens_per_second|peak_memory)"
VOLATILE = re.compile(rf"{_TIMES}|commit|versions|machine|bytes|sha256|state_digest|check")
"""Keys that are not recorded; the last four are sizes and digests of what holds times, or times of files."""
SKIPPED = {".html", ".svg", ".png", ".lock"}
LONGEST = 300_000  # bytes of a file that is kept as a text; of longer ones the digest


def record_commands(name: str, commands: Sequence[str]) -> Record:
    """Return a part that runs commands one after the other in a fresh folder, and keeps what they wrote."""

    def record(folder: Path, options: argparse.Namespace) -> None:
        before = Path.cwd()
        with tempfile.TemporaryDirectory() as work:
            os.chdir(work)
            try:
                write_inputs()
                inputs = set(Path().rglob("*"))
                failed = {}
                for command in commands:
                    begun = processor_seconds()
                    status, _, messages = sparring(*command.split())
                    print(f"{processor_seconds() - begun:6.1f} s  {command[:100]}", flush=True)
                    if status:
                        failed[command] = f"status {status}: {messages}"
                        print(messages)
                files = [file for file in sorted(Path().rglob("*")) if file.is_file() and file not in inputs]
                found = {str(file): content_of(file) for file in files if file.suffix not in SKIPPED}
            finally:
                os.chdir(before)
        write_json(folder / f"{name}.json", found | failed)
        print(f"{len(found)} files; {len(failed)} commands failed")

    return record


def content_of(file: Path) -> str:
    """Return what a file says, without times and places; of long files and those that are no texts a digest."""
    data = file.read_bytes()
    if file.suffix == ".json":
        data = "\n".join(named_lines(steady(json.loads(data)))).encode()
    elif file.suffix == ".jsonl":
        data = "\n".join(json.dumps(steady(one), sort_keys=True) for one in read_lines(file)).encode()
    data = data.replace(str(tree()).encode(), b"TREE").replace(str(Path.cwd()).encode(), b"HERE")
    # Identities of folders hold times of files
    data = re.sub(rb"((?:TREE|HERE)/\S+) [0-9a-f]{64}", rb"\1", data)
    data = re.sub(rf"\n\| {_TIMES} \|.*".encode(), b"", data)
    text = b"\0" not in data and len(data) < LONGEST
    return data.decode("utf-8", "backslashreplace") if text else hashlib.sha256(data).hexdigest()


def steady(value: Any) -> Any:
    """Return a JSON value without what differs between two runs of the same code."""
    if isinstance(value, dict):
        return {key: steady(one) for key, one in value.items() if not VOLATILE.fullmatch(key)}
    return [steady(one) for one in value] if isinstance(value, list) else value


def write_inputs() -> None:
    """Write the files that the commands read into the working folder; all are generated."""
    rng = random.Random(0)
    for name, count, per_problem in (("traces", 48, 2), ("other", 24, 2), ("single", 24, 1)):
        rows = []
        for number in range(count):
            right = [rng.random() < 0.7 for _ in range(rng.randint(1, 4))]
            bounds = {"count": 8, "low": 0.1, "high": 0.95}
            row = {
                "id": f"{name}{number // per_problem}",
                "problem": f"mod 13 : a is {number // 2 % 13} ; b is 2 ; find c",
                "answer": "3",
                "source": f"model{number % 2}",
                "steps": [f"c = a {'+' if good else '-'} b" for good in right],
                "labels": [*map(float, right)],
                "outcome": right[-1],
                "estimates": [{"value": 0.9 if good else 0.2, **bounds} for good in right],
            }
            rows.append(row)
        write_lines(Path(f"{name}.jsonl"), rows)
    sums = [
        {
            "question": f"Tom has {n} eggs. He finds {n + 1} more and sells {n // 2}. How many has he?",
            "answer": f"He has {n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1} eggs.\n"
            f"Then {2 * n + 1} - {n // 2} = <<{2 * n + 1}-{n // 2}={2 * n + 1 - n // 2}>>{2 * n + 1 - n // 2} are left.\n"
            f"#### {2 * n + 1 - n // 2}",
        }
        for n in range(2, 26)
    ]  # fmt: skip
    write_lines(Path("sums.jsonl"), sums)
    Path("classes").mkdir()
    changed = [
        {
            "original_question": "a + b?", "modified_question": "a + b ?", "idx": f"p_{n}", "reason": "because",
            "classification": "circular", "original_process": [f"{n} + 2 = {n + 2}", f"so {n + 2}"],
            "modified_process": [f"{n} + 2 = {n + 3}", f"so {n + 3}", "c = a + b"], "error_steps": [1, 2],
        }
        for n in range(12)
    ]  # fmt: skip
    write_lines(Path("classes/prm800k_test_p1_4o_circular.jsonl"), changed)
    write_lines(
        Path("openrlhf.jsonl"), [{"input": f"{n} + 1? Step 1: {n + 1} ки", "value": ["+"]} for n in range(4)]
    )
    Path("converted").mkdir()
    write_model(Path("bytes"))


def write_model(folder: Path) -> None:
    """Write a random two-layer model that reads any text, byte by byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    words = {
        word: n for n, word in enumerate(["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 1024, "vocab_size": len(words)}
    Qwen2ForCausalLM(Qwen2Config(**sizes)).save_pretrained(folder)


def record_wheel(folder: Path, options: argparse.Namespace) -> None:
    """Build a wheel of a copy of the tree; write what is in it beside Python files, its packages, and what it needs."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(tree() / file, copy)
        shutil.copytree(
            tree() / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
        build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
        subprocess.run([sys.executable, *build, name, name], check=True)
        with zipfile.ZipFile(next(copy.glob("*.whl"))) as wheel:
            names = wheel.namelist()
            metadata = next(one for one in names if one.endswith("/METADATA"))
            commands = next(one for one in names if one.endswith("/entry_points.txt"))
            lines = wheel.read(metadata).decode().splitlines()
            found = {
                "files that are no code": sorted(one for one in names if not one.endswith(".py")),
                "top level": sorted({one.partition("/")[0] for one in names}),
                "needs": [line for line in lines if line.startswith(("Requires", "Provides"))],
                "commands": wheel.read(commands).decode(),
            }
    write_json(folder / "wheel.json", found)


# --- speed -----------------------------------------------------------------------------------------------------------

WORK: dict[str, tuple[int, tuple[str, str], str]] = {
    "scorer steps": (9000, ("few", "many"), "score prm/model SIZE.jsonl --out OUT/SIZE"),
    "search problems": (
        12, ("1", "12"), f"search --out OUT/SIZE prm=prm/model problems=SIZE n=[4] baseline_samples=1 max_steps=8 {SMALL}",
    ),
    "aprm updates": (
        8, ("1", "8"),
        f"train aprm --out OUT/SIZE prm_warm_steps=0 adversary_warm_steps=0 states_per_update=8 updates=SIZE {SMALL}",
    ),
    "rl updates": (
        4, ("1", "4"),
        f"train rl --out OUT/SIZE problems_per_update=8 samples_per_problem=4 watch_problems=2 updates=SIZE {SMALL}",
    ),
}  # fmt: skip
"""Name → how much is done by a command of the second size, which is timed after the first has loaded everything once."""
WORKS = ["verdicts", *(name.split()[0] for name in WORK)]
SLOWER = 0.95


def speed(options: argparse.Namespace) -> int:
    """Print the ratio of this tree's speed to another's for each work; return 1 where one is too slow."""
    sides = {"old": options.against.resolve(), "new": tree() / "src"}
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as work:
        cases = Path(work) / "cases.jsonl"
        drawn = read_lines(options.cases) if options.cases else draw_cases(options.data, 0)
        write_lines(cases, random.Random(0).sample(drawn, min(options.steps, len(drawn))))
        before = Path.cwd()
        os.chdir(work)
        write_inputs()
        steps = ["c = a + b = 7 + 5 , c is 12"] * 6
        for name, count in (("few", 10), ("many", 1500)):
            rows = [
                {"id": f"{n}", "problem": f"mod 13 : a is {n % 13} ; b is {n // 13 % 13} ; find c"}
                for n in range(count)
            ]
            write_lines(Path(f"{name}.jsonl"), [row | {"steps": steps} for row in rows])
        status, _, messages = sparring(*TRAIN_PRM.split())
        if status:
            raise SystemExit(messages)
        for turn in range(options.rounds):
            for side in ("old", "new") if turn % 2 == 0 else ("new", "old"):
                words = ["measure", str(cases), "--works", *options.works]
                child = [sys.executable, str(Path(__file__).resolve()), *words]
                environment = os.environ | {"PYTHONPATH": str(sides[side])}
                done = subprocess.run(child, env=environment, stdout=subprocess.PIPE, check=True)
                for name, value in json.loads(done.stdout.splitlines()[-1]).items():
                    found.setdefault(name, {"old": [], "new": []})[side].append(value)
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
        os.chdir(before)
    print("| per second of processor time, best round | old | new | new/old | median | lowest to highest |")
    print("|---|---|---|---|---|---|")
    slow = False
    for name, both in found.items():
        ratios = [new / old for old, new in zip(both["old"], both["new"], strict=True)]
        middle, best = statistics.median(ratios), max(both["new"]) / max(both["old"])
        mark = " slower" * (max(middle, best) < SLOWER)  # other work on the machine only ever lowers a value
        slow |= bool(mark)
        values = " | ".join(f"{max(both[side]):,.2f}" for side in ("old", "new"))
        print(
            f"| {name} | {values} | {best:.3f}{mark} | {middle:.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
        )
    return int(slow)


def measure(options: argparse.Namespace) -> int:
    """Time each work in this process; print how much is done per second of processor time, as JSON."""
    from sparring import Panel
    from sparring.oracles.sandbox import SandboxLimits

    found = {}
    asked = questions_of(read_lines(options.cases)) if "verdicts" in options.works else []
    for member in MEMBERS if asked else ():
        with Panel([member], workers=1, limits=SandboxLimits(seconds=30.0)) as panel:
            panel.judge_members_many(asked[:50])
            begun = processor_seconds() + living_seconds()
            panel.judge_members_many(asked[50:])
            found[f"{member} verdicts"] = (len(asked) - 50) / (processor_seconds() + living_seconds() - begun)
    for name, (count, sizes, words) in WORK.items():
        if name.split()[0] in options.works:
            with tempfile.TemporaryDirectory() as out:
                for size in sizes:
                    begun = processor_seconds()
                    status, _, messages = sparring(*words.replace("OUT", out).replace("SIZE", size).split())
                    if status:
                        raise SystemExit(messages)
                found[name] = count / (processor_seconds() - begun)
    print(json.dumps(found))
    return 0


def living_seconds() -> float:
    """Return the processor time of the children of this process that still run (Linux)."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += (int(fields[11]) + int(fields[12])) * (int(fields[1]) == os.getpid())
    return ticks / os.sysconf("SC_CLK_TCK")


# --- command line ----------------------------------------------------------------------------------------------------


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file with sorted keys."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")


PARTS: dict[str, tuple[Record, Compare]] = {
    "verdicts": (record_verdicts, compare_verdicts),
    "help": (record_help, compare_tables("help.json")),
    "runs": (record_commands("runs", RUNS), compare_tables("runs.json")),
    "evaluations": (record_commands("evaluations", EVALUATIONS), compare_tables("evaluations.json")),
    "wheel": (record_wheel, compare_tables("wheel.json")),
}


FILES = {part: "verdicts.jsonl" if part == "verdicts" else f"{part}.json" for part in PARTS}


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
    compare = commands.add_parser("compare", help="print what differs between two records")
    compare.add_argument("folder", type=Path)
    compare.add_argument("other", type=Path)
    for command in (record, compare):
        command.add_argument("--only", type=parts, default=list(PARTS), help=f"of {','.join(PARTS)}")
    faster = commands.add_parser("speed", help="the package on PYTHONPATH against another tree's")
    faster.add_argument("--against", type=Path, required=True, help="the other tree's src folder")
    faster.add_argument("--data", type=Path, help="as for record")
    faster.add_argument("--cases", type=Path, help="as for record")
    faster.add_argument("--steps", type=int, default=2000, help="steps that the oracles are asked about")
    faster.add_argument("--rounds", type=int, default=5, help="measurements of each tree, in turn")
    inner = commands.add_parser("measure", help="one measurement of one tree (used by speed)")
    inner.add_argument("cases", type=Path)
    for command in (faster, inner):
        command.add_argument("--works", nargs="*", default=WORKS, help=f"of {' '.join(WORKS)}")
    options = parser.parse_args(words)
    if options.command in ("speed", "measure"):
        return speed(options) if options.command == "speed" else measure(options)
    status = 0
    for part in options.only:
        record_part, compare_part = PARTS[part]
        if options.command == "compare":
            try:
                lines = compare_part(options.folder, options.other)
            except FileNotFoundError as error:
                lines = [f"not recorded: {error.filename}"]
            status |= bool(lines)
            print(
                "\n".join([f"{part}: {'different' if lines else 'equal'}", *(f"  {line}" for line in lines)])
            )
            continue
        options.folder.mkdir(parents=True, exist_ok=True)
        if (kept := options.folder / FILES[part]).exists():
            parser.error(f"{kept} is recorded already: delete it first, or take another folder")
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
    os.environ |= {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sys.exit(main())
