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
problem are one cluster. Not here: the search (`search/`), reading and writing (`search_command.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sparring.oracles.equality import answer_groups
from sparring.runs import Metric
from sparring.search.driver import Found
from sparring.search.selection import best_at, pass_at, random_choice, vote_at
from sparring.statistics import bootstrap_mean, paired_difference

LINES = ("random", "majority", "weighted_vote", "best_of_n", "pass")
"""What is computed from independent solutions."""
_SCORED = ("weighted_vote", "best_of_n")
BASELINES = ("best_of_n", "majority")
SAME_WORK = 1.25
"""A method is compared at the same N where its work is that of N independent solutions within this factor."""
COUNTS = ("tokens_generated", "tokens_prefilled", "tokens_scored", "policy_flops", "prm_flops")


@dataclass(frozen=True, slots=True)
class Case:
    """What one search found for one problem, judged.

    Attributes:
        problem: its id.
        repeat: number of the repeat.
        found: the search's result.
        answers: of the candidates; None: no answer.
        right: whether each candidate's answer is right.
        unread: candidates whose answer could not be compared with the reference; they count as wrong.
    """

    problem: str
    repeat: int
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
        seed: of the random subsets of votes.
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

    def _different(self, case: Case, n: int) -> float:
        """Return the share of a case's different solutions that n of them have on average."""
        times = Counter(one.steps for one in case.found.candidates).values()
        ways = math.comb(self.samples, n)
        met = (1.0 - math.comb(self.samples - many, n) / ways for many in times)
        return math.fsum(met) / len(times) if times else 0.0


def work_of(base: Independent, cases: Sequence[Case]) -> float | None:
    """Return how many independent solutions have as many sampled tokens as a method's cases; None: unknown."""
    one, spent = base.cost("random", 1, "tokens_generated"), mean_cost(cases, "tokens_generated")
    return spent / one if one and spent is not None else None


def mean_cost(cases: Sequence[Case], name: str) -> float | None:
    """Return the mean cost per case by name; None where it is unknown for one."""
    costs = [getattr(case.found.spent, name) for case in cases]
    return None if None in costs or not costs else math.fsum(costs) / len(costs)


def curve_metrics(
    base: Independent, searched: dict[tuple[str, int], Sequence[Case]], ns: Sequence[int], *, seed: int = 0
) -> dict[str, Metric]:
    """Return all metrics, ``<line or method>.n_<n>.<measure>``.

    Args:
        base: independent solutions.
        searched: by method and N, cases in the same order as `base.cases`.
        ns: at which N the lines of independent solutions are given; those above their number are left out.
        seed: of the bootstrap.
    """
    metrics: dict[str, Metric] = {}
    clusters = [case.problem for case in base.cases]
    for line in LINES:
        for n in (1,) if line == "random" else (n for n in ns if n <= base.samples):
            name = f"{line}.n_{n}"
            metrics[f"{name}.accuracy"] = bootstrap_mean(
                base.accuracies(line, n), clusters=clusters, seed=seed, unit="fraction"
            )
            for count in (*COUNTS, "flops"):
                metrics[f"{name}.{count}"] = Metric(base.cost(line, n, count), unit=_unit(count))
            if line in _SCORED:
                metrics |= _compared(name, base.accuracies(line, n), "majority", base, n, clusters, seed)
    for (method, n), cases in searched.items():
        name = f"{method}.n_{n}"
        solved = [float(case.solved) for case in cases]
        metrics[f"{name}.accuracy"] = bootstrap_mean(solved, clusters=clusters, seed=seed, unit="fraction")
        for count in (*COUNTS, "flops"):
            metrics[f"{name}.{count}"] = Metric(mean_cost(cases, count), n=len(cases), unit=_unit(count))
        candidates = sum(len(case.found.candidates) for case in cases) / len(cases)
        metrics[f"{name}.candidates"] = Metric(candidates, n=len(cases))
        metrics[f"{name}.seconds"] = Metric(math.fsum(case.found.seconds for case in cases), unit="s")
        work = work_of(base, cases)
        metrics[f"{name}.work"] = Metric(work, n=len(cases), unit="solutions")
        comparable = work is not None and 1 / SAME_WORK <= work / n <= SAME_WORK
        for line in BASELINES:
            if n <= base.samples:
                metrics |= (
                    _compared(name, solved, line, base, n, clusters, seed)
                    if comparable
                    else {f"{name}.minus_{line}": Metric(None, unit="fraction")}
                )
            metrics |= _compared_at_cost(name, solved, line, base, cases, clusters, seed, "cost")
            metrics |= _compared_at_cost(name, solved, line, base, cases, clusters, seed, "tokens")
    return metrics


def _compared(
    name: str,
    accuracies: Sequence[float],
    line: str,
    base: Independent,
    n: float,
    clusters: Sequence[str],
    seed: int,
    suffix: str = "",
) -> dict[str, Metric]:
    found = paired_difference(
        accuracies, base.accuracies(line, n), clusters=clusters, seed=seed, unit="fraction"
    )
    key = f"{name}.minus_{line}{suffix}"
    return {key: found.difference, f"{key}.p_value": Metric(found.p_value)}


def _compared_at_cost(
    name: str,
    solved: Sequence[float],
    line: str,
    base: Independent,
    cases: Sequence[Case],
    clusters: Sequence[str],
    seed: int,
    what: Literal["cost", "tokens"],
) -> dict[str, Metric]:
    """Compare with as many independent solutions as cost the same; null where more than there are would be needed."""
    flops = what == "cost" and mean_cost(cases, "flops") is not None
    unit = "flops" if flops else "tokens_generated"
    key = f"{name}.minus_{line}_at_equal_{what}"
    cost = mean_cost(cases, unit)
    n = None if cost is None else base.solutions_for(line, cost, unit)
    samples = {f"{key}.samples": Metric(n, unit="solutions")}
    if n is None:
        return {key: Metric(None, unit="fraction"), **samples}
    return samples | _compared(name, solved, line, base, n, clusters, seed, f"_at_equal_{what}")


def _unit(count: str) -> str:
    return "FLOP" if "flops" in count else "tokens"
