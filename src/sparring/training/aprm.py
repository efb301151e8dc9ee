"""APRM: train a process reward model against an adversary that learns to make reasoning errors (arXiv 2511.22888).

One round of the game, for a batch of states (problem, correct prefix, correct step):

1. the adversary G rewrites each correct step several times (or rules do, see `adversary`);
2. the oracle says which rewrites are really wrong; `undecided` trains nobody, malformed ones count as failed;
3. the PRM R scores every rewrite without seeing the original, and the untouched steps besides;
4. R is paid for agreeing with the oracle; G is paid `fooled`, `caught` or `failed`;
5. both take an optimistic step (2·g_t − g_{t−1}) on PPO-clip surrogates of
   utility − τ_KL·KL(player ‖ reference) + τ_H·entropy.

Before the game R, and G where its backbone takes no instructions, are warmed up on rule perturbations; what they are
then is their reference. A pool of earlier rewrites is replayed, so that R does not forget.

Contract: a run directory with `log.jsonl` (a record per step), `checkpoint/` (resume after any kill with the same
result), `snapshots/`, and in the end `prm/` (a Hugging Face folder) and `metrics.json`. All randomness is a function of
(seed, step), so resuming needs no generator state. Not here: evaluation, and attacks on a frozen PRM (`evaluation/`).
The paper's oracle, reward values, coefficients and data are not public; what stands in for them are settings.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparring.locks import writes
from sparring.models.loading import load_policy, pick_device, pick_dtype, positions
from sparring.models.players import PLAYERS, Player, Players
from sparring.models.prompts import layout_for
from sparring.runs import JsonlLog
from sparring.training.adversary import Adversary, Rewrites, rule_rewrites
from sparring.training.aprm_run import (
    Run,
    export_prm,
    finish,
    load_snapshot,
    restore,
    save_checkpoint,
    save_snapshot,
)
from sparring.training.aprm_settings import AprmSettings
from sparring.training.optimism import OptimisticGradient
from sparring.training.pool import ReplayPool
from sparring.training.prm_rows import PrmRow, fresh_row, prm_utility, replay_row
from sparring.training.run import (
    Divergence,
    Progress,
    make_accelerator,
    random_for,
    resumes,
    seed_for,
    torch_generator_for,
    tracked_settings,
)
from sparring.training.tasks import State, TextTask, load_task


@writes("out")
def train_aprm(
    settings: AprmSettings, out: Path, *, resume: bool = False, progress: Progress | None = None
) -> Path:
    """Train a PRM and return its folder.

    Args:
        settings: all settings.
        out: the run directory.
        resume: go on from `out/checkpoint`; without a checkpoint there, start anew.
        progress: told of every step.

    Raises:
        SettingsError: `out` already holds a run and `resume` is off, or the settings differ from those of the run.
        CheckpointError, DataError: a model or data file cannot be used.
    """
    run = setup(settings, out)
    log = JsonlLog(out / "log.jsonl")
    run.logs = [log]
    if resumes(out, run.logs, resume=resume):
        restore(run)
    run.accelerator.init_trackers("sparring-aprm", config=tracked_settings(settings))

    while run.step < settings.total_steps:
        started = time.perf_counter()
        tokens = run.tokens
        record = play_step(run)
        seconds = time.perf_counter() - started
        run.step += 1
        record = {
            "step": run.step,
            **record,
            "seconds": seconds,
            "tokens_per_second": (run.tokens - tokens) / seconds,
        }
        log.append(record)
        run.accelerator.log({k: v for k, v in record.items() if isinstance(v, float)}, step=run.step)
        if run.step == settings.warm_steps:
            run.players.freeze_references()
            reset_optimizers(run)
            if settings.snapshot_every:
                save_snapshot(run, 0)
        if (
            settings.snapshot_every
            and run.step > settings.warm_steps
            and record["update"] % settings.snapshot_every == 0
        ):
            save_snapshot(run, record["update"])
        if run.step % settings.checkpoint_every == 0 or run.step == settings.total_steps:
            save_checkpoint(run)
        if progress is not None:
            progress(run.step, record)
    log.close()
    run.accelerator.end_training()
    return finish(run)


# --- setup -----------------------------------------------------------------------------------------------------------


def setup(settings: AprmSettings, out: Path) -> Run:
    """Load data and models and make optimisers."""
    out.mkdir(parents=True, exist_ok=True)
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    accelerator = make_accelerator(settings.trackers, out, device, mixed=dtype)
    torch.manual_seed(seed_for(settings.seed, 0, "weights"))
    task = load_task(settings)
    model, tokenizer = load_policy(settings.backbone, device=device, dtype=dtype)
    players = Players(
        model,
        adapter=settings.adapter,
        lora_rank=settings.lora_rank,
        lora_targets=settings.lora_targets,
        autocast=accelerator.autocast,
    )
    run = Run(
        settings,
        out,
        accelerator,
        task,
        players,
        tokenizer,
        layout_for(tokenizer, settings.style, template=settings.template),
        Adversary(players, tokenizer, settings, device),
        ReplayPool(settings.pool_states),
    )
    if isinstance(task, TextTask):
        longest = min(settings.max_length, positions(players.config) or settings.max_length)
        fits = [
            len(fresh_row(state, [state.step] * settings.samples_per_state, tokenizer, run.layout).row)
            <= longest
            and run.adversary.prompt_length(state) + settings.max_step_tokens <= longest
            for state in task.states
        ]
        task.keep(fits, f"state longer than {longest} tokens (max_length, or what the backbone takes)")
    run.divergence = {
        player: Divergence(player, run.players.parameters(player).values(), f"{player}_learning_rate")
        for player in PLAYERS
    }
    reset_optimizers(run)
    return run


def reset_optimizers(run: Run) -> None:
    """Give both players fresh optimisers: moments of the warm start would distort the game's first steps."""
    rates = {"prm": run.settings.prm_learning_rate, "adversary": run.settings.adversary_learning_rate}
    for player in PLAYERS:
        named = run.players.parameters(player)
        run.optimizers[player] = torch.optim.Adam(list(named.values()), lr=rates[player], betas=(0.9, 0.99))
        run.optimism[player] = OptimisticGradient(named, run.settings.optimism)


# --- one step --------------------------------------------------------------------------------------------------------


def play_step(run: Run) -> dict[str, Any]:
    """Do one step of the phase that the run is in, and return its log record."""
    settings = run.settings
    if run.step < settings.prm_warm_steps:
        return {"phase": "warm_prm", "update": run.step + 1, **play_round(run, by_rules=True)}
    if run.step < settings.warm_steps:
        update = run.step - settings.prm_warm_steps + 1
        states = run.task.draw(random_for(settings.seed, run.step, "states"), settings.states_per_update)
        pairs = rule_rewrites(
            run.task, states, settings.samples_per_state, random_for(settings.seed, run.step, "rules")
        )
        loss, tokens = run.adversary.imitate(pairs, settings.states_per_pass)
        run.tokens += tokens
        norm = optimizer_step(run, "adversary")
        return {
            "phase": "warm_adversary",
            "update": update,
            "imitation_loss": loss,
            "adversary_gradient_norm": norm,
        }
    update = run.step - settings.warm_steps + 1
    return {"phase": "game", "update": update, **play_round(run, by_rules=settings.adversary == "rules")}


def play_round(run: Run, *, by_rules: bool) -> dict[str, Any]:
    """Play one round: rewrites, verdicts, scores, and an update of R and (in the game) of G."""
    settings = run.settings
    states = run.task.draw(random_for(settings.seed, run.step, "states"), settings.states_per_update)
    if by_rules:
        rules = random_for(settings.seed, run.step, "rules")
        rewrites = rule_rewrites(run.task, states, settings.samples_per_state, rules)
    else:
        generator = torch_generator_for(settings.seed, run.step, "adversary", run.device)
        rewrites = run.adversary.rewrite(run.task, states, generator)
    replayed = run.pool.draw(random_for(settings.seed, run.step, "replay"), settings.replayed_states)

    warming = run.step < settings.prm_warm_steps
    record, scores = update_prm(run, rewrites, replayed, warming=warming)
    record |= rewrites.outcome_shares(scores)
    if settings.adversary == "trained" and not by_rules:
        labels = torch_generator_for(settings.seed, run.step, "labels", torch.device("cpu"))
        rewards = rewrites.rewards(scores, settings, labels, sampled=settings.prm_objective == "sampled")
        stats = run.adversary.reinforce(rewrites, rewards, lambda: optimizer_step(run, "adversary"))
        run.tokens += int(stats.pop("tokens"))
        record |= stats
    run.pool.add(rewrites, random_for(settings.seed, run.step, "pool"))
    run.labelled += rewrites.decided_count()
    run.undecided += rewrites.undecided_count()
    return record


def update_prm(
    run: Run, rewrites: Rewrites, replayed: Sequence[tuple[State, list[tuple[str, bool]]]], *, warming: bool
) -> tuple[dict[str, Any], list[list[float]]]:
    """Update R once per epoch; return statistics and its scores of the rewrites before the update."""
    settings, tokenizer, layout = run.settings, run.tokenizer, run.layout
    rows: list[PrmRow] = [
        fresh_row(state, texts, tokenizer, layout)
        for state, texts in zip(rewrites.states, rewrites.texts, strict=True)
    ]
    for row, truths in zip(rows, rewrites.truths(), strict=True):
        row.set_fresh_truths(truths)
    rows += [replay_row(state, members, tokenizer, layout) for state, members in replayed]
    statistics: dict[str, Any] = {}
    scores: list[list[float]] = []
    for epoch in range(1 if warming else settings.prm_epochs):
        generator = torch_generator_for(settings.seed, run.step, f"prm{epoch}", torch.device("cpu"))
        result = prm_utility(run.players, rows, settings, tokenizer.pad_token_id, generator, warming=warming)
        if epoch == 0:
            statistics, scores = result.statistics, result.fresh_scores[: len(rewrites.states)]
        statistics["prm_gradient_norm"] = optimizer_step(run, "prm")
        run.tokens += sum(len(row.row) for row in rows)
    return statistics, scores


def optimizer_step(run: Run, player: Player) -> float:
    """Clip, extrapolate, step, clear; return the gradient's norm before clipping."""
    settings = run.settings
    named = run.players.parameters(player)
    rate = settings.prm_learning_rate if player == "prm" else settings.adversary_learning_rate
    for group in run.optimizers[player].param_groups:
        group["lr"] = rate * settings.learning_rate_factor(run.step, player)
    norm = float(torch.nn.utils.clip_grad_norm_(list(named.values()), settings.max_gradient_norm))
    if run.step >= settings.warm_steps and settings.adversary == "trained":
        run.optimism[
            player
        ].extrapolate()  # only in a game: against a fixed opponent it would just double the noise
    run.divergence[player].step(run.optimizers[player], run.step + 1, norm)
    run.optimizers[player].zero_grad(set_to_none=True)
    return norm


def export_snapshot(settings: AprmSettings, out: Path, update: int, folder: Path) -> None:
    """Write the PRM of a snapshot of the run in `out` as a Hugging Face folder; update 0 is the start of the game."""
    run = setup(settings, out)
    load_snapshot(run, out, update, "prm")
    export_prm(run, folder)
