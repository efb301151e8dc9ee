"""A training in a process of its own that makes one step whenever it is told to, so that two trainings can be run in turn.

    python stepper.py KIND SETTINGS     `go` on standard input: one step; answered by a line of JSON with its seconds

Kinds: `aprm`, `prm`, `rl` of the package that Python finds first, `trl_prm` and `trl_grpo`. Only what is public is called:
trainings report every step to a function, which waits here for the next word. At the end of the input the process ends
without saving anything, and says the most memory that it held.

`Stepper` is the other side.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Seconds = tuple[float, float]


class Stepper:
    """A training in another process.

    Args:
        python: its interpreter.
        source: the folder that the package is taken from.
        kind: of training.
        settings: of it, as JSON.
        log: file of what it prints besides.
    """

    def __init__(self, python: str, source: Path, kind: str, settings: dict[str, Any], log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), kind, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"},
        )
        self.last: dict[str, Any] = {}

    def step(self) -> Seconds:
        """Make one step and return its seconds; what else it says stands in `last`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the training ended early: {Path(self._log.name).read_text()[-2000:]}")
        self.last = json.loads(line)
        return self.last["cpu"], self.last["wall"]

    def close(self) -> dict[str, Any]:
        """End it and return what it says last."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        line = self._process.stdout.readline()
        self._process.wait()
        self._log.close()
        return dict(json.loads(line)) if line else {}


# --- in the other process --------------------------------------------------------------------------------------------


class Gate:
    """Waits for words, and tells what was done since the last one."""

    def __init__(self) -> None:
        # Whatever else is printed must not come between the answers.
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._begun: Seconds | None = None
        self.at_start = memory()

    def loaded(self) -> None:
        """Note what memory is held before there is any model."""
        self.at_start = memory()

    def reached(self, **said: Any) -> None:
        """A step is over: answer, and wait for the next word."""
        if self._begun is not None:
            cpu, wall = self._begun
            spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            print(json.dumps({**spent, **said}), file=self._answers, flush=True)
        if not sys.stdin.readline():
            held = {"peak": memory(), "at_start": self.at_start}
            print(json.dumps(held), file=self._answers, flush=True)
            os._exit(0)
        self._begun = time.process_time(), time.perf_counter()


def memory() -> int:
    """Return the most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def aprm(settings: dict[str, Any], gate: Gate) -> None:
    """The game."""
    from torch.utils.flop_counter import FlopCounterMode

    from sparring.oracles.panel import Panel
    from sparring.training.aprm import AprmSettings, train_aprm
    from sparring.training.game_tasks import WorldTask

    judged = 0.0
    for task in (WorldTask, Panel):
        for name in ("judge_many",) if task is WorldTask else ("judge_against_many",):
            plain = getattr(task, name)

            def watched(self: Any, steps: Any, plain: Any = plain) -> Any:
                nonlocal judged
                begun = time.process_time()
                found = plain(self, steps)
                judged += time.process_time() - begun
                return found

            setattr(task, name, watched)

    # The counter slows an update down: it is on for one of them, and what it counted is told from then on.
    counted = settings.pop("count_flops", 0)
    counter, flops = FlopCounterMode(display=False), 0

    def told(step: int, record: Any) -> None:
        nonlocal judged, flops
        if counted and step == counted:
            counter.__exit__(None, None, None)
            flops = counter.get_total_flops()
        gate.reached(
            phase=record["phase"],
            oracle=judged,
            flops=flops,
            tokens=record["tokens_per_second"] * record["seconds"],
        )
        judged = 0.0
        if counted and step + 1 == counted:
            counter.__enter__()

    gate.loaded()
    train_aprm(AprmSettings(**settings), Path(settings_place()), progress=told)


def prm(settings: dict[str, Any], gate: Gate) -> None:
    """Supervised training."""
    from sparring.training.supervised import PrmSettings, train_supervised

    gate.loaded()
    train_supervised(
        PrmSettings(**settings),
        Path(settings_place()),
        progress=lambda step, record: gate.reached(tokens=record["tokens"]),
    )


def rl(settings: dict[str, Any], gate: Gate) -> None:
    """Reinforcement learning."""
    from sparring.training.rl import train_rl
    from sparring.training.rl_settings import RlSettings

    gate.loaded()
    train_rl(
        RlSettings(**settings),
        Path(settings_place()),
        progress=lambda step, record: gate.reached(tokens=record["trained_tokens"]),
    )


def trl_prm(settings: dict[str, Any], gate: Gate) -> None:
    """TRL's trainer of process reward models, on the rows and the model that it is given."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForTokenClassification, AutoTokenizer, PrinterCallback
    from trl.experimental.prm import PRMConfig, PRMTrainer

    disable_progress_bars()
    gate.loaded()
    rows = [json.loads(line) for line in Path(settings["data"]).read_text().splitlines()]
    data = [
        {
            "prompt": row["question"],
            "completions": row["steps"],
            "labels": [label == 1.0 for label in row["labels"]],
        }
        for row in rows
    ]
    config = PRMConfig(
        output_dir=settings_place(), learning_rate=settings["learning_rate"], max_length=None, bf16=False, use_cpu=True,
        per_device_train_batch_size=settings["batch"], num_train_epochs=settings["epochs"], seed=0, disable_tqdm=True,
        train_sampling_strategy="sequential", gradient_checkpointing=False, logging_steps=1, save_strategy="no",
        report_to=[], dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = PRMTrainer(
        model=AutoModelForTokenClassification.from_pretrained(settings["model"], dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(stopping(gate))
    trainer.train()


def trl_grpo(settings: dict[str, Any], gate: Gate) -> None:
    """TRL's GRPO on the world's problems, paid for right answers."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    from sparring.traces.records import Problem
    from sparring.worlds.chain import final_answer

    disable_progress_bars()
    gate.loaded()
    rows = [json.loads(line) for line in Path(settings["data"]).read_text().splitlines()]

    def paid(
        prompts: Sequence[str], completions: Sequence[str], answer: Sequence[str], **_: Any
    ) -> list[float]:
        problems = [Problem("", prompt.strip(), right) for prompt, right in zip(prompts, answer, strict=True)]
        steps = [[step.strip() for step in text.split("\n") if step.strip()] for text in completions]
        return [
            float(final_answer(problem, written) == problem.answer)
            for problem, written in zip(problems, steps, strict=True)
        ]

    config = GRPOConfig(
        output_dir=settings_place(), learning_rate=settings["learning_rate"], beta=settings["kl"], use_cpu=True, bf16=False,
        num_generations=settings["samples"], per_device_train_batch_size=settings["problems"] * settings["samples"],
        max_completion_length=settings["max_new_tokens"], temperature=1.0, top_k=0, max_steps=settings["updates"],
        disable_tqdm=True, gradient_checkpointing=False, save_strategy="no", report_to=[], dataloader_pin_memory=False,
        logging_steps=1, seed=0, mask_truncated_completions=True,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32),
        args=config,
        reward_funcs=paid,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(stopping(gate))
    trainer.train()


def stopping(gate: Gate) -> Any:
    """Return a callback of transformers' trainers that waits at the end of every step."""
    from transformers import TrainerCallback

    class Stopping(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            gate.reached()

    return Stopping()


def settings_place() -> str:
    """Return the folder that this training may write to."""
    return str(json.loads(sys.argv[2])["place"])


KINDS = {"aprm": aprm, "prm": prm, "rl": rl, "trl_prm": trl_prm, "trl_grpo": trl_grpo}


def main() -> None:
    """Train as the command line says."""
    import torch

    torch.set_num_threads(1)
    gate = Gate()
    given = json.loads(sys.argv[2])
    del given["place"]
    KINDS[sys.argv[1]](given, gate)


if __name__ == "__main__":
    main()
