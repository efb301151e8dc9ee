"""Robustness of the oracles: real steps mutated at random, through every member in process, each verdict timed.

    python benchmarks/oracle_fuzz.py --data data --mutations 100000

Contract: reads steps of GSM8K, MATH and ProcessBench from `--data`, mutates them (tokens exchanged, put in, repeated; signs
of other scripts; powers, brackets and fractions nested; long runs of digits, letters and operators), and asks each member,
every second time with the original. Counted are exceptions, verdicts over the guard of `--guard` seconds of processor time
(interrupted there), and the slowest verdicts, which are written with their texts. Fixed seed, same texts. Writes
`oracle_fuzz.json` (the layout of metrics.json) and `oracle_fuzz.md` into `--results`. Not here: the sandbox, which would
contain what is found here.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from publishing import DATA, command_line, publish, table
from sparring.errors import SparringError
from sparring.oracles.members import MEMBERS, Member, Question, ask, load_member
from sparring.runs import Metric, machine, source_commit
from sparring.traces.readers import read_problems_as, read_traces_as
from sparring.traces.records import Problem

SHOWN = 10
NOTABLE = 0.3
"""Seconds from which a verdict is told at once."""
_TOKEN = re.compile(r"\\[A-Za-z]+|\d+(?:\.\d+)?|[A-Za-z]+|\s+|.", re.DOTALL)
_SCRIPTS = "٣８²⅓½−×÷·≈≠≤∞πθ\u00a0\u2009\u200b\u202e三é𝟑√°％＝\ud800"
_SIGNS = ("=", "+", "-", "*", "/", "^", "(", ")", "{", "}", "$", "\\(", "\\)", "%", "!", "<", ">", "≈",
          "\\frac{", "\\sqrt{", "_{", "<<", ">>", "\n", " is ", " mod ", " if ", " not ", " each ", "because", "gcd(",
          "\\int ", "\\sum_{n=1}^{", "\\boxed{", "####", "e", "i", "x", "0", "1e99", "&", "\\\\", "[asy]", "|")  # fmt: skip
_RUNS = ("a", "1", "9", "(", "((", "{", "$", "=", "+1", "*x", "^9", "!", "\\frac{1}{", "\\sqrt{", " 0", "x+", "1,", "1:",
         "ab ", "not ", "if p then ", "= 1 ", ".", "\\", "−", "9**", "^{9", "x y ", "<", "<<1=1>>", "-",
         "'", "1/")  # fmt: skip
Words = list[str]


def spliced(words: Words, rng: random.Random, middle: Sequence[str], drop: int = 0) -> Words:
    """Return the words with others put in at a random place, and some left out."""
    place = rng.randrange(len(words) + 1)
    return [*words[:place], *middle, *words[place + drop :]]


def exchanged(words: Words, rng: random.Random) -> Words:
    """Exchange two tokens."""
    one, other = (rng.randrange(len(words)) for _ in range(2))
    changed = list(words)
    changed[one], changed[other] = words[other], words[one]
    return changed


def repeated(words: Words, rng: random.Random) -> Words:
    """Repeat a stretch many times."""
    start = rng.randrange(len(words))
    return spliced(words, rng, words[start : start + rng.randint(1, 8)] * rng.choice((2, 3, 10, 60)))


def run(words: Words, rng: random.Random) -> Words:
    """Put in a long run of one piece."""
    return spliced(words, rng, [rng.choice(_RUNS)] * rng.choice((5, 30, 200, 1000, 4000)))


def nested(words: Words, rng: random.Random) -> Words:
    """Wrap a number or letter into operators, many deep."""
    inner = rng.choice(("9", "x", "(x+y+z+w)", "0.5", "n", "(a+b)"))
    depth = rng.choice((2, 3, 5, 12, 80))
    form = rng.choice(("({}+1)", "{}^9", "({})^{{99}}", "\\frac{{1}}{{{}}}", "\\sqrt{{{}}}", "({})!", "-{}", "|{}|",
                       "2^{{{}}}", "\\sin({})", "({}x+1)", "{}/3"))  # fmt: skip
    for _ in range(depth):
        inner = form.format(inner)
        if len(inner) > 9000:
            break
    return spliced(words, rng, [inner], drop=1)


def polynomial(words: Words, rng: random.Random) -> Words:
    """Put in an equation of many terms."""
    names = "abcxyzuvw"[: rng.randint(1, 9)]
    terms = [
        f"{rng.randint(0, 10 ** rng.randint(1, 30))}{rng.choice(names)}^{rng.randint(0, 40)}"
        for _ in range(rng.randint(2, 80))
    ]
    power = rng.choice(("", f"^{rng.randint(2, 99)}"))
    return spliced(words, rng, [f"$({'+'.join(names)}){power} = {' + '.join(terms)}$"])


LIGHT: tuple[Callable[[Words, random.Random], Words], ...] = (
    exchanged,
    lambda words, rng: spliced(words, rng, [rng.choice(_SIGNS)]),
    lambda words, rng: spliced(words, rng, [rng.choice(_SIGNS)], drop=1),
    lambda words, rng: spliced(words, rng, [rng.choice(_SCRIPTS)], drop=rng.randint(0, 1)),
    lambda words, rng: spliced(words, rng, [], drop=rng.randint(1, 4)),
    lambda words, rng: spliced(
        words, rng, [str(rng.randrange(10 ** rng.choice((1, 3, 9, 40, 300))))], drop=1
    ),
)
HEAVY = (repeated, run, nested, polynomial)  # every fifth text has them


def mutated(step: str, rng: random.Random) -> str:
    """Return a step after one to six mutations, at most 20,000 characters of it."""
    words = _TOKEN.findall(step) or ["x"]
    kinds = LIGHT + HEAVY if rng.random() < 0.2 else LIGHT
    for _ in range(rng.randint(1, 6)):
        words = rng.choice(kinds)(words, rng) or ["x"]
    return "".join(words)[:20_000]


def real_steps(data: Path) -> list[tuple[Problem, tuple[str, ...], str]]:
    """Return (problem, prefix, step) of all sets that are there, named on stderr where not."""
    found = []
    for name, kind in (("gsm8k/test.jsonl", "gsm8k"), ("math/solutions.jsonl", "math")):
        if (path := data / name).exists():
            for problem in read_problems_as(path, kind).problems:
                steps = problem.solution or ()
                found += [(problem, steps[:place], step) for place, step in enumerate(steps)]
        else:
            print(f"skipped: {path} is not there", file=sys.stderr)
    for name in ("processbench/gsm8k.json", "processbench/math.json"):
        if (path := data / name).exists():
            for trace in read_traces_as(path, "processbench").traces:
                found += [
                    (trace.problem, trace.steps[:place], step) for place, step in enumerate(trace.steps)
                ]
        else:
            print(f"skipped: {path} is not there", file=sys.stderr)
    return found


class Slow(BaseException):
    """The guard interrupted a verdict."""


def interrupt(number: int, frame: object) -> None:
    """Handle the guard's signal."""
    raise Slow


def timed(member: Member, question: Question, guard: float) -> tuple[str, float]:
    """Return (truth and reason, seconds of processor time) of one verdict; reason ``guard`` where it was interrupted."""
    started = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, guard)
    try:
        verdict = ask(member, question)
        said = (
            f"{verdict.truth} {verdict.reason} {verdict.detail if verdict.reason.endswith(':raised') else ''}"
        )
        if "Slow" in said:
            said = "undecided guard"
    except Slow:
        said = "undecided guard"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return said, time.process_time() - started


def questions(
    steps: Sequence[tuple[Problem, tuple[str, ...], str]], count: int, seed: int
) -> Iterator[Question]:
    """Yield `count` questions about mutated steps."""
    rng = random.Random(seed)
    for number in range(count):
        problem, prefix, step = rng.choice(steps)
        yield Question(problem, prefix, step if number % 2 else None, mutated(step, rng))


def main() -> int:
    """Parse the command line, ask, and write both files."""
    parser = command_line(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="with gsm8k/, math/, processbench/")
    parser.add_argument("--members", default=",".join(MEMBERS), help="members, with commas")
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument(
        "--guard", type=float, default=5.0, help="seconds after which a verdict is interrupted"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        steps = real_steps(options.data)
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGVTALRM, interrupt)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))  # what was done is written
    members = [load_member(name) for name in options.members.split(",")]
    first = Problem("first", "x", answer=r"\frac{5}{12}")
    for member in members:  # what a first verdict imports is not timed
        ask(
            member,
            Question(first, (), None, r"So $x = 1$. Therefore, it rains. The answer is $\boxed{<{5}{12}}$."),
        )
    seconds: dict[str, list[float]] = {member.name: [] for member in members}
    said: Counter[str] = Counter()
    slowest: list[tuple[float, int, str, str, str]] = []
    bad: list[tuple[str, str, str]] = []
    for number, question in enumerate(questions(steps, options.mutations, options.seed)):
        if ended:
            options.mutations = number
            break
        for member in members:
            verdict, spent = timed(member, question, options.guard)
            truth, reason = verdict.split()[:2]
            said[f"{member.name}.{truth}"] += 1
            seconds[member.name].append(spent)
            if reason == "guard" or reason.endswith((":raised", ":bad_verdict")):
                bad.append((member.name, verdict, question.step))
            if spent > NOTABLE:
                print(
                    f"{spent:.2f} s, text {number}, {member.name}: {shown(question.step)}",
                    file=sys.stderr,
                    flush=True,
                )
            heapq.heappush(slowest, (spent, number, member.name, verdict, question.step))
            if len(slowest) > SHOWN:
                heapq.heappop(slowest)
        if number % 5000 == 4999:
            print(
                f"{number + 1} texts, {len(bad)} bad, slowest {max(slowest)[0]:.3f} s",
                file=sys.stderr,
                flush=True,
            )
    metrics = {}
    for name, times in seconds.items():
        ordered = sorted(times)
        failed = [verdict for member, verdict, _ in bad if member == name]
        rows = (
            ("exceptions", sum("guard" not in verdict for verdict in failed), "verdicts"),
            ("guard", sum("guard" in verdict for verdict in failed), "verdicts"),
            ("slowest", ordered[-1], "s"),
            ("p999", ordered[int(len(ordered) * 0.999)], "s"),
            ("median", ordered[len(ordered) // 2], "s"),
        )
        metrics |= {f"{name}.{key}": Metric(value, n=len(times), unit=unit) for key, value, unit in rows}
    settings = {"mutations": options.mutations, "members": options.members.split(","), "guard": options.guard}
    publish(
        options.results,
        "oracle_fuzz",
        metrics,
        report(metrics, slowest, bad, options),
        settings=settings,
        seed=options.seed,
        extra={"said": dict(sorted(said.items()))},
    )
    return 0


def report(
    metrics: dict[str, Metric],
    slowest: Sequence[tuple[float, int, str, str, str]],
    bad: Sequence[tuple[str, str, str]],
    options: argparse.Namespace,
) -> str:
    """Return the tables for people."""
    keys = ("exceptions", "guard", "slowest", "p999", "median")
    lines = [
        "# Mutated steps through every oracle\n",
        f"{options.mutations:,} mutated real steps, seed {options.seed}, in process; processor time per verdict;",
        f"a guard interrupts after {options.guard:g} s. Commit {source_commit()}; {machine()['processor']}. Made by",
        "`python benchmarks/oracle_fuzz.py`.\n",
        table(
            ["member", *keys],
            [
                [name, *(f"{metrics[f'{name}.{key}'].value:.4g}" for key in keys)]
                for name in options.members.split(",")
            ],
        ),
        "## The slowest\n",
        table(
            ["seconds", "member", "verdict", "text"],
            [
                [f"{spent:.3f}", name, verdict.strip(), f"`{shown(text)}`"]
                for spent, _, name, verdict, text in sorted(slowest, reverse=True)
            ],
        ),
    ]
    if bad:
        lines += ["## Exceptions and interruptions\n"]
        lines += [f"- {name}: {verdict.strip()}: `{shown(text, 2000)}`" for name, verdict, text in bad[:50]]
    return "\n".join(lines) + "\n"


def shown(text: str, most: int = 240) -> str:
    """Return the text on one line, long runs and long texts shortened, fit for a table."""
    short = re.sub(r"(.{1,9}?)\1{12,}", lambda match: f"{match[1]}×{len(match[0]) // len(match[1])}", text)
    return json.dumps(short[:most])[1:-1].replace("|", "\\|").replace("`", "'")


if __name__ == "__main__":
    sys.exit(main())
