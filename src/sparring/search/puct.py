"""Tree search by PUCT: N walks from the question to the end of a solution, through a tree that they share.

A walk takes the child of the highest mean value + c · prior · √(visits of the parent) / (1 + own visits), AlphaZero's
rule; where the tree ends, C next steps are sampled and judged by the PRM at once, so there are no rollouts. The policy
is its own prior: the share of the sampled steps that were this one. The way back gets the effective reward of the last
step. A solution is not reached twice, so every walk finds another one. Answer by Q^π.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sparring.search.task import ROOT, Search, State, Task, merged


@dataclass(slots=True, eq=False)
class Node:
    """A state in the tree: what the walks through it brought, whether nothing new is behind it, and its children."""

    state: State
    prior: float = 1.0
    visits: int = 0
    total: float = 0.0
    over: bool = False
    children: list[Node] = field(default_factory=list)

    def worth(self, parent_visits: int, exploration: float) -> float:
        """Return by what a walk chooses; an unvisited child has the reward that it was judged by."""
        mean = self.total / self.visits if self.visits else self.state.reward
        return mean + exploration * self.prior * math.sqrt(parent_visits) / (1 + self.visits)


def puct(task: Task) -> Search[list[State]]:
    """Return where the walks ended, in their order; fewer than N where the tree or the budget ends."""
    root = Node(ROOT)
    ends: list[State] = []
    for _ in range(task.n):
        if root.over:
            break
        path = [root]
        while (node := path[-1]).state.end == "open" and len(node.state.steps) < task.settings.max_steps:
            if not node.children:
                if task.exhausted():
                    break
                [group] = yield from task.expand([node.state], task.settings.expansions)
                node.children = children_of(group)
            going = [child for child in node.children if not child.over]
            if not going:  # engine or PRM refused every continuation
                break
            path.append(max(going, key=lambda child: child.worth(path[-1].visits, task.settings.exploration)))
        node.over = True
        if node.state.steps:
            ends.append(node.state)
        walked_back(path)
        if task.exhausted():
            break
    return ends


def children_of(group: Sequence[State]) -> list[Node]:
    """Return a node per different state, with the share of the group that it is."""
    times = Counter((state.steps, state.end) for state in group)
    return [Node(state, prior=times[state.steps, state.end] / len(group)) for state in merged(group)]


def walked_back(path: Sequence[Node]) -> None:
    """Tell every node of a walk what was found at its end."""
    for node in reversed(path):
        node.visits += 1
        node.total += path[-1].state.reward
        node.over = node.over or (bool(node.children) and all(child.over for child in node.children))
