"""Cases of a run to read: what was said of each step, what is true of it, and where both part.

Contract: one function per kind of case, from a record of its file and the run's settings to a `Case`; a record that
does not fit raises DataError naming the field. All text is untrusted. A case shows at most `MOST_STEPS` steps per
solution, of at most `LONGEST_STEP` characters each, and says what it leaves out. Scores are shown as numbers, and every
disagreement in words, so that nothing hangs on colour. Not here: which cases a page shows (`page.py`), their markup
(`templates/parts.html`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sparring.errors import plural
from sparring.report.formulas import Html, escape, with_formulas
from sparring.traces.fields import Fields

LONGEST_STEP, LONGEST_QUESTION, LONGEST_NAME, MOST_STEPS, MOST_VERDICTS = 600, 1500, 150, 24, 6
METHOD_NAMES = {"rules_prm": "rules PRM", "frozen_prm": "frozen-generator PRM", "aprm": "APRM"}
ATTACKERS = {"rules": "fixed rules", "frozen": "untrained generator", "trained": "fresh trained adversary"}
SPLIT_NAMES = {"in_distribution": "problems as in training", "longer": "longer problems"}
Row = Sequence[float | None]


class Step(NamedTuple):
    """A step with its marks. `kind`: ``plain``, ``context`` (given, not judged) or ``judged`` (framed)."""

    words: str
    label: str
    kind: str = "plain"
    judge: str = ""
    truth: str = ""
    scores: Mapping[str, float | None] = {}
    disagreements: Sequence[str] = ()


class Note(NamedTuple):
    """A line under the steps: who says what, and of which characters."""

    said: str
    who: str = ""
    characters: str = ""


class Part(NamedTuple):
    """Some steps of a solution, and how many of it are left out before and after them."""

    steps: Sequence[Step]
    before: int = 0
    after: int = 0
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What a page shows of one record."""

    title: str
    question: str
    said: str
    parts: Sequence[Part]
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What an oracle says of a step: who, ``correct``, ``wrong`` or ``undecided``, why, and of which characters."""

    by: str
    truth: str
    reason: str = ""
    detail: str = ""
    span: tuple[int, int] | None = None


def labelled_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return a solution whose score is far from the label at a step (`processbench`, `prmbench`, `calibration`)."""
    steps = record.strings("steps")
    scores, labels = (score_row(record, name, len(steps)) for name in ("scores", "labels"))
    place = record.integer("step")
    if not 0 <= place < len(steps):
        raise record.error("step", f"expected the index of one of {plural(len(steps), 'step')}")
    threshold = {"PRM": _number(record, "threshold")}
    said = f"Step {place + 1}: score {_rounded(scores[place])}, label {_label(labels[place]) or 'none'}."
    part = solution(steps, {"PRM": scores}, labels, threshold, place)
    return Case(_name(record, "id"), record.string("problem"), said, [part])


def compared_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return a solution that one of two PRMs judges right and the other wrong (`compare`)."""
    steps = record.strings("steps")
    scores = {
        name: score_row(record, field, len(steps)) for name, field in (("A", "scores_a"), ("B", "scores_b"))
    }
    first = record.integer("first_error")
    if not -1 <= first < len(steps):
        raise record.error("first_error", "expected the index of a step, or −1")
    end = len(steps) if first < 0 else first
    labels = [1.0 if place < end else 0.0 if place == first else None for place in range(len(steps))]
    rules = zip(scores, Fields(settings).children("thresholds"), strict=False)
    thresholds = {name: _number(rule, "value") for name, rule in rules}
    right = [name for name in scores if record.values.get(f"right_{name.lower()}") is True]
    truth = "there is none" if first < 0 else f"it is step {first + 1}"
    said = f"Who finds the first wrong step ({truth})? {' and '.join(right) or 'neither'}."
    part = solution(steps, scores, labels, thresholds, end)
    return Case(_name(record, "id"), record.string("problem"), said, [part])


def misled_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return a wrong solution that was chosen, and the best right one that was not (`bon`, `search`)."""
    parts = []
    for field, name in (("picked", "Preferred, wrong"), ("right", "Right, passed over")):
        candidate = record.child(field)
        answer = candidate.optional_string("answer")
        said = f"answer {shortened(answer, LONGEST_NAME)}" if answer else "no answer found"
        heading = f"{name}: {said}, total score {_rounded(_number(candidate, 'value'))}"
        steps = candidate.strings("steps")
        scores: dict[str, Row] = {}
        # One score for the whole solution is no score of its steps.
        if candidate.has("scores") and len(candidate.array("scores")) == len(steps):
            scores = {"PRM": score_row(candidate, "scores", len(steps))}
        parts.append(solution(steps, scores)._replace(heading=heading))
    question, note = (record.optional_string(name) or "" for name in ("problem", "note"))
    return Case(_name(record, "id"), question, note, parts)


def accepted_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return a wrong step that the PRM accepted (`attack`)."""
    scores = {"PRM": score_of(record, "score")}
    reason = record.optional_string("reason") or "none given"
    said = ("✗ PRM accepts a wrong step",)
    rewrite = Step(record.string("rewrite"), "rewritten", "judged", "label", "wrong", scores, said)
    return Case(
        _name(record, "id"),
        record.string("question"),
        f"Adversary: {record.string('adversary')}. Reason: {reason}.",
        [_before(record), Part([Step(record.string("step"), "correct step", "context"), rewrite])],
    )


def false_alarm_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return a correct step that an oracle calls wrong, with reasons and the characters they rest on (`oracle`)."""
    words = record.string("step")
    judges: dict[tuple[str, tuple[int, int] | None], list[str]] = {}
    for one in verdicts_of(record):
        judges.setdefault((": ".join(filter(None, (one.reason, one.detail))), one.span), []).append(one.by)
    notes = [
        Note(f": {shortened(reason)}", ", ".join(names), shortened(words[slice(*span)]) if span else "")
        for (reason, span), names in list(judges.items())[:MOST_VERDICTS]
    ]
    if len(judges) > MOST_VERDICTS:
        notes.append(Note(f"{plural(len(judges) - MOST_VERDICTS, 'more verdict')} not shown."))
    marked = _marked(words, next((span for _, span in judges if span is not None), None))
    judged = Step(marked, "judged step", "judged", "label", "correct", disagreements=("✗ called wrong",))
    return Case(
        _name(record, "place"), record.string("question"), "", [_before(record), Part([judged])], notes
    )


def adversarial_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return what an adversary made of a correct step (`examples.jsonl` of the demo)."""
    because = ": ".join(filter(None, map(record.optional_string, ("reason", "detail"))))
    truth, scores = record.string("truth"), record.optional_child("scores")
    by_prm = {METHOD_NAMES.get(name, name): score_of(scores, name) for name in scores.values}
    written = Step(record.string("perturbed"), "adversary wrote", "judged", "oracle", truth, by_prm)
    adversary = record.string("adversary")
    return Case(
        "",
        record.string("question"),
        f"By the {ATTACKERS.get(adversary, adversary)}:",
        [_before(record), Part([Step(record.string("step"), "correct step", "context"), written])],
        [Note(f"Oracle: {shortened(because) or 'no reason given'}")],
    )


def solved_case(record: Fields, settings: Mapping[str, Any]) -> Case:
    """Return a solution of the solver with every step scored (`solutions.jsonl` of the demo)."""
    steps, truths = record.strings("steps"), record.strings("truths")
    if len(truths) != len(steps):
        raise record.error("truths", f"{plural(len(truths), 'truth')} for {plural(len(steps), 'step')}")
    outcome = "answer not judged"
    if record.has("outcome"):
        outcome = "right answer" if record.boolean("outcome") else "wrong answer"
    rows = record.optional_child("scores")
    scores = {METHOD_NAMES.get(name, name): score_row(rows, name, len(steps)) for name in rows.values}
    part = solution(steps, scores)
    judged = [
        step._replace(judge="oracle", truth=truth)
        for step, truth in zip(part.steps, truths[part.before :], strict=False)
    ]
    split = record.optional_string("split") or ""
    note = ", ".join(filter(None, (outcome, SPLIT_NAMES.get(split, split))))
    return Case("", record.string("question"), "", [part._replace(steps=judged)], [Note(note)])


# --- parts of a case ---


def solution(
    steps: Sequence[str],
    scores: Mapping[str, Row],
    labels: Row | None = None,
    thresholds: Mapping[str, float | None] | None = None,
    place: int = 0,
) -> Part:
    """Return the steps around `place` with scores by scorer, labels, and where a scorer's threshold disagrees."""
    shown = []
    for index in window(len(steps), place):
        label = None if labels is None else labels[index]
        found = {name: row[index] for name, row in scores.items()}
        said = [
            f"✗ {name} {'accepts a wrong' if label < 0.5 else 'rejects a correct'} step"
            for name, value in found.items()
            if label is not None
            and value is not None
            and (threshold := (thresholds or {}).get(name)) is not None
            and (value >= threshold) != (label >= 0.5)
        ]
        kind = "judged" if said else "plain"
        shown.append(Step(steps[index], f"step {index + 1}", kind, "label", _label(label), found, said))
    part = window(len(steps), place)
    return Part(shown, part.start, len(steps) - part.stop)


def window(total: int, place: int) -> range:
    """Return which of `total` steps are shown: at most `MOST_STEPS`, around `place`."""
    first = max(0, min(place - MOST_STEPS // 2, total - MOST_STEPS))
    return range(first, min(first + MOST_STEPS, total))


def shortened(text: str, longest: int = LONGEST_STEP) -> str:
    """Return the text, or its beginning and the number of characters that are left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … [{plural(len(text) - longest, 'more character')} not shown]"


def score_row(record: Fields, name: str, length: int) -> tuple[float | None, ...]:
    """Return `length` scores in [0, 1] or null, or raise DataError."""
    row = record.labels(name, booleans=False, unknown=True)
    if len(row) != length:
        raise record.error(name, f"expected a list of {plural(length, 'number')}")
    return row


def verdicts_of(record: Fields) -> list[Said]:
    """Return what every judge says of the step of a record of an audit; a range past its end is refused."""
    verdicts, length = record.child("verdicts"), len(record.string("step"))
    judged = [(judge, verdicts.child(judge)) for judge in verdicts.values]
    return [
        Said(
            judge,
            one.string("truth"),
            one.string("reason"),
            one.optional_string("detail") or "",
            _span(one, length),
        )
        for judge, one in judged
    ]


def _before(record: Fields) -> Part:
    """Return the last of the steps before a judged one."""
    steps = record.strings("prefix")
    part = window(len(steps), len(steps))
    shown = [Step(steps[index], f"step {index + 1}", "context") for index in part]
    return Part(shown, part.start, len(steps) - part.stop)


def score_of(record: Fields, name: str) -> float | None:
    """Return a score in [0, 1], or None where it is absent or null."""
    return record.share(name) if record.has(name) else None


def _number(record: Fields, name: str) -> float | None:
    """Return a number, or None where the field is absent or null."""
    return record.number(name) if record.has(name) else None


def _name(record: Fields, field: str) -> str:
    return shortened(record.string(field), LONGEST_NAME)


def _label(label: float | None) -> str:
    """Return a label in words, a soft one as a number."""
    return "" if label is None else {0.0: "wrong", 1.0: "correct"}.get(label, f"{label:.2f}")


def _rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _span(verdict: Fields, length: int) -> tuple[int, int] | None:
    """Return the range of characters that a verdict rests on; `None` where it names none."""
    if not verdict.has("span"):
        return None
    ends = verdict.integers("span")
    if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= length:
        raise verdict.error("span", f"expected a range of the step's {plural(length, 'character')}")
    return ends[0], ends[1]


def _marked(words: str, span: tuple[int, int] | None) -> str:
    """Return a step with a range of its characters marked, as far as they are shown; formulas then stay as written."""
    if span is None or span[0] >= min(span[1], LONGEST_STEP):
        return words
    start, end = span[0], min(span[1], LONGEST_STEP)
    rest = shortened(words[end:], LONGEST_STEP - end)
    return Html(f"{escape(words[:start])}<mark>{escape(words[start:end])}</mark>{escape(rest)}")


def words_of(text: str, longest: int = LONGEST_STEP) -> Html:
    """Return text of data or models as markup: shortened, with its formulas set; what is markup already stays."""
    return text if isinstance(text, Html) else with_formulas(shortened(text, longest))
