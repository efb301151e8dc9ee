"""A training run on disk: seeds, trackers, checkpoints with digests, resuming, and when a run has diverged.

Contract: a state is a folder of one safetensors file and JSON, never pickle; it appears whole or not at all. It carries
digests of its tensors and values and of the logs as they were, and all are checked before anything of it is used: where
one bit of it or of such a log was changed, or a tensor is missing, it is refused in words and never believed. All
randomness of a run is derived from (seed, step, purpose), so there is no generator state to save.

Of several processes (`processes.py`) the main one writes, and all of them read.

Not here: what is trained and what else a checkpoint holds (`aprm.py`, `supervised.py`, `rl.py`); the lock on the run
directory (`sparring.locks`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import math
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from rich.console import Console
from rich.markup import escape
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import distributed
from transformers.utils import is_flash_attn_2_available

from sparring.errors import CheckpointError, DataError, SettingsError, SparringError, install_extra, needs
from sparring.files import atomic_directory
from sparring.http_client import is_address
from sparring.json_files import read_json_object
from sparring.models.loading import pick_dtype
from sparring.models.sharding import shard
from sparring.runs import METRICS_FILE, JsonlLog
from sparring.settings import dump_settings
from sparring.settings_shared import Trained, seed_from
from sparring.terminal import progress_bar
from sparring.training.processes import from_main, gathered, is_main, own_device, wait

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_logger = logging.getLogger(__name__)

Progress = Callable[[int, dict[str, Any]], None]
"""Called after every update with (updates done, the update's log record)."""

Tensors = Mapping[str, torch.Tensor]

CHECKPOINT = "checkpoint"
_TENSORS, _VALUES = "state.safetensors", "state.json"
# What may differ without changing any result, and who samples the same weights.
_FREE_ON_RESUME = {"checkpoint_every", "trackers", "device", "sampler"}
_SCORERS = {"prm", "gate"}  # servers among them may move, and are known by who answers (`identity`)
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # of Adam and AdamW
_MOMENTS_8 = {
    "step",
    "state1",
    "state2",
}  # of bitsandbytes', which keeps those of small parameters in 32 bits
_SCALES_8 = {"qmap1", "qmap2", "absmax1", "absmax2"}
_MOST_GROWTH, _LEAST_START = 100.0, 0.05


# --- randomness ------------------------------------------------------------------------------------------------------


def random_for(seed: int, step: int, purpose: str) -> random.Random:
    """Return Python's generator for this purpose at this step."""
    return random.Random(seed_from(seed, step, purpose))


def torch_generator_for(seed: int, step: int, purpose: str, device: torch.device) -> torch.Generator:
    """Return torch's generator for this purpose at this step."""
    return torch.Generator(device=device).manual_seed(seed_from(seed, step, purpose))


# --- trackers and cost -----------------------------------------------------------------------------------------------


def prepare(settings: Any, out: Path) -> tuple[torch.device, torch.dtype, Accelerator]:
    """Make the run directory, pick device and type, seed torch; return both with accelerate's object for the trackers.

    Raises:
        SettingsError: the device or a tracker is not there.
    """
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise SettingsError(
            "DeepSpeed is not supported: share a backbone with FSDP2 instead (configs/fsdp2.yaml)"
        )
    out.mkdir(parents=True, exist_ok=True)
    device = own_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        log_with=available_trackers(settings.trackers) or None,
        project_dir=str(out),
    )
    torch.manual_seed(seed_from(settings.seed, 0, "weights"))
    return device, dtype, accelerator


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a backbone is loaded, and how it comes from there to where it is trained.

    Attributes:
        loading: the device that it is loaded to.
        place: takes the loaded model and returns it in its place.
    """

    loading: torch.device
    place: Callable[[Any], Any]


def placement(settings: Trained, device: torch.device) -> Placement:
    """Return how to place a backbone: on the device, or shared among processes as accelerate's configuration says (FSDP2).

    Raises:
        SettingsError: the configuration asks for what cannot be done.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP") or not distributed.is_initialized():
        return Placement(device, lambda model: model)
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise SettingsError("FSDP: only version 2 (fsdp_version: 2 in accelerate's configuration)")
    if settings.adapter != "lora":
        raise SettingsError("FSDP shares a frozen backbone: set adapter: lora")
    return Placement(torch.device("cpu"), lambda model: shard(model, device))


def autocast(device: torch.device, dtype: torch.dtype) -> Callable[[], torch.autocast]:
    """Return what makes the context of a forward pass: mixed precision where `dtype` is bfloat16."""
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def attention_of(settings: Trained, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return transformers' name of the attention of a model to train; None for its own choice.

    Raises:
        SettingsError: flash attention cannot be used here.
    """
    if settings.attention == "auto":
        return None
    if settings.attention == "flash_attention_2":
        if not is_flash_attn_2_available():
            raise SettingsError(
                "attention: flash_attention_2 needs a GPU and the package flash-attn: pip install flash-attn, or take sdpa"
            )
        if device.type != "cuda" or dtype != torch.bfloat16:
            raise SettingsError("attention: flash_attention_2 needs a GPU and dtype: bfloat16")
    return settings.attention


def adam(
    settings: Trained, parameters: Sequence[Any], *, weight_decay: float | None = None, **options: Any
) -> Any:
    """Return Adam, or with a weight decay AdamW, its moments in as many bits as `optimizer_bits` says.

    Args:
        settings: with `optimizer_bits`.
        parameters: or groups of them.
        weight_decay: AdamW's.
        options: lr, betas.

    Raises:
        SettingsError: 8 bits, and bitsandbytes is not installed.
    """
    name = "Adam" if weight_decay is None else "AdamW"
    options |= {} if weight_decay is None else {"weight_decay": weight_decay}
    if settings.optimizer_bits == 32:
        return getattr(torch.optim, name)(parameters, **options)
    with needs("optimizer_bits: 8", "bitsandbytes", install_extra("bits")):
        optimizers = importlib.import_module("bitsandbytes.optim")
    return getattr(optimizers, f"{name}8bit")(parameters, **options)


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


# --- states on disk --------------------------------------------------------------------------------------------------


def save_state(folder: Path, tensors: Mapping[str, Tensors], values: Mapping[str, Any]) -> None:
    """Write groups of tensors and JSON values as one folder, replacing an older one atomically (the main process does)."""
    if is_main():
        _write_state(folder, tensors, values)
    wait()


def _write_state(folder: Path, tensors: Mapping[str, Tensors], values: Mapping[str, Any]) -> None:
    flat = {
        f"{group}|{name}": tensor.detach().cpu().contiguous().clone()
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    with atomic_directory(folder) as temporary:
        save_file(flat, str(temporary / _TENSORS))
        content = {**values, "tensors_digest": _file_digest(temporary / _TENSORS)}
        whole = {**content, "state_digest": _digest(content)}
        (temporary / _VALUES).write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")


def load_state(folder: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Return what `save_state` wrote.

    Raises:
        CheckpointError: there is no state, it cannot be read, or it is not what was written.
    """
    values = verified(folder)
    try:
        flat = load_file(str(folder / _TENSORS))
    except (OSError, SafetensorError) as error:
        raise damaged(folder / _TENSORS, f"cannot be read ({error})") from None
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        group, _, name = key.partition("|")
        groups.setdefault(group, {})[name] = tensor
    return groups, values


def verified(folder: Path) -> dict[str, Any]:
    """Return a state's values once they and its tensors are found to be what was written.

    Raises:
        CheckpointError: they are not, or there is no state.
    """
    path = folder / _VALUES
    if not path.is_file():
        raise CheckpointError(f"no checkpoint to resume from at '{folder}' ({_VALUES} is not there)")
    try:
        values = read_json_object(path, loose=True)
        known = values.pop("state_digest", None)
        if known != _digest(values):
            what = "was changed since it was written" if known else "holds no digest of its content"
            raise damaged(path, what)
        tensors = _file_digest(folder / _TENSORS)
    except OSError as error:
        raise damaged(Path(error.filename or folder), f"cannot be read ({error.strerror})") from None
    except DataError as error:
        raise damaged(path, f"cannot be used ({error.message})") from None
    if values.pop("tensors_digest") != tensors:
        raise damaged(folder / _TENSORS, "was changed since it was written")
    return values


def damaged(file: Path, what: str) -> CheckpointError:
    """Return the error for a file of a run that cannot be believed."""
    return CheckpointError(
        f"'{file}' {what}: the run cannot go on from it. Put back an undamaged copy of the run directory, or start anew "
        "in another --out"
    )


def _digest(content: Mapping[str, Any]) -> str:
    """Return a SHA-256 of JSON values, however they are written."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- checkpoints -----------------------------------------------------------------------------------------------------


class _NoLog(JsonlLog):
    """What another process than the main one has for a log: nothing is written, and the file is not its own to open."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.non_finite, self.torn = Path(path), 0, False

    def append(self, record: Mapping[str, Any]) -> int:
        """Do nothing."""
        return 0

    def position(self) -> dict[str, Any]:
        """Return nothing: whoever writes the log knows how far it is."""
        return {}

    def cut_back(self, position: Mapping[str, Any] | None) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def records_of(log: JsonlLog) -> list[dict[str, Any]]:
    """Return a log's records, in every process what the main one reads."""
    return from_main(lambda: list(log.records()))


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters by a stable name, and the optimiser that trains them."""

    name: str
    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer


@dataclass(kw_only=True)
class TrainingRun(ABC):
    """What every training run holds, and how it is kept and resumed; each method adds what is its own.

    Attributes:
        counters: names of the attributes that a checkpoint's values hold.
        step: updates done.
    """

    counters: ClassVar[tuple[str, ...]] = ("step",)

    settings: Any
    out: Path
    accelerator: Accelerator
    tokenizer: Any
    logs: list[JsonlLog] = field(default_factory=list)
    step: int = 0

    @property
    @abstractmethod
    def parts(self) -> list[Part]:
        """What is trained."""

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

    def take(self, values: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
        """Take over a checkpoint's further values; return where its further tensors belong."""
        return {}

    def begin(self, names: Sequence[str], *, resume: bool) -> list[JsonlLog]:
        """Open the logs of these names and, on request, go on from the checkpoint; return the logs.

        Raises:
            SettingsError: there is a run in `out` and nobody asked to go on with it, or it has other settings or data.
            CheckpointError: what is there is not what was written.
        """
        kind = JsonlLog if is_main() else _NoLog
        self.logs = [kind(self.out / f"{name}.jsonl") for name in names]
        begun, written = from_main(
            lambda: (
                (self.out / CHECKPOINT).exists(),
                any(log.path.stat().st_size for log in self.logs),
            )
        )
        if not resume and (begun or written):
            raise SettingsError(
                f"'{self.out}' already holds a run; resume it with --resume, or choose another --out"
            )
        if begun:
            self.restore()
        else:
            if written and is_main():
                _logger.warning(
                    "'%s' holds no checkpoint yet (checkpoint_every): the run begins anew", self.out
                )
            for log in self.logs:
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
        return self.logs

    def track(self, record: Mapping[str, Any], prefix: str = "") -> None:
        """Send a record's numbers to the trackers."""
        numbers = {f"{prefix}{name}": value for name, value in record.items() if isinstance(value, float)}
        self.accelerator.log(numbers, step=self.step)

    def end(self) -> None:
        """Close the logs and the trackers (accelerate's own way would take the processes apart, too)."""
        for log in self.logs:
            log.close()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def save(self) -> None:
        """Write everything that resuming needs: parameters, moments, values, and how far the logs are."""
        tensors = self.tensors()
        for part in self.parts:
            tensors[part.name] = part.parameters
            tensors[f"{part.name}_optimizer"] = _moments(part)
        values = {name: getattr(self, name) for name in self.counters}
        values |= {"settings": dump_settings(self.settings), **self.identity, **self.values()}
        values["logs"] = {log.path.name: log.position() for log in self.logs}
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
        file = folder / _TENSORS
        for name, target in others.items():
            set_tensors(file, name, target, tensors.get(name, {}))
        for part in self.parts:
            set_tensors(file, part.name, part.parameters, tensors.get(part.name, {}))
            _set_moments(file, part, tensors.get(f"{part.name}_optimizer", {}))
        with restoring(folder):
            for log in self.logs:
                try:
                    log.cut_back(values["logs"][log.path.name])
                except DataError as error:
                    raise damaged(log.path, error.message) from None


def _refuse_changes(run: TrainingRun, then: Mapping[str, Any]) -> None:
    now, before = dump_settings(run.settings), then["settings"]
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
def restoring(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with a state of another kind or version into a CheckpointError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged(folder / _VALUES, f"is not of this kind of run and version ({error!r})") from error


def set_tensors(file: Path, group: str, targets: Tensors, found: Tensors) -> None:
    """Copy tensors of the same names, shapes and types into `targets`.

    Raises:
        CheckpointError: one is missing, unexpected, of another shape or type, or not finite; names the first.
    """
    for name in sorted(targets.keys() | found.keys()):
        if name not in found or name not in targets:
            what = "is missing" if name in targets else "is not one of this model"
            raise damaged(file, f"does not fit: {group} tensor '{name}' {what}")
        _check_tensor(file, f"{group} tensor '{name}'", found[name], targets[name].shape, targets[name].dtype)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(found[name])


def _check_tensor(
    file: Path, name: str, tensor: torch.Tensor, shape: Sequence[int], dtype: torch.dtype
) -> None:
    if tensor.shape != tuple(shape) or tensor.dtype != dtype:
        was, wanted = f"{tuple(tensor.shape)} {tensor.dtype}", f"{tuple(shape)} {dtype}"
        raise damaged(file, f"does not fit: {name} is {was}, should be {wanted}")
    if not bool(torch.isfinite(tensor).all()):
        raise damaged(file, f"holds numbers that are not finite in {name}")


def _moments(part: Part) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{moment}": torch.as_tensor(value)
        for name, parameter in part.parameters.items()
        for moment, value in part.optimizer.state.get(parameter, {}).items()
    }


def _set_moments(file: Path, part: Part, found: Tensors) -> None:
    """Set the optimiser's moments: of a parameter all of them, or none where it has had no gradient yet."""
    by_parameter: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in found.items():
        name, _, moment = key.rpartition("/")
        by_parameter.setdefault(name, {})[moment] = tensor
    for name, moments in by_parameter.items():
        known = moments.keys() in (_MOMENTS, _MOMENTS_8, _MOMENTS_8 | _SCALES_8)
        if name not in part.parameters or not known:
            raise damaged(
                file, f"does not fit: the optimiser's tensors of {part.name} '{name}' are {sorted(moments)}"
            )
        parameter = part.parameters[name]
        for moment, tensor in moments.items():
            shape, dtype = ((), torch.float32) if moment == "step" else (parameter.shape, parameter.dtype)
            if moments.keys() != _MOMENTS:  # bitsandbytes counts in whole numbers and has shapes of its own
                shape, dtype = tensor.shape if moment in _SCALES_8 else shape, tensor.dtype
            _check_tensor(file, f"the optimiser's '{moment}' of {part.name} '{name}'", tensor, shape, dtype)
            place = "cpu" if moment == "step" else parameter.device
            counted = moment == "step" and not tensor.is_floating_point()
            part.optimizer.state[parameter][moment] = int(tensor) if counted else tensor.clone().to(place)


# --- on a terminal ---------------------------------------------------------------------------------------------------

_SHOWN = (
    "phase", "loss", "imitation_loss", "validation_loss", "outcome", "fool_rate", "failed", "undecided",
    "prm_accuracy_clean", "prm_accuracy_fresh",
)  # fmt: skip


@contextlib.contextmanager
def step_bar(title: str, total: int | None, console: Console) -> Iterator[Progress]:
    """Give a function to call after every update with (updates done, its record); `updates` there is a new total."""
    with progress_bar(console, "{task.fields[numbers]}") as bar:
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


# --- divergence ------------------------------------------------------------------------------------------------------


class DivergedError(SparringError):
    """Training has left the numbers: there is nothing to export."""


class Divergence:
    """Says when the training of some parameters has diverged.

    It has when a gradient or a weight is not finite, or when the root mean square of the weights is more than 100 times
    what it was at the start (or than 0.05, if that was less): fine-tuning changes it by a few per cent, training from
    nothing by a factor of about three.

    Args:
        what: the player or model, in words.
        parameters: as they are at the start.
        setting: the name of the learning rate's setting.
    """

    def __init__(
        self, what: str, parameters: Iterable[torch.nn.Parameter], setting: str = "learning_rate"
    ) -> None:
        self.what, self.setting, self._parameters = what, setting, list(parameters)
        self._count = sum(parameter.numel() for parameter in self._parameters)
        self._start = max(self._size(), _LEAST_START)

    def step(self, optimizer: torch.optim.Optimizer, update: int, norm: float) -> None:
        """Let the optimiser make its step, and look at the gradient's norm before it and at the weights after it.

        Raises:
            DivergedError: they are not finite, or the weights have grown out of all proportion.
        """
        if not math.isfinite(norm):
            raise self._error(update, f"its gradient's norm is {norm}")
        try:
            optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise self._error(update, "the step is larger than any number of its weights' type") from error
        size = self._size()
        if not math.isfinite(size):
            largest = max(float(parameter.detach().abs().max()) for parameter in self._parameters)
            raise self._error(update, f"its largest weight is {largest:.3g}")
        if size > _MOST_GROWTH * self._start:
            words = f"the root mean square of its weights is {size:.3g}, {size / self._start:.3g} times that of the start"
            raise self._error(update, words)

    def _size(self) -> float:
        with torch.no_grad():
            norms = [torch.linalg.vector_norm(p, dtype=torch.float32).cpu() for p in self._parameters]
        return float(torch.linalg.vector_norm(torch.stack(norms))) / math.sqrt(self._count)

    def _error(self, update: int, why: str) -> DivergedError:
        return DivergedError(
            f"training of the {self.what} has diverged at update {update}: {why}. Nothing was exported; start anew with a "
            f"lower {self.setting}"
        )
