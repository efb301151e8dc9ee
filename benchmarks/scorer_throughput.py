"""How fast does the scorer score, against three peers in the same run on the same machine?

    python benchmarks/scorer_throughput.py
    python benchmarks/scorer_throughput.py --model SmolLM2-135M-Instruct --data gsm8k/train.jsonl --dtype bfloat16

Peers, all with the same model and the same traces, one thread:

    prefixes   every prefix of every trace in a forward pass of its own, as loops that score during search do
    pipeline   the token-classification pipeline of transformers, called on one whole trace after the other
    forward    the bare model on exactly as many real tokens, in rows of equal length: no padding, no tokenizer

Aims: at least 5 times as fast as `prefixes`, 2 times as `pipeline`, and at most 1.2 times the time of `forward`. The scores
of scorer and prefixes must agree. Medians of repeats in alternating order, with the range; seconds are processor time
of the one thread, so that other work on the machine does not count. Writes
`scorer_throughput.json` and `.md` into the results folder; with --model, `scorer_throughput_<name>`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from transformers import pipeline

from sparring.errors import SparringError
from sparring.files import atomic_write_text
from sparring.models import TINY_POLICY
from sparring.models.checkpoint import LABELS, save_prm
from sparring.models.loading import (
    load_causal_model,
    load_new_token_classifier,
    load_tokenizer,
    quiet,
)
from sparring.models.prompts import layout_for
from sparring.models.scorer import TokenHeadScorer, load_scorer
from sparring.models.sidecar import sidecar_for
from sparring.models.text_layout import encode_trace
from sparring.runs import Metric, write_metrics
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Trace
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT

ROOT = Path(__file__).resolve().parents[1]
AIMS = {"prefixes": 5.0, "pipeline": 2.0}
FORWARD_AIM = 1.2
FORWARD_TOKENS = 2048  # on one thread, larger batches of the tiny model leave the cache and take longer


def main() -> int:
    """Measure, write both files, return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", type=Path, help="a causal language model folder; default: the tiny chain policy"
    )
    parser.add_argument("--data", type=Path, help="file of traces for --model")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, …; on a GPU wall time is measured")
    parser.add_argument("--traces", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data belong together")
    try:
        with tempfile.TemporaryDirectory() as place:
            traces = chosen_traces(options.data, options.traces, options.seed)
            make_prm(str(options.model or TINY_POLICY), Path(place) / "prm", options.dtype, options.seed)
            metrics = measure(Path(place) / "prm", traces, options.dtype, options.repeats, options.device)
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    name = "scorer_throughput" + ("" if options.model is None else f"_{options.model.name}")
    name += "" if options.device == "cpu" else "_gpu"
    options.results.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": options.model.name if options.model else TINY_POLICY,
        "data": options.data.name if options.data else "chain world",
        "dtype": options.dtype, "traces": options.traces, "repeats": options.repeats, "threads": 1,
        "device": options.device,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.results) as folder:
        written = write_metrics(Path(folder), metrics, settings=settings, seed=options.seed)
        written.replace(options.results / f"{name}.json")
    text = markdown(metrics, settings)
    atomic_write_text(options.results / f"{name}.md", text)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    met = all((metrics[f"ratio.{peer}"].value or 0) >= aim for peer, aim in AIMS.items())
    return 0 if met and (metrics["ratio.forward"].value or 9) <= FORWARD_AIM else 1


def chosen_traces(data: Path | None, count: int, seed: int) -> list[Trace]:
    """Return the traces to score: of a file, or of the chain world."""
    if data is None:
        problems = generate_problems(count, steps=(3, 8), seed=seed)
        return [Trace(problem, problem.solution or ()) for problem in problems]
    return read_traces_as(data, options=ReadOptions(keep_annotations=False)).traces[:count]


def make_prm(backbone: str, folder: Path, dtype: str, seed: int) -> None:
    """Write a PRM with a random head on a backbone."""
    number = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    model = load_new_token_classifier(backbone, LABELS, device=torch.device("cpu"), dtype=number)
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.get_submodule("score").weight, std=0.05)
    tokenizer = load_tokenizer(backbone)
    layout = CHAIN_LAYOUT if backbone == TINY_POLICY else layout_for(tokenizer, "plain")
    config = load_causal_model(backbone, device=torch.device("cpu"), dtype=number).config
    limit = config.max_position_embeddings
    save_prm(
        folder, config=config, state=model.state_dict(), tokenizer=tokenizer,
        sidecar=sidecar_for(layout, max_length=limit), card="",
    )  # fmt: skip


def measure(
    folder: Path, traces: Sequence[Trace], dtype: str, repeats: int, device: str
) -> dict[str, Metric]:
    """Return seconds of every peer (median, with the range as low and high), ratios to the scorer's time, token counts."""
    scorer = load_scorer(folder, device=device, dtype=dtype)
    assert isinstance(scorer, TokenHeadScorer)
    rows = [
        encode_trace(trace.problem.question, trace.steps, scorer.tokenizer, scorer.sidecar.layout)
        for trace in traces
    ]
    tokens = sum(len(row.input_ids) for row in rows)
    with quiet():
        tagger = pipeline(
            "token-classification", model=scorer.model, tokenizer=scorer.tokenizer, device=scorer.model.device
        )
    peers: dict[str, Callable[[], Any]] = {
        "scorer": lambda: scorer.score(traces),
        "prefixes": lambda: by_prefixes(scorer, traces),
        "pipeline": lambda: by_pipeline(tagger, traces, scorer),
        "forward": lambda: bare_forward(scorer, tokens, len(rows)),
    }
    found = {name: run() for name, run in peers.items()}  # also warms up
    tolerance = 1e-4 if dtype == "float32" else 0.05
    agree(found["scorer"], found["prefixes"], tolerance)
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for repeat in range(repeats):
        for name in sorted(peers, reverse=bool(repeat % 2)):
            start = clock(device)
            peers[name]()
            seconds[name].append(clock(device) - start)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    metrics = {
        f"seconds.{name}": Metric(middle[name], min(values), max(values), repeats, "s")
        for name, values in seconds.items()
    }
    metrics["ratio.prefixes"] = Metric(middle["prefixes"] / middle["scorer"])
    metrics["ratio.pipeline"] = Metric(middle["pipeline"] / middle["scorer"])
    metrics["ratio.forward"] = Metric(middle["scorer"] / middle["forward"])
    metrics["tokens"], metrics["steps"] = Metric(tokens), Metric(sum(len(trace.steps) for trace in traces))
    metrics["tokens_per_second.scorer"] = Metric(tokens / middle["scorer"], unit="1/s")
    return metrics


def clock(device: str) -> float:
    """Return this process's seconds: of the processor, or on a GPU by the wall, once all its work is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@torch.inference_mode()
def by_prefixes(scorer: TokenHeadScorer, traces: Sequence[Trace]) -> list[list[float]]:
    """Score every prefix in a forward pass of its own."""
    scores = []
    for trace in traces:
        row = []
        for length in range(1, len(trace.steps) + 1):
            encoded = encode_trace(
                trace.problem.question, trace.steps[:length], scorer.tokenizer, scorer.sidecar.layout
            )
            logits = scorer.model(
                input_ids=torch.tensor([encoded.input_ids], device=scorer.model.device), use_cache=False
            ).logits
            row.append(float(logits[0, -1].float().softmax(-1)[scorer.correct]))
        scores.append(row)
    return scores


def by_pipeline(tagger: Any, traces: Sequence[Trace], scorer: TokenHeadScorer) -> list[Any]:
    """Tag every token of every trace, one trace after the other, as model cards of token classifiers show it."""
    gap = (
        " \n " if scorer.sidecar.max_length < 1024 else "\n"
    )  # the chain world's words are separated by spaces
    return [tagger(gap.join((trace.problem.question, *trace.steps)) + gap) for trace in traces]


@torch.inference_mode()
def bare_forward(scorer: TokenHeadScorer, tokens: int, rows: int) -> None:
    """Run the model on as many tokens as the traces have, in rows of equal length."""
    length = -(-tokens // rows)
    device = scorer.model.device
    ids = torch.randint(0, scorer.model.config.vocab_size, (rows, length), device=device)
    most = FORWARD_TOKENS if device.type == "cpu" else scorer.batch_tokens
    for part in torch.split(ids, max(1, most // length)):
        scorer.model(input_ids=part, use_cache=False)


def agree(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], tolerance: float) -> None:
    """Stop if two ways of scoring do not give the same scores."""
    worst = max(
        abs(a - b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )
    if worst > tolerance:
        raise SparringError(f"the scores differ by {worst:.2g}: the comparison would be void")


def markdown(metrics: dict[str, Metric], settings: dict[str, Any]) -> str:
    """Return the table."""
    said = {
        "scorer": "`scorer.score`",
        "prefixes": "each prefix separately",
        "pipeline": "token-classification pipeline, one trace at a time",
        "forward": "bare forward, same real tokens",
    }
    ratios = {
        "scorer": "1",
        "prefixes": f"{metrics['ratio.prefixes'].value:.1f} × as long (aim: ≥ 5)",
        "pipeline": f"{metrics['ratio.pipeline'].value:.1f} × as long (aim: ≥ 2)",
        "forward": f"the scorer takes {metrics['ratio.forward'].value:.2f} × as long (aim: ≤ 1.2)",
    }
    on_cpu = settings["device"] == "cpu"
    where, time_of = ("one thread", "processor") if on_cpu else (settings["device"], "wall")
    lines = [
        "# Scorer throughput",
        "",
        f"{settings['model']}, {settings['dtype']}, {where}; {settings['traces']} traces ({settings['data']}), "
        f"{metrics['tokens'].value:.0f} tokens, {metrics['steps'].value:.0f} steps; "
        f"{time_of} time, median of {settings['repeats']} runs [range].",
        "",
        "| | seconds | against the scorer |",
        "|---|---|---|",
    ]
    for name, what in said.items():
        metric = metrics[f"seconds.{name}"]
        lines.append(f"| {what} | {metric.text(form='.3f')} | {ratios[name]} |")
    return "\n".join([*lines, "", "Made by `python benchmarks/scorer_throughput.py`.", ""])


if __name__ == "__main__":
    sys.exit(main())
