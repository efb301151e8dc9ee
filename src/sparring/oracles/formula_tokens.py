"""Tokens of mathematical text, LaTeX or plain: numbers, letters, commands, symbols, words in ``\\text{...}``.

Contract: one pass over any text; spaces, sizes and ``\\left`` are dropped; digits of one number are bounded. The two
errors of the formula modules live here. Not here: what tokens mean together (`expressions.py`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sparring.oracles.literals import SEPARATOR

MAX_DIGITS = 60


class UnreadableError(ValueError):
    """The text is not (only) a formula that is understood."""


class TooLargeError(UnreadableError):
    """The formula, or a value in it, exceeds the bounds."""


class Token(NamedTuple):
    """A piece of mathematical text: number, letter, command, symbol, word or space-like break."""

    kind: str
    text: str
    start: int
    end: int


_SCAN = re.compile(
    r"""(?P<space>(?:\s|\\[,;:!\ ]|\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|q?quad(?=\s*[-+*/=]))(?![A-Za-z])|~)+)
    |(?P<degrees>\^\s*\{?\s*\\circ\s*\}?|°)
    |(?P<number>\d{1,3}(?:"""
    + SEPARATOR
    + r"""\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
    |(?P<newline>\\\\(?:\[[^\]]{0,9}\])?)
    |(?P<words>\\(?:text|mbox|textrm|textbf|mathrm|operatorname|textit)\*?\s*\{(?P<inner>[^{}]*)\})
    |(?P<command>\\[A-Za-z]+)
    |(?P<escaped>\\.)
    |(?P<name>[A-Z]{2,}(?![a-z])|sqrt|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|pi(?![a-z]))
    |(?P<letter>[A-Za-zα-ω])
    |(?P<relation><=|>=|(?<![\d)}])!=|==|=>|->|:=|[=<>≤≥≠≈→⇒≡])
    |(?P<dots>\.\.\.+|…|---+)
    |(?P<symbol>\*\*|.)""",
    re.VERBOSE | re.DOTALL,
)
_SYMBOLS = {
    "×": "*",
    "·": "*",
    "⋅": "*",
    "÷": "÷",
    "−": "-",
    "–": "-",
    "**": "^",
    "²": "²",
    "√": "√",
    "π": "π",
}
_SAME = {"cdot": "*", "times": "*", "div": "÷", "pm": "±", "mp": "∓", "lbrack": "[", "rbrack": "]",
         "lvert": "|", "rvert": "|", "vert": "|", "cdotp": "*"}  # fmt: skip


def tokenize(text: str) -> list[Token]:
    """Return the tokens of mathematical text; spaces, sizes and ``\\left`` are dropped.

    Raises:
        TooLargeError: a number has more than `MAX_DIGITS` digits.
    """
    tokens: list[Token] = []
    for match in _SCAN.finditer(text):
        kind, raw = match.lastgroup or "symbol", match.group()
        if kind == "inner":
            kind = "words"
        if kind == "space":
            continue
        if kind == "number":
            if len(raw) > MAX_DIGITS:
                raise TooLargeError(f"a number of {len(raw)} digits")
        elif kind == "words":
            raw = (match["inner"] or "").strip()
        elif kind in ("command", "name"):
            raw = raw.lstrip("\\")
            if raw in _SAME:
                kind, raw = "symbol", _SAME[raw]
            elif kind == "name" and raw.islower():
                kind = "command"
        elif kind == "escaped":
            kind, raw = ("symbol", "%") if raw == "\\%" else ("symbol", raw)
        elif kind == "symbol":
            raw = _SYMBOLS.get(raw, raw)
        tokens.append(Token(kind, raw, match.start(), match.end()))
    return tokens
