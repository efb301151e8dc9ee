"""The tree that a search looked at: every prefix that was scored, whether the search went on from it, and what was chosen.

Contract: built from the questions that a method asks and the answers that it is given, so it serves every method and
changes none. A prefix that was continued, or lies on the way to a candidate, is kept; every other one was given up. At most
`MOST_NODES` nodes are held, those that were scored first, and the others counted; a step's text is cut at `LONGEST_STEP`.

Not here: the search itself (`task.py`, `driver.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.errors import DataError
from sparring.search.task import Sample, Score, Scored, State, Steps, Valuation

MOST_NODES, LONGEST_STEP, MOST_TREES = 400, 2000, 100
"""The last is for how many problems of a search a tree is written."""


class Tree:
    """Grows with the answers to a search's questions."""

    def __init__(self) -> None:
        self.left_out = 0
        self._nodes: dict[Steps, tuple[float, float | None]] = {}
        self._continued: set[Steps] = set()

    def asked(self, question: Sample | Score) -> None:
        """Take note of which prefixes the search goes on from; looking ahead greedily is no going on."""
        if isinstance(question, Sample) and not question.greedy:
            self._continued.update(question.prefixes)

    def scored(self, prefixes: Sequence[Steps], answers: Scored, valuation: Valuation) -> None:
        """Take in the scored prefixes; steps before their last that are new have a score and no value."""
        for prefix, answer in zip(prefixes, answers, strict=True):
            if isinstance(answer, DataError):
                continue
            for length, score in enumerate(answer[0], start=1):
                steps = prefix[:length]
                value = valuation.of(*answer)[0] if length == len(prefix) else None
                if steps not in self._nodes and len(self._nodes) >= MOST_NODES:
                    self.left_out += 1
                elif steps not in self._nodes or value is not None:
                    self._nodes[steps] = (score, value)

    def record(self, candidates: Sequence[State], chosen: int | None) -> dict[str, Any]:
        """Return the tree as it is written.

        A node is ``[parent, step, score, value, kept, end, chosen]``: the parent's place among the nodes (−1: the
        question), the PRM's score of the step, Q of the prefix (null where only a longer one was valued), whether it was
        kept, ``open``, ``finished`` or ``cut``, and whether it lies on the way to the answer.

        Args:
            candidates: the search's result.
            chosen: which of them is the answer.
        """
        ends = {state.steps: state.end for state in candidates}
        kept = {state.steps[:length] for state in candidates for length in range(1, len(state.steps) + 1)}
        answer = () if chosen is None else candidates[chosen].steps
        places: dict[Steps, int] = {(): -1}
        nodes: list[list[Any]] = []
        for steps, (score, value) in self._nodes.items():
            places[steps] = len(nodes)
            nodes.append(
                [
                    places[steps[:-1]],
                    steps[-1][:LONGEST_STEP],
                    score,
                    value,
                    steps in kept or steps in self._continued,
                    ends.get(steps, "open"),
                    answer[: len(steps)] == steps,
                ]
            )
        return {"nodes": nodes, "left_out": self.left_out}
