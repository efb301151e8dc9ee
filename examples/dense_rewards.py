"""What verl and AReaL are given: a reward for every token of an answer, on the last token of each step.

    python examples/dense_rewards.py --prm runs/demo/aprm/prm --reward cost

verl's manager adds the outcome on the last token (`sparring.contrib.verl`), AReaL takes the row as it is
(`sparring.contrib.areal`); docs/plugins.md has their settings.
"""

import argparse

from sparring.contrib.dense import DenseRewards
from sparring.models.loading import load_tokenizer, resolve_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--prm", required=True, help="folder or address of a PRM")
parser.add_argument("--policy", default="tiny-chain-policy", help="folder of the policy's tokenizer")
parser.add_argument("--reward", default="cost", choices=["cost", "score", "progress"])
given = parser.parse_args()

tokenizer = load_tokenizer(resolve_model(given.policy))
question = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
ids = tokenizer.encode("c = b + 5 = 7 + 5 , c is 12 \n d = c * b = 12 * 7 , d is 5", add_special_tokens=False)
row = DenseRewards(given.prm, reward=given.reward).row(question, ids, tokenizer)
for index, reward in zip(ids, row, strict=True):
    print(f"{reward:7.3f}" if reward else "      .", repr(tokenizer.decode([index])))
