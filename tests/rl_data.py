"""What the tests of reinforcement learning share: small settings, hand-made answers, a PRM with random opinions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from conftest import killed
from sparring.models.checkpoint import save_prm
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.roles import Players
from sparring.models.sidecar import sidecar_for
from sparring.rollouts.engine import Completion
from sparring.traces.records import Problem
from sparring.training.rl_monitors import evaluation_record
from sparring.training.rl_scores import Answer
from sparring.training.rl_settings import RlSettings
from sparring.worlds.chain_model import CHAIN_LAYOUT

CPU = torch.device("cpu")
PROBLEM = Problem("p", "mod 13 : b is 7 ; c = b + 9 ; find c", answer="3")


def small(folder: Path, **changes: object) -> RlSettings:
    fields: dict[str, object] = {
        "policy": str(folder),
        "credit": "outcome",
        "updates": 4,
        "problems_per_update": 3,
        "samples_per_problem": 3,
        "max_new_tokens": 12,
        "watch_problems": 4,
        "watch_every": 2,
        "checkpoint_every": 2,
        "prover_rollouts": 2,
        "device": "cpu",
        "seed": 5,
    }
    return RlSettings.model_validate(fields | changes)


def answer(*steps: str, outcome: float = 0.0, finish: str = "end", tokens: int | None = None) -> Answer:
    """An answer of two tokens per step and one for the end."""
    count = 2 * len(steps) + 1 if tokens is None else tokens
    completion = Completion("\n".join(steps), tuple(range(5, 5 + count)), (-1.0,) * count, finish)
    spans = [(2 * place, 2 * place + 2 + (place == len(steps) - 1)) for place in range(len(steps))]
    return Answer(PROBLEM, (4, 5, 6), completion, steps, spans, outcome=outcome)


def random_prm(backbone: Path, folder: Path, meaning: str = "correctness") -> Path:
    """A PRM with random opinions, of correctness or said to be of values."""
    torch.manual_seed(1)
    players = Players(load_causal_model(backbone, device=CPU, dtype=torch.float32), adapter="full")
    state = players.prm_state_dict()
    state["score.weight"] = torch.randn_like(state["score.weight"])
    save_prm(
        folder,
        config=players.config,
        state=state,
        tokenizer=load_tokenizer(backbone),
        sidecar=sidecar_for(CHAIN_LAYOUT, max_length=512, meaning=meaning),
        card="",
    )
    return folder


def evaluations_of(rights: Sequence[float], rewards: Sequence[float], problems: int = 60) -> list[dict]:
    """Looks whose accuracies and mean rewards are these."""
    records = []
    for update, (share, reward) in enumerate(zip(rights, rewards, strict=True)):
        answers = [answer("c is 3", outcome=float(place < share * problems)) for place in range(problems)]
        noise = np.random.default_rng(update).normal(0, 0.02, problems)
        records.append({"update": update} | evaluation_record(answers, (reward + noise).tolist(), 0.1))
    return records


def killed_run(settings: RlSettings, out: Path, *, updates: int) -> None:
    """Run in another process, which ends itself with SIGKILL once so many records are in the log."""
    fields = settings.model_dump(mode="json", exclude_unset=True)
    pairs = [f"{name}={json.dumps(value)}" for name, value in fields.items()]
    killed(["train", "rl", *pairs, "--out", str(out)], updates)
