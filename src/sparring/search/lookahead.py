"""Look-ahead search: beam search in which a step is judged by where it leads.

Source: Snell et al. 2024 (arXiv 2408.03314, §5.2): from every candidate the policy goes on greedily for k steps, and the
PRM's value there takes the place of the value of the candidate. k = 0 is beam search; the steps ahead are thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sparring.search.beam import beam_by
from sparring.search.task import Search, State, Task


def lookahead(task: Task) -> Search[list[State]]:
    """Return the kept states in the end, best value ahead first."""
    return (yield from beam_by(task, expand_ahead, task.n))


def expand_ahead(task: Task, states: Sequence[State], n: int) -> Search[list[list[State]]]:
    """Return up to `n` next states of each state with the value ahead as reward."""
    groups = yield from task.expand(states, n)
    children = [child for group in groups for child in group]
    ahead = list(children)
    for _ in range(task.settings.lookahead_steps):
        going = [index for index, state in enumerate(ahead) if state.end == "open"]
        if not going:
            break
        grown = yield from task.grow([ahead[index] for index in going], 1, greedy=True)
        for index, found in zip(going, grown, strict=True):
            # Where there is no next step, what there is gets judged.
            ahead[index] = found[0] if found else replace(ahead[index], end="cut")
    values = yield from task.scored(ahead)
    judged = iter(
        [
            child if there is None else replace(child, reward=there.value)
            for child, there in zip(children, values, strict=True)
        ]
    )
    return [[child for _, child in zip(group, judged, strict=False)] for group in groups]
