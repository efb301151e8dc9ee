"""Trainings, one step of each in turn, every one in a process of its own (`stepper.py`).

- `prm`: `sparring train prm` against `PRMTrainer` of trl: the same traces in the same order, batches, loss and model.
- `rl`: `sparring train rl` against `GRPOTrainer` of trl: the same model, problems per update, samples, limits and KL.
- `game`: one update of the game against the same update of an earlier commit, on the tiny policy.
- `four_models`: the game on one frozen backbone with adapters against four models (players and references) that are
  trained whole: memory beyond what the libraries take, and time.
- `budget`: where the time of one update of the game goes: oracle, matrix products at the rate that this machine reaches,
  the rest; on the tiny policy and on a larger model.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparring.models import TINY_POLICY
from sparring.models.loading import load_tokenizer, resolve_model
from sparring.worlds.chain import generate_problems
from speed_rows.harness import Claim, Measured, Options, in_turn, ratio
from speed_rows.reading import make_prm
from speed_rows.stepper import Stepper
from trl_equivalence import labelled_traces

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
GAME = {"prm_warm_steps": 2, "adversary_warm_steps": 2, "checkpoint_every": 10**6, "device": "cpu", "seed": 0}
NEVER = 10**6


def steppers(options: Options, arms: dict[str, tuple[str, Path, str, dict[str, Any]]]) -> dict[str, Stepper]:
    """Start the trainings: by arm its interpreter, source, kind and settings."""
    started = {}
    for name, (python, source, kind, settings) in arms.items():
        place = options.place / name.replace(" ", "-").replace("/", "-")
        started[name] = Stepper(python, source, kind, settings | {"place": str(place)}, Path(f"{place}.txt"))
    return started


def taking_turns(
    started: dict[str, Stepper], steps: int, *, skip: int = 1
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, dict[str, Any]]]:
    """Return the seconds of every arm's steps, those that are skipped left out, and what each arm said last."""
    for one in started.values():
        for _ in range(skip):
            one.step()
    arms = in_turn({name: one.step for name, one in started.items()}, steps, warm=False)
    return arms, {name: one.close() for name, one in started.items()}


def grouped(arms: dict[str, list[tuple[float, float]]], size: int) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds of so many steps together: single steps differ by their texts."""
    return {
        name: [
            (sum(one[0] for one in steps[i : i + size]), sum(one[1] for one in steps[i : i + size]))
            for i in range(0, len(steps) - size + 1, size)
        ]
        for name, steps in arms.items()
    }


# --- against trl -----------------------------------------------------------------------------------------------------


def prm(options: Options) -> Measured:
    """Supervised training against trl's, one update each in turn."""
    from sparring.traces.jsonl import write_traces

    per_round, batch = 2 if options.quick else 8, 32
    updates = 1 + options.rounds * per_round
    start = make_prm(TINY_POLICY, options.place / "start")
    traces = labelled_traces(batch * (updates + 2), 0, "speed", (2, 8))
    write_traces(options.place / "ours.jsonl", traces)
    rows = [{"question": t.problem.question, "steps": t.steps, "labels": t.labels} for t in traces]
    theirs = options.place / "theirs.jsonl"
    theirs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    layout = {"before": "", "after": "", "separator": "\n"}  # what PRMTrainer makes of a prompt and its steps
    ours = {
        "data": str(options.place / "ours.jsonl"), "backbone": str(start), "layout": layout, "validation_share": 0.0,
        "epochs": 1, "batch_traces": batch, "learning_rate": 1e-3, "checkpoint_every": NEVER, "device": "cpu",
    }  # fmt: skip
    started = steppers(
        options,
        {
            "ours": (options.peer_python, SOURCE, "prm", ours),
            "trl": (
                options.peer_python, SOURCE, "trl_prm",
                {"data": str(theirs), "model": str(start), "batch": batch, "epochs": 1, "learning_rate": 1e-3},
            ),
        },
    )  # fmt: skip
    arms, _ = taking_turns(started, options.rounds * per_round)
    arms = grouped(arms, per_round)
    claim = ratio(
        "`PRMTrainer` of trl, for `sparring train prm`'s time on as many tokens of the same kind",
        arms, "trl", "ours", 1.5, at_least=True,
    )  # fmt: skip
    settings = {
        "updates per round": per_round,
        "batch": batch,
        "model": TINY_POLICY,
        "steps": "2 to 8",
        "trl": version(options),
    }
    return Measured(arms, {"prm": claim}, settings)


def rl(options: Options) -> Measured:
    """Reinforcement learning against trl's, one update each in turn."""
    per_round, problems, samples, limit = 1 if options.quick else 2, 8, 8, 160
    updates = 2 + options.rounds * per_round
    rows = [
        {"prompt": f"{problem.question} \n", "answer": problem.answer}
        for problem in generate_problems(problems * (updates + 2), steps=(3, 5), seed=0, name="speed-rl")
    ]
    data = options.place / "problems.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ours = {
        "problems_per_update": problems, "samples_per_problem": samples, "max_new_tokens": limit, "credit": "outcome",
        "kl": 0.01, "updates": updates + 2, "learning_rate": 1e-5, "adapter": "full", "watch_every": NEVER,
        "watch_problems": 2, "checkpoint_every": NEVER, "device": "cpu",
    }  # fmt: skip
    started = steppers(
        options,
        {
            "ours": (options.peer_python, SOURCE, "rl", ours),
            "trl": (
                options.peer_python, SOURCE, "trl_grpo",
                {
                    "data": str(data), "model": resolve_model(TINY_POLICY), "problems": problems, "samples": samples,
                    "max_new_tokens": limit, "kl": 0.01, "updates": updates + 2, "learning_rate": 1e-5,
                },
            ),
        },
    )  # fmt: skip
    arms, _ = taking_turns(started, options.rounds * per_round)
    arms = grouped(arms, per_round)
    claim = ratio(
        "`GRPOTrainer` of trl, for `sparring train rl`'s time on as many samples",
        arms,
        "trl",
        "ours",
        1.3,
        at_least=True,
    )
    settings = {
        "problems": problems,
        "samples": samples,
        "max_new_tokens": limit,
        "kl": 0.01,
        "trl": version(options),
    }
    return Measured(arms, {"rl": claim}, settings)


def version(options: Options) -> str:
    """Return the version of trl that the peer's interpreter has."""
    words = [options.peer_python, "-c", "from importlib.metadata import version; print(version('trl'))"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


# --- the game --------------------------------------------------------------------------------------------------------


def game(options: Options) -> Measured:
    """One update of the game now and at an earlier commit, in both of the demo's trained arms."""
    assert options.base is not None
    per_round = 2 if options.quick else 4
    arms, claims = {}, {}
    for adversary, title in (("trained", "of the game"), ("frozen", "against a frozen adversary")):
        settings = GAME | {"adversary": adversary, "updates": NEVER}
        started = steppers(
            options,
            {
                f"{adversary}, before": (sys.executable, options.base / "src", "aprm", settings),
                f"{adversary}, now": (sys.executable, SOURCE, "aprm", settings),
            },
        )
        found, _ = taking_turns(started, options.rounds * per_round, skip=5)
        arms |= grouped(found, per_round)
        claims[adversary] = ratio(
            f"one update {title} at {options.base.name}, for one now", arms, f"{adversary}, before", f"{adversary}, now",
            2.0, at_least=True,
        )  # fmt: skip
    return Measured(arms, claims, {"updates per round": per_round, "policy": TINY_POLICY})


def larger_model(folder: Path, layers: int, width: int) -> Path:
    """Write a random model with the tiny policy's vocabulary, and return its folder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=8, vocab_size=41, max_position_embeddings=512, tie_word_embeddings=True, eos_token_id=1,
        pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    load_tokenizer(TINY_POLICY).save_pretrained(folder)
    return folder


def four_models(options: Options) -> Measured:
    """The game with adapters against the game with four whole models."""
    backbone = str(larger_model(options.place / "backbone", layers=8, width=640))
    # Few texts at once, so that memory is that of weights, as it is with models that are worth the question.
    few = {"states_per_update": 2, "samples_per_state": 2, "states_per_pass": 2}
    settings = GAME | {"updates": NEVER, "backbone": backbone} | few
    started = steppers(
        options,
        {
            name: (sys.executable, SOURCE, "aprm", settings | {"adapter": adapter})
            for name, adapter in (("adapters", "lora"), ("four models", "full"))
        },
    )
    arms, last = taking_turns(started, options.rounds, skip=5)
    held = {name: one["peak"] - one["at_start"] for name, one in last.items()}
    memory = Claim(
        "most memory of the game with adapters, for that of four models (beyond the libraries')", 0.35, False,
        {"cpu": [held["adapters"] / held["four models"]]},
    )  # fmt: skip
    time_of = ratio(
        "one update of the game with adapters, for one with four models",
        arms,
        "adapters",
        "four models",
        0.7,
        at_least=False,
    )
    parameters = sum(p.numel() for p in LlamaForCausalLM.from_pretrained(backbone).parameters())
    return Measured(
        arms,
        {"memory": memory, "time": time_of},
        {"parameters": parameters, "states": 2, "samples": 2, "states in a pass": 2},
        {"bytes": held},
    )


def budget(options: Options) -> Measured:
    """The parts of one update of the game."""
    arms, claims, numbers = {}, {}, {}
    cases = {
        "tiny policy": TINY_POLICY,
        "larger model": str(larger_model(options.place / "backbone", layers=6, width=384)),
    }
    for name, backbone in cases.items():
        settings = GAME | {"updates": NEVER, "backbone": backbone, "count_flops": 6}
        (stepper,) = steppers(options, {name: (sys.executable, SOURCE, "aprm", settings)}).values()
        for _ in range(5):
            stepper.step()
        flops, counted = stepper.last["flops"], stepper.last["tokens"]
        steps, oracle = [], []
        for _ in range(options.rounds):
            steps.append(stepper.step())
            oracle.append(stepper.last["oracle"])
        stepper.close()
        arms[name] = steps
        cpu = [one[0] for one in steps]
        rate = matmul_rate(backbone)
        rest = [1 - flops / rate / whole - part / whole for whole, part in zip(cpu, oracle, strict=True)]
        claims[f"oracle, {name}"] = Claim(
            f"share of the oracle in one update of the game, {name}", 0.1, False,
            {"cpu": [part / whole for part, whole in zip(oracle, cpu, strict=True)]},
        )  # fmt: skip
        claims[f"overhead, {name}"] = Claim(
            f"share of one update above the floor of its matrix products, {name}", 0.3, False, {"cpu": rest}
        )
        numbers[name] = {
            "FLOPs": flops, "FLOPs per second of large products": rate, "seconds": statistics.median(cpu),
            "floor in seconds": flops / rate, "oracle in seconds": statistics.median(oracle), "tokens": counted,
        }  # fmt: skip
    return Measured(arms, claims, {}, numbers)


def matmul_rate(backbone: str) -> float:
    """Return floating-point operations per second of the product that a layer's first projection is, for 2048 tokens."""
    config = LlamaConfig.from_pretrained(resolve_model(backbone))
    left, right = (
        torch.randn(2048, config.hidden_size),
        torch.randn(config.hidden_size, config.intermediate_size),
    )
    times = []
    for _ in range(20):
        begun = time.process_time()
        for _ in range(10):
            left @ right
        times.append(time.process_time() - begun)
    return 10 * 2 * 2048 * config.hidden_size * config.intermediate_size / statistics.median(times)
