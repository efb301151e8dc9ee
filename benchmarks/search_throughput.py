"""Batched search against the loop over problems that search-and-learn has: same models, same solutions, less time.

    python benchmarks/search_throughput.py --prm runs/aprm/prm

The peer is beam search written plainly, as with transformers: one problem after the other; every beam is a row of its
own from the prompt on, rows that are done wait for the others; the PRM reads all candidates from the question on, four
at a time. It draws the same random numbers, so the solutions can be compared: other batch
shapes round differently, and the benchmark fails where more than 1 in 20 solutions differs. Without a PRM a random head
on the tiny policy is used: time does not depend on what the scores are worth. One thread; time is that of the
processor, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sparring.files import atomic_directory, atomic_write_text
from sparring.labels.provers import load_engine
from sparring.labels.settings import LabelSettings
from sparring.models import TINY_POLICY
from sparring.models.checkpoint import LABELS, model_card, save_prm
from sparring.models.loading import load_new_token_classifier, load_tokenizer
from sparring.models.sampling import uniforms
from sparring.models.scorer import TokenHeadScorer, load_scorer
from sparring.models.sidecar import sidecar_for
from sparring.rollouts.local import LocalEngine
from sparring.runs import METRICS_FILE, Metric, write_metrics
from sparring.search import AGGREGATIONS, MethodSettings, run_search
from sparring.settings import dump_settings
from sparring.settings_shared import seed_from
from sparring.statistics import mean_over_runs
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import encode
from sparring.worlds.chain import LONGER, generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prm", type=Path, help="PRM folder; without one, a random head")
    parser.add_argument("--run", type=Path, default=Path("runs/search-throughput"))
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--n", type=int, default=4, help="beam width")
    parser.add_argument("--seeds", type=int, default=5, help="measurements, seeds 0, 1, …")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prm = arguments.prm or random_prm(arguments.run / "prm")
    engine = load_engine(TINY_POLICY, LabelSettings(device="cpu"))
    scorer = load_scorer(prm, device="cpu")
    assert isinstance(engine, LocalEngine) and isinstance(scorer, TokenHeadScorer)
    seconds: dict[str, list[float]] = {"loop": [], "batched": []}
    everything = 0
    for seed in range(arguments.seeds):
        settings = MethodSettings(expansions=4, max_steps=12, max_step_tokens=24, seed=seed)
        problems = generate_problems(arguments.problems, steps=LONGER, seed=seed, name="throughput")
        started = time.process_time()
        plain = [plain_beam(problem, engine, scorer, settings, arguments.n) for problem in problems]
        seconds["loop"].append(time.process_time() - started)
        started = time.process_time()
        found = run_search("beam", problems, engine, scorer, settings, n=arguments.n)
        seconds["batched"].append(time.process_time() - started)
        ours = [None if one.chosen is None else one.candidates[one.chosen].steps for one in found]
        different = sum(one != other for one, other in zip(plain, ours, strict=True))
        everything += different
        print(
            f"seed {seed}: {seconds['loop'][-1]:.2f} s, {seconds['batched'][-1]:.2f} s, {different} different"
        )
    if everything > arguments.problems * arguments.seeds / 20:
        raise SystemExit("the two searches do not give the same solutions")
    write(arguments, settings, seconds, everything)


def plain_beam(
    problem: Problem, engine: LocalEngine, scorer: TokenHeadScorer, settings: MethodSettings, width: int
) -> tuple[str, ...] | None:
    """Return the solution that beam search finds for one problem, written as one would without this package's search."""
    aggregate = AGGREGATIONS["last" if scorer.sidecar.meaning == "value" else scorer.sidecar.aggregation]
    beams: list[tuple[tuple[str, ...], bool, float]] = [((), False, 0.0)]  # steps, over, score
    known: dict[tuple[str, ...], list[float]] = {}
    for depth in range(settings.max_steps):
        going = [steps for steps, over, _ in beams if not over]
        if not going:
            break
        count = settings.expansions * (width if depth == 0 else 1)
        seeds = [seed_from(settings.seed, problem.id, 0, json.dumps(steps)) for steps in going]
        groups = plain_sample(engine, problem, going, seeds, count, settings)
        grown: dict[tuple[tuple[str, ...], bool], None] = {}
        for steps, group in zip(going, groups, strict=True):
            for written, end in group:
                text = written.strip()
                if text:
                    grown[(*steps, text), end != "stop"] = None
                elif end == "end" and steps:
                    grown[steps, True] = None
        scores = []
        traces = [Trace(problem, steps) for steps, _ in grown]
        rows = [row for first in range(0, len(traces), 4) for row in scorer.score(traces[first : first + 4])]
        for (steps, _), row in zip(grown, rows, strict=True):
            # A step keeps its first score, or rounding would decide between siblings whose minimum they share.
            known.setdefault(steps, [*known.get(steps[:-1], []), row[-1]])
            scores.append(aggregate(known[steps]))
        pool = [beam for beam in beams if beam[1]]
        pool += [(steps, over, score) for (steps, over), score in zip(grown, scores, strict=True)]
        if not pool:
            break
        beams = sorted(pool, key=lambda beam: -beam[2])[:width]
    return best_end(beams)


@torch.inference_mode()
def plain_sample(
    engine: LocalEngine,
    problem: Problem,
    beams: Sequence[tuple[str, ...]],
    seeds: Sequence[int],
    count: int,
    settings: MethodSettings,
) -> list[list[tuple[str, str]]]:
    """Return `count` next steps of each beam and how they ended, as `generate` of transformers computes them."""
    tokenizer, end = engine.tokenizer, engine.tokenizer.eos_token_id
    line_break = tokenizer.convert_tokens_to_ids("\n")
    prompts = [encode(problem.question, steps, tokenizer, engine.layout).input_ids for steps in beams]
    width = max(len(prompt) for prompt in prompts)
    padded = [[tokenizer.pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    ids = torch.tensor([row for row in padded for _ in range(count)])
    starts = torch.tensor([width - len(prompt) for prompt in prompts for _ in range(count)])
    mask = (torch.arange(width)[None, :] >= starts[:, None]).long()
    numbers = [uniforms(seed, np.arange(count), settings.max_step_tokens) for seed in seeds]
    drawn = torch.from_numpy(np.concatenate(numbers))
    positions, cache = (mask.cumsum(-1) - 1).clamp(min=0), None
    written: list[torch.Tensor] = []
    over = torch.zeros(len(ids), dtype=torch.bool)
    while len(written) < settings.max_step_tokens and not bool(over.all()):
        output = engine.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        chances = torch.log_softmax(output.logits[:, -1].float() / settings.temperature, dim=-1)
        cumulative = chances.exp().double().cumsum(dim=-1)
        target = drawn[:, len(written)][:, None] * cumulative[:, -1:]
        ids = torch.searchsorted(cumulative, target, right=True).clamp(max=chances.shape[-1] - 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=-1)
        positions = positions[:, -1:] + 1
        written.append(ids[:, 0])
        over |= (ids[:, 0] == end) | (ids[:, 0] == line_break)
    found = []
    for row in torch.stack(written, dim=1).tolist():
        stop = next((place for place, token in enumerate(row) if token in (end, line_break)), None)
        how = "length" if stop is None else "end" if row[stop] == end else "stop"
        found.append((tokenizer.decode(row[:stop]), how))
    return [found[first : first + count] for first in range(0, len(found), count)]


def best_end(beams: Sequence[tuple[tuple[str, ...], bool, float]]) -> tuple[str, ...] | None:
    """Return the solution of the highest score, one that is over if there is any."""
    ends = [beam for beam in beams if beam[0]]
    return max(ends, key=lambda beam: (beam[1], beam[2]))[0] if ends else None


def random_prm(folder: Path) -> Path:
    """Write a PRM with a random head on the tiny policy."""
    model = load_new_token_classifier(TINY_POLICY, LABELS, device=CPU, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        model.score.weight.normal_(std=0.3)
    sidecar = sidecar_for(CHAIN_LAYOUT, max_length=512)
    card = model_card(title="Random head", backbone=TINY_POLICY, method="none", facts={}, sidecar=sidecar)
    save_prm(
        folder,
        config=model.config,
        state=model.state_dict(),
        tokenizer=load_tokenizer(TINY_POLICY),
        sidecar=sidecar,
        card=card,
    )
    return folder


def write(
    arguments: argparse.Namespace, settings: MethodSettings, seconds: dict[str, list[float]], different: int
) -> None:
    """Write the results."""
    ratios = [loop / batched for loop, batched in zip(seconds["loop"], seconds["batched"], strict=True)]
    rates = {name: [arguments.problems / one for one in times] for name, times in seconds.items()}
    metrics = {
        f"search_throughput.{name}": mean_over_runs(values, unit="problems/s")
        for name, values in rates.items()
    }
    metrics["search_throughput.ratio"] = mean_over_runs(ratios, unit="ratio")
    metrics["search_throughput.different_solutions"] = Metric(
        different, n=arguments.problems * arguments.seeds
    )
    described = {
        "method": "beam",
        "n": arguments.n,
        "problems": arguments.problems,
        "seeds": arguments.seeds,
        "chain_steps": LONGER,
        "prm": "random head" if arguments.prm is None else arguments.prm,
        "threads": torch.get_num_threads(),
        "search": dump_settings(settings),
        "interval": "95 %, Student's t over seeds",
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    with atomic_directory(arguments.run / "results") as folder:
        write_metrics(folder, metrics, settings=described, seed=0, extra={"seconds_per_seed": seconds})
        text = (folder / METRICS_FILE).read_text(encoding="utf-8")
    atomic_write_text(arguments.results / "search_throughput.json", text)
    lines = ["| | mean | 95 % interval over seeds |", "|---|---|---|"]
    lines += [
        f"| {label} | {one.value:.2f} | "
        + (f"{one.low:.2f} to {one.high:.2f} |" if one.low is not None else "– |")
        for label, one in (
            ("one problem at a time, problems/s", metrics["search_throughput.loop"]),
            ("batched, problems/s", metrics["search_throughput.batched"]),
            ("ratio", metrics["search_throughput.ratio"]),
        )
    ]
    page = (
        "\n".join(lines)
        + f"\n\nDifferent solutions: {different} of {arguments.problems * arguments.seeds}.\n"
    )
    atomic_write_text(arguments.results / "search_throughput.md", page)
    print(page)


if __name__ == "__main__":
    main()
