"""Reinforcement learning of a policy with step rewards: `sparring train rl`.

One update, for a batch of problems:

1. the policy answers every problem several times, through an engine on its own weights, which are thus always in step;
2. a checker says which answers are right; a PRM, a value model or rollouts of a frozen prover score their steps;
3. a credit rule turns outcome and step scores into one advantage per *token* (`credit.py`);
4. the policy takes a step on  importance ratio · advantage (PPO-clip, or plain) − kl · KL(policy ‖ reference)
   + entropy · H, averaged over sampled tokens. Ratios are per token, to the log-probabilities that the engine sampled
   with; KL and entropy are exact sums over the vocabulary.

Every few updates held-out problems are answered, and the run stops and says why if the PRM's reward has risen while
verified accuracy has fallen (`rl_monitors.py`).

Contract: a run directory with `log.jsonl` (a record per update), `watch.jsonl` (a record per evaluation), `checkpoint/`
(resume after any kill with the same result), and in the end `policy/` (a Hugging Face folder) and `metrics.json`. All
randomness is a function of (seed, update). Prompts and padding never carry reward; what cut answers get says `cut_answers`.
The engine is the policy itself, or one that is given its weights (`engine_beside.py`), one update ahead where asked for
(`rollout_ahead.py`). Several processes share problems, scoring and the rows of an update (`processes.py`); every one knows
all answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from sparring.labels.command import show_doubts
from sparring.models.batching import SHORTEST, length_sorted_batches
from sparring.models.loading import load_policy
from sparring.models.prompts import layout_for, prompt_digest
from sparring.models.roles import Policy, Row
from sparring.rollouts.engine import Prefix
from sparring.runs import Metric
from sparring.scorers.door import record_of
from sparring.settings_shared import seed_from
from sparring.training.credit import Floats, outcome_advantages, token_advantages
from sparring.training.engine_beside import OtherEngine, Trained, engine_beside
from sparring.training.part import Part, adam
from sparring.training.policy_gradient import (
    categorical_entropy,
    categorical_kl,
    clipped_surrogate,
    update_size,
)
from sparring.training.processes import (
    gathered,
    in_processes,
    in_step,
    is_main,
    share,
    summed,
)
from sparring.training.rl_monitors import (
    evaluation_metrics,
    evaluation_record,
    hacked,
    text_statistics,
)
from sparring.training.rl_scores import (
    Answer,
    PrmScores,
    StepScores,
    above_prefixes,
    credit_rule,
    gate_scores,
    load_gate,
    load_scores,
    rewards_of,
    served,
    values_of,
)
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import Rollouts, Sampler, Subject, load_subject
from sparring.training.run import (
    Progress,
    TrainingRun,
    kept_on_failure,
    peak_memory,
    prepare,
    random_for,
    role_options,
    show_left_out,
    step_bar,
)
from sparring.training.states import Tensors
from sparring.worlds.subject import TEXT
from sparring.worlds.world import require_words


@dataclass(kw_only=True)
class Run(TrainingRun):
    """Everything that a run of reinforcement learning holds in memory.

    The reference is the policy's folder as it was at the start, so it is loaded again and not kept in checkpoints.

    Attributes:
        samples, tokens: answers so far, and tokens that were sampled or trained on.
    """

    counters = ("step", "samples", "tokens")

    settings: RlSettings
    subject: Subject
    policy: Policy
    sampler: Sampler
    rollouts: Rollouts
    scores: StepScores | None
    gate: PrmScores | None
    samples: int = 0
    tokens: int = 0

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the problems, and of the texts that the policy, and a prover, are prompted with; scoring servers."""
        prover = getattr(self.scores, "engine", None)
        prompt = prompt_digest(self.sampler.layout, getattr(prover, "layout", None))
        servers = served(self.settings, prm=self.scores, gate=self.gate).items()
        named = "; ".join(f"{name}: {scorer.identity.key}" for name, scorer in servers)
        return {"digest": self.subject.digest, "prompt": prompt} | ({"servers": named} if named else {})

    def values(self) -> dict[str, Any]:
        """Return the answers that are ahead."""
        return self.rollouts.values()

    def by_present_names(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a checkpoint's settings; cut answers were left out when there was no such setting."""
        return {"cut_answers": "left_out"} | dict(settings)

    def take(self, values: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
        """Take over the answers that are ahead."""
        self.rollouts.restore(values)
        return {}

    def save(self) -> None:
        """Write everything that resuming needs."""
        # Waiting for the answers that are ahead may fail; the rest is saved without them.
        with kept_on_failure(self):
            super().save()


@in_processes("out")
def train_rl(
    settings: RlSettings,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    other: OtherEngine | None = None,
    scores: StepScores | None = None,
) -> Path:
    """Train a policy in the run directory `out` and return its folder; `progress` is told of every update.

    With `resume` the run goes on from `out/checkpoint`; without a checkpoint there it starts anew. The engine `other`
    samples instead of the policy's own model, and is given its weights whenever they have changed. `scores` stand in for
    those that the settings name, such as a world's exact values.

    Raises:
        SettingsError: `out` already holds a run and `resume` is off, or the settings differ from those of the run.
        CheckpointError, DataError: a model or data file cannot be used.
    """
    run = setup(settings, out, other, scores)
    run.begin("log", "watch", resume=resume)
    evaluations = run.records("watch")
    stopped = hacked(evaluations) if settings.stop_when_hacked else None

    while stopped is None:
        if (run.step % settings.watch_every == 0 or run.step == settings.updates) and not (
            evaluations and evaluations[-1]["update"] == run.step
        ):
            evaluations.append({"update": run.step, "samples": run.samples, **evaluate(run)})
            run.log("watch", evaluations[-1], "watch/")
            stopped = hacked(evaluations) if settings.stop_when_hacked else None
        if stopped is not None or run.step == settings.updates:
            break
        if run.step and run.step % settings.checkpoint_every == 0:
            run.save()
        started, cpu, tokens = time.perf_counter(), time.process_time(), run.tokens
        record = play_update(run)
        seconds = time.perf_counter() - started
        run.step += 1
        record = {
            "step": run.step,
            "samples": run.samples,
            **record,
            "seconds": seconds,
            "cpu_seconds": time.process_time() - cpu,
            "tokens_per_second": (run.tokens - tokens) / seconds,
        }
        run.log("log", record, "train/")
        if progress is not None:
            progress(run.step, record)
    if stopped is not None:
        run.rollouts.drop()
    run.save()
    records = run.records("log")
    run.end()
    run.sampler.close()
    return finish(run, records, evaluations, stopped)


# --- setup -----------------------------------------------------------------------------------------------------------


def setup(
    settings: RlSettings, out: Path, other: OtherEngine | None = None, scores: StepScores | None = None
) -> Run:
    """Load problems, policy, and whatever scores its steps; make the optimiser."""
    machine, accelerator = prepare(settings, out)
    subject = load_subject(settings)
    kept = machine.dtype if settings.adapter == "lora" else torch.float32
    model, tokenizer = load_policy(
        settings.policy, device=machine.loading, dtype=kept, attention=machine.attention
    )
    if settings.task != TEXT:
        require_words(settings.world, tokenizer, settings.policy)
    layout = layout_for(tokenizer, settings.style, template=settings.template)
    policy = Policy(
        machine.place(model),
        pad_id=tokenizer.pad_token_id,
        value_head=settings.baseline == "value",
        temperature=settings.temperature,
        reference=settings.kl is not None,
        branches=settings.answers_per_row,
        autocast=machine.autocast,
        **role_options(settings),
    )
    if other is None:
        trained = Trained(policy, "policy", settings.temperature, lambda rows: policy.outputs(rows).log_probs)
        probes = [Prefix(problem) for problem in subject.held_out]
        other = engine_beside(
            settings, trained, tokenizer, layout, out / "sampler", probes, settings.row_budget
        )
    sampler = Sampler(policy, tokenizer, layout, subject.checker, settings, other, subject.judge)
    scores = scores or load_scores(settings, subject.checker)
    named = policy.parameters()
    groups = [
        {"params": [p for name, p in named.items() if not of_value(name)], "lr": settings.learning_rate}
    ]
    if settings.baseline == "value":
        values = [p for name, p in named.items() if of_value(name)]
        groups.append({"params": values, "lr": settings.value_learning_rate})
    part = Part("policy", named, lambda: adam(settings, groups), most=settings.max_gradient_norm)
    return Run(
        settings=settings,
        out=out,
        accelerator=accelerator,
        tokenizer=tokenizer,
        parts={"policy": part},
        subject=subject,
        policy=policy,
        sampler=sampler,
        rollouts=Rollouts(settings, subject, sampler),
        scores=scores,
        gate=load_gate(settings),
    )


def of_value(name: str) -> bool:
    """Whether a parameter of the policy is the value function's."""
    return name.startswith("value.")


# --- one update ------------------------------------------------------------------------------------------------------


def play_update(run: Run) -> dict[str, Any]:
    """Sample, score, give credit and improve the policy once; return the record."""
    settings = run.settings
    with kept_on_failure(run):
        groups = run.rollouts.take(run.step)
    answers = [answer for group in groups for answer in group]
    run.samples += len(answers)
    run.tokens += sum(len(answer.completion.token_ids) for answer in answers)
    left_out = settings.cut_answers == "left_out"
    kept = [[answer for answer in group if not (left_out and answer.truncated)] for group in groups]
    trained = [group for group in kept if group]
    before = unscored_steps(run)
    give_credit(trained, run.scores, settings, seed_from(settings.seed, run.step, "prover"), run.gate)
    record = {
        "outcome": sum(answer.outcome for answer in answers) / len(answers),
        "mixed_groups": sum(0 < sum(a.outcome for a in group) < len(group) for group in groups) / len(groups),
        **text_statistics(answers),
        "unscored_steps": unscored_steps(run) - before,
        "steps_without_token": sum(start == end for answer in answers for start, end in answer.spans),
    }
    if settings.staleness:
        record["rollout_wait_seconds"] = run.rollouts.waited
    return record | improve(run, [answer for group in trained for answer in group])


def unscored_steps(run: Run) -> int:
    """Return how many steps the sources of scores could not score so far."""
    return sum(source.unscored_steps for source in (run.scores, run.gate) if source is not None)


def give_credit(
    groups: Sequence[Sequence[Answer]],
    scores: StepScores | None,
    settings: RlSettings,
    seed: int,
    gate: PrmScores | None = None,
) -> None:
    """Set the advantage of every token of every answer, the baselines taken off (or not, for a value function)."""
    source = None if settings.credit == "outcome" and settings.baseline != "prefix" else scores
    rows = None if source is None else source.rows(groups, seed)
    correctness = gate_scores(settings, gate, groups)
    for place, group in enumerate(groups):
        won = rewards_of(group, settings)
        outcomes: Sequence[float | Floats] = list(
            won if settings.baseline == "value" else outcome_advantages(won)
        )
        inputs: Sequence[Floats] = [np.zeros(0) for _ in group] if rows is None else rows[place]
        if source is not None and settings.takes_values:
            gates = None if correctness is None else correctness[place]
            if settings.baseline == "prefix":
                values = values_of(source, inputs, group, settings, gates)
                outcomes = above_prefixes(source, values, group, won, outcomes)
            inputs = values_of(source, inputs, group, settings, gates, best_of=settings.best_of)
        for answer, outcome, steps in zip(group, outcomes, credit_rule(settings, inputs), strict=True):
            answer.advantages = token_advantages(
                outcome,
                steps,
                answer.spans,
                len(answer.completion.token_ids),
                outcome_weight=settings.outcome_weight,
                process_weight=settings.process_weight,
            )


def improve(run: Run, answers: Sequence[Answer]) -> dict[str, Any]:
    """Update the policy on answers with advantages; return statistics (means over sampled tokens)."""
    settings = run.settings
    sums: dict[str, float] = {}
    norms: list[float] = []
    with run.policy.whole():
        before = log_probs_before(run, answers) if settings.epochs * settings.minibatches > 1 else None
    for epoch in range(settings.epochs):
        order = list(range(len(answers)))
        random_for(settings.seed, run.step, f"minibatches{epoch}").shuffle(order)
        for start in range(settings.minibatches):
            members = [answers[index] for index in order[start :: settings.minibatches]]
            tokens = sum(len(answer.completion.token_ids) for answer in members)
            # Equal answers go through the model once; a policy that is sure of itself writes many.
            equal: dict[Row, list[Answer]] = {}
            for answer in members:
                equal.setdefault(answer.row, []).append(answer)
            batches = batches_of(run.policy, equal, settings.tokens_per_pass, shortest=SHORTEST)
            for rows in in_step(batches, run.policy, forward=1 if settings.kl is None else 2):
                chosen = [answer for row in rows for answer in equal[row]]
                loss, parts = objective(run.policy, chosen, settings, before)
                (loss / tokens).backward()  # type: ignore[no-untyped-call]
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
            if tokens:
                norms.append(optimizer_step(run))
                run.tokens += sum(len(part) for answer in members for part in answer.row)
    sums = summed(sums)
    count = sums.pop("tokens", 0.0)
    if not count:
        return {"trained_tokens": 0}
    means = {name: value / count for name, value in sums.items()}
    if settings.baseline == "value":
        spread = means.pop("square_return") - means.pop("return") ** 2
        means["explained_variance"] = 1 - means["value_loss"] / spread if spread > 1e-12 else 0.0
    return {"trained_tokens": int(count / settings.epochs), **means, "gradient_norm": sum(norms) / len(norms)}


def batches_of(
    policy: Policy, rows: Iterable[Row], tokens_per_pass: int, *, shortest: float = 0.0
) -> list[list[Row]]:
    """Return this process's share of answers in batches of similar length.

    Answers that share a row (`Policy.in_rows`) stay together.
    """
    order = list(rows)
    if policy.branches > 1:
        groups: dict[tuple[int, ...], list[Row]] = {}
        for row in order:
            groups.setdefault(row[0], []).append(row)
        order = [row for group in groups.values() for row in group]
    units = policy.in_rows(order)
    lengths = [len(unit[0][0]) + sum(len(ids) for _, ids in unit) for unit in units]
    own = share(lengths)
    return [
        [row for place in batch for row in units[own[place]]]
        for batch in length_sorted_batches(
            [lengths[index] for index in own], tokens_per_pass, shortest=shortest
        )
    ]


def objective(
    policy: Policy,
    answers: Sequence[Answer],
    settings: RlSettings,
    before: Mapping[Row, Sequence[float]] | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of some answers, summed over their tokens, and sums for the record.

    Prompts and padding are not among the outputs, so nothing about them can be rewarded. Equal answers are computed once
    and counted as often as they are there. `before` are the policy's log-probabilities of every answer's tokens before the
    update; without them it has not moved.
    """
    first: dict[Row, int] = {}
    tokens = 0
    for answer in answers:
        if answer.row not in first:
            first[answer.row] = tokens
            tokens += len(answer.completion.token_ids)
    reference = None if settings.kl is None else policy.reference_logits(list(first))
    out = policy.outputs(list(first))
    starts = [(first[answer.row], len(answer.completion.token_ids)) for answer in answers]
    places = torch.tensor(
        [start + i for start, length in starts for i in range(length)], device=policy.device
    )

    def flat(parts: Sequence[Sequence[float]]) -> torch.Tensor:
        return torch.tensor([x for part in parts for x in part], dtype=torch.float32, device=policy.device)

    def summed(weight: float, term: Callable[..., torch.Tensor], *logits: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):  # else it is only for the record
            return term(*logits)[places].sum()

    sampler = flat([answer.completion.log_probabilities for answer in answers])
    returns = flat([answer.advantages.tolist() for answer in answers])
    advantages, value_loss = returns, None
    log_probs = out.log_probs[places]
    start_of_update = (
        log_probs.detach() if before is None else flat([before[answer.row] for answer in answers])
    )
    # Importance sampling with the sampler's part truncated: PPO's clip is for the policy's own moves, not for rounding.
    old, weight = sampler, torch.ones_like(sampler)
    if settings.sampler_cap is not None:
        old, weight = start_of_update, (start_of_update - sampler).exp().clamp(max=settings.sampler_cap)
    if out.values is not None:
        values = out.values[places]
        advantages = returns - values.detach()
        value_loss = (values - returns).square().sum()
    if settings.objective == "ppo":
        surrogate = clipped_surrogate(log_probs, old, weight * advantages, settings.clip)
    else:
        surrogate = (log_probs - old).exp() * weight * advantages
    entropy = summed(settings.entropy, categorical_entropy, out.logits)
    weight_of_kl = settings.kl or 0.0
    kl = None if reference is None else summed(weight_of_kl, categorical_kl, out.logits, reference)
    pull = 0.0 if kl is None else weight_of_kl * kl
    loss = -(surrogate.sum() - pull + settings.entropy * entropy)
    every = torch.ones_like(old)
    approx_kl, clipfrac = update_size(log_probs.detach(), old, settings.clip, every)
    sampler_kl, _ = update_size(start_of_update, sampler, settings.clip, every)
    count = len(old)
    sums = {
        "tokens": float(count),
        "policy_loss": -float(surrogate.detach().sum()),
        **({} if kl is None else {"kl_per_token": float(kl.detach())}),
        "entropy": float(entropy.detach()),
        "approx_kl": approx_kl * count,
        "clipfrac": clipfrac * count,
        "sampler_kl": sampler_kl * count,
        "advantage_size": float(advantages.abs().sum()),
    }
    if value_loss is None:
        return loss, sums
    sums |= {
        "value_loss": float(value_loss.detach()),
        "return": float(returns.sum()),
        "square_return": float(returns.square().sum()),
    }
    return loss + value_loss, sums


@torch.no_grad()
def log_probs_before(run: Run, answers: Sequence[Answer]) -> dict[Row, list[float]]:
    """Return the policy's log-probabilities of the answers' tokens as it is now, each answer once."""
    rows = list(dict.fromkeys(answer.row for answer in answers))
    log_probs: dict[Row, list[float]] = {}
    for chosen in batches_of(run.policy, rows, run.settings.tokens_per_pass):
        parts = torch.split(run.policy.outputs(chosen).log_probs, [len(ids) for _, ids in chosen])
        log_probs |= {row: part.tolist() for row, part in zip(chosen, parts, strict=True)}
    return {row: values for part in gathered(log_probs) for row, values in part.items()}


def optimizer_step(run: Run) -> float:
    """Take a step; return the policy's gradient norm before clipping. The value function is not clipped with it."""
    norm = run.parts["policy"].step(
        run.step + 1,
        run.settings.learning_rate_factor(run.step),
        clipped=lambda name: not of_value(name),
    )
    run.policy.version += 1
    return norm


# --- watching and results --------------------------------------------------------------------------------------------


def evaluate(run: Run) -> dict[str, Any]:
    """Answer the held-out problems, always with the same random numbers, and measure the answers."""
    settings, subject = run.settings, run.subject
    seed = seed_from(settings.seed, 0, "watch")
    with kept_on_failure(run):
        answers = [group[0] for group in run.sampler.answers(subject.held_out, 1, seed)]
        longer = (
            run.sampler.answers(subject.longer, 1, seed_from(settings.seed, 0, "watch longer"))
            if subject.longer
            else []
        )
    rewards = None if run.scores is None else run.scores.rewards([answer.solution for answer in answers])
    with run.policy.whole():
        kl = None if settings.kl is None else mean_kl(run, [answer.row for answer in answers])
    record = evaluation_record(answers, rewards, kl)
    if longer:
        record["right_longer"] = [int(group[0].outcome) for group in longer]
        record["accuracy_longer"] = sum(record["right_longer"]) / len(longer)
    return record


@torch.no_grad()
def mean_kl(run: Run, rows: Sequence[Row]) -> float:
    """Return KL(policy ‖ reference) per sampled token of some answers, in nats."""
    total = tokens = 0.0
    for chosen in batches_of(run.policy, rows, run.settings.tokens_per_pass):
        kl = categorical_kl(run.policy.outputs(chosen).logits, run.policy.reference_logits(chosen))
        total, tokens = total + float(kl.sum()), tokens + len(kl)
    sums = summed({"kl": total, "tokens": tokens})
    return sums["kl"] / sums["tokens"]


def finish(
    run: Run, records: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]], stopped: str | None
) -> Path:
    """Write the policy folder and the run's metrics (the main process does); return the folder."""
    settings = run.settings
    folder = run.out / "policy"
    run.policy.save(folder, run.tokenizer, _card(run, stopped), write=is_main())
    seconds = sum(record["seconds"] for record in records) or float("nan")
    metrics = {
        "rl.seconds": Metric(seconds, unit="s"),
        "rl.updates": Metric(float(run.step)),
        "rl.samples": Metric(float(run.samples)),
        "rl.tokens_per_second": Metric(run.tokens / seconds, unit="tokens/s"),
        "rl.peak_memory": Metric(float(peak_memory(run.policy.device)), unit="bytes"),
        "rl.stopped_for_hacking": Metric(float(stopped is not None)),
        **evaluation_metrics(evaluations[0], "rl.start"),
        **evaluation_metrics(evaluations[-1], "rl.end"),
    }
    engines = [run.sampler.engine, *filter(None, [getattr(run.scores, "engine", None)])]
    doubts: list[str] = [doubt for engine in engines for doubt in engine.usage.doubts]
    servers = served(settings, prm=run.scores, gate=run.gate).items()
    scorers = {"scorers": {name: record_of(scorer) for name, scorer in servers}} if servers else {}
    run.write_metrics(
        metrics, stopped=stopped, doubts=doubts, left_out=dict(+run.subject.left_out), **scorers
    )
    return folder


def _card(run: Run, stopped: str | None) -> str:
    settings = run.settings
    rows = {
        "started from": f"`{Path(settings.policy).name}`",
        "credit": f"{settings.credit}, weight {settings.process_weight}; outcome weight {settings.outcome_weight}",
        "updates, answers": f"{run.step}, {run.samples}",
        "seed": settings.seed,
    } | ({} if stopped is None else {"stopped": stopped})
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [sparring]\n---\n\n"
        f"# Policy trained by reinforcement learning with step rewards\n\n| | |\n|---|---|\n{table}\n"
    )


def show_rl(settings: RlSettings, out: Path, *, resume: bool, console: Console) -> Path:
    """Train with a progress bar; say what came of it, why it stopped if it did, and where the policy is."""
    with step_bar("rl", settings.updates, console) as progress:
        folder = train_rl(settings, out, resume=resume, progress=progress)
    written = show_left_out(out, console)
    if written["extra"]["stopped"] is not None:
        console.print(f"stopped: {escape(written['extra']['stopped'])}", style="bold red", highlight=False)
    show_doubts(console, written["extra"]["doubts"])
    for when in ("start", "end"):
        metric = written["metrics"][f"rl.{when}.accuracy"]
        console.print(
            f"held-out accuracy at the {when}: {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})",
            highlight=False,
        )
    console.print(f"policy: {escape(str(folder))}", soft_wrap=True, highlight=False)
    return folder
