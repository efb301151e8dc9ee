"""`sparring plan`: what fits, how fast, how long, at what price, and how it is launched.

Contract: prints a table, or with `--json` one JSON object; starts nothing and writes nothing. Every number comes with
the formula that made it (`--formulas`). Numbers are estimates: `docs/scaling.md` says which were checked by measuring.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparring.planning.fitting import Fit, Job, fit
from sparring.planning.hardware import PER_MACHINE, device_for, parse_gpus
from sparring.planning.memory import count, gib, total
from sparring.planning.settings import PlanSettings
from sparring.planning.shapes import Shape, find_shape, hub_name
from sparring.planning.timing import Stage, stages

BYTES_PER_TOKEN, STEP_BYTES = 4, 230
"""Of text, and of what is written of a step beside its text (measured on a run of `sparring label`)."""
_AUTHENTICATED = "RAY_AUTH_MODE=token"


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a plan: where it stands, what it is, its value, as people read it, and how it was computed."""

    section: str
    name: str
    value: float
    shown: str
    formula: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan."""

    job: Job
    fit: Fit
    stages: list[Stage]
    lines: list[Line]
    launch: list[str]

    @property
    def seconds(self) -> float:
        """Seconds that the devices work."""
        return sum(stage.seconds for stage in self.stages if stage.waits)


def plan(model: str, settings: PlanSettings, *, simulated: bool = False) -> Plan:
    """Return the plan of a job.

    Raises:
        CheckpointError: the folder's configuration cannot be used.
        SettingsError: the model or GPU is unknown, or nothing fits; the message says what would.
    """
    shape = find_shape(model)
    number, name = parse_gpus(settings.gpus)
    device = device_for(name, settings.flops, settings.memory_gib)
    job = Job(shape, settings, device, number)
    found = fit(job)
    work = stages(job, found)
    lines = [*_model_lines(shape, found), *_memory_lines(job, found), *_time_lines(job, found, work)]
    if simulated:
        lines += _simulation_lines(job, found, work)
    return Plan(job, found, work, lines, launch(model, job, found))


def _model_lines(shape: Shape, found: Fit) -> Iterator[Line]:
    words = f"{shape.vocabulary:,} × {shape.width:,}" + ("" if shape.tied else " × 2 (output head)")
    formula = f"{shape.layers} layers × {count(shape.layer)} + {words} + {shape.width:,}"
    yield Line("Model", "parameters", shape.parameters, count(shape.parameters), formula)
    if shape.experts:
        active = shape.multiplied + shape.embedding
        said = f"{shape.experts_per_token} of {shape.experts} experts per token, and the output head"
        yield Line("Model", "multiplied per token", active, count(active), said)
    if found.training is not None and found.training.adapter == "lora":
        own = found.training.trainable
        said = f"rank {found.training.rank} × sides of the linear layers × {shape.layers} layers"
        yield Line("Model", "an adapter", own, count(own), said)


def _memory_lines(job: Job, found: Fit) -> Iterator[Line]:
    section = "Memory of each device"
    for part in found.parts:
        yield Line(section, part.name, part.size, gib(part.size), part.formula)
    used, room = total(found.parts), job.room
    said = f"of {gib(room)} = {gib(job.device.memory)} × (1 − {job.settings.reserve})"
    yield Line(section, "together", used, gib(used), said)
    plan = found.training
    if plan is not None:
        here = min(job.count, PER_MACHINE)
        loading = here * plan.whole * job.width
        if plan.shards > 1:
            said = f"{here} processes of a machine, each with all weights"
            yield Line(section, "host, while loading", loading, gib(loading), said)
        placed = f"layers shared by {plan.shards}" if plan.shards > 1 else "whole on each device"
        again = ", activations computed again" if plan.checkpointing else ""
        host = plan.trained * plan.trainable * (4 + plan.moment_bytes) + plan.previous * plan.trainable * 4
        said = "trained weights, moments, earlier gradients, once more while a checkpoint is written"
        yield Line(section, "host, for a checkpoint", host, gib(host), said)
        yield Line(section, "placement", plan.shards, placed + again, f"sharding={job.settings.sharding}")
    elif found.split > 1:
        yield Line(
            section, "placement", found.split, f"tensor-parallel over {found.split}", "the fewest that fit"
        )
    if found.rows > 1 or found.training is not None:
        passed = f"{found.pass_tokens:,} tokens ({found.rows} texts)"
        yield Line(
            section, "a pass", found.pass_tokens, passed, "as many as fit, unless pass_tokens is given"
        )
    if found.sequences:
        said = "max_sequences, or what fits into the KV cache"
        yield Line(section, "decoded at once", found.sequences, f"{found.sequences:,} sequences", said)


def _time_lines(job: Job, found: Fit, work: list[Stage]) -> Iterator[Line]:
    section, settings = "Time", job.settings
    for stage in work:
        unit = "tokens/s" if stage.waits else "verdicts/s"
        shown = (
            f"{duration(stage.seconds)}, {count(stage.rate)} {unit}"
            if stage.tokens
            else duration(stage.seconds)
        )
        yield Line(section, stage.name, stage.seconds, shown, stage.formula)
    seconds = sum(stage.seconds for stage in work if stage.waits)
    yield Line(section, "together", seconds, duration(seconds), "the stages one after another")
    if settings.job == "label":
        # A solution's text is in the journal and in the traces, with its question; a step has a label, an estimate, counts.
        each = BYTES_PER_TOKEN * (2 * settings.answer_tokens + settings.prompt_tokens)
        each += settings.steps * STEP_BYTES
        size = settings.problems * settings.n_cov * each
        said = f"{settings.problems:,} × {settings.n_cov} solutions × {each:,} B (rollouts are counted, not kept)"
        yield Line(section, "on disk", size, f"{size / 1e9:,.1f} GB", said)
    if job.device.name == "cpu":
        return
    gpu_hours = seconds / 3600 * job.count
    yield _hours_line(section, job, seconds)
    failures = gpu_hours / settings.gpu_hours_between_failures
    said = f"{gpu_hours:,.4g} GPU hours ÷ {settings.gpu_hours_between_failures:,.0f} per failure"
    yield Line(section, "failures expected", failures, f"{failures:,.3g}", said)
    yield from _cost_line(section, job, seconds)


def _hours_line(section: str, job: Job, seconds: float) -> Line:
    hours = seconds / 3600 * job.count
    return Line(
        section, "GPU hours", hours, f"{hours:,.4g} GPU hours", f"{job.count} × {seconds / 3600:,.4g} h"
    )


def _cost_line(section: str, job: Job, seconds: float) -> Iterator[Line]:
    """Yield what the GPU hours cost, where a price is given."""
    if (price := job.settings.price) is not None:
        hours = seconds / 3600 * job.count
        yield Line(
            section,
            "cost",
            hours * price,
            f"{hours * price:,.2f}",
            f"{hours:,.4g} GPU hours × {price:,g} each",
        )


def _simulation_lines(job: Job, found: Fit, work: list[Stage]) -> Iterator[Line]:
    from sparring.planning.simulation import simulate_job

    section, s = "Simulation", job.settings
    runs = sorted(
        (simulate_job(job, found, work, run) for run in range(s.simulations)), key=lambda one: one.seconds
    )
    middle, first, last = runs[len(runs) // 2], runs[0], runs[-1]
    between = f" [{duration(first.seconds)}, {duration(last.seconds)}]" if len(runs) > 1 else ""
    said = f"{middle.notes}; lengths spread {s.length_spread}, {s.slow_share:.0%} of the engines {s.slow_factor} × slower"
    yield Line(section, "until the last is done", middle.seconds, duration(middle.seconds) + between, said)
    said = "seconds of the stages above ÷ seconds until the last is done"
    yield Line(section, "devices at work", middle.busy, f"{middle.busy:.0%}", said)
    said = f"one per {s.gpu_hours_between_failures:,.0f} GPU hours, each {s.restart_minutes:g} min"
    yield Line(section, "failures", middle.failures, f"{middle.failures:,.3g}", said)
    if job.device.name != "cpu":
        yield _hours_line(section, job, middle.seconds)
        yield from _cost_line(section, job, middle.seconds)


# --- launching ----------------------------------------------------------------------------------------------------


def launch(model: str, job: Job, found: Fit) -> list[str]:
    """Return the commands that launch a job, for a shell, in order; what only the user knows is `data.jsonl` or so."""
    model, name = hub_name(model), job.settings.job
    if name == "score":
        return _score(model, job, found)
    return _label(model, job, found) if name == "label" else [_train(model, job, found)]


def _score(model: str, job: Job, found: Fit) -> list[str]:
    if found.split == 1:
        return [*_cluster(job), _pooled(job, f"sparring score {model} data.jsonl --out scores.jsonl")]
    serve = f"vllm serve {model} --runner pooling --tensor-parallel-size {found.split}"
    served = f"sparring score vllm+http://localhost:8000#{model} data.jsonl --out scores.jsonl"
    if _machines(job) > 1:
        served = _pooled(job, served, clients=True)
    return [_serve(serve, job, found), *_cluster(job), served]


def _label(model: str, job: Job, found: Fit) -> list[str]:
    s = job.settings
    serve = f"vllm serve {model} --enable-prefix-caching --max-num-seqs {found.sequences}"
    if found.split > 1:
        serve += f" --tensor-parallel-size {found.split}"
    label = (
        f"sparring label policy=http://localhost:8000/v1 data=problems.jsonl n_cov={s.n_cov} n_mc={s.n_mc} "
        f"max_new_tokens={2 * s.answer_tokens}"
    )
    return [_serve(serve, job, found), *_cluster(job), _pooled(job, label, clients=True)]


def _machines(job: Job) -> int:
    return -(-job.count // PER_MACHINE)


def _serve(command: str, job: Job, found: Fit) -> str:
    """Return what starts a server on all devices of a machine; each machine's clients talk to its own."""
    if (copies := min(job.count, PER_MACHINE) // found.split) > 1:
        command += f" --data-parallel-size {copies}"
    return command + (f"  # on each of {_machines(job)} machines" if _machines(job) > 1 else "")


def _cluster(job: Job) -> list[str]:
    """Return what makes several machines a Ray cluster that asks for a token (docs/engines.md); nothing for one."""
    if _machines(job) == 1:
        return []
    return [
        "ray get-auth-token --generate  # once; ~/.ray/auth_token has to be the same on every machine",
        f"{_AUTHENTICATED} ray start --head --port 6379  # and on every other machine: "
        f"{_AUTHENTICATED} ray start --address <head>:6379",
    ]


def _pooled(job: Job, command: str, *, clients: bool = False) -> str:
    """Return a command with the pool of actors that works on all devices; clients of a server leave it the GPUs."""
    if job.count == 1:
        return command
    pool = ["address=auto"] if _machines(job) > 1 else []
    pool += ["gpus_per_actor=0"] if clients else []
    words = [command, "--engine ray", *(f"--pool {word}" for word in pool)]
    return " ".join([_AUTHENTICATED, *words] if _machines(job) > 1 else words)


def _accelerate(count: int, *, sharded: bool) -> str:
    """Return what starts so many processes, on machines of eight devices."""
    machines = -(-count // PER_MACHINE)
    words = ["accelerate launch"]
    if sharded:
        words.append(f"--config_file configs/{'fsdp2.yaml' if machines == 1 else 'fsdp2-8x8.yaml'}")
    else:
        words.append("--multi_gpu")
    if not sharded or count not in (8, 64):
        words.append(f"--num_processes {count}")
        words += [f"--num_machines {machines}"] if machines > 1 else []
    if machines > 1:
        words.append("--machine_rank $RANK --main_process_ip $FIRST")
    return " ".join([*words, "-m sparring"])


def _train(model: str, job: Job, found: Fit) -> str:
    s, plan = job.settings, found.training
    assert plan is not None
    start = "sparring"
    if job.count > 1:
        start = _accelerate(job.count, sharded=plan.shards > 1)
    words = [f"{start} train {s.job}", f"adapter={s.adapter}"]
    words.append(f"policy={model}" if s.job == "rl" else f"backbone={model}")
    if s.adapter == "lora":
        words.append(f"lora_rank={s.lora_rank}")
    words.append(f"dtype={job.numbers}")
    if plan.checkpointing:
        words.append("gradient_checkpointing=true")
    if plan.moment_bytes < 8:
        words.append("optimizer_bits=8")
    if s.job == "aprm":
        words += ["task=text", "data=problems.jsonl", f"updates={s.updates}"]
        words += [f"states_per_update={s.states_per_update}", f"samples_per_state={s.samples_per_state}"]
        words += [f"max_step_tokens={2 * s.step_tokens}", f"states_per_pass={found.rows}"]
        if job.count > 1:  # else the first process would sample alone
            words.append("adversary_seeds=state")
    elif s.job == "rl":
        words += ["task=text", "data=problems.jsonl", f"updates={s.updates}"]
        words += [
            f"problems_per_update={s.problems_per_update}",
            f"samples_per_problem={s.samples_per_problem}",
        ]
        words += [f"max_new_tokens={2 * s.answer_tokens}", f"tokens_per_pass={found.pass_tokens}"]
        words.append("credit=progress prm=runs/value/model")
    else:
        words += ["data=data.jsonl", f"epochs={s.epochs}", f"batch_traces={s.batch_traces}"]
        words.append(f"token_budget={found.pass_tokens}")
    return " ".join([*words, f"--out runs/{s.job}"])


# --- printing -----------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 120:
        return f"{seconds:,.3g} s"
    return f"{seconds / 60:,.3g} min" if seconds < 7200 else f"{seconds / 3600:,.4g} h"


def to_dict(found: Plan) -> dict[str, Any]:
    """Return a plan as JSON-like values."""
    sections: dict[str, Any] = {}
    for line in found.lines:
        record = asdict(line)
        sections.setdefault(record.pop("section"), []).append(record)
    return {
        "model": found.job.shape.name,
        "settings": found.job.settings.model_dump(mode="json"),
        "device": {**asdict(found.job.device), "count": found.job.count},
        "sections": sections,
        "launch": found.launch,
    }


def table(found: Plan, *, formulas: bool) -> Table:
    """Return the table of a plan; with formulas it has a column more."""
    settings = found.job.settings
    title = f"{found.job.shape.name}: {settings.job} on {settings.gpus}"
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title)
    grid.add_column("", overflow="fold")
    grid.add_column("estimate", justify="right", overflow="fold")
    if formulas:
        grid.add_column("formula", overflow="fold")
    section = ""
    for line in found.lines:
        if line.section != section:
            section = line.section
            grid.add_section()
            grid.add_row(f"[bold]{escape(section)}[/bold]")
        grid.add_row(escape(line.name), escape(line.shown), *([escape(line.formula)] if formulas else []))
    return grid


def show_plan(model: str, *, settings: PlanSettings, formulas: bool, as_json: bool, simulated: bool) -> None:
    """Print a plan."""
    found = plan(model, settings, simulated=simulated)
    if as_json:
        print(json.dumps(to_dict(found), ensure_ascii=False, indent=2))
        return
    console = Console()
    console.print(table(found, formulas=formulas))
    judged = any(line.name == "oracle" for line in found.lines)
    console.print("Launch:")
    for line in found.launch:
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    console.print(
        "Estimates. Memory and time were checked on processors, never on a GPU (docs/scaling.md)."
        + (" Nothing waits for the oracle here; --simulate counts that." if judged and not simulated else ""),
        style="dim",
    )
