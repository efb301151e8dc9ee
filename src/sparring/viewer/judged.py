"""Steps that were rewritten or judged: the runs of `attack`, `eval oracle`, `label` and `demo`, and files of traces.

Contract: variants of one step stand together: an attack's rewrites by every adversary, harmless rewrites of its probes, and
planted mistakes of an audit.

Not here: scores of labelled cases (`labelled.py`), search (`searched.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sparring.errors import DataError, plural
from sparring.evaluation.oracle import SOLUTIONS_FILE
from sparring.evaluation.outcome import CASES_FILE
from sparring.report.cases import (
    ATTACKERS,
    METHOD_NAMES,
    SPLIT_NAMES,
    Row,
    Said,
    score_of,
    score_row,
    verdicts_of,
)
from sparring.report.page import Run
from sparring.traces.fields import Fields, is_number, records_of
from sparring.traces.ids import distinct_ids
from sparring.traces.records import Trace, first_error_of, step_labels
from sparring.viewer.data import (
    UNKNOWN,
    InspectorCase,
    InspectorData,
    Prm,
    Solution,
    Variant,
    known_of,
)
from sparring.viewer.labelled import distinct, model_name
from sparring.viewer.trained import curves_of

Key = tuple[str, tuple[str, ...], str]
"""Question, steps before, step."""


@dataclass(slots=True)
class State:
    """A correct step with its own scores, and its variants by (who wrote it, text); a score per PRM.

    Attributes:
        id: of the problem.
        at: index of the step.
        scores: of the step itself.
        variants: other texts in its place.
    """

    id: str
    at: int
    scores: list[float | None]
    variants: dict[tuple[str, str], Variant] = field(default_factory=dict)

    def add(self, prm: int, by: str, text: str, truth: str, reason: str, score: float | None) -> None:
        """Take a variant with the score of one PRM; the same text scored by another PRM is the same variant."""
        known = self.variants.get((by, text))
        row: list[float | None] = [None] * len(self.scores) if known is None else list(known.scores)
        row[prm] = score
        self.variants[by, text] = Variant(self.at, by, text, truth, reason, row)


# --- attack ----------------------------------------------------------------------------------------------------------


def attack_data(runs: Sequence[Run]) -> InspectorData:
    """Return the page of an attack, or of attacks on several PRMs laid side by side, state by state.

    Raises:
        DataError: a record does not hold what it should.
    """
    states: dict[Key, State] = {}
    prms = []
    for place, run in enumerate(runs):
        threshold = run.settings.get("threshold")
        name = model_name(str(run.settings.get("prm") or run.folder.name))
        prms.append(Prm(name, threshold, "of the attack") if is_number(threshold) else Prm(name))
        for record in records_of(run.folder / CASES_FILE):
            key = _key(record)
            state = states.setdefault(key, State(record.string("id"), len(key[1]), [None] * len(runs)))
            state.scores[place] = score_of(record, "clean_score")
            malformed = record.optional_string("malformed")
            reason = f"malformed: {malformed}" if malformed else record.optional_string("reason") or ""
            truth, text = record.optional_string("truth") or "", record.string("rewrite")
            state.add(place, record.string("adversary"), text, truth, reason, score_of(record, "score"))
        by_step = {(question, step): state for (question, _, step), state in states.items()}
        for record in records_of(run.folder / "probes.jsonl"):
            found = by_step.get((record.string("problem"), record.string("before")))
            if found is not None and record.string("probe") == "invariance":
                by, score = f"harmless: {record.string('kind')}", score_of(record, "score_after")
                found.add(place, by, record.string("after"), "correct", "", score)
    prms = [
        replace(prm, name=name)
        for prm, name in zip(
            prms, distinct([p.name for p in prms], [r.folder.name for r in runs]), strict=True
        )
    ]
    ids = _numbered([state.id for state in states.values()])
    cases = [
        InspectorCase(
            identity,
            key[0],
            [Solution((*key[1], key[2]), _rows(state.scores, state.at), [1.0] * (state.at + 1), -1)],
            tags=_state_tags(state, prms),
            variants=list(state.variants.values()),
        )
        for identity, (key, state) in zip(ids, states.items(), strict=True)
    ]
    title = "Attack on " + " and ".join(prm.name for prm in prms)
    curves = [curve for run in runs for curve in curves_of(run.folder, {"attack.jsonl": "attack"})]
    return InspectorData(title, _places(runs), prms, cases, curves=curves)


def _state_tags(state: State, prms: Sequence[Prm]) -> dict[str, list[str]]:
    variants = state.variants.values()
    fooled = {
        f"{variant.by} → {prm.name}" if len(prms) > 1 else variant.by
        for variant in variants
        for prm, score in zip(prms, variant.scores, strict=True)
        if variant.truth == "wrong" and score is not None and score >= prm.threshold
    }
    return {
        "error kind": sorted(
            {variant.reason for variant in variants if variant.truth == "wrong" and variant.reason}
        ),
        "fooled by": sorted(fooled) or ["nobody"],
    }


# --- demo ------------------------------------------------------------------------------------------------------------


def demo_data(run: Run) -> InspectorData:
    """Return the page of a demo: the solver's solutions, and what the adversaries made of correct steps.

    Raises:
        DataError: a record does not hold what it should.
    """
    solutions = list(records_of(run.folder / "solutions.jsonl"))
    examples = list(records_of(run.folder / "examples.jsonl"))
    named = [name for record in (*solutions, *examples) for name in record.mapping("scores")]
    methods = list(dict.fromkeys(named))
    cases = [_solved(record, methods, number) for number, record in enumerate(solutions, start=1)]
    cases += [_rewritten(record, methods, number) for number, record in enumerate(examples, start=1)]
    curves = [
        replace(curve, run=METHOD_NAMES.get(method, method))
        for method in methods
        for curve in curves_of(run.folder / method, {"log.jsonl": "training"})
        + curves_of(run.folder, {f"attack_{method}.jsonl": "attack"})
    ]
    prms = [Prm(METHOD_NAMES.get(name, name), *_demo_threshold(run, name)) for name in methods]
    return InspectorData("Demo", str(run.folder), prms, cases, curves=curves)


def _rewritten(record: Fields, methods: Sequence[str], number: int) -> InspectorCase:
    """Return a correct step and what an adversary made of it."""
    question, before, step = _key(record)
    scores = record.optional_child("scores")
    adversary = record.string("adversary")
    by = ATTACKERS.get(adversary, adversary)
    reason = ": ".join(filter(None, map(record.optional_string, ("reason", "detail"))))
    row = [score_of(scores, name) for name in methods]
    return InspectorCase(
        f"rewritten step {number}",
        question,
        [Solution((*before, step), [], [1.0] * (len(before) + 1), -1)],
        tags={"kind": ["rewritten step"], "written by": [by]},
        variants=[Variant(len(before), by, record.string("perturbed"), record.string("truth"), reason, row)],
    )


def _demo_threshold(run: Run, method: str) -> tuple[float, str]:
    found = run.metrics.get(f"step_error.threshold.{method}")
    if found is None or found.value is None:
        return 0.5, UNKNOWN
    return found.value, "best F1 on validation solutions"


def _solved(record: Fields, methods: Sequence[str], number: int) -> InspectorCase:
    steps, truths = record.strings("steps"), record.strings("truths")
    if len(truths) != len(steps):
        raise record.error("truths", f"{plural(len(truths), 'truth')} for {plural(len(steps), 'step')}")
    rows = record.optional_child("scores")
    labels = step_labels(truths)
    split = record.optional_string("split") or ""
    solution = Solution(
        steps,
        [score_row(rows, name, len(steps)) if rows.has(name) else None for name in methods],
        labels,
        first_error_of(labels),
        said={place: [Said("world", truth)] for place, truth in enumerate(truths)},
        right=record.boolean("outcome") if record.has("outcome") else None,
    )
    tags = {"kind": ["solution"], "problems": [SPLIT_NAMES.get(split, split)]}
    return InspectorCase(f"solution {number}", record.string("question"), [solution], tags=tags)


# --- labels and traces -----------------------------------------------------------------------------------------------


def traces_data(traces: Sequence[Trace], title: str, place: Path) -> InspectorData:
    """Return the page of traces with what is known of them: labels, measured values, outcomes; nobody scored them."""
    cases = [
        InspectorCase(identity, trace.problem.question, [known_of(trace)], tags=_trace_tags(trace))
        for identity, trace in zip(distinct_ids(traces), traces, strict=True)
    ]
    return InspectorData(title, str(place), cases=cases)


def _trace_tags(trace: Trace) -> dict[str, list[str]]:
    named = {
        "walk": trace.meta.get("walk"),
        "written by": trace.source,
        "class": trace.meta.get("classification"),
    }
    tags = {name: [value] for name, value in named.items() if isinstance(value, str) and value}
    if trace.outcome is not None:
        tags["answer"] = ["right" if trace.outcome else "wrong"]
    return tags


# --- audit of oracles ------------------------------------------------------------------------------------------------


def oracle_data(run: Run) -> InspectorData:
    """Return the page of an audit: a case per problem and set, with every judge's verdicts on its steps.

    Raises:
        DataError: a record does not hold what it should.
    """
    solutions = {
        (one.string("set"), one.string("problem")): one for one in records_of(run.folder / SOLUTIONS_FILE)
    }
    judged: dict[tuple[str, str], list[tuple[int, Fields]]] = {}
    for record in records_of(run.folder / CASES_FILE):
        problem, _, place = record.string("place").rpartition(".")
        key = next(iter(record.strings("sets")), "").partition(".")[0], problem
        if not place.isdecimal() or key not in solutions:
            raise record.error(
                "place", f"expected the id of a problem of {SOLUTIONS_FILE} and the step's index"
            )
        judged.setdefault(key, []).append((int(place), record))
    cases = [case for key, found in judged.items() for case in _audited(solutions[key], found)]
    return InspectorData("Audit of oracles", str(run.folder), cases=cases)


def with_verdicts(data: InspectorData, audit: Run) -> InspectorData:
    """Return the page of scores with an audit's verdicts on the same steps: ids and texts decide which they are.

    Raises:
        DataError: a record does not hold what it should, or no step was audited.
    """
    said: dict[tuple[str, int, str], list[Said]] = {}
    for record in records_of(audit.folder / CASES_FILE):
        problem, _, place = record.string("place").rpartition(".")
        if place.isdecimal() and not record.has("original"):
            said[problem, int(place), record.string("step")] = verdicts_of(record)
    cases, met = [], 0
    for case in data.cases:
        solution = case.solutions[0]
        found = {
            place: words
            for place, step in enumerate(solution.steps)
            if (words := said.get((case.id, place, step))) is not None
        }
        met += len(found)
        cases.append(replace(case, solutions=[replace(solution, said=found)]) if found else case)
    if not met:
        raise DataError("no step of these cases was audited", file=audit.folder / CASES_FILE, field="place")
    note = f"verdicts of {audit.folder} on {plural(met, 'step')}"
    return replace(data, cases=cases, source=f"{data.source}, {audit.folder}", notes=[*data.notes, note])


def _audited(solution: Fields, judged: Sequence[tuple[int, Fields]]) -> Iterator[InspectorCase]:
    """Yield the case of a solution with the planted mistakes as variants; those of other steps are cases by themselves."""
    name = f"{solution.string('set')} {solution.string('problem')}"
    question, whole = solution.string("question"), solution.strings("steps")
    own = {place: record for place, record in judged if not record.has("original")}
    planted, elsewhere = [], dict[tuple[int, str], list[tuple[int, Fields]]]()
    for place, record in judged:
        if record.has("original"):
            original = record.string("original")
            if whole[place : place + 1] == (original,):
                planted.append((place, record))
            else:
                elsewhere.setdefault((place, original), []).append((place, record))
    if own or planted:
        yield _audit_case(name, question, whole, own, planted)
    for (place, original), others in elsewhere.items():
        yield _audit_case(f"{name}, step {place + 1}", question, (*whole[:place], original), {}, others)


def _audit_case(
    name: str,
    question: str,
    steps: Sequence[str],
    own: Mapping[int, Fields],
    planted: Sequence[tuple[int, Fields]],
) -> InspectorCase:
    """Return a case of steps with the verdicts on them, by place, and planted mistakes in their places."""
    known: dict[str, float] = {"correct": 1.0, "wrong": 0.0}
    labels = [known.get(own[place].string("label")) if place in own else None for place in range(len(steps))]
    records = [*own.values(), *(record for _, record in planted)]
    verdicts = [(record.string("label"), one) for record in records for one in verdicts_of(record)]
    tags = {
        "set": sorted({name for record in records for name in record.strings("sets")}),
        "false alarm of": sorted({v.by for label, v in verdicts if (label, v.truth) == ("correct", "wrong")}),
        "missed by": sorted({v.by for label, v in verdicts if (label, v.truth) == ("wrong", "correct")}),
        "reason": sorted({v.reason for _, v in verdicts if v.truth == "wrong"}),
    }
    said = {place: verdicts_of(record) for place, record in own.items()}
    return InspectorCase(
        name,
        question,
        [Solution(steps, [], labels, first_error_of(labels), said=said)],
        tags={key: values for key, values in tags.items() if values},
        variants=[_planted(place, record) for place, record in planted],
    )


def _planted(place: int, record: Fields) -> Variant:
    """Return a planted mistake, with the panel's word and what every judge says of it."""
    verdicts = verdicts_of(record)
    panel = next((one for one in reversed(verdicts) if one.by.startswith("panel")), None)
    judges: dict[str, list[str]] = {}
    for one in verdicts:
        if one.truth != "undecided":
            reason = ": ".join(filter(None, (one.reason, one.detail)))
            judges.setdefault(f"{one.truth} ({reason})", []).append(one.by)
    words = "; ".join(f"{', '.join(names)}: {word}" for word, names in judges.items())
    base, _, kind = record.strings("sets")[0].partition(".")
    by = f"planted: {(kind.partition('.')[0] or base).replace('_', ' ')}"
    truth = "" if panel is None else panel.truth
    return Variant(place, by, record.string("step"), truth, words or "every judge is undecided")


# --- parts -----------------------------------------------------------------------------------------------------------


def _key(record: Fields) -> Key:
    return record.string("question"), record.strings("prefix"), record.string("step")


def _rows(scores: Sequence[float | None], before: int) -> list[Row | None]:
    """Return, per PRM, a row in which the last step alone may have a score."""
    return [None if score is None else [*[None] * before, score] for score in scores]


def _numbered(names: Sequence[str]) -> list[str]:
    """Return the names with their place behind those that come more than once."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} #{place}" for place, name in enumerate(names, start=1)]


def _places(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.folder) for run in runs)
