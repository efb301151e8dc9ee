"""An Inspect task: best-of-N by a PRM beside the mean over the same answers.

    inspect eval examples/inspect_best_of_n.py --model openai/gpt-4o-mini -T prm=models/prm -T data=problems.jsonl -T n=8

`data` is a file of problems with reference answers in any format that Sparring reads. Needs Inspect (docs/plugins.md).
"""

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate

from sparring.contrib.inspect_ai import prm_best, prm_vote, with_prm
from sparring.traces import read_problems_as


@task
def best_of_n(prm: str, data: str, n: int = 8) -> Task:
    """Choose one of n answers to each problem."""
    problems = read_problems_as(data).problems
    samples = [
        Sample(input=problem.question, target=problem.answer or "", id=problem.id) for problem in problems
    ]
    return Task(
        dataset=MemoryDataset(samples),
        solver=generate(),
        scorer=with_prm(match(numeric=True), prm),
        epochs=Epochs(n, [prm_best(), prm_vote(), "mean"]),
    )
