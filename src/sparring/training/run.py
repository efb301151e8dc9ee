"""A training run: where it computes, its seeds, logs and trackers, checkpoints and resuming.

Contract: a checkpoint (`states.py`) also carries digests of the logs as they were; they are cut back to it, and refused
where they were changed. All randomness of a run is derived from (seed, step, purpose), so there is no generator state to
save.

Not here: what is trained and what else a checkpoint holds (`aprm.py`, `supervised.py`, `rl.py`); the lock on the run
directory (`sparring.locks`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from rich.console import Console
from rich.markup import escape
from torch import distributed
from transformers.utils import is_flash_attn_2_available

from sparring.addresses import is_address
from sparring.errors import DataError, SettingsError, install_extra
from sparring.files import recover_directory
from sparring.json_files import read_json_object
from sparring.models.loading import pick_dtype
from sparring.models.sharding import shard
from sparring.rollouts.engine import EngineError
from sparring.runs import METRICS_FILE, JsonlLog, Metric, write_metrics
from sparring.settings import dump_settings
from sparring.settings_shared import Trained, seed_from
from sparring.terminal import ProgressBar
from sparring.training.part import Part
from sparring.training.processes import from_main, gathered, is_main, own_device, process_count
from sparring.training.states import TENSORS, VALUES, Tensors, damaged, load_state, save_state, set_tensors

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_logger = logging.getLogger(__name__)

Progress = Callable[[int, dict[str, Any]], None]
"""Called after every update with (updates done, the update's log record)."""

CHECKPOINT = "checkpoint"
# What may differ without changing any result, and who samples the same weights.
_FREE_ON_RESUME = {"checkpoint_every", "trackers", "device", "sampler"}
_SCORERS = {"prm", "gate"}  # servers among them may move, and are known by who answers (`identity`)


# --- randomness ------------------------------------------------------------------------------------------------------


def random_for(seed: int, step: int, purpose: str) -> random.Random:
    """Return Python's generator for this purpose at this step."""
    return random.Random(seed_from(seed, step, purpose))


def torch_generator_for(seed: int, step: int, purpose: str, device: torch.device) -> torch.Generator:
    """Return torch's generator for this purpose at this step."""
    return torch.Generator(device=device).manual_seed(seed_from(seed, step, purpose))


# --- where a run computes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and with what numbers a backbone is trained, and how it gets there.

    Attributes:
        device, dtype: of the forward passes; the type is also that of frozen weights.
        loading: the device that a backbone is loaded to.
        place: takes the loaded backbone and returns it where it is trained: on the device, or shared among processes.
        attention: transformers' name of the implementation; None for its own choice.
    """

    device: torch.device
    dtype: torch.dtype
    loading: torch.device
    place: Callable[[Any], Any]
    attention: str | None

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass: mixed precision where `dtype` is bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def machine_for(settings: Trained) -> Machine:
    """Return where this process trains, as the settings and accelerate's configuration (FSDP2) say.

    Raises:
        SettingsError: the device is not there, or something is asked for that cannot be done on it.
    """
    device = own_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    loading, place = device, _as_it_is
    if parse_flag_from_env("ACCELERATE_USE_FSDP") and distributed.is_initialized():
        if FullyShardedDataParallelPlugin().fsdp_version != 2:
            raise SettingsError("FSDP: only version 2 (fsdp_version: 2 in accelerate's configuration)")
        if settings.adapter != "lora":
            raise SettingsError("FSDP shares a frozen backbone: set adapter: lora")
        loading, place = torch.device("cpu"), functools.partial(shard, device=device)
    attention = None if settings.attention == "auto" else settings.attention
    if attention == "flash_attention_2":
        if not is_flash_attn_2_available():
            raise SettingsError(
                "attention: flash_attention_2 needs a GPU and the package flash-attn: pip install flash-attn, or take sdpa"
            )
        if device.type != "cuda" or dtype != torch.bfloat16:
            raise SettingsError("attention: flash_attention_2 needs a GPU and dtype: bfloat16")
    return Machine(device, dtype, loading, place, attention)


def _as_it_is(model: Any) -> Any:
    return model


def role_options(settings: Trained) -> dict[str, Any]:
    """Return the options of `models.roles.Roles` that every trainer takes from its settings."""
    return {
        "adapter": settings.adapter,
        "lora_rank": settings.lora_rank,
        "lora_targets": settings.lora_targets,
        "gradient_checkpointing": settings.gradient_checkpointing,
    }


def prepare(settings: Any, out: Path) -> tuple[Machine, Accelerator]:
    """Make the run directory and seed torch; return where to train, and accelerate's object for the trackers.

    Raises:
        SettingsError: the device or a tracker is not there.
    """
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise SettingsError(
            "DeepSpeed is not supported: share a backbone with FSDP2 instead (configs/fsdp2.yaml)"
        )
    out.mkdir(parents=True, exist_ok=True)
    machine = machine_for(settings)
    accelerator = Accelerator(
        cpu=machine.device.type == "cpu",
        log_with=available_trackers(settings.trackers) or None,
        project_dir=str(out),
    )
    torch.manual_seed(seed_from(settings.seed, 0, "weights"))
    return machine, accelerator


def available_trackers(wanted: Sequence[str]) -> list[str]:
    """Return the trackers, or raise SettingsError for one that is unknown or not installed.

    accelerate itself would leave such a tracker out without a word.
    """
    installed = {str(tracker) for tracker in get_available_trackers()}
    for tracker in wanted:
        if tracker not in installed:
            extra = {"tensorboard": "tracking", "wandb": "wandb", "trackio": "trackio"}.get(tracker)
            known = ", ".join(sorted(installed)) or "none"
            raise SettingsError(
                f"trackers: '{tracker}' is unknown or not installed (installed: {known})"
                + (f"; {install_extra(extra)}" if extra else "")
            )
    return list(wanted)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes held so far, by the process that held most: on its GPU, or since it was started or resumed."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes
    held = 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(gathered(torch.cuda.max_memory_allocated(device) if device.type == "cuda" else held))


# --- checkpoints -----------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TrainingRun(ABC):
    """What every training run holds, and how it is kept and resumed; each method adds what is its own.

    Attributes:
        counters: names of the attributes that a checkpoint's values hold.
        states: folders that are replaced while the run goes on, and are put in order where a replacement broke off.
        parts: what is trained, by name.
        logs: by name; empty in other processes than the main one.
        step: updates done.
    """

    counters: ClassVar[tuple[str, ...]] = ("step",)
    states: ClassVar[tuple[str, ...]] = (CHECKPOINT,)

    settings: Any
    out: Path
    accelerator: Accelerator
    tokenizer: Any
    parts: dict[str, Part]
    logs: dict[str, JsonlLog] = field(default_factory=dict)
    step: int = 0

    @property
    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What a resumed run must agree in: `digest` of the data, `prompt` (of texts), if need be `kind`, `servers`."""

    def values(self) -> dict[str, Any]:
        """Return further JSON values of a checkpoint."""
        return {}

    def tensors(self) -> dict[str, Tensors]:
        """Return further tensors of a checkpoint, in groups."""
        return {}

    def by_present_names(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a checkpoint's settings, with what was in force where there was no setting yet."""
        return settings

    def take(self, values: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
        """Take over a checkpoint's further values; return where its further tensors belong."""
        return {}

    def begin(self, *names: str, resume: bool) -> None:
        """Open the logs of these names and, on request, go on from the checkpoint.

        Raises:
            SettingsError: there is a run in `out` and nobody asked to go on with it, or it has other settings or data.
            CheckpointError: what is there is not what was written.
        """
        if is_main():
            self.logs = {name: JsonlLog(self.out / f"{name}.jsonl") for name in names}

        def found() -> tuple[bool, bool]:
            there = {name: recover_directory(self.out / name) for name in self.states}
            return there[CHECKPOINT], any(log.path.stat().st_size for log in self.logs.values())

        begun, written = from_main(found)
        if not resume and (begun or written):
            raise SettingsError(
                f"'{self.out}' already holds a run; resume it with --resume, or choose another --out"
            )
        if begun:
            self.restore()
        else:
            if written:
                warn(f"'{self.out}' holds no checkpoint yet (checkpoint_every): the run begins anew")
            for log in self.logs.values():
                log.cut_back(None)
        tracked = {
            key: value if isinstance(value, (int, float, str, bool)) else str(value)
            for key, value in dump_settings(self.settings).items()
        }
        self.accelerator.init_trackers(
            f"sparring-{type(self).__module__.rpartition('.')[2]}",
            config=tracked,
            # trackio goes on with the run of this name, as the files do.
            init_kwargs={"trackio": {"name": self.out.name, "resume": "allow"}},
        )

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the records of a log, in every process."""
        return from_main(lambda: list(self.logs[name].records()))

    def log(self, name: str, record: Mapping[str, Any], prefix: str = "") -> None:
        """Write a record into a log, and send its numbers to the trackers, their names after the prefix."""
        if is_main():
            self.logs[name].append(record)
        numbers = {f"{prefix}{name}": value for name, value in record.items() if isinstance(value, float)}
        self.accelerator.log(numbers, step=self.step)

    def end(self) -> None:
        """Close the logs and the trackers (accelerate's own way would take the processes apart, too)."""
        for log in self.logs.values():
            log.close()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def write_metrics(self, metrics: Mapping[str, Metric], **extra: Any) -> None:
        """Write the finished run's `metrics.json` (the main process does)."""
        settings = self.settings
        if is_main():
            dumped = dump_settings(settings)
            write_metrics(self.out, metrics, settings=dumped, seed=settings.seed, extra=extra)

    def save(self) -> None:
        """Write everything that resuming needs: parameters, moments, values, and how far the logs are."""
        tensors = self.tensors()
        for part in self.parts.values():
            tensors[part.name] = part.parameters
            tensors[f"{part.name}_optimizer"] = part.moments()
        values = {name: getattr(self, name) for name in self.counters}
        values |= {"settings": dump_settings(self.settings), **self.identity, **self.values()}
        values["logs"] = {log.path.name: log.position() for log in self.logs.values()}
        save_state(self.out / CHECKPOINT, tensors, values)

    def restore(self) -> None:
        """Load the checkpoint in `out`, and cut the logs back to it; settings and data must be those of this run.

        Raises:
            CheckpointError: it, or a log, is not what was written, or does not fit the model.
            SettingsError: it is of other settings or data.
        """
        folder = self.out / CHECKPOINT
        tensors, values = load_state(folder)
        with restoring(folder):
            _refuse_changes(self, values)
            for name in self.counters:
                setattr(self, name, values[name])
            others = self.take(values, tensors)
        file = folder / TENSORS
        for name, target in others.items():
            set_tensors(file, name, target, tensors.get(name, {}))
        for part in self.parts.values():
            set_tensors(file, part.name, part.parameters, tensors.get(part.name, {}))
            part.set_moments(file, tensors.get(f"{part.name}_optimizer", {}))
        with restoring(folder):
            for log in self.logs.values():
                try:
                    log.cut_back(values["logs"][log.path.name])
                except DataError as error:
                    raise damaged(log.path, error.message) from None


def _refuse_changes(run: TrainingRun, then: Mapping[str, Any]) -> None:
    now, before = dump_settings(run.settings), run.by_present_names(then["settings"])
    fields = type(run.settings).model_fields
    later = {key for key in now.keys() - before.keys() if getattr(run.settings, key) == fields[key].default}
    changed = [
        f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(now.keys() | before.keys())
        if now.get(key) != before.get(key)
        and key not in _FREE_ON_RESUME
        and key not in later  # a setting that there was not yet when the run was begun, as it was then
        and not (key in _SCORERS and is_address(now.get(key)) and is_address(before.get(key)))
    ]
    kind = run.identity.get("kind")
    if kind is not None and then["kind"] != kind:
        changed.insert(0, f"it trains a {then['kind']}")
    if changed:
        raise SettingsError(f"cannot resume '{run.out}' with other settings: " + "; ".join(changed))
    if (was := then.get("servers")) != (is_now := run.identity.get("servers")):
        raise SettingsError(
            f"cannot resume '{run.out}': a server scores with another model: it was {was}, it is {is_now}"
        )
    if then["prompt"] != run.identity["prompt"]:
        raise SettingsError(
            f"cannot resume '{run.out}': prompts are other texts than when it was started (another tokenizer, chat "
            "template or version of transformers), and a run must not mix them"
        )
    if then["digest"] != run.identity["digest"]:
        raise SettingsError(f"cannot resume '{run.out}': the data files have changed since it was started")


@contextlib.contextmanager
def kept_on_failure(run: TrainingRun) -> Iterator[None]:
    """Save the run where an engine fails in between updates, so that nothing has to be done again.

    Of several processes only this one may have failed, and saving is the work of all: there the last checkpoint counts.
    """
    try:
        yield
    except EngineError:
        if process_count() == 1:
            run.save()
        raise


@contextlib.contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with a state of another kind or version into a CheckpointError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged(folder / VALUES, f"is not of this kind of run and version ({error!r})") from error


def warn(text: str) -> None:
    """Say something once, whatever the number of processes; an empty text is nothing to say."""
    if text and is_main():
        _logger.warning("%s", text)


# --- on a terminal ---------------------------------------------------------------------------------------------------

_SHOWN = (
    "phase", "loss", "imitation_loss", "validation_loss", "outcome", "fool_rate", "failed", "undecided",
    "prm_accuracy_clean", "prm_accuracy_fresh",
)  # fmt: skip


@contextlib.contextmanager
def step_bar(title: str, total: int | None, console: Console) -> Iterator[Progress]:
    """Give a function to call after every update with (updates done, its record); `updates` there is a new total."""
    with ProgressBar(console, "{task.fields[numbers]}") as bar:
        task = bar.add_task(title, total=total, numbers="")

        def show(done: int, record: dict[str, Any]) -> None:
            values = [(name, record[name]) for name in _SHOWN if record.get(name) is not None]
            words = [f"{name} {value:.3f}" if isinstance(value, float) else value for name, value in values]
            bar.update(task, completed=done, total=record.get("updates", total), numbers=" · ".join(words))

        yield show


def show_left_out(out: Path, console: Console) -> dict[str, Any]:
    """Say what a finished run left out, by reason; return its `metrics.json`."""
    written = read_json_object(out / METRICS_FILE, loose=True)
    for reason, count in written["extra"]["left_out"].items():
        console.print(f"left out: {count} × {escape(reason)}", style="yellow")
    return written
