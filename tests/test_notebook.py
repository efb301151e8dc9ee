"""Sparring from Python: three lines to a score, coloured steps in terminal and notebook, files and tables."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from html import escape
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import sparring as sp
from format_records import RECORDS
from rl_data import random_prm
from sparring.errors import DataError, SettingsError
from sparring.fingerprints import Identity
from sparring.models.scorer import load_scorer
from sparring.notebook import Prm
from sparring.runs import Metric, write_metrics
from sparring.search.aggregation import aggregation_for
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Estimate, Problem, Trace
from sparring.traces.shown import ScoredTrace, steps_html

QUESTION = "mod 13 : b is 7 ; c = b + 5 ; d = c * b ; find d"
STEPS = ["c = b + 5 = 7 + 5 , c is 12", "d = c * b = 12 * 7 , d is 6"]


class Fixed:
    """A scorer that answers what it was told."""

    threshold, threshold_rule = 0.5, "fixed 0.5"
    identity = Identity("somewhere", "m", "", "k")

    def __init__(self, *rows: list[float]) -> None:
        self.rows = [list(row) for row in rows]

    def score(self, traces, progress=None):
        return self.rows


@pytest.fixture(scope="module")
def prm_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_prm(tiny_folder, tmp_path_factory.mktemp("prm") / "prm", meaning="correctness")


def shown(thing: object) -> str:
    console = Console(width=100, color_system="truecolor", force_terminal=True)
    with console.capture() as capture:
        console.print(thing)
    return capture.get()


def test_three_lines_score_a_solution_and_equal_the_scorer(prm_folder):
    prm = sp.load(prm_folder)
    scores = prm.score(QUESTION, STEPS)
    trace = Trace(Problem("1", QUESTION), tuple(STEPS))
    assert scores == load_scorer(prm_folder).score([trace])[0]
    assert prm.score([trace, trace]) == [scores, scores]
    done: list[int] = []
    prm.score([trace], progress=done.append)
    assert done == [1]
    assert prm.score(QUESTION, "\n".join(STEPS)) == scores  # a text is split
    assert prm.score(trace.problem, STEPS) == scores
    assert "correctness" in repr(prm) and str(prm_folder) in repr(prm)


def test_what_is_loaded_stands_in_for_its_scorer(prm_folder):
    prm = sp.load(prm_folder, threshold=0.25)
    assert prm.threshold == 0.25 and prm.sidecar.meaning == "correctness"
    assert aggregation_for(prm) == aggregation_for(prm.scorer) and prm.prefix_cache() is not None
    assert copy.copy(prm).threshold == 0.25
    with pytest.raises(AttributeError):
        _ = prm.nothing_like_this


def test_a_scored_trace_shows_its_steps_as_text(prm_folder):
    scored = sp.load(prm_folder).trace(QUESTION, STEPS)
    assert scored.value == min(scored.scores) and scored.aggregation == "min" and scored.steps == tuple(STEPS)
    for text in (shown(scored), str(scored), scored._repr_html_()):
        assert "d is 6" in text and f"{scored.scores[1]:.3f}" in text
    assert "find d" in shown(scored) and "find d" in scored._repr_html_()


def test_colours_say_what_the_threshold_says_and_markup_has_no_effect():
    trace = Trace(Problem("1", "<b>?</b>"), ("[red]a[/red]", "<script>alert(1)</script>", "c\x1b[2J"))
    scored = ScoredTrace(trace, (0.9, 0.2), threshold=0.5, threshold_rule="fixed 0.5")
    assert scored.first_error == 1
    html, terminal = scored._repr_html_(), shown(scored)
    assert "<script>" not in html and "&lt;script&gt;" in html and "\x1b" not in html and "<b>" not in html
    assert "[red]a[/red]" in terminal and "\x1b[2J" not in terminal
    assert html.index("#1e8449") < html.index("#c0392b") and "–" in html  # right, wrong, not scored
    assert ScoredTrace(trace, (0.9, 0.8, 0.7)).first_error is None


def test_labels_of_a_trace_are_shown_too():
    trace = Trace(Problem("1", "?"), ("a", "b", "c"), (1.0, 0.0, None))
    assert "1.000" in shown(trace) and "0.000" in trace._repr_html_() and "unknown" in trace._repr_html_()
    assert "no labels" in shown(Trace(Problem("1", "?"), ("a",)))


@given(st.text(min_size=1, max_size=30).filter(str.strip))
def test_any_text_is_text(text):
    trace = Trace(Problem("1", text), (text,)) if text.isprintable() else Trace(Problem("1", "?"), ("?",))
    html = steps_html(trace, (0.5,), 0.5)
    assert html.count("<") == steps_html(Trace(Problem("1", "?"), ("?",)), (0.5,), 0.5).count("<")
    assert escape(trace.steps[0]) in html


@pytest.mark.parametrize(
    ("rows", "said"),
    [([[0.5]], "2 steps but 1 score"), ([[0.5, float("nan")]], "NaN"), ([[0.5, 2.0]], "out of range"), ([], "0 rows")],
)  # fmt: skip
def test_a_score_that_is_none_is_an_error_and_never_a_number(rows, said):
    with pytest.raises(DataError, match=said):
        Prm(Fixed(*rows)).score(QUESTION, STEPS)


def test_bad_arguments_are_named():
    prm = Prm(Fixed([0.5, 0.5]))
    with pytest.raises(DataError, match="at least one step"):
        prm.score(QUESTION, [])
    with pytest.raises(DataError, match="question is empty"):
        prm.score(" ", STEPS)
    with pytest.raises(SettingsError, match="traces hold their steps"):
        prm.score([Trace(Problem("1", QUESTION), tuple(STEPS))], STEPS)  # type: ignore[call-overload]


def test_steps_that_are_dropped_are_told_of(tmp_path):
    scorer = Fixed([0.5], [0.5, 0.6])
    scorer.overflow = "drop_steps"
    pair = [Trace(Problem(name, "q"), ("a", "b")) for name in "xy"]
    with pytest.warns(
        UserWarning, match="too long for the PRM, and without a score: 1 last step of 1 of 2 traces"
    ) as told:
        assert Prm(scorer).score(pair) == [[0.5], [0.5, 0.6]]
    assert told[0].filename == __file__


def test_the_solutions_of_a_demo_are_read(tmp_path):
    (tmp_path / "solutions.jsonl").write_text(json.dumps(RECORDS["demo"]) + "\n", encoding="utf-8")
    [trace] = sp.read(tmp_path / "solutions.jsonl")
    assert (trace.labels, trace.outcome, trace.first_error) == ((0.0, None), False, 0)
    assert list(sp.read(tmp_path)) == [trace]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RECORDS if name != "math_steps"])
def test_every_format_is_read(name, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps(RECORDS[name]) + "\n", encoding="utf-8")
    traces = sp.read(file)
    assert len(traces) + len(traces.skipped) >= 1 and all(isinstance(one, Trace) for one in traces)


def test_parquet_and_runs_are_read(tmp_path):
    record = {"prompt": "1 + 1?", "completions": ["1 + 1 = 2"], "labels": [True]}
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([record, record]), tmp_path / "set" / "train.parquet"
    )
    traces = sp.read(tmp_path / "set")
    assert len(traces) == 2 and len(traces.problems) == 1 and traces[0].labels == (1.0,)
    assert "1 + 1 = 2" in traces._repr_html_()
    write_traces(tmp_path / "traces.jsonl", traces)
    assert sp.read(tmp_path) == list(traces)
    with pytest.raises(DataError, match=r"neither traces\.jsonl nor data files"):
        sp.read(tmp_path / "nothing" if (tmp_path / "nothing").mkdir() is None else "")
    with pytest.raises(DataError, match="no such file"):
        sp.read(tmp_path / "absent.parquet")


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_run_is_a_table_of_steps(tmp_path):
    pytest.importorskip("pandas", reason="tables need the extra pandas")
    traces = [
        Trace(Problem("a", "?", answer="1"), ("x", "y"), (1.0, 0.0), False,
              estimates=(Estimate(0.5, 4, 0.2, 0.8), None)),
        Trace(Problem("b", "?"), ("z",)),
    ]  # fmt: skip
    write_traces(tmp_path / "traces.jsonl", traces)
    write_metrics(tmp_path, {"label.x": Metric(0.5, 0.4, 0.6, 9, "fraction")}, settings={}, seed=0)
    table = sp.frame(tmp_path)
    assert list(table["id"]) == ["a", "a", "b"] and list(table["step"]) == [0, 1, 0]
    assert list(table["text"]) == ["x", "y", "z"] and table["label"].tolist()[:2] == [1.0, 0.0]
    assert table["estimate_value"].tolist()[0] == 0.5 and table["estimate_count"].tolist()[0] == 4
    assert sp.frame(traces).equals(table)
    metrics = sp.frame(tmp_path, "metrics")
    wanted = {"name": "label.x", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "unit": "fraction"}
    assert metrics.loc[0].to_dict() == wanted
    scored = sp.frame([ScoredTrace(traces[0], (0.9,))])
    assert scored["score"].tolist()[0] == 0.9 and scored["score"].isna().tolist() == [False, True]


def test_score_files_and_logs_are_tables(tmp_path):
    pytest.importorskip("pandas", reason="tables need the extra pandas")
    (tmp_path / "scores.jsonl").write_text(
        '{"id": "a", "scores": [0.1, 0.2]}\n{"id": "b", "scores": [0.3]}\n'
    )
    assert list(sp.frame(tmp_path / "scores.jsonl")["score"]) == [0.1, 0.2, 0.3]
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n')
    assert list(sp.frame(tmp_path)["step"]) == [1, 2]
    (tmp_path / "run").mkdir()
    for outside in ("../log.jsonl", str(tmp_path / "log.jsonl")):
        with pytest.raises(SettingsError, match="is not a file of the run"):
            sp.frame(tmp_path / "run", outside)
    with pytest.raises(SettingsError, match="no run's directory"):
        sp.frame(tmp_path / "log.jsonl", "metrics")
    with pytest.raises(DataError, match="holds none of"):
        (tmp_path / "empty").mkdir()
        sp.frame(tmp_path / "empty")


def test_without_pandas_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        SettingsError, match=r"'sparring\[pandas\]' \(in a clone: pip install -e '\.\[pandas\]'\)"
    ):
        sp.frame(tmp_path)


def test_importing_stays_light():
    code = "import sys, sparring; heavy = {'torch', 'pandas', 'datasets', 'rich'} & set(sys.modules); print(heavy)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_scored_trace_travels():
    scored = ScoredTrace(Trace(Problem("1", "?"), ("a",)), (0.5,))
    assert pickle.loads(pickle.dumps(scored)) == scored
