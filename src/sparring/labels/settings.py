"""Settings of `sparring label`, and of every command that lets a policy solve problems (`SolverSettings`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sparring.labels.allocation import Adaptive, Allocation, Uniform
from sparring.models import TINY_POLICY
from sparring.models.prompts import PromptSettings
from sparring.oracles.members import OracleMembers
from sparring.rollouts.engine import Limits, ServerKind
from sparring.settings import MANY, Settings
from sparring.settings_shared import Device, Seeded
from sparring.worlds.chain import IN_DISTRIBUTION
from sparring.worlds.subject import WorldText, world_of
from sparring.worlds.world import World

USUAL_NEW_TOKENS = 128


class ServerSettings(Settings):
    """How to speak to policies that are servers."""

    model: str = "default"
    """The model's name on the server."""
    kind: ServerKind = "vllm"
    """What the server is; decides how plain sampling is asked for (docs/engines.md)."""
    tokenizer: str | None = None
    """Folder or hub name of the model's tokenizer: prompts are then sent as token ids (vLLM, llama.cpp)."""
    concurrency: int = Field(32, gt=0)
    """Requests in flight."""
    choices_per_request: int = Field(1, gt=0)
    """Completions asked for at once; 1 lets every completion have a seed of its own."""
    timeout: float = Field(300.0, gt=0)
    """Seconds to wait for one answer."""
    retries: int = Field(6, ge=0)
    """Further tries of a request after a failure that may pass."""
    key_variable: str | None = None
    """Environment variable that holds the server's API key."""


class PolicySettings(PromptSettings):
    """How a policy is asked, and what of its writing is no step."""

    think: Literal["steps", "apart"] = "steps"
    """What a policy writes between `think_tags`: `steps` like all else, or kept `apart`: no step, never scored, and no
    answer is read from it."""
    think_tags: tuple[str, str] = ("<think>", "</think>")
    """What opens and closes thinking."""
    stop: tuple[str, ...] = ()
    """Texts at which a solution ends, such as the beginning of another exercise."""

    @field_validator("think_tags")
    @classmethod
    def _check_tags(cls, tags: tuple[str, str]) -> tuple[str, str]:
        if not all(tag.strip() for tag in tags) or tags[0] == tags[1]:
            raise ValueError("two different texts are needed")
        return tags

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("a stop text is not empty")
        return stop

    @property
    def thinking(self) -> tuple[str, str] | None:
        """The tags between which nothing is a step; None: all is."""
        return self.think_tags if self.think == "apart" else None


class SolverSettings(PolicySettings, Seeded, Device):
    """Who solves which problems, and who judges the answers."""

    policy: str = TINY_POLICY
    """Who writes solutions: model folder, hub name, a server's address (`http://…/v1`), or `vllm:FOLDER` for vLLM in this
    process (docs/engines.md)."""
    server: ServerSettings = ServerSettings()
    """How to speak to policies that are servers."""
    data: str | None = None
    """File of problems with reference answers, for `sparring label` also of solutions; without one, problems of the world
    `task` are made."""
    data_format: str = "auto"
    """Format of `data`: `auto`, or a name from docs/data-formats.md."""
    problems: int | None = Field(None, gt=0, le=MANY)
    """Use only the first so many problems; of a world, make so many (without it, 100)."""
    task: WorldText = "chain"
    """World of the problems, with its dials (`countdown:numbers=4`; docs/worlds.md)."""
    chain_steps: tuple[int, int] = IN_DISTRIBUTION
    """Fewest and most definitions of a chain-world problem: its difficulty."""
    checker: Literal["auto", "chain", "world", "answer"] = "auto"
    """Who judges answers: the world `task` (`chain` is the same for the chain world), or equality with the reference
    answer; `auto` is the latter for problems of `data`, unless `task` is another world than `chain`."""
    last_number: bool = True
    """Where a solution states no answer, take the last number of its last step (`answer`)."""
    row_budget: int = Field(256, gt=0)
    """Completions in flight at once in this process. Does not change results."""

    @model_validator(mode="after")
    def _check_world(self) -> Self:
        if self.chain_steps[0] < 1 or self.chain_steps[0] > self.chain_steps[1]:
            raise ValueError("chain_steps are the fewest and the most, at least 1")
        if self.checker == "chain" and self.task.partition(":")[0] != "chain":
            raise ValueError(f"checker: chain judges answers of the chain world, and task is {self.task}")
        world_of(self.task, self.chain_steps)  # raises where they do not fit
        return self

    @property
    def world(self) -> World:
        """The world `task`, with `chain_steps`."""
        return world_of(self.task, self.chain_steps)

    @property
    def judged_by_world(self) -> bool:
        """Whether the world judges answers."""
        if self.checker == "auto":
            return self.data is None or self.task != "chain"
        return self.checker != "answer"


class LabelSettings(SolverSettings):
    """Settings of `sparring label`."""

    # Who finishes, and what is labelled
    prover: str = "base"
    """Under whom values are measured: `base`, `best-of-K` (of the policy, by the closed form), or another policy."""
    cover_with: Literal["policy", "prover"] = "policy"
    """Who writes the solutions that are labelled (the paper: the policy for its value model, the prover for a PAV)."""
    keep_annotations: bool = False
    """Keep GSM8K's `<<48/2=24>>` in the steps of given solutions."""
    solutions: Literal["sample", "given"] = "sample"
    """`sample`: label `n_cov` new solutions per problem; `given`: label the solutions in `data`."""

    # How
    mode: Literal["montecarlo", "binary_search", "first_pit", "oracle"] = "montecarlo"
    """Values of all prefixes, the first error by binary search, the paper's first pits, or an oracle's word on every step,
    which needs no rollout."""
    oracle: OracleMembers = Field(["arithmetic", "reference"])
    """`mode: oracle` only: members of the panel that judges steps of problems in `data`; a world has its own oracle."""
    n_cov: int = Field(4, gt=0)
    """Solutions per problem."""
    n_mc: int = Field(8, gt=0)
    """Rollouts per prefix; with `adaptive`, see `adaptive_most`."""
    label: Literal["soft", "hard", "posterior_mean"] = "soft"
    """Label of a step: share of right rollouts, 1 or 0 by `threshold`, or the mean of the Beta posterior."""
    threshold: float = Field(0.0, ge=0, lt=1)
    """A hard label is 1 where the value is above it; 0 is Math-Shepherd's: any rollout is right."""
    adaptive: bool = False
    """Give rollouts only while the hard label is undecided."""
    adaptive_first: int = Field(4, gt=0)
    """Rollouts of a prefix's first round."""
    adaptive_round: int = Field(4, gt=0)
    """Rollouts of each further round."""
    adaptive_most: int | None = Field(None, gt=0)
    """Rollouts after which an undecided prefix is left as it is; without it, `n_mc`."""
    adaptive_confidence: float = Field(0.9, gt=0.5, lt=1)
    """Posterior probability of one side of the threshold at which a label is decided."""
    pit_from_value: float = Field(0.25, ge=0, le=1)
    """Least value of a question whose wrong solutions are followed to their first pit."""
    pit_samples: int = Field(20, gt=0)
    """Rollouts per prefix in the end, for the prefixes up to the pit."""

    # Rollouts
    max_new_tokens: int | None = Field(None, gt=0)
    """Longest completion; one that reaches it counts as wrong, and is counted. Without it 128, or what a prefix leaves of
    the policy's positions."""
    temperature: float = Field(1.0, ge=0)
    """Of the sampling; 0 is greedy, and then one rollout says all."""
    batch: int = Field(64, gt=0)
    """Prefixes per call of the engine; a kill loses at most the calls in progress. Does not change results."""

    @model_validator(mode="after")
    def _check(self) -> LabelSettings:
        if self.solutions == "given" and self.data is None:
            raise ValueError("solutions=given needs `data`")
        if self.mode == "first_pit" and self.pit_samples < self.n_mc:
            raise ValueError("pit_samples must be at least n_mc: pits are looked for with n_mc rollouts")
        parse_prover(self.prover)
        return self

    @property
    def best_of(self) -> int:
        """K of a best-of-K prover, else 1."""
        return parse_prover(self.prover).best_of

    def limits(self) -> Limits:
        """Return how completions are sampled."""
        return Limits.wanted(self.max_new_tokens, USUAL_NEW_TOKENS, self.temperature, self.thinking)

    def allocation(self) -> Allocation:
        """Return how rollouts are given to prefixes."""
        if not self.adaptive:
            return Uniform(self.n_mc)
        # Search modes ask whether a prefix is alive. A threshold on 1 − (1 − Q)^K is one on Q.
        alive_only = self.mode != "montecarlo"
        threshold = 0.0 if alive_only else 1 - (1 - self.threshold) ** (1 / self.best_of)
        return Adaptive(
            threshold,
            self.adaptive_most or self.n_mc,
            self.adaptive_first,
            self.adaptive_round,
            self.adaptive_confidence,
        )


@dataclass(frozen=True, slots=True)
class Prover:
    """Who finishes prefixes: another policy or the base one (None), taken as the best of K of itself."""

    policy: str | None
    best_of: int


def parse_prover(text: str) -> Prover:
    """Return the prover that a setting names.

    Raises:
        ValueError: K is missing or below 2, or the text is empty.
    """
    if text.startswith("best-of-"):
        match = re.fullmatch(r"best-of-(\d{1,6})", text)
        if match is None or int(match[1]) < 2:
            raise ValueError(f"a best-of-K prover is written best-of-4, got {text!r}")
        return Prover(None, int(match[1]))
    if not text.strip():
        raise ValueError("prover is `base`, `best-of-K` or a policy")
    return Prover(None if text == "base" else text, 1)
