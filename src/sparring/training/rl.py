"""Reinforcement learning of a policy with step rewards: `sparring train rl`.

One update, for a batch of problems:

1. the policy answers every problem several times, through an engine on its own weights, which are thus always in step;
2. a checker says which answers are right; a PRM, a value model or rollouts of a frozen prover score their steps;
3. a credit rule turns outcome and step scores into one advantage per *token* (`credit.py`);
4. the policy takes a step on  importance ratio · advantage (PPO-clip, or plain) − kl · KL(policy ‖ reference)
   + entropy · H, averaged over sampled tokens. Ratios are per token, to the log-probabilities that the engine sampled
   with; KL and entropy are exact sums over the vocabulary.

Every few updates held-out problems are answered, and the run stops and says why if the PRM's reward has risen while
verified accuracy has fallen (`rl_monitors.py`). On request the PRM learns from the policy's own answers every few updates
(`rl_refresh.py`).

Contract: a run directory with `log.jsonl` (a record per update), `watch.jsonl` (a record per look), `refresh.jsonl` (a
record per refresh), `checkpoint/` (resume after any kill with the same result), and in the end `policy/` and a refreshed
`prm/` (Hugging Face folders), and `metrics.json`. All randomness is a function of (seed, update). Prompts, padding and
answers cut by the limit never carry reward. One device; the engine is the policy itself, or one that is given its weights.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from sparring.labels.command import show_doubts
from sparring.locks import writes
from sparring.models.batching import length_sorted_batches
from sparring.models.loading import load_policy, pick_device, pick_dtype
from sparring.models.prompts import layout_for
from sparring.models.scorer import SHORTEST
from sparring.runs import JsonlLog
from sparring.terminal import progress_bar
from sparring.traces.records import Trace
from sparring.training.credit import outcome_advantages, token_advantages
from sparring.training.policy_gradient import categorical_kl
from sparring.training.rl_loss import objective
from sparring.training.rl_monitors import best_look, hacked, look, text_marks
from sparring.training.rl_policy import Policy, Row
from sparring.training.rl_refresh import check_refresh, prm_folder, refresh, refresh_due
from sparring.training.rl_run import Run, finish, restore, save_checkpoint
from sparring.training.rl_scores import Answer, StepScores, credit_rule, load_scores
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import OtherEngine, Sampler, load_subject
from sparring.training.run import (
    Divergence,
    Progress,
    make_accelerator,
    random_for,
    resumes,
    seed_for,
    tracked_settings,
)


@writes("out")
def train_rl(
    settings: RlSettings,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    other: OtherEngine | None = None,
) -> Path:
    """Train a policy and return its folder.

    Args:
        settings: all settings.
        out: the run directory.
        resume: go on from `out/checkpoint`; without a checkpoint there, start anew.
        progress: told of every update.
        other: samples instead of the policy's own model, and is given its weights whenever they have changed.

    Raises:
        SettingsError: `out` already holds a run and `resume` is off, or the settings differ from those of the run.
        CheckpointError, DataError: a model or data file cannot be used.
    """
    run = setup(settings, out, other)
    log, watched, renewed = (JsonlLog(out / f"{name}.jsonl") for name in ("log", "watch", "refresh"))
    run.logs = [log, watched, renewed]
    if resumes(out, run.logs, resume=resume):
        restore(run)
        if run.refreshed:
            run.scores = load_scores(settings, run.subject.checker, prm_folder(run))
    looks, refreshes = list(watched.records()), list(renewed.records())
    stopped = hacked(looks) if settings.stop_when_hacked else None
    run.accelerator.init_trackers("sparring-rl", config=tracked_settings(settings))

    while stopped is None:
        if refresh_due(run, refreshes):
            refreshes.append(refresh(run))
            renewed.append(refreshes[-1])
            run.track("refresh", refreshes[-1])
        if (run.step % settings.watch_every == 0 or run.step == settings.updates) and not (
            looks and looks[-1]["update"] == run.step
        ):
            looks.append({"update": run.step, "samples": run.samples, **watch(run, looks)})
            watched.append(looks[-1])
            run.track("watch", looks[-1])
            stopped = hacked(looks) if settings.stop_when_hacked else None
        if stopped is not None or run.step == settings.updates:
            break
        if run.step and run.step % settings.checkpoint_every == 0:
            save_checkpoint(run)
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
        log.append(record)
        run.track("train", record)
        if progress is not None:
            progress(run.step, record)
    save_checkpoint(run)
    run.accelerator.end_training()
    prm = prm_folder(run) if run.refreshed else None
    folder = finish(run, list(log.records()), looks, refreshes, stopped, prm)
    for file in (log, watched, renewed):
        file.close()
    return folder


# --- setup -----------------------------------------------------------------------------------------------------------


def setup(settings: RlSettings, out: Path, other: OtherEngine | None = None) -> Run:
    """Load problems, policy, and whatever scores its steps; make the optimiser."""
    check_refresh(settings)
    out.mkdir(parents=True, exist_ok=True)
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    accelerator = make_accelerator(settings.trackers, out, device, mixed=dtype)
    torch.manual_seed(seed_for(settings.seed, 0, "weights"))
    subject = load_subject(settings)
    kept = dtype if settings.adapter == "lora" else torch.float32
    model, tokenizer = load_policy(settings.policy, device=device, dtype=kept)
    layout = layout_for(tokenizer, settings.style, template=settings.template)
    policy = Policy(
        model,
        pad_id=tokenizer.pad_token_id,
        adapter=settings.adapter,
        lora_rank=settings.lora_rank,
        lora_targets=settings.lora_targets,
        value_head=settings.baseline == "value",
        temperature=settings.temperature,
        autocast=accelerator.autocast,
    )
    sampler = Sampler(policy, tokenizer, layout, subject.checker, settings, other)
    scores = load_scores(settings, subject.checker, settings.prm)
    named = policy.parameters()
    rates = [
        ([p for name, p in named.items() if not name.startswith("value.")], settings.learning_rate),
        ([p for name, p in named.items() if name.startswith("value.")], settings.value_learning_rate),
    ]
    optimizer = torch.optim.Adam([{"params": members, "lr": rate} for members, rate in rates if members])
    for group in optimizer.param_groups:
        group["full_lr"] = group["lr"]
    recent = deque[Trace](maxlen=settings.refresh_answers)
    return Run(
        settings, out, accelerator, subject, tokenizer, policy, sampler, scores, optimizer,
        Divergence("policy", named.values()), recent=recent,
    )  # fmt: skip


# --- one update ------------------------------------------------------------------------------------------------------


def play_update(run: Run) -> dict[str, Any]:
    """Sample, score, give credit and improve the policy once; return the record."""
    settings = run.settings
    problems = run.subject.draw(random_for(settings.seed, run.step, "problems"), settings.problems_per_update)
    seed = seed_for(settings.seed, run.step, "rollouts")
    groups = run.sampler.answers(problems, settings.samples_per_problem, seed)
    answers = [answer for group in groups for answer in group]
    run.samples += len(answers)
    run.tokens += sum(len(answer.completion.token_ids) for answer in answers)
    # Answers that were cut have no outcome of their own: they train nobody and are in no baseline.
    trained = [whole for group in groups if (whole := [answer for answer in group if not answer.truncated])]
    if settings.refresh != "none":
        run.recent.extend(
            Trace(answer.problem, answer.steps, outcome=answer.outcome == 1, source="policy")
            for group in trained
            for answer in group
            if answer.steps
        )
    before = 0 if run.scores is None else run.scores.unscored_steps
    give_credit(trained, run.scores, settings, seed_for(settings.seed, run.step, "prover"))
    record = {
        "outcome": sum(answer.outcome for answer in answers) / len(answers),
        "mixed_groups": sum(0 < sum(a.outcome for a in group) < len(group) for group in groups) / len(groups),
        **text_marks(answers),
        "unscored_steps": 0 if run.scores is None else run.scores.unscored_steps - before,
        "steps_without_token": sum(start == end for answer in answers for start, end in answer.spans),
    }
    return record | improve(run, [answer for group in trained for answer in group])


def give_credit(
    groups: Sequence[Sequence[Answer]], scores: StepScores | None, settings: RlSettings, seed: int
) -> None:
    """Set the advantage of every token of every answer, the groups' baselines taken off (or not, for a value function)."""
    inputs = (
        [[np.zeros(0) for _ in group] for group in groups]
        if scores is None or settings.credit == "outcome"
        else scores.rule_inputs(groups, seed)
    )
    for group, rows in zip(groups, inputs, strict=True):
        outcomes = np.array([answer.outcome for answer in group])
        if settings.baseline == "group":
            outcomes = outcome_advantages(outcomes)
        for answer, outcome, steps in zip(group, outcomes, credit_rule(settings, rows), strict=True):
            answer.advantages = token_advantages(
                float(outcome),
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
            rows = list(equal)
            for batch in length_sorted_batches(
                [sum(map(len, row)) for row in rows], settings.tokens_per_pass, shortest=SHORTEST
            ):
                chosen = [answer for index in batch for answer in equal[rows[index]]]
                loss, found = objective(run.policy, chosen, settings, before)
                (loss / tokens).backward()  # type: ignore[no-untyped-call]
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + value
            if tokens:
                norms.append(optimizer_step(run))
                run.tokens += sum(len(part) for answer in members for part in answer.row)
    count = sums.pop("tokens", 0.0)
    if not count:
        return {"trained_tokens": 0}
    means = {name: value / count for name, value in sums.items()}
    if settings.baseline == "value":
        spread = means.pop("square_return") - means.pop("return") ** 2
        means["explained_variance"] = 1 - means["value_loss"] / spread if spread > 1e-12 else 0.0
    return {"trained_tokens": int(count / settings.epochs), **means, "gradient_norm": sum(norms) / len(norms)}


@torch.no_grad()
def log_probs_before(run: Run, answers: Sequence[Answer]) -> dict[Row, list[float]]:
    """Return the policy's log-probabilities of the answers' tokens as it is now, each answer once."""
    rows = list(dict.fromkeys(answer.row for answer in answers))
    found: dict[Row, list[float]] = {}
    for batch in length_sorted_batches([sum(map(len, row)) for row in rows], run.settings.tokens_per_pass):
        chosen = [rows[index] for index in batch]
        parts = torch.split(run.policy.outputs(chosen).log_probs, [len(ids) for _, ids in chosen])
        found |= {row: part.tolist() for row, part in zip(chosen, parts, strict=True)}
    return found


def optimizer_step(run: Run) -> float:
    """Clip, step, clear; return the policy's gradient norm before clipping. The value function is not clipped with it."""
    named = run.policy.parameters()
    for group in run.optimizer.param_groups:
        group["lr"] = group["full_lr"] * run.settings.learning_rate_factor(run.step)
    members = [parameter for name, parameter in named.items() if not name.startswith("value.")]
    norm = float(torch.nn.utils.clip_grad_norm_(members, run.settings.max_gradient_norm))
    run.divergence.step(run.optimizer, run.step + 1, norm)
    run.policy.version += 1
    run.optimizer.zero_grad(set_to_none=True)
    return norm


# --- watching and results --------------------------------------------------------------------------------------------


def watch(run: Run, looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Answer the held-out problems, always with the same random numbers, and look at the answers.

    Where the PRM is refreshed, the record holds the answers' steps, and what the present PRM thinks of those of the best
    look so far, if that was taken with an earlier one.
    """
    settings, subject = run.settings, run.subject
    seed = seed_for(settings.seed, 0, "watch")
    answers = [group[0] for group in run.sampler.answers(subject.held_out, 1, seed)]
    rewards = None if run.scores is None else run.scores.rewards([answer.solution for answer in answers])
    kl = tokens = 0.0
    with torch.no_grad():
        rows = [answer.row for answer in answers]
        for batch in length_sorted_batches(
            [len(prompt) + len(ids) for prompt, ids in rows], settings.tokens_per_pass
        ):
            chosen = [rows[index] for index in batch]
            found = categorical_kl(run.policy.outputs(chosen).logits, run.policy.reference_logits(chosen))
            kl, tokens = kl + float(found.sum()), tokens + len(found)
    record = look(answers, rewards, kl / tokens)
    if subject.longer:
        longer = run.sampler.answers(subject.longer, 1, seed_for(settings.seed, 0, "watch longer"))
        record["right_longer"] = [int(group[0].outcome) for group in longer]
        record["accuracy_longer"] = sum(record["right_longer"]) / len(longer)
    if settings.refresh != "none" and run.scores is not None:
        record |= {"prm": run.refreshed, "steps": [list(answer.steps) for answer in answers]}
        if looks and (best := best_look(looks))["prm"] != run.refreshed:
            before = list(zip(subject.held_out, best["steps"], strict=True))
            record["best_rewards"] = run.scores.rewards(before)
    return record


def show_rl(settings: RlSettings, out: Path, *, resume: bool, console: Console) -> Path:
    """Train with a progress bar; say what came of it, why it stopped if it did, and where the policy is."""
    with progress_bar(console) as bar:
        task = bar.add_task("rl", total=settings.updates)

        def show(done: int, record: dict[str, Any]) -> None:
            bar.update(task, completed=done, description=f"rl · solved {record['outcome']:.3f}")

        folder = train_rl(settings, out, resume=resume, progress=show)
    written = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    if written["extra"]["stopped"] is not None:
        console.print(f"stopped: {escape(written['extra']['stopped'])}", style="bold red", highlight=False)
    for reason, count in written["extra"]["left_out"].items():
        console.print(f"left out: {count} × {escape(reason)}", style="yellow")
    show_doubts(console, written["extra"]["doubts"])
    for when in ("start", "end"):
        metric = written["metrics"][f"rl.{when}.accuracy"]
        console.print(
            f"held-out accuracy at the {when}: {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})",
            highlight=False,
        )
    console.print(f"policy: {escape(str(folder))}", soft_wrap=True, highlight=False)
    return folder
