"""The worst disagreements of an evaluation as markup: what was said of each step, what is true of it, and where both part.

Contract: one function per kind of evaluation, from a record of its file and the run's settings to one shown case; a record
that does not fit raises DataError naming the field. All text is untrusted. A case shows at most `MOST_STEPS` steps per
solution, of at most `LONGEST_STEP` characters each, and says what it leaves out. Scores are shown as numbers, and every
disagreement in words, so that nothing hangs on colour. Not here: reading the files, and how many cases a page holds
(`evaluation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparring.errors import DataError
from sparring.report.page import Html, element, escape, join, paragraph, score_mark, shortened, step
from sparring.report.run_files import (
    Record,
    count,
    mapping,
    number,
    score,
    score_row,
    sequence,
    text,
    texts,
)

LONGEST_STEP, LONGEST_QUESTION, LONGEST_NAME, MOST_STEPS, MOST_VERDICTS = 600, 1500, 150, 24, 6
Row = Sequence[float | None]


def labelled_case(record: Record, settings: Mapping[str, Any]) -> Html:
    """Return a solution whose score is far from the label at a step (`processbench`, `prmbench`, `calibration`)."""
    steps = texts(record, "steps")
    scores = score_row(record.get("scores"), len(steps), "scores")
    labels = score_row(record.get("labels"), len(steps), "labels")
    place = within(record, "step", len(steps))
    said = f"Step {place + 1}: score {shown(scores[place])}, label {label_name(labels[place])}."
    rows = solution(steps, {"PRM": scores}, labels, {"PRM": number(record, "threshold")}, place)
    return case(record, text(record, "problem"), said, *rows)


def compared_case(record: Record, settings: Mapping[str, Any]) -> Html:
    """Return a solution that one of two PRMs judges right and the other wrong (`compare`)."""
    steps = texts(record, "steps")
    scores = {
        name: score_row(record.get(field), len(steps), field)
        for name, field in (("A", "scores_a"), ("B", "scores_b"))
    }
    error = number(record, "first_error")
    if error is None or error != int(error) or not -1 <= error < len(steps):
        raise DataError("expected the index of a step, or −1", field="first_error")
    first = int(error)
    end = len(steps) if first < 0 else first
    labels = [1.0 if place < end else 0.0 if place == first else None for place in range(len(steps))]
    thresholds = {
        name: number(rule, "value") if isinstance(rule, dict) else None
        for name, rule in zip(scores, sequence(settings, "thresholds"), strict=False)
    }
    right = [name for name in scores if record.get(f"right_{name.lower()}") is True]
    truth = "there is none" if first < 0 else f"it is step {first + 1}"
    said = f"Who finds the first wrong step ({truth})? {' and '.join(right) or 'neither'}."
    return case(record, text(record, "problem"), said, *solution(steps, scores, labels, thresholds, end))


def misled_case(record: Record, settings: Mapping[str, Any]) -> Html:
    """Return a wrong solution that was chosen, and the best right one that was not (`bon`, `search`)."""
    parts: list[Html] = []
    for field, name in (("picked", "Preferred, wrong"), ("right", "Right, passed over")):
        candidate = mapping(record, field)
        answer = text(candidate, "answer", required=False)
        said = f"answer {shortened(answer, LONGEST_NAME)}" if answer else "no answer found"
        parts.append(element("h4", f"{name}: {said}, total score {shown(number(candidate, 'value'))}"))
        steps = texts(candidate, "steps")
        if not steps:
            parts.append(paragraph("Its steps are not in the data.", class_="small"))
            continue
        scores = candidate.get("scores")
        known = {} if scores is None else {"PRM": scores}
        if isinstance(scores, list) and len(scores) != len(steps):  # one score for the whole solution
            known = {}
        parts += solution(steps, {key: score_row(row, len(steps), "scores") for key, row in known.items()})
    return case(record, text(record, "problem", required=False), text(record, "note", required=False), *parts)


def accepted_case(record: Record, settings: Mapping[str, Any]) -> Html:
    """Return a wrong step that the PRM accepted (`attack`)."""
    accepted = score_mark("PRM", score(record.get("score"), "score"))
    marks = (label_mark(0.0), accepted, apart("✗ PRM accepts a wrong step"))
    return case(
        record,
        text(record, "question"),
        f"Adversary: {text(record, 'adversary')}. Reason: {text(record, 'reason', required=False) or 'none given'}.",
        *context(texts(record, "prefix")),
        step(cut(text(record, "step")), kind="context", label="correct step"),
        step(cut(text(record, "rewrite")), *marks, kind="judged", label="rewritten"),
    )


def false_alarm_case(record: Record, settings: Mapping[str, Any]) -> Html:
    """Return a correct step that an oracle calls wrong, with reasons and the characters they rest on (`oracle`)."""
    words = text(record, "step")
    judges: dict[tuple[str, str, tuple[int, int] | None], list[str]] = {}
    for judge, verdict in mapping(record, "verdicts").items():
        if not isinstance(verdict, dict):
            raise DataError("expected an object", field=f"verdicts.{judge}")
        reason, detail = text(verdict, "reason"), text(verdict, "detail", required=False)
        judges.setdefault((reason, detail, span_of(verdict, len(words))), []).append(judge)
    given = [
        paragraph(
            element("b", ", ".join(names)),
            f": {shortened(': '.join(part for part in (reason, detail) if part), LONGEST_STEP)}",
            *([", at ", element("code", cut(words[span[0] : span[1]]))] if span else []),
            class_="small",
        )
        for (reason, detail, span), names in list(judges.items())[:MOST_VERDICTS]
    ]
    if len(judges) > MOST_VERDICTS:
        given.append(paragraph(f"{len(judges) - MOST_VERDICTS} more verdicts not shown.", class_="small"))
    span = next((span for _, _, span in judges if span is not None), None)
    return case(
        record,
        text(record, "question"),
        "",
        *context(texts(record, "prefix")),
        step(
            spanned(words, span), label_mark(1.0), apart("✗ called wrong"), kind="judged", label="judged step"
        ),
        *given,
        title=text(record, "place"),
    )


# --- parts of a case ---


def case(record: Record, question: str, said: str, *parts: Html, title: str | None = None) -> Html:
    """Return one case: its name, the question, a sentence about it, and its steps."""
    return element(
        "article",
        element("h3", shortened(text(record, "id") if title is None else title, LONGEST_NAME)),
        *(
            [paragraph(shortened(question, LONGEST_QUESTION), class_="question", dir_="auto")]
            if question
            else []
        ),
        *([paragraph(said)] if said else []),
        *parts,
        class_="case",
    )


def solution(
    steps: Sequence[str],
    scores: Mapping[str, Row],
    labels: Row | None = None,
    thresholds: Mapping[str, float | None] | None = None,
    place: int = 0,
) -> list[Html]:
    """Return the steps around `place` with scores by scorer, labels, and where a scorer's threshold disagrees."""
    rows = []
    part = window(len(steps), place)
    for index in part:
        label = None if labels is None else labels[index]
        found = {name: row[index] for name, row in scores.items()}
        wrong = [
            disagreement(name, value, label, (thresholds or {}).get(name)) for name, value in found.items()
        ]
        marks = [] if label is None else [label_mark(label)]
        marks += [score_mark(name, value) for name, value in found.items()]
        marks += [apart(said) for said in wrong if said]
        kind = "judged" if any(wrong) else "plain"
        rows.append(step(cut(steps[index]), *marks, kind=kind, label=f"step {index + 1}"))
    return [*rows, *left_out(part, len(steps))]


def context(steps: Sequence[str]) -> list[Html]:
    """Return the last of the steps before a judged one."""
    part = window(len(steps), len(steps))
    rows = [step(cut(steps[index]), kind="context", label=f"step {index + 1}") for index in part]
    return [*left_out(part, len(steps)), *rows]


def window(total: int, place: int) -> range:
    """Return which of `total` steps are shown: at most `MOST_STEPS`, around `place`."""
    first = max(0, min(place - MOST_STEPS // 2, total - MOST_STEPS))
    return range(first, min(first + MOST_STEPS, total))


def left_out(part: range, total: int) -> list[Html]:
    """Return the note on steps that are not shown, where there are any."""
    if len(part) == total:
        return []
    return [paragraph(f"Not shown: {part.start} steps before and {total - part.stop} after.", class_="small")]


def disagreement(name: str, value: float | None, label: float | None, threshold: float | None) -> str:
    """Return in words that a score and a label lie on different sides, or nothing."""
    if value is None or label is None or threshold is None or (value >= threshold) == (label >= 0.5):
        return ""
    return f"✗ {name} accepts a wrong step" if label < 0.5 else f"✗ {name} rejects a correct step"


def apart(said: str) -> Html:
    """Return the mark of a disagreement."""
    return element("span", said, class_="apart")


def label_name(label: float | None) -> str:
    """Return a label in words, a soft one as a number."""
    if label is None:
        return "none"
    return {0.0: "wrong", 1.0: "correct"}.get(label, f"{label:.2f}")


def label_mark(label: float) -> Html:
    """Return the label of a step."""
    kind = "correct" if label >= 0.5 else "wrong"
    return element("span", "label ", element("b", label_name(label)), class_=f"truth {kind}")


def shown(value: float | None) -> str:
    """Return a score with three decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def cut(words: str) -> str:
    """Return a step as a page shows it."""
    return shortened(words, LONGEST_STEP)


def within(record: Record, name: str, total: int) -> int:
    """Return the index of a step, or raise DataError."""
    place = count(record, name)
    if place is None or place >= total:
        raise DataError(f"expected the index of one of {total} steps", field=name)
    return place


def span_of(verdict: Record, length: int) -> tuple[int, int] | None:
    """Return the range of characters that a verdict rests on; `None` where it names none."""
    if verdict.get("span") is None:
        return None
    ends = [count({"span": end}, "span") for end in sequence(verdict, "span")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or not ends[0] <= ends[1] <= length:
        raise DataError(f"expected a range of the step's {length} characters", field="span")
    return ends[0], ends[1]


def spanned(words: str, span: tuple[int, int] | None) -> str:
    """Return a step with a range of its characters marked, as far as they are shown."""
    if span is None or span[0] >= min(span[1], LONGEST_STEP):
        return cut(words)
    start, end = span[0], min(span[1], LONGEST_STEP)
    rest = shortened(words[end:], LONGEST_STEP - end)
    return join([escape(words[:start]), element("mark", words[start:end]), rest])
