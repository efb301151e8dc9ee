"""One training run in several processes (`torchrun -m sparring train …`, `accelerate launch -m sparring train …`).

The scheme: every process does the same run. All of them draw the same problems, states, batches and random numbers, since
these are functions of (seed, step, index in the whole batch); every process holds the same trained weights. Work is shared
at the places where it is:

- `spread`: items are dealt out, each process works on its own, and all get all results, in order (sampling, judging,
  scoring);
- `share`: of the rows of an update a process takes its own through forward and backward. Losses are sums over rows divided
  by counts of the *whole* update, so the gradients of all processes add up to that of one process, whatever the shares:
  `sum_gradients`. `summed` does the same with the numbers of a record.

Then all take the same optimiser step. So N processes give the numbers of one (up to the order of sums of floats), a run
may go on with another number of processes, and what decides (stopping, the best weights) is decided alike everywhere.

One process, the main one, holds the lock on the run directory and writes logs, checkpoints and models; the others read
them, so the directory must be one that all of them see. Where a process ends, the others notice in their next exchange and
end too (`LostProcessError`); the first to have something to say says it to the user, and no other (`sparring.launched`).

Objects are exchanged over gloo, gradients on GPUs over NCCL. With one process every function here returns what it was
given. Not here: sharding of frozen weights (`models/sharding.py`).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from sparring import launched
from sparring.errors import SettingsError, SparringError
from sparring.locks import writes
from sparring.models.loading import pick_device
from sparring.models.roles import Roles

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)  # the main process writes a large model while the others wait
_BUCKET = 1 << 25  # numbers that are exchanged at once: a copy of all gradients would cost too much memory
_CONNECTION = re.compile(r"gloo|NCCL|by peer|Broken pipe|TCPStore")


class LostProcessError(SparringError):
    """Another process of the run has ended."""


def process_count() -> int:
    """Return how many processes do this run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


# --- beginning and ending --------------------------------------------------------------------------------------------


def in_processes(argument: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a training function join the processes that a launcher has started, and lock the path `argument` once.

    The function's argument `settings` says on which device it computes.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        writing = writes(argument)(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with _talking():
                joined = _join(signature.bind(*args, **kwargs).arguments["settings"].device)
                result = writing(*args, **kwargs) if is_main() else function(*args, **kwargs)
                if joined:
                    wait()
                    distributed.destroy_process_group()
            return result

        return run

    return decorate


def own_device(device: str) -> torch.device:
    """Return the device of a setting for this process: of several on a machine each has its own GPU.

    Raises:
        SettingsError: there is no such device, or not one for every process.
    """
    chosen = pick_device(device)
    if launched.world_size() == 1 or chosen.type != "cuda":
        return chosen
    if chosen.index is not None:
        raise SettingsError(
            f"device: '{device}' is one GPU and there are {launched.world_size()} processes: take auto"
        )
    own = launched.local_rank()
    if own >= torch.cuda.device_count():
        raise SettingsError(
            f"there are more processes on this machine than GPUs ({torch.cuda.device_count()}): start as many as GPUs"
        )
    torch.cuda.set_device(own)
    return torch.device("cuda", own)


def _join(device: str) -> bool:
    """Make this process known to the others; return whether that was needed."""
    if launched.world_size() == 1 or distributed.is_initialized():
        return False
    kind = own_device(device).type
    try:
        store, number, count = next(iter(rendezvous("env://", timeout=_PATIENCE)))
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"WORLD_SIZE says that there are {launched.world_size()} processes, but they cannot find each other "
            f"({str(error).partition(chr(10))[0]}): start them with torchrun or accelerate launch"
        ) from None

    def claim() -> bool:
        try:
            return bytes(store.compare_set("sparring/word", "", str(number))) == str(number).encode()
        except RuntimeError:  # whoever held the store is gone
            return launched.rank() <= 1

    launched.claim = claim
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
        store=PrefixStore("sparring", store),
        rank=number,
        world_size=count,
        timeout=_PATIENCE,
    )
    return True


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    """Turn what an exchange with a process that has ended makes torch raise into one line."""
    try:
        yield
    except RuntimeError as error:
        if (
            process_count() == 1
            or isinstance(error, torch.OutOfMemoryError)
            or not _CONNECTION.search(str(error))
        ):
            raise
        raise LostProcessError(
            "another process of this run has ended (it was killed, its machine is gone, or it told its own error), so "
            "the run ends; to go on, give the same command with --resume"
        ) from error


# --- exchange --------------------------------------------------------------------------------------------------------


def wait() -> None:
    """Wait for all processes."""
    if process_count() > 1:
        distributed.barrier()


def from_main(make: Callable[[], T]) -> T:
    """Return what the main process makes; the others do not make it."""
    if process_count() == 1:
        return make()
    made: list[Any] = [make() if is_main() else None]
    distributed.broadcast_object_list(made, src=0)
    result: T = made[0]
    return result


def gathered(own: T) -> list[T]:
    """Return every process's object, by rank."""
    if process_count() == 1:
        return [own]
    found: list[Any] = [None] * process_count()
    distributed.all_gather_object(found, own)
    return found


def summed(own: Mapping[str, float]) -> dict[str, float]:
    """Return the sums over all processes of numbers by name; a name that a process lacks is zero there."""
    total: dict[str, float] = {}
    for part in gathered(dict(own)):
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total


def shares(costs: Sequence[float]) -> list[list[int]]:
    """Return, per process, the indices of its items, in order: the dearest first to whoever has least to do."""
    dealt: list[list[int]] = [[] for _ in range(process_count())]
    loads = [0.0] * len(dealt)
    for index in sorted(range(len(costs)), key=lambda place: (-costs[place], place)):
        least = min(range(len(dealt)), key=lambda number: (loads[number], len(dealt[number])))
        dealt[least].append(index)
        loads[least] += costs[index]
    return [sorted(indices) for indices in dealt]


def share(costs: Sequence[float]) -> list[int]:
    """Return the indices of this process's items, in order; all of them where there is one process."""
    return shares(costs)[rank()]


def spread(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Sequence[R]],
    costs: Sequence[float] | None = None,
    *,
    always: bool = False,
) -> list[R]:
    """Return `work` of all items, one result per item in order, every process having worked on its share.

    What a process did besides, such as counting, the others do not see. A process without items does not work, unless it
    must `always`.
    """
    if process_count() == 1:
        return list(work(items))
    dealt = shares([1.0] * len(items) if costs is None else costs)
    own = dealt[rank()]
    found: dict[int, R] = {}
    for indices, part in zip(
        dealt, gathered(list(work([items[i] for i in own])) if own or always else []), strict=True
    ):
        found |= zip(indices, part, strict=True)
    return [found[index] for index in range(len(items))]


def in_step(batches: Sequence[T], roles: Roles, role: str = "", *, forward: int = 1) -> Iterator[T]:
    """Yield this process's batches; where processes must compute in step, make empty passes for those that it has fewer.

    A batch is a backward pass of the `role` (the first, unless given) and `forward` passes forward, references' counted.
    """
    missing = max(gathered(len(batches))) - len(batches) if roles.sharded else 0
    yield from batches
    roles.idle(missing, role, forward=forward)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Make every gradient the sum over all processes; a parameter without one anywhere keeps none."""
    if process_count() == 1:
        return
    all_of_them = list(parameters)
    has = torch.tensor([parameter.grad is not None for parameter in all_of_them], dtype=torch.uint8)
    distributed.all_reduce(has, op=distributed.ReduceOp.MAX)
    used = [parameter for parameter, any_has in zip(all_of_them, has.tolist(), strict=True) if any_has]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets(used):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        distributed.all_reduce(flat)
        for gradient, total in zip(bucket, torch.split(flat, [one.numel() for one in bucket]), strict=True):
            gradient.copy_(total.view_as(gradient))


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.Tensor]]:
    """Yield the gradients in groups of one type that are exchanged at once."""
    bucket: list[torch.Tensor] = []
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None
        full = sum(one.numel() for one in bucket) + gradient.numel() > _BUCKET
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
