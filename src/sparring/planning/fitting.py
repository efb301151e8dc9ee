"""Which way of placing a job on its devices fits, and how large its passes can be.

Contract: ways are tried from the fastest to the most frugal, and the first that fits is taken; what does not fit in any
way is refused with the parts that are too large and the nearest change that would fit. Not here: how long it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sparring.errors import SettingsError
from sparring.planning.hardware import DEVICES, Device, parse_gpus
from sparring.planning.memory import Numbers, Part, Training, count, gib, serving_per_token, total
from sparring.planning.settings import PlanSettings
from sparring.planning.shapes import Shape

MOST_TOKENS, SCORED_TOKENS = 65_536, 16_384
"""Of a pass in training and in scoring, where more would fit."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is planned, and on what."""

    shape: Shape
    settings: PlanSettings
    device: Device
    count: int

    @property
    def numbers(self) -> Numbers:
        """Type of forward passes."""
        return self.settings.dtype or ("float32" if self.device.name == "cpu" else "bfloat16")

    @property
    def width(self) -> int:
        """Bytes of such a number."""
        return 2 if self.numbers == "bfloat16" else 4

    @property
    def trains(self) -> bool:
        """Whether weights are moved."""
        return self.settings.job not in ("label", "score")

    @property
    def room(self) -> float:
        """Bytes that may be used of each device."""
        return self.device.memory * (1 - self.settings.reserve)

    @property
    def prompts(self) -> int:
        """What samples are shared by: states of a round, problems of an update, completions in all; a whole each."""
        s = self.settings
        return {"aprm": s.states_per_update, "rl": s.problems_per_update}.get(s.job, self.completions)

    @property
    def completions(self) -> int:
        """Solutions and rollouts of `label`: from their prefixes, and once per problem from the bare question."""
        s = self.settings
        return s.problems * (s.n_cov * (1 + s.n_mc * (s.steps - 1)) + s.n_mc)

    @property
    def texts(self) -> int:
        """What the passes of an update (of all scoring) are shared by: states, answers, traces; a whole each."""
        s = self.settings
        if s.job == "score":
            return s.traces
        answers = s.problems_per_update * s.samples_per_problem
        return {"aprm": s.states_per_update, "rl": answers}.get(s.job, s.batch_traces)

    @property
    def prm_row(self) -> int:
        """Tokens of a state's row for the PRM: question, solution, all rewrites."""
        return self.settings.trace_tokens + self.settings.samples_per_state * self.settings.step_tokens

    @property
    def adversary_row(self) -> int:
        """Tokens of a state's row for the adversary: question, half a solution, the step, all rewrites."""
        s = self.settings
        return s.prompt_tokens + s.answer_tokens // 2 + (1 + s.samples_per_state) * s.step_tokens


@dataclass(frozen=True, slots=True)
class Fit:
    """A placement that fits.

    Attributes:
        parts: bytes on each device.
        pass_tokens: tokens of a forward pass on a device.
        rows: texts (states of the game) in it.
        training: how it is trained; None where nothing is.
        sequences: that are decoded at once on each group of `split` devices; 0 where nothing is decoded.
        split: devices that one copy of an engine's weights is on.
    """

    parts: list[Part]
    pass_tokens: int
    rows: int
    training: Training | None = None
    sequences: int = 0
    split: int = 1


def fit(job: Job) -> Fit:
    """Return the first placement that fits.

    Raises:
        SettingsError: none does, layers are to be shared that cannot be, or texts are longer than the model takes.
    """
    settings, longest = job.settings, job.shape.positions
    if longest is not None and settings.trace_tokens > longest:
        raise SettingsError(
            f"texts of {settings.trace_tokens:,} tokens (prompt_tokens + steps × step_tokens), but {job.shape.name} takes "
            f"{longest:,}"
        )
    if job.trains and settings.sharding == "full":
        if job.count == 1:
            raise SettingsError("sharding=full needs more than one GPU (gpus)")
        if settings.adapter == "full":
            raise SettingsError("sharding=full needs adapter=lora: only frozen layers are shared")
    closest: list[Part] = []
    for parts, found in placements(job):
        if found is not None:
            return found
        if not closest or total(parts) < total(closest):
            closest = parts
    largest = max(closest, key=lambda part: part.size)
    raise SettingsError(
        f"{job.shape.name}, {job.settings.job}, does not fit {job.settings.gpus}: {gib(total(closest))} are needed on "
        f"each, {gib(job.room)} are there (largest: {largest.name}, {gib(largest.size)}); {remedy(job)}"
    )


def placements(job: Job) -> Iterator[tuple[list[Part], Fit | None]]:
    """Yield placements, from the fastest to the most frugal: what the smallest pass needs, and the fit if it does."""
    if not job.trains:
        for split in (n for n in (1, 2, 4, 8) if job.count % n == 0):
            yield reading(job, split)
        return
    given = job.settings.gradient_checkpointing
    ways = {"auto": (False, True), "none": (False,), "full": (True,)}[job.settings.sharding]
    for sharded in ways:
        if sharded and (job.count == 1 or job.settings.adapter == "full"):
            continue
        for checkpointing in (False, True) if given is None else (given,):
            yield training(job, checkpointing, job.count if sharded else 1)


def training(job: Job, checkpointing: bool, shards: int) -> tuple[list[Part], Fit | None]:
    """Return what the smallest pass of a training needs on each device, and the fit with the largest."""
    settings = job.settings
    game, policy = settings.job == "aprm", settings.job == "rl"
    plan = Training(
        job.shape,
        settings.adapter,
        settings.lora_rank,
        job.numbers,
        checkpointing,
        roles=4 if game else 2 if policy and settings.adapter == "full" else 1,
        trained=2 if game else 1,
        previous=2 if game else 0,
        moment_bytes=settings.optimizer_bits // 4,
        masked=game,
        policy_head=game or policy,
        shards=shards,
    )
    standing = plan.standing()
    scorer = job.shape.backbone
    values = [Part("the value model", scorer * job.width, f"{count(scorer)} × {job.width} B")] * policy
    standing += values
    row = max(job.prm_row, job.adversary_row) if game else settings.trace_tokens
    sampled = settings.samples_per_state * settings.step_tokens if game else settings.answer_tokens * policy
    free = job.room - total(standing)
    smallest = total(plan.pass_parts(1, row, sampled))
    # No more than an update has for each device.
    rows = -(-job.texts // job.count)
    rows = max(1, min(rows, (settings.pass_tokens or MOST_TOKENS) // row))
    if settings.pass_tokens is None:
        rows = min(rows, max(1, int(free // smallest)))
    parts = [*standing, *plan.pass_parts(rows, row, sampled)]
    sequences = 0
    if game:
        sequences = settings.samples_per_state * -(-job.prompts // job.count)
    elif policy:
        sequences = settings.samples_per_problem * -(-job.prompts // job.count)
        sequences = max(1, min(sequences, settings.max_sequences, int(free // _kv(job))))
    if sequences and shards > 1:
        parts = max(parts, [*plan.sampling_parts(sequences, row), *values], key=total)
    if total(parts) > job.room:
        return parts, None
    return parts, Fit(parts, rows * row, rows, plan, sequences, 1)


def reading(job: Job, split: int) -> tuple[list[Part], Fit | None]:
    """Return what scoring or decoding needs on each of the `split` devices that share a copy, and the fit."""
    shape, settings, groups = job.shape, job.settings, job.count // split
    scores, row = settings.job == "score", settings.trace_tokens
    whole = shape.backbone if scores else shape.parameters
    among = f" ÷ {split}" if split > 1 else ""
    parts = [Part("weights", whole * job.width / split, f"{count(whole)} × {job.width} B{among}")]
    per_token, said = serving_per_token(shape, job.numbers)
    free = job.room - total(parts)
    rows, sequences, tokens = 1, 0, settings.pass_tokens or 8192
    words = f"{tokens:,} tokens read at once"
    if scores:
        rows = max(1, min(-(-job.texts // groups), (settings.pass_tokens or SCORED_TOKENS) // row))
        if settings.pass_tokens is None:
            rows = min(rows, max(1, int(free // (row * per_token / split))))
        tokens, words = rows * row, f"{rows} × {row:,} tokens"
    parts.append(Part("activations", tokens * per_token / split, f"{words} × {said}{among}"))
    if not scores:
        most = min(settings.max_sequences, -(-job.prompts // groups))
        sequences = max(1, min(most, int((job.room - total(parts)) // (_kv(job) / split))))
        words = f"{sequences} sequences × {row:,} tokens × {shape.kv_bytes(job.width):,} B{among}"
        parts.append(Part("KV cache", sequences * _kv(job) / split, words))
    found = Fit(parts, tokens, rows, sequences=sequences, split=split)
    return parts, found if total(parts) <= job.room else None


def _kv(job: Job) -> float:
    """Return the bytes of keys and values of one whole text."""
    return job.settings.trace_tokens * job.shape.kv_bytes(job.width)


def fits(job: Job) -> bool:
    """Return whether any placement fits."""
    return any(found is not None for _, found in placements(job))


def remedy(job: Job) -> str:
    """Return the nearest changes of the settings that would fit, in words."""
    s, name = job.settings, parse_gpus(job.settings.gpus)[1]
    changes: list[tuple[str, Any, bool]] = [  # setting, other value, whether it would be another
        ("pass_tokens", None, s.pass_tokens is not None),
        ("gradient_checkpointing", None, s.gradient_checkpointing is False),
        ("sharding", "auto", s.sharding == "none"),
        ("adapter", "lora", job.trains and s.adapter == "full"),
    ]
    found = [
        f"{setting}={'null' if value is None else value}"
        for setting, value, other in changes
        if other and fits(replace(job, settings=s.model_copy(update={setting: value})))
    ]
    if name != "cpu":
        numbers = (job.count * 2**power for power in range(1, 13))
        more = (f"gpus={number}x{name}" for number in numbers if fits(replace(job, count=number)))
        larger = (
            f"gpus={job.count}x{device.name}"
            for device in sorted(DEVICES.values(), key=lambda one: one.memory)
            if s.memory_gib is None
            and device.memory > job.device.memory
            and fits(replace(job, device=device))
        )
        found += [words for words in (next(more, None), next(larger, None)) if words is not None]
    if found:
        return "it fits with " + " or ".join(found)
    return "shorter texts (prompt_tokens, steps, step_tokens) or a smaller model would"
