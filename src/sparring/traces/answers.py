r"""The answer that a solution states: ``\boxed{…}``, ``#### …``, "the answer is …", else its last number.

Contract, in this order:

1. What comes after a new exercise has begun (a line ``Question:``, ``Problem:``, a speaker's turn) behind a solution is
   not looked at.
2. The last statement counts, wherever it stands and whatever text follows: a box, ``####``, ``Answer: …``, ``A: …``,
   "the answer is …", "… is the answer". Boxes joined by commas, "and" or "or" are one answer. A statement in a question,
   a condition or a denial is none. Words ("the answer is blue") count only where nothing mathematical is stated.
3. Without a statement, and with `last_number`, the last number of the last line that has one: as a whole (``1/2``,
   ``3 1/2``, ``10:30``, ``1.0e6``, ``1 million``, ``$1,200.50``), or, where only a part of something could be read
   (``10-15``, ``x^2``), none. Of a formula it is what follows the last ``=``.

The result is without the signs around mathematics and the full stop behind it. Time is linear in the text. Not here:
whether two answers are equal (`oracles/equality.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sparring.traces.boxed import Box, boxes

LONGEST = 300
"""Characters of an answer; longer ones are none."""
MATHS = re.compile(
    r"(?<![\\$])\$(?![\s$])((?:[^$\\]|\\.)*?)(?<![\s\\])\$(?!\d)|\\\((.*?)\\\)|\\\[(.*?)\\\]|\$\$(.*?)\$\$",
    re.S,
)
"""Mathematics in a text; a dollar sign before a digit closes none."""
MOST_BOXES = 30
"""Boxes that are joined to one answer."""

_EXERCISE = re.compile(
    r"^[ \t#*_>]*(?:(?:new |next )?(?:question|problem|exercise|q)(?: \d+)?\s*[:.][*_ \t]*(?=\S|$)"
    r"|(?:user|human|student|instruction)\s*:)",
    re.I | re.M,
)
_SAID = re.compile(
    r"####[ \t]*(?P<hashes>[^\n]*)"
    r"|^[ \t>*_#-]*(?:A[ \t*_]*:|(?:the )?(?:final |correct )?(?:answer|ans)[ \t*_]*[:=])[ \t*_]*"
    r"(?P<line>[^\n]*(?:\n\s*(?=\S)[^\n]*)?)"
    r"|\b(?:final |correct |required )?(?:answer|ans|solution)(?: (?:to|for) [^.\n:?]{1,80}?)?,?"
    r"(?: is| are| was| will be| would be| must be| should be| comes (?:out )?to(?: be)?|:|[ \t]*=)[ \t]*"
    r"(?P<said>[^\n]*(?:\n\s*(?=\\\[|\$\$)[^\n]*(?:\n[^\n]*)?)?)",
    re.I | re.M,
)  # fmt: skip
_AS_ANSWER = re.compile(
    r"(?<!\S)(?P<value>\S++(?: \S++)?) (?:is|as) (?:the|our|my) (?:final |correct )?answer\b", re.I
)
OPENING = re.compile(
    r"(?:(?:therefore|thus|hence|then|so|and|also|indeed|simply|just|clearly|now|that|is|be|we get|we have|i think|"
    r"(?:this|that|it) is|(?:that|it)'s|it equals|equal to|given by|exactly|precisely|approximately|approx\.?|about|around|"
    r"roughly|nearly|(?:(?:the|my|our) )?(?:(?:final|correct|required|desired) )?"
    r"(?:answer|result|solution|value|total|sum|option|choice)(?:\s*[:=]| (?:is|are|was|equals|would be|comes to))|"
    r"(?:option|choice)(?= \(?[A-Z]\)?(?:\W|$)))[:,]?\s+|[:=,]\s*|\\(?:approx|sim)(?![A-Za-z])\s*|[*_]{1,3}(?=\S)\s*)*",
    re.I,
)  # fmt: skip
"""What may stand before an answer and says nothing of it."""
_NO_VALUE = re.compile(
    r"(?:not|n't|correct|right|wrong|incorrect|clear|obvious|obviously|as follows|below|above|the same|in|given|found|"
    r"obtained|wanted|unknown|expected|supposed|therefore|a|an|to|that|what|this|it|we|you|i|either|probably|hidden|"
    r"simple|easy|rounded|close)\b",
    re.I,
)  # fmt: skip
DENIED = re.compile(
    r"\b(?:if|whether|suppose|supposing|assume|assuming|not|unless|check(?:s|ed)? that|would|isn't|can't|cannot|wrong|"
    r"incorrect|says?)\b",
    re.I,
)
"""Words before a statement that ask, deny or suppose it."""
_CLAUSE = re.compile(r"\s*(?:because|since|which|so|as|by|and|or|is)\b")
_JOINED = re.compile(
    r"[\s$,;\\()\[\]]*(?:(?:and|or)\b)?[\s$,;\\()\[\]]*(?:[A-Za-z]\s*=\s*)?\\?[(\[]?\s*", re.I
)
_SENTENCE_END = re.compile(
    r"(?<![\s.][A-Z])(?<!^[A-Z])(?<!\b[ap]\.m)(?<!\b(?:vs|eg|ie|st|Mr|Dr))[.!]"
    r"(?=\s+[\"'(*]*[A-Z$\\]|\s*\n|\s+\d+[.)]\s|$)|\n\s*\n|(?<=\b[ap]\.m\.)\s+(?=[A-Z])"
)
_PROSE = re.compile(
    r"\s+(?:I hope|Hope|Let me|This is|Please|Note that|We can|To check|Check)\b"
    r"|(?<=[\d})$*\]])\s+(?=(?:I|The|So|We|Thus|It)\s)"
)


class Statement(NamedTuple):
    """An answer that a text states: its text without dress, the character range it was read from, and whether it is
    mathematics rather than words."""

    answer: str
    start: int
    end: int
    mathematical: bool = True


def stated_answer(steps: Sequence[str] | str, *, last_number: bool = True) -> str | None:
    """Return the answer that a solution states, None where it states none.

    Args:
        steps: of the solution, or its text.
        last_number: where no answer is stated, take the last number.
    """
    text = _before_next_exercise(steps if isinstance(steps, str) else "\n".join(steps))
    statement = last_statement(text)
    answer = None if statement is None else statement.answer
    if answer is None and last_number:
        answer = _last_number(text)
    return answer if answer is not None and 0 < len(answer) <= LONGEST else None


def last_statement(text: str) -> Statement | None:
    """Return the last mathematical statement of an answer in a text, else the last in words."""
    found = [*_boxed(text), *_spoken(text)]
    mathematical = [one for one in found if one.mathematical]
    return max(mathematical or found, key=lambda one: (one.start, one.end), default=None)


def _before_next_exercise(text: str) -> str:
    """Return the text up to where another exercise begins behind a solution."""
    for mark in _EXERCISE.finditer(text):
        if re.search(r"\d|\\boxed", text[: mark.start()]):
            return text[: mark.start()]
    return text


# --- statements ---


def _boxed(text: str) -> Iterator[Statement]:
    run: list[Box] = []
    for box in boxes(text):
        if not box.content.strip():
            continue
        if run and (box.start - run[-1].end > 40 or not _JOINED.fullmatch(text, run[-1].end, box.start)):
            run = []
        run.append(box)
        contents = list(dict.fromkeys(one.content.strip() for one in run))
        yield Statement(", ".join(contents[-MOST_BOXES:]), run[0].start, box.end)


def _spoken(text: str) -> Iterator[Statement]:
    for match in _SAID.finditer(text):
        group = match.lastgroup or "said"
        value = _value(match[group], group)
        before = text[max(0, match.start() - 60) : match.start()]
        if value is None or (group == "said" and _unasserted(before, match[group])):
            continue
        yield Statement(value, *match.span(group), group != "said" or _mathematical(value))
    for match in _AS_ANSWER.finditer(text):
        value = bare(match["value"].split(" ")[-1])
        before, after = text[max(0, match.start() - 60) : match.start()], text[match.end() : match.end() + 80]
        if re.search(r"\d", value) and not _unasserted(before, after):
            yield Statement(value, *match.span("value"))


def _unasserted(before: str, after: str) -> bool:
    """Whether the sentence of a statement asks, denies or supposes."""
    sentence = re.split(r"[.!?\n:]", before)[-1]
    head = re.split(r"[.!\n]\s", after, maxsplit=1)[0].rstrip()
    return bool(DENIED.search(sentence) or re.match(r"\s*(?:not|n't)\b", after)) or head.endswith("?")


def _mathematical(value: str) -> bool:
    return bool(re.search(r"\d|\\|[=^$]|^[-+]?\(?[A-Za-z]\)?$|^[a-z]([-+*/][a-z])+$", value))


def _value(text: str, kind: str) -> str | None:
    """Return what a statement states: up to the end of the sentence, without dress."""
    text = text.strip()
    text = text[OPENING.match(text).end() :]  # type: ignore[union-attr]
    if not text or (kind == "said" and _NO_VALUE.match(text)):
        return None
    found = boxes(text)
    if found and found[0].start < 20:
        return found[0].content.strip() or None
    display = MATHS.match(text)
    if display is not None:
        rest = text[display.end() :].split("\n")[0]
        if re.match(r"\s*(?:,\s*(?:and|or)?|and|or)\s*(?:\$|\\\()", rest):  # several formulas
            return _cut(text.split("\n")[0])
        behind = re.match(
            r"\s*(?:\\%|%|(?:[a-zμΩ°]\S*?|[A-Z])(?:[ /-][a-z]+){0,3})(?=[*_]*(?:[.,;!]|\s*$))", rest
        )
        unit = "" if behind is None or _CLAUSE.match(behind[0]) else behind[0]
        return bare(next(filter(None, display.groups()), "") + unit) or None
    text = text.split("\n")[0] if kind != "line" or not text.startswith("\n") else text.strip()
    return _cut(text)


def _cut(text: str) -> str | None:
    for pattern in (_SENTENCE_END, _PROSE):
        end = pattern.search(text, 1)
        if end is not None:
            text = text[: end.start()]
    return bare(text) or None


def bare(text: str) -> str:
    """Return an answer without signs of mathematics and markdown around it, and without a full stop."""
    while True:
        before = text
        text = text.strip().strip('*_`"').strip().rstrip(",;:").strip()
        if text.endswith(".") and not text.endswith("..") and not re.search(r"\b[ap]\.m\.$", text, re.I):
            text = text[:-1]
        for opening, closing in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
            inside = text[len(opening) : -len(closing)]
            if (
                inside
                and text == opening + inside + closing
                and opening not in inside
                and closing not in inside
            ):
                text = inside
        if text == before:
            return text


# --- the last number ---

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]}.%])[-−–+](?=[\d.$\\]))?(?P<money>(?:\\?\$|[€£¥])\s?[-−]?)?"
    r"(?P<body>\d{1,3}(?:[,\u2009\u202f\u00a0 ]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?P<rest>(?:[eE][-+]?\d+(?!\w|\.\d)|:\d{2}(?!\d)|\s?/\s?\d+(?:\.\d+)?|[ ]\d+\s?/\s?\d+|\s?[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])*)"
    r"(?P<word>\s?(?:[AaPp]\.?[Mm]\b\.?|(?:hundred|thousand|million|billion|trillion|dozen)\b)|\s?\\?%|\s?percent\b)?"
    r"|(?P<vulgar>[-−]?[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])"
)


def _last_number(text: str) -> str | None:
    line = next((line for line in reversed(text.splitlines()) if re.search(r"[\d½⅓⅔¼¾]", line)), "")[-4000:]
    line = re.sub(r"(?<=\w)\s*\([^()]*[A-Za-z]{2}[^()]*\)(?=\W*$)", "", line)  # left (3 red, 2 green)
    line = re.sub(r"(?<=\d)(\s?(?:sq )?[A-Za-z]{1,3})\^\{?[23]\}?(?![\w{])", r"\1", line)  # units: 18 m^2
    maths = [match for match in MATHS.finditer(line) if re.search(r"\d", match[0])]
    numbers = list(_NUMBER.finditer(line))
    if not numbers:
        return None
    last = numbers[-1]
    if maths and maths[-1].start() <= last.start() < maths[-1].end():
        return _result(next(filter(None, maths[-1].groups())))
    if "\\" in line[max(0, last.start() - 12) : last.start()].replace("\\$", "") or line.endswith("\\]"):
        return _result(line.strip().strip("[]\\() "))
    if not _stands_alone(line, last):
        return None
    return last[0].strip()


def _result(formula: str) -> str | None:
    """Return what a formula ends with: all of it, or what follows its last relation."""
    result = re.split(r"=|\\approx|≈|\\Rightarrow|\\implies", formula)[-1].strip().rstrip(".,;")
    return bare(result) or None if re.search(r"\d", result) and len(result) <= LONGEST else None


def _stands_alone(line: str, number: re.Match[str]) -> bool:
    """Whether a number is no part of something larger: a range, a power, a product with letters, an operation."""
    before, after = line[: number.start()], line[number.end() :]
    if re.search(r"\b(?:step|case|part|figure|problem|question|method|line|row|equation) ?#?$", before, re.I):
        return False  # a label
    if number["sign"] and re.search(r"[\w)\]]\s*$", before) and not re.search(r"[A-Za-z]{2}\s$", before):
        return False
    if re.search(
        r"(?:[\w.)\]}][-−–—/^_*×·]|[\w)\]}][:.,](?!\s)"
        r"|[\w)]\s[-−–—+*/×·÷^]\s?|[A-Za-z_^\\{(\[<]|\d\s?to|\bbetween .* and)\s?$",
        before,
    ) and not (
        re.search(r"[(\[]\s?$|\b[A-Za-z]+\s$|=\s?$", before)
        and not re.search(r"\d\s?to\s$|\bbetween .* and\s$", before)
    ):
        return False
    return not re.match(
        r"\s?[-−–—]\s?\d|[A-Za-z]\b(?<![msghlLx])|[A-Za-z]?\^|\s?[*×·÷+/^_]\s?[\d(A-Za-z\\]|[xyz]\b|\s(?:to|or) \d",
        after,
    )
