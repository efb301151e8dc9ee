r"""Marks of layout: what stands in a text and says nothing of its subject: ``\tag{2}``, ``\label{eq:1}``, ``\quad (3)``.

Contract: `without_marks` puts spaces in their place, so that all character ranges stay; one linear pass. Not here: commands
that dress a formula and keep it (`tokens.py`, `formula_tokens.py`).
"""

from __future__ import annotations

import re

_MARK = re.compile(
    r"\\(?:tag|label|ref|eqref|[cC]ref|autoref|cite|footnotemark|[hv]space|[hv]?phantom|(?:text)?color)\*?"
    r"(?:\[[^\]\n]{0,20}\])?\{[^{}\n]{0,200}\}"
    r"|\\(?:notag|nonumber|footnotemark)(?![A-Za-z])|\[\^\w{1,9}\]"
    r"|(?<=[\d}).,;])(?:\\q?quad|\\hfill|\\dots|\\ldots|\\cdots|\.{2,}|[ \t]{2,})[ \t]*\((?:\d{1,2}|i{1,3}|iv|\*{1,3})\)"
    r"(?=\s*(?:\$|\\[\])]|\\\\|\n|$))"
)
_HINT = re.compile(r"\\[a-zA-Z]|\[\^|\)\s*(?:\n|$)")


def without_marks(text: str) -> str:
    """Return the text of the same length with spaces for its marks."""
    if _HINT.search(text) is None:
        return text
    return _MARK.sub(lambda match: " " * len(match.group()), text)
