"""TRL's `PRMTrainer` and `sparring train prm` on the same data: do they learn the same thing?

    python benchmarks/trl_equivalence.py

Needs trl (1.13.0 is the last version that has the trainer, in `trl.experimental.prm`). Traces of the chain world, wrong
steps by rule; the tiny policy with a new token-classification head; same learning rate, batch size, updates and
schedule. For every seed:

- TRL is given our order of the batches: losses and weights should agree to rounding. How far rounding alone leads is
  measured beside it: our trainer against itself, its batches split into smaller passes (another order of summation).
- Each trainer shuffles for itself, several times: held-out loss and AUC, averaged over a seed's shuffles, are compared.

Both models are scored by the same code: TRL's through a sidecar, as docs/training.md describes. Goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from publishing import command_line, json_lines, publish, table
from sparring.files import atomic_write_text
from sparring.models import TINY_POLICY
from sparring.models.checkpoint import LABELS, token_classifier
from sparring.models.loading import (
    load_new_token_classifier,
    load_token_classifier,
    load_tokenizer,
)
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import LayoutFields, Sidecar, write_sidecar
from sparring.runs import Metric
from sparring.settings_shared import seed_from
from sparring.statistics import auc, auc_interval, mean_over_runs, paired_difference
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Trace
from sparring.training.run import random_for
from sparring.training.supervised import PrmSettings, train_supervised
from sparring.training.validation import log_loss
from sparring.worlds.chain import generate_problems, parse_question
from sparring.worlds.chain_errors import perturb_step

LAYOUT = LayoutFields(before="", after="", separator="\n")  # what PRMTrainer makes of a prompt and its steps


def main() -> None:
    """Train both for every seed and write the comparison."""
    parser = command_line(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/trl-equivalence"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--shuffles", type=int, default=2)
    parser.add_argument("--traces", type=int, default=1600)
    parser.add_argument("--held-out", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("run", "results")}
    rows = finished_rows(arguments.run / "rows.jsonl", settings)
    for seed in range(len(rows), arguments.seeds):
        rows.append({**compare(seed, arguments), "settings": same_in_all(settings)})
        atomic_write_text(arguments.run / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        print(json.dumps(rows[-1]))
    metrics = summarise(rows)
    text = page(rows, metrics, arguments, trl_version())
    extra = {"rows": rows, "trl": trl_version()}
    publish(arguments.results, "trl_equivalence", metrics, text, settings=settings, extra=extra)


def finished_rows(log: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the seeds that an earlier call, killed or for fewer seeds, has finished with the same settings."""
    rows = json_lines(log)[: settings["seeds"]] if log.exists() else []
    return rows if all(row["settings"] == same_in_all(settings) for row in rows) else []


def same_in_all(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the seeds of one table share."""
    return {name: value for name, value in settings.items() if name != "seeds"}


# --- data ------------------------------------------------------------------------------------------------------------


def labelled_traces(count: int, seed: int, name: str, steps_between: tuple[int, int] = (2, 4)) -> list[Trace]:
    """Return one trace per problem: correct up to a random place, and for two in three a wrong step there."""
    rng = random.Random(f"{name} {seed}")
    traces = []
    for problem in generate_problems(count, steps=steps_between, seed=seed, name=name):
        steps = problem.solution or ()
        place = rng.randrange(len(steps))
        wrong = perturb_step(parse_question(problem.question), steps[:place], steps[place], rng)
        if wrong is not None and rng.random() < 2 / 3:
            traces.append(Trace(problem, (*steps[:place], wrong[1]), (1.0,) * place + (0.0,)))
        else:
            traces.append(Trace(problem, steps[: place + 1], (1.0,) * (place + 1)))
    return traces


# --- both trainers ---------------------------------------------------------------------------------------------------


def compare(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train with both for one seed and measure both."""
    folder = arguments.run / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    training = labelled_traces(arguments.traces, seed, "trl-equivalence")
    held_out = labelled_traces(arguments.held_out, seed, "trl-equivalence-held-out")
    write_traces(folder / "train.jsonl", training)
    start = folder / "start"
    write_start(start, seed)
    row: dict[str, Any] = {"seed": seed, "ours": [], "trl": []}
    for shuffle in range(arguments.shuffles):
        order = seed + 100 * shuffle
        ours, ours_seconds, losses = train_ours(folder / f"ours{shuffle}", start, order, arguments)
        theirs, seconds, _ = train_theirs(
            folder / f"trl{shuffle}", start, training, order, arguments, "random"
        )
        row["ours"].append(measure(ours, held_out))
        row["trl"].append(measure(theirs, held_out))
        if shuffle == 0:
            row["cpu_seconds"] = {"ours": ours_seconds, "trl": seconds}
            same, _, their_losses = train_theirs(
                folder / "trl_same_order",
                start,
                in_our_order(training, seed, arguments.epochs),
                seed,
                arguments,
                "sequential",
                epochs=1,
            )
            split, _, split_losses = train_ours(folder / "ours_split", start, order, arguments, 700)
            row["same_order"] = {
                "trl": gaps(ours, losses, same, their_losses),
                "ours_split": gaps(ours, losses, split, split_losses),
            }
    return row


def write_start(folder: Path, seed: int) -> None:
    """Write the model that both start from: the tiny policy with a small random head."""
    torch.manual_seed(seed_from(seed, 0, "head"))
    fresh = load_new_token_classifier(TINY_POLICY, LABELS, device=torch.device("cpu"), dtype=torch.float32)
    torch.nn.init.normal_(fresh.score.weight, std=0.02)
    token_classifier(fresh.config, fresh.state_dict()).save_pretrained(folder)
    load_tokenizer(TINY_POLICY).save_pretrained(folder)


def train_ours(
    folder: Path, start: Path, seed: int, arguments: argparse.Namespace, token_budget: int = 16_384
) -> tuple[Path, float, list[float]]:
    """Return our model's folder, the CPU seconds of the whole call, and the loss of every update."""
    settings = PrmSettings(
        data=str(folder.parent / "train.jsonl"),
        backbone=str(start),
        layout=LAYOUT,
        validation_share=0.0,
        epochs=arguments.epochs,
        batch_traces=arguments.batch,
        learning_rate=arguments.learning_rate,
        token_budget=token_budget,
        checkpoint_every=10**6,
        seed=seed,
        device="cpu",
    )
    began = time.process_time()
    model = train_supervised(settings, folder)
    seconds = time.process_time() - began
    return model, seconds, [one["loss"] for one in json_lines(folder / "log.jsonl")]


def train_theirs(
    folder: Path,
    start: Path,
    traces: Sequence[Trace],
    seed: int,
    arguments: argparse.Namespace,
    order: str,
    epochs: int | None = None,
) -> tuple[Path, float, list[float]]:
    """Return TRL's model folder with a sidecar, the CPU seconds of the whole call, and the loss of every update."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoTokenizer, PrinterCallback
    from trl.experimental.prm import PRMConfig, PRMTrainer

    disable_progress_bars()
    began = time.process_time()
    tokenizer = AutoTokenizer.from_pretrained(start)
    data = Dataset.from_list(
        [
            {
                "prompt": trace.problem.question,
                "completions": list(trace.steps),
                "labels": [label == 1.0 for label in trace.labels or ()],
            }
            for trace in traces
        ]
    )
    config = PRMConfig(
        output_dir=str(folder),
        learning_rate=arguments.learning_rate,
        per_device_train_batch_size=arguments.batch,
        num_train_epochs=epochs or arguments.epochs,
        max_length=None,
        train_sampling_strategy=order,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=seed,
    )
    trainer = PRMTrainer(
        model=load_token_classifier(start, device=torch.device("cpu"), dtype=torch.float32),
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(folder))
    seconds = time.process_time() - began
    write_sidecar(folder, Sidecar(layout=LAYOUT, max_length=512))
    return folder, seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def in_our_order(traces: Sequence[Trace], seed: int, epochs: int) -> list[Trace]:
    """Return the traces of all epochs in the order in which `train prm` takes them."""
    ordered = []
    for epoch in range(epochs):
        order = list(range(len(traces)))
        random_for(seed, epoch, "order").shuffle(order)
        ordered += [traces[index] for index in order]
    return ordered


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(model: Path, held_out: Sequence[Trace]) -> dict[str, Any]:
    """Return log loss, AUC (with its interval over problems) and accuracy over the held-out steps."""
    rows = load_scorer(model, device="cpu").score(held_out)
    scores = np.clip(np.array([score for row in rows for score in row]), 1e-7, 1 - 1e-7)
    labels = np.array([label for trace in held_out for label in trace.labels or ()], dtype=np.float64)
    losses = log_loss(np.log(scores / (1 - scores)), labels)
    clusters = [index for index, row in enumerate(rows) for _ in row]
    area = auc_interval(scores, labels, clusters=clusters, resamples=500)
    return {
        "loss": float(losses.mean()),
        "auc": auc(scores, labels),
        "auc_low": area.low,
        "auc_high": area.high,
        "accuracy": float(((scores >= 0.5) == (labels == 1)).mean()),
    }


def gaps(one: Path, losses: Sequence[float], other: Path, other_losses: Sequence[float]) -> dict[str, float]:
    """Return the largest difference of two trainings' losses, and of their weights at the end."""
    first, second = (load_file(str(folder / "model.safetensors")) for folder in (one, other))
    return {
        "loss": max(abs(a - b) for a, b in zip(losses, other_losses, strict=True)),
        "weight": max(
            float((first[name] - second[name]).abs().max()) for name in first.keys() | second.keys()
        ),
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Metric]:
    """Return means over seeds, and paired differences over seeds, with intervals."""
    metrics = {}
    for name in ("loss", "auc", "accuracy"):
        ours, theirs = ([fmean(run[name] for run in row[who]) for row in rows] for who in ("ours", "trl"))
        metrics[f"trl_equivalence.ours.{name}"] = mean_over_runs(ours)
        metrics[f"trl_equivalence.trl.{name}"] = mean_over_runs(theirs)
        difference = paired_difference(ours, theirs, runs=True)
        metrics[f"trl_equivalence.ours_minus_trl.{name}"] = difference.difference
        metrics[f"trl_equivalence.ours_minus_trl.{name}.p_value"] = Metric(difference.p_value)
    ratios = [row["cpu_seconds"]["trl"] / row["cpu_seconds"]["ours"] for row in rows]
    metrics["trl_equivalence.cpu_seconds_trl_per_ours"] = mean_over_runs(ratios)
    for other in ("trl", "ours_split"):
        for name in ("loss", "weight"):
            found = [row["same_order"][other][name] for row in rows]
            metrics[f"trl_equivalence.same_order.{other}.{name}.median"] = Metric(median(found), n=len(found))
            metrics[f"trl_equivalence.same_order.{other}.{name}.largest"] = Metric(max(found), n=len(found))
    return metrics


def trl_version() -> str:
    """Return the version of trl that was compared with."""
    from importlib.metadata import version

    return version("trl")


def page(
    rows: Sequence[dict[str, Any]], metrics: dict[str, Metric], arguments: argparse.Namespace, trl: str
) -> str:
    """Return the results as Markdown."""
    updates = arguments.epochs * arguments.traces // arguments.batch
    gaps_of_seeds = [
        [str(row["seed"])]
        + [f"{row['same_order'][o][name]:.1e}" for name in ("loss", "weight") for o in ("trl", "ours_split")]
        for row in rows
    ]
    shuffles = [
        [
            f"{row['seed']}, {shuffle}",
            *(f"{run['loss']:.3f}" for run in runs),
            *(f"{run['auc']:.3f} [{run['auc_low']:.3f}, {run['auc_high']:.3f}]" for run in runs),
        ]
        for row in rows
        for shuffle, runs in enumerate(zip(row["ours"], row["trl"], strict=True))
    ]
    means = [
        [
            name,
            *(
                metrics[f"trl_equivalence.{who}.{name}"].text(form=".3f")
                for who in ("ours", "trl", "ours_minus_trl")
            ),
            f"{metrics[f'trl_equivalence.ours_minus_trl.{name}.p_value'].value:.2f}",
        ]
        for name in ("loss", "auc", "accuracy")
    ]
    ratio = metrics["trl_equivalence.cpu_seconds_trl_per_ours"].text(form=".3f")
    smaller = "ours in smaller passes"
    parts = [
        f"`sparring train prm` and `PRMTrainer` of trl {trl}: {len(rows)} seeds, {arguments.traces} training "
        f"and {arguments.held_out} held-out traces, {updates} updates of {arguments.batch} traces, learning "
        f"rate {arguments.learning_rate}, float32, one core.\n",
        "**Same order of batches:** largest difference from our losses over all updates, and from our weights at the end. "
        "Ours in smaller passes is the same training with another order of summation.\n",
        table(
            ["seed", "loss, TRL", f"loss, {smaller}", "weights, TRL", f"weights, {smaller}"], gaps_of_seeds
        ),
        f"**Own shuffles, {arguments.shuffles} each:** held-out steps.\n",
        table(["seed, shuffle", "loss, ours", "loss, TRL", "AUC, ours", "AUC, TRL"], shuffles),
        table(["over seeds, [95 % interval] t: Student's", "ours", "TRL", "ours − TRL", "p"], means),
        f"CPU seconds of TRL per CPU second of ours, loading and saving included: {ratio}.\n",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
