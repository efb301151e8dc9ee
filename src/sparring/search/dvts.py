"""Diverse verifier tree search: N / C independent greedy searches of C expansions, the best of their ends by Q.

N next steps are sampled at every depth, as many as N independent solutions write: what is left of N / C goes to the first
trees, and an N below C is one tree of N expansions.

Source: Beeching, Tunstall and Rush 2024 (search-and-learn). Separate trees cannot all fall to one overrated prefix, as a
beam can; steps are chosen by effective reward, so α = 0 is the published method.
"""

from __future__ import annotations

from sparring.search.task import ROOT, Search, State, Task, best


def dvts(task: Task) -> Search[list[State]]:
    """Return the end of every tree."""
    count = max(1, task.n // task.settings.expansions)
    trees = [ROOT] * count
    expansions = [task.n // count + (tree < task.n % count) for tree in range(count)]
    for _ in range(task.settings.max_steps):
        going = [index for index, state in enumerate(trees) if state.end == "open"]
        if not going or task.exhausted():
            break
        groups = yield from task.expand([trees[i] for i in going], [expansions[i] for i in going])
        grown = False
        for index, group in zip(going, groups, strict=True):
            if group:
                trees[index], grown = best(group, 1)[0], True
        if not grown:
            break
    return [state for state in trees if state.steps]
