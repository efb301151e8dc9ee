"""verl with a PRM: a reward manager whose rewards stand on the last token of every step.

    reward.reward_manager.source=importlib reward.reward_manager.module.path=pkg://sparring.contrib.verl
    reward.reward_manager.name=StepRewardManager
    reward.custom_reward_function.path=pkg://sparring.contrib.verl reward.custom_reward_function.name=compute_score
    +reward.sparring.source=http://prm:8000 +reward.sparring.reward=cost

The outcome, by verl's own reward function (here `compute_score`), stands on the last token, and the steps' rewards
(`contrib/dense.py`) on theirs. verl's `AgentLoop` keeps one number per answer when it computes rewards while it samples;
dense rewards take the other road, `RewardLoopManager.compute_rm_score`, which verl takes where
`reward.reward_model.enable=True` and `enable_resource_pool=False`. Where it streams, the manager refuses unless
`+reward.sparring.scalar=True` says that one number, the sum, will do.

Estimators that sum rewards to come (`gae`, `reinforce_plus_plus`) let a step's reward reach the steps before it; `grpo`
takes the sum of an answer's rewards and so forgets where they stood. With `progress` a sum to come is a value again: it
adds up.

Contract: a score that cannot be made raises. Tested with the classes of verl 0.9.1, on the CPU and without its trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sparring.contrib.dense import DenseRewards, answer_text
from sparring.contrib.rewards import outcomes, text_of
from sparring.errors import DataError, SettingsError, needs
from sparring.rollouts.engine import SEPARATOR

with needs("sparring.contrib.verl", "verl", "pip install verl==0.9.1"):
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase


def compute_score(
    data_source: Any, solution_str: str, ground_truth: Any, extra_info: Any = None, **options: Any
) -> float:
    """Return 1 for an answer that equals the reference, else 0: verl's reward function, by `oracles/equality.py`."""
    [judged] = outcomes(["-"], [solution_str], [ground_truth])
    return judged or 0.0


class DenseReward(float):
    """The sum of an answer's rewards that also holds where they stand."""

    row: list[float]

    def __new__(cls, row: Sequence[float]) -> DenseReward:
        """Make it of one number per token."""
        made = super().__new__(cls, sum(row))
        made.row = list(row)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return DenseReward, (self.row,)


class StepRewardManager(RewardManagerBase):  # type: ignore[misc]
    """Outcome and step rewards of answers; verl makes it from its configuration, `reward.sparring`.

    `source`: a PRM's folder or address, or `router` for the reward model that verl runs in vLLM (`reward.reward_model`);
    `reward` and `separator` of `DenseRewards`; `outcome_weight`, `process_weight`; `question`: the field of `extra_info`
    with the question, where the prompt says more than it; `scalar`: their sum will do.

    Raises:
        SettingsError: the settings do not fit, or verl would keep one number per answer.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **options: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        given = dict(config.reward.get("sparring") or {})
        known = {"source", "reward", "separator", "outcome_weight", "process_weight", "question", "scalar"}
        if "source" not in given or set(given) - known:
            raise SettingsError(
                f"reward.sparring takes {', '.join(sorted(known))}, and source is needed; got {sorted(given)}"
            )
        served = config.reward.reward_model
        streams = not served.enable or served.enable_resource_pool
        if streams and not given.get("scalar", False):
            raise SettingsError(
                "verl computes rewards while it samples here and keeps one number per answer: set "
                "reward.reward_model.enable=True with enable_resource_pool=False for a reward per step, or "
                "+reward.sparring.scalar=True for their sum"
            )
        self.outcome_weight = float(given.get("outcome_weight", 1.0))
        self.process_weight = float(given.get("process_weight", 1.0))
        self.question = given.get("question")
        source = given["source"]
        if source == "router":
            source = f"vllm+http://{options.get('reward_router_address')}#{served.model_path}"
        self.dense = DenseRewards(
            source, reward=given.get("reward", "cost"), separator=given.get("separator", SEPARATOR)
        )

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Return the rewards of one answer, the last one where there are several."""
        item = data[-1:][0]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        ids = responses[:length].tolist()
        found: dict[str, Any] = await self.loop.run_in_executor(
            None, self._rewarded, item.non_tensor_batch, ids
        )
        return found

    def _rewarded(self, fields: Any, ids: list[int]) -> dict[str, Any]:
        if not ids:
            raise DataError("an answer has no token, so that a reward has no place", field="responses")
        info = fields.get("extra_info") or {}
        asked = info[self.question] if self.question else list(fields["raw_prompt"])
        row = self.process_weight * self.dense.row(text_of(asked, "user"), ids, self.tokenizer)
        result = self.compute_score(
            data_source=fields["data_source"],
            solution_str=answer_text(self.tokenizer, ids),
            ground_truth=fields["reward_model"]["ground_truth"],
            extra_info=info,
        )
        outcome = float(result["score"] if isinstance(result, dict) else result)
        process = float(row.sum())
        row[-1] += self.outcome_weight * outcome
        # Only numbers: verl makes an array of each over the batch.
        extra = {"acc": outcome, "process": process, "unscored_steps": self.dense.rewards.unscored_steps}
        return {"reward_score": DenseReward(row.tolist()), "reward_extra_info": extra}

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[float]) -> torch.Tensor:
        """Return the rewards of a batch, (answers, response length)."""
        found = torch.zeros_like(data.batch["responses"], dtype=torch.float32)
        for place, score in enumerate(scores):
            if not isinstance(score, DenseReward):
                raise DataError(f"the reward of answer {place} does not say where its parts stand")
            found[place, : len(score.row)] = torch.tensor(score.row, dtype=torch.float32)
        return found
