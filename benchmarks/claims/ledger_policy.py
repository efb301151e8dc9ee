"""A real pretrained policy for the ledger world: fine-tune a small language model on its reference solutions.

    PYTHONPATH=src:benchmarks python -m claims.ledger_policy --model models/SmolLM2-135M-Instruct --out runs/ledger-smollm2

Next-token training of LoRA adapters on the solutions' tokens, as the world's author writes them; the merged model is an
ordinary folder, which `ledger_game.py` takes as solver and backbone in place of the tiny policy.

Cost on one core of a Xeon with AVX-512 (float32; no bfloat16 units there): a token of SmolLM2-135M takes 0.54 GFLOP forward
and backward with frozen weights, so 1,000 solutions of 120 tokens about 65 TFLOP, 17 to 25 minutes; measuring 100
problems 3 minutes.

Contract: a killed run is gone on with to the same result (a checkpoint every `--checkpoint-every` updates); every update's
solutions are a function of (seed, update). Writes `model/` and `metrics.json` (success of answers sampled at temperature
1). Not here: the tiny policy (`sparring train world-policy`), which needs no pretrained weights.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch

from sparring.models.loading import load_policy, pick_device
from sparring.models.roles import Policy, Row
from sparring.rollouts.engine import Limits, Prefix, split_completion
from sparring.rollouts.local import LocalEngine
from sparring.runs import METRICS_FILE, Metric, write_metrics
from sparring.settings_shared import learning_rate_share, seed_from
from sparring.statistics import proportion
from sparring.traces.spans import encode
from sparring.training.states import load_state, save_state
from sparring.worlds.chain_model import CHAIN_LAYOUT
from sparring.worlds.world import World, make_world, world_problems

WORLD = "ledger:steps=1-3,distractors=0,size=2,forms=ab"
"""Dials at which about 1,000 solutions suffice."""


def batch(world: World, tokenizer: Any, size: int, seed: int, update: int) -> list[Row]:
    """Return an update's rows: ids of question and solution, the end token included."""
    rows = []
    for problem in world_problems(world, size, seed=seed, name="ledger-policy", start=update * size):
        steps = world.written(problem, random.Random(f"ledger-policy-written/{seed}/{problem.id}"))
        encoded = encode(problem.question, steps, tokenizer, CHAIN_LAYOUT)
        start = encoded.spans[0][0]
        answer = (*encoded.input_ids[start:], tokenizer.eos_token_id)
        rows.append((tuple(encoded.input_ids[:start]), answer))
    return rows


def policy_of(settings: argparse.Namespace) -> Path:
    """Return the folder of the fine-tuned model, trained and measured."""
    folder, world = settings.out / "model", make_world(settings.world)
    if not folder.is_dir():
        fine_tune(world, folder, settings)
    if not (settings.out / METRICS_FILE).exists():
        metrics = {"policy.success": success(folder, world, settings)}
        plain = vars(settings) | {"out": str(settings.out)}
        write_metrics(settings.out, metrics, settings=plain, seed=settings.seed)
    return folder


def fine_tune(world: World, folder: Path, settings: argparse.Namespace) -> None:
    """Train, or go on, and write the merged model."""
    model_name, out = settings.model, settings.out
    device = pick_device("cpu")
    torch.manual_seed(seed_from(settings.seed, 0, "weights"))
    model, tokenizer = load_policy(model_name, device=device, dtype=torch.float32)
    pad = tokenizer.pad_token_id or tokenizer.eos_token_id
    policy = Policy(model, pad_id=pad, adapter="lora", lora_rank=settings.rank)
    parameters = policy.parameters()
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    first, seconds = 0, 0.0
    if (out / "checkpoint").is_dir():
        groups, values = load_state(out / "checkpoint")
        for name, parameter in parameters.items():
            parameter.data.copy_(groups["weights"][name])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(values["update"])),
                "exp_avg": groups["first"][name],
                "exp_avg_sq": groups["second"][name],
            }
        first, seconds = values["update"], values["seconds"]
    started = time.perf_counter() - seconds
    for update in range(first, settings.updates):
        share = learning_rate_share(
            update, rise=10, done=update / settings.updates, final=0.1, shape="cosine"
        )
        optimizer.param_groups[0]["lr"] = share * settings.learning_rate
        rows = batch(world, tokenizer, settings.batch, settings.seed, update)
        optimizer.zero_grad()
        loss = -policy.outputs(rows).log_probs.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        print(
            f"{update + 1} loss {float(loss.detach()):.3f} {time.perf_counter() - started:.0f} s", flush=True
        )
        if (update + 1) % settings.checkpoint_every == 0:
            state = {name: optimizer.state[parameter] for name, parameter in parameters.items()}
            save_state(
                out / "checkpoint",
                {
                    "weights": dict(parameters),
                    "first": {name: one["exp_avg"] for name, one in state.items()},
                    "second": {name: one["exp_avg_sq"] for name, one in state.items()},
                },
                {"update": update + 1, "seconds": time.perf_counter() - started},
            )
    policy.save(folder, tokenizer, f"# {model_name}, fine-tuned on {settings.world}\n")


def success(folder: Path, world: World, settings: argparse.Namespace) -> Metric:
    """Return the share of answers, sampled at temperature 1, that succeed."""
    model, tokenizer = load_policy(folder, device=pick_device("cpu"), dtype=torch.float32)
    problems = world_problems(
        world, settings.evaluation_problems, seed=settings.seed, name="ledger-evaluation"
    )
    groups = LocalEngine(model, tokenizer, CHAIN_LAYOUT, row_budget=32).sample(
        [Prefix(problem) for problem in problems],
        1,
        limits=Limits(160),
        seeds=[seed_from(settings.seed, index, "evaluation") for index in range(len(problems))],
    )
    solved = [
        world.solved(problem, split_completion(group[0].text))
        for problem, group in zip(problems, groups, strict=True)
    ]
    return proportion(sum(solved), len(solved))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="folder or hub name of a causal language model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--world", default=WORLD)
    parser.add_argument("--updates", type=int, default=130)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--checkpoint-every", type=int, default=10)
    parser.add_argument("--evaluation-problems", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    print(policy_of(settings))


if __name__ == "__main__":
    main()
