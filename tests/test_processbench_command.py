"""`sparring eval processbench`: files in, metrics, cases and a table out; what it refuses; public scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console
from typer.testing import CliRunner

from real_data import sample
from sparring.__main__ import app
from sparring.errors import DataError, SettingsError
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.evaluation.scored import SubsetTraces
from sparring.runs import Metric, read_metrics
from sparring.traces.records import Trace


class StepScorer:
    threshold = 0.4

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        return [[0.1 if "wrong" in step else 0.9 for step in trace.steps] for trace in traces]


def write_data(path: Path, *labels_and_steps: tuple[int, list[str]]) -> Path:
    records = [
        {
            "id": f"{path.stem}-{number}",
            "generator": "g",
            "problem": "q",
            "steps": steps,
            "final_answer_correct": label < 0,
            "label": label,
        }
        for number, (label, steps) in enumerate(labels_and_steps)
    ]
    path.write_text(json.dumps(records))
    return path


def evaluated(
    data: Sequence[Path], out: Path, *, scorer: Any = None, console: Console | None = None, **options: Any
) -> dict[str, Metric]:
    settings = ProcessbenchSettings.model_validate({"data": list(data), "resamples": 20} | options)
    return evaluate_processbench(settings, out, scorer=scorer, console=console)


@pytest.fixture
def subsets(tmp_path: Path) -> list[Path]:
    return [
        write_data(tmp_path / "one.json", (1, ["a", "wrong", "b"]), (-1, ["a", "b"]), (0, ["a", "wrong"])),
        write_data(tmp_path / "two.json", (0, ["wrong"]), (-1, ["a", "wrong"]), (-1, ["a"])),
    ]


def test_command_writes_metrics_cases_and_a_table(tmp_path: Path, subsets: list[Path]) -> None:
    console = Console(file=StringIO(), width=200)
    out = tmp_path / "run"
    metrics = evaluated(subsets, out, scorer=StepScorer(), resamples=100, console=console)
    assert read_metrics(out) == metrics
    assert metrics["processbench.one.f1"].value == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert metrics["processbench.two.accuracy_correct"].value == 0.5
    assert metrics["processbench.threshold"] == Metric(0.4)
    assert metrics["processbench.cases"] == Metric(6)
    content = json.loads((out / "metrics.json").read_text())
    assert content["settings"]["threshold_rule"] == "from sidecar"
    assert sum(bin["count"] for bin in content["extra"]["reliability"]["one"]) == 2 + 2 + 1
    records = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    assert [(r["id"], r["first_error"], r["prediction"], r["right"]) for r in records[:3]] == [
        ("one-0", 1, 1, True),
        ("one-1", -1, -1, True),
        ("one-2", 0, 1, False),
    ]
    shown = console.file.getvalue()
    assert "threshold 0.4 (from sidecar)" in shown
    assert "66.7" in shown
    assert sorted(path.name for path in out.iterdir()) == [
        "cases.jsonl",
        "metrics.json",
        "report.html",
        "worst.jsonl",
    ]


def test_a_finished_run_of_other_settings_is_not_replaced_without_a_word(
    tmp_path: Path, subsets: list[Path]
) -> None:
    def said(**options: Any) -> str:
        file = StringIO()
        console = Console(file=file, width=200)
        evaluated(subsets, tmp_path / "run", scorer=StepScorer(), console=console, **options)
        return "".join(line for line in file.getvalue().splitlines() if "replacing" in line)

    assert not said() and not said()
    assert said(seed=1, limit=2).endswith("run', which was of another seed and limit")
    assert said(threshold=0.3, seed=1, limit=2).endswith("another threshold")
    metrics = tmp_path / "run" / "metrics.json"
    content = json.loads(metrics.read_text())
    metrics.write_text(json.dumps(content | {"extra": {"scorer": {"model": "other"}}}))
    assert said(threshold=0.3, seed=1, limit=2).endswith("another scorer")
    metrics.write_text(json.dumps(content | {"metrics": {"bon.n": {}}}))
    assert said().endswith("another evaluation")
    metrics.write_text("{")
    assert not said()


def test_records_that_contradict_themselves_are_counted_by_kind(tmp_path: Path, subsets: list[Path]) -> None:
    records = json.loads(subsets[0].read_text())
    for record in records:
        record["final_answer_correct"] = not record["final_answer_correct"]
    subsets[0].write_text(json.dumps(records))
    console = Console(file=StringIO(), width=200)
    metrics = evaluated(subsets, tmp_path / "run", scorer=StepScorer(), console=console)
    assert metrics["processbench.all_right_wrong_answer"].value == 1.0
    assert metrics["processbench.wrong_step_right_answer"].value == 2.0
    assert "1 record: every step is labelled right" in console.file.getvalue()  # type: ignore[attr-defined]
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["extra"]["contradictions"]
    assert found == {"all_right_wrong_answer": ["one-1"], "wrong_step_right_answer": ["one-0", "one-2"]}
    assert metrics["processbench.cases"].value == 6, "all are evaluated"


def test_command_counts_what_it_left_out(tmp_path: Path, subsets: list[Path]) -> None:
    scores = tmp_path / "scores.jsonl"
    rows = {"one-0": [0.9, 0.1, 0.9], "one-1": [0.9, 0.9], "two-0": [0.1], "two-2": [0.9], "x": [1]}
    scores.write_text("".join(json.dumps({"id": name, "scores": row}) + "\n" for name, row in rows.items()))
    console = Console(file=StringIO(), width=200)
    with pytest.raises(DataError, match="2 of 6"):
        evaluated(subsets, tmp_path / "run", scores=[scores], console=console)
    assert not (tmp_path / "run").exists()
    metrics = evaluated(subsets, tmp_path / "run", scores=[scores], allow_missing=True, console=console)
    assert metrics["processbench.missing"].value == 2
    assert metrics["processbench.unused_scores"].value == 1
    assert metrics["processbench.pooled.f1"].value == 1.0
    assert "2 cases without scores" in console.file.getvalue()


def test_cases_that_the_model_refuses_are_named_with_their_file_or_left_out_and_counted(
    tmp_path: Path, subsets: list[Path]
) -> None:
    class Short(StepScorer):
        def score(self, traces: Any, progress: Any = None) -> list[list[float]]:
            for trace in traces:
                if trace.problem.id == "one-1":
                    raise DataError("trace of problem 'one-1': past the limit of 5", field="steps[1]")
            return super().score(traces)

    with pytest.raises(DataError, match="'one-1'") as refused:
        evaluated(subsets[:1], tmp_path / "run", scorer=Short())
    assert str(subsets[0]) in str(refused.value)
    console = Console(file=StringIO(), width=200)
    metrics = evaluated(subsets[:1], tmp_path / "run", scorer=Short(), allow_missing=True, console=console)
    assert metrics["processbench.missing"].value == 1 and metrics["processbench.cases"].value == 2
    said = "1 case without scores: left out of every number above; the first: trace of problem 'one-1'"
    assert said in console.file.getvalue()  # type: ignore[attr-defined]


def test_command_chooses_a_threshold_on_a_named_subset(tmp_path: Path, subsets: list[Path]) -> None:
    console = Console(file=StringIO(), width=200)
    options: dict[str, Any] = {"scorer": StepScorer(), "console": console}
    metrics = evaluated(subsets, tmp_path / "run", threshold_split="two", **options)
    assert metrics["processbench.threshold"].value == pytest.approx(0.5)
    assert "best F1 on two (optimistic there)" in console.file.getvalue()
    with pytest.raises(SettingsError, match="'three'"):
        evaluated(subsets, tmp_path / "run", threshold_split="three", **options)


def test_limit_takes_a_seeded_sample_of_a_sorted_file(tmp_path: Path) -> None:
    cases = [(0, ["wrong"])] * 50 + [(-1, ["a"])] * 50
    data = write_data(tmp_path / "sorted.json", *cases)
    draws = [[name for name, _ in SubsetTraces([data], 20, seed).items()] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    numbers = [int(name.split("-")[1]) for name in draws[0]]
    assert numbers == sorted(set(numbers)) and len(numbers) == 20
    assert 3 <= sum(number < 50 for number in numbers) <= 17
    assert len(SubsetTraces([data], 200)) == 100


def test_solutions_of_one_problem_have_ids_of_their_own(tmp_path: Path) -> None:
    data = write_data(tmp_path / "one.json", (0, ["wrong"]), (-1, ["a"]))
    data.write_text(data.read_text().replace("one-1", "one-0"))
    metrics = evaluated([data], tmp_path / "run", scorer=StepScorer())
    assert metrics["processbench.one.f1"].value == 1.0
    assert [json.loads(line)["id"] for line in (tmp_path / "run" / "cases.jsonl").open()] == [
        "one-0#1",
        "one-0#2",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "neither `model` nor `scores` is given"),
        (["--scores", "x", "--model", "y"], "a model or scores, not both"),
        (["--model", "y", "--threshold", "1.5"], "threshold: must be at most 1"),
        (["--model", "y", "--threshold", "0.5", "--threshold-split", "one"], "given or chosen"),
        (["--model", "y", "--limit", "0"], "limit: must be at least 1"),
    ],
)
def test_the_command_line_refuses_contradictions(
    tmp_path: Path, subsets: list[Path], options: list[str], said: str
) -> None:
    words = ["eval", "processbench", *map(str, subsets), *options, "--out", str(tmp_path / "run")]
    refused = CliRunner().invoke(app, words).exception
    assert isinstance(refused, SettingsError) and said in str(refused)


def test_command_refuses_data_it_cannot_name_or_use(tmp_path: Path, subsets: list[Path]) -> None:
    with pytest.raises(ValidationError, match="at least one"):
        evaluated([], tmp_path / "run")
    with pytest.raises(DataError, match="named 'one' too"):
        evaluated([subsets[0], subsets[0]], tmp_path / "run", scorer=StepScorer())
    with pytest.raises(DataError, match=r"none\.json"):
        evaluated([tmp_path / "none.json"], tmp_path / "run", scorer=StepScorer())


def test_evaluation_from_score_files_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, sparring.evaluation.processbench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# published scores


@pytest.mark.parametrize(
    ("model", "gsm8k", "math_f1"),
    [("Qwen2.5-Math-PRM-7B", 81.7, 76.2), ("Skywork-o1-Open-PRM-Qwen-2.5-7B", 68.5, 51.4)],
)
def test_public_scores_give_the_known_f1(tmp_path: Path, model: str, gsm8k: float, math_f1: float) -> None:
    folder = sample("processbench")
    metrics = evaluated(
        [folder / "gsm8k.json", folder / "math.json"],
        tmp_path,
        scores=[folder / "gsm8k_public_prm_scores.jsonl", folder / "math_public_prm_scores.jsonl"],
        scores_model=model,
        threshold=0.5,
        resamples=100,
        console=Console(file=StringIO()),
    )
    for subset, expected in (("gsm8k", gsm8k), ("math", math_f1)):
        value = metrics[f"processbench.{subset}.f1"].value
        assert value is not None and round(100 * value, 1) == expected
