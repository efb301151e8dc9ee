"""Hostile inputs, a million of them, for everything that reads what strangers write.

    python scripts/fuzz.py --seconds 5                            every target for five seconds
    python scripts/fuzz.py --only spans --inputs 90000 --into fuzz    a piece of a campaign, added to fuzz/pieces.jsonl
    python scripts/fuzz.py --guided --only spans --into fuzz      led by coverage (`pip install atheris`; Linux)
    python scripts/fuzz.py --publish fuzz                         numbers and table of all pieces, into benchmarks/results

Inputs are mutations of seeds (`fuzz_targets.py`) and of tests/fuzz_corpus.jsonl: values of JSON exchanged for nasty ones,
tokens exchanged and repeated, deep nesting, bytes changed, inputs spliced. What meets a new kind of error or outcome is
mutated further; with `--guided` what reaches new code, too.

A fault is whatever is raised but the project's own errors, a result that is not what was promised (the target checks it),
more than a second of processor time, or more than 300 MB for one input. It is shortened and shown as a line for the corpus,
which the tests replay. Same seed and `--inputs`: the same inputs, without `--guided`. Status 1 where there was a fault.

Not here: what the targets call and promise (`fuzz_targets.py`), steps mutated from real data (`benchmarks/oracle_fuzz.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests")]

CORPUS = ROOT / "tests" / "fuzz_corpus.jsonl"
SLOW, GUARD, MEMORY = 1.0, 5.0, 300 * 2**20
LONGEST = 6000
SEPARATOR = b"\x1e"
_NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**64), 10**400, 0.5, 1e308, 5e-324, -0.0, "", " ", "\n", "x", "0",
    "1e999", "\u202e", "\x00", "\x1b[31m", "\ud800", "../../etc/passwd", "/dev/zero", "{{7*7}}", "%s%n", "a" * 5000, [],
    {}, [[]], [{}], [None], {"": None}, [0.1] * 50, "٣", "<|im_end|>", "</s>", "\n\n", "\r", "NaN",
)  # fmt: skip
_BYTES = (
    b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r\n", b"NaN", b"Infinity", b"1e999", b"[" * 2000,
    b'{"a":' * 300, b"\\ud800", b"&a *a", b"!!python/object:os.system", b": ", b"- ", b"# ", b"|", b"~", b"9" * 5000,
    b'"', b"'", SEPARATOR,
)  # fmt: skip


class Hang(BaseException):
    """The guard interrupted an input."""


@dataclass
class Piece:
    """What came of some inputs: `faults` holds (input as Latin-1, what happened)."""

    target: str
    guided: bool
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)


class Trial:
    """One target with its seeds: asks it, and keeps what is new."""

    def __init__(
        self, name: str, seeds: Sequence[bytes], run: Callable[[bytes], object], piece: Piece
    ) -> None:
        self.name, self.run, self.piece = name, run, piece
        self.corpus = list(seeds)
        self.words = sorted({word for seed in seeds for word in re.findall(rb"[\w|:+-]+|[^\w\s]", seed)})
        self.seen: Counter[str] = Counter()

    def once(self, data: bytes) -> str:
        """Ask the target about an input; return what came of it, beginning with FAULT where that may not be."""
        from sparring.errors import SparringError

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, GUARD)
        try:
            came = f"answered {self.run(data)}"
        except SparringError as error:
            came = f"{type(error).__name__}: {error}"
        except Hang:
            came = "FAULT: does not end"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            came = f"FAULT: {type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        spent = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        self.piece.slowest = max(self.piece.slowest, spent)
        if spent > SLOW and not came.startswith("FAULT"):
            came = f"FAULT: {spent:.1f} s, {came}"
        elif grown > MEMORY and not came.startswith("FAULT"):
            came = f"FAULT: {grown / 2**20:.0f} MB, {came}"
        return came

    def take(self, data: bytes) -> None:
        """Ask about an input and count it; what is new is kept, a new fault is shortened and recorded."""
        came = self.once(data)
        self.piece.inputs += 1
        kind = kind_of(came)
        self.seen[kind] += 1
        if self.seen[kind] > 1:
            return
        self.piece.outcomes += 1
        if came.startswith("FAULT"):
            short = self.shortened(data, kind)
            line = {"target": self.name, "input": short.decode("latin-1"), "was": came[:300]}
            print(json.dumps(line), flush=True)
            self.piece.faults.append((short.decode("latin-1"), came[:300]))
        elif len(data) <= LONGEST // 2 and len(self.corpus) < 2000:
            self.corpus.append(data)

    def shortened(self, data: bytes, kind: str) -> bytes:
        """Return a part of the input that still has the fault."""
        size, tries = len(data) // 2, 0
        while size and tries < 200:
            for start in range(0, len(data), size):
                shorter = data[:start] + data[start + size :]
                tries += 1
                if tries > 200:
                    break
                if kind_of(self.once(shorter)) == kind:
                    data = shorter
                    break
            else:
                size //= 2
        return data

    def mutated(self, data: bytes, rng: random.Random) -> bytes:
        """Return an input after one to four mutations."""
        for _ in range(rng.choice((1, 1, 2, 4))):
            parts = data.split(SEPARATOR)
            place = rng.randrange(len(parts))
            parts[place] = self._part(parts[place], rng)
            data = SEPARATOR.join(parts)
        return data[:LONGEST]

    def _part(self, part: bytes, rng: random.Random) -> bytes:
        from oracle_fuzz import mutated

        kind = rng.random()
        if part[:1] in (b"{", b"[") and kind < 0.6:
            try:
                return json.dumps(changed(json.loads(part), rng)).encode()
            except (ValueError, RecursionError):
                pass
        if kind < 0.75:
            return mutated(part.decode("utf-8", "replace"), rng).encode("utf-8", "replace")
        start, end = sorted(rng.randrange(len(part) + 1) for _ in range(2))
        if kind < 0.8:
            other = rng.choice(self.corpus).split(SEPARATOR)
            return part[:start] + rng.choice(other)[-(end - start) :] + part[end:]
        end = min(end, start + 4)
        middle = rng.choice(
            (
                rng.choice(_BYTES),
                rng.choice(self.words),
                rng.randbytes(rng.randint(0, 3)),
                part[start:end] * 2,
            )
        )
        return part[:start] + middle + part[end:]


def changed(value: Any, rng: random.Random) -> Any:
    """Return JSON in which something was exchanged, left out, doubled, moved or nested."""
    from oracle_fuzz import mutated

    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = rng.choice(places)
        made = value.copy()
        kind = rng.random()
        if kind < 0.75:
            made[place] = changed(value[place], rng)
        elif kind < 0.83:
            del made[place]
        elif isinstance(made, dict):
            made[rng.choice((mutated(place, rng)[:50], rng.choice(list(value))))] = (
                made.pop(place) if kind < 0.9 else made[place]
            )
        else:
            made.insert(rng.randrange(len(made) + 1), made[place])
        return made
    if isinstance(value, str) and rng.random() < 0.6:
        return mutated(value, rng)
    if isinstance(value, (int, float)) and rng.random() < 0.3:
        return -value if rng.random() < 0.5 else value * 10 ** rng.randint(1, 20)
    if rng.random() < 0.1:
        for _ in range(rng.choice((1, 5, 99, 101))):
            value = [value]
        return value
    return rng.choice(_NASTY)


def kind_of(came: str) -> str:
    """Return what came of an input, an error without its names and numbers."""
    if came.startswith("answered"):
        return came[:90]
    return re.sub(r"'[^']*'|\"[^\"]*\"|\[\d+\]|\d[\d.,e+-]*|/\S+", "·", came)[:90]


def kept(name: str) -> list[bytes]:
    """Return the inputs of the corpus for a target."""
    lines = CORPUS.read_text(encoding="utf-8").splitlines() if CORPUS.is_file() else []
    return [one["input"].encode("latin-1") for one in map(json.loads, lines) if one["target"] == name]


def interrupt(number: int, frame: object) -> None:
    """Handle the guard's signal."""
    raise Hang


@contextmanager
def trial(name: str, *, guided: bool = False, seed: int = 0) -> Iterator[Trial]:
    """Give a target, made ready in a folder of its own."""
    with ExitStack() as stack:
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (where files cost no disk)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place)))
        before = signal.signal(signal.SIGVTALRM, interrupt)
        stack.callback(signal.signal, signal.SIGVTALRM, before)
        if guided:
            import atheris

            stack.enter_context(atheris.instrument_imports(include=["sparring"]))
        from fuzz_targets import TARGETS

        seeds, run = stack.enter_context(TARGETS[name](folder))
        one = Trial(name, [*seeds, *kept(name)], run, Piece(name, guided, seed))
        for data in one.corpus:  # what the first inputs import and compile is not timed
            one.once(data)
        one.piece.slowest = 0.0
        yield one


def plain(one: Trial, inputs: int, seconds: float, seed: int) -> None:
    """Ask about so many inputs, or for so long."""
    rng, began = random.Random(f"{one.name} {seed}"), time.monotonic()
    for data in list(one.corpus):
        one.take(data)
    while one.piece.inputs < inputs and time.monotonic() - began < seconds:
        one.take(one.mutated(rng.choice(one.corpus), rng))
    one.piece.seconds = time.monotonic() - began


def guided(one: Trial, inputs: int, seconds: float, seed: int, done: Callable[[], None]) -> None:
    """The same, led by libFuzzer, which ends the process."""
    import atheris

    began = time.monotonic()
    folder = tempfile.mkdtemp()
    for number, data in enumerate(one.corpus):
        (Path(folder) / str(number)).write_bytes(data)

    def take(data: bytes) -> None:
        one.take(data)
        if one.piece.inputs >= inputs or time.monotonic() - began >= seconds:
            one.piece.seconds = time.monotonic() - began
            done()
            shutil.rmtree(folder)
            sys.stdout.flush()
            os._exit(bool(one.piece.faults))

    def mutate(data: bytes, most: int, number: int) -> bytes:
        return one.mutated(data, random.Random(number))[:most]

    words = [
        sys.argv[0],
        folder,
        f"-max_len={LONGEST}",
        f"-seed={seed + 1}",
        "-timeout=100",
        "-rss_limit_mb=0",
        "-verbosity=0",
    ]
    atheris.Setup(words, take, custom_mutator=mutate)
    atheris.Fuzz()


def publish(place: Path, results: Path) -> None:
    """Write the record and the page of all pieces."""
    from publishing import json_lines
    from publishing import publish as write

    pieces = json_lines(place / "pieces.jsonl")
    metrics = measure(pieces)
    write(results, "fuzz", metrics, page(metrics), settings={}, extra={"pieces": pieces})


def measure(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return inputs, seconds, slowest input and faults, by target and in all."""
    from sparring.runs import Metric

    found = {}
    for name in ["all", *sorted({piece["target"] for piece in pieces})]:
        mine = [piece for piece in pieces if name in ("all", piece["target"])]
        found |= {
            f"{name}.inputs": Metric(sum(piece["inputs"] for piece in mine), unit="inputs"),
            f"{name}.guided": Metric(
                sum(piece["inputs"] for piece in mine if piece["guided"]), unit="inputs"
            ),
            f"{name}.seconds": Metric(sum(piece["seconds"] for piece in mine), unit="s"),
            f"{name}.slowest": Metric(max(piece["slowest"] for piece in mine), unit="s"),
            f"{name}.faults": Metric(sum(len(piece["faults"]) for piece in mine), unit="kinds"),
        }
    return found


def page(metrics: dict[str, Any]) -> str:
    """Return the table for people."""
    from fuzz_targets import TARGETS
    from publishing import table

    rows = []
    for name in [
        *sorted(
            key.removesuffix(".inputs") for key in metrics if key.endswith(".inputs") and key != "all.inputs"
        ),
        "all",
    ]:
        inputs, led, seconds, slowest, faults = (
            metrics[f"{name}.{key}"].value for key in ("inputs", "guided", "seconds", "slowest", "faults")
        )
        what = (TARGETS[name].__doc__ or "").split(".")[0] if name in TARGETS else ""
        rows.append(
            [
                name,
                what,
                f"{inputs:,.0f}",
                f"{led:,.0f}",
                f"{seconds:,.0f}",
                f"{slowest:.2f}",
                f"{faults:.0f}",
            ]
        )
    return (
        "# Hostile inputs\n\nMade by `python scripts/fuzz.py`, which says what a fault is; seconds of one core, the\n"
        "slowest input in seconds of processor time. Counted are the faults of these runs; what was found while\n"
        "the script was written, and mended, stands in `tests/fuzz_corpus.jsonl`.\n\n"
        + table(
            [
                "target",
                "what reads them",
                "inputs",
                "of these led by coverage",
                "seconds",
                "slowest",
                "kinds of faults",
            ],
            rows,
        )
    )


def main(words: list[str] | None = None) -> int:
    """Run targets, or publish what was run; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", help="a target; may be given again")
    parser.add_argument("--inputs", type=int, default=10**9, help="of each target")
    parser.add_argument("--seconds", type=float, default=10**9, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris; one target")
    parser.add_argument("--into", type=Path, help="folder in which pieces.jsonl gets a line")
    parser.add_argument("--publish", type=Path, help="folder of pieces to sum up")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    chosen = parser.parse_args(words)
    if chosen.publish:
        publish(chosen.publish, chosen.results)
        return 0
    if chosen.guided:
        names = chosen.only or []
    else:
        from fuzz_targets import TARGETS

        names = chosen.only or list(TARGETS)
    faults = 0
    for name in names:
        with trial(name, guided=chosen.guided, seed=chosen.seed) as one:

            def done(one: Trial = one) -> None:
                piece = one.piece
                if chosen.into:
                    chosen.into.mkdir(parents=True, exist_ok=True)
                    with (chosen.into / "pieces.jsonl").open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(piece)) + "\n")
                print(f"{piece.target}: {piece.inputs} inputs, {piece.seconds:.0f} s, {piece.outcomes} outcomes, slowest "
                      f"{piece.slowest:.2f} s, {len(piece.faults)} faults", file=sys.stderr, flush=True)  # fmt: skip

            if chosen.guided:
                guided(one, chosen.inputs, chosen.seconds, chosen.seed, done)
            plain(one, chosen.inputs, chosen.seconds, chosen.seed)
            done()
            faults += len(one.piece.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
