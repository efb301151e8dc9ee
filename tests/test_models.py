"""Branched rows, players, sampling and scoring on a two-layer model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.errors import CheckpointError, DataError
from sparring.models.batching import length_sorted_batches, pad_right
from sparring.models.branches import BranchedRow, branch_logits, collate, hidden_states
from sparring.models.checkpoint import save_prm
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.roles import Players
from sparring.models.sampling import sample
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Sidecar, read_sidecar, sidecar_for
from sparring.traces.records import Problem, Trace
from sparring.training.policy_gradient import bernoulli_kl, categorical_kl
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT

CPU = torch.device("cpu")
IDS = st.lists(st.integers(3, 40), min_size=1, max_size=7)
ROWS = st.lists(st.tuples(IDS, st.lists(IDS, min_size=1, max_size=4)), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_causal_model(tiny_folder, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder):
    return load_tokenizer(tiny_folder)


def make_players(folder: Path, adapter: str) -> Players:
    torch.manual_seed(1)
    players = Players(
        load_causal_model(folder, device=CPU, dtype=torch.float32), adapter=adapter, lora_rank=4
    )
    with torch.no_grad():  # otherwise adapters and head are zero and tests about them would say nothing
        for player in ("adversary", "prm"):
            for parameter in players.parameters(player).values():
                parameter += 0.05 * torch.randn_like(parameter)
    return players


@settings(deadline=None, max_examples=25)
@given(ROWS)
def test_branches_equal_separate_rows(model, rows):
    packed = [BranchedRow(prefix, branches) for prefix, branches in rows]
    with torch.inference_mode():
        batch = collate(packed, 0, CPU, torch.float32)
        states = hidden_states(model.base_model, batch)
        logits = branch_logits(states, packed, model.lm_head)
        expected_logits = []
        for index, row in enumerate(packed):
            for end, branch in zip(row.ends(), row.branches, strict=True):
                alone = model.base_model(torch.tensor([[*row.prefix, *branch]])).last_hidden_state[0]
                got = states[index, end + 1 - len(branch) : end + 1]
                assert torch.allclose(got, alone[len(row.prefix) :], atol=1e-5)
                expected_logits.append(model.lm_head(alone[len(row.prefix) - 1 : -1]))
    assert torch.allclose(logits, torch.cat(expected_logits), atol=1e-4)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_fresh_references_equal_their_players_and_then_stay(tiny_folder, adapter):
    players = make_players(tiny_folder, adapter)
    players.freeze_references()
    row = BranchedRow([5, 6, 7], [[8, 9], [10]])
    batch = collate([row], 0, CPU, torch.float32)
    places = ([0, 0], [4, 5])

    def differences() -> tuple[float, float]:
        with torch.no_grad():
            kl = bernoulli_kl(
                players.prm_log_odds(batch, places), players.prm_log_odds(batch, places, "prm_reference")
            )
            logits = []
            for role in ("adversary", "adversary_reference"):
                with players.acting(role) as model:
                    logits.append(branch_logits(players.hidden_states(model, batch), [row], model.lm_head))
            return float(kl.abs().max()), float(categorical_kl(*logits).abs().max())

    assert differences() == (0.0, 0.0)
    for player in ("adversary", "prm"):
        for parameter in players.parameters(player).values():
            parameter.data += 0.1 * torch.randn_like(parameter)
    prm, adversary = differences()
    assert prm > 1e-4 and adversary > 1e-4


def test_an_untouched_adapter_is_the_backbone_and_its_kl_is_exactly_zero(tiny_folder, model):
    players = Players(
        load_causal_model(tiny_folder, device=CPU, dtype=torch.float32), adapter="lora", lora_rank=4
    )
    row = BranchedRow([5, 6, 7], [[8, 9, 11]])
    batch = collate([row], 0, CPU, torch.float32)
    with torch.no_grad():
        bare = branch_logits(hidden_states(model.base_model, batch), [row], model.lm_head)
        for role in ("adversary", "adversary_reference"):
            with players.acting(role) as acting:
                logits = branch_logits(players.hidden_states(acting, batch), [row], acting.lm_head)
            assert float(categorical_kl(logits, bare).abs().max()) == 0.0


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_using_a_reference_before_backward_loses_no_gradient(tiny_folder, adapter):
    players = make_players(tiny_folder, adapter)
    players.freeze_references()
    row = BranchedRow([5, 6], [[7, 8]])
    batch = collate([row], 0, CPU, torch.float32)

    def gradients(with_reference: bool) -> dict[str, torch.Tensor]:
        for parameter in players.parameters("prm").values():
            parameter.grad = None
        odds = players.prm_log_odds(batch, ([0], [3]))
        if with_reference:
            with torch.no_grad():
                players.prm_log_odds(batch, ([0], [3]), "prm_reference")
        odds.sum().backward()
        return {n: p.grad.clone() for n, p in players.parameters("prm").items() if p.grad is not None}

    alone, beside = gradients(False), gradients(True)
    assert alone.keys() == beside.keys() and len(alone) > 2
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    references = [p for n, p in players._models["prm"].named_parameters() if "_reference." in n]
    assert all(p.grad is None and not p.requires_grad for p in references)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_players_gradient_touches_only_that_player(tiny_folder, adapter):
    players = make_players(tiny_folder, adapter)
    batch = collate([BranchedRow([5, 6], [[7, 8]])], 0, CPU, torch.float32)
    players.prm_log_odds(batch, ([0], [3])).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in players.parameters("prm").values())
    assert all(p.grad is None for p in players.parameters("adversary").values())


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_saved_prm_is_a_plain_folder_with_the_same_scores(tiny_folder, tokenizer, tmp_path, adapter):
    players = make_players(tiny_folder, adapter)
    save_prm(
        tmp_path / "prm",
        config=players.config,
        state=players.prm_state_dict(),
        tokenizer=tokenizer,
        sidecar=sidecar_for(CHAIN_LAYOUT, max_length=256),
        card="card",
    )
    scorer = load_scorer(tmp_path / "prm", device="cpu")
    problems = generate_problems(4, steps=(3, 5), seed=0)
    traces = [Trace(problem, problem.solution) for problem in problems]
    encoded = [scorer.encode(trace) for trace in traces]
    for row, scores in zip(encoded, scorer.score(traces), strict=True):
        batch = collate([BranchedRow(row.input_ids[:3], [row.input_ids[3:]])], 0, CPU, torch.float32)
        with torch.no_grad():
            odds = players.prm_log_odds(batch, ([0] * len(row.positions), list(row.positions)))
        assert torch.allclose(torch.sigmoid(odds), torch.tensor(scores), atol=1e-5)
    if adapter == "full":
        return  # written by the same function; a process costs seconds
    # A fresh Python with nothing of ours reads the same numbers.
    program = (
        "import json, sys, torch\nfrom transformers import AutoModelForTokenClassification as A\n"
        "m = A.from_pretrained(sys.argv[1]).eval()\nids = torch.tensor([json.loads(sys.argv[2])])\n"
        "print(m(input_ids=ids).logits.softmax(-1)[0, -1, m.config.label2id['correct']].item())\n"
        "assert not any(k.startswith('sparring') for k in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "prm"), str(list(encoded[0].input_ids))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(out.stdout) == pytest.approx(scorer.score(traces[:1])[0][-1], abs=1e-5)


@pytest.fixture(scope="module")
def prm_folder(tiny_folder, tokenizer, tmp_path_factory):
    players = make_players(tiny_folder, "full")
    folder = tmp_path_factory.mktemp("prm") / "prm"
    save_prm(
        folder,
        config=players.config,
        state=players.prm_state_dict(),
        tokenizer=tokenizer,
        sidecar=sidecar_for(CHAIN_LAYOUT, max_length=100),
        card="card",
    )
    return folder


STEPS = st.lists(
    st.lists(st.sampled_from(["a", "b", "is", "=", "+", "1", "7", ",", "\n", "xyz"]), min_size=1, max_size=9),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=25)
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_batching_and_neighbours_never_change_a_score(prm_folder, groups):
    groups = [steps for steps in groups if all(" ".join(step).strip() for step in steps)]
    traces = [
        Trace(Problem("p", "mod 13 : find a"), tuple(" ".join(step) for step in steps)) for steps in groups
    ]
    scorer = load_scorer(prm_folder, device="cpu", batch_tokens=150)
    together = scorer.score(traces)
    for trace, scores in zip(traces, together, strict=True):
        assert len(scores) == len(trace.steps) and all(0 <= score <= 1 for score in scores)
        assert scorer.score([trace])[0] == pytest.approx(scores, abs=1e-5)
        # Later steps never change the scores of earlier ones.
        assert scorer.score([trace.prefix(1)])[0] == pytest.approx(scores[:1], abs=1e-5)


def test_too_long_traces_are_refused_by_name_or_counted(prm_folder):
    trace = Trace(Problem("long-one", "find a"), ("a is 1 ",) * 40)
    with pytest.raises(DataError, match="long-one"):
        load_scorer(prm_folder, device="cpu").score([trace])
    scorer = load_scorer(prm_folder, device="cpu", overflow="drop_steps")
    assert len(scorer.score([trace])[0]) + scorer.dropped_steps == 40
    assert scorer.dropped_steps > 0


def test_missing_models_and_sidecars_are_named(tmp_path, tiny_folder):
    with pytest.raises(CheckpointError, match="no model folder"):
        load_scorer(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"sparring\.json"):
        load_scorer(tiny_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_causal_model(tmp_path / "empty", device=CPU, dtype=torch.float32)
    assert read_sidecar.__doc__ and Sidecar().aggregation == "min"


@settings(deadline=None, max_examples=15)
@given(st.lists(IDS, min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 99))
def test_sampling_gives_each_prompt_its_samples_and_stops(model, prompts, samples, seed):
    stops = {4, 9}
    generator = torch.Generator().manual_seed(seed)
    rows = sample(
        model,
        prompts,
        samples=samples,
        max_new_tokens=6,
        stop_ids=stops,
        pad_id=0,
        generator=generator,
        row_budget=4,
    )
    assert [len(group) for group in rows] == [samples] * len(prompts)
    for row in (row for group in rows for row in group):
        assert 1 <= len(row) <= 6
        assert not stops & set(row[:-1]) and (row[-1] in stops or len(row) == 6)


def test_greedy_sampling_equals_a_loop_without_cache_or_padding(model):
    prompts = [[5, 6, 7, 8], [9], [10, 11, 12, 13, 14, 15]]
    rows = sample(
        model,
        prompts,
        samples=1,
        max_new_tokens=8,
        stop_ids={4},
        pad_id=0,
        generator=torch.Generator(),
        temperature=0,
    )
    for prompt, (row,) in zip(prompts, rows, strict=True):
        ids = list(prompt)
        with torch.inference_mode():
            while len(ids) - len(prompt) < 8:
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] == 4:
                    break
        assert row == ids[len(prompt) :]


def test_sampling_follows_the_models_distribution(model):
    prompt = [5, 6, 7]
    rows = sample(
        model, [prompt], samples=4000, max_new_tokens=1, stop_ids={4}, pad_id=0,
        generator=torch.Generator().manual_seed(0), row_budget=4000,
    )[0]  # fmt: skip
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor([row[0] for row in rows]), minlength=len(expected)) / 4000
    assert float((counts - expected).abs().max()) < 5 * (float(expected.max()) / 4000) ** 0.5


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
def test_length_sorted_batches_cover_everything_within_budget(lengths, budget):
    batches = length_sorted_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_pad_right():
    assert pad_right([[1, 2], [3]], 0).tolist() == [[1, 2], [3, 0]]
