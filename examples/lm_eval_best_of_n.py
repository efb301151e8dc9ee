"""lm-evaluation-harness: one of a task's repeated answers by a PRM, beside the first answer.

    python examples/lm_eval_best_of_n.py --prm runs/demo/aprm/prm

The task is made of problems of the chain world, and the model is the tiny policy; any task with `repeats` and `filter_list`
takes the same filter. Needs lm-eval (docs/plugins.md).
"""

import argparse
import json
import tempfile
from pathlib import Path

import lm_eval

import sparring.contrib.lm_eval  # noqa: F401 (makes the filter known)
from sparring.models.loading import resolve_model
from sparring.worlds.chain import generate_problems

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--prm", required=True, help="folder or address of a PRM")
parser.add_argument("--policy", default="tiny-chain-policy")
parser.add_argument("--problems", type=int, default=8)
parser.add_argument("--n", type=int, default=4)
given = parser.parse_args()

folder = Path(tempfile.mkdtemp())
records = [
    {"question": problem.question, "answer": problem.answer}
    for problem in generate_problems(given.problems, steps=(2, 3), seed=0)
]
(folder / "problems.jsonl").write_text(
    "".join(json.dumps(record) + "\n" for record in records), encoding="utf-8"
)
answer = {"function": "regex", "regex_pattern": r"is (\d+)\s*$", "group_select": -1}
task = {
    "task": "chain",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(folder / "problems.jsonl")}, "cache_dir": str(folder / "cache")},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}} \n ",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["<end>"], "do_sample": True, "temperature": 1.0, "max_gen_toks": 64},
    "repeats": given.n,
    "filter_list": [
        {"name": "prm", "filter": [{"function": "sparring_choose", "prm": given.prm}, answer, {"function": "take_first"}]},
        {"name": "first", "filter": [{"function": "take_first_k", "k": 1}, answer, {"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
policy = f"pretrained={resolve_model(given.policy)},dtype=float32"
found = lm_eval.simple_evaluate(model="hf", model_args=policy, tasks=[task], bootstrap_iters=0, device="cpu")
print({name: value for name, value in found["results"]["chain"].items() if name.startswith("exact_match")})
