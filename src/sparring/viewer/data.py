"""What the step inspector shows: cases with their solutions, scores and verdicts, as plain records.

Contract: nothing here knows where a case comes from, or what a page looks like. All texts are those of data and models,
untouched; `plain` gives the JSON of the page, in which long texts are cut (and say so) and what a case does not have is
absent. Scores stand in one row per PRM, in the order of `InspectorData.prms`.

Not here: reading runs (`runs.py` and the readers beside it), the page (`page.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparring.files import to_json
from sparring.report.kinds import Table
from sparring.traces.fields import is_number
from sparring.traces.records import Estimate, Label, Trace

LONGEST_TEXT = 20_000
"""Characters of a step or question that a page holds; what is longer is cut, and says so."""
Row = Sequence[float | None]


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
        told = extra.get("threshold")
        value = told.get("value") if isinstance(told, Mapping) else None
        if not is_number(value) or not 0.0 <= value <= 1.0:
            return cls(name)
        rule = told.get("rule") if isinstance(told, Mapping) else None
        return cls(name, float(value), rule if isinstance(rule, str) else "")


@dataclass(frozen=True, slots=True)
class Said:
    """What an oracle says of a step: who, ``correct``, ``wrong`` or ``undecided``, why, and of which characters."""

    by: str
    truth: str
    reason: str = ""
    detail: str = ""
    span: tuple[int, int] | None = None


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
        values: measured value of the prefix that ends with each step.
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
    values: Sequence[Estimate | None] | None = None
    root: float | None = None
    said: Mapping[int, Sequence[Said]] = field(default_factory=dict)
    answer: str | None = None
    right: bool | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class Node:
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
        compared: whether the first two PRMs were scored on the same cases.
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
        trace.estimates,
        root if isinstance(root, float) else None,
        right=trace.outcome,
    )


def plain(data: InspectorData) -> dict[str, Any]:
    """Return what a page holds of `data`, as JSON values: NaN and infinities are null, long texts are cut."""
    values, _ = to_json(
        {
            "title": data.title,
            "source": data.source,
            "prms": [dataclasses.asdict(prm) for prm in data.prms],
            "cases": [_case(case) for case in data.cases],
            "tables": [table._asdict() for table in data.tables],
            "facts": list(data.facts),
            "notes": list(data.notes),
            "curves": [dataclasses.asdict(curve) for curve in data.curves],
        }
    )
    return dict(values)


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
    return f"{text[:LONGEST_TEXT]} … [{len(text) - LONGEST_TEXT} more characters are not on this page]"


def _case(case: InspectorCase) -> dict[str, Any]:
    return _known(
        {
            "id": cut(case.id),
            "question": cut(case.question),
            "solutions": [_solution(solution) for solution in case.solutions],
            "chosen": case.chosen or None,
            "tags": {name: list(values) for name, values in case.tags.items()},
            "variants": [_variant(variant) for variant in case.variants],
            "tree": None if case.tree is None else _tree(case.tree),
            "notes": list(case.notes),
        }
    )


def _solution(one: Solution) -> dict[str, Any]:
    return _known(
        {
            "steps": list(map(cut, one.steps)),
            "scores": list(one.scores),
            "labels": None if one.labels is None else list(one.labels),
            "first": one.first,
            "values": None
            if one.values is None
            else [None if v is None else [v.value, v.low, v.high, v.count] for v in one.values],
            "root": one.root,
            "said": {
                str(place): [_known(dataclasses.asdict(said)) for said in words]
                for place, words in one.said.items()
            },
            "answer": None if one.answer is None else cut(one.answer),
            "right": one.right,
            "total": one.total,
        }
    )


def _variant(one: Variant) -> dict[str, Any]:
    return _known({**dataclasses.asdict(one), "text": cut(one.text), "scores": list(one.scores)})


def _tree(tree: Tree) -> dict[str, Any]:
    return _known(
        {
            "nodes": [
                [node.parent, cut(node.step), node.score, node.value, node.kept, node.end, node.chosen]
                for node in tree.nodes
            ],
            "left_out": tree.left_out or None,
            "cost": list(tree.cost),
        }
    )


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what is not there; zeros and `false` stay."""
    return {
        name: value for name, value in values.items() if value is not None and value not in ("", [], {}, ())
    }
