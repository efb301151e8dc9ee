"""its_hub's beam search with our PRM and a policy in this process.

    python examples/its_hub_beam.py --prm runs/demo/aprm/prm

Needs its_hub (docs/plugins.md). With a policy on a server take its_hub's own `OpenAICompatibleLanguageModel`.
"""

import argparse
import asyncio

from its_hub.api import AbstractLanguageModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.lms.step_generation import StepGeneration

from sparring.contrib.its_hub import SparringPRM
from sparring.labels.provers import load_engine
from sparring.labels.settings import LabelSettings
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.traces.records import Problem
from sparring.worlds.chain import generate_problems

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--prm", required=True, help="folder or address of a PRM")
parser.add_argument("--policy", default="tiny-chain-policy")
parser.add_argument("--budget", type=int, default=8)
given = parser.parse_args()


class Policy(AbstractLanguageModel):
    """Writes the next step of every conversation."""

    def __init__(self, name):
        self.engine, self.calls = load_engine(name, LabelSettings()), 0

    async def agenerate(self, messages, stop=None, **options):
        """Return the next step of one conversation, or of each."""
        if not isinstance(messages[0], list):
            return (await self.agenerate([messages], stop))[0]
        self.calls += 1
        prefixes = [
            Prefix(Problem("1", one[0].content), split_completion(one[1].content) if len(one) > 1 else ())
            for one in messages
        ]
        limits = Limits(max_new_tokens=32, temperature=1.0)
        seeds = [1000 * self.calls + place for place in range(len(prefixes))]
        found = await asyncio.to_thread(
            self.engine.sample, prefixes, 1, limits=limits, seeds=seeds, stop=(stop or "\n",)
        )
        texts = [group[0].text + (" <end>" if group[0].finish == "end" else "") for group in found]
        return [{"role": "assistant", "content": text or "<end>"} for text in texts]


problem = generate_problems(1, steps=(3, 3), seed=1)[0]
steps = StepGeneration(max_steps=6, step_token="\n", stop_token="<end>", temperature=1.0)  # noqa: S106
search = BeamSearch(steps, SparringPRM(given.prm), beam_width=2)
answer = asyncio.run(search.ainfer(Policy(given.policy), problem.question, budget=given.budget))
print(problem.question, answer["content"], f"(right: {problem.answer})", sep="\n")
