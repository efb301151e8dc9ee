"""Which members of the panel earn their place: each left out at a time, on labelled steps and planted mistakes.

    python benchmarks/oracle_members.py --data data

Contract: the steps are those of `oracle_audit.py`, fewer of them, each judged alone and, where the original is known,
against it too. Members are asked in process and their verdicts combined by the panel's rules, once with
all and once without each. Time is processor time per member in the panel's order; what members read in common is
charged to the first. Writes `oracle_members.json` (the layout of metrics.json) and `oracle_members.md` into `--results`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from oracle_audit import settings_for
from publishing import DATA, command_line, publish
from sparring.errors import SparringError
from sparring.evaluation.oracle import Case, read_cases
from sparring.evaluation.outcome import markdown
from sparring.oracles.members import CORE, MEMBERS, Question, ask, load_member
from sparring.oracles.panel import combine
from sparring.runs import Metric, machine, source_commit
from sparring.traces.verdict import Verdict

COLUMNS = {
    "changed": "verdicts that change",
    "lost": "errors no longer found",
    "excused": "errors then called correct",
    "relieved": "false alarms less",
    "unconfirmed": "right steps no longer confirmed",
    "confirmed": "right steps confirmed instead",
}
Row = tuple[str, bool, Mapping[str, Verdict]]
"""The label of a step, whether its original was given, the members' verdicts."""


def judged(cases: Sequence[Case]) -> tuple[list[Row], dict[str, float]]:
    """Return every question's row, and seconds per member."""
    members = [load_member(name) for name in MEMBERS]
    seconds = dict.fromkeys(MEMBERS, 0.0)
    rows: list[Row] = []
    for case in cases:
        for original in {None, case.original}:
            question = Question(case.problem, tuple(case.prefix), original, case.step)
            verdicts = {}
            for member in members:
                started = time.process_time()
                verdicts[member.name] = ask(member, question)
                seconds[member.name] += time.process_time() - started
            rows.append((case.label, original is not None, verdicts))
    return rows, seconds


def without(rows: Sequence[Row], left_out: Sequence[str]) -> Counter[str]:
    """Return how many panel verdicts change, and how, where members are left out of the panel of all."""
    found: Counter[str] = Counter()
    for label, compared, verdicts in rows:
        before, after = (
            combine(
                {name: verdict for name, verdict in verdicts.items() if name not in out}, compared=compared
            ).truth
            for out in ((), left_out)
        )
        if before == after:
            continue
        found["changed"] += 1
        if label == "wrong":
            found["lost"] += before == "wrong"
            found["excused"] += after == "correct"
        else:
            found["relieved"] += before == "wrong"
            found["unconfirmed"] += before == "correct"
            found["confirmed"] += after == "correct"
    return found


def main() -> int:
    """Parse the command line, judge, and write both files."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA, help="with gsm8k/, math/, processbench/, prmbench/"
    )
    parser.add_argument("--reference-steps", type=int, default=500, help="steps of each reference file")
    parser.add_argument("--perturbed-steps", type=int, default=60, help="tries of each kind, per file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.members, options.workers = ",".join(MEMBERS), 1
    try:
        cases = read_cases(settings_for(options.data, options)).cases
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows, seconds = judged(cases)
    total = sum(seconds.values())
    metrics: dict[str, Metric] = {}
    table = [("left out", *COLUMNS.values(), "share of time")]
    for left_out in [*([name] for name in MEMBERS), [name for name in MEMBERS if name not in CORE]]:
        found = without(rows, left_out)
        share = sum(seconds[name] for name in left_out) / total
        label = "+".join(left_out)
        metrics |= {f"{label}.{key}": Metric(found[key], n=len(rows), unit="verdicts") for key in COLUMNS}
        metrics[f"{label}.time"] = Metric(share, n=len(rows), unit="fraction")
        table.append(
            (label.replace("+", ", "), *(str(found[key]) for key in COLUMNS), f"{100 * share:.0f} %")
        )
    counts = ", ".join(
        f"{count:,} {label}" for label, count in Counter(label for label, _, _ in rows).items()
    )
    head = (
        "# One member left out at a time\n\n"
        f"{len(rows):,} questions about {len(cases):,} steps ({counts}). All members: {', '.join(MEMBERS)}.\n"
        f"{1000 * total / len(rows):.1f} ms of processor time per question. Commit {source_commit()}; "
        f"{machine()['processor']}. Made by\n`python benchmarks/oracle_members.py`.\n\n"
    )
    settings = {name: getattr(options, name) for name in ("reference_steps", "perturbed_steps")}
    page = head + markdown(table)
    publish(options.results, "oracle_members", metrics, page, settings=settings, seed=options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
