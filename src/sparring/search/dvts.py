"""Diverse verifier tree search: N / C independent greedy searches of C expansions, the best of their ends by Q.

Source: Beeching, Tunstall and Rush 2024 (search-and-learn). Separate trees cannot all fall to one overrated prefix, as a
beam can; steps are chosen by effective reward, so α = 0 is the published method.
"""

from __future__ import annotations

from sparring.search.task import ROOT, Search, State, Task, best


def dvts(task: Task) -> Search[list[State]]:
    """Return the end of every tree."""
    trees = [ROOT] * max(1, task.n // task.settings.expansions)
    for _ in range(task.settings.max_steps):
        going = [index for index, state in enumerate(trees) if state.end == "open"]
        if not going or task.exhausted():
            break
        groups = yield from task.expand([trees[index] for index in going], task.settings.expansions)
        grown = False
        for index, group in zip(going, groups, strict=True):
            if group:
                trees[index], grown = best(group, 1)[0], True
        if not grown:
            break
    return [state for state in trees if state.steps]
