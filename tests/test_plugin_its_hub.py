"""its_hub's own searches with our PRM: the real package, with a language model that has its lines by heart."""

from __future__ import annotations

import asyncio

import pytest

hub = pytest.importorskip("its_hub", reason="the adapter is tested where its_hub is installed (make plugins)")

api = pytest.importorskip("its_hub.api")

from plugin_parts import Broken, Spoken, number
from sparring.contrib.its_hub import SparringORM, SparringPRM
from sparring.errors import DataError


def algorithms(name: str):
    return pytest.importorskip(f"its_hub.core.algorithms.{name}")


class Reciter(hub.AbstractLanguageModel):
    """Goes on with the next of its steps; each call takes another column."""

    def __init__(self, *lines: list[str]) -> None:
        self.lines, self.calls = lines, 0

    async def agenerate(self, messages, stop=None, **options):
        if not isinstance(messages[0], list):
            return await self.agenerate_single(messages, stop, **options)
        return [await self.agenerate_single(one, stop, **options) for one in messages]

    async def agenerate_single(self, messages, stop=None, **options):
        said = messages[-1].content if messages[-1].role == "assistant" else ""
        depth = len([line for line in said.split("\n") if line])
        self.calls += 1
        if stop is None:
            return {
                "role": "assistant",
                "content": "\n".join(row[self.calls % len(row)] for row in self.lines),
            }
        row = self.lines[min(depth, len(self.lines) - 1)]
        return {"role": "assistant", "content": row[self.calls % len(row)]}


LINES = (["a {0.9}", "a {0.2}"], ["b {0.8} end", "b {0.3} end"])


def test_scores_are_one_per_solution_so_far():
    prm = SparringPRM(Spoken())
    assert prm.score("q", ["a {0.9}", "a {0.9}\nb {0.1}"]) == [0.9, 0.1]
    assert prm.score("q", "a {0.7}") == 0.7
    chat = [api.ChatMessage(role="system", content="s"), api.ChatMessage(role="user", content="q")]
    assert asyncio.run(prm.ascore(chat, ["a {0.4}"])) == [0.4]
    assert asyncio.run(prm.ascore(api.ChatMessages("q"), ["a {0.4}"])) == [0.4]
    assert prm.rewards.scorer.asked[-1].problem.question == "q"
    orm = SparringORM(Spoken())
    talk = [*chat, api.ChatMessage(role="assistant", content="a {0.3}")]
    assert orm.score(talk) == 0.3 and orm.score([talk, talk]) == [0.3, 0.3]
    with pytest.raises(DataError, match="NaN"):
        SparringPRM(Broken()).score("q", ["a"])
    with pytest.raises(DataError, match="no message of the user"):
        prm.score([api.ChatMessage(role="system", content="s")], ["a"])


def test_its_beam_search_goes_by_our_scores():
    steps = pytest.importorskip("its_hub.core.lms.step_generation")
    generation = steps.StepGeneration(max_steps=2, step_token="\n", stop_token="end", temperature=1.0)
    scorer = Spoken()
    search = algorithms("beam_search").BeamSearch(generation, SparringPRM(scorer), beam_width=1)
    found = asyncio.run(search.ainfer(Reciter(*LINES), "q", budget=2, return_response_only=False))
    assert found.the_one["content"].startswith("a {0.9}") and {
        trace.problem.question for trace in scorer.asked
    } == {"q"}
    for response, score in zip(found.responses, found.scores, strict=True):
        assert score == min(number(step) for step in response["content"].split("\n"))


def test_its_particles_take_our_scores():
    module = algorithms("particle_gibbs")
    steps = pytest.importorskip("its_hub.core.lms.step_generation")
    generation = steps.StepGeneration(max_steps=2, step_token="\n", stop_token="end", temperature=1.0)
    filtering = module.ParticleFiltering(generation, SparringPRM(Spoken()))
    found = asyncio.run(filtering.ainfer(Reciter(*LINES), "q", budget=4))
    assert "a {" in found["content"]


def test_its_best_of_n_takes_our_prm_as_outcome():
    search = algorithms("bon").BestOfN(SparringORM(Spoken()))
    found = asyncio.run(search.ainfer(Reciter(["a {0.9}", "a {0.2}"]), "q", budget=4))
    assert found["content"] == "a {0.9}"
