"""What `sparring view` reads of every kind of run: cases with their texts, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from real_data import sample
from sparring.__main__ import app
from sparring.errors import DataError, SparringError
from sparring.evaluation.compare import CompareSettings, compare_scores
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.runs import JsonlLog
from sparring.viewer.data import LONGEST_TEXT, InspectorCase, InspectorData, Solution, plain
from sparring.viewer.runs import inspector_data, kind_of
from sparring.viewer.trained import MOST_POINTS, curves_of, thinned


class StepScorer:
    threshold = 0.4

    def score(self, traces: Any) -> list[list[float]]:
        return [[0.1 if "wrong" in step else 0.9 for step in trace.steps] for trace in traces]


LABELLED = [
    (-1, ["right", "right"]),
    (1, ["right", "wrong", "right"]),
    (0, ["right", "wrong"]),
    (-1, ["wrong", "x"]),
]


def write_data(path: Path, count: int = 4) -> Path:
    """Write ProcessBench records, the four above again and again."""
    records = [
        {
            "id": f"{path.stem}-{number}", "generator": "g", "problem": f"What is {number} + $x^2$?",
            "steps": LABELLED[number % 4][1], "final_answer_correct": LABELLED[number % 4][0] < 0,
            "label": LABELLED[number % 4][0],
        }
        for number in range(count)
    ]  # fmt: skip
    path.write_text(json.dumps(records))
    return path


def write_scores(path: Path, data: Path, **models: float) -> Path:
    """Write a score file for models that score each right step so and each wrong one 0.1."""
    lines = [
        {
            "id": one["id"],
            **{n: [0.1 if "wrong" in s else v for s in one["steps"]] for n, v in models.items()},
        }
        for one in json.loads(data.read_text())
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def judged(tmp_path: Path, data: Path, name: str = "run") -> Path:
    settings = ProcessbenchSettings(data=[data])
    evaluate_processbench(settings, tmp_path / name, scorer=StepScorer())
    return tmp_path / name


def test_an_evaluation_shows_every_case_with_texts_labels_threshold_and_tables(tmp_path):
    run = judged(tmp_path, write_data(tmp_path / "math.json"))
    found = inspector_data([run])
    assert [case.id for case in found.cases] == ["math-0", "math-1", "math-2", "math-3"]
    case = found.cases[1]
    assert case.question == "What is 1 + $x^2$?" and case.tags == {"subset": ["math"], "written by": ["g"]}
    [solution] = case.solutions
    assert solution.steps == ("right", "wrong", "right") and solution.first == 1
    assert list(solution.scores[0]) == [0.9, 0.1, 0.9] and solution.labels == (1.0, 0.0, None)
    assert (found.prms[0].threshold, found.prms[0].rule) == (0.4, "from sidecar")
    assert found.tables[0].title == "Finding the first wrong step" and found.notes == []
    assert ("threshold", "0.4") in found.facts


def test_without_its_data_a_run_shows_its_worst_cases_and_says_so(tmp_path):
    data = write_data(tmp_path / "math.json", 40)
    run = judged(tmp_path, data)
    other = tmp_path / "elsewhere" / "math.json"
    other.parent.mkdir()
    shutil.move(data, other)
    found = inspector_data([run])
    assert (
        len(found.cases) == 20 and "only the 20 worst cases" in found.notes[0] and "--data" in found.notes[0]
    )
    assert len(inspector_data([run], data=[other]).cases) == 40
    with pytest.raises(DataError, match="gone"):
        inspector_data([run], data=[tmp_path / "gone.json"])


def test_cases_that_no_longer_fit_their_data_are_left_out_and_counted(tmp_path):
    data = write_data(tmp_path / "math.json")
    run = judged(tmp_path, data)
    records = json.loads(data.read_text())
    records[0]["steps"].append("one more")
    data.write_text(json.dumps(records[:3]))
    found = inspector_data([run])
    assert [case.id for case in found.cases] == ["math-1", "math-2"]
    assert found.notes == [
        "1 case with another number of steps in the data: left out",
        "1 case without a text in the data: left out",
    ]
    assert "1 case past the limit of 1 left out" in inspector_data([run], limit=1).notes


def test_score_files_stand_side_by_side_with_the_numbers_of_eval_compare(tmp_path):
    data = write_data(tmp_path / "math.json", 40)
    both = write_scores(tmp_path / "both.jsonl", data, strict=0.4, fair=0.8)
    found = inspector_data([both], data=[data])
    assert [prm.name for prm in found.prms] == ["strict", "fair"] and found.title == "strict against fair"
    assert found.cases[1].solutions[0].scores == [[0.4, 0.1, 0.4], [0.8, 0.1, 0.8]]
    apart = [
        write_scores(tmp_path / name / "scores.jsonl", data, scores=value)
        for name, value in (("a", 0.4), ("b", 0.8))
        if not (tmp_path / name).mkdir()
    ]
    two = inspector_data(apart, data=[data])
    assert [list(case.solutions[0].scores) for case in two.cases] == [
        list(case.solutions[0].scores) for case in found.cases
    ]
    assert [prm.name for prm in two.prms] == ["scores (a/scores.jsonl)", "scores (b/scores.jsonl)"]
    compare_scores(apart[0], apart[1], CompareSettings(data=[data]), tmp_path / "compare")
    run = inspector_data([tmp_path / "compare"])
    assert run.tables[0] == two.tables[0] == found.tables[0]
    assert "A − B" in two.notes[0]
    moved = inspector_data([both], data=[data], thresholds=[0.3, 0.5])
    assert [prm.threshold for prm in moved.prms] == [0.3, 0.5] and moved.tables[0] != two.tables[0]


def test_a_run_and_a_score_file_go_together_on_the_cases_that_both_have(tmp_path):
    data = write_data(tmp_path / "math.json")
    run, scores = judged(tmp_path, data), write_scores(tmp_path / "b.jsonl", data, scores=0.7)
    scores.write_text("\n".join(scores.read_text().splitlines()[:3]))
    found = inspector_data([scores, run])
    assert len(found.cases) == 3 and found.notes[-2] == "1 case without scores of every PRM: left out"
    assert found.notes[-1].startswith("The threshold of b is not known") and "--threshold" in found.notes[-1]
    assert [prm.threshold for prm in found.prms] == [0.5, 0.4]


def test_public_scores_of_two_prms(tmp_path):
    folder = sample("processbench")
    found = inspector_data([folder / "gsm8k_public_prm_scores.jsonl"], data=[folder / "gsm8k.json"])
    assert len(found.cases) == 200 and len(found.prms) == 2
    assert any(row[0] == "gsm8k · F1" for row in found.tables[0].rows)


def test_what_is_no_run_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    data = write_data(tmp_path / "math.json")
    scores = write_scores(tmp_path / "s.jsonl", data, scores=0.7)
    run = judged(tmp_path, data)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    for given, said in (
        (["empty"], "holds no metrics.json: not finished, or no run directory; known are"),
        ([".", "--data", "s.jsonl"], "--data is not for training"),
        (["gone"], "does not exist; known are"),
        (["s.jsonl"], "name the traces with --data"),
        (["run", "--threshold", "0.5", "--threshold", "0.4"], "2 thresholds for 1 PRMs"),
        (["run", "."], "go side by side"),
        (["run", "--data", "s.jsonl"], "no format has the keys"),
    ):
        result = CliRunner().invoke(app, ["view", *given, "--out", "page.html"])
        assert isinstance(result.exception, SparringError), (given, result.output)
        assert said in str(result.exception) and "\n" not in str(result.exception)
        assert not (tmp_path / "page.html").exists()
    assert kind_of(run) == "processbench" and kind_of(scores) == "scores" and kind_of(tmp_path) == "training"


def test_curves_come_from_the_logs_of_a_run_that_is_still_going_on(tmp_path):
    with JsonlLog(tmp_path / "log.jsonl") as log:
        for step in range(1, 4):
            log.append({"step": step, "phase": "warm", "loss": 1 / step, "auc": None if step < 3 else 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    (tmp_path / "watch.jsonl").write_text('{"update": 0, "accuracy": 0.5, "right": [0, 1]}\n')
    found = {(curve.chart, curve.name): (curve.x, curve.y) for curve in curves_of(tmp_path)}
    assert found == {
        ("training", "loss"): ([1, 2, 3], [1, 1 / 2, 1 / 3]),
        ("training", "auc"): ([3], [0.5]),
        ("evaluation", "accuracy"): ([0], [0.5]),
    }
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "log.jsonl", other)
    both = inspector_data([tmp_path, other])
    assert {curve.run for curve in both.curves} == {tmp_path.name, "other"} and both.cases == ()
    (other / "log.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match=r"log.jsonl:1: not a record"):
        inspector_data([other])


def test_watching_writes_the_page_again_until_it_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    page, rounds = tmp_path / "page.html", []

    def sleep(seconds: float) -> None:
        rounds.append(page.read_text())
        lines = {1: '{"step": 2, "loss": 0.25}\n', 2: "[broken]\n"}  # a line that is no record ends no watch
        if len(rounds) > 2:
            raise KeyboardInterrupt
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write(lines[len(rounds)])

    monkeypatch.setattr("sparring.viewer.command.time.sleep", sleep)
    result = CliRunner().invoke(app, ["view", str(tmp_path), "--watch", "2", "--out", str(page)])
    assert result.exit_code == 0 and "not written" in result.output and '"watch":2.0' in rounds[0]
    assert '"y":[0.5]' in rounds[0] and '"y":[0.5,0.25]' in rounds[1] and rounds[2] == rounds[1]


def test_long_curves_and_long_texts_are_bounded():
    values = [float(number) for number in range(12_345)]
    kept = thinned(values)
    assert len(kept) == MOST_POINTS and (kept[0], kept[-1]) == (0.0, 12_344.0) and kept == sorted(kept)
    case = InspectorCase("x", "q", [Solution(["s" * 100_000], [[float("nan")]], [None])])
    [shown] = plain(InspectorData("t", cases=[case]))["cases"]
    assert shown["solutions"][0]["scores"] == [[None]]
    assert len(shown["solutions"][0]["steps"][0]) < LONGEST_TEXT + 100
    assert "80000 more characters" in shown["solutions"][0]["steps"][0]
