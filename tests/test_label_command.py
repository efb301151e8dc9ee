"""The labelling job as a whole: what it writes, kill -9, and engines and data that misbehave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from conftest import killed
from fake_server import FakeServer, status
from sparring.errors import DataError, SettingsError
from sparring.labels.command import run_label
from sparring.labels.job import labelled_values
from sparring.labels.posterior import best_of_k
from sparring.labels.settings import LabelSettings, ServerSettings
from sparring.models import TINY_POLICY
from sparring.models.loading import load_tokenizer
from sparring.rollouts.engine import Completion, EngineError, Limits, Prefix, Usage
from sparring.runs import read_metrics
from sparring.settings import load_settings
from sparring.traces import Problem, Trace, read_traces, write_problems, write_traces
from sparring.training.supervised import train_supervised
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import judged
from supervised_data import quick


def label(out: Path, *overrides: str, engine: Any = None) -> tuple[list[Trace], str]:
    text = StringIO()
    engines = None if engine is None else (engine, engine)
    settings = load_settings(LabelSettings, None, overrides)
    return run_label(settings, out, Console(file=text, width=200), engines), text.getvalue()


def journal(out: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "journal.jsonl").read_text().splitlines())
    return [entry for line in lines for entry in line.get("done", [])]


class Solver:
    """A policy for sums of two numbers that is right with a probability that depends on the prefix; or misbehaves."""

    name, reproducible = "solver", True

    def __init__(self, write: Callable[[Prefix, int], tuple[str, str]] | None = None) -> None:
        self.usage = Usage()
        self.write = write or self.fair
        self.calls = 0
        self.before_call: Callable[[Sequence[Prefix]], None] = lambda prefixes: None

    @staticmethod
    def fair(prefix: Prefix, number: int) -> tuple[str, str]:
        """Two steps; a wrong first one is never mended, a right one leads to the answer three times of four."""
        right = str(prefix.problem.answer)
        if not prefix.steps:
            first = "wrong" if number % 2 else "right"
            return (f"{first}\n#### {right if first == 'right' and number % 8 else 0}\n", "end")
        done = prefix.steps[-1].startswith("####")
        good = prefix.steps[0] == "right" and number % 4 > 0
        return ("" if done else f"#### {right if good else 0}", "end")

    def sample(
        self,
        prefixes: Sequence[Prefix],
        n: int,
        *,
        limits: Limits,
        seeds: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        self.calls += 1
        self.before_call(prefixes)
        return [
            [
                Completion(*[text, (), (), finish])
                for j in range(n)
                for text, finish in [self.write(prefix, seed + j)]
            ]
            for prefix, seed in zip(prefixes, seeds, strict=True)
        ]


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    problems = [Problem(f"p{i}", f"{i} + 1 = ?", str(i + 1)) for i in range(12)]
    write_problems(tmp_path / "sums.jsonl", problems)
    return tmp_path / "sums.jsonl"


# --- what it writes ------------------------------------------------------------------------------------------


def test_values_are_shares_of_right_rollouts(tmp_path, sums):
    traces, shown = label(tmp_path / "run", f"data={sums}", "n_cov=6", "n_mc=16", engine=Solver())
    assert traces == read_traces(tmp_path / "run" / "traces.jsonl")
    assert len(traces) == 72 and "72 solutions" in shown
    for trace in traces:
        first, last = trace.estimates
        assert (last.count, last.value) == (0, float(trace.outcome))
        assert first.count == 16 and (first.value == 0.0 or first.low < first.value < first.high)
        assert first.value == (0.75 if trace.steps[0] == "right" else 0.0) == trace.labels[0]
        assert trace.meta["root_count"] == 16 and 0.2 < trace.meta["root_value"] < 0.6
    values = labelled_values(tmp_path / "run")
    assert [len(one.values) for one in values] == [3] * 72
    assert values[0].counts.tolist() == [16, 16, 0]
    assert np.allclose(values[0].values[1:], traces[0].labels)
    metrics = read_metrics(tmp_path / "run")
    # Prefixes shared by several solutions of a problem are measured once.
    prefixes = {(t.problem.id, t.steps[:length]) for t in traces for length in (0, 1)}
    assert metrics["label.prefixes"].value == len(prefixes)
    assert metrics["label.rollouts"].value == 16 * len(prefixes)


def test_stop_texts_reach_the_engine_and_unread_answers_are_counted(tmp_path, sums):
    asked = set()

    class Watched(Solver):
        def sample(self, prefixes, n, *, stop=(), **rest):
            asked.add(tuple(stop))
            return super().sample(prefixes, n, **rest)

    engine = Watched(
        lambda prefix, number: ("#### no idea of it" if prefix.steps else "so\n#### 1, 2, ...", "end")
    )
    options = (f"data={sums}", "n_cov=1", "n_mc=2", "problems=2")
    _, shown = label(tmp_path / "run", *options, 'stop=["\\n\\nQuestion:"]', engine=engine)
    assert asked == {("\n\nQuestion:",)}
    metrics = read_metrics(tmp_path / "run")
    assert metrics["label.rollouts_unreadable"].value > 0
    assert metrics["label.rollouts_without_answer"].value == 0
    assert "solution with an unreadable answer: 2" in shown


def test_hard_labels_best_of_k_and_posterior_means(tmp_path, sums):
    common = (f"data={sums}", "n_cov=2", "n_mc=8", "problems=4")
    soft, _ = label(tmp_path / "soft", *common, engine=Solver())
    hard, _ = label(tmp_path / "hard", *common, "label=hard", engine=Solver())
    best, _ = label(tmp_path / "best", *common, "prover=best-of-4", engine=Solver())
    mean, _ = label(tmp_path / "mean", *common, "label=posterior_mean", engine=Solver())
    for one, two, three, four in zip(soft, hard, best, mean, strict=True):
        assert two.labels == tuple(float(value > 0) for value in one.labels)
        assert two.estimates == one.estimates
        assert three.labels == pytest.approx([best_of_k(value, 4) for value in one.labels])
        assert four.labels[0] == pytest.approx((8 * one.labels[0] + 1) / 10)


def test_given_solutions_are_labelled_in_place(tmp_path):
    problem = Problem("p", "2 + 1 = ?", "3")
    given = [
        Trace(problem, ("right", "#### 3"), source="me", meta={"note": 1}),
        Trace(problem, ("wrong", "#### 0"), outcome=False),
        Trace(problem, ("right",)),
        Trace(Problem("unanswered", "why?"), ("because",)),
        Trace(Problem("p", "another question", "3"), ("#### 3",)),
    ]
    write_traces(tmp_path / "in.jsonl", given)
    engine = Solver()
    traces, shown = label(tmp_path / "run", f"data={tmp_path / 'in.jsonl'}", "solutions=given", engine=engine)
    assert [trace.steps for trace in traces] == [one.steps for one in given[:3]]
    assert [trace.outcome for trace in traces] == [True, False, None]
    assert (traces[0].source, traces[0].meta["note"]) == ("me", 1)
    assert traces[2].labels[0] == 0.75 and traces[2].estimates[0].count == 8  # not finished, hence measured
    assert "problem without a reference answer: 1" in shown
    assert "solution of another problem with the same id: 1" in shown


@pytest.mark.parametrize("sorted_by_problem", [True, False])
def test_a_record_that_the_reader_skips_is_counted_once(tmp_path, sorted_by_problem):
    rows = [
        {"question": {"problem": f"{number} + 1 = ?", "ground_truth_answer": str(number + 1)},
         "label": {"steps": [{"completions": [{"text": text, "rating": rating}], "chosen_completion": 0}],
                   "finish_reason": "solution"}}
        for number, text, rating in ((2, "right", 1), (2, "wrong", -1), (5, "right", 1))
    ]  # fmt: skip
    bad = {"question": rows[0]["question"], "label": {"steps": [], "finish_reason": "found_error"}}
    rows = [*rows[:2], bad, rows[2]] if sorted_by_problem else [rows[0], bad, rows[2], rows[1]]
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = (f"data={file}", "data_format=prm800k", "solutions=given")
    traces, shown = label(tmp_path / "run", *words, engine=Solver())
    assert len(traces) == 3 and "record skipped by the reader: 1" in shown
    extra = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["extra"]
    assert extra["counts"]["record skipped by the reader"] == 1


@pytest.mark.parametrize("mode", ["binary_search", "first_pit"])
def test_search_modes(tmp_path, sums, mode):
    traces, shown = label(
        tmp_path / "run", f"data={sums}", "n_cov=6", "n_mc=16", f"mode={mode}", engine=Solver()
    )
    wrong_first = [trace for trace in traces if trace.steps[0] == "wrong"]
    slipped = [trace for trace in traces if trace.steps[0] == "right" and not trace.outcome]
    assert wrong_first and slipped
    assert all(trace.labels == (0.0, None) for trace in wrong_first)
    assert all(trace.first_error == 1 for trace in slipped)
    kind = "first error found" if mode == "binary_search" else "pit found"
    assert f"{kind}: {len(wrong_first) + len(slipped)}" in shown
    if mode == "first_pit":
        assert all(trace.outcome is False for trace in traces)
        assert {trace.estimates[0].count for trace in slipped} == {20}


class Slips(Solver):
    """Writes a chain problem's reference solution, every other time with a wrong result in its second step."""

    @staticmethod
    def fair(prefix: Prefix, number: int) -> tuple[str, str]:
        steps = list(prefix.problem.solution or ())
        if number % 2:
            head, _, result = steps[1].rpartition(" ")
            steps[1] = f"{head} {(int(result) + 1) % 13}"
        return "\n".join(steps), "end"


def test_an_oracle_labels_what_the_policy_writes_without_a_rollout(tmp_path, tiny_folder):
    options = ("problems=12", "n_cov=4", "mode=oracle")
    traces, shown = label(tmp_path / "run", *options, engine=Slips())
    assert len(traces) == 48 and len(journal(tmp_path / "run")) == 12
    for trace in traces:
        exact = judged(ChainWorld(), trace)
        assert (trace.labels, trace.outcome) == (exact.labels, exact.outcome)
    assert {trace.meta["walk"] for trace in traces} == {"wrong step", "all correct"}
    assert "wrong step: 24" in shown and "0 rollouts" in shown
    again, _ = label(tmp_path / "run", *options, engine=Slips())
    assert again == traces
    data = tmp_path / "run" / "traces.jsonl"
    settings = quick("prm", tiny_folder, data, epochs=1, max_updates=2)
    metrics = read_metrics(train_supervised(settings, tmp_path / "prm").parent)
    assert metrics["training.traces"].value + 4 * 3 == 48  # a quarter of the problems is held out


def test_for_problems_of_a_file_the_panel_is_the_oracle(tmp_path, sums):
    engine = Solver(lambda prefix, number: (f"1 + {number % 2 + 1} = 2\nso\n#### 2", "end"))
    traces, _ = label(tmp_path / "run", f"data={sums}", "mode=oracle", "oracle=[arithmetic]", engine=engine)
    labels = {trace.steps[0]: trace.labels for trace in traces}
    assert labels == {"1 + 1 = 2": (1.0, None, None), "1 + 2 = 2": (0.0, None, None)}


def test_adaptive_allocation_spends_less_for_the_same_hard_labels(tmp_path, sums):
    common = (f"data={sums}", "n_cov=6", "n_mc=16", "label=hard")
    uniform, _ = label(tmp_path / "uniform", *common, engine=Solver())
    adaptive, _ = label(tmp_path / "adaptive", *common, "adaptive=true", engine=Solver())
    assert [t.labels for t in uniform] == [t.labels for t in adaptive]
    spent = [read_metrics(tmp_path / name)["label.rollouts"].value for name in ("uniform", "adaptive")]
    assert spent[1] < 0.7 * spent[0]


def test_batches_do_not_change_the_result(tmp_path):
    common = ("problems=2", "n_cov=2", "n_mc=3", "seed=1")
    one, _ = label(tmp_path / "one", *common, "batch=1")
    many, _ = label(tmp_path / "many", *common, "batch=50", "row_budget=7")
    assert one == many and len(one) == 4
    other, _ = label(tmp_path / "other", *common[:3], "seed=2")
    assert other != one


# --- kill -9 -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_result(tmp_path):
    overrides = ("problems=4", "n_cov=2", "n_mc=4", "adaptive=true", "adaptive_first=2", "adaptive_round=2")
    expected, _ = label(tmp_path / "whole", *overrides)
    out = tmp_path / "killed"
    sizes = []
    for records in (2, 11):
        killed(["label", *overrides, "batch=1", "--out", str(out)], records, "sparring.journals:Journal.add")
        sizes.append(len((out / "journal.jsonl").read_bytes().splitlines()))
        if records == 2:  # a torn last line, as a power cut leaves it
            with (out / "journal.jsonl").open("ab") as file:
                file.write(b'{"problem": 1, "prefi')
    label(out, *overrides)
    sizes.append(len((out / "journal.jsonl").read_bytes().splitlines()))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert read_traces(out / "traces.jsonl") == expected
    rounds = Counter((one["problem"], one["prefix"]) for one in journal(out) if "prefix" in one)
    whole = Counter((one["problem"], one["prefix"]) for one in journal(tmp_path / "whole") if "prefix" in one)
    assert rounds == whole  # nothing was made twice, nothing is missing
    # Once more: nothing is left to do, and the files are the same.
    before = (out / "journal.jsonl").read_bytes()
    again, shown = label(out, *overrides)
    assert again == expected and "continuing" in shown and (out / "journal.jsonl").read_bytes() == before


def test_a_run_directory_of_another_job_is_refused(tmp_path, sums):
    label(tmp_path / "run", f"data={sums}", "problems=2", engine=Solver())
    with pytest.raises(SettingsError, match="n_mc"):
        label(tmp_path / "run", f"data={sums}", "problems=2", "n_mc=9", engine=Solver())
    label(tmp_path / "run", f"data={sums}", "problems=2", "batch=3", engine=Solver())
    with sums.open("a") as file:
        file.write("\n")
    with pytest.raises(SettingsError, match="data_digest"):
        label(tmp_path / "run", f"data={sums}", "problems=2", engine=Solver())
    (tmp_path / "run" / "journal.jsonl").write_text('{"job": 7}\n')
    with pytest.raises((SettingsError, DataError), match=r"journal\.jsonl"):
        label(tmp_path / "run", f"data={sums}", engine=Solver())


# --- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "counted"),
    [
        (lambda prefix, number: ("on and on " * 50, "length"), "solution unfinished: 8"),
        (lambda prefix, number: ("", "end"), "solution empty: 8"),
        (lambda prefix, number: ("\n \n\n", "end"), "solution empty: 8"),
    ],
)
def test_policies_that_never_write_a_solution(tmp_path, sums, write, counted):
    settings = load_settings(LabelSettings, None, [f"data={sums}", "problems=4", "n_cov=2"])
    console, engine = Console(file=StringIO(), width=200), Solver(write)
    with pytest.raises(DataError, match="no solution is labelled: all were left out") as refused:
        run_label(settings, tmp_path / "run", console, (engine, engine))
    assert str(sums) in str(refused.value) and counted in console.file.getvalue()  # type: ignore[attr-defined]
    assert read_traces(tmp_path / "run" / "traces.jsonl") == []
    assert read_metrics(tmp_path / "run")["label.solution_accuracy"].value is None


def test_labels_of_which_none_is_known_are_said(tmp_path, sums):
    settings = load_settings(LabelSettings, None, [f"data={sums}", "problems=2", "n_cov=1", "mode=oracle"])
    console, engine = Console(file=StringIO(), width=200), Solver(lambda prefix, number: ("Hmm.", "end"))
    run_label(settings, tmp_path / "run", console, (engine, engine))
    assert "warning: no step is labelled: none of the 2 steps could be judged" in console.file.getvalue()  # type: ignore[attr-defined]
    assert [trace.labels for trace in read_traces(tmp_path / "run" / "traces.jsonl")] == [(None,)] * 2


def test_rollouts_that_never_end_are_empty_or_unreadable_count_as_wrong_and_are_counted(tmp_path, sums):
    def write(prefix: Prefix, number: int) -> tuple[str, str]:
        if not prefix.steps:
            return ("right\nno number\n", "end")
        return [
            ("#### 99999" * 100, "length"),
            ("", "end"),
            ("?\ufffd\u0000", "end"),
            (f"#### {prefix.problem.answer}", "end"),
        ][number % 4]

    traces, shown = label(
        tmp_path / "run", f"data={sums}", "problems=3", "n_cov=1", "n_mc=8", engine=Solver(write)
    )
    assert [trace.outcome for trace in traces] == [False] * 3
    assert {trace.labels for trace in traces} == {(0.25, 0.0)}
    assert "solution without an answer: 3" in shown
    assert "rollout unfinished: 6" in shown and "rollout empty: 6" in shown
    # "right" alone, "?" and the rollouts of the bare question state no answer.
    assert read_metrics(tmp_path / "run")["label.rollouts_without_answer"].value == 3 * (2 + 2 + 8)


def test_a_refused_prefix_is_counted_and_the_others_go_on(tmp_path, sums):
    def refuse(prefixes: Sequence[Prefix]) -> None:
        if any(prefix.problem.id == "p1" and prefix.steps for prefix in prefixes):
            raise DataError("problem 'p1': too long")

    engine = Solver()
    engine.before_call = refuse
    traces, shown = label(tmp_path / "run", f"data={sums}", "problems=4", "n_cov=1", engine=engine)
    assert len(traces) == 4 and "refused: 1" in shown
    [refused] = [trace for trace in traces if trace.problem.id == "p1"]
    assert refused.labels[0] is None and refused.estimates[0] is None
    assert all(trace.labels[0] is not None for trace in traces if trace is not refused)
    calls = engine.calls
    label(tmp_path / "run", f"data={sums}", "problems=4", "n_cov=1", engine=engine)
    assert engine.calls == calls  # not tried again


def test_an_engine_that_refuses_everything_is_given_up(tmp_path, sums):
    def refuse(prefixes: Sequence[Prefix]) -> None:
        raise DataError("unknown field")

    write_problems(sums, [Problem(str(i), f"{i}?", "1") for i in range(60)])
    engine = Solver()
    engine.before_call = refuse
    with pytest.raises(EngineError, match=r"each of the first 20.*unknown field"):
        label(tmp_path / "run", f"data={sums}", engine=engine)


def test_an_engine_that_dies_in_the_middle_loses_nothing_finished(tmp_path, sums):
    expected, _ = label(tmp_path / "whole", f"data={sums}", engine=Solver())
    engine = Solver()

    def die(prefixes: Sequence[Prefix]) -> None:
        if engine.calls % 3 == 0:
            raise EngineError("the server is gone")

    engine.before_call = die
    seen = 0
    attempts = 0
    while True:
        attempts += 1
        try:
            traces, _ = label(tmp_path / "run", f"data={sums}", "batch=4", engine=engine)
            break
        except EngineError:
            assert len(journal(tmp_path / "run")) >= seen
            seen = len(journal(tmp_path / "run"))
    assert attempts > 3 and traces == expected
    keys = [(one["problem"], one["prefix"]) for one in journal(tmp_path / "run") if "prefix" in one]
    assert len(keys) == len(set(keys))


def test_data_that_cannot_be_judged_is_refused(tmp_path):
    write_problems(tmp_path / "a.jsonl", [Problem("p", "why?")])
    with pytest.raises(DataError, match="no problem has a reference answer"):
        label(tmp_path / "run", f"data={tmp_path / 'a.jsonl'}", engine=Solver())
    write_problems(tmp_path / "b.jsonl", [Problem("p", "why?", "1")])
    with pytest.raises(DataError):
        label(tmp_path / "run", f"data={tmp_path / 'b.jsonl'}", "checker=chain", engine=Solver())


# --- through a server ----------------------------------------------------------------------------------------


def test_a_job_through_a_server_that_fails_now_and_then_and_then_dies(tmp_path):
    """A fake server that solves chain problems: the whole way from settings to labels, with faults in the middle."""
    server = FakeServer()
    problems = generate_problems(4, steps=(3, 3), seed=0, name="label")
    solutions = {problem.question: problem.solution for problem in problems}
    tokenizer = load_tokenizer(TINY_POLICY)

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        text = tokenizer.decode(body["prompt"])
        question, *steps = [line.strip() for line in text.split("\n") if line.strip()]
        # Asked something else, a policy says something else each time.
        rest = list(solutions.get(question, (f"a = {body['seed']}",))[len(steps) :])
        if body["seed"] % 3 == 0 and rest:
            rest[-1] = rest[-1].rpartition(" ")[0] + " 99"
        return {"choices": [{"text": "\n".join(rest), "finish_reason": "stop"}]}

    server.answer = answer
    settings = LabelSettings(
        policy=server.url, problems=4, chain_steps=(3, 3), n_cov=1, n_mc=4, batch=2,
        server=ServerSettings(kind="llama.cpp", tokenizer=TINY_POLICY, retries=2, timeout=60.0),
    )  # fmt: skip
    quiet = Console(file=StringIO())
    try:
        server.faults = [status(500), status(503, Retry_After="0")] * 2
        whole = run_label(settings, tmp_path / "whole", quiet)
        server.answer = lambda body: answer(body) if len(server.asked) % 40 else {"rubbish": True}
        run_label(settings, tmp_path / "rubbish", quiet)
        assert read_traces(tmp_path / "rubbish" / "traces.jsonl") == whole
        server.answer = answer
        already = len(server.asked)
        faulty = settings.model_copy(update={"server": settings.server.model_copy(update={"retries": 0})})
        server.answer = lambda body: answer(body) if len(server.asked) < already + 20 else {"rubbish": True}
        with pytest.raises(EngineError, match="nothing usable in one try"):
            run_label(faulty, tmp_path / "dies", quiet)
        finished = len(journal(tmp_path / "dies"))
        assert finished > 2
        server.answer = answer
        run_label(settings, tmp_path / "dies", quiet)
        assert read_traces(tmp_path / "dies" / "traces.jsonl") == whole
        assert len(whole) == 4 and all(
            judged(ChainWorld(), trace).outcome == trace.outcome for trace in whole
        )
    finally:
        server.shutdown()
        server.server_close()
    content = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert content["extra"]["reproducible"] is False
