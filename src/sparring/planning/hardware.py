"""Accelerators by name: memory, matrix-multiplication rate, bandwidths; and this machine's processor, measured.

Contract: numbers of the table are the makers' (dense bfloat16 with float32 sums, no sparsity); memory is what a driver
reports, rounded down. Nothing here was measured by us but the processor.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sparring.errors import SettingsError, did_you_mean
from sparring.runs import memory_room

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator.

    Attributes:
        memory: bytes.
        flops: of matrix products per second, bfloat16 (float32 on a processor).
        bandwidth: of its memory, bytes/s.
        link: to its neighbours in the same machine, bytes/s in one direction.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    link: float


def _device(name: str, gib: float, teraflops: float, terabytes: float, gigabytes: float) -> Device:
    return Device(name, gib * GIB, teraflops * 1e12, terabytes * 1e12, gigabytes * 1e9)


DEVICES = {
    one.name: one
    for one in (
        _device("H100", 79, 989, 3.35, 450),
        _device("H200", 139, 989, 4.8, 450),
        _device("A100-40", 39, 312, 1.555, 300),
        _device("A100-80", 79, 312, 2.039, 300),
        _device("L40S", 44, 362, 0.864, 32),
        _device("B200", 178, 2250, 8.0, 900),
        _device("4090", 23.5, 165, 1.008, 32),
        _device("MI300X", 191, 1307, 5.3, 448),
    )
}
PER_MACHINE = 8
"""Accelerators in one machine; more of them speak over the network."""
MOST_GPUS = 999_999
"""Accelerators that can be planned for."""
_SPELLING = re.compile(r"(?:(\d+)\s*[xX]\s*)?([^\W_]\S*)")
_FORM = f"COUNTxNAME or NAME, such as 8xH100: a count from 1 to {MOST_GPUS:,}, and a name in any case"


def parse_gpus(text: str) -> tuple[int, str]:
    """Return how many of which: ``8xH100``, ``H100``, ``cpu``.

    Raises:
        SettingsError: it is not written so, or the name is unknown.
    """
    match = _SPELLING.fullmatch(text.strip())
    count = int(match[1][:7] if match[1] else 1) if match else 0
    if match is None or not 1 <= count <= MOST_GPUS:
        raise SettingsError(f"gpus: expected {_FORM}, got '{text}'")
    if match[2].lower() == "cpu":
        if count > 1:
            raise SettingsError("gpus: one cpu at a time can be planned for")
        return 1, "cpu"
    by_name = {name.lower(): name for name in DEVICES} | {"a100": "A100-80"}
    found = by_name.get(match[2].lower())
    if found is None and not match[1] and match[2][0].isdigit():  # a count without its name, or without the x
        raise SettingsError(f"gpus: expected {_FORM}, got '{text}'")
    if found is None:
        raise SettingsError(f"gpus: no GPU '{match[2]}'{_known(match[2])}; or `cpu`, this machine's")
    return count, found


def _known(word: str) -> str:
    near = did_you_mean(word.upper(), DEVICES)
    return near if "did you mean" in near else f" (known: {', '.join(DEVICES)})"


def device_for(name: str, flops: float | None, memory_gib: float | None) -> Device:
    """Return a device by its name; of the processor its rate is measured, unless it is given.

    Args:
        flops: FLOP/s instead of the table's, or of the processor's measured rate.
        memory_gib: memory instead of the table's or the machine's (within the limit of a container).

    Raises:
        SettingsError: the machine does not say how much memory it has, and `memory_gib` is not given.
    """
    given = None if memory_gib is None else memory_gib * GIB
    if name != "cpu":
        device = DEVICES[name]
        return replace(device, flops=flops or device.flops, memory=given or device.memory)
    memory = given or memory_room()[1]
    if memory is None:
        raise SettingsError("memory_gib is needed here: this system does not say how much memory it has")
    # Bandwidth of one core: what a copy of a large array reaches; asked for by decoding only.
    return Device("cpu", float(memory), flops or measured_flops(), 10e9, 10e9)


def measured_flops(
    size: int = 1024, seconds: float = 0.5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return FLOP/s of square float32 products on as many threads as torch uses, the best of a few."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    best, until = 0.0, time.monotonic() + seconds
    while best == 0.0 or time.monotonic() < until:
        start = clock()
        a @ b
        best = max(best, 2 * size**3 / (clock() - start))
    return best
