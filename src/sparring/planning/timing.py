"""How long a job takes: FLOPs over a rate of matrix products, bytes over a bandwidth, whichever is more.

Contract: a roofline with stated utilisations, not a measurement; every number says how it was computed. A stage is one
kind of work of a job, with the seconds that all devices together need for it. Not here: queues, stragglers and failures
(`simulation.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sparring.planning.fitting import Fit, Job
from sparring.planning.hardware import PER_MACHINE
from sparring.planning.memory import count, metric


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of work.

    Attributes:
        tokens: that go through a model in the whole job; for an oracle, verdicts.
        seconds: on all devices at once.
        waits: whether other work waits for it; an oracle on the host's other processors does not count.
    """

    name: str
    tokens: float
    seconds: float
    formula: str
    waits: bool = True

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds if self.seconds else float("inf")


def stages(job: Job, found: Fit) -> list[Stage]:
    """Return the stages of a job that fits."""
    return _STAGES[job.settings.job](job, found)


def at_work(groups: int, units: int) -> float:
    """Return how many groups of devices are at work on average, where units are dealt out that cannot be split."""
    return units / math.ceil(units / groups)


# --- what the stages are made of ---------------------------------------------------------------------------------------


def read(
    job: Job, found: Fit, name: str, tokens: float, context: float, *, units: int, passes: float = 0
) -> Stage:
    """Return a stage of forward passes over so many tokens.

    Args:
        units: that are dealt out to the devices at a time.
        passes: of each device over sharded weights.
    """
    flops = 2 * job.shape.multiplied + job.shape.attention_flops(context)
    devices = found.split * at_work(job.count // found.split, units)
    rate = job.device.flops * job.settings.reading_utilisation * devices
    said = (
        f"{count(tokens)} tokens × {metric(flops)}FLOP ÷ ({devices:.4g} × {metric(job.device.flops)}FLOP/s "
        f"× {job.settings.reading_utilisation})"
    )
    return _slower(job, found, Stage(name, tokens, tokens * flops / rate, said), passes, gathered=1)


def train(
    job: Job, found: Fit, name: str, tokens: float, context: float, *, passes: float, head: float = 0.0
) -> Stage:
    """Return a stage of forward and backward passes.

    Args:
        passes: of each device.
        head: share of the tokens that go through the output head.
    """
    plan, settings, shape = found.training, job.settings, job.shape
    assert plan is not None
    devices = at_work(job.count, job.texts)
    forward = 2 * shape.multiplied + shape.attention_flops(context) + head * 2 * shape.embedding
    factor = (3 if plan.adapter == "full" else 2) + plan.checkpointing
    adapters = 6 * shape.adapter(plan.rank) if plan.adapter == "lora" else 0
    seconds = tokens * (factor * forward + adapters)
    seconds /= job.device.flops * settings.training_utilisation * devices
    flops = f"{factor} × {metric(forward)}" + (f" + {metric(adapters)}" if adapters else "")
    said = (
        f"{count(tokens)} tokens × ({flops}) FLOP ÷ ({devices:.4g} × {metric(job.device.flops)}FLOP/s "
        f"× {settings.training_utilisation})"
    )
    return _slower(job, found, Stage(name, tokens, seconds, said), passes, gathered=2 + plan.checkpointing)


def _slower(job: Job, found: Fit, stage: Stage, passes: float, gathered: int) -> Stage:
    """Return a stage as it is, or as long as sharded layers need to arrive where that is longer: both overlap.

    Args:
        passes: of each device.
        gathered: how many times the layers are gathered in each of them.
    """
    plan = found.training
    if plan is None or plan.shards == 1:
        return stage
    each = gathered * plan.shape.layers * plan.shape.layer * job.width
    seconds = passes * each * (1 - 1 / plan.shards) / link(job)
    if seconds <= stage.seconds:
        return stage
    said = (
        f"{count(passes)} passes × {metric(each)}B of layers × (1 − 1/{plan.shards}) ÷ {metric(link(job))}B/s "
        "(arithmetic takes less)"
    )
    return Stage(stage.name, stage.tokens, seconds, said)


def sums(job: Job, found: Fit, updates: float) -> list[Stage]:
    """Return the stage in which devices sum their gradients after each update; none on one device."""
    plan = found.training
    if plan is None or job.count == 1:
        return []
    moved = 2 * plan.trained * plan.trainable * 4 * (1 - 1 / job.count)
    said = (
        f"{count(updates)} updates × 2 × {plan.trained} × {count(plan.trainable)} × 4 B × (1 − 1/{job.count}) ÷ "
        f"{metric(link(job))}B/s"
    )
    return [Stage("summing gradients", 0, updates * moved / link(job), said)]


def link(job: Job) -> float:
    """Return bytes/s between devices of the job: within a machine, or over the network."""
    return job.device.link if job.count <= PER_MACHINE else min(job.device.link, job.settings.network)


def step_seconds(job: Job, found: Fit, sequences: float, context: float, *, engine: bool) -> float:
    """Return seconds in which `split` devices decode one token for each of so many sequences.

    Args:
        context: tokens before the one that is decoded.
        engine: whether it is vLLM.
    """
    shape, settings, device = job.shape, job.settings, job.device
    weights = shape.multiplied + shape.embedding
    if shape.experts:  # of the experts those that any of the sequences chooses
        chosen = 1 - (1 - shape.experts_per_token / shape.experts) ** sequences
        experts = shape.experts * 3 * shape.width * shape.feed_forward
        weights = shape.layers * (shape.attention_weights + chosen * experts) + shape.embedding
    moved = weights * job.width + sequences * context * shape.kv_bytes(job.width)
    flops = sequences * (2 * (shape.multiplied + shape.embedding) + 2 * shape.attention_flops(context))
    seconds = max(
        moved / (found.split * device.bandwidth * settings.bandwidth_utilisation),
        flops / (found.split * device.flops * settings.reading_utilisation),
    )
    overhead = settings.step_overhead
    if overhead is None:
        overhead = 0.003 if engine else 0.025
    if found.split > 1:  # two sums over the devices per layer
        seconds += 2 * shape.layers * (1e-5 + sequences * shape.width * job.width / device.link)
    return seconds + overhead


def decode(job: Job, found: Fit, name: str, tokens: float, context: float, *, engine: bool) -> Stage:
    """Return a stage of decoding so many tokens, after so many others on average."""
    sequences = max(1, found.sequences)
    each = step_seconds(job, found, sequences, context, engine=engine)
    groups = at_work(job.count // found.split, job.prompts)
    seconds = tokens / (groups * sequences) * each
    said = f"{count(tokens)} tokens ÷ ({groups:.4g} × {sequences} at once) × {each * 1e3:.3g} ms"
    return Stage(name, tokens, seconds, said)


def oracle(job: Job, verdicts: float) -> Stage:
    """Return the oracle's stage, on one processor; its seconds are processor seconds and wait for nobody."""
    seconds = verdicts * job.settings.oracle_seconds
    said = f"{count(verdicts)} verdicts × {job.settings.oracle_seconds:g} s (one processor, beside the rest)"
    return Stage("oracle", verdicts, seconds, said, waits=False)


# --- the jobs ------------------------------------------------------------------------------------------------------------


def _passes(job: Job, found: Fit, updates: float, texts: float) -> float:
    """Return the passes of each device in so many updates of so many texts each."""
    return updates * math.ceil(texts / (found.rows * job.count))


def _supervised(job: Job, found: Fit) -> list[Stage]:
    s = job.settings
    texts = s.traces * s.epochs
    passes = _passes(job, found, texts / s.batch_traces, s.batch_traces)
    return [
        train(job, found, "training", texts * s.trace_tokens, s.trace_tokens, passes=passes),
        *sums(job, found, texts / s.batch_traces),
    ]


def _score(job: Job, found: Fit) -> list[Stage]:
    s = job.settings
    return [read(job, found, "scoring", s.traces * s.trace_tokens, s.trace_tokens, units=job.texts)]


def _label(job: Job, found: Fit) -> list[Stage]:
    s = job.settings
    answers = s.problems * s.n_cov * s.answer_tokens
    # From the prefix after step i a rollout writes what is left: 1 − i/steps of an answer, i = 1 … steps − 1.
    # From the bare question, once per problem, it writes a whole one.
    rollouts = answers * s.n_mc * (s.steps - 1) / 2 + s.problems * s.n_mc * s.answer_tokens
    prompts = s.problems * s.prompt_tokens + answers
    context = s.prompt_tokens + s.answer_tokens / 2
    return [
        read(job, found, "reading prefixes", prompts, s.trace_tokens, units=job.prompts),
        decode(job, found, "rollouts", answers + rollouts, context, engine=job.device.name != "cpu"),
        oracle(job, job.completions),
    ]


def _aprm(job: Job, found: Fit) -> list[Stage]:
    s = job.settings
    states = s.updates * s.states_per_update
    written = states * s.samples_per_state * s.step_tokens
    asked = states * (job.adversary_row - s.samples_per_state * s.step_tokens)
    own, prm = states * job.adversary_row, states * job.prm_row
    passes = _passes(job, found, s.updates, s.states_per_update)
    return [
        read(job, found, "reading prompts", asked, job.adversary_row, units=job.prompts, passes=s.updates),
        decode(job, found, "rewrites", written, job.adversary_row, engine=False),
        oracle(job, states * s.samples_per_state),
        train(job, found, "the PRM's updates", prm, job.prm_row, passes=passes),
        train(
            job, found, "the adversary's updates", own, job.adversary_row, passes=passes, head=written / own
        ),
        read(job, found, "both references", prm + own, job.prm_row, units=job.texts, passes=2 * passes),
        *sums(job, found, s.updates),
    ]


def _rl(job: Job, found: Fit) -> list[Stage]:
    s = job.settings
    each = s.problems_per_update * s.samples_per_problem
    answers = s.updates * each
    tokens, asked = answers * s.trace_tokens, s.updates * s.problems_per_update * s.prompt_tokens
    context, share = s.prompt_tokens + s.answer_tokens / 2, s.answer_tokens / s.trace_tokens
    passes = _passes(job, found, s.updates, each)
    return [
        read(job, found, "reading prompts", asked, s.prompt_tokens, units=job.prompts, passes=s.updates),
        decode(job, found, "answers", answers * s.answer_tokens, context, engine=False),
        oracle(job, answers),
        # The value model is whole on every device.
        read(job, replace(found, training=None), "the value model", tokens, s.trace_tokens, units=job.texts),
        read(job, found, "the reference", tokens, s.trace_tokens, units=job.texts, passes=passes),
        train(job, found, "the policy's updates", tokens, s.trace_tokens, passes=passes, head=share),
        *sums(job, found, s.updates),
    ]


_STAGES = {
    "aprm": _aprm,
    "prm": _supervised,
    "orm": _supervised,
    "value": _supervised,
    "rl": _rl,
    "label": _label,
    "score": _score,
}
