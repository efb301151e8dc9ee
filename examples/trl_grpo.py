"""GRPO of TRL with a PRM: the outcome, a PRM's opinion, and with --value the credit of every step.

    python examples/trl_grpo.py --prm runs/demo/aprm/prm
    python examples/trl_grpo.py --prm runs/demo/aprm/prm --value runs/value/value --steps 20

Trains the tiny policy that ships with the package on problems of the chain world; with your own, set --policy and read your
data into `dataset`. Needs TRL (docs/plugins.md).
"""

import argparse
from pathlib import Path

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from sparring.contrib.trl import StepCreditTrainer, outcome_reward, prm_reward
from sparring.models.loading import load_tokenizer, resolve_model
from sparring.worlds.chain import generate_problems

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--prm", required=True, help="folder or address of a PRM")
parser.add_argument("--value", help="folder of a value model: credit for every step (PAV)")
parser.add_argument("--policy", default="tiny-chain-policy", help="folder of the policy")
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--out", type=Path, default=Path("runs/trl_grpo"))
given = parser.parse_args()

problems = generate_problems(64, steps=(2, 4), seed=0)
dataset = Dataset.from_dict(
    {
        "prompt": [problem.question + " \n " for problem in problems],
        "question": [problem.question for problem in problems],
        "answer": [problem.answer for problem in problems],
    }
)
settings = GRPOConfig(
    output_dir=str(given.out), max_steps=given.steps, per_device_train_batch_size=8, num_generations=8,
    max_completion_length=64, logging_steps=1, save_strategy="no", report_to=[], bf16=False, use_cpu=True,
)  # fmt: skip
options = {
    "model": str(resolve_model(given.policy)),
    "reward_funcs": [outcome_reward(question="question"), prm_reward(given.prm, question="question")],
    "args": settings,
    "train_dataset": dataset,
    "processing_class": load_tokenizer(resolve_model(given.policy)),
}
if given.value:
    trainer = StepCreditTrainer(**options, step_credit=given.value, weight=0.5, question="question")
else:
    trainer = GRPOTrainer(**options)
trainer.train()
