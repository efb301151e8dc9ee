r"""Find ``\boxed{…}`` in mathematical text: where MATH-style solutions put their final answer.

Contract: braces are matched as LaTeX does (``\{`` and ``\}`` do not count), in one pass, so that any text
costs time linear in its length. A box that is never closed does not count.

Not here: whether two answers are equal (`oracles/`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\\[\\{}]|(?<=\\)f?box(?:ed)?\s*(?P<box>\{)|[{}]")


@dataclass(frozen=True, slots=True)
class Box:
    r"""One ``\boxed{…}`` or ``\fbox{…}``: character range, and the text between its braces."""

    start: int
    end: int
    content: str


def boxes(text: str) -> list[Box]:
    """Return the outermost closed boxes in order; boxes inside boxes belong to the outer one."""
    open_braces: list[tuple[int, int] | None] = []
    closed: list[tuple[int, int, int]] = []
    for token in _TOKEN.finditer(text):
        if token["box"]:
            open_braces.append((token.start() - 1, token.end()))
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces:
            box = open_braces.pop()
            if box is not None:
                closed.append((box[0], token.end(), box[1]))
    found: list[Box] = []
    for start, end, inside in sorted(closed):
        if not found or start >= found[-1].end:
            found.append(Box(start, end, text[inside : end - 1]))
    return found


def last_boxed(text: str) -> str | None:
    r"""Return the stripped content of the last closed ``\boxed{…}``, None if there is none or it is blank."""
    found = boxes(text)
    return (found[-1].content.strip() or None) if found else None
