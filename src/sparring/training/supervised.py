"""Supervised training of step scorers: process reward models, outcome reward models, value models.

One file for three commands, which differ in a trace's targets only:

- `train prm`: the label of every step, hard or soft;
- `train orm`: the outcome, at the last step;
- `train value`: the soft Monte-Carlo value Q̂ of every prefix, classes balanced (arXiv 2410.08146, section 4.2).

The loss is the cross-entropy of the score at a step's scoring position with its target, averaged over the places of an
update whatever the passes that it is split into. A share of the problems is held out; on it loss, accuracy, AUC and
calibration are measured as training goes on, and from it comes the choice of the weights to keep.

Contract: a run directory with `log.jsonl` (a record per update), `checkpoint/` (resume after any kill with the same
result), `best/`, and in the end `model/` (a Hugging Face folder), `reliability.svg` and `metrics.json`. All randomness is
a function of (seed, epoch or update). One device. Not here: making labels (`labels/`), the adversarial game (`aprm.py`).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from sparring.errors import DataError
from sparring.locks import writes
from sparring.models.batching import length_sorted_batches
from sparring.models.loading import check_vocabulary, load_tokenizer, pick_device, pick_dtype
from sparring.models.prompts import layout_for
from sparring.models.sidecar import Calibration
from sparring.runs import JsonlLog, Metric, write_metrics
from sparring.settings import dump_settings
from sparring.terminal import progress_bar
from sparring.traces.spans import Layout
from sparring.training.examples import (
    Example,
    Targets,
    estimated_values,
    examples_digest,
    hard_labels,
    make_examples,
    outcome_at_last_step,
    place_weights,
    read_labelled,
    soft_labels,
    split_by_group,
)
from sparring.training.run import (
    Divergence,
    Progress,
    make_accelerator,
    peak_memory,
    random_for,
    resumes,
    seed_for,
    tracked_settings,
)
from sparring.training.step_model import StepModel, context_length, label_token_ids
from sparring.training.supervised_run import (
    EpochPlan,
    Run,
    export,
    load_best,
    restore,
    save_best,
    save_checkpoint,
)
from sparring.training.supervised_settings import (
    OrmSettings,
    PrmSettings,
    SupervisedSettings,
    ValueSettings,
)
from sparring.training.validation import (
    Judged,
    cross_calibrated,
    fit_calibration,
    quick_statistics,
    validation_metrics,
    write_reliability_plot,
)


@writes("out")
def train_supervised(
    settings: SupervisedSettings, out: Path, *, resume: bool = False, progress: Progress | None = None
) -> Path:
    """Train a step scorer and return its folder.

    Args:
        settings: PrmSettings, OrmSettings or ValueSettings.
        out: the run directory.
        resume: go on from `out/checkpoint`; without a checkpoint there, start anew.
        progress: told of every update, with the log record and `updates`, how many are planned.

    Raises:
        SettingsError: `out` already holds a run and `resume` is off, or settings or data differ from those of the run.
        CheckpointError, DataError: a model or data file cannot be used.
    """
    run = setup(settings, out)
    log = JsonlLog(out / "log.jsonl")
    run.logs = [log]
    if resumes(out, run.logs, resume=resume):
        restore(run)
    run.accelerator.init_trackers("sparring-supervised", config=tracked_settings(settings))
    while run.step < run.updates and not run.stopped:
        started = time.perf_counter()
        record = update(run)
        run.step += 1
        if run.evaluates:
            record |= validate(run)
        record = {"step": run.step, **record, "seconds": time.perf_counter() - started}
        log.append(record)
        run.accelerator.log({k: v for k, v in record.items() if isinstance(v, float)}, step=run.step)
        if run.step % settings.checkpoint_every == 0 or run.step == run.updates or run.stopped:
            save_checkpoint(run)
        if progress is not None:
            progress(run.step, {**record, "updates": run.updates})
    records = list(log.records())
    log.close()
    run.accelerator.end_training()
    return finish(run, records)


# --- setup -----------------------------------------------------------------------------------------------------------


def setup(settings: SupervisedSettings, out: Path) -> Run:
    """Read data, load the model, make the optimiser."""
    out.mkdir(parents=True, exist_ok=True)
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    accelerator = make_accelerator(settings.trackers, out, device)
    torch.manual_seed(seed_for(settings.seed, 0, "weights"))
    tokenizer = load_tokenizer(settings.backbone)
    model = StepModel(
        settings.backbone,
        label_tokens=(
            label_token_ids(tokenizer, settings.label_tokens) if settings.head == "label_tokens" else None
        ),
        adapter=settings.adapter,
        lora_rank=settings.lora_rank,
        lora_targets=settings.lora_targets,
        device=device,
        dtype=dtype,
        autocast=lambda: torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16),
        pad_id=tokenizer.pad_token_id,
        gradient_checkpointing=settings.gradient_checkpointing,
    )
    check_vocabulary(model.model, tokenizer, settings.backbone)
    layout = layout_for(tokenizer, settings.style, settings.separator, template=settings.template)
    if settings.layout is not None:
        layout = Layout(settings.layout.before, settings.layout.after, settings.layout.separator)
    max_length = context_length(model.config, settings.max_length)
    training, validation, left_out = load_examples(settings, tokenizer, layout, max_length)
    optimizer = torch.optim.AdamW(
        list(model.parameters().values()),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    digest = examples_digest([*training, *validation])
    return Run(
        settings, out, accelerator, tokenizer, layout, model, optimizer,
        training, validation, left_out, max_length, digest,
        Divergence(settings.title, model.parameters().values()),
    )  # fmt: skip


def load_examples(
    settings: SupervisedSettings, tokenizer: Any, layout: Layout, max_length: int
) -> tuple[list[Example], list[Example], Counter[str]]:
    """Return training and validation examples, and how many traces or steps were left out, by reason.

    Raises:
        DataError: a file cannot be used, no trace is left, or a problem is in both sets.
    """
    left_out: Counter[str] = Counter()

    def examples(files: Sequence[str], targets: Targets, limit: int | None = None) -> list[Example]:
        traces = read_labelled(files, settings.data_format, settings.keep_annotations, left_out)
        return make_examples(
            traces[:limit], targets, tokenizer, layout,
            max_length=max_length, overflow=settings.overflow, left_out=left_out, missing=settings.missing,
        )  # fmt: skip

    every_step = targets_of(settings)
    found = examples(settings.files, every_step, settings.max_traces)
    if settings.validation_files:
        training, validation = found, examples(settings.validation_files, every_step)
        shared = {example.group for example in training} & {example.group for example in validation}
        if shared:
            raise DataError(
                f"{len(shared)} problems are in the training and the validation files, "
                f"the first: {min(shared)[:60]!r}"
            )
    else:
        rng = random_for(settings.seed, 0, "split")
        _, training, validation = split_by_group(found, settings.validation_share, rng)
    if isinstance(settings, PrmSettings) and settings.last_step_only:
        whole = len(training)
        training = [last for example in training if (last := example.last_target_only()) is not None]
        if len(training) < whole:
            left_out["training trace without a label at its last step"] += whole - len(training)
    if not training:
        raise DataError("no trace is left to train on after the split")
    return training, validation, left_out


def targets_of(settings: SupervisedSettings) -> Targets:
    """Return what a command trains on."""
    if isinstance(settings, OrmSettings):
        return outcome_at_last_step
    if isinstance(settings, PrmSettings) and settings.labels == "hard":
        return hard_labels
    if isinstance(settings, ValueSettings) and settings.values == "estimates":
        return estimated_values
    return soft_labels


# --- one update ------------------------------------------------------------------------------------------------------


def update(run: Run) -> dict[str, Any]:
    """Make one update and return its log record."""
    settings, model = run.settings, run.model
    epoch, batch, weights = next_batch(run)
    total = sum(map(sum, weights)) or 1.0
    loss_sum, right, judged, tokens = 0.0, 0, 0, 0
    for rows in passes(batch, settings.token_budget):
        log_odds = model.log_odds(
            [batch[row].encoded.input_ids for row in rows], [batch[row].columns for row in rows]
        )
        target = torch.tensor([t for row in rows for t in batch[row].known], device=model.device)
        weight = torch.tensor([w for row in rows for w in weights[row]], device=model.device)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            log_odds, target, weight=weight, reduction="sum"
        )
        (loss / total).backward()  # type: ignore[no-untyped-call]
        loss_sum += float(loss.detach())
        right += int(((log_odds >= 0) == (target >= 0.5)).sum())
        judged += len(target)
        tokens += sum(len(batch[row].encoded.input_ids) for row in rows)
    rate = settings.learning_rate * settings.learning_rate_factor(run.step, run.updates)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    norm = float(
        torch.nn.utils.clip_grad_norm_(list(model.parameters().values()), settings.max_gradient_norm)
    )
    run.divergence.step(run.optimizer, run.step + 1, norm)
    run.optimizer.zero_grad(set_to_none=True)
    return {
        "epoch": epoch,
        "loss": loss_sum / total,
        "accuracy": right / judged,
        "labelled_steps": judged,
        "tokens": tokens,
        "learning_rate": rate,
        "gradient_norm": norm,
    }


def next_batch(run: Run) -> tuple[int, list[Example], list[list[float]]]:
    """Return the epoch, the examples and the weights of the update to come; a function of the seed and the step."""
    settings = run.settings
    epoch, place = divmod(run.step, run.updates_per_epoch)
    if run.plan is None or run.plan.epoch != epoch:
        order = list(range(len(run.training)))
        random_for(settings.seed, epoch, "order").shuffle(order)
        balance = random_for(settings.seed, epoch, "balance")
        run.plan = EpochPlan(epoch, order, place_weights(run.training, settings.class_balance, balance))
    chosen = run.plan.order[place * settings.batch_traces : (place + 1) * settings.batch_traces]
    weights = [run.plan.weights[index] for index in chosen]
    return epoch, [run.training[index] for index in chosen], weights


def passes(examples: Sequence[Example], token_budget: int) -> Iterator[list[int]]:
    """Yield the rows of each forward pass: examples of similar length, within the budget."""
    yield from length_sorted_batches([len(example.encoded.input_ids) for example in examples], token_budget)


# --- validation ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def judge(run: Run) -> Judged:
    """Score the validation split as the model is now."""
    examples = run.validation
    rows: list[list[float]] = [[] for _ in examples]
    for chosen in passes(examples, run.settings.token_budget):
        columns = [examples[index].columns for index in chosen]
        log_odds = run.model.log_odds([examples[index].encoded.input_ids for index in chosen], columns)
        values = iter(log_odds.tolist())
        for index, places in zip(chosen, columns, strict=True):
            rows[index] = [next(values) for _ in places]
    # The loss that is compared must be the one that is trained on; sampling a subset here would only add noise.
    weights = place_weights(
        examples,
        "none" if run.settings.class_balance == "none" else "weights",
        random_for(run.settings.seed, 0, "validation"),
    )
    return Judged(
        np.array([value for row in rows for value in row]),
        np.array([target for example in examples for target in example.known]),
        np.array([weight for row in weights for weight in row]),
        [example.group for example in examples for _ in example.known],
    )


def validate(run: Run) -> dict[str, Any]:
    """Measure on the validation split, keep the weights if they are the best so far, decide whether to stop."""
    statistics = quick_statistics(judge(run))
    loss = statistics["loss"]
    assert loss is not None
    if run.best_loss is None or loss < run.best_loss:
        run.best_loss, run.best_step, run.failures = loss, run.step, 0
        save_best(run)
    else:
        run.failures += 1
        run.stopped = bool(run.settings.patience) and run.failures >= run.settings.patience
    return {f"validation_{name}": value for name, value in statistics.items()}


# --- results ---------------------------------------------------------------------------------------------------------


def finish(run: Run, records: Sequence[dict[str, Any]]) -> Path:
    """Write the model folder, the reliability plot and the metrics; return the folder."""
    settings = run.settings
    kept = run.step
    if run.validation and settings.keep == "best":
        kept = run.best_step
        load_best(run)
    seconds = sum(record["seconds"] for record in records)
    metrics = {
        "training.seconds": Metric(seconds, unit="s"),
        "training.updates": Metric(float(run.step)),
        "training.kept_update": Metric(float(kept)),
        "training.traces": Metric(float(len(run.training))),
        "training.labelled_steps": Metric(float(sum(len(example.known) for example in run.training))),
        "training.tokens_per_second": Metric(
            sum(record["tokens"] for record in records) / seconds, unit="tokens/s"
        ),
        "training.peak_memory": Metric(float(peak_memory(run.model.device)), unit="bytes"),
    }
    calibration = Calibration()
    extra: dict[str, Any] = {"left_out": dict(run.left_out)}
    if run.validation:
        raw = judged = judge(run)
        if settings.calibrate:
            calibration = fit_calibration(raw.log_odds, raw.targets)
            metrics["validation.ece_uncalibrated"] = Metric(
                quick_statistics(raw)["ece"], n=len(raw.groups), unit="fraction"
            )
            judged = cross_calibrated(raw)
        metrics |= validation_metrics(judged, raw, settings.seed)
        title = f"{settings.title}, {len(judged.groups)} held-out steps"
        extra["reliability"] = write_reliability_plot(run.out / "reliability.svg", judged, title)
    folder = run.out / "model"
    export(run, folder, calibration, kept, metrics)
    write_metrics(run.out, metrics, settings=dump_settings(settings), seed=settings.seed, extra=extra)
    return folder


def show_supervised(settings: SupervisedSettings, out: Path, *, resume: bool, console: Console) -> Path:
    """Train with a progress bar, then say what was left out, what was measured, and where the model is."""
    with progress_bar(console) as bar:
        task = bar.add_task(settings.title, total=None)

        def show(done: int, record: dict[str, Any]) -> None:
            words = f"{settings.title} · loss {record['loss']:.3f}"
            if record.get("validation_loss") is not None:
                words += f" · held out {record['validation_loss']:.3f}"
            bar.update(task, completed=done, total=record["updates"], description=words)

        folder = train_supervised(settings, out, resume=resume, progress=show)
    written = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    for reason, count in written["extra"]["left_out"].items():
        console.print(f"left out: {count} × {escape(reason)}", style="yellow")
    for name, metric in written["metrics"].items():
        if name.startswith("validation.") and metric["value"] is not None:
            interval = "" if metric["low"] is None else f" ({metric['low']:.3f} to {metric['high']:.3f})"
            console.print(f"{name}: {metric['value']:.3f}{interval}", highlight=False)
    console.print(f"{settings.title}: {escape(str(folder))}", soft_wrap=True, highlight=False)
    return folder
