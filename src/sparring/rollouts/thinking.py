"""Thinking: what a policy writes between `<think>` and `</think>`, told apart from the answer that steps are made of.

Contract: thinking is blanked out, character for character, so that places in the answer stay what they were. A block goes
to the first closing tag (policies repeat an opening one, and close it once), or to the end where there is none; a closing
tag without an opening one ends a block that began before, hence everything up to it is thinking. Linear in the text.

Not here: who asks for it (`Limits.thinking`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from sparring.traces.spans import Layout

Tags = tuple[str, str]
"""What opens a block of thinking, and what closes it."""


def without_thinking(text: str, tags: Tags, *, opened: bool = False) -> str:
    """Return the text with thinking and its tags turned into as many spaces.

    Args:
        opened: whether the prompt ended inside a block.
    """
    inside, place = opened, 0  # all before `place` is in `pieces`
    pieces: list[str] = []
    for tag in re.finditer("|".join(map(re.escape, sorted(tags, key=len, reverse=True))), text):
        if tag.group() == tags[1]:
            if not inside:  # it ends a block that began before the text
                pieces, place = [], 0
            pieces.append(" " * (tag.end() - place))
            inside, place = False, tag.end()
        elif not inside:
            pieces.append(text[place : tag.start()])
            inside, place = True, tag.start()
    pieces.append(" " * (len(text) - place) if inside else text[place:])
    return "".join(pieces)


def up_to_stop(
    text: str, stop: Sequence[str], tags: Tags | None = None, *, opened: bool = False
) -> tuple[str, str, bool]:
    """Return (the answer up to the first stop text, the whole text up to there, whether one was met).

    Without `tags` answer and whole text are the same. Stop texts inside thinking do not count, nor does the white space
    between thinking and what is said after it.
    """
    answer = text if tags is None else without_thinking(text, tags, opened=opened)
    first = 0 if answer == text else len(answer) - len(answer.lstrip())
    places = [place for wanted in stop if (place := answer.find(wanted, first)) >= 0]
    end = min(places, default=len(text))
    return answer[:end], text[:end], bool(places)


def opens_thinking(layout: Layout, steps: Sequence[str], tags: Tags | None) -> bool:
    """Whether a prompt of this layout ends inside a block: the template opened it, and no step has been written yet."""
    return tags is not None and not steps and layout.after.rstrip().endswith(tags[0])


def layout_of(layout: Layout, steps: Sequence[str], tags: Tags | None) -> Layout:
    """Return the layout of a prompt: what the template opened is closed before the first step."""
    if tags is None or not steps or not opens_thinking(layout, (), tags):
        return layout
    return replace(layout, after=f"{layout.after.rstrip()}\n\n{tags[1]}\n\n")
