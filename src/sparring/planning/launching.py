"""The commands that launch a planned job.

Contract: lines for a shell, in order; files that only the user knows are named `data.jsonl`, `problems.jsonl`.
"""

from __future__ import annotations

from sparring.planning.fitting import Fit, Job
from sparring.planning.hardware import PER_MACHINE
from sparring.planning.shapes import hub_name


def launch(model: str, job: Job, found: Fit) -> list[str]:
    """Return the commands, in order."""
    s = job.settings
    model = hub_name(model)
    if s.job == "score":
        return _score(model, job, found)
    if s.job == "label":
        return _label(model, job, found)
    return [_train(model, job, found)]


def _score(model: str, job: Job, found: Fit) -> list[str]:
    if found.split == 1:
        return [*_ray(job), f"sparring score {model} data.jsonl --out scores.jsonl{_engine(job)}"]
    serve = f"vllm serve {model} --runner pooling --tensor-parallel-size {found.split}"
    if (copies := min(job.count, PER_MACHINE) // found.split) > 1:
        serve += f" --data-parallel-size {copies}"
    return [serve, f"sparring score vllm+http://localhost:8000#{model} data.jsonl --out scores.jsonl"]


def _ray(job: Job) -> list[str]:
    if job.count <= PER_MACHINE:
        return []
    return ["ray start --head  # and on every other machine: ray start --address=<head>:6379"]


def _engine(job: Job) -> str:
    return " --engine ray" if job.count > 1 else ""


def _label(model: str, job: Job, found: Fit) -> list[str]:
    s = job.settings
    here = min(job.count, PER_MACHINE)
    serve = f"vllm serve {model} --enable-prefix-caching --max-num-seqs {found.sequences}"
    if found.split > 1:
        serve += f" --tensor-parallel-size {found.split}"
    if here > found.split:
        serve += f" --data-parallel-size {here // found.split}"
    if job.count > here:
        serve += f"  # on each of {job.count // here} machines"
    label = (
        f"sparring label policy=http://localhost:8000/v1 data=problems.jsonl n_cov={s.n_cov} n_mc={s.n_mc} "
        f"max_new_tokens={2 * s.answer_tokens}{_engine(job)}"
    )
    return [serve, *_ray(job), label]


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
