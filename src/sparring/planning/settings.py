"""Settings of `sparring plan`; every field's text is its help.

Contract: names that training, labelling and scoring have mean the same here. What nobody measured is a setting with its
source in its text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sparring.planning.hardware import DEVICES
from sparring.settings import MANY, Settings
from sparring.settings_shared import Seeded

Job = Literal["aprm", "prm", "orm", "value", "rl", "label", "score"]


class PlanSettings(Seeded, Settings):
    """Settings of `sparring plan`."""

    job: Job = "prm"
    """What is planned: `train aprm`, `train prm`, `train orm`, `train value`, `train rl`, `label` or `score`."""
    gpus: str = "1xH100"
    """How many of which, such as `8xH100`: H100, H200, A100-40, A100-80, L40S, B200, 4090, MI300X; or `cpu`, this machine's
    processor, whose matrix products are timed for half a second."""

    # Model
    adapter: Literal["lora", "full"] = "lora"
    """As in training: adapters on a frozen backbone, or all weights."""
    lora_rank: int = Field(16, gt=0)
    """Rank of the adapters."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Type of frozen weights and of forward passes; null: bfloat16, on `cpu` float32."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass; null: where a job does not fit without."""
    sharding: Literal["auto", "none", "full"] = "auto"
    """Split the layers of a frozen backbone over all GPUs (FSDP2; with `adapter: lora`): `full`, `none`, or where it does
    not fit without."""
    optimizer_bits: Literal[32, 8] = 32
    """Bits of Adam's two moments."""

    # Texts
    prompt_tokens: int = Field(200, gt=0, le=MANY)
    """Tokens of a question with all that stands around it."""
    steps: int = Field(8, gt=0)
    """Steps of a solution."""
    step_tokens: int = Field(40, gt=0, le=MANY)
    """Tokens of a step."""

    # Amount of work
    traces: int = Field(100_000, gt=0, le=MANY)
    """Traces to train on (`prm`, `orm`, `value`) or to score."""
    epochs: int = Field(1, gt=0)
    """Passes over them in training."""
    batch_traces: int = Field(32, gt=0)
    """Traces per update, on all GPUs together."""
    problems: int = Field(10_000, gt=0, le=MANY)
    """Problems to label."""
    n_cov: int = Field(4, gt=0)
    """Solutions per problem that are labelled."""
    n_mc: int = Field(8, gt=0)
    """Rollouts per prefix."""
    updates: int = Field(200, gt=0)
    """Updates of `aprm` and `rl`."""
    states_per_update: int = Field(32, gt=0)
    """States per round of the game."""
    samples_per_state: int = Field(4, gt=0)
    """Rewrites per state."""
    problems_per_update: int = Field(64, gt=0)
    """Problems per update of `rl`."""
    samples_per_problem: int = Field(8, gt=1)
    """Answers per problem of `rl`."""

    # Memory
    pass_tokens: int | None = Field(None, gt=0, le=MANY)
    """Tokens of a forward pass on one GPU, padding included (`token_budget`, `tokens_per_pass`, and by `states_per_pass`);
    null: as many as fit, at most 65,536."""
    reserve: float = Field(0.1, ge=0, lt=1)
    """Share of the memory that stays free: context, fragments."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory of a GPU instead of the table's."""
    max_sequences: int = Field(256, gt=0)
    """Most sequences that an engine decodes at once."""

    # Assumptions on speed
    flops: float | None = Field(None, gt=0, le=1e30)
    """FLOP/s of matrix products instead of the maker's, or of the processor's measured."""
    training_utilisation: float = Field(0.4, gt=0, le=1)
    """Share of that rate that training reaches; 0.38 to 0.43 is reported for Llama 3 405B (arXiv 2407.21783, table 4)."""
    reading_utilisation: float = Field(0.5, gt=0, le=1)
    """The same for forward passes alone: scoring, reading prompts. An assumption."""
    bandwidth_utilisation: float = Field(0.6, gt=0, le=1)
    """Share of the memory's bandwidth that decoding reaches. An assumption."""
    step_overhead: float | None = Field(None, ge=0)
    """Seconds per decoded token that are neither arithmetic nor memory; null: 0.003 in vLLM, 0.025 in this process
    (assumptions)."""
    network: float = Field(50e9, gt=0, le=1e30)
    """Bytes/s of each GPU to other machines, in one direction; 50e9 is a 400 Gbit/s adapter per GPU."""
    oracle_seconds: float = Field(0.0004, ge=0)
    """Processor seconds of the oracle per verdict; the default panel took 0.0004 on a quiet core (docs/results.md)."""

    # Cost and failures
    price: float | None = Field(None, ge=0)
    """Price of one GPU for an hour, in any currency."""
    gpu_hours_between_failures: float = Field(50_000, gt=0, le=MANY)
    """GPU hours per failure that stops a job: 419 in 54 days of 16,384 GPUs (arXiv 2407.21783, section 3.3.4)."""
    restart_minutes: float = Field(10, ge=0)
    """From a failure to work again, with what is lost of it."""

    # Simulation
    simulations: int = Field(3, gt=0, le=100)
    """Runs of the simulation; the middle one and the range are shown."""
    length_spread: float = Field(0.6, ge=0, le=2)
    """Standard deviation of the logarithm of solutions' lengths; at 0.6 one in a hundred is four times the median."""
    slow_share: float = Field(0.02, ge=0, le=1)
    """Share of the engines that are slower than the others."""
    slow_factor: float = Field(1.5, ge=1)
    """By what."""
    in_flight: int = Field(4, gt=0)
    """Tasks that are read ahead, per place of an engine: results leave in order, and no more wait for the oldest."""
    oracle_processors: int = Field(8, gt=0)
    """Processors for the oracle."""
    staleness: Literal[0, 1] = 0
    """1: the next update's answers are sampled while this one trains."""

    @field_validator("gpus", mode="before")
    @classmethod
    def _of_which(cls, value: Any) -> Any:
        if isinstance(value, int):  # as YAML reads a bare number
            if str(value) in DEVICES:
                return str(value)
            raise ValueError(f"how many of which, such as {value}xH100")
        return value

    @model_validator(mode="after")
    def _check(self) -> PlanSettings:
        if self.job == "aprm" and self.samples_per_state < 2:
            raise ValueError("samples_per_state is at least 2 in the game")
        return self

    @property
    def answer_tokens(self) -> int:
        """Tokens of a solution."""
        return self.steps * self.step_tokens

    @property
    def trace_tokens(self) -> int:
        """Tokens of a question and its solution."""
        return self.prompt_tokens + self.answer_tokens
