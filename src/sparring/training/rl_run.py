"""One RL run in memory and on disk: what it holds, its checkpoints, its results, its model card.

Contract: everything here is about keeping and restoring; how a policy is trained is in `rl.py`. The reference is the
policy's folder as it was at the start, so it is loaded again and not kept in checkpoints.
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sparring.files import atomic_directory
from sparring.models.prompts import prompt_digest
from sparring.runs import JsonlLog, Metric, write_metrics
from sparring.settings import dump_settings
from sparring.traces.jsonl import record_to_trace, trace_to_record
from sparring.traces.records import Trace
from sparring.training import run as run_state
from sparring.training.rl_monitors import look_metrics
from sparring.training.rl_policy import Policy
from sparring.training.rl_scores import StepScores
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import Sampler, Subject
from sparring.training.run import (
    CHECKPOINT,
    Divergence,
    Part,
    damaged,
    folder_digest,
    load_state,
    peak_memory,
    refuse_changes,
    restoring,
)

_COUNTERS = ("step", "samples", "tokens", "refreshed", "refresh_digest")


@dataclass
class Run:
    """Everything that a training run holds in memory.

    Attributes:
        recent: the latest whole answers with their outcomes, for the next refresh of the PRM; none kept without one.
        refreshed: the update before which the PRM was last refreshed, 0 for the PRM that the run began with.
        refresh_digest: of the folder that this refresh wrote.
    """

    settings: RlSettings
    out: Path
    accelerator: Accelerator
    subject: Subject
    tokenizer: Any
    policy: Policy
    sampler: Sampler
    scores: StepScores | None
    optimizer: torch.optim.Optimizer
    divergence: Divergence
    logs: list[JsonlLog] = field(default_factory=list)
    step: int = 0
    samples: int = 0
    tokens: int = 0
    recent: deque[Trace] = field(default_factory=deque)
    refreshed: int = 0
    refresh_digest: str | None = None

    @property
    def prompt(self) -> str:
        """Names the texts that the policy, and a prover, are prompted with."""
        prover = getattr(self.scores, "engine", None)
        return prompt_digest(self.sampler.layout, getattr(prover, "layout", None))

    def track(self, prefix: str, record: Mapping[str, Any]) -> None:
        """Send a record's numbers to the trackers."""
        numbers = {f"{prefix}/{name}": value for name, value in record.items() if isinstance(value, float)}
        self.accelerator.log(numbers, step=self.step)

    def card(self, stopped: str | None) -> str:
        """Return the text of the policy's model card."""
        settings = self.settings
        rows = {
            "started from": f"`{Path(settings.policy).name}`",
            "credit": f"{settings.credit}, weight {settings.process_weight}; outcome weight {settings.outcome_weight}",
            "updates, answers": f"{self.step}, {self.samples}",
            "seed": settings.seed,
        } | ({} if stopped is None else {"stopped": stopped})
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        return (
            "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [sparring]\n---\n\n"
            f"# Policy trained by reinforcement learning with step rewards\n\n| | |\n|---|---|\n{table}\n"
        )


def save_checkpoint(run: Run) -> None:
    """Write everything that resuming needs."""
    values = {name: getattr(run, name) for name in _COUNTERS}
    values |= {
        "recent": [trace_to_record(trace) for trace in run.recent],
        "settings": dump_settings(run.settings),
        "digest": run.subject.digest,
        "prompt": run.prompt,
    }
    run_state.save_checkpoint(run.out, _parts(run), values, run.logs)
    for folder in (run.out / "refresh").glob("*"):  # earlier PRMs: no checkpoint needs them any more
        if folder.name != f"{run.refreshed:06d}":
            shutil.rmtree(folder)


def restore(run: Run) -> None:
    """Load the run's checkpoint; settings and data must be those of this run.

    Raises:
        CheckpointError: it, a log or the refreshed PRM is not what was written, or does not fit.
        SettingsError: it is of other settings or data.
    """
    folder = run.out / CHECKPOINT
    tensors, values = load_state(folder)
    with restoring(folder):
        refuse_changes(run.out, run.settings, run.subject.digest, values, prompt=run.prompt)
        for name in _COUNTERS:
            setattr(run, name, values[name])
        run.recent.extend(map(record_to_trace, values["recent"]))
    prm = run.out / "refresh" / f"{run.refreshed:06d}"
    if run.refreshed and folder_digest(prm) != run.refresh_digest:
        raise damaged(prm, "is not what was written: a file in it was changed or is missing")
    run_state.restore_parts(run.out, tensors, values, _parts(run), run.logs)


def _parts(run: Run) -> list[Part]:
    return [Part("policy", run.policy.parameters(), run.optimizer)]


def finish(
    run: Run,
    records: Sequence[dict[str, Any]],
    looks: Sequence[dict[str, Any]],
    refreshes: Sequence[dict[str, Any]],
    stopped: str | None,
    prm: Path | None,
) -> Path:
    """Write the policy folder, the refreshed PRM where there is one, and the run's metrics; return the policy's folder."""
    settings = run.settings
    folder = run.out / "policy"
    run.policy.save(folder, run.tokenizer, run.card(stopped))
    if run.refreshed and prm is not None:
        with atomic_directory(run.out / "prm") as temporary:
            shutil.copytree(prm, temporary, dirs_exist_ok=True)
    seconds = sum(record["seconds"] for record in records) or float("nan")
    metrics = {
        "rl.seconds": Metric(seconds, unit="s"),
        "rl.updates": Metric(float(run.step)),
        "rl.samples": Metric(float(run.samples)),
        "rl.tokens_per_second": Metric(run.tokens / seconds, unit="tokens/s"),
        "rl.peak_memory": Metric(float(peak_memory(run.policy.device)), unit="bytes"),
        "rl.stopped_for_hacking": Metric(float(stopped is not None)),
        **look_metrics(looks[0], "rl.start"),
        **look_metrics(looks[-1], "rl.end"),
    }
    if settings.refresh != "none":
        metrics["rl.refreshes"] = Metric(float(sum(record["skipped"] is None for record in refreshes)))
    skipped = Counter(f"refresh of the PRM: {r['skipped']}" for r in refreshes if r["skipped"] is not None)
    prover = getattr(run.scores, "engine", None)
    doubts = [] if prover is None else prover.usage.doubts
    extra = {"stopped": stopped, "doubts": doubts, "left_out": dict(run.subject.left_out + skipped)}
    write_metrics(run.out, metrics, settings=dump_settings(settings), seed=settings.seed, extra=extra)
    return folder
