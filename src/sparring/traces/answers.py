r"""The answer that a solution states: ``\boxed{…}``, ``#### …``, "the answer is …", else its last number.

Not here: whether two answers are equal (`oracles/equality.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparring.traces.boxed import last_boxed

_LONGEST = 300  # characters of an answer; longer ones are not read
_TAIL = 4000  # characters at the end of a solution in which its answer is looked for
_STATED = re.compile(
    r"(?:####|\bA:|(?i:\banswer(?: is)?\s*[:=]?))\s*(?P<answer>\S[^\n]*)\Z|(?i:\banswer is:?)\s*(?P<inside>\$[^$\n]+\$)"
)
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")


def stated_answer(steps: Sequence[str] | str, *, last_number: bool = True) -> str | None:
    r"""Return the answer that a solution states: ``\boxed{…}``, ``#### …``, ``A: …``, ``answer is …``.

    Without any of these, and with `last_number`, it is the last number of the last step.
    """
    steps = [steps] if isinstance(steps, str) else steps
    text = "\n".join(steps)[-_TAIL:]
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed if len(boxed) <= _LONGEST else None
    last = steps[-1][-_TAIL:].strip() if steps else ""
    statements = list(_STATED.finditer(last))
    if statements:
        stated = statements[-1]
        answer = (stated["answer"] or stated["inside"]).strip().removeprefix("is ").rstrip(".").strip()
        return answer if 0 < len(answer) <= _LONGEST else None
    numbers = _NUMBER.findall(last) if last_number else []
    return numbers[-1] if numbers and len(numbers[-1]) <= _LONGEST else None
