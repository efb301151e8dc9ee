"""Reinforcement learning: what is rewarded and what is not, gradients against formulas, monitors, whole runs."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from sparring.errors import DataError, SettingsError
from sparring.labels.answers import ChainChecker
from sparring.models.checkpoint import save_prm
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.players import Players
from sparring.models.sidecar import sidecar_for
from sparring.rollouts.engine import Completion, Usage
from sparring.settings import load_settings
from sparring.traces.records import Problem
from sparring.training.credit import with_start
from sparring.training.rl import give_credit, improve, objective, play_update, setup, train_rl
from sparring.training.rl_monitors import hacked, look, off_topic_steps, repeated_steps, text_marks
from sparring.training.rl_policy import Policy
from sparring.training.rl_scores import Answer, PrmScores, ProverScores, load_prm_scores
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import load_subject
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT

CPU = torch.device("cpu")
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "chain-rl.yaml"
PROBLEM = Problem("p", "mod 13 : b is 7 ; c = b + 9 ; find c", answer="3")


def small(folder: Path, **changes: object) -> RlSettings:
    fields: dict[str, object] = {
        "policy": str(folder),
        "credit": "outcome",
        "updates": 4,
        "problems_per_update": 3,
        "samples_per_problem": 3,
        "max_new_tokens": 12,
        "watch_problems": 4,
        "watch_every": 2,
        "checkpoint_every": 2,
        "prover_rollouts": 2,
        "device": "cpu",
        "seed": 5,
    }
    return RlSettings.model_validate(fields | changes)


def answer(*steps: str, outcome: float = 0.0, finish: str = "end", tokens: int | None = None) -> Answer:
    """An answer of two tokens per step and one for the end."""
    count = 2 * len(steps) + 1 if tokens is None else tokens
    completion = Completion("\n".join(steps), tuple(range(5, 5 + count)), (-1.0,) * count, finish)
    spans = [(2 * place, 2 * place + 2 + (place == len(steps) - 1)) for place in range(len(steps))]
    return Answer(PROBLEM, (4, 5, 6), completion, steps, spans, outcome=outcome)


@pytest.fixture(scope="module")
def prm_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PRM of correctness with random opinions."""
    folder = tmp_path_factory.mktemp("prm") / "prm"
    torch.manual_seed(1)
    players = Players(load_causal_model(tiny_folder, device=CPU, dtype=torch.float32), adapter="full")
    state = players.prm_state_dict()
    state["score.weight"] = torch.randn_like(state["score.weight"])
    save_prm(
        folder,
        config=players.config,
        state=state,
        tokenizer=load_tokenizer(tiny_folder),
        sidecar=sidecar_for(CHAIN_LAYOUT, max_length=512),
        card="",
    )
    return folder


@pytest.fixture(scope="module")
def value_folder(prm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scores, said to be values."""
    folder = tmp_path_factory.mktemp("value") / "value"
    folder.mkdir()
    for file in prm_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    sidecar = json.loads((folder / "sparring.json").read_text())
    (folder / "sparring.json").write_text(json.dumps(sidecar | {"meaning": "value"}))
    return folder


# --- where reward lands ----------------------------------------------------------------------------------------


def test_tokens_carry_the_outcome_and_their_step_and_cut_answers_nothing(tiny_folder, value_folder, tmp_path):
    run = setup(small(tiny_folder, max_new_tokens=20, credit="progress", prm=str(value_folder)), tmp_path)
    whole, other = answer("a b", "c d", outcome=1.0), answer("a b")
    cut = answer("a b", "c d", finish="length")
    give_credit([[whole, other]], run.scores, run.settings, 0)
    rows = run.scores.rule_inputs([[whole, other]], 0)[0]
    steps = np.diff(rows[0])
    assert whole.advantages.tolist() == pytest.approx([1 + steps[0]] * 2 + [1 + steps[1]] * 3)
    assert len(other.advantages) == 3 and len(cut.advantages) == 0


def test_an_update_never_trains_on_a_cut_answer_and_counts_it(tiny_folder, tmp_path, monkeypatch):
    run = setup(small(tiny_folder), tmp_path)
    groups = [
        [answer("x", outcome=1.0), answer("y"), answer("z", finish="length")],
        [answer(finish="length")] * 3,
    ]
    monkeypatch.setattr(run.sampler, "answers", lambda problems, samples, seed: groups)
    seen = []
    monkeypatch.setattr(
        "sparring.training.rl.improve", lambda run, answers: seen.extend(answers) or {"trained_tokens": 0}
    )
    record = play_update(run)
    assert [item.steps for item in seen] == [("x",), ("y",)]
    assert [item.advantages[0] for item in seen] == pytest.approx(
        [1.0, -1.0]
    )  # the cut one is in no baseline
    assert record["truncated"] == pytest.approx(4 / 6)


def policy_of(folder: Path, **options: object) -> Policy:
    model = load_causal_model(folder, device=CPU, dtype=torch.float32)
    return Policy(model, pad_id=0, **({"adapter": "full"} | options))


def gradients(policy: Policy, answers: list[Answer], settings: RlSettings) -> torch.Tensor:
    loss, _ = objective(policy, answers, settings)
    named = policy.parameters()
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def with_advantages(*pairs: tuple[Answer, list[float]]) -> list[Answer]:
    for item, values in pairs:
        item.advantages = np.array(values)
    return [item for item, _ in pairs]


def test_the_gradient_is_that_of_reinforce_and_padding_and_prompts_have_no_part_in_it(tiny_folder):
    policy = policy_of(tiny_folder)
    settings = small(tiny_folder, kl=0.0, objective="reinforce")
    short, long = answer("a"), answer("a", "b", "c")
    pairs = [(short, [1.0, -0.5, 2.0]), (long, [0.3, 0, 0, 0, 0, 0, -1.0])]
    for item, _ in pairs:  # the log-probabilities that an engine on these weights reports
        out = policy.outputs([(item.prompt, item.completion.token_ids)])
        object.__setattr__(item.completion, "log_probabilities", tuple(out.log_probs.tolist()))
    together = gradients(policy, with_advantages(*pairs), settings)
    alone = sum(gradients(policy, with_advantages(pair), settings) for pair in pairs)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)  # padding has no part

    by_hand = torch.zeros(())
    for item, values in pairs:
        ids = torch.tensor([[*item.prompt, *item.completion.token_ids]])
        log_probs = torch.log_softmax(policy.model(input_ids=ids).logits[0], dim=-1)
        for place, value in enumerate(values):
            column = len(item.prompt) + place
            by_hand = by_hand - value * log_probs[column - 1, ids[0, column]]
    wanted = torch.autograd.grad(by_hand, list(policy.parameters().values()))
    torch.testing.assert_close(together, torch.cat([g.flatten() for g in wanted]), atol=1e-5, rtol=1e-4)


def test_without_advantages_there_is_no_gradient_and_the_rest_pulls_to_the_reference(tiny_folder):
    policy = policy_of(tiny_folder)
    item = with_advantages((answer("a", "b"), [0.0] * 5))
    settings = small(tiny_folder, kl=1.0)
    assert gradients(policy, item, settings).abs().max() < 1e-6  # it is the reference: KL is at its minimum
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter += 0.05 * torch.randn_like(parameter)
    before = objective(policy, item, settings)[1]["kl_per_token"]
    optimizer = torch.optim.SGD(policy.parameters().values(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        objective(policy, item, settings)[0].backward()
        optimizer.step()
    assert 0 < objective(policy, item, settings)[1]["kl_per_token"] < before


def test_ratios_are_per_token_and_clipped(tiny_folder):
    policy = policy_of(tiny_folder)
    item = answer("a")
    out = policy.outputs([(item.prompt, item.completion.token_ids)])
    # The policy is now twice as likely to write each token as the one that sampled it was.
    sampled = tuple((out.log_probs - np.log(2.0)).tolist())
    object.__setattr__(item.completion, "log_probabilities", sampled)
    item.advantages = np.array([1.0, -1.0, 0.0])
    _, clipped = objective(policy, [item], small(tiny_folder, kl=0.0))
    _, plain = objective(policy, [item], small(tiny_folder, kl=0.0, objective="reinforce"))
    assert clipped["policy_loss"] == pytest.approx(-(1.2 - 2.0), abs=1e-4)
    assert plain["policy_loss"] == pytest.approx(0.0, abs=1e-4)
    assert clipped["clipfrac"] == pytest.approx(3.0)


def test_the_engine_samples_with_the_weights_and_the_distribution_that_are_trained(tiny_folder, tmp_path):
    for changes in ({"temperature": 0.7}, {"adapter": "lora", "lora_rank": 4, "learning_rate": 0.05}):
        run = setup(small(tiny_folder, **changes), tmp_path)
        for _ in range(2):  # also after the weights have moved
            answers = [a for g in run.sampler.answers(run.subject.held_out, 3, 1) for a in g]
            out = run.policy.outputs([(a.prompt, a.completion.token_ids) for a in answers])
            engine = [x for a in answers for x in a.completion.log_probabilities]
            assert out.log_probs.tolist() == pytest.approx(engine, abs=1e-4)
            for place, item in enumerate(answers):
                item.advantages = np.full(len(item.completion.token_ids), (-1.0) ** place)
            record = improve(run, answers)
            assert record["approx_kl"] < 1e-6 and record["gradient_norm"] > 0


def test_an_adapter_learns_and_its_reference_stays(tiny_folder, tmp_path):
    policy = policy_of(tiny_folder, adapter="lora", lora_rank=4)
    rows = [((4, 5, 6), (7, 8, 9))]
    start = policy.reference_logits(rows)
    torch.testing.assert_close(policy.outputs(rows).logits.detach(), start)
    assert all("lora_" in name for name in policy.parameters())
    settings = small(tiny_folder, kl=0.1)
    optimizer = torch.optim.SGD(policy.parameters().values(), lr=1.0)
    objective(policy, with_advantages((answer("a"), [1.0, 1.0, 1.0])), settings)[0].backward()
    optimizer.step()
    torch.testing.assert_close(policy.reference_logits(rows), start)
    moved = policy.outputs(rows).logits.detach()
    assert (moved - start).abs().max() > 1e-4
    policy.save(tmp_path / "merged", load_tokenizer(tiny_folder), "")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    found = merged(input_ids=torch.tensor([[4, 5, 6, 7, 8, 9]])).logits[0, 2:5]
    torch.testing.assert_close(found, moved, atol=1e-4, rtol=1e-4)


def test_a_value_function_learns_the_returns_and_moves_nothing_else(tiny_folder, tmp_path):
    settings = small(
        tiny_folder, baseline="value", learning_rate=1e-9, value_learning_rate=0.1, rise_updates=0
    )
    run = setup(settings, tmp_path)
    answers = with_advantages((answer("a"), [1.0] * 3), (answer("b", "c"), [1.0, 1.0, 0.0, 0.0, 0.0]))
    losses = [improve(run, answers)["value_loss"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    body = [p.grad for name, p in run.policy.parameters().items() if not name.startswith("value.")]
    assert all(gradient is None for gradient in body)  # cleared
    objective(run.policy, answers, settings)[0].backward()
    # With the advantage taken out only the value's loss is left, and it reaches its own head alone.
    run.optimizer.zero_grad()
    out = run.policy.outputs([(a.prompt, a.completion.token_ids) for a in answers])
    out.values.sum().backward()
    assert all((p.grad is None) != name.startswith("value.") for name, p in run.policy.parameters().items())


# --- scores ----------------------------------------------------------------------------------------------------


class Oracle:
    """An engine whose completions solve the problem from right prefixes with chance one in two, else never."""

    name, reproducible, usage = "oracle", True, Usage()

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def sample(self, prefixes, n, *, limits, seeds, stop=()):
        groups = []
        for prefix in prefixes:
            self.asked.append(prefix.steps)
            solution = prefix.problem.solution
            rest = "\n".join(solution[len(prefix.steps) :])
            good = prefix.steps == solution[: len(prefix.steps)]
            texts = [rest if good and place % 2 else "a = 1 + 1 = 1 + 1 , a is 2" for place in range(n)]
            groups.append([Completion(text, (), (), "end") for text in texts])
        return groups


def test_a_provers_values_are_its_rollouts_and_the_whole_answers_is_its_outcome(tiny_folder):
    (problem,) = generate_problems(1, steps=(3, 3), seed=0)
    engine = Oracle()
    settings = small(tiny_folder, credit="progress", prover_rollouts=4, best_of=2)
    source = ProverScores(engine, ChainChecker(), settings)
    wrong = "a = 1 + 1 = 1 + 1 , a is 2"
    right = Answer(problem, (), Completion("", (), (), "end"), problem.solution, [], outcome=1.0)
    bad = Answer(problem, (), Completion("", (), (), "end"), (problem.solution[0], wrong, wrong), [])
    nothing = Answer(problem, (), Completion("", (), (), "end"), (), [])
    (rows,) = source.rule_inputs([[right, bad, nothing]], seed=0)
    assert rows[0].tolist() == pytest.approx([0.75, 0.75, 0.75, 1.0])  # best of two of one half
    assert rows[1].tolist() == pytest.approx([0.75, 0.75, 0.0, 0.0])
    assert len(rows[2]) == 0
    assert len(engine.asked) == len(set(engine.asked)) == 4  # shared prefixes once


def test_scores_of_a_folder_serve_the_rules_that_they_fit(tiny_folder, prm_folder, value_folder):
    answers = [answer("b + 9", "c is 3"), answer("c is 3"), answer()]
    scores = load_prm_scores(small(tiny_folder, credit="soft_min", prm=str(prm_folder)))
    (plain,) = scores.rule_inputs([answers], 0)
    assert [len(row) for row in plain] == [2, 1, 0]
    settings = small(tiny_folder, credit="progress", prm=str(value_folder), best_of=3)
    (values,) = load_prm_scores(settings).rule_inputs([answers], 0)
    for row, wanted in zip(values, with_start([1 - (1 - row) ** 3 for row in plain]), strict=True):
        assert row.tolist() == pytest.approx(wanted.tolist())
    assert scores.rewards(answers)[2] == 0.0
    assert isinstance(scores, PrmScores) and scores.unscored_steps == 0
    with pytest.raises(SettingsError, match="meaning is 'value'"):
        load_prm_scores(small(tiny_folder, credit="progress", prm=str(prm_folder)))
    with pytest.raises(SettingsError, match="'correctness'"):
        load_prm_scores(small(tiny_folder, credit="step_sum", prm=str(value_folder)))
    with pytest.raises(SettingsError, match="implicit PRM"):
        load_prm_scores(small(tiny_folder, credit="log_ratio", prm=str(prm_folder)))


# --- monitors --------------------------------------------------------------------------------------------------


def test_text_marks_by_hand():
    answers = [
        answer("c = b", "C =  B", "zebra"),
        answer("c is 3", finish="length"),
        answer(tokens=1),
        answer("mod 13"),
    ]
    answers[2].unreadable = True
    marks = text_marks(answers)
    assert marks["steps_per_answer"] == pytest.approx(5 / 4)
    assert marks["tokens_per_step"] == pytest.approx((7 + 3 + 3) / 5)
    assert marks["empty"] == marks["truncated"] == marks["unreadable"] == pytest.approx(1 / 4)
    assert marks["repeated"] == marks["off_topic"] == pytest.approx(1 / 5)
    assert repeated_steps(["a", "a", "A "]) == 2
    assert off_topic_steps("two cats", ["dogs", "more dogs", "cats"]) == 1


def looks_of(rights, rewards, problems=60):
    """Looks whose accuracies and mean rewards are these."""
    records = []
    for update, (share, reward) in enumerate(zip(rights, rewards, strict=True)):
        answers = [answer("c is 3", outcome=float(place < share * problems)) for place in range(problems)]
        noise = np.random.default_rng(update).normal(0, 0.02, problems)
        records.append({"update": update} | look(answers, (reward + noise).tolist(), 0.1))
    return records


@pytest.mark.parametrize(
    ("rights", "rewards", "stops"),
    [
        ((0.5, 0.6, 0.4, 0.35), (0.5, 0.6, 0.8, 0.9), True),
        ((0.5, 0.6, 0.4, 0.58), (0.5, 0.6, 0.8, 0.9), False),  # recovered
        ((0.5, 0.6, 0.4), (0.5, 0.6, 0.8), False),  # one look is not enough
        ((0.5, 0.6, 0.4, 0.35), (0.5, 0.6, 0.6, 0.6), False),  # accuracy falls, the reward does not rise
        ((0.5, 0.6, 0.7, 0.8), (0.5, 0.6, 0.8, 0.9), False),  # as it should be
    ],
)
def test_hacking_is_a_reward_that_rises_while_accuracy_falls(rights, rewards, stops):
    reason = hacked(looks_of(rights, rewards))
    assert (reason is not None) == stops
    if reason:
        assert "since update 1" in reason and "60 held-out problems" in reason


def test_without_a_prm_nothing_can_be_hacked():
    records = looks_of((0.9, 0.1, 0.1, 0.1), (0, 1, 2, 3))
    assert hacked([record | {"rewards": None} for record in records]) is None


def test_noise_alone_hardly_ever_stops_a_run():
    rng = np.random.default_rng(0)
    stops = 0
    for _ in range(60):
        looks = [
            {"update": t, "accuracy": float(right.mean()), "right": right, "rewards": rng.random(32)}
            for t, right in enumerate(rng.integers(0, 2, (6, 32)))
        ]
        stops += any(hacked(looks[:end]) is not None for end in range(3, 7))
    assert stops <= 2


# --- whole runs ------------------------------------------------------------------------------------------------


def log_of(out: Path, name: str = "log.jsonl") -> list[dict]:
    records = [json.loads(line) for line in (out / name).read_text().splitlines()]
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "cpu_seconds", "tokens_per_second")}
        for r in records
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"credit": "progress", "epochs": 2, "minibatches": 2, "entropy": 0.01, "watch_longer": 3},
        {"credit": "soft_min", "prm": "prm", "baseline": "value", "adapter": "lora", "lora_rank": 4},
        {"credit": "step_sum", "prm": "prm", "outcome_weight": 0.0, "objective": "reinforce"},
    ],
    ids=lambda changes: changes["credit"],
)
def test_runs_write_what_they_promise(tiny_folder, prm_folder, tmp_path, changes):
    if "prm" in changes:
        changes = changes | {"prm": str(prm_folder)}
    out = tmp_path / "run"
    folder = train_rl(small(tiny_folder, **changes, max_new_tokens=48), out)
    records, watched = log_of(out), log_of(out, "watch.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert [record["update"] for record in watched] == [0, 2, 4]
    assert records[-1]["samples"] == 36 and watched[-1]["samples"] == 36
    assert watched[0]["kl_per_token"] == pytest.approx(0.0, abs=1e-6)
    assert (watched[0]["reward"] is not None) == ("prm" in changes)
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    written = json.loads((out / "metrics.json").read_text())
    assert written["metrics"]["rl.updates"]["value"] == 4
    assert written["metrics"]["rl.end.accuracy"]["high"] is not None
    assert written["extra"]["stopped"] is None
    assert not list(out.rglob("*.bin")) and not list(out.rglob("*.pt"))


def test_a_hacked_run_stops_saves_and_says_why(tiny_folder, prm_folder, tmp_path, monkeypatch):
    seen = iter(looks_of((0.9, 0.2, 0.1), (0.1, 0.8, 0.9)))
    monkeypatch.setattr("sparring.training.rl.watch", lambda run: next(seen))
    settings = small(tiny_folder, credit="soft_min", prm=str(prm_folder), updates=40)
    folder = train_rl(settings, tmp_path)
    assert len(log_of(tmp_path)) == 4 and folder.is_dir() and (tmp_path / "checkpoint").is_dir()
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["extra"]["stopped"].startswith("reward hacking")
    assert written["metrics"]["rl.stopped_for_hacking"]["value"] == 1.0
    train_rl(settings, tmp_path, resume=True)  # still stopped
    assert len(log_of(tmp_path)) == 4


RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sparring.training.rl import train_rl
from sparring.training.rl_settings import RlSettings
train_rl(RlSettings.model_validate_json(sys.argv[1]), Path(sys.argv[2]), resume=True)
"""


def test_killed_and_resumed_runs_give_the_same_logs_and_weights(tiny_folder, tmp_path):
    settings = small(tiny_folder, updates=7, watch_every=3, credit="progress", baseline="value")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_rl(settings, whole)
    command = [sys.executable, "-c", RUN, settings.model_dump_json(), str(broken)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        log = broken / "log.jsonl"
        if log.exists() and len(log.read_bytes().splitlines()) >= 3:  # past a checkpoint and a look
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    train_rl(settings, broken, resume=True)
    assert log_of(broken) == log_of(whole)
    assert log_of(broken, "watch.jsonl") == log_of(whole, "watch.jsonl")
    one, other = ((folder / "policy" / "model.safetensors").read_bytes() for folder in (whole, broken))
    assert one == other


def test_a_run_is_not_overwritten_and_not_resumed_with_other_settings(tiny_folder, tmp_path):
    settings = small(tiny_folder, updates=1)
    train_rl(settings, tmp_path / "run")
    with pytest.raises(SettingsError, match="--resume"):
        train_rl(settings, tmp_path / "run")
    with pytest.raises(SettingsError, match=r"clip was 0\.2, is 0\.3"):
        train_rl(small(tiny_folder, updates=1, clip=0.3), tmp_path / "run", resume=True)


# --- settings and problems -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "text"}, "needs `data`"),
        ({"credit": "soft_min"}, "needs `prm`"),
        ({"prover": "x"}, "credit: progress"),
        ({"credit": "progress", "prover": "x", "prm": "y"}, "values from"),
        ({"outcome_weight": 0.0}, "nothing to learn"),
        ({"task": "text", "data": "x", "watch_longer": 2}, "chain world"),
        ({"chain_steps": (5, 3)}, "from 1 to 10"),
        ({"samples_per_problem": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tiny_folder, changes, message):
    with pytest.raises(ValidationError, match=message):
        small(tiny_folder, **changes)


def test_held_out_problems_are_never_drawn(tiny_folder, tmp_path):
    file = tmp_path / "problems.jsonl"
    lines = [
        {"question": f"How much is {n} and {n}?", "answer": f"It is twice.\n#### {2 * n}"} for n in range(30)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    settings = small(tiny_folder, task="text", data=str(file), data_format="gsm8k")
    subject = load_subject(settings)
    held_out = {problem.question for problem in subject.held_out}
    drawn = {p.question for seed in range(40) for p in subject.draw(random.Random(seed), 5)}
    assert len(held_out) == 4 and len(drawn) == 26 and not held_out & drawn
    assert subject.checker.judge([(subject.held_out[0], [f"#### {subject.held_out[0].answer}"])]) == [True]
    with pytest.raises(DataError, match="too few"):
        load_subject(small(tiny_folder, task="text", data=str(file), data_format="gsm8k", watch_problems=29))


def test_the_commented_config_is_the_defaults_and_explains_every_value():
    assert load_settings(RlSettings, CONFIG) == RlSettings()
    text = CONFIG.read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    unwritten = {
        "data", "data_format", "max_problems", "lora_rank", "lora_targets", "prm", "prover", "device", "dtype", "trackers",
    }  # fmt: skip
    assert RlSettings.model_fields.keys() - written.keys() == unwritten
    values = [line for line in text.splitlines() if re.match(r"[a-z_]+:", line)]
    assert all(re.search(r"\s#\s\S", line) for line in values)
    assert "sparring train rl --config configs/chain-rl.yaml --out " in text
