r"""Errors in LaTeX steps with unknowns: equations and inequalities that no longer follow.

Contract: small pure functions from a `Place` to a text or None, as in `perturbations_text.py`, but nothing is recomputed:
one sign, number, letter or case of one formula is changed where that makes another claim. Each keeps away from places where
the claim would stay true (an even power, a factor of zero, an operand 0 or 2 + 2) and from steps that suppose or try
something, since those claim nothing. Only formulas between ``$…$``, ``$$…$$``, ``\(…\)`` and ``\[…\]`` are touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from sparring.oracles.equations import ANNOTATION
from sparring.oracles.perturbations_text import (
    MAX_PLACES,
    SUPPOSES,
    Confusion,
    Edit,
    Place,
    ValueChange,
    number_like,
    retold,
    rewritten,
    slipped,
    value_of,
)
from sparring.oracles.reading import Token
from sparring.traces.answers import MATHS

Span = tuple[int, int]
MAX_CHARACTERS = 4000

_RELATION = re.compile(r"\\(?:leq?|geq?|leqslant|geqslant|lt|gt)(?![A-Za-z])|[<>=]")
_OPPOSITE = {
    "<": ">", ">": "<", r"\le": ">", r"\leq": ">", r"\leqslant": ">", r"\ge": "<", r"\geq": "<",
    r"\geqslant": "<", r"\lt": ">", r"\gt": "<",
}  # fmt: skip
_NUMBER = re.compile(r"(?<![\d._A-Za-z\\])(?<!_\{)\d{1,9}(?:\.\d{1,4})?(?![\d.]*\d|\{?,\}?\d{3})")
_RESULT = re.compile(r"=\s*+-?\s*+(?:\\boxed\{\s*+)?(?P<number>\d{1,9}(?:\.\d{1,4})?)\s*+\}?\s*+[.,]?\s*+$")
_LETTER = re.compile(r"(?<![A-Za-z\\{_])[a-zA-Z](?![A-Za-z}])")
_SIMPLE = r"[0-9a-zA-Z]+(?:\^\{?\d\}?)?"
_FALSE_LAWS = (
    (re.compile(rf"\\sqrt\{{\s*({_SIMPLE})\s*([+-])\s*({_SIMPLE})\s*\}}"), r"\\sqrt{\1} \2 \\sqrt{\3}"),
    (re.compile(r"\(\s*([0-9a-zA-Z]+)\s*([+-])\s*([0-9a-zA-Z]+)\s*\)\^\{?2\}?(?!\d)"), r"(\1^2 \2 \3^2)"),
    (re.compile(rf"\\frac\{{([^{{}}]+)\}}\{{\s*({_SIMPLE})\s*([+-])\s*({_SIMPLE})\s*\}}"),
     r"(\\frac{\1}{\2} \3 \\frac{\1}{\4})"),
    (re.compile(rf"\\(log|ln|sin|cos|tan)\s*\(\s*({_SIMPLE})\s*([+-])\s*({_SIMPLE})\s*\)"),
     r"(\\\1 \2 \3 \\\1 \4)"),
)  # fmt: skip
_PLUS_MINUS = re.compile(r"\\pm\s*(?=[\d\\a-zA-Z(])")
_ENDS_TERM = re.compile(r"[\w)}\]!]\s*$")
_VALUE = r"(?:[^$=a-zA-Z\\]|\\(?:d?frac|sqrt|pi)\b)+"
_CASES = re.compile(
    rf"\$\s*(?P<name>[a-zA-Z])\s*=(?P<one>{_VALUE})\$,?\s+or\s+\$(?:\s*(?P=name)\s*=)?(?P<other>{_VALUE})\$"
)


def is_latex(step: str) -> bool:
    """Return whether a step is written in LaTeX: it has a command or a formula, and no GSM8K annotation."""
    if ANNOTATION.search(step) is not None:
        return False
    return re.search(r"\\[A-Za-z(\[]", step) is not None or any(
        re.search(r"[A-Za-z=<>^_+]", step[start:end]) for start, end in formulas(step)
    )


def formulas(step: str) -> list[Span]:
    """Return the character ranges of the formulas of a step, without their delimiters."""
    if len(step) > MAX_CHARACTERS:
        return []
    return [match.span(match.lastindex or 0) for match in MATHS.finditer(step)]


def _claims(step: str) -> list[Span]:
    """Return the formulas that claim exactly one equation and may be changed."""
    if SUPPOSES.search(step):
        return []
    return [span for span in formulas(step) if _RELATION.findall(step, *span) == ["="]]


def _vanishes(step: str, span: Span) -> bool:
    """Whether one side is 0 and the other a single term, whose factors do not matter then."""
    sides = step[span[0] : span[1]].split("=")
    return any(
        one.strip(" .,") == "0" and not list(_signs(other, (0, len(other))))
        for one, other in (sides, sides[::-1])
    )


def _signs(step: str, span: Span) -> Iterator[int]:
    """Yield the places of + and − between the terms of a formula, outside all brackets."""
    depth, before = 0, ""
    for place in range(*span):
        mark = step[place]
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        elif mark in "+-" and depth == 0 and (before.isalnum() or before in set(")]}!'|")):
            yield place
        if not mark.isspace():
            before = mark


# --- a result or an operand changed ---


def with_result(place: Place, change: ValueChange) -> str | None:
    """Replace the number that a formula ends with, after its only relation."""
    found = [match for span in _claims(place.step) if (match := _RESULT.search(place.step, *span))]
    if not found:
        return None
    match = place.rng.choice(found)
    token = _token(match["number"], match.start("number"))
    value = change(value_of(token), token.places, place.rng)
    return None if value is None or value == token.value else retold(place.step, [token], value)


def _token(text: str, start: int) -> Token:
    places = min(len(text.partition(".")[2]), MAX_PLACES)
    return Token("number", text, start, start + len(text), Fraction(text), places)


def with_operand(place: Place, confused: Confusion) -> str | None:
    """Replace a number in an equation, other than one that is its whole right side."""
    step, choices = place.step, []
    for start, end in _claims(step):
        if _vanishes(step, (start, end)):
            continue
        for match in _NUMBER.finditer(step, start, step.rindex("=", start, end)):
            token = _token(match.group(), match.start())
            choices += [(token, other) for other in confused(place, token) if other != token.value]
    place.rng.shuffle(choices)
    for token, other in choices[:8]:
        text = number_like(other, token)
        if text is not None and Fraction(text.replace(",", "")) != token.value:
            return rewritten(step, [(token.start, token.end, text)])
    return None


# --- signs, letters, cases, laws ---


def _one_of(place: Place, edits: Sequence[Edit]) -> str | None:
    """Return the step with a random one of the edits."""
    return rewritten(place.step, [place.rng.choice(edits)]) if edits else None


def sign_error(place: Place) -> str | None:
    """Turn a sign between two terms round."""
    step = place.step
    signs = [sign for span in _claims(step) for sign in _signs(step, span)]
    return _one_of(
        place,
        [
            (sign, sign + 1, "-" if step[sign] == "+" else "+")
            for sign in signs
            if re.match(r"[+-]\s*0(?![\d.])", step[sign:]) is None
        ],
    )


def flipped_inequality(place: Place) -> str | None:
    """Turn the only inequality of a formula round."""
    step = place.step
    spans = [] if SUPPOSES.search(step) else formulas(step)
    found = [list(_RELATION.finditer(step, *span)) for span in spans]
    alone = [relations[0] for relations in found if len(relations) == 1 and relations[0][0] != "="]
    return _one_of(place, [(*match.span(), _OPPOSITE[match[0]]) for match in alone])


def wrong_reference(place: Place) -> str | None:
    """Put another variable of the problem or of an earlier step in place of one."""
    names = {
        match.group()
        for text in (place.problem.question, *place.prefix)
        for span in formulas(text)
        for match in _LETTER.finditer(text, *span)
    } - set("deif")
    return _one_of(
        place,
        [
            (*match.span(), other)
            for span in _claims(place.step)
            for match in _LETTER.finditer(place.step, *span)
            if match.group() in names
            for other in sorted(names)
            if other != match.group() and other.islower() == match.group().islower()
        ],
    )


def dropped_case(place: Place) -> str | None:
    r"""Make ``x = 3`` of ``x = \pm 3``, and of ``$x = 2$ or $x = 5$`` one of them."""
    step = place.step
    edits = [
        (*match.span(), "+ " if _ENDS_TERM.search(step, span[0], match.start()) else "")
        for span in formulas(step)
        for match in _PLUS_MINUS.finditer(step, *span)
        if "=" in step[span[0] : match.start()]
    ]
    match = _CASES.search(step) if not edits and len(step) <= MAX_CHARACTERS else None
    if match is not None and match["one"].strip() != match["other"].strip():
        edits = [(*match.span(), f"${match['name']} = {match[case].strip()}$") for case in ("one", "other")]
    return _one_of(place, edits)


def false_law(place: Place) -> str | None:
    r"""Make ``\sqrt{a} + \sqrt{b}`` of ``\sqrt{a + b}``, and the like."""
    return _one_of(
        place,
        [
            (*match.span(), match.expand(law))
            for span in _claims(place.step)
            for pattern, law in _FALSE_LAWS
            for match in pattern.finditer(place.step, *span)
            if "0" not in match.groups()
        ],
    )


def contradiction(place: Place) -> str | None:
    """Say before the step what value a variable has by an earlier one, changed."""
    found = [
        (match["name"], _token(match["number"], 0))
        for earlier in place.prefix
        if not SUPPOSES.search(earlier)
        for start, end in formulas(earlier)
        if (match := re.fullmatch(r"\s*(?P<name>[a-zA-Z])\s*=\s*(?P<number>\d{1,9})\s*", earlier[start:end]))
    ]
    if not found:
        return None
    name, token = place.rng.choice(found)
    value = slipped(value_of(token), 0, place.rng)
    text = None if value is None else number_like(value, token)
    return None if text is None else f"We know that ${name} = {text}$. {place.step}"
