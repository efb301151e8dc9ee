r"""Find ``\boxed{…}`` in mathematical text: where MATH-style solutions put their final answer.

Contract: braces are matched as LaTeX does (``\{`` and ``\}`` do not count), in one pass, so that any text
costs time linear in its length. ``\boxed 5`` without braces holds one token, or one number. A box that is never closed
does not count.

Not here: which box is the answer (`answers.py`), whether two answers are equal (`oracles/`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"\\[\\{}]|(?<=\\)f?box(?:ed)?(?:\s*(?P<box>\{)|\s*(?P<number>-?(?:\\?\$)?\d[\d,]*(?:\.\d+)?%?)"
    r"|\s*(?P<token>-?\\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}|-?\d*\\sqrt\s*\{[^{}]*\})|\s+(?P<letter>\\[A-Za-z]+|[A-Za-z])(?![A-Za-z{]))|[{}]"
)


class Box(NamedTuple):
    r"""One ``\boxed{…}`` or ``\fbox{…}``: character range, and the text between its braces."""

    start: int
    end: int
    content: str


def boxes(text: str) -> list[Box]:
    """Return the outermost closed boxes in order; boxes inside boxes belong to the outer one."""
    open_braces: list[tuple[int, int] | None] = []
    closed: list[tuple[int, int, int, int]] = []
    for token in _TOKEN.finditer(text):
        bare = next((kind for kind in ("number", "token", "letter") if token[kind]), "number")
        if token["box"]:
            open_braces.append((token.start() - 1, token.end()))
        elif token[bare]:
            closed.append((token.start() - 1, token.end(), *token.span(bare)))
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces:
            box = open_braces.pop()
            if box is not None:
                closed.append((box[0], token.end(), box[1], token.end() - 1))
    found: list[Box] = []
    for start, end, inside, inside_end in sorted(closed):
        if not found or start >= found[-1].end:
            found.append(Box(start, end, text[inside:inside_end].rstrip(",")))
    return found


def last_boxed(text: str) -> str | None:
    r"""Return the stripped content of the last closed ``\boxed{…}``, None if there is none or it is blank."""
    found = boxes(text)
    return (found[-1].content.strip() or None) if found else None
