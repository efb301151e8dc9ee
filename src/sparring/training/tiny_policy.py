"""Train the tiny policy of the chain world from generated problems: `sparring train chain-policy`.

First, next-token training on correct solutions, easiest problems first. Positions get random gaps at the ends of
definitions and steps, so that distances beyond the training lengths have been seen and longer chains are not out of reach.

Second, with further layers that begin as the identity, next-token training goes on with text whose author makes habitual
mistakes (`worlds.chain_habits`), and beside it replaced-token detection (as ELECTRA is pretrained): in copies of correct
solutions some words are replaced by others of the same kind, and two heads that are thrown away afterwards tell which
words, and which steps at their end. A language model that has only ever seen correct text computes what comes next, but
has no feature for "this is not what should stand here"; large models have it from their corpus, and PRMs start from it.
The added layers can compare what the lower ones expected with what stands there. No error taxonomy and no oracle is
involved.

Contract: one pass over generated data, no validation set needed (every problem is new); a Hugging Face folder with a
model card that states what was measured. Not here: anything that a larger model would need.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from rich.console import Console
from transformers import LlamaForCausalLM

from sparring.errors import SettingsError
from sparring.files import atomic_directory
from sparring.locks import writes
from sparring.models.batching import pad_right
from sparring.models.checkpoint import write_model
from sparring.models.loading import load_causal_model, quiet
from sparring.runs import Metric, write_metrics
from sparring.settings import dump_settings
from sparring.settings_shared import Seeded, seed_from
from sparring.traces.records import Problem
from sparring.traces.spans import encode
from sparring.training.run import Divergence, Progress, step_bar
from sparring.worlds.chain import (
    IN_DISTRIBUTION,
    LONGER,
    MODULUS,
    NAMES,
    OPERATIONS,
    generate_problems,
    parse_question,
)
from sparring.worlds.chain_habits import habitual_solution
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer, tiny_config

IGNORED = -100
"""Target of a position that no loss counts."""


class ChainPolicySettings(Seeded):
    """Settings of `sparring train chain-policy`."""

    start: str | None = None
    """Folder of a policy that has been through the first phase: go on from it with the second one."""
    problems: int = Field(144_000, gt=0)
    """Problems of the first phase, each seen once."""
    detection_problems: int = Field(128_000, ge=0)
    """Problems of the second phase."""
    first_detection_problem: int = Field(0, ge=0)
    """Number of the second phase's first problem, for going on with problems that have not been seen."""
    language_share: float = Field(0.5, gt=0, lt=1)
    """Share of the second phase's problems that go on with next-token training, so that the policy stays one."""
    habits: float = Field(0.12, ge=0, lt=1)
    """Share of the pairs of a sign and a right operand that the second phase's author often misreads; 0 for none."""
    habit_rate: float = Field(0.7, ge=0, le=1)
    """How often a misread pair is misread."""
    replaced: float = Field(0.04, gt=0, lt=1)
    """Share of a solution's signs and names that are replaced in the second phase."""
    replaced_numbers: float = Field(0.16, gt=0, lt=1)
    """Share of a solution's numbers that are replaced in the second phase: they are the hardest to check."""
    batch: int = Field(32, gt=0)
    """Problems per update."""
    learning_rate: float = Field(4e-3, gt=0)
    """Peak of a cosine schedule with a short warm-up."""
    width: int = Field(96, gt=0)
    """Hidden size."""
    layers: int = Field(4, gt=0)
    """Layers of the first phase."""
    added_layers: int = Field(2, ge=0)
    """Layers that the second phase adds on top."""
    heads: int = Field(4, gt=0)
    """Attention heads."""
    largest_gap: int = Field(8, ge=0)
    """Positions skipped at most after a definition or step in training; 0 turns gaps off."""
    evaluation_problems: int = Field(500, gt=0)
    """Held-out problems per split for the measured accuracy."""

    @property
    def updates(self) -> int:
        """Updates of all phases that are run."""
        return self.first_phase_updates + self.detection_problems // self.batch

    @property
    def first_phase_updates(self) -> int:
        """Updates of the first phase; none when it has been run before."""
        return max(1, self.problems // self.batch) if self.start is None else 0


@writes("out", inside=False)
def train_chain_policy(settings: ChainPolicySettings, out: Path, progress: Progress | None = None) -> Path:
    """Train the policy and write it to `out` as a Hugging Face folder, with `metrics.json`.

    Raises:
        CheckpointError: the folder to start from cannot be loaded.
        SettingsError: it is of another shape than the settings say.
    """
    started = time.perf_counter()
    tokenizer = build_tokenizer()
    if settings.start is None:
        model = learn_language(tokenizer, settings, progress)
    else:
        model = load_causal_model(settings.start, device=torch.device("cpu"), dtype=torch.float32).train()
        if model.config.num_hidden_layers != settings.layers or model.config.vocab_size != len(tokenizer):
            raise SettingsError(
                f"{settings.start} has {model.config.num_hidden_layers} layers and {model.config.vocab_size} words, "
                f"not layers={settings.layers} and {len(tokenizer)} words"
            )
    if settings.detection_problems:
        model = with_added_layers(model, settings)
        learn_detection(model, tokenizer, settings, progress)
    write_policy(model, tokenizer, settings, time.perf_counter() - started, out)
    return out


# --- the two phases --------------------------------------------------------------------------------------------------


def learn_language(tokenizer: Any, settings: ChainPolicySettings, progress: Progress | None = None) -> Any:
    """First phase: next-token training from nothing on correct solutions; return the model."""
    torch.manual_seed(seed_from(settings.seed, 0, "weights"))
    model = LlamaForCausalLM(
        tiny_config(len(tokenizer), width=settings.width, layers=settings.layers, heads=settings.heads)
    )
    updates = settings.first_phase_updates
    gaps = torch.Generator().manual_seed(seed_from(settings.seed, 0, "gaps"))

    def losses(update: int) -> dict[str, torch.Tensor]:
        steps, start = curriculum(update / updates), update * settings.batch
        problems = generate_problems(
            settings.batch, steps=steps, seed=settings.seed, start=start, name="policy-train"
        )
        ids, targets = solution_batch(problems, tokenizer)
        states = hidden_states(model, ids, gapped_positions(ids, tokenizer, settings.largest_gap, gaps))
        return {"loss": next_token_loss(model, states, targets)}

    run_phase(list(model.parameters()), settings.learning_rate, updates, losses, progress)
    return model


def learn_detection(
    model: Any, tokenizer: Any, settings: ChainPolicySettings, progress: Progress | None = None
) -> None:
    """Second phase: go on with next-token training on some problems, find replaced words in the others."""
    torch.manual_seed(seed_from(settings.seed, 1, "weights"))
    heads = torch.nn.Linear(model.config.hidden_size, 2)  # of words, and of steps
    line_break = tokenizer.convert_tokens_to_ids("\n")
    random_ids = torch.Generator().manual_seed(seed_from(settings.seed, 1, "detection"))
    language = max(1, round(settings.batch * settings.language_share))

    def losses(update: int) -> dict[str, torch.Tensor]:
        problems = generate_problems(
            settings.batch,
            steps=(1, IN_DISTRIBUTION[1]),
            seed=settings.seed,
            start=settings.first_detection_problem + update * settings.batch,
            name="policy-detection",
        )
        author = random.Random(f"habits/{settings.seed}/{update}")
        problems[:language] = with_habits(problems[:language], settings.habits, settings.habit_rate, author)
        ids, targets = solution_batch(problems, tokenizer)
        positions = gapped_positions(ids, tokenizer, settings.largest_gap, random_ids)
        shown, replaced = replace_words(
            ids, targets, tokenizer, settings.replaced, settings.replaced_numbers, random_ids
        )
        shown[:language] = ids[:language]
        states = hidden_states(model, shown, positions)
        others = slice(language, None)
        return {
            "loss": next_token_loss(model, states[:language], targets[:language]),
            "detection_loss": detection_loss(
                heads, states[others], ids[others], targets[others], replaced[others], line_break
            ),
        }

    updates = max(1, settings.detection_problems // settings.batch)
    parameters = [*model.parameters(), *heads.parameters()]
    first = settings.first_phase_updates
    run_phase(parameters, settings.learning_rate / 2, updates, losses, progress, first)


def run_phase(
    parameters: Sequence[torch.nn.Parameter],
    rate: float,
    updates: int,
    losses: Callable[[int], dict[str, torch.Tensor]],
    progress: Progress | None,
    first: int = 0,
) -> None:
    """Make the updates of a phase of training that begins after `first` others; the losses of an update are added up."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    divergence = Divergence("policy", parameters)
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(update, updates)
        found = losses(update)
        optimizer.zero_grad()
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
        divergence.step(optimizer, first + update + 1, norm)
        if progress is not None:
            progress(first + update + 1, {name: float(loss.detach()) for name, loss in found.items()})


def hidden_states(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states at positions that may jump, (rows, length, width)."""
    # The explicit mask matters: without one, transformers takes a jump in the positions for the start of another packed
    # text and hides everything before it.
    mask = torch.ones_like(ids)
    states: torch.Tensor = model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return states


def next_token_loss(model: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the targets that count."""
    counted = targets != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(states)[counted], targets[counted])


def detection_loss(
    heads: torch.nn.Linear,
    states: torch.Tensor,
    ids: torch.Tensor,
    targets: torch.Tensor,
    replaced: torch.Tensor,
    line_break: int,
) -> torch.Tensor:
    """Return the weighted loss of telling replaced words (at the word) and steps that hold one (at the line break)."""
    solution = targets.roll(1, dims=1) != IGNORED  # the words of the solution themselves
    solution[:, 0] = False
    logits = heads(states)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    words = loss(logits[..., 0][solution], replaced[solution].float())
    ends = solution & (ids == line_break)
    so_far = replaced.long().cumsum(dim=1)
    # Replaced words up to this line break, less those up to the one before it.
    at_ends = so_far * ends
    before = torch.cat([torch.zeros_like(at_ends[:, :1]), at_ends[:, :-1]], dim=1).cummax(dim=1).values
    steps = loss(logits[..., 1][ends], (so_far > before)[ends].float())
    return 4 * words + 2 * steps


# --- batches ---------------------------------------------------------------------------------------------------------


def solution_batch(problems: Sequence[Problem], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and next-token targets, both (problems, length); only the solution and its end are targets."""
    rows, starts = [], []
    for problem in problems:
        assert problem.solution is not None
        encoded = encode(problem.question, problem.solution, tokenizer, CHAIN_LAYOUT)
        rows.append([*encoded.input_ids, tokenizer.eos_token_id])
        starts.append(encoded.spans[0][0])
    ids = pad_right(rows, tokenizer.pad_token_id)
    targets = torch.full_like(ids, IGNORED)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        targets[index, start - 1 : len(row) - 1] = ids[index, start : len(row)]
    return ids, targets


def gapped_positions(
    ids: torch.Tensor, tokenizer: Any, largest_gap: int, generator: torch.Generator
) -> torch.Tensor:
    """Return positions that jump ahead at random after definitions and steps; how far is drawn per row."""
    plain = torch.arange(ids.shape[1]).expand_as(ids)
    ends = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids([";", "\n"])))
    reach = torch.randint(0, largest_gap + 1, (len(ids), 1), generator=generator)
    jumps = (torch.rand(ids.shape, generator=generator) * (reach + 1)).long() * ends
    return plain + jumps.cumsum(dim=1)


def replace_words(
    ids: torch.Tensor,
    targets: torch.Tensor,
    tokenizer: Any,
    share: float,
    number_share: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `replaced_by_kind` for the chain world's signs, names and numbers."""
    numbers = [str(value) for value in range(MODULUS)]
    kinds = [(list(OPERATIONS), share), (list(NAMES), share), (numbers, number_share)]
    return replaced_by_kind(ids, targets, tokenizer, kinds, generator)


def replaced_by_kind(
    ids: torch.Tensor,
    targets: torch.Tensor,
    tokenizer: Any,
    kinds: Sequence[tuple[Sequence[str], float]],
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids with random solution words replaced by others of their kind, and where that happened (rows, length).

    Half of the replacements stand elsewhere in the same problem: mixing up two values is the hardest mistake to see.

    Args:
        ids: of problems with solutions, (rows, length).
        targets: the solutions' words, one place to the left.
        tokenizer: has each word as one id.
        kinds: the words of each kind, and the share of them that is replaced.
        generator: of the randomness.
    """
    shown, replaced = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
    solution = targets.roll(1, dims=1) != IGNORED
    solution[:, 0] = False
    for words, wanted in kinds:
        members = torch.tensor(tokenizer.convert_tokens_to_ids(list(words)))
        of_kind = torch.isin(ids, members)
        random_word = members[torch.randint(len(members), ids.shape, generator=generator)]
        present = torch.where(of_kind.any(dim=1, keepdim=True), of_kind, True).float()
        columns = torch.multinomial(present, ids.shape[1], replacement=True, generator=generator)
        near = torch.rand(ids.shape, generator=generator) < 0.5
        other = torch.where(near, ids.gather(1, columns), random_word)
        place = solution & of_kind & (other != ids) & (torch.rand(ids.shape, generator=generator) < wanted)
        shown[place], replaced = other[place], replaced | place
    return shown, replaced


def with_habits(problems: Sequence[Problem], share: float, rate: float, rng: random.Random) -> list[Problem]:
    """Return the problems with solutions as an author with habitual mistakes writes them."""
    return [
        replace(problem, solution=habitual_solution(parse_question(problem.question), share, rate, rng))
        for problem in problems
    ]


def curriculum(progress: float) -> tuple[int, int]:
    """Return the range of chain lengths at this share of the training: looking up is learned on short chains first."""
    if progress < 0.15:
        return 1, 2
    if progress < 0.3:
        return 1, 3
    return 1, IN_DISTRIBUTION[1]


def schedule(update: int, updates: int) -> float:
    """Return the learning rate's factor: 50 updates of warm-up, then a cosine down to 5 %."""
    warm = min(1.0, (update + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * update / updates)))


# --- the model and what it can do ------------------------------------------------------------------------------------


def with_added_layers(model: Any, settings: ChainPolicySettings) -> Any:
    """Return the model with further layers on top that begin as the identity."""
    return with_layers(model, settings.added_layers, settings.seed)


def with_layers(model: Any, added: int, seed: int) -> Any:
    """Return a native Llama with further layers on top that begin as the identity."""
    torch.manual_seed(seed_from(seed, 1, "layers"))
    config = model.config
    grown = LlamaForCausalLM(
        tiny_config(
            config.vocab_size,
            width=config.hidden_size,
            layers=config.num_hidden_layers + added,
            heads=config.num_attention_heads,
        )
    )
    grown.load_state_dict(model.state_dict(), strict=False)
    for layer in grown.model.layers[config.num_hidden_layers :]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return grown


def write_policy(
    model: Any, tokenizer: Any, settings: ChainPolicySettings, seconds: float, out: Path
) -> None:
    """Measure the policy and write its folder."""
    metrics = {"training.seconds": Metric(seconds, unit="s")}
    for name, steps in (("in_distribution", IN_DISTRIBUTION), ("longer", LONGER)):
        metrics[f"policy.{name}.greedy_accuracy"] = greedy_accuracy(model, tokenizer, steps, settings)
    with atomic_directory(out) as temporary, quiet():
        write_model(
            temporary,
            model,
            tokenizer,
            policy_card("chain-arithmetic world", "sparring train chain-policy", settings, metrics),
        )
        write_metrics(temporary, metrics, settings=dump_settings(settings), seed=settings.seed)


@torch.inference_mode()
def greedy_accuracy(
    model: Any, tokenizer: Any, steps: tuple[int, int], settings: ChainPolicySettings
) -> Metric:
    """Return the share of held-out problems solved by greedy decoding, with a 95 % interval.

    Greedy decoding reproduces the whole reference solution iff every next token is the most likely one given the
    reference so far, so one teacher-forced pass suffices (equivalent solutions are never written: the order is fixed).
    """
    problems = generate_problems(
        settings.evaluation_problems, steps=steps, seed=settings.seed, name="policy-evaluation"
    )
    ids, targets = solution_batch(problems, tokenizer)
    right = ((model(input_ids=ids, use_cache=False).logits.argmax(-1) == targets) | (targets == IGNORED)).all(
        1
    )
    share, n = float(right.float().mean()), len(problems)
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return Metric(share, low=max(0.0, share - half), high=min(1.0, share + half), n=n)


def policy_card(
    world: str, command: str, settings: Seeded, metrics: Mapping[str, Metric], note: str = ""
) -> str:
    """Return the model card of a policy trained on a world's problems: how it was made and what was measured.

    Args:
        world: as it stands in the title.
        command: that trains it.
        settings: of the run; those at their defaults are left out.
        metrics: what was measured.
        note: put in where it tells which state of the run this is.
    """
    rows = "\n".join(
        f"| {name} | {metric.value:.3f}"
        + (f" ({metric.low:.3f} to {metric.high:.3f}, n = {metric.n})" if metric.low is not None else "")
        + " |"
        for name, metric in metrics.items()
    )
    given = " ".join(
        f"{name}={value}".replace(" ", "")
        for name, value in settings.model_dump().items()
        if value != type(settings).model_fields[name].default
    )
    return f"""---
library_name: transformers
license: apache-2.0
---

# Tiny policy of the {world}

A native Llama, trained from scratch on generated problems{f", {note}," if note else ""} with

    {command} --out FOLDER {given}

| | |
|---|---|
{rows}
"""


def show_chain_policy(settings: ChainPolicySettings, out: Path, *, console: Console) -> Path:
    """Train the chain world's policy with a progress bar; return its folder."""
    with step_bar("chain policy", settings.updates, console) as progress:
        return train_chain_policy(settings, out, progress)
