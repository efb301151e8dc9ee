"""What the step inspector shows: cases with their solutions, scores and verdicts, as plain records.

Contract: nothing here knows where a case comes from, or what a page looks like. All texts are those of data and models,
untouched; `plain` gives the JSON of the page, in which long texts are cut (and say so) and what a case does not have is
absent. Scores stand in one row per PRM, in the order of `InspectorData.prms`.

Not here: reading runs (`runs.py` and the readers beside it), the page (`page.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sparring.errors import plural
from sparring.files import to_json
from sparring.report.cases import Row, Said
from sparring.report.kinds import Table
from sparring.traces.fields import is_number
from sparring.traces.records import Label, Trace

LONGEST_TEXT = 20_000
"""Characters of a step or question that a page holds; what is longer is cut, and says so."""
UNKNOWN = "unknown"
"""In a rule's place: nothing says what the PRM's threshold is."""


@dataclass(frozen=True, slots=True)
class Prm:
    """Who scored: its name on the page, its threshold, and the rule that chose the threshold."""

    name: str
    threshold: float = 0.5
    rule: str = UNKNOWN

    @classmethod
    def of(cls, name: str, extra: Mapping[str, Any]) -> Prm:
        """Return a PRM with the threshold that a run's `extra` holds (`scorers.door.threshold_of`), if it does."""
        stored = extra.get("threshold")
        value = stored.get("value") if isinstance(stored, Mapping) else None
        if not is_number(value) or not 0.0 <= value <= 1.0:
            return cls(name)
        rule = stored.get("rule") if isinstance(stored, Mapping) else None
        return cls(name, float(value), rule if isinstance(rule, str) else "")


@dataclass(frozen=True, slots=True)
class Variant:
    """Another text in a step's place, by a rule or an adversary.

    Attributes:
        at: index of the step.
        by: who wrote it.
        text: what was written.
        truth: the oracle's word on it; empty where there is none.
        reason: of the oracle, or why it could not be judged.
        scores: one per PRM.
    """

    at: int
    by: str
    text: str
    truth: str = ""
    reason: str = ""
    scores: Row = ()


@dataclass(frozen=True, slots=True)
class Solution:
    """Steps with all that is known of them.

    Attributes:
        steps: texts.
        scores: one row per PRM, with one entry per step; None where a PRM has not scored it.
        labels: of people or data; None where there are none at all.
        first: index of the first wrong step by the labels, −1 where all are right, None where that is unknown.
        values: measured value of the prefix that ends with each step, its interval's ends, and the number of rollouts.
        root: measured value of the bare question.
        said: verdicts by index of the step.
        answer: the final answer.
        right: whether the answer is right.
        total: by which the solution was chosen.
    """

    steps: Sequence[str]
    scores: Sequence[Row | None] = ()
    labels: Sequence[Label] | None = None
    first: int | None = None
    values: Sequence[tuple[float, float, float, int] | None] | None = None
    root: float | None = None
    said: Mapping[int, Sequence[Said]] = field(default_factory=dict)
    answer: str | None = None
    right: bool | None = None
    total: float | None = None


class Node(NamedTuple):
    """A node of a search tree: place of its parent (−1: the question), its step, and how it was judged.

    Attributes:
        parent: index in the tree's nodes.
        step: text.
        score: of the step, by the PRM.
        value: by which it was kept or pruned.
        kept: whether it was continued or is a solution in the end.
        end: ``open``, ``finished`` or ``cut``.
        chosen: whether it lies on the way to the answer.
    """

    parent: int
    step: str
    score: float | None
    value: float | None
    kept: bool
    end: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """What a search looked at: nodes, each after its parent; how many were left out; what it cost, in words."""

    nodes: Sequence[Node]
    left_out: int = 0
    cost: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class InspectorCase:
    """One problem with one or several solutions.

    Attributes:
        id: name.
        question: of the problem; empty where the run does not hold it.
        solutions: at least one.
        chosen: which of them is shown first.
        tags: what the cases can be filtered by (``subset``, ``error kind``): name to values.
        variants: of the steps of the chosen solution.
        tree: of the search.
        notes: lines under the question.
    """

    id: str
    question: str
    solutions: Sequence[Solution]
    chosen: int = 0
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    variants: Sequence[Variant] = ()
    tree: Tree | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """A measure over the updates of a training run; `chart` groups those that share a picture."""

    run: str
    chart: str
    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class InspectorData:
    """All that a page shows of a run, or of two.

    Attributes:
        title: what it is.
        source: the runs, in words.
        prms: who scored.
        cases: in the order of the run.
        tables: of numbers with their intervals.
        facts: settings and surroundings, (name, value).
        notes: what a reader must know beside: what is left out, and why.
        curves: of training.
    """

    title: str
    source: str = ""
    prms: Sequence[Prm] = ()
    cases: Sequence[InspectorCase] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    curves: Sequence[Curve] = ()


def known_of(trace: Trace, scores: Sequence[Row | None] = ()) -> Solution:
    """Return a trace as a solution, with its labels, values and outcome."""
    root = trace.meta.get("root_value")
    return Solution(
        trace.steps,
        scores,
        trace.labels,
        trace.first_error,
        None
        if trace.estimates is None
        else [None if v is None else (v.value, v.low, v.high, v.count) for v in trace.estimates],
        root if isinstance(root, float) else None,
        right=trace.outcome,
    )


def plain(data: InspectorData) -> dict[str, Any]:
    """Return what a page holds of `data`, as JSON values: NaN and infinities are null, long texts of cases are cut."""
    values, _ = to_json(data)
    cases, tables = [_trimmed(case) for case in values["cases"]], [table._asdict() for table in data.tables]
    return {**values, "cases": cases, "tables": tables}


def texts(data: InspectorData) -> Iterable[str]:
    """Yield the texts of questions, steps and variants, as a page holds them."""
    for case in data.cases:
        yield cut(case.question)
        for solution in case.solutions:
            yield from map(cut, solution.steps)
        yield from (cut(variant.text) for variant in case.variants)


def cut(text: str) -> str:
    """Return the text, or its beginning and how much is left out."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]} … [{plural(len(text) - LONGEST_TEXT, 'more character')} not on this page]"


def _trimmed(value: Any) -> Any:
    """Return JSON with its texts cut, and its records without what is not there; zeros and `false` stay."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, list):
        return [_trimmed(one) for one in value]
    if isinstance(value, dict):
        return {
            name: _trimmed(one) for name, one in value.items() if one is not None and one not in ("", [], {})
        }
    return value
