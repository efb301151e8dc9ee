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
a function of (seed, epoch or update). Several processes share the rows of every update and validation (`processes.py`).
Not here: making labels (`labels/`), the adversarial game (`aprm.py`).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from sparring.errors import CheckpointError, DataError, SettingsError, about, names_of, plural
from sparring.files import atomic_write_text
from sparring.models.batching import SHORTEST, length_sorted_batches
from sparring.models.checkpoint import LABELS, model_card
from sparring.models.loading import (
    check_vocabulary,
    load_label_token_model,
    load_new_token_classifier,
    load_tokenizer,
    positions,
)
from sparring.models.prompts import layout_for, prompt_digest
from sparring.models.roles import StepModel
from sparring.models.sidecar import Calibration, sidecar_for
from sparring.models.text_layout import UnknownTokens
from sparring.pictures import reliability_plot
from sparring.runs import Metric
from sparring.statistics import FEW, platt_scaling, reliability_bins
from sparring.traces.spans import Layout, trusted_ids
from sparring.training.examples import (
    Example,
    Targets,
    estimated_values,
    examples_digest,
    hard_labels,
    make_examples,
    outcome_at_every_step,
    outcome_at_last_step,
    place_weights,
    read_labelled,
    soft_labels,
    split_by_group,
)
from sparring.training.part import Part, adam
from sparring.training.processes import in_processes, in_step, is_main, share, spread, summed
from sparring.training.run import (
    CHECKPOINT,
    Progress,
    TrainingRun,
    peak_memory,
    prepare,
    random_for,
    role_options,
    show_left_out,
    step_bar,
    warn,
)
from sparring.training.states import damaged, load_state, save_state, set_tensors, verified
from sparring.training.supervised_settings import (
    OrmSettings,
    PrmSettings,
    SupervisedSettings,
    ValueSettings,
)
from sparring.training.validation import (
    Judged,
    cross_calibrated,
    quick_statistics,
    validation_metrics,
)

BEST = "best"


# --- the run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """The order of the training examples in an epoch, and the weights of their targets."""

    epoch: int
    order: list[int]
    weights: list[list[float]]


@dataclass(kw_only=True)
class Run(TrainingRun):
    """Everything that a run of supervised training holds in memory."""

    counters = ("step", "best_loss", "best_step", "failures", "stopped")
    states = (CHECKPOINT, BEST)

    settings: SupervisedSettings
    layout: Layout
    model: StepModel
    training: list[Example]
    validation: list[Example]
    left_out: Counter[str]
    max_length: int
    best_loss: float | None = None
    best_step: int = 0
    failures: int = 0
    stopped: bool = False
    plan: EpochPlan | None = None
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = examples_digest([*self.training, *self.validation])

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass over the training traces."""
        return math.ceil(len(self.training) / self.settings.batch_traces)

    @property
    def updates(self) -> int:
        """All updates, unless training stops early."""
        planned = self.settings.epochs * self.updates_per_epoch
        return min(planned, self.settings.max_updates or planned)

    @property
    def evaluates(self) -> bool:
        """Whether the update just made is followed by a validation."""
        every = self.settings.evaluate_every or self.updates_per_epoch
        return bool(self.validation) and (self.step % every == 0 or self.step == self.updates)

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the examples and of the layout, and which command it is."""
        return {
            "digest": self.digest,
            "prompt": prompt_digest(self.layout),
            "kind": self.settings.title,
        }

    def restore(self) -> None:
        """Load the checkpoint; command, settings and data must be those of this run.

        Raises:
            CheckpointError: it, the log or the best weights are not what was written, or do not fit.
            SettingsError: it is of another command, or of other settings or data.
        """
        super().restore()
        best = self.out / BEST
        if self.best_step and verified(best).get("step", -1) < self.best_step:
            raise damaged(best, f"does not hold the weights of update {self.best_step}")


@in_processes("out")
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
    run.begin("log", resume=resume)
    while run.step < run.updates and not run.stopped:
        started = time.perf_counter()
        record = update(run)
        run.step += 1
        if run.evaluates:
            record |= validate(run)
        record = {"step": run.step, **record, "seconds": time.perf_counter() - started}
        run.log("log", record)
        if run.step % settings.checkpoint_every == 0 or run.step == run.updates or run.stopped:
            run.save()
        if progress is not None:
            progress(run.step, {**record, "updates": run.updates})
    records = run.records("log")
    run.end()
    return finish(run, records)


# --- setup -----------------------------------------------------------------------------------------------------------


def setup(settings: SupervisedSettings, out: Path) -> Run:
    """Read data, load the model, make the optimiser."""
    machine, accelerator = prepare(settings, out)
    tokenizer = load_tokenizer(settings.backbone)
    label_tokens = (
        label_token_ids(tokenizer, settings.label_tokens) if settings.head == "label_tokens" else None
    )
    options: dict[str, Any] = {
        "device": machine.loading,
        "dtype": machine.dtype if settings.adapter == "lora" else torch.float32,
        "attention": machine.attention,
    }
    if label_tokens is None:
        backbone = load_new_token_classifier(settings.backbone, LABELS, **options)
    else:
        backbone = load_label_token_model(settings.backbone, label_tokens, **options)
    check_vocabulary(backbone, tokenizer, settings.backbone)
    model = StepModel(
        machine.place(backbone),
        pad_id=tokenizer.pad_token_id,
        label_tokens=label_tokens,
        autocast=machine.autocast,
        **role_options(settings),
    )
    layout = layout_for(tokenizer, settings.style, settings.separator, template=settings.template)
    if settings.layout is not None:
        layout = Layout(settings.layout.before, settings.layout.after, settings.layout.separator)
    max_length = context_length(model.config, settings.max_length)
    training, validation, left_out = load_examples(settings, tokenizer, layout, max_length)
    unknown = UnknownTokens()
    for example in (*training, *validation):
        unknown.count(example.encoded, tokenizer, layout)
    warn(str(unknown))
    held_out = len({example.group for example in validation})
    if 0 < held_out < FEW:
        warn(
            f"{held_out} problem{'s are' if held_out > 1 else ' is'} held out (validation_share, validation_data): too "
            "few to say how good the PRM is, or which weights to keep"
        )
    named = model.parameters()
    part = Part(
        "model",
        named,
        lambda: adam(
            settings,
            list(named.values()),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        ),
        most=settings.max_gradient_norm,
        what=settings.title,
    )
    return Run(
        settings=settings,
        out=out,
        accelerator=accelerator,
        tokenizer=tokenizer,
        layout=layout,
        parts={"model": part},
        model=model,
        training=training,
        validation=validation,
        left_out=left_out,
        max_length=max_length,
    )


def label_token_ids(tokenizer: Any, texts: Sequence[str]) -> tuple[int, int]:
    """Return the ids of the two label tokens.

    Raises:
        SettingsError: a text is not exactly one token of this tokenizer, or both are the same one.
    """
    labels = [trusted_ids(tokenizer, text) for text in texts]
    for text, ids in zip(texts, labels, strict=True):
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise SettingsError(
                f"label_tokens: {text!r} must be one token of the backbone's tokenizer, it is {len(ids)}"
                if len(ids) != 1
                else f"label_tokens: the backbone's tokenizer does not know {text!r}"
            )
    if labels[0] == labels[1]:
        raise SettingsError(f"label_tokens: {texts[0]!r} and {texts[1]!r} are the same token")
    return labels[0][0], labels[1][0]


def context_length(config: Any, wanted: int | None) -> int:
    """Return the most tokens of a trace: what is wanted, or what the backbone takes.

    Raises:
        CheckpointError: more is wanted than the backbone takes, or neither says a number.
    """
    limit = positions(config)
    if wanted is None:
        if limit is None:
            raise CheckpointError("the backbone does not say how many tokens it takes: set max_length")
        return limit
    if limit is not None and wanted > limit:
        raise CheckpointError(
            f"max_length {wanted} is more than the {plural(limit, 'token')} that the backbone takes"
        )
    return wanted


def load_examples(
    settings: SupervisedSettings, tokenizer: Any, layout: Layout, max_length: int
) -> tuple[list[Example], list[Example], Counter[str]]:
    """Return training and validation examples, and how many traces or steps were left out, by reason.

    Raises:
        DataError: a file cannot be used, no trace is left, or a problem is in both sets.
    """
    left_out: Counter[str] = Counter()

    every_step = targets_of(settings)
    missing = OrmSettings.missing if every_step is outcome_at_every_step else settings.missing

    def examples(files: Sequence[str], targets: Targets, limit: int | None = None) -> list[Example]:
        traces = read_labelled(files, settings.data_format, settings.keep_annotations, left_out)
        with about(*files):
            return make_examples(
                traces[:limit], targets, tokenizer, layout,
                max_length=max_length, overflow=settings.overflow, left_out=left_out, missing=missing,
            )  # fmt: skip

    from_data = examples(settings.files, every_step, settings.max_traces)
    if settings.validation_files:
        training, validation = from_data, examples(settings.validation_files, every_step)
        shared = {example.group for example in training} & {example.group for example in validation}
        if shared:
            raise DataError(
                f"in both the training and the validation files: {plural(len(shared), 'problem')}, "
                f"the first: {min(shared)[:60]!r}",
                file=names_of(settings.validation_files),
            )
    else:
        rng = random_for(settings.seed, 0, "split")
        with about(*settings.files):
            training, validation = split_by_group(from_data, settings.validation_share, rng)
    if not training:
        raise DataError("no trace is left to train on after the split", file=names_of(settings.files))
    return training, validation, left_out


def targets_of(settings: SupervisedSettings) -> Targets:
    """Return what a command trains on."""
    if isinstance(settings, OrmSettings):
        return outcome_at_last_step
    if isinstance(settings, PrmSettings) and settings.labels != "soft":
        return hard_labels if settings.labels == "hard" else outcome_at_every_step
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
    own = share([len(example.encoded.input_ids) for example in batch])
    for rows in in_step(list(passes(batch, settings.token_budget, own)), model):
        log_odds = model.log_odds(
            [batch[row].encoded.input_ids for row in rows], [batch[row].columns for row in rows]
        )
        target = torch.tensor([t for row in rows for t in batch[row].known], device=model.device)
        weight = torch.tensor([w for row in rows for w in weights[row]], device=model.device)
        if isinstance(settings, PrmSettings) and settings.product:
            loss = product_loss(log_odds, target, [len(batch[row].known) for row in rows])
        else:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                log_odds, target, weight=weight, reduction="sum"
            )
        (loss / total).backward()  # type: ignore[no-untyped-call]
        loss_sum += float(loss.detach())
        right += int(((log_odds >= 0) == (target >= 0.5)).sum())
        judged += len(target)
        tokens += sum(len(batch[row].encoded.input_ids) for row in rows)
    sums = summed({"loss": loss_sum, "right": right, "judged": judged, "tokens": tokens})
    rate = settings.learning_rate_factor(run.step, run.updates)
    norm = run.parts["model"].step(run.step + 1, rate)
    return {
        "epoch": epoch,
        "loss": sums["loss"] / total,
        "accuracy": sums["right"] / sums["judged"],
        "labelled_steps": sums["judged"],
        "tokens": sums["tokens"],
        "learning_rate": settings.learning_rate * rate,
        "gradient_norm": norm,
    }


def product_loss(log_odds: torch.Tensor, target: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Return the summed cross-entropy of outcomes with the product of their steps' probabilities, times their steps.

    Args:
        log_odds: of correct against wrong, solution after solution, (steps,).
        target: the outcome at every step, (steps,).
        lengths: steps of each solution.
    """
    parts = torch.split(torch.nn.functional.logsigmoid(log_odds), list(lengths))
    right = torch.stack([part.sum() for part in parts])
    wrong = torch.log(-torch.expm1(right.clamp(max=-1e-6)))
    outcome = torch.stack([part[0] for part in torch.split(target, list(lengths))])
    weight = torch.tensor(lengths, dtype=right.dtype, device=right.device)
    return -(weight * (outcome * right + (1 - outcome) * wrong)).sum()


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


def passes(examples: Sequence[Example], token_budget: int, chosen: Sequence[int]) -> Iterator[list[int]]:
    """Yield the rows of each forward pass: those of the chosen examples, of similar length, within the budget."""
    lengths = [len(examples[row].encoded.input_ids) for row in chosen]
    for batch in length_sorted_batches(lengths, token_budget, shortest=SHORTEST):
        yield [chosen[place] for place in batch]


# --- validation ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def judge(run: Run) -> Judged:
    """Score the validation split as the model is now."""
    examples = run.validation

    def read(own: Sequence[Example]) -> list[list[float]]:
        rows: list[list[float]] = [[] for _ in own]
        batches = list(passes(own, run.settings.token_budget, range(len(own))))
        for chosen in in_step(batches, run.model):
            columns = [own[index].columns for index in chosen]
            log_odds = run.model.log_odds([own[index].encoded.input_ids for index in chosen], columns)
            values = iter(log_odds.tolist())
            for index, places in zip(chosen, columns, strict=True):
                rows[index] = [next(values) for _ in places]
        return rows

    lengths = [len(example.encoded.input_ids) for example in examples]
    rows = spread(examples, read, lengths, always=run.model.sharded)
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


def save_best(run: Run) -> None:
    """Keep the weights as they are now as the best so far."""
    save_state(run.out / BEST, {"model": run.model.parameters()}, {"step": run.step})


def load_best(run: Run) -> None:
    """Set the weights that were the best.

    Raises:
        CheckpointError: they are not what was kept.
    """
    folder = run.out / BEST
    tensors, values = load_state(folder)
    if values.get("step") != run.best_step:
        raise damaged(folder, f"holds the weights of update {values.get('step')}, not {run.best_step}")
    set_tensors(folder, "model", run.model.parameters(), tensors.get("model", {}))


# --- results ---------------------------------------------------------------------------------------------------------


def finish(run: Run, records: Sequence[dict[str, Any]]) -> Path:
    """Write the model folder, the reliability plot and the metrics (the main process does); return the folder."""
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
            scale, shift = platt_scaling(raw.log_odds, raw.targets)
            calibration = Calibration(scale=scale, shift=shift)
            metrics["validation.ece_uncalibrated"] = Metric(
                quick_statistics(raw)["ece"], n=len(raw.groups), unit="fraction"
            )
            judged = cross_calibrated(raw)
        metrics |= validation_metrics(judged, raw, settings.seed)
        title = f"{settings.title}, {len(judged.groups)} held-out steps"
        if is_main():
            extra["reliability"] = bins = reliability_bins(judged.scores, judged.targets)
            atomic_write_text(run.out / "reliability.svg", reliability_plot({"validation": bins}, title))
    folder = run.out / "model"
    export(run, folder, calibration, kept, metrics)
    run.write_metrics(metrics, **extra)
    return folder


def export(run: Run, folder: Path, calibration: Calibration, kept: int, metrics: dict[str, Metric]) -> None:
    """Write the checkpoint folder."""
    settings = run.settings
    sidecar = sidecar_for(
        run.layout,
        head=settings.head,
        label_tokens=run.model.label_tokens,
        meaning=settings.meaning,
        aggregation=settings.aggregation,
        calibration=calibration,
        max_length=run.max_length,
    )
    name = Path(settings.backbone).name
    facts: dict[str, object] = {
        "training traces": len(run.training),
        "updates": f"{run.step}, weights after update {kept}",
        "class balance": settings.class_balance,
        "seed": settings.seed,
    }
    for measure in ("loss", "accuracy", "auc", "ece"):
        metric = metrics.get(f"validation.{measure}")
        if metric is not None and metric.value is not None:
            facts[f"held-out {measure}"] = f"{metric.value:.3f}" + (
                f" ({metric.low:.3f} to {metric.high:.3f})" if metric.low is not None else ""
            )
    card = model_card(
        title=f"{settings.title.capitalize()} of {name}",
        backbone=name,
        method=f"supervised, {settings.head.replace('_', ' ')}, {settings.adapter}",
        facts=facts,
        sidecar=sidecar,
    )
    run.model.export(folder, run.tokenizer, sidecar, card, write=is_main())


def show_supervised(settings: SupervisedSettings, out: Path, *, resume: bool, console: Console) -> Path:
    """Train with a progress bar, then say what was left out, what was measured, and where the model is."""
    with step_bar(settings.title, None, console) as progress:
        folder = train_supervised(settings, out, resume=resume, progress=progress)
    for name, metric in show_left_out(out, console)["metrics"].items():
        if name.startswith("validation.") and metric["value"] is not None:
            interval = "" if metric["low"] is None else f" ({metric['low']:.3f} to {metric['high']:.3f})"
            value = f"{metric['value']:.3f}" if metric["unit"] else f"{metric['value']:,.0f}"  # a count
            console.print(f"{name}: {value}{interval}", highlight=False)
    console.print(f"{settings.title}: {escape(str(folder))}", soft_wrap=True, highlight=False)
    return folder
