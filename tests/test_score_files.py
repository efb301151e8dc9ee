"""Score files: what is read, what is refused and where; scoring that survives being stopped."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from conftest import killed
from sparring.__main__ import app
from sparring.errors import DataError, SettingsError, SparringError
from sparring.evaluation.scores import (
    checked_scores,
    read_scores,
    score_file,
    stream_scores,
    traces_digest,
    write_scores,
)
from sparring.fingerprints import folder_identity
from sparring.models.scorer import Scorer, load_scorer
from sparring.models.text_layout import UnknownTokens
from sparring.traces.ids import distinct_ids
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Problem, Trace
from sparring.traces.shown import colour, plain
from sparring.traces.spans import Layout


class LengthScorer:
    """Scores a step by its length; can be told to fail at a trace."""

    threshold = 0.5

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.seen: list[str] = []

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        if any(trace.problem.id == self.fails_at for trace in traces):
            raise KeyboardInterrupt
        self.seen += [trace.problem.id for trace in traces]
        return [[1 / len(step) for step in trace.steps] for trace in traces]


def some_traces(count: int) -> list[Trace]:
    return [Trace(Problem(f"p{n}", f"question {n}"), ("a" * (n + 1), "bb")) for n in range(count)]


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# reading


@settings(max_examples=30)
@given(st.dictionaries(st.text(min_size=1), st.lists(st.floats(0, 1), min_size=1), min_size=1))
def test_scores_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, scores: dict[str, list[float]]
) -> None:
    if any("\ud800" <= mark <= "\udfff" for name in scores for mark in name):
        return
    path = tmp_path_factory.mktemp("scores") / "scores.jsonl"
    write_scores(path, scores.items())
    assert {name: list(row.scores) for name, row in read_scores(path).items()} == scores


def test_one_of_several_models_is_chosen_by_name(tmp_path: Path) -> None:
    path = lines(tmp_path / "two.jsonl", {"id": "a", "m-one": [0.1], "m-two": [0.2], "note": "x"})
    assert read_scores(path, model="m-two")["a"].scores == [0.2]
    with pytest.raises(SettingsError, match="choose one of m-one, m-two"):
        read_scores(path)
    with pytest.raises(
        SettingsError, match=r"two\.jsonl:1: no scores of model 'm-tow' \(did you mean 'm-two'"
    ):
        read_scores(path, model="m-tow")
    single = lines(tmp_path / "one.jsonl", {"id": "a", "m-one": [0.1]})
    assert read_scores(single)["a"].scores == [0.1]


def test_several_files_are_joined_and_ids_stay_unique(tmp_path: Path) -> None:
    one = lines(tmp_path / "one.jsonl", {"id": "a", "scores": [0.1]})
    two = lines(tmp_path / "two.jsonl", {"id": "b", "scores": [0.2]}, {"id": "a", "scores": [0.3]})
    three = lines(tmp_path / "three.jsonl", {"id": "c", "scores": [0.2]})
    assert list(read_scores([one, three])) == ["a", "c"]
    with pytest.raises(DataError, match=r"two\.jsonl:2: field 'id': id 'a' stands at .*one\.jsonl:1 already"):
        read_scores([one, two])
    with pytest.raises(DataError, match="stands at"):
        read_scores([one, one])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no scores"),
        ("\n\n", "no scores"),
        ("{", ":1"),
        ("[1]", ":1: expected an object, got a number \\(record 1 of the JSON array"),
        ('[{"id": "a", "scores": [1]}, {"id": "b", "scores": "x"}]', ":2: field 'scores'.*record 2"),
        ('[{"id": "a", "scores": [1]}, {"id": "b", "scores": [NaN]}]', ":2: NaN.*record 2"),
        ('[{"id": "a", "scores": [1]}, {"id": "b", "id": "c"}]', ":2: field 'id'.*record 2"),
        ('[{"id": "a", "scores": [1]} {}]', "after record 1"),
        ('[{"id": "a", "scores": [1]},', ":2: the JSON ends in the middle.*record 2"),
        ('[{"id": "a", "scores": [1]}] x', "Extra data behind the array"),
        ('{"scores": [1]}', "field 'id'"),
        ('{"id": 3, "scores": [1]}', "field 'id'"),
        ('{"id": "a"}', "field 'scores'"),
        ('{"id": "a", "scores": 1}', "field 'scores'"),
        ('{"id": "a", "scores": null}', "field 'scores'"),
        ('{"id": "a", "scores": [NaN]}', ":1"),
        ('{"id": "a", "scores": [1]}\n\n{"id": "b", "scores": "x"}', ":3"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_scores(path)
    with pytest.raises(DataError, match=r"scores\.jsonl"):
        read_scores(path)


@given(st.binary(max_size=60))
def test_any_bytes_give_rows_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "scores.jsonl"
    path.write_bytes(content)
    with pytest.raises(SparringError):
        read_scores(path)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        read_scores(tmp_path / "nothing.jsonl")


# the check


def test_good_scores_pass() -> None:
    assert checked_scores([0, 1.0, 0.5], 3, "a") == (0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.5], "2 steps but 1 score"),
        ([0.5, 0.5, 0.5], "2 steps but 3 scores"),
        ([0.5, None], r"scores\[1\].*null"),
        ([0.5, math.nan], r"scores\[1\].*NaN"),
        ([math.inf, 0.5], r"scores\[0\].*out of range"),
        ([0.5, -0.001], r"logits"),
        ([3.2, 0.5], r"logits"),
        ([1.0000001, 0.5], r"score 1\.0000001 is out of range"),
        ([-1e-12, 0.5], r"score -1e-12 is out of range"),
        ([0.5, 1 + 2**-52], r"score 1\.0000000000000002 is out of range"),
        ([10**400, 0.5], r"about 400 digits is out of range"),
        ([0.5, -(10**5000)], r"about 5000 digits is out of range"),
        ([True, 0.5], r"expected a number, got a bool"),
        (["0.5", 0.5], r"expected a number, got a str"),
    ],
)
def test_unusable_scores_are_refused_with_the_id(scores: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        checked_scores(scores, 2, "case-7")
    with pytest.raises(DataError, match="case-7"):
        checked_scores(scores, 2, "case-7")


# scoring


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


def score_traces(
    scorer, traces, *, journal: Path, console: Console, batch: int | None = None, name: str = "s"
):
    made = stream_scores(
        scorer, lambda: traces, journal=journal, scorer_name=name, batch=batch, console=console,
        total=len(traces),
    )  # fmt: skip
    return [row for _, row in made]


def test_stopped_scoring_continues_to_the_same_result(tmp_path: Path) -> None:
    traces, journal = some_traces(7), tmp_path / "journal"
    whole = score_traces(LengthScorer(), traces, journal=tmp_path / "other", console=quiet())
    with pytest.raises(KeyboardInterrupt):
        score_traces(LengthScorer("p5"), traces, journal=journal, batch=2, console=quiet())
    with journal.open("a") as file:
        file.write('{"id": "p4", "sco')  # killed while writing
    again = LengthScorer()
    console = quiet()
    resumed = score_traces(again, traces, journal=journal, batch=2, console=console)
    assert resumed == whole
    assert again.seen == ["p4", "p5", "p6"]
    assert "continuing: 4 of 7" in console.file.getvalue()


def test_journal_of_something_else_is_refused_and_left(tmp_path: Path) -> None:
    traces, journal = some_traces(4), tmp_path / "journal"
    score_traces(LengthScorer(), traces, journal=journal, console=quiet())
    kept, again = journal.read_bytes(), LengthScorer()
    for changed, name, said in ((traces, "t", "scorer"), ([*some_traces(9)[4:], traces[3]], "s", "traces")):
        with pytest.raises(
            SettingsError, match=f"journal belongs to another job; what differs: {said}. Choose"
        ):
            score_traces(again, changed, journal=journal, name=name, console=quiet())
    assert journal.read_bytes() == kept and not again.seen


def test_a_journal_of_data_that_was_mended_since_is_continued(tmp_path: Path) -> None:
    traces, journal = some_traces(4), tmp_path / "journal"
    score_traces(LengthScorer(), traces, journal=journal, console=quiet())
    mended = [traces[3], Trace(traces[1].problem, ("new", "bb")), traces[0], *some_traces(6)[4:], traces[0]]
    again, console = LengthScorer(), quiet()
    rows = score_traces(again, mended, journal=journal, batch=1, console=console)
    assert rows == score_traces(LengthScorer(), mended, journal=tmp_path / "other", console=quiet())
    assert again.seen == ["p1", "p4", "p5"]
    said = "continuing: 3 of 6 traces scored already; the data differ from those it began with: 2 more are not used"
    assert said in console.file.getvalue()


def test_a_journal_of_a_loaded_scorer_is_nobodys(tmp_path: Path) -> None:
    data, out = tmp_path / "traces.jsonl", tmp_path / "scores.jsonl"
    write_traces(data, some_traces(70))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            score_file(None, data, out=out, scorer=LengthScorer("p66"), console=quiet())
        assert len((tmp_path / "scores.jsonl.partial").read_text().splitlines()) == 65
    assert score_file(None, data, out=out, scorer=LengthScorer(), console=quiet())["traces"] == 70


def test_a_score_command_that_was_killed_refuses_another_job_and_goes_on_with_mended_data(
    tmp_path: Path, tiny_prm: Path
) -> None:
    data, out = tmp_path / "traces.jsonl", tmp_path / "k.jsonl"
    journal = tmp_path / "k.jsonl.partial"
    traces = [Trace(Problem(f"p{n}", f"mod 13 : a is {n} ; find a"), (f"a = {n % 13}",)) for n in range(200)]
    write_traces(data, traces)
    score_file(tiny_prm, data, out=tmp_path / "whole.jsonl", console=quiet())
    killed(["score", str(tiny_prm), str(data), "--out", str(out)], 100, "sparring.journals:Journal.add")
    kept = journal.read_bytes()
    assert len(kept.splitlines()) == 101 and not out.exists()

    other, elsewhere = tmp_path / "other", tmp_path / "elsewhere.jsonl"
    shutil.copytree(tiny_prm, other)
    (other / "sparring.json").write_text((other / "sparring.json").read_text() + "\n")
    write_traces(elsewhere, some_traces(5))
    for words, differs in (
        ([other, data], "scorer"), ([tiny_prm, elsewhere], "traces"), ([tiny_prm, data, "--limit", 50], "limit"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, ["score", *map(str, words), "--out", str(out)])
        assert isinstance(done.exception, SettingsError)
        said = f"{journal} belongs to another job; what differs: {differs}. Choose another --out, or delete the file"
        assert str(done.exception) == said
        assert journal.read_bytes() == kept and not out.exists()
    words = ["score", str(other), str(data), "--out", str(out)]
    ended = subprocess.run([sys.executable, "-m", "sparring", *words], capture_output=True, text=True)
    assert ended.returncode == 2 and "what differs: scorer" in " ".join(ended.stderr.split())
    assert journal.read_bytes() == kept

    console = quiet()
    counted = mock.patch.object(Scorer, "score", autospec=True, side_effect=Scorer.score)
    with counted as calls:
        score_file(tiny_prm, data, out=out, console=console)
    scored = [trace for call in calls.call_args_list for trace in call.args[1]]
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not journal.exists()
    assert scored == traces[64:]  # a batch of which some rows lack is scored as a whole

    journal.write_bytes(kept)
    write_traces(data, traces[:10] + traces[11:])
    with counted as calls:
        score_file(tiny_prm, data, out=out, console=console)
    assert sum(len(call.args[1]) for call in calls.call_args_list) == 199 - 64
    rows, whole = read_scores(out), read_scores(tmp_path / "whole.jsonl")
    assert list(rows) == [name for name in whole if name != "p10"]
    for name, row in rows.items():
        assert row.scores == pytest.approx(whole[name].scores, abs=1e-6)
    assert not journal.exists()


def test_a_trace_too_long_for_the_model_is_told_with_its_line(tmp_path: Path, tiny_prm: Path) -> None:
    data = tmp_path / "traces.jsonl"
    short, long = (Trace(Problem("p", "mod 13 : a is 3 ; find a"), ("a = 3",) * n) for n in (1, 5000))
    write_traces(data, [short, short, long])
    with pytest.raises(DataError, match="past the limit of") as refused:
        score_file(tiny_prm, data, out=tmp_path / "o", console=quiet())
    assert str(refused.value).startswith(f"{data}:3: ")


def test_rows_go_to_the_traces_that_they_name_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    traces, journal = some_traces(6), tmp_path / "journal"
    whole = score_traces(LengthScorer(), traces, journal=journal, console=quiet())
    head, *lines = journal.read_text().splitlines(keepends=True)
    for order in ([3, 1, 0, 2, 5, 4], [0, 0, 1, 3, 3], [5], []):
        journal.write_text(head + "".join(lines[place] for place in order))
        again = LengthScorer()
        assert score_traces(again, traces, journal=journal, batch=1, console=quiet()) == whole
        assert len(again.seen) == 6 - len(set(order))
    for broken in (
        lines[1].replace('"p1"', '"p2"'),
        lines[1].replace("[0.", "[1."),
        '{"id": "p1", "scores": [1]}\n',
    ):
        journal.write_text(head + lines[0] + broken)
        with pytest.raises(DataError, match=r"journal:3: this line was changed"):
            score_traces(LengthScorer(), traces, journal=journal, console=quiet())


def test_scorer_that_breaks_its_contract_is_refused(tmp_path: Path) -> None:
    class Short(LengthScorer):
        def score(self, traces: Sequence[Trace]) -> list[list[float]]:
            return super().score(traces)[1:]

    class Logits(LengthScorer):
        def score(self, traces: Sequence[Trace]) -> list[list[float]]:
            return [[4.2 for _ in trace.steps] for trace in traces]

    for scorer, said in ((Short(), "1 row for 2 traces"), (Logits(), "'p0'.*logits")):
        with pytest.raises(DataError, match=said):
            score_traces(scorer, some_traces(2), journal=tmp_path / said, console=quiet())


def test_identities_tell_contents_apart(tmp_path: Path) -> None:
    assert traces_digest(some_traces(2)) != traces_digest(some_traces(3))
    assert traces_digest(some_traces(2)) != traces_digest(some_traces(2)[::-1])
    before = folder_identity(tmp_path)
    (tmp_path / "model.safetensors").write_text("x")
    assert folder_identity(tmp_path) != before
    assert folder_identity(tmp_path) == folder_identity(tmp_path)


# the command


def test_score_file_writes_one_row_per_trace(tmp_path: Path) -> None:
    data, out, console = tmp_path / "traces.jsonl", tmp_path / "out" / "scores.jsonl", quiet()
    write_traces(data, some_traces(3))
    assert score_file(None, data, out=out, scorer=LengthScorer(), console=console, limit=2) == {
        "traces": 2,
        "steps": 4,
    }
    rows = read_scores(out)
    assert {name: list(row.scores) for name, row in rows.items()} == {"p0": [1.0, 0.5], "p1": [0.5, 0.5]}
    assert [entry.name for entry in out.parent.iterdir()] == ["scores.jsonl"]


def test_samples_of_one_problem_are_numbered() -> None:
    problem, other = Problem("p", "q"), Problem("o", "q")
    traces = [Trace(problem, ("a",)), Trace(other, ("a",)), Trace(problem, ("b",))]
    assert distinct_ids(traces) == ["p#1", "o", "p#2"]
    with pytest.raises(DataError, match="'p#2'"):
        distinct_ids([*traces, Trace(Problem("p#2", "q"), ("a",))])


def test_score_file_refuses_bad_arguments(tmp_path: Path) -> None:
    data = tmp_path / "traces.jsonl"
    data.write_text("")
    with pytest.raises(SettingsError, match="give a model"):
        score_file(None, data, out=tmp_path / "o")
    with pytest.raises(SettingsError, match="limit"):
        score_file(None, data, out=tmp_path / "o", scorer=LengthScorer(), limit=0)
    with pytest.raises(DataError, match="no record"):
        score_file(None, data, out=tmp_path / "o", scorer=LengthScorer())


def test_traces_that_the_scorer_refuses_are_told_with_their_file(tmp_path: Path) -> None:
    class Short(LengthScorer):
        def score(self, traces: Sequence[Trace]) -> list[list[float]]:
            raise DataError("past the limit of 512", field="steps[1]")

    data = tmp_path / "traces.jsonl"
    write_traces(data, some_traces(3))
    with pytest.raises(DataError, match="limit of 512") as refused:
        score_file(None, data, out=tmp_path / "o", scorer=Short(), console=quiet())
    assert str(data) in str(refused.value)


class Short(LengthScorer):
    """Refuses traces whose first step is longer than three characters."""

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        for trace in traces:
            if len(trace.steps[0]) > 3:
                raise DataError(
                    f"trace of problem '{trace.problem.id}': past the limit of 3", field="steps[0]"
                )
        return super().score(traces)


def test_traces_that_the_scorer_refuses_are_left_out_on_request_and_counted(tmp_path: Path) -> None:
    data, out, console = tmp_path / "traces.jsonl", tmp_path / "scores.jsonl", quiet()
    write_traces(data, some_traces(7))
    with pytest.raises(DataError, match=r"'p3': past the limit of 3; .*--allow-missing"):
        score_file(None, data, out=out, scorer=Short(), console=quiet())
    scorer = Short()
    assert score_file(None, data, out=out, scorer=scorer, console=console, allow_missing=True)["traces"] == 3
    assert (
        "4 traces left out; the first: trace of problem 'p3': past the limit of 3" in console.file.getvalue()
    )
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in written] == scorer.seen == ["p0", "p1", "p2"]  # and nobody is scored twice
    write_traces(data, some_traces(7)[3:])
    with pytest.raises(DataError, match=r"no trace can be scored; the first: .*'p3'"):
        score_file(None, data, out=tmp_path / "o", scorer=Short(), console=quiet(), allow_missing=True)
    assert not (tmp_path / "o").exists()


def test_a_server_is_asked_once_for_what_it_refuses(tmp_path: Path) -> None:
    class Server(Short):
        def score_each(self, traces: Sequence[Trace]) -> list[Any]:
            rows: list[Any] = []
            for trace in traces:
                try:
                    rows += self.score([trace])
                except DataError as error:
                    rows.append(error)
            return rows

    data, scorer = tmp_path / "traces.jsonl", Server()
    write_traces(data, some_traces(5))
    out = tmp_path / "scores.jsonl"
    assert score_file(None, data, out=out, scorer=scorer, console=quiet(), allow_missing=True)["traces"] == 3
    assert scorer.seen == ["p0", "p1", "p2"]


def test_terminal_shows_steps_as_text_in_colour(tmp_path: Path) -> None:
    data = tmp_path / "traces.jsonl"
    write_traces(data, [Trace(Problem("p", "[red]q\x1b[2J"), ("x", "[bold]yyy\x07"))])
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=100)
    score_file(None, data, out=tmp_path / "scores", scorer=LengthScorer(), console=console)
    shown = console.file.getvalue()
    assert "\x1b[2J" not in shown and "\x07" not in shown
    assert "[red]q" in shown and "[bold]yyy" in shown
    assert "\x1b[32m1.000" in shown and "\x1b[31m0.100" in shown


def test_colours_follow_the_threshold() -> None:
    assert [colour(score, 0.4) for score in (0.39, 0.4, 0.69, 0.71)] == ["red", "yellow", "yellow", "green"]
    assert plain("a\nb\u202ec\t").plain == "a\nb\ufffdc\ufffd"
    assert plain("2\u202f560 of 7\u00a0%").plain == "2\u202f560 of 7\u00a0%"


def test_traces_are_not_replaced_by_their_scores(tmp_path: Path) -> None:
    data, beside = tmp_path / "x.jsonl", tmp_path / "y.jsonl.partial"
    for file in (data, beside):
        write_traces(file, some_traces(2))
    before = data.read_bytes()
    for source, out in ((data, data), (tmp_path, data), (beside, tmp_path / "y.jsonl")):
        with pytest.raises(SettingsError, match="is read as data"):
            score_file(None, source, out=out, scorer=LengthScorer(), console=Console(file=StringIO()))
    assert data.read_bytes() == beside.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b'{"model_type": "llama"}',
        b'{\n  "head": "token_classification"\n}\n',
        b"\x00\xffweights\n",
        b'{"id": "p", "problem": "q", "steps": ["a"], "labels": [1]}\n',
    ],
)
def test_only_score_files_are_replaced(tmp_path: Path, content: bytes) -> None:
    data, out = tmp_path / "traces.jsonl", tmp_path / "sparring.json"
    write_traces(data, some_traces(2))
    out.write_bytes(content)
    with pytest.raises(SettingsError, match=r"sparring\.json' is there and no score file: name another file"):
        score_file(None, data, out=out, scorer=LengthScorer(), console=quiet())
    assert out.read_bytes() == content
    for replaced in (b"", b'{"id": "of another PRM", "prm": [0.5]}\n'):
        out.write_bytes(replaced)
        score_file(None, data, out=out, scorer=LengthScorer(), console=quiet())
        assert set(read_scores(out)) == {"p0", "p1"}


def test_tokens_that_the_tokenizer_does_not_know_are_counted_and_told_once(
    tmp_path: Path, tiny_prm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Trace(Problem("known", "mod 13 : a is 3 ; find a"), ("a = 3",))
    foreign = Trace(Problem("foreign", "mod 13 : ä is 3 ; find ä"), ("ä = 3", "so 3"))
    data = tmp_path / "traces.jsonl"
    write_traces(data, [known, foreign, known, foreign])
    score_file(tiny_prm, data, out=tmp_path / "scores.jsonl", console=quiet())
    said = " ".join(capsys.readouterr().err.split())
    scorer = load_scorer(tiny_prm)
    unknown = UnknownTokens()
    unknown.count(scorer.encode(foreign), scorer.tokenizer, scorer.sidecar.layout)
    assert (
        said.count(f"the PRM's tokenizer does not know {2 * unknown.tokens} tokens in 2 of the traces") == 1
    )
    assert unknown.tokens == 4  # ä three times, "so"
    unknown.count(scorer.encode(foreign), scorer.tokenizer, Layout(separator="<unk>"))
    assert (unknown.tokens, unknown.traces) == (4, 1)
    write_traces(data, [known])
    score_file(tiny_prm, data, out=tmp_path / "scores.jsonl", console=quiet())
    assert "does not know" not in capsys.readouterr().err
