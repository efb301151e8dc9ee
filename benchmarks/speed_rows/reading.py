"""Reading and writing text with models: scoring, search, rollouts.

- `scoring`: the scorer against every prefix in a forward pass of its own (as loops that score during search do), against
  transformers' token-classification pipeline on one trace after the other, and against the bare model on as many real
  tokens in rows of equal length (no padding, no tokenizer).
- `search`: batched beam search against beam search written plainly, as with transformers: one problem after the other;
  every beam is a row of its own from the prompt on; the PRM reads all candidates from the question on, four at a time.
  It draws the same random numbers, and the row fails where more than 1 in 20 solutions differ.
- `rollouts`: the engine against `transformers.generate` on batches of 32 prefixes × 8 samples, sorted by length.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, StoppingCriteria, pipeline

from sparring.labels.provers import load_engine
from sparring.labels.settings import LabelSettings
from sparring.models import TINY_POLICY
from sparring.models.checkpoint import LABELS, save_prm
from sparring.models.loading import (
    load_causal_model,
    load_new_token_classifier,
    load_tokenizer,
    quiet,
)
from sparring.models.prompts import layout_for
from sparring.models.sampling import sample_seeded, uniforms
from sparring.models.scorer import TokenHeadScorer, load_scorer
from sparring.models.sidecar import sidecar_for
from sparring.models.text_layout import encode_trace
from sparring.rollouts.engine import Limits, Prefix
from sparring.rollouts.local import LocalEngine
from sparring.search import AGGREGATIONS, MethodSettings, run_search
from sparring.settings_shared import seed_from
from sparring.traces.formats.common import ReadOptions
from sparring.traces.readers import read_traces_as
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import encode
from sparring.worlds.chain import LONGER, generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT
from speed_rows.harness import Measured, Options, Seconds, in_turn, ratio, timed

FORWARD_TOKENS = 2048  # on one thread, larger batches of the tiny model leave the cache and take longer
CPU = torch.device("cpu")


def chosen_traces(data: Path | None, count: int, seed: int, steps: tuple[int, int] = (3, 8)) -> list[Trace]:
    """Return traces to score: of a file, or of the chain world."""
    if data is None:
        problems = generate_problems(count, steps=steps, seed=seed)
        return [Trace(problem, problem.solution or ()) for problem in problems]
    return read_traces_as(data, options=ReadOptions(keep_annotations=False)).traces[:count]


def make_prm(backbone: str, folder: Path, dtype: str = "float32", seed: int = 0) -> Path:
    """Write a PRM with a random head on a backbone, and return its folder."""
    number = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    model = load_new_token_classifier(backbone, LABELS, device=CPU, dtype=number)
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.get_submodule("score").weight, std=0.05)
    tokenizer = load_tokenizer(backbone)
    layout = CHAIN_LAYOUT if backbone == TINY_POLICY else layout_for(tokenizer, "plain")
    config = load_causal_model(backbone, device=CPU, dtype=number).config
    sidecar = sidecar_for(layout, max_length=config.max_position_embeddings)
    save_prm(folder, config=config, state=model.state_dict(), tokenizer=tokenizer, sidecar=sidecar, card="")
    return folder


# --- scoring ---------------------------------------------------------------------------------------------------------


def scoring(options: Options) -> Measured:
    """The scorer against its three peers, on solutions of 8 steps and more."""
    dtype = "float32" if options.device == "cpu" else "bfloat16"
    backbone = TINY_POLICY if options.model is None else str(options.model)
    traces = chosen_traces(options.traces, 20 if options.quick else 60, 0, steps=(8, 10))
    scorer = load_scorer(make_prm(backbone, options.place / "prm", dtype), device=options.device, dtype=dtype)
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
    worst = max(
        abs(a - b)
        for one, other in zip(scorer.score(traces), by_prefixes(scorer, traces), strict=True)
        for a, b in zip(one, other, strict=True)
    )
    if worst > (1e-4 if dtype == "float32" else 0.05):
        raise SystemExit(f"the scores differ by {worst:.2g}: the comparison would be void")
    arms = in_turn(
        {
            "scorer": lambda: timed(lambda: scorer.score(traces), options.device),
            "prefixes": lambda: timed(lambda: by_prefixes(scorer, traces), options.device),
            "pipeline": lambda: timed(lambda: by_pipeline(tagger, traces, scorer), options.device),
            "forward": lambda: timed(lambda: bare_forward(scorer, tokens, len(rows)), options.device),
        },
        options.rounds,
    )
    steps = sum(len(trace.steps) for trace in traces)
    return Measured(
        arms,
        {
            "pipeline": ratio(
                "token-classification pipeline, one trace after the other, for the scorer's time",
                arms, "pipeline", "scorer", 2.0, at_least=True,
            ),
            "prefixes": ratio(
                "each prefix in a pass of its own, for the scorer's time",
                arms, "prefixes", "scorer", 5.0, at_least=True,
            ),
            "forward": ratio(
                "the scorer, for the bare forward pass on as many tokens", arms, "scorer", "forward", 1.1, at_least=False
            ),
        },
        {"model": Path(backbone).name, "dtype": dtype, "device": options.device, "traces": len(traces)},
        {"tokens": tokens, "steps": steps, "largest difference of scores": worst},
    )  # fmt: skip


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
    gap = " \n " if scorer.sidecar.max_length < 1024 else "\n"  # words of the chain world stand apart
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


# --- search ----------------------------------------------------------------------------------------------------------


def search(options: Options) -> Measured:
    """Beam search over all problems at once against one problem after the other, each round with a seed of its own."""
    width, count = 4, 3 if options.quick else 8
    engine = load_engine(TINY_POLICY, LabelSettings(device="cpu"))
    scorer = load_scorer(make_prm(TINY_POLICY, options.place / "prm"), device="cpu")
    assert isinstance(engine, LocalEngine) and isinstance(scorer, TokenHeadScorer)
    solutions: dict[str, list[Any]] = {"one by one": [], "batched": []}

    def case(which: str) -> tuple[MethodSettings, list[Problem]]:
        seed = len(solutions[which])
        settings = MethodSettings(expansions=4, max_steps=12, max_step_tokens=24, seed=seed)
        return settings, generate_problems(count, steps=LONGER, seed=seed, name="throughput")

    def plainly() -> None:
        settings, problems = case("one by one")
        found = [plain_beam(problem, engine, scorer, settings, width) for problem in problems]
        solutions["one by one"].append(found)

    def batched() -> None:
        settings, problems = case("batched")
        found = run_search("beam", problems, engine, scorer, settings, n=width)
        solutions["batched"].append(
            [None if one.chosen is None else one.candidates[one.chosen].steps for one in found]
        )

    batched()
    solutions["batched"].clear()
    arms = in_turn(
        {"one by one": lambda: timed(plainly), "batched": lambda: timed(batched)}, options.rounds, warm=False
    )
    different = sum(
        one != other
        for plain, ours in zip(*solutions.values(), strict=True)
        for one, other in zip(plain, ours, strict=True)
    )
    if different > count * options.rounds / 20:
        raise SystemExit("the two searches do not give the same solutions")
    claim = ratio(
        "beam search one problem after the other, for the batched search's time",
        arms, "one by one", "batched", 5.0, at_least=True,
    )  # fmt: skip
    settings = {"method": "beam", "n": width, "problems": count, "steps": LONGER}
    return Measured(arms, {"search": claim}, settings, {"different solutions": different})


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
    ends = [beam for beam in beams if beam[0]]
    return max(ends, key=lambda beam: (beam[1], beam[2]))[0] if ends else None


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
    ids, mask = padded([list(prompt) for prompt in prompts for _ in range(count)], tokenizer.pad_token_id)
    numbers = [uniforms(seed, np.arange(count), settings.max_step_tokens) for seed in seeds]
    drawn = torch.from_numpy(np.concatenate(numbers))
    positions, cache = (mask.cumsum(-1) - 1).clamp(min=0), None
    written: list[torch.Tensor] = []
    over = torch.zeros(len(ids), dtype=torch.bool)
    while len(written) < settings.max_step_tokens and not bool(over.all()):
        output = engine.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
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


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids padded to the left and their mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(width)[None, :] >= width - lengths[:, None]).long()


# --- rollouts --------------------------------------------------------------------------------------------------------


def rollouts(options: Options) -> Measured:
    """Solutions from prefixes of all lengths by the tiny policy, and continuations of ragged lengths by SmolLM2's shape."""
    samples, prefixes = 8, 32 if options.quick else 64
    engine = load_engine(TINY_POLICY, LabelSettings(device="cpu"))
    assert isinstance(engine, LocalEngine)
    rng = random.Random(0)
    asked = []
    for problem in generate_problems(prefixes, steps=(3, 8), seed=0, name="rollouts"):
        solution = problem.solution or ()
        asked.append(Prefix(problem, solution[: rng.randrange(len(solution))]))
    most = 160
    tokens = {"ours": 0, "generate": 0}

    def ours() -> None:
        seeds = [rng.getrandbits(40) for _ in asked]
        groups = engine.sample(asked, samples, limits=Limits(most), seeds=seeds)
        tokens["ours"] += sum(len(one.token_ids) for group in groups for one in group)

    @torch.inference_mode()
    def generate() -> None:
        prompts = [
            list(encode(one.problem.question, one.steps, engine.tokenizer, engine.layout).input_ids)
            for one in asked
        ]
        prompts.sort(key=len)
        for start in range(0, len(prompts), 32):
            ids, mask = padded(prompts[start : start + 32], engine.tokenizer.pad_token_id)
            found = engine.model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, temperature=1.0, max_new_tokens=most,
                num_return_sequences=samples, pad_token_id=engine.tokenizer.pad_token_id,
            )  # fmt: skip
            new = found[:, ids.shape[1] :]
            tokens["generate"] += int((new != engine.tokenizer.pad_token_id).sum())

    arms = in_turn({"ours": lambda: timed(ours), "generate": lambda: timed(generate)}, options.rounds)
    claims = {
        "tiny": ratio(
            "`transformers.generate` in batches of 32 prefixes × 8 samples sorted by length, for the engine's time",
            arms, "generate", "ours", 4.0, at_least=True,
        )
    }  # fmt: skip
    if not options.quick:
        large = smol_rollouts(options)
        arms |= large
        claims["smol"] = ratio(
            "the same with a model of SmolLM2-135M's shape, 8 prefixes × 8 samples",
            large, "generate, SmolLM2's shape", "ours, SmolLM2's shape", 2.0, at_least=True,
        )  # fmt: skip
    settings = {"prefixes": prefixes, "samples": samples, "max_new_tokens": most}
    return Measured(arms, claims, settings, {"tokens written": tokens})


def smol_rollouts(options: Options) -> dict[str, list[Seconds]]:
    """Prompts of 32 to 256 random tokens; a continuation's first token says its length, 4 to 40."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, max_position_embeddings=2048, tie_word_embeddings=True, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    rng = np.random.default_rng(0)
    prompts = sorted(
        (rng.integers(2, 49152, length).tolist() for length in rng.integers(32, 257, 8)), key=len
    )

    def ours() -> None:
        sample_seeded(
            model, prompts, seeds=[rng.integers(2**40) for _ in prompts], samples=8, max_new_tokens=40, pad_id=1,
            ends=lambda ids: len(ids) >= 4 + ids[0] % 37,
        )  # fmt: skip

    class Over(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return input_ids.shape[1] - width >= 4 + input_ids[:, width] % 37

    ids, mask = padded(prompts, 1)
    width = ids.shape[1]

    @torch.inference_mode()
    def generate() -> None:
        model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=40, num_return_sequences=8,
            pad_token_id=1, stopping_criteria=[Over()],
        )  # fmt: skip

    arms = {
        "ours, SmolLM2's shape": lambda: timed(ours),
        "generate, SmolLM2's shape": lambda: timed(generate),
    }
    return in_turn(arms, options.rounds, warm=False)
