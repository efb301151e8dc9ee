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

States, verdicts, pay and R's utility stand in `game.py`, the adversary in `adversary.py`; here are the run from setup to
the exported PRM, and the optimistic step.

Contract: a run directory with `log.jsonl` (a record per step), `checkpoint/` (resume after any kill with the same
result), `snapshots/`, and in the end `prm/` (a Hugging Face folder) and `metrics.json`. All randomness is a function of
(seed, step), so resuming needs no generator state. Several processes share the states of a round (`processes.py`). Not
here: evaluation, and attacks on a frozen PRM (`evaluation/`).
The paper's oracle, reward values, coefficients and data are not public; what stands in for them are settings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from sparring.errors import about
from sparring.models.checkpoint import model_card, save_prm
from sparring.models.loading import context, load_policy, positions
from sparring.models.prompts import layout_for, prompt_digest
from sparring.models.roles import PLAYERS, Player, Players
from sparring.models.sidecar import sidecar_for
from sparring.runs import Metric
from sparring.settings_shared import seed_from
from sparring.traces.jsonl import read_traces
from sparring.traces.spans import Layout
from sparring.training.adversary import Adversary
from sparring.training.aprm_settings import AprmSettings, GameSettings
from sparring.training.game import (
    Replayed,
    ReplayPool,
    Rewrites,
    State,
    Task,
    fresh_row,
    prm_utility,
    replay_row,
    rule_rewrites,
)
from sparring.training.game_tasks import SolverTask, TextTask, load_task
from sparring.training.part import Part, adam
from sparring.training.processes import in_processes, is_main
from sparring.training.rewrites_ahead import RewritesAhead, rewrites_by_engine
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
    torch_generator_for,
)
from sparring.training.states import Tensors, damaged, load_state, save_state, set_tensors, verified
from sparring.worlds.subject import TEXT
from sparring.worlds.world import make_world, require_words

METHODS = {
    "rules": "supervised by a step oracle on rule perturbations, no human step labels",
    "frozen": "supervised by a step oracle on the errors of an untrained adversary, no human step labels",
    "trained": "adversarial training (APRM, arXiv 2511.22888), no human step labels",
}


# --- the run ---------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Run(TrainingRun):
    """Everything that a run of the game holds in memory.

    Attributes:
        labelled, undecided: rewrites so far that the oracle decided, and could not decide.
        tokens: that went through the models.
    """

    counters = ("step", "labelled", "undecided", "tokens")

    settings: AprmSettings
    task: Task
    players: Players
    layout: Layout
    adversary: Adversary
    pool: ReplayPool
    ahead: RewritesAhead | None = None
    optimism: dict[Player, OptimisticGradient] = field(default_factory=dict)
    labelled: int = 0
    undecided: int = 0
    tokens: int = 0

    @property
    def device(self) -> torch.device:
        """Where the players live."""
        return self.players.device

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the states, and of the texts of both players' prompts."""
        prompt = prompt_digest(self.layout, self.adversary.prompt_texts)
        return {"digest": self.task.digest, "prompt": prompt}

    def values(self) -> dict[str, Any]:
        """Return the pool, and the rewrites that are ahead."""
        ahead = self.ahead.values() if self.ahead is not None else {}
        return {"pool": self.pool.records(), **ahead}

    def tensors(self) -> dict[str, Tensors]:
        """Return both references and the gradients before."""
        gradients = {f"{player}_optimism": self.optimism[player].previous for player in PLAYERS}
        return {"reference": self.players.reference_state(), **gradients}

    def take(self, values: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
        """Take over the pool and the rewrites that are ahead; return where references and gradients belong."""
        self.pool.load_records(values["pool"])
        if self.ahead is not None:
            self.ahead.restore(values)
        for player in PLAYERS:
            named = self.players.parameters(player)
            found = tensors.get(f"{player}_optimism", {})
            self.optimism[player].previous = {name: torch.zeros_like(named[name]) for name in found}
        return self.tensors()

    def save(self) -> None:
        """Write everything that resuming needs."""
        # Waiting for the rewrites that are ahead may fail; the rest is saved without them.
        with kept_on_failure(self):
            super().save()

    def restore(self) -> None:
        """Load the checkpoint, and check the snapshots made so far.

        Raises:
            CheckpointError: it, a log or a snapshot is not what was written, or does not fit.
            SettingsError: it is of other settings or data.
        """
        super().restore()
        for update in self.snapshots():
            folder = _snapshot(self.out, update)
            _check_snapshot(folder, verified(folder), update)

    def snapshots(self) -> list[int]:
        """Return the updates after which this run has kept its players so far; 0 is the start of the game."""
        every, warm = self.settings.snapshot_every, self.settings.warm_steps
        if not every or self.step < warm:
            return []
        return [*([0] if warm else []), *range(every, self.step - warm + 1, every)]


@in_processes("out")
def train_aprm(
    settings: AprmSettings, out: Path, *, resume: bool = False, progress: Progress | None = None
) -> Path:
    """Train a PRM in the run directory `out` and return its folder; `progress` is told of every step.

    With `resume` the run goes on from `out/checkpoint`; without a checkpoint there it starts anew.

    Raises:
        SettingsError: `out` already holds a run and `resume` is off, or the settings differ from those of the run.
        CheckpointError, DataError: a model or data file cannot be used.
        DivergedError: a player's numbers have left all bounds.
    """
    run = setup(settings, out)
    run.begin("log", resume=resume)
    if run.ahead is not None and run.step < settings.warm_steps:
        run.ahead.engine()  # one that cannot be used is found out before the warm starts
    while run.step < settings.total_steps:
        started, tokens = time.perf_counter(), run.tokens
        record = play_step(run)
        seconds = time.perf_counter() - started
        run.step += 1
        speed = {"seconds": seconds, "tokens_per_second": (run.tokens - tokens) / seconds}
        record = {"step": run.step, **record, **speed}
        run.log("log", record)
        if run.step == settings.warm_steps:
            run.players.freeze_references()
            reset_optimizers(run)
        if run.step >= settings.warm_steps and (update := run.step - settings.warm_steps) in run.snapshots():
            save_snapshot(run, update)
        if run.step % settings.checkpoint_every == 0 or run.step == settings.total_steps:
            run.save()
        if progress is not None:
            progress(run.step, record)
    records = run.records("log")
    run.end()
    if run.ahead is not None:
        run.ahead.other.close()
    return finish(run, records)


def setup(settings: AprmSettings, out: Path) -> Run:
    """Load data and models and make optimisers."""
    machine, accelerator = prepare(settings, out)
    task: Task = load_task(settings)
    if settings.solver_steps is not None:
        with about(settings.solver_steps):
            task = SolverTask(task, read_traces(settings.solver_steps), settings.solver_share)
    model, tokenizer = load_policy(
        settings.backbone, device=machine.loading, dtype=machine.dtype, attention=machine.attention
    )
    if settings.task != TEXT:
        require_words(make_world(settings.task), tokenizer, settings.backbone)
    players = Players(machine.place(model), autocast=machine.autocast, **role_options(settings))
    rates = {"prm": settings.prm_learning_rate, "adversary": settings.adversary_learning_rate}
    run = Run(
        settings=settings,
        out=out,
        accelerator=accelerator,
        task=task,
        players=players,
        tokenizer=tokenizer,
        layout=layout_for(tokenizer, settings.style, template=settings.template),
        parts={player: part_of(player, players, settings, rates[player]) for player in PLAYERS},
        adversary=Adversary(players, tokenizer, settings, machine.device),
        pool=ReplayPool(settings.pool_states),
    )
    if isinstance(task, TextTask | SolverTask):
        longest = min(settings.max_length, positions(players.config) or settings.max_length)
        reason = f"state longer than {longest} tokens (max_length, or what the backbone takes)"
        with about(settings.solver_steps or settings.data):
            task.keep([fits(run, state, longest) for state in task.states], reason)
    reset_optimizers(run)
    run.ahead = rewrites_by_engine(run.adversary, task, settings, run.layout, out / "sampler")
    return run


def part_of(player: Player, players: Players, settings: GameSettings, rate: float) -> Part:
    """Return what is trained of a player, at this step size."""
    named = players.parameters(player)
    return Part(
        player,
        named,
        lambda: adam(settings, list(named.values()), lr=rate, betas=(0.9, 0.99)),
        most=settings.max_gradient_norm,
        setting=f"{player}_learning_rate",
    )


def fits(run: Run, state: State, longest: int) -> bool:
    """Whether both players can read a state within so many tokens."""
    settings = run.settings
    members = [(state.step, None)] * settings.samples_per_state
    row = fresh_row(state, members, run.tokenizer, run.layout).row
    asked = len(run.adversary.prompt_ids(state)) + settings.max_step_tokens
    return max(len(row), asked) <= longest


# --- a round of the game ---------------------------------------------------------------------------------------------


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
    own = len(states) if by_rules else settings.played_states  # G plays in every round
    if by_rules:
        rules = random_for(settings.seed, run.step, "rules")
        rewrites = rule_rewrites(run.task, states, settings.samples_per_state, rules)
    else:
        chance = randomness(run, len(states))
        first, rest = (chance[:own], chance[own:]) if isinstance(chance, list) else (chance, chance)
        if run.ahead is None:
            rewrites = run.adversary.rewrite(run.task, states[:own], first)
        else:
            with kept_on_failure(run):
                rewrites = Rewrites(states[:own], run.ahead.take(run.step))
        if own < len(states):
            rewrites += run.adversary.rewrite(run.task, states[own:], rest, "adversary_reference")
    replayed = run.pool.draw(random_for(settings.seed, run.step, "replay"), settings.replayed_states)

    warming = run.step < settings.prm_warm_steps
    record, rewrites = update_prm(run, rewrites, replayed, warming=warming)
    # What is counted, and what G learns from: without the rewrites of G as it was.
    of_now = Rewrites(rewrites.states[:own], rewrites.groups[:own])
    record |= of_now.outcome_shares()
    if settings.log_kinds:
        record |= of_now.kind_counts()
    if settings.adversary == "trained" and not by_rules:
        record |= reinforce(run, of_now)
    run.pool.add(rewrites, random_for(settings.seed, run.step, "pool"))
    run.labelled += sum(item.truth is not None for item in rewrites)
    run.undecided += sum(item.outcome() == "undecided" for item in rewrites)
    if settings.staleness and not by_rules and run.ahead is not None:
        record["rollout_wait_seconds"] = run.ahead.waited
    return record


def randomness(run: Run, states: int) -> torch.Generator | list[int]:
    """Return what rewrites of so many states are sampled with: one generator, or a seed for each (`adversary_seeds`)."""
    settings = run.settings
    if settings.adversary_seeds == "round":
        return torch_generator_for(settings.seed, run.step, "adversary", run.device)
    return [seed_from(settings.seed, run.step, "adversary", place) for place in range(states)]


def reinforce(run: Run, rewrites: Rewrites) -> dict[str, float]:
    """Pay G for its rewrites, update it and return its statistics."""
    settings = run.settings
    labels = torch_generator_for(settings.seed, run.step, "labels", torch.device("cpu"))
    rewards = rewrites.rewards(settings, labels, sampled=settings.prm_objective == "sampled")
    stats = run.adversary.reinforce(rewrites, rewards, lambda: optimizer_step(run, "adversary"))
    run.tokens += int(stats.pop("tokens"))
    return stats


def update_prm(
    run: Run, rewrites: Rewrites, replayed: Sequence[Replayed], *, warming: bool
) -> tuple[dict[str, Any], Rewrites]:
    """Update R once per epoch; return statistics, and the rewrites with its scores from before the update."""
    settings, tokenizer, layout = run.settings, run.tokenizer, run.layout
    fresh = zip(rewrites.states, rewrites.members, strict=True)
    rows = [fresh_row(state, members, tokenizer, layout) for state, members in fresh]
    rows += [replay_row(state, members, tokenizer, layout) for state, members in replayed]
    statistics: dict[str, Any] = {}
    for epoch in range(1 if warming else settings.prm_epochs):
        generator = torch_generator_for(settings.seed, run.step, f"prm{epoch}", torch.device("cpu"))
        found, row_scores = prm_utility(
            run.players, rows, settings, tokenizer.pad_token_id, generator, warming=warming
        )
        if epoch == 0:
            scored = chain.from_iterable(row_scores[: len(rewrites.states)])
            statistics, rewrites = found, rewrites.with_each("score", scored)
        statistics["prm_gradient_norm"] = optimizer_step(run, "prm")
        run.tokens += sum(len(row.row) for row in rows)
    return statistics, rewrites


# --- the optimistic step ---------------------------------------------------------------------------------------------


class OptimisticGradient:
    """OGDA: a player's gradient g_t is replaced by its extrapolation g_t + strength · (g_t − g_{t−1}).

    In a game both players' gradients turn around the equilibrium; plain simultaneous ascent cycles or diverges, the
    extrapolated gradient anticipates the opponent's next move and converges (linearly on bilinear and strongly monotone
    games for steps of order 1/L). With g_{−1} := g_0 the first step is a plain one. How the paper combines it with Adam is
    not public; here the extrapolated gradient is what the optimiser is fed.

    Args:
        parameters: the player's parameters by a stable name.
        strength: 1 for OGDA, 0 for the plain gradient.

    Attributes:
        previous: g_{t−1} by name; part of every checkpoint.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], strength: float = 1.0) -> None:
        self.parameters = dict(parameters)
        self.strength = strength
        self.previous: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def extrapolate(self) -> None:
        """Replace every `.grad`, and remember what it was."""
        if self.strength == 0:
            return
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            current = parameter.grad.clone()
            parameter.grad.add_(current - self.previous.get(name, current), alpha=self.strength)
            self.previous[name] = current


def reset_optimizers(run: Run) -> None:
    """Give both players fresh optimisers: moments of the warm start would distort the game's first steps."""
    for player in PLAYERS:
        run.parts[player].renew()
        run.optimism[player] = OptimisticGradient(run.players.parameters(player), run.settings.optimism)


def optimizer_step(run: Run, player: Player) -> float:
    """Take a player's step, an optimistic one in the game; return the gradient's norm before clipping."""
    settings = run.settings
    # Against a fixed opponent the extrapolation would just double the noise.
    game = run.step >= settings.warm_steps and settings.adversary == "trained"
    return run.parts[player].step(
        run.step + 1,
        settings.learning_rate_factor(run.step, player),
        before=run.optimism[player].extrapolate if game else None,
    )


# --- what is kept ----------------------------------------------------------------------------------------------------


def save_snapshot(run: Run, update: int) -> None:
    """Keep both players as they are after this update, for cross-play."""
    tensors: dict[str, Tensors] = {player: run.players.parameters(player) for player in PLAYERS}
    save_state(_snapshot(run.out, update), tensors, {"update": update})


def load_snapshot(run: Run, out: Path, update: int, player: Player) -> None:
    """Set a player as it was after this update of the run in `out`.

    Raises:
        CheckpointError: the snapshot is not what was written, or does not fit the model.
    """
    folder = _snapshot(out, update)
    tensors, values = load_state(folder)
    _check_snapshot(folder, values, update)
    set_tensors(folder, player, run.players.parameters(player), tensors.get(player, {}))


def _check_snapshot(folder: Path, values: dict[str, Any], update: int) -> None:
    if values.get("update") != update:
        raise damaged(folder, f"holds the players of update {values.get('update')}")


def _snapshot(out: Path, update: int) -> Path:
    return out / "snapshots" / f"{update:06d}"


def export_prm(run: Run, folder: Path) -> None:
    """Write the PRM as it is now as a Hugging Face folder (the main process does)."""
    settings = run.settings
    sidecar = sidecar_for(run.layout, max_length=context(run.players.config))
    facts = {
        "adversary": settings.adversary,
        "updates": settings.updates,
        "rewrites labelled by the oracle": run.labelled,
        "seed": settings.seed,
    }
    name = Path(settings.backbone).name
    card = model_card(
        title=f"PRM of {name}",
        backbone=name,
        method=METHODS[settings.adversary],
        facts=facts,
        sidecar=sidecar,
    )
    state = run.players.prm_state_dict() if is_main() or run.players.sharded else {}
    if not is_main():
        return
    save_prm(
        folder,
        config=run.players.config,
        state=state,
        tokenizer=run.tokenizer,
        sidecar=sidecar,
        card=card,
    )


def finish(run: Run, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write the PRM folder and the run's metrics (the main process does); return the folder."""
    settings = run.settings
    folder = run.out / "prm"
    export_prm(run, folder)
    game = [record for record in records if record["phase"] == "game"]
    seconds = sum(record["seconds"] for record in records)
    metrics = {
        "training.seconds": Metric(seconds, unit="s"),
        "training.updates": Metric(float(settings.updates)),
        "training.labelled_steps": Metric(float(run.labelled)),
        "training.undecided_steps": Metric(float(run.undecided)),
        "training.tokens_per_second": Metric(run.tokens / seconds if seconds else None, unit="tokens/s"),
        "training.peak_memory": Metric(float(peak_memory(run.device)), unit="bytes"),
    }
    for name in ("fool_rate", "prm_accuracy_clean", "prm_accuracy_fresh"):
        tail = [record[name] for record in game[-20:] if record.get(name) is not None]
        if tail:
            metrics[f"training.last_20.{name}"] = Metric(sum(tail) / len(tail), n=len(tail))
    run.write_metrics(metrics, left_out=dict(run.task.left_out))
    return folder


def show_aprm(settings: AprmSettings, out: Path, *, resume: bool, console: Console) -> Path:
    """Train with a progress bar, and say what was left out or undecided and where the PRM is."""
    if not settings.monotone:
        console.print(
            "note: with these rewards and weights the regularised one-step game is not strongly monotone, so "
            "convergence is not to be expected in theory (docs/aprm.md, regularisation)"
        )
    with step_bar("aprm", settings.total_steps, console) as progress:
        folder = train_aprm(settings, out, resume=resume, progress=progress)
    metrics = show_left_out(out, console)["metrics"]
    undecided, labelled = (metrics[f"training.{name}_steps"]["value"] for name in ("undecided", "labelled"))
    console.print(
        f"rewrites labelled by the oracle: {labelled:.0f}; undecided, training nobody: {undecided:.0f}"
    )
    if not labelled:
        console.print(
            "warning: this PRM has seen correct steps alone, so its scores say nothing of wrong ones"
        )
    console.print(f"PRM: {escape(str(folder))}", soft_wrap=True)
    return folder
