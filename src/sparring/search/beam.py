"""Step-level beam search by effective reward Q^π + α · A^μ, and the answer by Q^π alone (PAV, arXiv 2410.08146, §4.1).

From every state C next steps are sampled, the N states of the highest effective reward are kept; finished solutions
compete for their place like any other state. The start counts as N states. α = 0 is beam search by Q.
Not in the paper, decided here: equal texts are one state, since a confident policy would fill the beam with copies;
with `state_mark` also different ways to one state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparring.search.task import ROOT, Search, State, Task, best, merged

Expand = Callable[[Task, Sequence[State], int], Search[list[list[State]]]]
"""How states are continued by up to so many next ones, with the rewards by which they are kept."""


def beam(task: Task) -> Search[list[State]]:
    """Return the kept states in the end, best effective reward first."""
    return (yield from beam_by(task, Task.expand, task.n))


def beam_by(task: Task, expand: Expand, width: int) -> Search[list[State]]:
    """Return the last beam of `width` states that are continued and rewarded by `expand`."""
    kept = [ROOT]
    for depth in range(task.settings.max_steps):
        going = [state for state in kept if state.end == "open"]
        if not going or task.exhausted():
            break
        groups = yield from expand(task, going, task.settings.expansions * (width if depth == 0 else 1))
        pool = [state for state in kept if state.end != "open"] + [one for group in groups for one in group]
        if not pool:  # nothing could be continued: what there was stays as it is
            break
        kept = best(merged(pool, task.settings.state_mark), width)
    return [state for state in kept if state.steps]
