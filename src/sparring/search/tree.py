"""The tree that a search looked at: every prefix that was scored, whether the search went on from it, and what was chosen.

Contract: built from the questions that a method asks and the answers that it is given, so it serves every method and
changes none. A prefix that was continued, or lies on the way to a candidate, is kept; every other one was given up. Who
watches a search is told of every node when it is new, and again when it is decided. Of a tree that is written at most
`MOST_NODES` nodes are held, those that were scored first, and the others counted; a step's text is cut at `LONGEST_STEP`.

Not here: the search itself (`task.py`, `driver.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sparring.errors import DataError
from sparring.search.task import Sample, Score, Scored, State, Steps, Valuation

MOST_NODES, LONGEST_STEP, MOST_TREES = 400, 2000, 100
"""The last is for how many problems of a search a tree is written."""


class Tree:
    """Grows with the answers to a search's questions.

    Args:
        most: nodes that are held.
        tell: called with every node that is new or decided, by its prefix.

    Attributes:
        nodes: by prefix, the place of each among them, the PRM's score of its last step, and its value where it has one.
        kept: by prefix, whether it was kept; None: not decided yet.
    """

    def __init__(self, most: float = MOST_NODES, tell: Callable[[Steps], object] = lambda _: None) -> None:
        self.left_out, self._most, self._tell = 0, most, tell
        self.nodes: dict[Steps, tuple[int, float, float | None]] = {}
        self.kept: dict[Steps, bool | None] = {}

    def asked(self, question: Sample | Score) -> None:
        """Take note of which prefixes the search goes on from; looking ahead greedily is no going on."""
        if isinstance(question, Sample) and not question.greedy:
            for steps in question.prefixes:
                self._decide(steps, True)

    def scored(self, prefixes: Sequence[Steps], answers: Scored, valuation: Valuation) -> None:
        """Take in the scored prefixes; steps before their last that are new have a score and no value."""
        for prefix, answer in zip(prefixes, answers, strict=True):
            if isinstance(answer, DataError):
                continue
            for length, score in enumerate(answer[0], start=1):
                steps = prefix[:length]
                value = valuation.of(*answer)[0] if length == len(prefix) else None
                if known := self.nodes.get(steps):
                    self.nodes[steps] = known if value is None else (known[0], score, value)
                elif len(self.nodes) >= self._most:
                    self.left_out += 1
                else:
                    self.nodes[steps] = (len(self.nodes), score, value)
                    self._tell(steps)

    def ended(self, candidates: Iterable[Steps]) -> None:
        """Decide what is left: the ways to the candidates are kept, all else was given up."""
        for whole in candidates:
            for length in range(1, len(whole) + 1):
                self._decide(whole[:length], True)
        for steps in self.nodes:
            self._decide(steps, False)

    def _decide(self, steps: Steps, kept: bool) -> None:
        if self.kept.get(steps) is None:
            self.kept[steps] = kept
            if steps in self.nodes:
                self._tell(steps)

    def record(self, candidates: Sequence[State], chosen: int | None) -> dict[str, Any]:
        """Return the tree as it is written.

        A node is ``[parent, step, score, value, kept, end, chosen]``: the parent's place among the nodes (−1: the
        question), the PRM's score of the step, Q of the prefix (null where only a longer one was valued), whether it was
        kept, ``open``, ``finished`` or ``cut``, and whether it lies on the way to the answer.

        Args:
            candidates: the search's result.
            chosen: which of them is the answer.
        """
        self.ended(state.steps for state in candidates)
        ends = {state.steps: state.end for state in candidates}
        answer = () if chosen is None else candidates[chosen].steps
        nodes = [
            [
                self.nodes[steps[:-1]][0] if len(steps) > 1 else -1,
                steps[-1][:LONGEST_STEP],
                score,
                value,
                self.kept[steps],
                ends.get(steps, "open"),
                answer[: len(steps)] == steps,
            ]
            for steps, (_, score, value) in self.nodes.items()
        ]
        return {"nodes": nodes, "left_out": self.left_out}
