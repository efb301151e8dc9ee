"""Language models as judges: how answers are read, votes, what is kept and counted; in a PRM's place and on a panel."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_scorers import FakeJudge, busy, dies, judged_step, says
from sparring.errors import DataError, SettingsError
from sparring.http_client import ServerError
from sparring.judging.reading import Answer, UnreadableError, read_verdicts
from sparring.judging.templates import TEMPLATES, template_of
from sparring.locks import LockedError
from sparring.oracles.members import check_members
from sparring.oracles.panel import Panel, combine
from sparring.scorers.door import open_scorer, record_of
from sparring.statistics import proportion, wilson
from sparring.traces.records import Problem, Trace
from sparring.traces.verdict import Verdict

TRACE = Trace(Problem("p", "What is 2 + 3 + 4?"), ("2 + 3 = 5", "5 + 4 = 8, wrong", "so it is 8"))


@pytest.fixture
def server(monkeypatch):
    from sparring import http_client

    monkeypatch.setattr(http_client.random, "uniform", lambda low, high: 0.01)
    with FakeJudge() as found:
        yield found


def address(server: FakeJudge, **options: object) -> str:
    words = "&".join(f"{name}={value}" for name, value in {"retries": 2, **options}.items())
    return f"judge+http://{server.host}/v1?{words}"


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "text", "expected"),
    [
        ("yes_no", "Yes", 1.0),
        ("yes_no", " **No**, since 5 + 4 is 9", 0.0),
        ("yes_no", "<think>No, wait. Yes or No?</think>\n\nyes.", 1.0),
        ("yes_no", "Nothing is wrong", None),
        ("yes_no", "I think yes", None),
        ("yes_no", "<think>Yes Yes", None),
        ("yes_no", "", None),
        ("reasoned", "It follows.\nVerdict: correct", 1.0),
        ("reasoned", "Verdict: correct? No.\n**Verdict: wrong**", 0.0),
        ("reasoned", "Verdict: **incorrect**", 0.0),
        ("reasoned", "it is correct", None),
        ("genprm", "```python\nprint(1)\n```\n**Judgement**: $\\boxed{Yes}$", 1.0),
        ("genprm", "\\boxed{Yes} … no: \\boxed{ No}", 0.0),
        ("genprm", "\\boxed{\\text{No}}", 0.0),
        ("genprm", "\\boxed{42}", None),
        ("genprm", "\\boxed{Nobody}", None),
    ],
)
def test_a_step_s_verdict_stands_where_the_template_wants_it(preset, text, expected):
    if expected is None:
        with pytest.raises(UnreadableError):
            read_verdicts(Answer(text), TEMPLATES[preset], 1)
    else:
        assert read_verdicts(Answer(text), TEMPLATES[preset], 1) == (expected,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Step 1: fine. The step is \\boxed{correct}\nStep 2: no. \\boxed{incorrect}", (1.0, 0.0, None)),
        (
            "Step 1: as in Step 2 \\boxed{correct} Step 2: unlike Step 1, \\boxed{correct} Step 3 \\boxed{incorrect}",
            (1.0, 1.0, 0.0),
        ),
        ("\\boxed{correct} \\boxed{correct} \\boxed{correct}", (1.0, 1.0, 1.0)),
        (
            "Step 1: \\boxed{incorrect}, or is it? The step is \\boxed{correct} Step 2: \\boxed{incorrect}",
            (1.0, 0.0, None),
        ),
        ("Step 1: \\boxed{correct} Step 2: \\boxed{correct}", "no verdict on step 3"),
        ("Step 2: \\boxed{correct} Step 3: \\boxed{correct}", "no verdict on step 1"),
        ("Step 1: fine", "there is no verdict"),
        ("all is \\boxed{9}", "there is no verdict"),
    ],
)
def test_a_solution_s_verdicts_stand_under_their_steps(text, expected):
    if isinstance(expected, str):
        with pytest.raises(UnreadableError, match=expected):
            read_verdicts(Answer(text), TEMPLATES["thinkprm"], 3)
    else:
        assert read_verdicts(Answer(text), TEMPLATES["thinkprm"], 3) == expected


def tokens_of(*pairs: tuple[str, dict[str, float]]) -> tuple[dict, ...]:
    return tuple(
        {
            "token": token,
            "logprob": math.log(max(others.values(), default=1.0)),
            "top_logprobs": [{"token": text, "logprob": math.log(chance)} for text, chance in others.items()],
        }
        for token, others in pairs
    )


def test_a_word_s_probability_is_that_of_all_its_spellings():
    tokens = tokens_of(("Yes", {"Yes": 0.5, "yes": 0.1, " Y": 0.1, "No": 0.2, "Maybe": 0.1}), (".", {}))
    assert read_verdicts(Answer("Yes.", tokens=tokens), TEMPLATES["yes_no"], 1) == pytest.approx((0.7 / 0.9,))
    boxed = tokens_of(("\\boxed{", {}), ("in", {"in": 0.6, "c": 0.2, "correct": 0.1}), ("correct}", {}))
    answer = Answer("\\boxed{incorrect}", tokens=boxed)
    assert read_verdicts(answer, TEMPLATES["thinkprm"], 1) == pytest.approx((0.3 / 0.9,))
    for useless in (
        tokens_of(("No", {"No": 1.0}), (".", {})),  # another text
        tokens_of(("Yes", {})),
        tokens_of(("Yes", {"No": 0.9})),  # the word that was said is not among them
        ({"token": "Yes", "top_logprobs": [{"token": "Yes", "logprob": "high"}, 3, {"logprob": 0}]},),
        ({"token": "Yes", "top_logprobs": 7},),
        ({},),
    ):
        assert read_verdicts(Answer("Yes.", tokens=useless), TEMPLATES["yes_no"], 1) == (1.0,)


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "Yes",
                "No",
                "\\boxed{",
                "correct",
                "incorrect",
                "}",
                "Step 1",
                "Step 2:",
                "Verdict:",
                "<think>",
                "</think>",
            ]
        ),
        max_size=14,
    ).map(" ".join),
    preset=st.sampled_from(sorted(TEMPLATES)),
    tokens=st.lists(
        st.dictionaries(st.sampled_from(["token", "top_logprobs"]), st.text(max_size=4)), max_size=4
    ),
)
def test_any_answer_is_read_or_unreadable(text, preset, tokens):
    template = TEMPLATES[preset]
    steps = 1 if template.scope == "step" else 3
    try:
        row = read_verdicts(Answer(text, tokens=tuple(tokens)), template, steps)
    except UnreadableError as error:
        assert str(error)
        return
    assert len(row) == steps and row[0] is not None
    known = [one for one in row if one is not None]
    assert all(0.0 <= one <= 1.0 for one in known)
    assert all(one is None for one in row[len(known) :])


def test_a_long_answer_is_read_in_linear_time():
    for piece in ("\\boxed{ ", "Step 1 ", "verdict" + ":" * 9, "<think>", "Yes "):
        with pytest.raises(UnreadableError):
            read_verdicts(Answer("x" + piece * 100_000), TEMPLATES["thinkprm"], 3)
        with pytest.raises(UnreadableError):
            read_verdicts(Answer("x" + piece * 100_000), TEMPLATES["reasoned"], 1)


def test_messages_hold_problem_and_steps_once_and_untouched(tmp_path):
    text = TEMPLATES["yes_no"].filled("a {step} problem", ("{problem}",), ("{previous}",))
    assert "a {step} problem" in text and "Step 1: {problem}" in text and "\n{previous}\n" in text
    assert "(none)" in TEMPLATES["yes_no"].filled("p", (), ("s",))
    own = tmp_path / "own.txt"
    own.write_text("{problem} | {step} | {number}")
    assert template_of("reasoned", str(own)).filled("P", ("a",), ("b",)) == "P | b | 2"
    own.write_text("{problem}")
    for preset, file, said in (
        ("reasoned", str(own), r"no place \{step\}"),
        ("thinkprm", str(own), r"no place \{solution\}"),
        ("reasoned", str(tmp_path / "none"), "cannot read"),
        ("yesno", None, "did you mean 'yes_no'"),
    ):
        with pytest.raises(SettingsError, match=said):
            template_of(preset, file)


# --- in a PRM's place ------------------------------------------------------------------------------------------------


def test_scores_of_steps(server):
    scorer = open_scorer(address(server))
    told: list[int] = []
    assert scorer.score([TRACE, TRACE.prefix(1)], told.append) == [[1.0, 0.0, 1.0], [1.0]]
    assert sum(told) == 2 and scorer.threshold == 0.5 and scorer.sidecar.meaning == "correctness"
    bodies = [body for _, body in server.asked]
    assert len(bodies) == 3  # the shared first step was asked once
    assert (
        bodies[0]["model"] == "judge-model"
        and bodies[0]["temperature"] == 0.0
        and bodies[0]["max_tokens"] == 8
    )
    record = record_of(scorer)
    assert record["model"] == "judge-model" and record["preset"] == "yes_no"
    assert record["cost"] == {
        "requests": 3, "votes": 3, "known_votes": 0, "unreadable": 0, "prompt_tokens": 150, "completion_tokens": 6,
    }  # fmt: skip
    scorer.score([TRACE])
    assert len(server.asked) == 3 and record_of(scorer)["cost"]["known_votes"] == 3


def test_votes_give_a_mean_and_an_interval(server):
    server.says = lambda asked, body: "Verdict: correct" if body["seed"] % 4 else "Verdict: wrong"
    scorer = open_scorer(address(server, preset="reasoned", votes=12))
    [[judgement]] = scorer.judgements([TRACE.prefix(1)])
    seeds = {body["seed"] for _, body in server.asked}
    assert len(seeds) == 12 and server.asked[0][1]["temperature"] == 0.7
    share = sum(seed % 4 > 0 for seed in seeds) / 12
    assert judgement.scores == pytest.approx((share,)) and judgement.votes == 12
    low, high = judgement.intervals[0]
    assert low < share < high and low >= 0 and high <= 1
    metric = proportion(9, 12)
    assert wilson(0.75, 12) == pytest.approx((metric.low, metric.high))
    with pytest.raises(SettingsError, match="copies of one"):
        open_scorer(address(server, votes=3, temperature=0))


def test_a_whole_solution_at_once(server):
    server.says = lambda asked, body: "Step 1: \\boxed{correct} Step 2: \\boxed{incorrect}"
    scorer = open_scorer(address(server, preset="thinkprm", votes=2))
    assert scorer.score([TRACE]) == [[1.0, 0.0, 0.0]]
    assert len(server.asked) == 2 and "Step 3: so it is 8" in server.asked[0][1]["messages"][-1]["content"]
    assert server.asked[0][1]["messages"][0]["role"] == "user"


def test_probabilities_of_the_word_where_the_server_tells_them(server):
    server.logprobs = lambda text: list(tokens_of((text, {"Yes": 0.25, "No": 0.75})))
    assert open_scorer(address(server)).score([TRACE]) == [[0.25, 0.25, 0.25]]


def test_nonsense_is_asked_again_and_never_a_score(server):
    server.says = lambda asked, body: "Yes" if body["seed"] % 2 else "as a language model"
    scorer = open_scorer(address(server, votes=6))
    [[judgement]] = scorer.judgements([TRACE.prefix(1)])
    assert judgement.scores == (1.0,) and 3 <= judgement.votes <= 6 and judgement.unreadable >= 1
    server.says = lambda asked, body: None if "5 + 4" in judged_step(asked) else "Yes"
    with pytest.raises(DataError, match=r"'p', step 2: .* no verdict in 3 of 3 answers"):
        open_scorer(address(server)).score([TRACE])
    both = open_scorer(address(server)).score_each([TRACE.prefix(1), TRACE])
    assert both[0] == [1.0] and isinstance(both[1], DataError)
    server.finish, server.says = "length", lambda asked, body: "<think>hm"
    with pytest.raises(DataError, match="it was cut before a verdict"):
        open_scorer(address(server)).score([TRACE])


def test_a_judge_that_is_of_no_use_is_not_asked_about_everything(server):
    many = [Trace(Problem(f"p{i}", f"question {i}"), ("a", "b")) for i in range(60)]
    server.says = lambda asked, body: "as a language model"
    with pytest.raises(DataError, match=r"problem 'p\d+', step \d: .*no verdict"):
        open_scorer(address(server, concurrency=4)).score(many)
    assert len(server.asked) < 40
    assert len(open_scorer(address(server)).score_each(many[:3])) == 3


def test_votes_outlive_the_process_in_a_file(server, tmp_path):
    file = tmp_path / "votes.jsonl"
    options = {"cache": file, "votes": 2, "temperature": 0.5}
    first = open_scorer(address(server, **options))
    rows = first.score([TRACE])
    with pytest.raises(LockedError):
        open_scorer(address(server, **options))
    first.judge.close()
    asked = len(server.asked)
    again = open_scorer(address(server, **options))
    assert again.score([TRACE]) == rows and len(server.asked) == asked
    assert record_of(again)["cost"]["requests"] == 0
    again.judge.close()
    more = open_scorer(address(server, **(options | {"votes": 3})))  # two of three are known
    more.score([TRACE])
    assert len(server.asked) == asked + 3
    more.judge.close()
    with pytest.raises(SettingsError, match="another job"):
        open_scorer(address(server, **(options | {"preset": "reasoned"})))
    file.write_text(file.read_text().replace("1.0", "0.0", 1))
    with pytest.raises(DataError, match="was changed"):
        open_scorer(address(server, **options))


def test_a_killed_judge_loses_nothing_that_was_answered(server, tmp_path):
    options = {"cache": tmp_path / "votes.jsonl", "concurrency": 1, "retries": 0}
    scorer = open_scorer(address(server, **options))
    server.faults = [
        lambda handler, body: handler.reply(200, server.post("/v1/chat/completions", body)[1])
    ] * 2 + [dies]
    with pytest.raises(ServerError):
        scorer.score([TRACE])
    scorer.judge.close()
    before = len(server.asked)
    resumed = open_scorer(address(server, **options))
    assert resumed.score([TRACE]) == [[1.0, 0.0, 1.0]]
    assert len(server.asked) == before + 1
    resumed.judge.close()


def test_a_busy_server_and_one_that_dies(server):
    server.faults = [busy() for _ in range(10)] + [dies]
    assert open_scorer(address(server)).score([TRACE]) == [[1.0, 0.0, 1.0]]


def test_what_a_model_does_not_take_is_left_out_and_said(server):
    server.refuses = {"temperature", "max_tokens", "logprobs"}
    scorer = open_scorer(address(server))
    assert scorer.score([TRACE]) == [[1.0, 0.0, 1.0]]
    _, body = server.asked[-1]
    assert "max_completion_tokens" in body and not server.refuses & body.keys() and "top_logprobs" not in body
    assert set(record_of(scorer)["left_out"]) == server.refuses
    server.refuses = {"messages"}
    with pytest.raises(DataError, match=r"step \d: .*'messages' is not supported"):
        open_scorer(address(server)).score([TRACE])


def test_what_does_not_fit(server):
    long = TRACE.problem
    trace = Trace(long, ("2 + 3 = 5", "x" * 500))
    server.longest = 500
    with pytest.raises(DataError, match=r"step 2.*maximum context length"):
        open_scorer(address(server)).score([trace])
    dropping = open_scorer(address(server), overflow="drop_steps")
    assert dropping.score([trace]) == [[1.0]] and dropping.dropped_steps == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b'{"choices": []}',
        b'{"choices": [3]}',
        b'{"choices": [{"message": "Yes"}]}',
        b"[",
        b'{"choices": 1}',
    ],
)
def test_answers_that_are_none(server, answer):
    server.faults = [says(answer)] * 3
    with pytest.raises(ServerError, match="cannot be used"):
        open_scorer(address(server)).score([TRACE.prefix(1)])
    server.faults = [says(answer)]
    assert open_scorer(address(server)).score([TRACE.prefix(1)]) == [[1.0]]


def test_models_identity_and_options(server):
    key = open_scorer(address(server)).identity.key
    assert open_scorer(address(server, concurrency=3)).identity.key == key
    for other in ({"preset": "reasoned"}, {"votes": 2}, {"max_tokens": 9}, {"seed": 1}):
        assert open_scorer(address(server, **other)).identity.key != key
    server.names = ["a", "b"]
    with pytest.raises(SettingsError, match=r"2 models to score with; choose one by .model=: a, b"):
        open_scorer(address(server))
    assert open_scorer(address(server, model="b")).identity.model == "b"
    for bad in ({"margin": 0.9}, {"batch": 3}, {"temperature": 3}, {"temperature": "hot"}, {"votes": 0}):
        with pytest.raises(SettingsError):
            open_scorer(address(server, model="b", **bad))
    server.token = "t"
    with pytest.raises(ServerError, match="SPARRING_TOKEN"):
        open_scorer(address(server, model="b")).score([TRACE])


# --- on a panel ------------------------------------------------------------------------------------------------------

PROBLEM = Problem("p", "Tom has 3 apples and buys 4. How many?")


def test_a_judge_on_a_panel_is_undecided_without_a_margin(server):
    with Panel([address(server)]) as panel:
        verdict = panel.judge(PROBLEM, (), "He has 3 + 4 = 7")
        assert (verdict.truth, verdict.reason) == ("undecided", "judge:no_margin")
        assert verdict.detail.startswith("score 1.0000, ")
        assert panel.members == ("judge",)
    with Panel(["arithmetic", address(server)], workers=1) as panel:
        found = panel.judge_members(PROBLEM, (), "He has 3 + 4 = 7")
        assert list(found) == ["arithmetic", "judge"] and combine(found).truth == "correct"


def test_a_margin_decides_and_what_is_computed_stands_against_it(server):
    server.logprobs = lambda text: list(
        tokens_of((text, {"Yes": 0.97, "No": 0.03} if text == "Yes" else {"No": 1.0}))
    )
    with Panel([address(server, margin=0.95)]) as panel:
        steps = [(PROBLEM, (), "He is glad"), (PROBLEM, (), "He is wrong"), (PROBLEM, (), "He is glad")]
        assert [verdict.truth for verdict in panel.judge_many(steps)] == ["correct", "wrong", "correct"]
        assert len(server.asked) == 2
        assert panel.record()["judge"]["cost"]["votes"] == 2 and panel.record()["judge"]["margin"] == 0.95
    with Panel([address(server, margin=0.98)]) as panel:
        assert panel.judge(PROBLEM, (), "He is glad").reason == "judge:unsure"
    with Panel([address(server, margin=0.95), "arithmetic"], workers=1) as panel:
        conflict = panel.judge(PROBLEM, (), "3 + 4 = 7, not wrong")
        assert (conflict.truth, conflict.reason) == ("undecided", "panel:conflict")
        # Whatever the judge says
        assert panel.judge(PROBLEM, (), "3 + 4 = 8").reason == "arithmetic:wrong_result"
        against = panel.judge_against(PROBLEM, (), "so it is wrong anyhow", "it is wrong")
        assert against.reason == "judge:original_fails"


def test_a_judge_that_says_nothing_is_undecided_and_one_that_is_gone_an_error(server):
    server.says = lambda asked, body: "who knows"
    with Panel(["arithmetic", address(server, margin=0.9)], workers=1) as panel:
        found = panel.judge_members(PROBLEM, (), "3 + 4 = 7")
        assert found["judge"].reason == "judge:no_verdict" and combine(found).truth == "correct"
        server.faults = [dies] * 3
        with pytest.raises(ServerError):
            panel.judge(PROBLEM, (), "3 + 4 = 7 indeed")


def test_a_whole_solution_judge_says_nothing_after_an_earlier_mistake(server):
    server.says = lambda asked, body: "Step 1: \\boxed{incorrect}"
    with Panel([address(server, preset="thinkprm", margin=0.9)]) as panel:
        assert panel.judge(PROBLEM, ("a",), "b").reason == "judge:earlier_step"
        assert panel.judge(PROBLEM, (), "b").truth == "wrong"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["judge"], "named by its address"),
        (["judge+http://h", "judge+http://i"], "'judge' is given twice"),
        (["judge+http://h?margin=0.4"], "from 0.5 to 1"),
        (["judge+http://h?margin=0.5"], "above 0.5"),
        (["judge+http://h?sceptic=1"], "unknown option 'sceptic'"),
    ],
)
def test_judges_that_cannot_be_members(members, said):
    with pytest.raises(SettingsError, match=said):
        check_members(members)


def test_confirmed_by_a_judge_is_no_ground_against_a_computed_mistake():
    wrong = Verdict("wrong", "algebra:false", "x", (0, 3))
    assert combine({"algebra": wrong, "judge": Verdict("correct", "judge:correct")}) == wrong


def test_the_audit_measures_a_judge_like_every_other(server, tmp_path):
    from io import StringIO

    from rich.console import Console

    from sparring.evaluation.oracle import OracleAuditSettings, audit_oracles
    from test_processbench_command import write_data

    data = write_data(
        tmp_path / "one.json", (1, ["a", "wrong", "b"]), (-1, ["a", "not wrong"]), (0, ["wrong"])
    )
    given = {"members": [address(server, margin=0.9)], "processbench": [str(data)], "resamples": 10}
    out = tmp_path / "run"
    metrics = audit_oracles(OracleAuditSettings.model_validate(given), out, console=Console(file=StringIO()))
    assert metrics["oracle.processbench_one.judge.recall"].value == 1.0
    assert metrics["oracle.processbench_one.judge.false_alarm"].value == pytest.approx(1 / 3)
    written = json.loads((out / "metrics.json").read_text())
    assert written["extra"]["judge"]["cost"]["votes"] == 4 and written["extra"]["judge"]["margin"] == 0.9
