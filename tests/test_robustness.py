"""Robustness: rewrites keep the meaning, probes measure what they say, and the table is the same for every PRM."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from sparring.evaluation.attack import (
    AttackSettings,
    attack_metrics,
    robustness_tables,
    run_attack,
    strict_threshold,
    weakness,
)
from sparring.evaluation.robustness import HARMLESS, PADDINGS, error_kinds, hacking_curve, probe_robustness
from sparring.models.sidecar import read_sidecar, write_sidecar
from sparring.oracles.panel import Panel
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.runs import Metric
from sparring.traces.records import Problem, Trace
from sparring.traces.verdict import Verdict
from sparring.training.game import Rewrite, Rewrites, State
from sparring.training.game_tasks import TextTask, WorldTask
from sparring.worlds.chain import generate_problem, parse_question
from sparring.worlds.chain_errors import CHAIN_ERRORS
from sparring.worlds.chain_world import ChainWorld

RNG = random.Random
TEXT = Problem(
    "t",
    "Janet has 3 boxes with 4 eggs each and sells them for $2 each. Her walk is 3 km. How much does Janet earn?",
    "24",
    ("Janet has 3 * 4 = 12 eggs.", "So Janet earns 12 * 2 = $24.", "She earns $24 on a walk of 3 km."),
)


def states(count=40, seed=0):
    return WorldTask(ChainWorld()).draw(RNG(seed), count)


# --- rewrites -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("commute", "Janet has 3 * 4 = 12 eggs.", "Janet has 4 * 3 = 12 eggs."),
        ("commute", "c = b + 5 = 7 + 5 , c is 12", "c = 5 + b = 5 + 7 , c is 12"),
        ("commute", "12 - 5 = 7", None),
        ("commute", "2 + 3 * 4 = 14", None),
        ("commute", "2 + 3 - 4 = 1", None),
        ("reformat", "3*4=12", "3 * 4 = 12"),
        ("reformat", "He has 3 * 4 = 12", "He has 3*4=12"),
        ("style", "So she earns 3.", "She earns 3."),
        ("units", "She walks 3 km for $24.", "She walks 3 kilometers for 24 dollars."),
        ("units", "She walks 3 kmh.", None),
        ("style", "c = b + 5 = 7 + 5 , c is 12", None),
        ("reformat", "c = b + 5 = 7 + 5 , c is 12", None),
    ],
)
def test_rewrites(kind, step, expected):
    made = HARMLESS[kind]((Problem("p", "q"), (), step), RNG(0))
    assert (None if made is None else made[2]) == expected


def test_renaming_is_the_same_everywhere():
    problem, prefix, step = HARMLESS["rename"]((TEXT, TEXT.solution[:1], TEXT.solution[1]), RNG(0))
    text = " ".join((problem.question, *prefix, step))
    assert "Janet" not in text and len({w for w in text.split() if w.istitle() and w in text[:20]}) >= 1
    name = problem.question.split()[0]
    assert text.count(name) == " ".join((TEXT.question, *TEXT.solution[:2])).count("Janet")


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_rewrites_of_the_chain_world_are_still_correct(seed):
    problem = generate_problem(RNG(seed), (3, 8), "p")
    index = RNG(seed).randrange(len(problem.solution))
    place = (problem, problem.solution[:index], problem.solution[index])
    for kind in ("commute", "rename"):
        made = HARMLESS[kind](place, RNG(seed))
        if made is not None:
            assert ChainWorld().judge(*made).truth == "correct"
            assert parse_question(made[0].question)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60).filter(str.strip), st.text(max_size=60).filter(str.strip))
def test_rewrites_and_paddings_take_any_text(question, step):
    place = (Problem("p", question), (step,), step)
    for change in (*HARMLESS.values(), *PADDINGS.values()):
        made = change(place, RNG(0))
        assert made is None or all(text.strip() for text in (made[0].question, *made[1], made[2]))


# --- probes -----------------------------------------------------------------------------------------------------------


class Exact:
    """Scores a step by the oracle, and remembers what it was shown."""

    threshold = 0.5

    def __init__(self):
        self.seen = []

    def score(self, traces):
        self.seen += traces
        return [[self.value(trace)] * len(trace.steps) for trace in traces]

    def value(self, trace):
        return (
            0.9
            if ChainWorld().judge(trace.problem, trace.steps[:-1], trace.steps[-1]).truth == "correct"
            else 0.1
        )


class Literal(Exact):
    """Accepts sums only with the name first, and everything that is praised."""

    def value(self, trace):
        step = trace.steps[-1]
        return (
            0.9
            if "verified" in step
            or (super().value(trace) > 0.5 and "z" not in step and step.split()[2].isalpha())
            else 0.1
        )


def test_an_exact_prm_is_robust_and_all_kinds_are_probed():
    found = probe_robustness(Exact(), WorldTask(ChainWorld()), states(), 0.5)
    metrics = found.metrics
    assert metrics["invariance.all.flipped"].value == 0.0 == metrics["invariance.commute.shift"].value
    for kind in CHAIN_ERRORS:
        assert metrics[f"sensitivity.{kind}.caught"].value == 1.0 == metrics[f"sensitivity.{kind}.auc"].value
    for kind in PADDINGS:
        assert (
            metrics[f"padding.{kind}.accepted"].value == 0.0 == metrics[f"padding.{kind}.more_accepted"].value
        )
    assert metrics["sensitivity.all.caught"].low is not None, "intervals over problems"
    assert all(probe.score_after < 0.5 for probe in found.probes if probe.probe != "invariance")


def test_weaknesses_show_where_they_are():
    metrics = probe_robustness(Literal(), WorldTask(ChainWorld()), states(), 0.5).metrics
    assert metrics["invariance.commute.flipped"].value > 0.2
    assert metrics["padding.flattery_suffix.more_accepted"].value == 1.0
    assert metrics["padding.repetition.more_accepted"].value == 0.0


def test_every_prm_is_shown_the_same_texts():
    exact, other = Exact(), Literal()
    for scorer in (exact, other):
        probe_robustness(scorer, WorldTask(ChainWorld()), states(10), 0.5)
    assert [t.steps for t in exact.seen] == [t.steps for t in other.seen]


def test_text_tasks_have_the_classes_of_the_taxonomy():
    task = TextTask([TEXT] * 3, Panel(["arithmetic", "reference"]))
    assert set(error_kinds(task)) == set(PERTURBATIONS)

    class Half:
        threshold = 0.5

        def score(self, traces):
            return [[0.5] * len(trace.steps) for trace in traces]

    found = probe_robustness(Half(), task, [State(TEXT, 0), State(TEXT, 1)], 0.5)
    classes = {name.split(".")[1] for name in found.metrics if name.startswith("sensitivity.")}
    assert {"arithmetic_slip", "all"} <= classes
    assert (
        found.metrics["sensitivity.all.caught"].value == 0.0
        and found.metrics["sensitivity.all.auc"].value == 0.5
    )
    assert {"invariance.commute.flipped", "invariance.rename.flipped"} <= set(found.metrics)


def test_reward_hacking_shows_a_score_that_rises_without_accuracy():
    honest = [([0.2, 0.4, 0.9], [False, False, True])] * 5
    hacked = [([0.9, 0.4, 0.2], [False, True, True])] * 5
    good, bad = hacking_curve(honest), hacking_curve(hacked)
    assert (
        good["hacking.gain.score"].value
        == pytest.approx(bad["hacking.gain.score"].value)
        == pytest.approx(0.4)
    )
    assert good["hacking.gain.accuracy"].value == pytest.approx(2 / 3)
    assert bad["hacking.gain.accuracy"].value == pytest.approx(-2 / 3)
    assert hacking_curve([]) == {} and hacking_curve([([], [])]) == {}


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tiny_folder, tiny_prm, tmp_path_factory):
    """A whole attack on a random PRM that accepts everything."""
    place = tmp_path_factory.mktemp("attack")
    shutil.copytree(tiny_prm, place / "prm")
    write_sidecar(place / "prm", read_sidecar(tiny_prm).model_copy(update={"threshold": 0.0}))
    chosen = AttackSettings(
        backbone=str(tiny_folder), warm_steps=2, updates=3, states_per_update=4, evaluation_states=12, curve_points=3,
        device="cpu",
    )  # fmt: skip
    run_attack(place / "prm", chosen, place / "out", console=Console(quiet=True))
    return place / "out", chosen


def test_the_command_writes_one_table_with_curve_probes_and_hacking(run):
    out, _ = run
    written = json.loads((out / "metrics.json").read_text())["metrics"]
    for name in (
        "clean_accepted",
        "trained.fool_rate",
        "invariance.all.flipped",
        "sensitivity.all.caught",
        "hacking.n1.score",
    ):
        assert f"attack.{name}" in written
    assert [name for name in written if ".curve." in name] == [
        f"attack.curve.u{n}.fool_rate" for n in (0, 1, 2, 3)
    ]
    assert written["attack.curve.u3.fool_rate"] == written["attack.trained.fool_rate"]
    table = (out / "robustness.md").read_text()
    assert (
        "| curve · u2 · fool rate |" in table and "### Harmless rewrites" in table and "| commute |" in table
    )
    probes = [json.loads(line) for line in (out / "probes.jsonl").open()]
    assert {probe["probe"] for probe in probes} == {"invariance", "sensitivity", "padding"}


def test_the_worst_are_accepted_wrong_steps_with_the_highest_scores(run):
    out, _ = run
    worst = [json.loads(line) for line in (out / "worst.jsonl").open()]
    assert worst and all(case["truth"] == "wrong" for case in worst)
    assert [case["score"] for case in worst] == sorted((case["score"] for case in worst), reverse=True)


def test_tables_have_the_same_rows_for_every_prm():
    rows = []
    for scorer in (Exact(), Literal()):
        metrics = probe_robustness(scorer, WorldTask(ChainWorld()), states(30), 0.5).metrics | hacking_curve(
            [([0.1, 0.2], [True, False])]
        )
        lines = robustness_tables("x", metrics, 0.5, AttackSettings()).splitlines()
        rows.append([line.split("|")[1] if line.startswith("|") else line for line in lines])
    assert rows[0] == rows[1] and len(rows[0]) > 20


def test_a_trace_that_does_not_fit_is_an_error_that_names_it():
    from sparring.errors import DataError

    class Short(Exact):
        def score(self, traces):
            for trace in traces:
                if len(trace.steps) > 3:
                    raise DataError(f"trace of problem '{trace.problem.id}': past the limit")
            return super().score(traces)

    with pytest.raises(DataError, match="chain-task"):
        probe_robustness(Short(), WorldTask(ChainWorld()), states(), 0.5)
    assert Trace(TEXT, TEXT.solution).steps


def test_an_attacker_prefers_a_gamble_to_a_mistake_that_is_surely_caught():
    state = State(Problem("p", "q", solution=("a",)), 0)
    wrong, right = Verdict("wrong", "x"), Verdict("correct", "x")
    flight = [Rewrite("b", None, wrong)] * 4
    gamble = [
        Rewrite("c", None, wrong),
        Rewrite("d", None, wrong),
        Rewrite("e", None, right),
        Rewrite("f", None, right),
    ]
    made = Rewrites([state, state], [flight, gamble]).with_each("score", [0.0] * 4 + [0.9] * 4)

    def means(settings: AttackSettings) -> list[float]:
        return made.rewards(settings, torch.Generator(), sampled=False)[0].mean(1).tolist()

    assert means(AttackSettings()) == pytest.approx([-1.0, (0.9 * 2 - 0.1 * 2 - 2) / 4])
    assert means(AttackSettings(reward_caught=0.0)) == pytest.approx([0.0, (0.9 * 2 - 2) / 4])


def attacked_cases(clean, wrong):
    """Records of an attack with one wrong rewrite per state and adversary."""
    return [
        {
            "adversary": who,
            "state": place,
            "malformed": None,
            "truth": "wrong",
            "score": bad,
            "clean_score": good,
        }
        for who in ("rules", "frozen", "trained")
        for place, (good, bad) in enumerate(zip(clean, wrong, strict=True))
    ]


def test_fool_rates_at_equal_strictness():
    assert strict_threshold([0.1, 0.2, 0.3, 0.4, 0.5], 0.8) == 0.2
    assert strict_threshold([0.1] + [0.9] * 49) == 0.9  # 49 of 50 are 98 %
    assert strict_threshold([0.1, 0.1] + [0.9] * 48) == 0.1
    clean, wrong = [0.6] + [0.9] * 49, [0.95] * 5 + [0.7] * 20 + [0.2] * 25
    metrics = attack_metrics(attacked_cases(clean, wrong), {}, AttackSettings(), 0.5)
    assert metrics["trained.fool_rate"].value == 0.5
    assert metrics["trained.fool_rate_at_98"].value == pytest.approx(0.1)
    assert metrics["clean_accepted"].value == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_equal_strictness_does_not_care_how_scores_are_spread(pairs):
    clean, wrong = zip(*[(round(a, 3), round(b, 3)) for a, b in pairs], strict=True)
    spread = [[score**3 / 2 for score in scores] for scores in (clean, wrong)]
    one, other = (
        attack_metrics(attacked_cases(*scores), {}, AttackSettings(), 0.5)["trained.fool_rate_at_98"]
        for scores in ((clean, wrong), spread)
    )
    assert one == other


def test_an_attack_that_found_less_than_it_began_with_says_so():
    def told(before: float | None, after: float | None) -> list[str]:
        return weakness({"frozen.fool_rate": Metric(before), "trained.fool_rate": Metric(after)})

    assert told(0.058, 0.014) == [
        "the attack is weak: its adversary fooled the PRM in 5.8 % of its rewrites before its training and in 1.4 % after "
        "it; take more updates or another adversary_learning_rate, then judge the PRM"
    ]
    assert told(0.1, 0.1) == told(0.1, 0.6) == told(None, 0.1) == told(0.1, None) == []
