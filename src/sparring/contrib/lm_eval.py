"""lm-evaluation-harness with a PRM: filters that choose one of a task's repeated answers.

    repeats: 16
    filter_list:
      - name: prm
        filter:
          - {function: sparring_choose, prm: models/prm, question: question}
          - {function: regex, regex_pattern: "answer is (-?[0-9.]+)"}
          - {function: take_first}

Import this module before the task is made (`lm_eval --include_path` does not): then the filter is known by its name.

Contract: all answers of a task are scored in one call; one answer is left of each question, as a list of one. Tested with
lm-eval 0.4.13.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sparring.contrib.rewards import Rule, StepRewards, choose
from sparring.errors import DataError, needs
from sparring.rollouts.engine import SEPARATOR

with needs("sparring.contrib.lm_eval", "lm_eval", "pip install lm-eval==0.4.13"):
    from lm_eval.api.filter import Filter
    from lm_eval.api.registry import register_filter


@register_filter("sparring_choose")
class ChooseFilter(Filter):  # type: ignore[misc]
    """Keeps the answer that a PRM chooses.

    Args:
        prm: a PRM's folder or a server's address.
        question: field of the task's documents that holds the question.
        rule: `best_of_n`, `weighted_vote` or `majority`.
        aggregation: from step scores to one number; ``auto`` as the PRM's sidecar says.
        separator: what ends a step of an answer.
    """

    def __init__(
        self,
        *,
        prm: Any,
        question: str = "question",
        rule: Rule = "best_of_n",
        aggregation: str = "auto",
        separator: str = SEPARATOR,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.question, self.rule = question, rule
        self.rewards = StepRewards(prm, aggregation=aggregation, separator=separator)

    def apply(self, resps: Iterable[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[str]]:
        """Return one answer per document, each as a list of one.

        Raises:
            DataError: a document lacks the question, or an answer cannot be scored.
        """
        groups = [list(group) for group in resps]
        for number, doc in enumerate(docs, start=1):
            if not isinstance(doc.get(self.question), str):
                raise DataError(f"document {number} has no text in this field", field=self.question)
        questions = [doc[self.question] for doc, group in zip(docs, groups, strict=True) for _ in group]
        values = iter(self.rewards.values(questions, [text for group in groups for text in group]))
        return [[group[choose(group, [next(values) for _ in group], self.rule)]] for group in groups]
