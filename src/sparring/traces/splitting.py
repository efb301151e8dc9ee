r"""Split free text, as language models write it, into steps.

Strategies:
- ``paragraphs``: a blank line ends a step.
- ``lines``: every line is a step.
- ``headings``: a line ``Step 3: …`` (also ``## Step 3``, ``**Step 3.**``) starts a step; text before the
  first is one.
- ``auto``: ``headings`` with at least two of them, else ``paragraphs`` where there is a blank line, else
  ``lines``.

Kept whole under every strategy: fenced code, ``\[…\]``, ``$$…$$`` (which in LaTeX cannot hold a blank line),
``\begin…\end``, ``[asy]…[/asy]``, ``\boxed{…}``. Bulleted lists are kept whole under ``paragraphs`` and
``lines``, also with blank lines between their items; numbered items are steps like any line or paragraph. A
block that is never closed (text cut off by a token limit) protects nothing.

Contract: steps are slices of the text without the white space around them: nothing else is lost, order is
kept, no step is empty, blank text has no steps. Time is linear in the length of the text, whatever it holds.

Not here: the separator tokens of models (`spans.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, get_args

from sparring.errors import SettingsError, did_you_mean
from sparring.traces.boxed import boxes

Strategy = Literal["paragraphs", "lines", "headings", "auto"]

_TOKEN = re.compile(
    r"""
      (?P<escape>\\\\)                              # a line break such as \\[2pt] opens no display
    | (?P<blank>\n[ \t\r]*(?=\n))
    | (?m:^)[ \t]*(?P<fence>```|~~~)
    | (?P<open>\\\[) | (?P<close>\\\])
    | (?P<dollars>\$\$)
    | \\(?P<edge>begin|end)\{(?P<name>[A-Za-z]{1,40}\*?)\}
    | \[(?P<asy>/?asy)\]
    """,
    re.VERBOSE,
)
_HEADING = re.compile(
    r"[ \t]*(?:\#{1,6}[ \t]*)?[*_]{0,3}(?i:step)[ \t]+\d{1,4}(?:[*_]{0,3}[ \t]*[:.)–—-]|[*_ \t\r]*$)",
    re.MULTILINE,
)
_BULLET = re.compile(r"[ \t]*[-*•][ \t]")
_INDENT = re.compile(r"  |\t")


def split_steps(text: str, strategy: Strategy = "auto") -> tuple[str, ...]:
    """Return the steps of a text; see the module for what the strategies mean.

    Raises:
        SettingsError: no such strategy.
    """
    if strategy not in get_args(Strategy):
        raise SettingsError(f"unknown strategy '{strategy}'" + did_you_mean(strategy, get_args(Strategy)))
    lines = list(_free_lines(text))
    if strategy == "auto":
        strategy = _fitting_strategy(text, lines)
    cuts = [0, *_cuts(text, lines, strategy), len(text)]
    slices = (text[start:end].strip() for start, end in pairwise(cuts))
    return tuple(step for step in slices if step)


def _fitting_strategy(text: str, lines: list[tuple[int, bool]]) -> Strategy:
    if sum(_HEADING.match(text, start) is not None for start, _ in lines) >= 2:
        return "headings"
    return "paragraphs" if any(after_blank for _, after_blank in lines) else "lines"


def _cuts(text: str, lines: list[tuple[int, bool]], strategy: Strategy) -> Iterator[int]:
    """Yield the offsets at which a new step starts, the first step's aside."""
    in_list = False
    for number, (start, after_blank) in enumerate(lines):
        bullet = _BULLET.match(text, start) is not None
        goes_on = in_list and (bullet or _INDENT.match(text, start) is not None)
        in_list = bullet or goes_on
        if strategy == "headings":
            wanted = _HEADING.match(text, start) is not None
        else:
            wanted = not goes_on and (after_blank or strategy == "lines")
        if wanted and number > 0:
            yield start


def _free_lines(text: str) -> Iterator[tuple[int, bool]]:
    """Yield (offset, whether a blank line comes before) for every line with text that starts in no block."""
    blocks = iter(sorted(_blocks(text)))
    covered_to = 0  # everything before is inside a block that began before the current line
    block = next(blocks, None)
    start, first, after_blank = 0, True, False
    for line in text.split("\n"):
        while block is not None and block[0] < start:
            covered_to = max(covered_to, block[1])
            block = next(blocks, None)
        if start >= covered_to:
            if not line.strip():
                after_blank = True
            else:
                yield start, after_blank and not first
                first, after_blank = False, False
        start += len(line) + 1


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the character ranges that must not be cut; they may overlap."""
    for box in boxes(text):
        yield box.start, box.end
    opened: dict[str, int] = {}  # start of the open block of each simple kind
    environments: list[tuple[str, int]] = []
    open_names: Counter[str] = Counter()
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "fence":
            fence = token["fence"]
            if fence in opened:
                begin = opened.pop(fence)
                yield begin, token.end()
                # Code opens no LaTeX
                opened = {name: start for name, start in opened.items() if start < begin}
            else:
                opened[fence] = token.start()
        elif kind == "blank":
            opened.pop("dollars", None)
        elif kind == "dollars":
            if kind in opened:
                yield opened.pop(kind), token.end()
            else:
                opened[kind] = token.start()
        elif kind in ("open", "close", "asy"):
            bracket = "asy" if kind == "asy" else "display"
            if kind == "open" or token["asy"] == "asy":
                opened.setdefault(bracket, token.start())
            elif bracket in opened:
                yield opened.pop(bracket), token.end()
        elif token["edge"] == "begin":
            environments.append((token["name"], token.start()))
            open_names[token["name"]] += 1
        elif token["edge"] == "end" and open_names[token["name"]]:
            while True:  # an inner environment that was never closed ends with the outer one
                name, begin = environments.pop()
                open_names[name] -= 1
                if name == token["name"]:
                    break
            yield begin, token.end()
