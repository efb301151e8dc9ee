"""What search is worth: accuracy against compute for every method, with paired comparisons to best-of-N and majority.

Independent solutions give the lines `random` (the mean over them), `majority`, `weighted_vote`, `best_of_n` and `pass`
(some solution is right) for every N up to their number, as means over subsets (`search/selection.py`). Every other
method is one line per N, which every method counts in its own way (states kept, trees, walks), so its `work` says how many
independent solutions would have had as many sampled tokens. It is compared with best-of-N and majority three times: at the
same N, where that is the same work (within a quarter), else not; at the same cost, with as many independent solutions as
would have cost what the method did (two neighbouring numbers mixed so that the cost is met exactly); and in the same way at
the same number of sampled tokens. Cost is FLOPs, or sampled tokens where FLOPs are unknown; majority needs no PRM and pays
none.

Contract: a problem without a solution to choose counts as wrong. Intervals and p-values are over problems: repeats of a
problem are one cluster. `journals/` in the run directory holds every candidate: started again with the same settings a
search goes on where it was; with other settings it refuses the journals that do not fit. Torch and matplotlib are imported
where they are needed, so that settings are read without them. Not here: the search (`search/`).
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from rich.console import Console

from sparring.addresses import is_address
from sparring.errors import about, plural
from sparring.evaluation.outcome import (
    CASES_FILE,
    Recomputed,
    candidate_record,
    raw_records,
    write_evaluation,
)
from sparring.evaluation.search_pool import Models, SearchPool, search_pool, sources
from sparring.fingerprints import folder_identity
from sparring.labels.answers import Checker
from sparring.labels.settings import SolverSettings
from sparring.locks import writes
from sparring.models.prompts import prompt_digest
from sparring.oracles.equality import answer_groups
from sparring.pool import LostError, PoolSettings
from sparring.report.page import Run
from sparring.rollouts.engine import room_note
from sparring.runs import Metric
from sparring.scorers.door import StepScorer, open_scorer, record_of, threshold_of
from sparring.search.budget import Spent
from sparring.search.driver import Candidate, Found, search_kept
from sparring.search.selection import best_at, pass_at, random_choice, vote_at
from sparring.search.settings import MethodSettings
from sparring.settings import dump_settings
from sparring.statistics import auc_interval, auc_within, bootstrap_mean, paired_difference
from sparring.terminal import ProgressBar
from sparring.traces.records import Problem, Trace
from sparring.traces.samples import FOLDER, public, sample_row, write_samples
from sparring.worlds.world import require_words

CURVES_FILE, CANDIDATES_FILE, TREES = "curves.svg", "candidates.jsonl", "trees"
LINES = ("random", "majority", "weighted_vote", "best_of_n", "pass")
"""What is computed from independent solutions."""
_SCORED = ("weighted_vote", "best_of_n")
BASELINES = ("best_of_n", "majority")
SAME_WORK = 1.25
"""A method is compared at the same N where its work is that of N independent solutions within this factor."""
COUNTS = ("tokens_generated", "tokens_prefilled", "tokens_scored", "policy_flops", "prm_flops")


class SearchSettings(MethodSettings, SolverSettings):
    """Settings of `sparring search`."""

    prm: str
    """Who scores: a PRM's folder, or a server's address (docs/serving.md)."""
    value: str | None = None
    """Value model, a folder or a server's address, beside a `prm` of correctness: Q is then correctness × value."""
    methods: tuple[Literal["beam", "dvts", "lookahead", "puct", "particles"], ...] = ("beam",)
    """Methods beside independent solutions, which are always sampled."""
    n: tuple[int, ...] = (1, 4, 16)
    """The N of the curves."""
    baseline_samples: int | None = Field(None, gt=0)
    """Independent solutions per problem; without it, the largest N times `expansions`, for comparisons at equal cost."""
    repeats: int = Field(1, gt=0)
    """Searches of every problem, with seeds `seed`, `seed` + 1, …"""

    @model_validator(mode="after")
    def _check_sizes(self) -> SearchSettings:
        if not self.n or min(self.n) < 1:
            raise ValueError("n holds at least one number, all at least 1")
        if len(set(self.methods)) < len(self.methods) or len(set(self.n)) < len(self.n):
            raise ValueError("methods and n hold nothing twice")
        return self


@writes("out")
def run_search_command(
    settings: SearchSettings,
    out: Path,
    *,
    console: Console | None = None,
    models: Models | None = None,
    samples: bool = False,
    license: str = "unknown",
    pool: PoolSettings | None = None,
) -> dict[str, Metric]:
    """Search, measure, write the run directory, print the table; return the metrics.

    Args:
        models: who takes part, instead of those that the settings name.
        samples: also write every candidate as a data set to share (`traces/samples.py`).

    Raises:
        LostError: actors of the pool died of some searches; all others are in the journals.
        SettingsError: settings that do not fit, or a run directory of another run.
        DataError: the data cannot be used.
        CheckpointError: a model cannot be loaded.
        SearchError: nothing could be searched, or scores are no numbers.
        EngineError: the engine is out of order; start the command again to go on.
    """
    from sparring.labels.answers import pick_checker
    from sparring.labels.command import load_problems, show_doubts

    console = console or Console()
    problems, left_out = load_problems(settings, "search")
    checker = pick_checker(settings, problems)
    solutions = settings.baseline_samples or max(settings.n) * settings.expansions
    plan = [
        ("independent", solutions),
        *((method, n) for method in settings.methods for n in sorted(settings.n)),
    ]
    cases: dict[tuple[str, int], list[Case]] = {one: [] for one in plan}
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(about(settings.data))
        pooled = None
        if pool is not None and models is None:
            pooled = SearchPool(stack.enter_context(search_pool(settings, load_models, pool, console)))
        models = models or (load_models(settings) if pooled is None else pooled.models)
        _say_what_is_special(settings, models, console)
        bar = stack.enter_context(ProgressBar(console))
        for repeat, (method, n) in itertools.product(range(settings.repeats), plan):
            seeded = settings.model_copy(update={"seed": settings.seed + repeat})
            task = bar.add_task(f"{method}, N = {n}", total=len(problems))
            if pooled is None:
                search = models.search(method, n, seeded)
            else:
                search = pooled.search(method, n, seeded, problems, drawn=not repeat)
            found = search_kept(
                search,
                method,
                problems,
                seeded,
                n=n,
                journal=out / "journals" / f"{method}-{n}-{repeat}.jsonl",
                trees=None if repeat else out / TREES / f"{method}-{n}.jsonl",
                identity=_identity(settings, models),
                progress=partial(bar.advance, task),
            )
            if len(found) == len(problems):
                cases[method, n] += judged(method, n, repeat, problems, found, checker)
        if pooled is not None and pooled.lost:
            raise LostError(
                pooled.lost, f"All others are in {out / 'journals'}; the same command tries these again"
            )
    every = [case for some in cases.values() for case in some]
    counts = {f"{method}.n_{n}": _counts(some) for (method, n), some in cases.items()}
    base = Independent(cases.pop(plan[0]), solutions, settings.seed)
    metrics = curve_metrics(base, dict(cases), sorted(settings.n))
    metrics |= discrimination(base)
    metrics["problems"] = Metric(len(problems), unit="problems")
    metrics["new_seconds"] = Metric(time.perf_counter() - started, unit="s")
    doubts, servers = models.engine.usage.doubts, _servers(settings, models)
    written = write_evaluation(
        out,
        "search",
        settings,
        metrics,
        cases=map(_record, every),
        worst=misled_searches(every),
        extra={
            "left_out": dict(left_out),
            "counts": counts,
            "reproducible": models.engine.reproducible,
            "doubts": doubts,
            **({"scorers": {role: record_of(one) for role, one in servers.items()}} if servers else {}),
            **threshold_of(models.scorer),
        },
        files={CURVES_FILE: curves_svg(metrics, settings), CANDIDATES_FILE: map(_candidates, every)},
        notes=[
            *(f"{name}: {what}: {count}" for name, odd in counts.items() for what, count in odd.items()),
            *(
                f"independent solutions, N = {n}: not measured, there are {solutions} (baseline_samples)"
                for n in sorted(settings.n)
                if n > solutions
            ),
        ],
        console=console,
    )
    show_doubts(console, doubts)
    if samples:
        count = write_samples(
            out / FOLDER,
            _samples(every, settings.policy),
            command="sparring search",
            settings=dump_settings(settings),
            license=license,
        )
        console.print(f"{plural(count, 'sample')} to share: {out / FOLDER}", highlight=False)
    return written


def load_models(settings: SearchSettings) -> Models:
    """Return policy, PRM and, where named and needed, the prover's value model and the value model beside the PRM."""
    from sparring.labels.provers import load_engine
    from sparring.rollouts.local import LocalEngine

    engine: Any = load_engine(settings.policy, settings)
    if settings.data is None and isinstance(engine, LocalEngine):
        require_words(settings.world, engine.tokenizer, settings.policy)
    # Layouts are made for steps that end with a line break.
    engine.layout = replace(engine.layout, separator=settings.separator)
    scorer, *others = [
        None
        if source is None or (role == "prover" and settings.alpha == 0)
        else open_scorer(source, device=settings.device, dtype=settings.dtype)
        for role, source in sources(settings).items()
    ]
    assert scorer is not None
    return Models(engine, scorer, *others)


def _say_what_is_special(settings: SearchSettings, models: Models, console: Console) -> None:
    if note := room_note(models.engine, settings.limits(whole=True, greedy=False)):
        console.print(note, highlight=False)
    if servers := _servers(settings, models):
        console.print(
            f"{', '.join(servers)} on a server: every prefix is read whole there, and its FLOPs are not counted",
            highlight=False,
        )


def judged(
    method: str,
    n: int,
    repeat: int,
    problems: Sequence[Problem],
    found: Sequence[Found],
    checker: Checker,
) -> list[Case]:
    """Return the cases of one search; an answer that cannot be read or compared is wrong."""
    pairs = [
        (problem, one.steps)
        for problem, result in zip(problems, found, strict=True)
        for one in result.candidates
    ]
    verdicts = iter(checker.judge(pairs))
    cases = []
    for problem, result in zip(problems, found, strict=True):
        judgements = [next(verdicts) for _ in result.candidates]
        answers = tuple(checker.stated(problem, one.steps) for one in result.candidates)
        unread = sum(
            one is None and answer is not None for one, answer in zip(judgements, answers, strict=True)
        )
        right = tuple(one is True for one in judgements)
        cases.append(Case(method, n, repeat, problem, result, answers, right, unread))
    return cases


def _servers(settings: SearchSettings, models: Models) -> dict[str, StepScorer]:
    """Return the scorers that are servers, by role."""
    named = models.named(settings)
    return {role: scorer for role, source, scorer in named if scorer is not None and is_address(source)}


def _who(source: str, scorer: StepScorer | None) -> str:
    if scorer is not None and is_address(source):
        return scorer.identity.key
    return folder_identity(Path(source))


def _identity(settings: SearchSettings, models: Models) -> dict[str, Any]:
    """Return what must agree for a journal to be continued, beside method, settings and problems."""
    from sparring.labels.provers import policy_identity

    who = {role: _who(source, scorer) for role, source, scorer in models.named(settings)}
    return {
        "policy": policy_identity(settings.policy),
        "prm": who["prm"],
        "prover_model": who.get("prover"),
        **({"value_model": who["value"]} if "value" in who else {}),
        "prompts": prompt_digest(getattr(models.engine, "layout", None)),
        "dtype": settings.dtype,
    }


def _counts(cases: Sequence[Case]) -> dict[str, int]:
    counts = sum((Counter(case.found.counts) for case in cases), Counter[str]())
    counts["answer that cannot be compared"] = sum(case.unread for case in cases)
    counts["problem without a candidate"] = sum(case.found.chosen is None for case in cases)
    counts["problem without an answer"] = sum(
        bool(case.answers) and not any(answer is not None for answer in case.answers) for case in cases
    )
    return dict(sorted((+counts).items()))


def _record(case: Case) -> dict[str, Any]:
    """Return what was found of a problem, with the chosen solution and the cost."""
    found = case.found
    chosen = None if found.chosen is None else found.candidates[found.chosen]
    return {
        "method": case.method,
        "n": case.n,
        "repeat": case.repeat,
        "problem": case.problem.id,
        "right": case.solved,
        "answer": None if found.chosen is None else case.answers[found.chosen],
        "steps": None if chosen is None else chosen.steps,
        "scores": None if chosen is None else chosen.scores,
        "value": None if chosen is None else chosen.value,
        "candidates": len(found.candidates),
        "candidates_right": sum(case.right),
        "counts": found.counts,
        "refusal": found.refusal,
        "seconds": found.seconds,
        **found.spent.as_dict(),
    }


def _candidates(case: Case) -> dict[str, Any]:
    """Return the question, and what is counted of the candidates; equal ones share a number."""
    numbers: dict[tuple[str, ...], int] = {}
    return {
        "method": case.method,
        "n": case.n,
        "repeat": case.repeat,
        "problem": case.problem.id,
        "question": case.problem.question,
        "answers": case.answers,
        "right": case.right,
        "chosen": case.found.chosen,
        "values": [one.value for one in case.found.candidates],
        "finished": [one.finished for one in case.found.candidates],
        "same": [numbers.setdefault(one.steps, len(numbers)) for one in case.found.candidates],
    }


def recomputed(run: Run) -> Recomputed:
    """Return what `cases.jsonl` and `candidates.jsonl` give once more."""
    settings = run.settings
    every: dict[tuple[str, int], list[Case]] = {}
    costs = raw_records(run.folder / CASES_FILE)
    found = raw_records(run.folder / CANDIDATES_FILE, "chosen", "values", "finished", "same")
    for cost, record in zip(costs, found, strict=True):
        candidates = tuple(
            Candidate((str(number),), finished, (), value)
            for number, finished, value in zip(
                record["same"], record["finished"], record["values"], strict=True
            )
        )
        spent = Spent(**{name: cost[name] for name in COUNTS})
        one = Found(
            record["problem"], record["chosen"], candidates, spent, cost["counts"], None, cost["seconds"]
        )
        case = Case(
            record["method"],
            record["n"],
            record["repeat"],
            Problem(record["problem"], record["question"]),
            one,
            tuple(record["answers"]),
            tuple(record["right"]),
        )
        every.setdefault((case.method, case.n), []).append(case)
    again = [
        {"right": case.solved, "candidates": len(case.right), "candidates_right": sum(case.right)}
        for cases in every.values()
        for case in cases
    ]
    (_, solutions), first = next(iter(every.items()))
    base = Independent(every.pop(("independent", solutions)), solutions, settings["seed"])
    metrics = curve_metrics(base, dict(every), sorted(settings["n"])) | discrimination(base)
    metrics["problems"] = Metric(len({case.problem.id for case in first}), unit="problems")
    return Recomputed(metrics, {CASES_FILE: again})


def _samples(cases: Sequence[Case], policy: str) -> Iterator[dict[str, Any]]:
    """Yield the row of every candidate of every search."""
    for case in cases:
        for place, (one, right) in enumerate(zip(case.found.candidates, case.right, strict=True)):
            trace = Trace(case.problem, one.steps, outcome=right, source=public(policy))
            yield sample_row(
                trace, scores=list(one.scores), value=one.value, method=case.method, n=case.n, repeat=case.repeat,
                chosen=place == case.found.chosen, finished=one.finished,
            )  # fmt: skip


def misled_searches(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return a record per problem for which some search chose a wrong solution while it had a right one, worst first.

    Of several searches of a problem, the one counts in which the chosen value is furthest above the best right one.
    """
    worst: dict[str, dict[str, Any]] = {}
    for case in cases:
        candidates, chosen = case.found.candidates, case.found.chosen
        if chosen is None or case.solved or not any(case.right):
            continue
        best = max(
            (index for index, right in enumerate(case.right) if right),
            key=lambda index: candidates[index].value,
        )
        picked, right = (
            candidate_record(one.steps, one.scores, one.value, case.answers[index])
            for index, one in ((index, candidates[index]) for index in (chosen, best))
        )
        gap, name = picked["value"] - right["value"], case.problem.id
        if name not in worst or gap > worst[name]["gap"]:
            counted = f"{sum(case.right)} of {plural(len(case.right), 'candidate')} are right."
            worst[name] = {
                "id": name,
                "gap": gap,
                "note": f"{case.method}, N = {case.n}: {counted}",
                "problem": case.problem.question,
                "picked": picked,
                "right": right,
            }
    return sorted(worst.values(), key=lambda record: -record["gap"])


# --- accuracy against compute ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """What one search found for one problem, judged.

    Attributes:
        repeat: number of the repeat.
        problem: that was searched.
        found: the search's result.
        answers: of the candidates; None: no answer.
        right: whether each candidate's answer is right.
        unread: candidates whose answer could not be compared with the reference; they count as wrong.
    """

    method: str
    n: int
    repeat: int
    problem: Problem
    found: Found
    answers: tuple[str | None, ...]
    right: tuple[bool, ...]
    unread: int = 0

    @property
    def solved(self) -> bool:
        """Whether the chosen solution is right."""
        return self.found.chosen is not None and self.right[self.found.chosen]


@dataclass(slots=True)
class Independent:
    """N independent solutions of every problem, and what choosing among n of them gives on average.

    Args:
        cases: one per problem and repeat, of the method `independent`.
        samples: N that was asked for; empty solutions are missing from the candidates, and count as wrong ones.
        seed: of the random subsets of votes, and of the bootstrap.
    """

    cases: Sequence[Case]
    samples: int
    seed: int = 0
    _known: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    _classes: dict[int, list[int]] = field(default_factory=dict)

    def accuracies(self, line: str, n: float) -> list[float]:
        """Return the accuracy of a line per case; a fractional `n` mixes its two neighbours."""
        low = math.floor(n)
        if low == n:
            if (line, low) not in self._known:
                self._known[line, low] = [
                    self._accuracy(place, line, low) for place in range(len(self.cases))
                ]
            return self._known[line, low]
        share = n - low
        pairs = zip(self.accuracies(line, low), self.accuracies(line, low + 1), strict=True)
        return [(1 - share) * one + share * other for one, other in pairs]

    def _accuracy(self, place: int, line: str, n: int) -> float:
        case = self.cases[place]
        missing = self.samples - len(case.right)
        right = [*case.right, *[False] * missing]
        if line == "random":
            return random_choice(right)
        if line == "pass":
            return pass_at(right, n)
        if line == "best_of_n":
            # Finished solutions come before all others, as in the search's own choice.
            ranks = [one.value + one.finished for one in case.found.candidates] + [-1.0] * missing
            return best_at(ranks, right, n)
        values = [one.value for one in case.found.candidates] + [0.0] * missing
        if place not in self._classes:
            self._classes[place] = answer_groups([*case.answers, *[None] * missing])
        weights = values if line == "weighted_vote" else None
        return vote_at(self._classes[place], right, n, weights=weights, seed=[self.seed, place, n])

    def cost(self, line: str, n: int, name: str) -> float | None:
        """Return the mean cost per problem of n solutions, by a name in `COUNTS` or `flops`; None: unknown.

        The policy's cost is proportional to n. The PRM reads equal solutions once, so its cost goes with the number of
        different ones that n solutions have on average, which are taken to be equally long within a problem.
        """
        if name == "flops":
            policy, prm = self.cost(line, n, "policy_flops"), self.cost(line, n, "prm_flops")
            return None if policy is None or prm is None else policy + prm
        if name not in ("tokens_scored", "prm_flops"):
            whole = mean_cost(self.cases, name)
            return None if whole is None else whole * n / self.samples
        if line not in _SCORED:
            return 0.0
        if mean_cost(self.cases, name) is None:
            return None
        costs = [getattr(case.found.spent, name) * self._different(case, n) for case in self.cases]
        return math.fsum(costs) / len(costs)

    def solutions_for(self, line: str, cost: float, name: str) -> float | None:
        """Return how many solutions cost that much, at least 1; None: more than there are, or the cost is unknown."""
        before = 0.0
        for n in range(1, self.samples + 1):
            after = self.cost(line, n, name)
            if after is None:
                return None
            if after >= cost:
                return max(1.0, n - (after - cost) / (after - before))
            before = after
        return None

    def mean(self, values: Sequence[float]) -> Metric:
        """Return the mean of one value per case, with its interval over problems."""
        clusters = [case.problem.id for case in self.cases]
        return bootstrap_mean(values, clusters=clusters, seed=self.seed, unit="fraction")

    def compared(self, key: str, values: Sequence[float], line: str, n: float | None) -> dict[str, Metric]:
        """Return the difference of accuracies to a line at n, with its p-value; without n it is undefined."""
        if n is None:
            return {key: Metric(None, unit="fraction")}
        found = paired_difference(
            values,
            self.accuracies(line, n),
            clusters=[case.problem.id for case in self.cases],
            seed=self.seed,
            unit="fraction",
        )
        return found.named(key)

    def _different(self, case: Case, n: int) -> float:
        """Return the share of a case's different solutions that n of them have on average."""
        times = Counter(one.steps for one in case.found.candidates).values()
        ways = math.comb(self.samples, n)
        met = (1.0 - math.comb(self.samples - many, n) / ways for many in times)
        return math.fsum(met) / len(times) if times else 0.0


def mean_cost(cases: Sequence[Case], name: str) -> float | None:
    """Return the mean cost per case by name; None where it is unknown for one."""
    costs = [getattr(case.found.spent, name) for case in cases]
    return None if None in costs or not costs else math.fsum(costs) / len(costs)


def curve_metrics(
    base: Independent, searched: dict[tuple[str, int], Sequence[Case]], ns: Sequence[int]
) -> dict[str, Metric]:
    """Return all metrics, ``<line or method>.n_<n>.<measure>``.

    Args:
        searched: by method and N, cases in the same order as `base.cases`.
        ns: at which N the lines of independent solutions are given; those above their number are left out.
    """
    metrics: dict[str, Metric] = {}
    for line in LINES:
        for n in (1,) if line == "random" else (n for n in ns if n <= base.samples):
            name = f"{line}.n_{n}"
            metrics[f"{name}.accuracy"] = base.mean(base.accuracies(line, n))
            for count in (*COUNTS, "flops"):
                metrics[f"{name}.{count}"] = Metric(base.cost(line, n, count), unit=_unit(count))
            if line in _SCORED:
                metrics |= base.compared(f"{name}.minus_majority", base.accuracies(line, n), "majority", n)
    for (method, n), cases in searched.items():
        name = f"{method}.n_{n}"
        solved = [float(case.solved) for case in cases]
        costs = {count: mean_cost(cases, count) for count in (*COUNTS, "flops")}
        one = base.cost("random", 1, "tokens_generated")
        written = costs["tokens_generated"]
        work = written / one if one and written is not None else None
        candidates = sum(len(case.found.candidates) for case in cases) / len(cases)
        metrics[f"{name}.accuracy"] = base.mean(solved)
        for count, cost in costs.items():
            metrics[f"{name}.{count}"] = Metric(cost, n=len(cases), unit=_unit(count))
        metrics[f"{name}.candidates"] = Metric(candidates, n=len(cases))
        metrics[f"{name}.seconds"] = Metric(math.fsum(case.found.seconds for case in cases), unit="s")
        metrics[f"{name}.work"] = Metric(work, n=len(cases), unit="solutions")
        same = n if work is not None and 1 / SAME_WORK <= work / n <= SAME_WORK else None
        for line in BASELINES:
            key = f"{name}.minus_{line}"
            if n <= base.samples:
                metrics |= base.compared(key, solved, line, same)
            known = "tokens_generated" if costs["flops"] is None else "flops"
            for what, unit in (("cost", known), ("tokens", "tokens_generated")):
                cost = costs[unit]
                equal = None if cost is None else base.solutions_for(line, cost, unit)
                metrics[f"{key}_at_equal_{what}.samples"] = Metric(equal, unit="solutions")
                metrics |= base.compared(f"{key}_at_equal_{what}", solved, line, equal)
    return metrics


def discrimination(base: Independent) -> dict[str, Metric]:
    """Return the AUC of the PRM's values of independent solutions, right against wrong: pooled, and within problems.

    A choice is made within a problem: a PRM whose pooled AUC alone is high tells hard problems from easy ones.
    """
    rows = [
        (case.problem.id, candidate.value, right)
        for case in base.cases
        for candidate, right in zip(case.found.candidates, case.right, strict=True)
    ]
    problems, values, right = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return {
        "solution_auc.pooled": auc_interval(values, right, clusters=problems, seed=base.seed),
        "solution_auc.within": auc_within(values, right, problems, seed=base.seed),
    }


def _unit(count: str) -> str:
    return "FLOP" if "flops" in count else "tokens"


def curves_svg(metrics: dict[str, Metric], settings: SearchSettings) -> str:
    """Return the picture of accuracy against cost: FLOPs per problem, or sampled tokens where those are unknown."""
    from matplotlib.figure import Figure

    from sparring.pictures import svg_of

    known = all(metric.value is not None for name, metric in metrics.items() if name.endswith(".flops"))
    count, label = ("flops", "FLOPs per problem") if known else ("tokens_generated", "tokens per problem")
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate((*LINES, *settings.methods)):
        keys = [f"{name}.n_{n}" for n in sorted(settings.n) if f"{name}.n_{n}.accuracy" in metrics]
        points = [(metrics[f"{key}.{count}"].value, metrics[f"{key}.accuracy"]) for key in keys]
        points = [(cost, one) for cost, one in points if cost is not None and one.value is not None]
        if not points:
            continue
        costs, accuracies = np.array([(cost, one.value) for cost, one in points], dtype=float).T
        style: dict[str, Any] = {
            "marker": "os^Dvp*XP<"[place % 10],
            "linestyle": "--" if name in LINES else "-",
        }
        # Bars, not bands: the bands of ten lines would hide one another.
        if all(one.low is not None and one.high is not None for _, one in points):
            ends = np.array([[one.low, one.high] for _, one in points], dtype=float).T
            style |= {"yerr": np.abs(ends - accuracies), "elinewidth": 0.7, "capsize": 2}
        axes.errorbar(costs, accuracies, label=name.replace("_", " "), **style)
    axes.set(xscale="log", xlabel=label, ylabel="accuracy")
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return svg_of(figure)
