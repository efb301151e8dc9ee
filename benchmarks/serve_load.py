"""How much of the model's speed does `sparring serve` give to clients on loopback, and does it stand five minutes of abuse?

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --model models/SmolLM2-135M-Instruct --data gsm8k/train.jsonl --device cuda
    python benchmarks/serve_load.py --soak 300

Load: clients on open connections ask `/v1/score` again and again, each request with one solution or with sixteen, at
several numbers of requests in flight. Beside it, in the same run and on the same traces, the scorer in this process: all
traces in its own batches, and one trace after the other. Reported are steps per second of the clock, latency
percentiles, and steps per second of processor time, of this process or of the server's: the last does not notice what
else the machine does, and is what the aims are checked with on a CPU. Aims, at saturation: 0.8 of the batches in process,
and 5 times one request at a time.

The second aim has a ceiling: what batches win over single traces in process. On one CPU thread that is little, since a
core is busy with one trace already. What it is on a device that is not, is measured with `--latency`: the model is then
replaced by one that takes that time for a batch of any size, as a GPU does for small ones. That is a measurement of the
server alone, with a stand-in for the model.

Soak: good requests of all endpoints beside malformed ones, huge ones, clients that leave before their answer or read it
slowly, and a worker that is lost every twenty seconds. Every request must get an answer of the status that it deserves
(503 only for the lost worker); memory must not grow after the first minute. Writes `serve_load.json` and `.md`, and with
`--soak` `serve_soak.json` and `.md`, into the results folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console

from publishing import command_line, publish, table
from sparring.errors import SparringError
from sparring.models import TINY_POLICY
from sparring.models.scorer import Scorer, load_scorer
from sparring.runs import Metric
from sparring.traces.records import Trace
from speed_rows.reading import chosen_traces, make_prm

SHARE_AIM, SINGLE_AIM = 0.8, 5.0
ITEMS = (1, 16)
LOST_EVERY = 20.0
BODY_LIMIT = 2_000_000


def main() -> int:
    """Measure, write the files, return the exit status."""
    parser = command_line(__doc__)
    parser.add_argument("--model", type=Path, help="causal model folder; default: the tiny chain policy")
    parser.add_argument("--data", type=Path, help="file of traces for --model")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--traces", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=6.0, help="per number of requests in flight")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.02], help="stand-ins for a device")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of abuse, instead of the load")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-server", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--takes", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--loses", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.as_server is not None:
        run_server(options.as_server, options.device, options.dtype, options.takes, options.loses)
        return 0
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data belong together")
    settings = {
        "model": options.model.name if options.model else TINY_POLICY,
        "data": options.data.name if options.data else "chain world",
        "dtype": options.dtype, "device": options.device, "traces": options.traces, "threads": 1,
        "cores": os.cpu_count(), "seconds": options.soak or options.seconds,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        prm = Path(place) / "prm"
        try:
            make_prm(str(options.model or TINY_POLICY), prm, options.dtype, options.seed)
            traces = chosen_traces(options.data, options.traces, options.seed)
        except SparringError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        if options.soak:
            metrics = asyncio.run(soak(prm, traces, options))
            text, met = soak_page(metrics, settings)
        else:
            metrics = load(prm, traces, options)
            text, met = load_page(metrics, settings, options)
    name = "serve_soak" if options.soak else "serve_load"
    publish(options.results, name, metrics, text, settings=settings, seed=options.seed)
    return 0 if met else 1


# --- the server ------------------------------------------------------------------------------------------------------


def run_server(prm: Path, device: str, dtype: str, takes: float | None, loses: float | None) -> None:
    """Serve as `sparring serve` does, with a stand-in for the model's time, or a worker that is lost now and then."""
    # uvicorn raises it again once it has stopped in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from sparring.serving import command, models
    from sparring.serving.settings import ServeSettings

    loaded = models.load_models

    def changed(*given: Any, **named: Any) -> models.Models:
        found = loaded(*given, **named)
        batcher = found.prm(None).batcher
        compute: Any = batcher.compute
        usual, last = compute[models.SCORES], time.monotonic()

        def scores(rows: Sequence[Any]) -> Sequence[Any]:
            nonlocal last
            if loses is not None and time.monotonic() - last > loses:
                last = time.monotonic()
                raise SystemExit("the worker is lost, as planned")
            if takes is None:
                return usual(rows)
            time.sleep(takes)
            return [[0.5] * len(row.positions) for row in rows]

        compute[models.SCORES] = scores
        return found

    models.load_models = changed  # type: ignore[assignment]
    limits = {"max_body_bytes": BODY_LIMIT, "max_requests": 1024, "log_level": "error"}
    policy = TINY_POLICY if loses is not None else ()
    command.serve(
        ServeSettings(
            prm=str(prm), policy=policy, port=0, device=device, dtype=dtype, max_step_tokens=24, **limits
        )  # type: ignore[arg-type]
    )


@contextlib.contextmanager
def served(
    prm: Path, options: argparse.Namespace, *words: str
) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Yield a running server, its host and port."""
    command = [
        sys.executable,
        __file__,
        "--as-server",
        str(prm),
        "--device",
        options.device,
        "--dtype",
        options.dtype,
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                log.seek(0)
                raise SystemExit(f"the server did not start: {log.read()}")
            host, _, port = url.removeprefix("http://").partition(":")
            yield process, host, int(port)
            process.send_signal(signal.SIGTERM)
            if process.wait(60) != 0:
                raise SystemExit(f"the server ended with {process.returncode}")
        finally:
            process.kill()


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- clients ---------------------------------------------------------------------------------------------------------


class Client:
    """One connection that asks and waits, with as little work of its own as possible."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, *, slowly: bool = False) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port, limit=2**16)
        reader, writer = self.streams
        writer.write(request)
        with contextlib.suppress(ConnectionError):  # an answer may come before all was sent
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if "transfer-encoding: chunked" in head:
            body = b""
            while length := int((await reader.readuntil(b"\r\n")).strip(), 16):
                body += (await reader.readexactly(length + 2))[:-2]
            await reader.readexactly(2)
        else:
            left = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = b""
            while left:
                part = await reader.read(min(left, 512 if slowly else 2**16))
                if not part:
                    raise ConnectionError("the answer ended early")
                body, left = body + part, left - len(part)
                if slowly:
                    await asyncio.sleep(0.02)
        if "connection: close" in head:
            self.close()
        return status, body

    def close(self) -> None:
        """Close the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def http(path: str, content: bytes, length: int | None = None) -> bytes:
    """Return a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(content) if length is None else length}\r\n\r\n".encode() + content


def requests_of(traces: Sequence[Trace], items: int) -> list[tuple[bytes, int]]:
    """Return requests that ask for the scores of all traces, and how many steps each has."""
    found = []
    for start in range(0, len(traces) - items + 1, items):
        part = traces[start : start + items]
        asked = [{"problem": trace.problem.question, "steps": trace.steps} for trace in part]
        content = json.dumps({"items": asked}).encode()
        found.append((http("/v1/score", content), sum(len(trace.steps) for trace in part)))
    return found


# --- load ------------------------------------------------------------------------------------------------------------


def load(prm: Path, traces: Sequence[Trace], options: argparse.Namespace) -> dict[str, Metric]:
    """Return all numbers of the load test."""
    scorer = load_scorer(prm, device=options.device, dtype=options.dtype)
    traces = sorted(traces, key=lambda trace: trace.problem.id)
    metrics: dict[str, Metric] = {}
    before = in_process(scorer, traces, options.seconds)
    with served(prm, options) as server:
        metrics |= curves("served", server, traces, options)
    after = in_process(scorer, traces, options.seconds)
    for name, values in before.items():
        both = [*values, *after[name]]
        metrics[f"in_process.{name}"] = Metric(
            statistics.median(both), min(both), max(both), len(both), "1/s"
        )
    for seconds in options.latency:
        with served(prm, options, "--takes", str(seconds)) as server:
            metrics |= curves(f"latency_{seconds:g}", server, traces, options)
    return metrics


def in_process(scorer: Scorer, traces: Sequence[Trace], seconds: float) -> dict[str, list[float]]:
    """Return steps per second of the clock and of the processor, in batches and one trace at a time, several times each."""
    steps = sum(len(trace.steps) for trace in traces)
    found: dict[str, list[float]] = {}
    ways: dict[str, Callable[[], object]] = {
        "batches": lambda: scorer.score(traces),
        "alone": lambda: [scorer.score([trace]) for trace in traces],
    }
    for name, way in ways.items():
        way()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            wall, busy = time.perf_counter(), time.process_time()
            way()
            found.setdefault(name, []).append(steps / (time.perf_counter() - wall))
            found.setdefault(f"{name}_by_processor", []).append(steps / (time.process_time() - busy))
    return found


def curves(
    name: str,
    server: tuple[subprocess.Popen[str], str, int],
    traces: Sequence[Trace],
    options: argparse.Namespace,
) -> dict[str, Metric]:
    """Return what a server gives, per number of items in a request and of requests in flight."""
    process, host, port = server
    metrics: dict[str, Metric] = {}
    for items in ITEMS:
        asked = requests_of(traces, items)
        asyncio.run(pressed(host, port, asked, 4, 1.0))  # warm
        for in_flight in options.in_flight:
            busy, wall = processor_seconds(process.pid), time.perf_counter()
            steps, latencies = asyncio.run(pressed(host, port, asked, in_flight, options.seconds))
            wall, busy = time.perf_counter() - wall, processor_seconds(process.pid) - busy
            key, count = f"{name}.items_{items}.in_flight_{in_flight}", len(latencies)
            metrics[f"{key}.steps_per_second"] = Metric(steps / wall, n=count, unit="1/s")
            metrics[f"{key}.steps_by_processor"] = Metric(steps / max(busy, 1e-9), n=count, unit="1/s")
            cuts = statistics.quantiles(latencies, n=100, method="inclusive")
            for percent in (50, 95, 99):
                metrics[f"{key}.latency_p{percent}"] = Metric(cuts[percent - 1], n=count, unit="s")
            Console(stderr=True).print(
                f"{key}: {steps / wall:.0f} steps/s, p50 {cuts[49] * 1e3:.0f} ms", highlight=False
            )
    return metrics


async def pressed(
    host: str, port: int, asked: Sequence[tuple[bytes, int]], in_flight: int, seconds: float
) -> tuple[int, list[float]]:
    """Return the steps that were scored, and every request's latency, with so many requests in flight all the time."""
    end = time.perf_counter() + seconds
    latencies: list[float] = []
    total = 0

    async def client(number: int) -> None:
        nonlocal total
        connection, turn = Client(host, port), number
        while time.perf_counter() < end:
            request, steps = asked[turn % len(asked)]
            turn += in_flight
            start = time.perf_counter()
            status, body = await connection.ask(request)
            if status != 200:
                raise SystemExit(f"status {status}: {body[:300]!r}")
            latencies.append(time.perf_counter() - start)
            total += steps
        connection.close()

    await asyncio.gather(*(client(number) for number in range(in_flight)))
    return total, latencies


# --- soak ------------------------------------------------------------------------------------------------------------


async def soak(prm: Path, traces: Sequence[Trace], options: argparse.Namespace) -> dict[str, Metric]:
    """Return counts of statuses by kind of request, and memory over time."""
    counts: Counter[tuple[str, str]] = Counter()
    memory: list[tuple[float, int]] = []
    with served(prm, options, "--loses", str(LOST_EVERY)) as (process, host, port):
        start = time.monotonic()
        end = start + options.soak
        kinds = soak_requests(traces)

        async def client(kind: str, number: int) -> None:
            generator, connection = random.Random(f"{kind}-{number}"), Client(host, port)
            while time.monotonic() < end:
                request = generator.choice(kinds[kind])
                try:
                    if kind == "leaves":
                        await abandon(host, port, request, generator)
                        counts[kind, "left"] += 1
                    else:
                        asked = connection.ask(request, slowly=kind == "slow")
                        status, _ = await asyncio.wait_for(asked, 60)
                        counts[kind, str(status)] += 1
                except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
                    counts[kind, type(error).__name__] += 1
                    connection.close()
                await asyncio.sleep(
                    generator.random() * (0.4 if kind in ("huge", "search", "chat", "leaves") else 0.05)
                )

        async def watch() -> None:
            while time.monotonic() < end:
                memory.append((time.monotonic() - start, resident_bytes(process.pid)))
                await asyncio.sleep(1.0)

        clients = [client(kind, number) for kind in kinds for number in range(4 if kind == "score" else 2)]
        await asyncio.gather(watch(), *clients)
        connection = Client(host, port)
        status, _ = await connection.ask(kinds["score"][0])
        counts["at the end", str(status)] += 1
        connection.close()
    metrics = {
        f"soak.{kind.replace(' ', '_')}.{status}": Metric(count, n=count)
        for (kind, status), count in sorted(counts.items())
    }
    third = [size for at, size in memory if min(60.0, options.soak / 3) <= at < options.soak * 0.5]
    last = [size for at, size in memory if at >= options.soak * 0.8]
    metrics["soak.memory_early"] = Metric(
        statistics.median(third), min(third), max(third), len(third), "bytes"
    )
    metrics["soak.memory_late"] = Metric(statistics.median(last), min(last), max(last), len(last), "bytes")
    return metrics


def soak_requests(traces: Sequence[Trace]) -> dict[str, list[bytes]]:
    """Return requests by kind."""
    one, many = (
        [request for request, _ in requests_of(traces, 1)],
        [request for request, _ in requests_of(traces, 16)],
    )
    texts = [" \n ".join((trace.problem.question, *trace.steps)) for trace in traces[:16]]
    pooling = [
        http("/pooling", json.dumps({"task": "token_classify", "input": text}).encode()) for text in texts
    ]
    problems = [trace.problem.question for trace in traces[:8]]
    search = [
        http("/v1/search", json.dumps({"problem": one, "method": "beam", "n": 2}).encode())
        for one in problems
    ]
    chat = [
        http(
            "/v1/chat/completions",
            json.dumps({"messages": [{"role": "user", "content": one}], "stream": True}).encode(),
        )
        for one in problems
    ]
    broken = [
        http("/v1/score", content)
        for content in (
            b"{",
            b"[1, 2",
            b"\xff\xfe\x00",
            b'{"items": [{"problem": 1}]}',
            b"",
            b'{"a":' * 10_000,
        )
    ]
    huge = [http("/v1/score", b'{"problem": "' + b"a" * (BODY_LIMIT + 1000) + b'"}')]
    return {
        "score": one, "score 16": many, "pooling": pooling, "search": search, "chat": chat, "broken": broken,
        "huge": huge, "slow": many, "leaves": [*one, *many, *search],
    }  # fmt: skip


async def abandon(host: str, port: int, request: bytes, generator: random.Random) -> None:
    """Send a request or a part of it, and leave."""
    _, writer = await asyncio.open_connection(host, port)
    writer.write(request[: generator.choice((len(request) // 2, len(request), len(request)))])
    await asyncio.sleep(generator.random() * 0.05)
    writer.transport.abort()


ALLOWED = {
    "score": {"200", "503"}, "score 16": {"200", "503"}, "slow": {"200", "503"}, "pooling": {"200", "503"},
    "search": {"200", "503", "429"}, "chat": {"200", "503", "429"}, "broken": {"400", "422"}, "huge": {"413"},
    "leaves": {"left"}, "at the end": {"200"},
}  # fmt: skip


# --- pages -----------------------------------------------------------------------------------------------------------


def load_page(
    metrics: dict[str, Metric], settings: dict[str, Any], options: argparse.Namespace
) -> tuple[str, bool]:
    """Return the page of the load test, and whether the first aim is met; adds the ratios to the metrics."""

    def best(name: str, items: int, what: str) -> float:
        return max(
            metrics[f"{name}.items_{items}.in_flight_{in_flight}.{what}"].value or 0.0
            for in_flight in options.in_flight
        )

    by_processor = settings["device"] == "cpu"
    what = "steps_by_processor" if by_processor else "steps_per_second"
    suffix = "_by_processor" if by_processor else ""
    batches, alone = (metrics[f"in_process.{way}{suffix}"].value or 0.0 for way in ("batches", "alone"))
    metrics["ratio.ceiling"] = Metric(batches / alone)
    lines = [
        "# Load on `sparring serve`",
        "",
        f"{settings['model']} with a random head, {settings['dtype']}, {settings['device']}, one thread for the model, "
        f"{settings['cores']} cores shared with other work; {settings['traces']} traces ({settings['data']}), "
        f"{settings['seconds']:g} s per line. Medians [range] in process.",
        "",
    ]
    ways = {"batches": "all traces in batches", "alone": "one trace after the other"}
    rows = [
        [
            said,
            *(metrics[f"in_process.{way}{clock}"].text(form=".0f") for clock in ("", "_by_processor")),
        ]
        for way, said in ways.items()
    ]
    lines.append(table(["in this process", "steps/s", "steps per second of processor time"], rows))
    names = ["served", *(f"latency_{seconds:g}" for seconds in options.latency)]
    for name in names:
        simulated = name.removeprefix("latency_") if name != "served" else ""
        title = f"A stand-in that takes {simulated} s for a batch of any size" if simulated else "Served"
        lines += [f"## {title}", ""]
        rows = []
        for items in ITEMS:
            for in_flight in options.in_flight:
                key = f"{name}.items_{items}.in_flight_{in_flight}"
                cells = [
                    f"{metrics[f'{key}.{one}'].value:.0f}"
                    for one in ("steps_per_second", "steps_by_processor")
                ]
                cells += [f"{(metrics[f'{key}.latency_p{p}'].value or 0) * 1e3:.0f} ms" for p in (50, 95, 99)]
                rows.append([str(items), str(in_flight), *cells])
            single = metrics[f"{name}.items_{items}.in_flight_1.steps_per_second"].value or 0.0
            metrics[f"ratio.{name}.items_{items}.single"] = Metric(
                best(name, items, "steps_per_second") / single
            )
        heads = ["items in a request", "requests in flight", "steps/s", "steps per second of processor time"]
        lines.append(table([*heads, "p50", "p95", "p99"], rows))
    met = True
    lines += ["## Against the aims", ""]
    for items in ITEMS:
        share = best("served", items, what) / batches
        metrics[f"ratio.served.items_{items}.share"] = Metric(share)
        met = met and share >= SHARE_AIM
        unit = "steps per second of processor time" if by_processor else "steps/s"
        lines.append(
            f"- {items} in a request: at saturation {share:.2f} of the {unit} of batches in process (aim: ≥ {SHARE_AIM})."
        )
    lines.append(
        "- One request of one solution at a time: saturation gives "
        f"{metrics['ratio.served.items_1.single'].value:.1f} times its steps/s (aim: ≥ {SINGLE_AIM:g}; ceiling: batches in "
        f"process are {batches / alone:.1f} times single traces)."
    )
    lines += [
        f"- With the stand-in of {seconds:g} s: {metrics[f'ratio.latency_{seconds:g}.items_1.single'].value:.1f} times."
        for seconds in options.latency
    ]
    return "\n".join([*lines, "", "Made by `python benchmarks/serve_load.py`.", ""]), met


def soak_page(metrics: dict[str, Metric], settings: dict[str, Any]) -> tuple[str, bool]:
    """Return the page of the soak, and whether all was as it must be."""
    early, late = metrics["soak.memory_early"], metrics["soak.memory_late"]
    lines = [
        "# Five minutes of abuse"
        if settings["seconds"] >= 300
        else f"# {settings['seconds']:g} seconds of abuse",
        "",
        f"{settings['model']} with a random head on {settings['device']}, {settings['cores']} cores shared with other "
        f"work. A worker is lost every {LOST_EVERY:g} s (503 for what waits for it). Statuses by kind of request:",
        "",
    ]
    rows = []
    met = True
    for kind, allowed in ALLOWED.items():
        prefix = f"soak.{kind.replace(' ', '_')}."
        found = {
            name.removeprefix(prefix): metric.value
            for name, metric in metrics.items()
            if name.startswith(prefix)
        }
        met = met and bool(found) and set(found) <= allowed
        rows.append([kind, ", ".join(f"{status}: {value:.0f}" for status, value in found.items())])
    growth = (late.value or 0) - (early.value or 0)
    metrics["soak.memory_growth"] = Metric(growth, unit="bytes")
    met = met and growth < 32 * 2**20
    mib = 2.0**20
    lines += [
        table(["requests", "answers"], rows),
        f"Memory: {(early.value or 0) / mib:.0f} MiB after the first minute (median; range {(early.low or 0) / mib:.0f} to "
        f"{(early.high or 0) / mib:.0f}), {(late.value or 0) / mib:.0f} MiB in the last fifth "
        f"({(late.low or 0) / mib:.0f} to {(late.high or 0) / mib:.0f}).",
        "",
        f"{'All as it must be.' if met else 'NOT as it must be.'} Made by "
        f"`python benchmarks/serve_load.py --soak {settings['seconds']:g}`.",
        "",
    ]
    return "\n".join(lines), met


if __name__ == "__main__":
    sys.exit(main())
