"""Worlds by name and dials, and what every world promises: exact verdicts, rules that err, answers, life."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger_world  # noqa: F401 (a world of one's own)
from sparring.errors import DataError, SettingsError
from sparring.labels.answers import WorldChecker
from sparring.labels.settings import LabelSettings
from sparring.settings import load_settings
from sparring.traces.records import Problem, Trace
from sparring.training.aprm_settings import AprmSettings
from sparring.training.game import rule_rewrites
from sparring.training.game_tasks import WorldTask, load_task
from sparring.training.rl_settings import RlSettings
from sparring.training.rl_tasks import world_subject
from sparring.worlds.chain import NAMES, generate_problems
from sparring.worlds.chain_model import build_tokenizer
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import WORLDS, judged, make_world, require_words, world_problems

HARD = "chain:modulus=97,steps=6-8,names=26,constants=9"
TEXTS = [*WORLDS, HARD, "chain:steps=16,names=18", "countdown:variant=long", "ledger:steps=1-6,forms=abc"]
SEEDS = st.integers(0, 10_000)


def test_a_text_names_a_world_and_a_world_its_text():
    assert make_world("chain") == ChainWorld() == make_world(" chain:modulus=13 ")
    assert make_world(HARD) == ChainWorld(modulus=97, steps=(6, 8), names=26, constants=9)
    assert make_world("chain:steps=4").name == "chain:steps=4"
    for text in TEXTS:
        assert make_world(make_world(text).name) == make_world(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chian", "'chian' is no world .did you mean 'chain'"),
        ("", "'' is no world"),
        ("chain:", "dials such as modulus=value, got ''"),
        ("chain:97", "dials such as"),
        ("chain:moduls=97", "has no dial 'moduls' .did you mean 'modulus'"),
        ("chain:modulus=97,modulus=13", "given twice"),
        ("chain:modulus=abc", "'modulus' is a whole number, got 'abc'"),
        ("chain:modulus=98", "from 2 to 97"),
        ("chain:habits=many", "'habits' is a number"),
        ("chain:steps=a-b", "'steps' is a range such as 6-8"),
        ("chain:steps=8-6", "from 1 to 10 with 12 names"),
        ("chain:steps=11", "from 1 to 10 with 12 names"),
        ("chain:names=27", "from 3 to 26"),
        ("chain:constants=13", "less than the modulus"),
        ("chain:habits=2", "shares"),
        ("chain:" + "x" * 400, "no world"),
    ],
)
def test_what_is_no_world_or_dial_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        make_world(text)


@pytest.mark.parametrize("text", TEXTS)
@given(SEEDS)
def test_every_world_keeps_its_promises(text, seed):
    world, rng = make_world(text), random.Random(seed)
    problem = world.problem(rng, "p")
    solution = problem.solution
    assert solution and all(world.is_step(step) for step in solution)
    trace = judged(world, Trace(problem, solution))
    assert trace.labels == (1.0,) * len(solution) and trace.outcome is True
    assert world.alive(problem, ()) and world.alive(problem, solution)
    assert WorldChecker(world).judge([(problem, solution), (problem, ["?"])]) == [True, None]
    assert world.problem(random.Random(seed), "p") == problem
    place = rng.randrange(len(solution))
    made = world.perturb(problem, solution[:place], solution[place], rng, world.kinds)
    assert made is not None and made[0] in world.kinds
    assert world.judge(problem, solution[:place], made[1]).truth == "wrong" and world.is_step(made[1])
    assert not world.alive(problem, (*solution[:place], made[1]))
    for kind in world.kinds:
        found = world.perturb(problem, solution[:place], solution[place], random.Random(seed), [kind])
        assert found is None or found[0] == kind
    words = {word for part in world.words.values() for word in part}
    for written in (problem.question, made[1], *solution, *world.written(problem, rng)):
        assert set(written.split(" ")) <= words


@pytest.mark.parametrize("text", TEXTS)
def test_the_problems_of_others_are_refused_and_any_text_gets_a_verdict(text):
    world = make_world(text)
    with pytest.raises(DataError):
        world.judge(Problem("p", "what is 2 + 2?"), (), "4")
    problem = world.problem(random.Random(0), "p")
    for step in ("", "²", "x" * 10_000, problem.question):
        assert world.judge(problem, ("?",), step).truth == "wrong"


@pytest.mark.parametrize("text", TEXTS)
def test_a_worlds_tokenizer_knows_all_its_words(text):
    world = make_world(text)
    tokenizer = build_tokenizer(world)
    for problem in world_problems(world, 20, seed=0, name="t"):
        for line in (problem.question, *(problem.solution or ())):
            ids = tokenizer(line, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids).split() == line.split()


def test_the_chain_world_without_dials_is_the_one_that_the_tiny_policy_knows():
    assert world_problems(make_world("chain"), 5, seed=3, name="chain") == generate_problems(
        5, steps=(3, 5), seed=3
    )
    words = build_tokenizer().get_vocab()
    assert len(words) == 41 and words["mistake"] == 4 and words["12"] == 39 and words["13"] == 40


@given(SEEDS)
def test_narrow_definitions_have_small_numbers_right_of_a_name_and_no_products_of_names(seed):
    world = make_world(HARD)
    newest: str | None = None
    for name, definition in world._chain(world.problem(random.Random(seed), "p")).definitions.items():
        assert newest is None or newest in definition.operands()
        newest = name
        assert definition.left != definition.right
        assert not definition.left.isdigit()
        assert not definition.right.isdigit() or 1 <= int(definition.right) <= 9
        assert definition.operation != "*" or definition.right in ("2", "3")


def test_settings_take_worlds_and_say_what_is_wrong():
    settings = load_settings(AprmSettings, None, [f"task={HARD},habits=0.12"])
    assert settings.task == make_world(HARD).name  # the shortest form
    task = load_task(settings)
    assert isinstance(task, WorldTask) and task.world == make_world(HARD)
    assert load_settings(AprmSettings, None, ["task=chain:modulus=13"]).task == "chain"
    with pytest.raises(SettingsError, match=r"task: 'tekst' is no world.*a task is 'text' or a world .chain"):
        load_settings(AprmSettings, None, ["task=tekst"])
    with pytest.raises(SettingsError, match="task: 'text' is no world"):
        load_settings(LabelSettings, None, ["task=text"])


def test_chain_steps_is_the_dial_of_the_chain_world_alone():
    assert RlSettings(task="chain", chain_steps=(2, 4)).world == ChainWorld(steps=(2, 4))
    assert RlSettings(task=HARD).world == make_world(HARD)
    assert LabelSettings(task="chain:modulus=97", chain_steps=(2, 2)).world == ChainWorld(
        modulus=97, steps=(2, 2)
    )
    with pytest.raises(ValueError, match="chain_steps belongs to the chain world"):
        RlSettings(task=HARD, chain_steps=(2, 4))


def test_rules_keep_to_the_kinds_that_they_are_given():
    task = WorldTask(make_world(HARD), kinds=["arithmetic", "wrong_value"])
    made = rule_rewrites(task, task.draw(random.Random(0), 30), 2, random.Random(1))
    kinds = {item.kind for group in made.groups for item in group}
    assert kinds == {"arithmetic", "wrong_value"}


def test_reinforcement_learning_draws_from_any_world_and_never_what_is_held_out():
    subject = world_subject(
        RlSettings(task="chain:modulus=97,steps=1,names=26", watch_problems=8, watch_longer=2)
    )
    held_out = {problem.question for problem in subject.held_out}
    drawn = subject.draw(random.Random(0), 30)
    assert len(held_out) == 8 and not held_out & {problem.question for problem in drawn}
    assert all("mod 97" in problem.question for problem in (*drawn, *subject.longer))
    assert {len(problem.solution or ()) for problem in subject.longer} <= {6, 7, 8}
    assert subject.checker.judge([(drawn[0], drawn[0].solution or ())]) == [True]


def test_who_judges_answers_goes_by_data_and_task():
    for settings, by_world in [
        ({}, True), ({"data": "x"}, False), ({"data": "x", "task": "chain:modulus=97"}, True),
        ({"data": "x", "checker": "world"}, True), ({"checker": "answer"}, False),
        ({"data": "x", "checker": "chain"}, True),
    ]:  # fmt: skip
        assert LabelSettings.model_validate(settings).judged_by_world is by_world


def test_the_alphabet_begins_with_the_usual_names():
    assert make_world("chain:names=26").form.names.startswith(NAMES)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["chain:habits=0.00001", "ledger:habits=0.00002", "countdown:slips=0.00005"])
def test_small_shares_survive_the_name(text: str) -> None:
    assert make_world(make_world(text).name) == make_world(text)


def test_undecided_steps_have_no_label() -> None:
    """Words that are not known for a true sentence: neither it nor what rests on it is called wrong."""
    world = make_world("ledger")
    problem = next(
        one
        for one in world_problems(world, 40, seed=5, name="x")
        if any("5 * 40 = 200" in step for step in one.solution or ())
    )
    steps = ["Overall , " + step if "5 * 40 = 200" in step else step for step in problem.solution or ()]
    assert world.judge(problem, (), steps[0]).truth == "undecided"
    assert world.judge(problem, steps[:1], steps[1]).reason == "ledger:after_undecided"
    assert judged(world, Trace(problem, tuple(steps))).labels == (None, None, 1.0)
    slip = steps[1].replace("200 - 100 = 1", "200 - 100 = 2")
    assert world.judge(problem, steps[:1], slip).truth == "wrong"


def test_a_tokenizer_that_does_not_know_the_words_is_refused() -> None:
    world = make_world("ledger")
    require_words(world, build_tokenizer(world), "its own")
    with pytest.raises(SettingsError, match="words of the world 'ledger'"):
        require_words(world, build_tokenizer(make_world("chain")), "tiny-chain-policy")
