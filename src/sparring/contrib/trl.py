"""TRL's `GRPOTrainer` with a PRM: reward functions, and a trainer in which step credit reaches the loss.

    trainer = GRPOTrainer(model=…, reward_funcs=[outcome_reward(), prm_reward("models/prm")], train_dataset=…, args=…)
    trainer = StepCreditTrainer(model=…, reward_funcs=[outcome_reward()], step_credit="models/value", …)

A reward function gives GRPO one number per answer. The progress of steps adds up to the value of the whole answer, so
that nothing of PAV would be left in their sum: `progress_reward` pays what was lost on the way (the sum of the steps that
made things worse, at most 0), and `StepCreditTrainer` adds every step's own credit to the advantages of its tokens, with
the rules of `sparring train rl` (`training/credit.py`), which is PAV as it is written.

Contract: prompts and completions may be texts or conversations. What cannot be scored raises and ends the training.
Tested with TRL 1.13.0. Not here: the PRM (`scorers/door.py`), TRL's own settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sparring.contrib.dense import answer_text
from sparring.contrib.rewards import StepRewards, Text, outcomes, text_of
from sparring.errors import needs
from sparring.notebook import as_trace
from sparring.rollouts.engine import SEPARATOR, Completion, split_completion
from sparring.scorers.door import StepScorer
from sparring.training.alignment import step_spans
from sparring.training.rl import give_credit
from sparring.training.rl_scores import Answer, load_prm_scores
from sparring.training.rl_settings import RlSettings

with needs("sparring.contrib.trl", "trl", "pip install trl==1.13.0"):
    from trl import GRPOTrainer

RewardFunction = Callable[..., list[float | None]]


def _questions(column: str | None, prompts: Sequence[Text], columns: dict[str, Any]) -> Sequence[Text]:
    return prompts if column is None else columns[column]


def outcome_reward(
    column: str = "answer",
    *,
    question: str | None = None,
    separator: str = SEPARATOR,
    last_number: bool = True,
) -> RewardFunction:
    """Return a reward function: 1 for a right answer, 0 for a wrong one and for one that cannot be read.

    Args:
        column: of the data set, which holds the reference answers.
        question: column of the question, where the prompt says more than it.
        separator: what ends a step of an answer.
        last_number: where no answer is stated, take the last number of the last step.
    """

    def outcome(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
        judged = outcomes(prompts, completions, columns[column], separator=separator, last_number=last_number)
        return [one or 0.0 for one in judged]

    return outcome


def prm_reward(
    source: str | Path | StepScorer,
    *,
    question: str | None = None,
    aggregation: str = "auto",
    separator: str = SEPARATOR,
) -> RewardFunction:
    """Return a reward function: an answer's step scores, aggregated.

    Args:
        source: a PRM's folder, a server's address, or a scorer.
        question: column of the question, where the prompt says more than it.
        aggregation: `min`, `product`, `mean`, `last` or `soft_min`; ``auto`` as the PRM's sidecar says.
        separator: what ends a step of an answer.
    """
    rewards = StepRewards(source, aggregation=aggregation, separator=separator)

    def prm(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
        return list(rewards.values(_questions(question, prompts, columns), completions))

    return prm


def progress_reward(
    source: str | Path | StepScorer,
    *,
    question: str | None = None,
    best_of: int = 4,
    separator: str = SEPARATOR,
) -> RewardFunction:
    """Return a reward function: the sum of the steps that made things worse, from −1·steps to 0.

    Args:
        source: a value model's folder, a server's address, or a scorer.
        question: column of the question, where the prompt says more than it.
        best_of: the prover is best-of-K of the policy behind the values.
        separator: what ends a step of an answer.
    """
    rewards = StepRewards(source, separator=separator)

    def progress_lost(
        prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
    ) -> list[float | None]:
        found = rewards.progress(_questions(question, prompts, columns), completions, best_of=best_of)
        return [float(row.clip(max=0.0).sum()) for row in found]

    return progress_lost


class StepCreditTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO whose tokens also get the credit of their step.

    The advantage of a token is GRPO's own for its answer plus `weight` times its step's credit.

    Args:
        step_credit: the folder or address of a value model (`progress`), a PRM (`step_sum`, `soft_min`) or an implicit
            one (`log_ratio`).
        rule: from scores to credit (`training/credit.py`).
        weight: α of PAV.
        best_of: `progress` only: the prover is best-of-K.
        question: column of the question, where the prompt says more than it.
    """

    def __init__(
        self,
        *args: Any,
        step_credit: str | Path,
        rule: str = "progress",
        weight: float = 1.0,
        best_of: int = 4,
        question: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._rule = RlSettings.model_validate(
            {
                "credit": rule,
                "prm": str(step_credit),
                "process_weight": weight,
                "outcome_weight": 0.0,
                "best_of": best_of,
            }
        )
        self._question = question
        self._scores = load_prm_scores(self._rule, step_credit)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        ids, mask = output["completion_ids"], output["completion_mask"].bool()
        groups: dict[str, list[Answer]] = {}
        answers = []
        for given, row, kept in zip(inputs, ids, mask, strict=True):
            question = text_of(given[self._question or "prompt"], "user")
            answer = self._answer(question, tuple(row[kept].tolist()))
            answers.append(answer)
            groups.setdefault(question, []).append(answer)
        give_credit(list(groups.values()), self._scores, self._rule, seed=0)
        credit = torch.zeros(ids.shape, dtype=torch.float32)
        for place, (answer, kept) in enumerate(zip(answers, mask.cpu(), strict=True)):
            credit[place, kept] = torch.from_numpy(answer.advantages).float()
        advantages = output["advantages"]
        if advantages.dim() == 1:
            advantages = advantages.unsqueeze(1)
        output["advantages"] = advantages + credit.to(advantages.device)
        found = torch.tensor(
            [float(answer.advantages.mean()) for answer in answers if len(answer.advantages)]
        )
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["step_credit/mean"].append(float(found.mean()) if len(found) else 0.0)
        self._metrics[mode]["step_credit/unscored_steps"].append(float(self._scores.unscored_steps))
        return output

    def _answer(self, question: str, ids: tuple[int, ...]) -> Answer:
        tokenizer: Any = getattr(self.processing_class, "tokenizer", self.processing_class)
        text = answer_text(tokenizer, ids)
        steps = split_completion(text)
        problem = as_trace(question, ("-",)).problem
        spans = step_spans(tokenizer, ids, text)
        return Answer(problem, (), Completion(text, ids, (), "end"), steps, spans)
