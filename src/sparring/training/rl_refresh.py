"""Keeping the PRM fresh while the policy moves: labels for its latest answers, or more rounds of the APRM game.

A PRM that has never seen what the policy writes now is easily pleased. Every `refresh_every` updates, either

- `labels`: the policy's latest answers are labelled, and the PRM is trained on them (`supervised.py`). Correctness comes
  from the world's exact oracle or the panel; values of a value model from rollouts of the policy as it is now; or
- `game`: the APRM run that the PRM came from goes on (`aprm.py`), both players as it left them, with steps that the policy
  wrote and the oracle found correct in place of the reference solutions'.

Contract: a refresh is a function of the checkpointed state: it reads one PRM folder and writes the next, in
`refresh/<update>/`, with everything that the refresh after it needs. The run's checkpoint holds the number of that folder;
one that no checkpoint names any more is removed. Where the answers hold nothing to learn from, the PRM stays as it is, and
the record says why. Not here: whether it helped; `rl_monitors.py` compares answers under one and the same PRM.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sparring.errors import DataError, SettingsError
from sparring.files import atomic_write_json
from sparring.json_files import read_json_object
from sparring.labels.posterior import estimate, exact
from sparring.models.loading import load_tokenizer, resolve_model
from sparring.models.roles import Policy
from sparring.models.sidecar import Calibration, Sidecar, read_sidecar
from sparring.oracles.panel import Panel
from sparring.runs import METRICS_FILE
from sparring.settings_shared import seed_from
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Label, Trace, step_labels
from sparring.training import aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import State, TextTask, WorldTask
from sparring.training.processes import from_main, is_main, wait
from sparring.training.rl_scores import PrmScores, StepScores, load_prm_scores, prefix_values
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import Sampler, Subject
from sparring.training.run import folder_digest, verified
from sparring.training.supervised import train_supervised
from sparring.training.supervised_settings import PrmSettings, SupervisedSettings, ValueSettings
from sparring.worlds.subject import TEXT
from sparring.worlds.world import judged, make_world


class Run(Protocol):
    """What a refresh sees and changes of the run of reinforcement learning (`rl.Run`)."""

    settings: RlSettings
    out: Path
    step: int
    subject: Subject
    policy: Policy
    sampler: Sampler
    scores: StepScores | None
    recent: deque[Trace]
    refreshed: int
    refresh_digest: str | None


def refresh_due(run: Run, records: Sequence[dict[str, Any]]) -> bool:
    """Whether a refresh comes before the update to come, and has not been made."""
    settings = run.settings
    return (
        settings.refresh != "none"
        and 0 < run.step < settings.updates
        and run.step % settings.refresh_every == 0
        and not (records and records[-1]["update"] == run.step)
    )


def check_refresh(settings: RlSettings) -> None:
    """Refuse at the start what could only fail at the first refresh.

    Raises:
        SettingsError: the PRM cannot be trained on, or there is no APRM run to go on with.
        CheckpointError: the PRM's folder cannot be read.
    """
    if settings.refresh == "none":
        return
    assert settings.prm is not None
    folder = Path(resolve_model(settings.prm))
    sidecar = read_sidecar(folder)
    if settings.refresh == "labels":
        if sidecar.head not in ("token_classification", "label_tokens") or sidecar.correct_label != 1:
            raise SettingsError(
                f"refresh: labels trains PRMs as `sparring train` writes them; '{settings.prm}' has the head "
                f"'{sidecar.head}' with correct_label {sidecar.correct_label}"
            )
        sidecar.span_layout()  # raises for a layout that training does not know
        _label_texts(folder, sidecar)
        return
    stored, _ = _stored_game(folder.parent)
    if stored.task != settings.task:
        raise SettingsError(
            f"refresh: game needs an APRM run of the same task: that of '{settings.prm}' is {stored.task}"
        )
    if stored.dtype != settings.dtype:
        raise SettingsError(f"refresh: game needs the dtype of the APRM run, which is {stored.dtype}")


def refresh(run: Run) -> dict[str, Any]:
    """Replace the run's PRM by one that has learned from the policy's latest answers; return the record."""
    settings = run.settings
    assert isinstance(run.scores, PrmScores)
    folder = run.out / "refresh" / f"{run.step:06d}"
    _remove(folder)
    record: dict[str, Any] = {"update": run.step, "answers": len(run.recent), "skipped": None}
    with ExitStack() as stack:
        panel = stack.enter_context(Panel(settings.refresh_oracle)) if settings.task == TEXT else None
        traces = label_answers(run, panel)
        targets = [target for trace in traces for target in targets_of(trace)]
        record["labelled_steps"] = sum(target is not None for target in targets)
        record["undecided_steps"] = sum(map(undecided_steps, traces))
        record["brier_before"] = brier(run.scores, traces)
        source = prm_folder(run)
        run.scores = None  # one PRM in memory at a time
        try:
            if settings.refresh == "labels":
                train_on_labels(
                    settings, source, traces, folder, seed_from(settings.seed, run.step, "refresh")
                )
            else:
                record |= play_on(settings, source.parent, traces, panel, folder)
            run.refreshed, run.refresh_digest = run.step, from_main(lambda: folder_digest(folder))
        except DataError as error:
            record["skipped"] = error.message
            _remove(folder)
    scores = load_prm_scores(settings, prm_folder(run))
    run.scores = scores
    return record | {"brier_after": brier(scores, traces)}


def _remove(*folders: Path) -> None:
    for folder in folders:
        if is_main():
            shutil.rmtree(folder, ignore_errors=True)
    wait()


def prm_folder(run: Run) -> Path:
    """Return where the run's PRM is as it is now."""
    assert run.settings.prm is not None
    if not run.refreshed:
        return Path(resolve_model(run.settings.prm))
    name = "model" if run.settings.refresh == "labels" else "prm"
    return run.out / "refresh" / f"{run.refreshed:06d}" / name


# --- labels ----------------------------------------------------------------------------------------------------------


def label_answers(run: Run, panel: Panel | None) -> list[Trace]:
    """Return the latest answers with step labels, or, for a value model, with the values of their prefixes."""
    settings, traces = run.settings, list(run.recent)
    assert isinstance(run.scores, PrmScores)
    if run.scores.scorer.sidecar.meaning == "value":
        with run.policy.whole(), run.policy.sampling():
            rows = prefix_values(
                run.sampler.in_step(),
                run.subject.checker,
                [(trace.problem, trace.steps, float(trace.outcome is True)) for trace in traces],
                rollouts=settings.prover_rollouts,
                limits=settings.limits(settings.temperature),
                seed=seed_from(settings.seed, run.step, "refresh values"),
                stop=settings.stop,
            )
        count = settings.prover_rollouts
        return [
            replace(
                trace,
                estimates=(
                    *(estimate(round(value * count), count) for value in row[1:-1]),
                    exact(float(row[-1])),
                ),
            )
            for trace, row in zip(traces, rows, strict=True)
        ]
    if panel is None:
        return [judged(settings.world, trace) for trace in traces]
    questions = [(t.problem, t.steps[:place], step) for t in traces for place, step in enumerate(t.steps)]
    verdicts = iter(panel.judge_many(questions))
    return [replace(t, labels=step_labels([next(verdicts).truth for _ in t.steps])) for t in traces]


def targets_of(trace: Trace) -> tuple[Label, ...]:
    """Return what a PRM should say of each step of a labelled answer; None where nobody knows."""
    if trace.estimates is not None:
        return tuple(None if one is None else one.value for one in trace.estimates)
    return trace.labels or ()


def undecided_steps(trace: Trace) -> int:
    """Return how many steps before the first wrong one the oracle could not tell."""
    labels = trace.labels or ()
    return labels[: labels.index(0.0) if 0.0 in labels else None].count(None)


def brier(scores: PrmScores, traces: Sequence[Trace]) -> float | None:
    """Return the mean squared error of a PRM's scores of labelled answers; None without any label."""
    rows = scores.scorer.score(traces)
    errors = [
        (score - target) ** 2
        for trace, row in zip(traces, rows, strict=True)
        for score, target in zip(row, targets_of(trace), strict=False)
        if target is not None
    ]
    return float(np.mean(errors)) if errors else None


def train_on_labels(
    settings: RlSettings, source: Path, traces: Sequence[Trace], folder: Path, seed: int
) -> None:
    """Train the PRM at `source` on labelled answers; the new one is `folder/model`.

    Raises:
        DataError: no answer has a label.
    """
    if not any(target is not None for trace in traces for target in targets_of(trace)):
        raise DataError("no step of the latest answers has a label")
    if is_main():
        folder.mkdir(parents=True)
        write_traces(folder / "answers.jsonl", traces)
    wait()
    sidecar = read_sidecar(source)
    # A calibrated PRM stays calibrated: the policy's answers are fewer than those that it was first fitted on.
    calibrated = sidecar.calibration != Calibration() and len({t.problem.question for t in traces}) > 1
    fields: dict[str, object] = {
        "data": str(folder / "answers.jsonl"),
        "data_format": "sparring",
        "backbone": str(source),
        "head": sidecar.head,
        "layout": sidecar.layout.model_dump(),
        "max_length": sidecar.max_length,
        "overflow": "drop_steps",
        "validation_share": 0.2 if calibrated else 0.0,
        "calibrate": calibrated,
        "class_balance": "none",
        "adapter": settings.adapter,
        "lora_rank": settings.lora_rank,
        "lora_targets": settings.lora_targets,
        "epochs": settings.refresh_steps,  # one update at least per epoch, so that max_updates is what decides
        "max_updates": settings.refresh_steps,
        "learning_rate": settings.refresh_learning_rate,
        "token_budget": settings.tokens_per_pass,
        "schedule": "constant",
        "keep": "last",
        "seed": seed,
        "device": settings.device,
        "dtype": settings.dtype,
    }
    if sidecar.head == "label_tokens":
        fields["label_tokens"] = _label_texts(source, sidecar)
    kind: type[SupervisedSettings] = ValueSettings if sidecar.meaning == "value" else PrmSettings
    train_supervised(kind.model_validate(fields), folder)
    if is_main():
        _record_relative_paths(settings, source, folder)
    _remove(folder / "checkpoint", folder / "best")  # a refresh that was killed begins anew


def _record_relative_paths(settings: RlSettings, source: Path, folder: Path) -> None:
    """Say in the refresh's `metrics.json` where its data and its PRM were, as seen from it: a run may be moved."""
    content = read_json_object(folder / METRICS_FILE, loose=True)
    own = source.parent.parent == folder.parent
    backbone = os.path.relpath(source, folder) if own else settings.prm
    content["settings"] |= {"data": "answers.jsonl", "backbone": backbone}
    atomic_write_json(folder / METRICS_FILE, content)


def _label_texts(folder: Path, sidecar: Sidecar) -> tuple[str, ...] | None:
    if sidecar.label_tokens is None:
        return None
    tokenizer = load_tokenizer(folder)
    texts = tuple(tokenizer.decode([index]) for index in sidecar.label_tokens)
    found = tuple(tuple(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    if found != tuple((index,) for index in sidecar.label_tokens):
        raise SettingsError(f"refresh: the label tokens of '{folder}' cannot be written as texts")
    return texts


# --- the game --------------------------------------------------------------------------------------------------------


def play_on(
    settings: RlSettings, source: Path, traces: Sequence[Trace], panel: Panel | None, folder: Path
) -> dict[str, Any]:
    """Go on with the APRM run in `source` on the policy's correct steps; it is then in `folder`, its PRM in `folder/prm`.

    Returns:
        The means over the rounds of `fool_rate` and the PRM's accuracies.

    Raises:
        DataError: the policy wrote no step that the oracle finds correct and that the adversary could read.
    """
    stored, digest = _stored_game(source)
    stored = stored.model_copy(update={"device": settings.device, "trackers": []})
    # Set up as if for a world: the file of problems that the run began with is not needed.
    world = "chain" if stored.task == TEXT else stored.task
    game = aprm.setup(stored.model_copy(update={"task": world, "solver_steps": None}), folder)
    game.settings, game.out, game.task.digest = stored, source, digest
    game.restore()
    game.out = folder
    game.task = _task(game, traces, panel)
    rate = stored.final_learning_rate
    game.settings = stored.model_copy(
        update={
            "prm_learning_rate": stored.prm_learning_rate * rate,
            "adversary_learning_rate": stored.adversary_learning_rate * rate,
            "final_learning_rate": 1.0,
            "rise_steps": 0,
        }
    )
    records = []
    for _ in range(settings.refresh_steps):
        records.append(aprm.play_round(game, by_rules=stored.adversary == "rules"))
        game.step += 1
    game.settings = stored
    game.save()
    game.settings = stored.model_copy(
        update={"updates": game.step - stored.warm_steps}
    )  # what the model card says
    aprm.export_prm(game, folder / "prm")
    means = {}
    for name in ("fool_rate", "prm_accuracy_clean", "prm_accuracy_fresh"):
        known = [record[name] for record in records if record.get(name) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def _task(game: aprm.Run, traces: Sequence[Trace], panel: Panel | None) -> WorldTask | TextTask:
    problems = [
        replace(trace.problem, solution=part)
        for trace in traces
        if (part := correct_part(trace, exact=panel is None))
    ]
    if not problems:
        raise DataError("no step of the latest answers is known to be correct")
    reason = "no correct step of the latest answers fits into the game's max_length"

    def fits(state: State) -> bool:
        return aprm.fits(game, state, game.settings.max_length)

    if panel is not None:
        task = TextTask(problems, panel)
        task.keep([fits(state) for state in task.states], reason)
        return task
    states = [State(problem, place) for problem in problems for place in range(len(problem.solution or ()))]
    if not (fitting := [state for state in states if fits(state)]):
        raise DataError(reason)
    return WorldTask(make_world(game.settings.task), states=fitting)


def correct_part(trace: Trace, *, exact: bool) -> tuple[str, ...]:
    """Return the steps of a labelled answer before its first wrong one.

    An oracle that is not exact leaves steps undecided; then only answers that ended right count, and of those such steps
    too: the game takes the steps around an original for correct.
    """
    labels = trace.labels or ()
    if not exact and trace.outcome is not True:
        return ()
    return trace.steps[: labels.index(0.0) if 0.0 in labels else len(labels)]


def _stored_game(source: Path) -> tuple[AprmSettings, str]:
    """Return the settings of an APRM run, and the digest of its data."""
    if not (source / "checkpoint").is_dir():
        raise SettingsError(
            f"refresh: game goes on with the APRM run that `prm` came from: '{source}' has no checkpoint/ beside the PRM"
        )
    values = verified(source / "checkpoint")
    return AprmSettings.model_validate(values["settings"]), values["digest"]
