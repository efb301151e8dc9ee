"""What is no model's work: starting, oracles, how many rollouts labels need.

- `starting`: `sparring --help`, and `sparring score` on the tiny model against importing torch and transformers.
- `oracles`: verdicts per second of the default members on up to four rule perturbations of GSM8K steps, against the
  original: in a plain loop, and through a `Panel` with one worker and no cache, where the processor time of both
  processes counts. The ratio of the two is what safety costs.
- `labels`: rollouts that adaptive allocation spends for one of the uniform rule at equal label error.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sparring.models import TINY_POLICY
from sparring.oracles.equations import ANNOTATION
from sparring.oracles.members import Question, ask, load_member
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import perturb
from sparring.traces.jsonl import write_traces
from sparring.traces.readers import read_problems_as
from speed_rows.harness import Claim, Measured, Options, Seconds, in_turn, ratio, timed

ROOT = Path(__file__).resolve().parents[2]
REWRITES = 4  # per step, the default of `samples_per_state`


def children() -> float:
    """Return the processor time of all ended children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# --- starting --------------------------------------------------------------------------------------------------------


def starting(options: Options) -> Measured:
    """The command line's own time."""
    from speed_rows.reading import chosen_traces, make_prm

    prm, traces = make_prm(TINY_POLICY, options.place / "prm"), options.place / "traces.jsonl"
    write_traces(traces, chosen_traces(None, 20, 0))
    python, bare = [sys.executable, "-c"], "import torch, transformers"
    # Transformers imports most of itself, and of torch, only when a model's class is asked for.
    classes = (
        f"{bare}; transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast; "
        "from transformers.models.llama.modeling_llama import LlamaForTokenClassification"
    )
    score = ["score", str(prm), str(traces), "--out", str(options.place / "scores.jsonl")]
    commands = {
        "--help": [sys.executable, "-m", "sparring", "--help"],
        "score": [sys.executable, "-m", "sparring", *score],
        "import of the classes": [*python, classes],
        "import": [*python, bare],
    }

    def process(words: list[str]) -> Callable[[], Seconds]:
        def run() -> Seconds:
            cpu, wall = children(), time.perf_counter()
            done = subprocess.run(words, capture_output=True, check=False)
            if done.returncode:
                raise SystemExit(
                    f"{words[3:]} ended with status {done.returncode}: {done.stderr.decode()[-300:]}"
                )
            return children() - cpu, time.perf_counter() - wall

        return run

    arms = in_turn({name: process(words) for name, words in commands.items()}, options.rounds)
    helps = arms["--help"]
    return Measured(
        arms,
        {
            "help": Claim(
                "`sparring --help`", 0.2, False,
                {"cpu": [one[0] for one in helps], "wall": [one[1] for one in helps]}, "s",
            ),
            "score": ratio(
                "`sparring score` on the tiny model, for `import torch, transformers` with the classes that it needs",
                arms, "score", "import of the classes", 1.3, at_least=False,
            ),
            "score_bare": ratio(
                "the same, for a bare `import torch, transformers`, which loads neither's larger half",
                arms, "score", "import", 1.3, at_least=False,
            ),
        },
        {"traces": 20},
    )  # fmt: skip


# --- oracles ---------------------------------------------------------------------------------------------------------


def oracles(options: Options) -> Measured:
    """Verdicts per second of processor time."""
    questions = read_questions(options.data / "gsm8k" / "train.jsonl", 400 if options.quick else 2000)
    members = ["arithmetic", "reference"]
    loaded = [load_member(name) for name in members]
    asked = [(q.problem, q.prefix, q.original, q.step) for q in questions]

    def in_process() -> None:
        for question in questions:
            for member in loaded:
                ask(member, question)

    def sandboxed(count: int) -> Seconds:
        cpu = time.process_time() + children()
        wall = time.perf_counter()
        with Panel(members, workers=1, cached=0) as panel:
            panel.judge_members_many(asked[:count])
        return time.process_time() + children() - cpu, time.perf_counter() - wall

    def panel() -> Seconds:
        start, whole = sandboxed(1), sandboxed(len(asked))
        return whole[0] - start[0], whole[1] - start[1]  # without that of starting

    arms = in_turn({"in process": lambda: timed(in_process), "panel": panel}, options.rounds)
    rates = [len(questions) / cpu for cpu, _ in arms["panel"]]
    return Measured(
        arms,
        {
            "panel": Claim(
                "oracle panel, default members, in its sandbox", 3000, True, {"cpu": rates}, "verdicts/s per core"
            ),
            "sandbox": ratio("the panel, for its members in a loop", arms, "panel", "in process", 1.3, at_least=False),
        },
        {"members": members, "questions": len(questions), "data": "gsm8k/train.jsonl"},
        {"verdicts per second in process": statistics.median(len(questions) / cpu for cpu, _ in arms["in process"])},
    )  # fmt: skip


def read_questions(path: Path, count: int, seed: int = 0) -> list[Question]:
    """Return rewrites by rule of random steps, each once; where no rule applies, the step itself."""
    rng = random.Random(seed)
    places = [
        (problem, tuple(ANNOTATION.sub("", step) for step in problem.solution or ()), index)
        for problem in read_problems_as(path).problems
        for index in range(len(problem.solution or ()))
    ]
    questions: dict[tuple[str, ...], Question] = {}  # each once: a panel asks equal ones only once
    for problem, steps, index in rng.sample(places, min(count, len(places))):
        for _ in range(REWRITES):
            made = perturb(problem, steps[:index], steps[index], rng)
            text = made[1] if made else steps[index]
            key = (problem.question, *steps[: index + 1], text)
            questions[key] = Question(problem, steps[:index], steps[index], text)
        if len(questions) >= count:
            break
    return list(questions.values())[:count]


# --- labels ----------------------------------------------------------------------------------------------------------


def labels(options: Options) -> Measured:
    """Rollouts at equal label error, read from the table of `label_allocation.py`: no matter of the machine."""
    table = json.loads((ROOT / "benchmarks" / "results" / "label_allocation.json").read_text())["metrics"]
    claims = {}
    for source in ("chain", "uniform", "two_ends", "weak_policy"):
        saving = table[f"label_allocation.{source}.above_half.most_64.confidence_90.saving"]["value"]
        title = f"rollouts for hard labels at equal error, for one of the uniform rule; values: {source.replace('_', ' ')}"
        claims[source] = Claim(title, 1 / 3, False, {"cpu": [1 - saving]})
    return Measured({}, claims, {"from": "label_allocation.json, at most 64 rollouts, 90 % sure"})
