"""`report --verify`: every kind of run agrees with its raw records, and a number that was changed is named."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import damage
from sparring.errors import DataError, SparringError
from sparring.evaluation.attack import AttackSettings, run_attack
from sparring.evaluation.bon import BonSettings, evaluate_bon
from sparring.evaluation.calibration import CalibrationSettings, evaluate_calibration
from sparring.evaluation.compare import CompareSettings, compare_scores
from sparring.evaluation.oracle import OracleAuditSettings, audit_oracles
from sparring.evaluation.prmbench import PrmbenchSettings, evaluate_prmbench
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.evaluation.search import SearchSettings, run_search_command
from sparring.labels.command import run_label
from sparring.labels.settings import LabelSettings
from sparring.runs import read_metrics
from sparring.verification import ABSENT, report, verify_run

QUIET = Console(file=StringIO(), width=200)


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled solutions in two subsets, several per problem, PRMBench records, and scores of two models for all."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(3)

    def scores(name: str, records: list[tuple[str, int]]) -> None:
        for model in "ab":
            rows = [{"id": key, "scores": [rng.random() for _ in range(steps)]} for key, steps in records]
            lines(folder / f"{name}.{model}.jsonl", rows)

    labelled: list[tuple[str, int]] = []
    for subset in ("easy", "hard"):
        records = [
            {
                "id": f"{subset}{n}",
                "problem": f"{n // 2} + 1 = ?",
                "steps": ["so", "then 2", f"The answer is {n % 3}"],
                "final_answer_correct": n % 2 == 0,
                "label": rng.choice([-1, 0, 1, 2]),
            }
            for n in range(12)
        ]
        (folder / f"{subset}.json").write_text(json.dumps(records), encoding="utf-8")
        labelled += [(str(record["id"]), 3) for record in records]
    scores("labelled", labelled)
    samples = [
        {
            "id": f"q{n // 3}",
            "problem": f"{n // 3} + 1 = ?",
            "steps": ["so", f"The answer is {rng.randrange(3)}"],
            "labels": [1, rng.randrange(2)],
            "outcome": n % 3 == 0,
        }
        for n in range(12)
    ]
    lines(folder / "samples.jsonl", samples)
    scores("samples", [(f"q{n // 3}#{n % 3 + 1}", 2) for n in range(12)])
    modified = [
        {
            "idx": n,
            "original_question": f"{n} + 1?",
            "modified_question": f"{n} + 1?",
            "original_process": ["a", "b", "c"],
            "modified_process": ["a", "B", "c"],
            "modified_steps": [2],
            "error_steps": [2],
            "reason": "-",
            "classification": kind,
        }
        for kind in ("circular", "confidence")
        for n in range(5)
    ]
    lines(folder / "prmbench.jsonl", modified)
    scores("prmbench", [(f"{kind}_{n}", 3) for kind in ("circular", "confidence") for n in range(5)])
    return folder


@pytest.fixture(scope="module")
def runs(
    data: Path, tiny_folder: Path, tiny_prm: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[[Path], object]]:
    """What makes a small run of each kind in a folder."""
    subsets, few = [data / "easy.json", data / "hard.json"], {"resamples": 50}

    def taken(name: str) -> dict[str, Any]:
        return {"scores": [data / f"{name}.a.jsonl"], **few}

    made: dict[str, Callable[[Path], object]] = {
        "processbench": lambda out: evaluate_processbench(
            ProcessbenchSettings(data=subsets, threshold_split="hard", **taken("labelled")),
            out,
            console=QUIET,
        ),
        "calibration": lambda out: evaluate_calibration(
            CalibrationSettings(data=subsets, fit_on="hard", **taken("labelled")), out, console=QUIET
        ),
        "compare": lambda out: compare_scores(
            data / "labelled.a.jsonl",
            data / "labelled.b.jsonl",
            CompareSettings(data=subsets, threshold_a=0.4, **few),
            out,
            console=QUIET,
        ),
        "prmbench": lambda out: evaluate_prmbench(
            PrmbenchSettings(data=[data / "prmbench.jsonl"], **taken("prmbench")), out, console=QUIET
        ),
        "bon": lambda out: evaluate_bon(
            BonSettings(data=[data / "samples.jsonl"], **taken("samples")), out, console=QUIET
        ),
        "oracle": lambda out: audit_oracles(
            OracleAuditSettings(
                members=["arithmetic"], workers=1, processbench=[str(data / "easy.json")], **few
            ),
            out,
            console=QUIET,
        ),
        "attack": lambda out: run_attack(
            tiny_prm,
            AttackSettings(
                backbone=str(tiny_folder),
                warm_steps=1,
                updates=2,
                states_per_update=2,
                samples_per_state=2,
                evaluation_states=6,
                curve_points=2,
                device="cpu",
            ),
            out,
            console=QUIET,
        ),
        "search": lambda out: run_search_command(
            SearchSettings.model_validate(
                {
                    "prm": str(tiny_prm),
                    "policy": str(tiny_folder),
                    "problems": 4,
                    "n": (1, 2),
                    "expansions": 2,
                    "repeats": 2,
                    "device": "cpu",
                    "max_steps": 3,
                    "max_step_tokens": 6,
                    "max_new_tokens": 20,
                }
            ),
            out,
            console=QUIET,
        ),
    }
    trained = damage.runs(tmp_path_factory.mktemp("damage"), tiny_folder)
    for name in ("train aprm", "train prm", "train rl", "label"):
        made[name] = lambda out, name=name: trained[name].make(out, None)  # type: ignore[misc]
    return made


KINDS = (
    "processbench", "calibration", "compare", "prmbench", "bon", "oracle", "attack", "search", "train aprm", "train prm",
    "train rl", "label",
)  # fmt: skip
NOT_RAW = {
    "processbench": {"skipped", "missing", "unused_scores", "all_right_wrong_answer", "wrong_step_right_answer"},
    "calibration": {"skipped", "missing"},
    "compare": {"skipped", "missing"},
    "prmbench": {"threshold", "records", "left_out", "missing", "unused_scores"},
    "bon": {"skipped"},
    "oracle": {"left_out"},
    "attack": set(),
    "search": {"new_seconds"},
    "train aprm": {"labelled_steps", "undecided_steps", "peak_memory"},
    "train rl": {"peak_memory", "stopped_for_hacking"},
    "label": {"seconds", "new_rollouts"},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(runs: dict[str, Callable[[Path], object]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of every kind."""
    root = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        (root / kind).mkdir()
        runs[kind](root / kind)
    return root


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    yield
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_what_its_raw_records_say(finished: Path, kind: str) -> None:
    folder = finished / kind
    with unchanged(folder):
        found = verify_run(folder)
    assert [str(one) for one in found.differences] == []
    stored = read_metrics(folder)
    assert found.numbers + len(found.unverified) == len(stored)
    if kind in NOT_RAW:
        assert {name.partition(".")[2] for name in found.unverified} == NOT_RAW[kind]


def changed(folder: Path, kind: str, draft: Path) -> tuple[Path, list[str]]:
    """A copy of a run, and the names of those of its numbers that are verified and defined."""
    shutil.copytree(folder, draft)
    outside = set(verify_run(draft).unverified)
    return draft, [
        name for name, one in read_metrics(draft).items() if one.value is not None and name not in outside
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_was_changed_is_named(finished: Path, kind: str, tmp_path: Path) -> None:
    copy, names = changed(finished / kind, kind, tmp_path / "copy")
    name = random.Random(kind).choice(names)
    content = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
    before = content["metrics"][name]["value"]
    content["metrics"][name] |= {"value": before + 0.01, "low": None, "high": None}
    (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    text = StringIO()
    with pytest.raises(SystemExit) as end:
        report(copy, verify=True, console=Console(file=text, width=300))
    assert end.value.code == 1
    assert f"metrics.json: metrics.{name}.value: stored" in text.getvalue()
    found = {one.field: one for one in verify_run(copy).differences}
    one = found[f"metrics.{name}.value"]
    assert (one.stored, one.recomputed) == (before + 0.01, pytest.approx(before))


def test_numbers_whose_records_are_gone_differ(finished: Path, tmp_path: Path) -> None:
    copy, names = changed(finished / "processbench", "processbench", tmp_path / "copy")
    records = [json.loads(line) for line in (copy / "cases.jsonl").open(encoding="utf-8")]
    lines(copy / "cases.jsonl", [record for record in records if record["subset"] != "easy"])
    found = {one.field: one.recomputed for one in verify_run(copy).differences}
    gone = [name for name in names if ".easy." in name and read_metrics(copy)[name].low is not None]
    assert gone and all(found[f"metrics.{name}"] == ABSENT for name in gone)


def test_a_changed_score_is_seen_in_the_numbers_and_in_what_follows_from_it(
    finished: Path, tmp_path: Path
) -> None:
    copy, _ = changed(finished / "processbench", "processbench", tmp_path / "copy")
    records = [json.loads(line) for line in (copy / "cases.jsonl").open(encoding="utf-8")]
    place = next(n for n, record in enumerate(records) if record["prediction"] >= 0)
    records[place]["scores"] = [1.0, 1.0, 1.0]
    lines(copy / "cases.jsonl", records)
    fields = [one.field for one in verify_run(copy).differences]
    assert f"line {place + 1}.prediction" in fields
    assert any(field.startswith("metrics.processbench.") for field in fields)


def test_a_changed_table_is_named(finished: Path, tmp_path: Path) -> None:
    copy, _ = changed(finished / "attack", "attack", tmp_path / "copy")
    for name in ("report.html", "robustness.md"):
        page = (copy / name).read_text(encoding="utf-8")
        (copy / name).write_text(
            page.replace("%" if name == "report.html" else "| rules", "?"), encoding="utf-8"
        )
    assert {one.file.name for one in verify_run(copy).differences} == {"report.html", "robustness.md"}


def test_missing_records_and_names_are_told(finished: Path, tmp_path: Path) -> None:
    copy, names = changed(finished / "prmbench", "prmbench", tmp_path / "copy")
    content = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
    del content["metrics"][names[0]]
    (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    one = next(one for one in verify_run(copy).differences if one.field == f"metrics.{names[0]}")
    assert one.stored == ABSENT
    lines(copy / "cases.jsonl", [{"id": 3}])
    with pytest.raises(DataError, match="raw records are not what a run of this version leaves"):
        verify_run(copy)
    (copy / "cases.jsonl").unlink()
    with pytest.raises(DataError, match="no such file"):
        verify_run(copy)
    with pytest.raises(SparringError, match="nothing to report"):
        verify_run(tmp_path)


def test_records_of_an_earlier_version_are_said_to_be_such(finished: Path, tmp_path: Path) -> None:
    copy, _ = changed(finished / "bon", "bon", tmp_path / "copy")
    records = [json.loads(line) for line in (copy / "cases.jsonl").open(encoding="utf-8")]
    lines(copy / "cases.jsonl", [{k: v for k, v in record.items() if k != "sound"} for record in records])
    with pytest.raises(DataError, match=r":1: field 'sound': is missing: an earlier version"):
        verify_run(copy)


@pytest.fixture(scope="module")
def judged(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Labels by the arithmetic oracle of given solutions: the run and its data."""
    root = tmp_path_factory.mktemp("judged")
    rows = [
        {"id": f"q{n}", "problem": f"{n} + 1?", "answer": str(n + 1), "steps": [f"{n} + 1 = {n + 1 + wrong}", "so"]}
        for n in range(3)
        for wrong in (0, 1)
    ]  # fmt: skip
    data = lines(root / "data.jsonl", rows)
    settings = LabelSettings.model_validate(
        {"data": str(data), "solutions": "given", "mode": "oracle", "policy": str(tiny_folder), "device": "cpu",
         "oracle": ["arithmetic"]}
    )  # fmt: skip
    (root / "run").mkdir()
    run_label(settings, root / "run", QUIET)
    return root / "run", data


def swapped(copy: Path) -> None:
    """Exchange two labels and write a step of somebody else's."""
    file = copy / "traces.jsonl"
    records = [json.loads(line) for line in file.open(encoding="utf-8")]
    one, other = records[0], next(one for one in records if one["labels"] != records[0]["labels"])
    one["labels"], other["labels"] = other["labels"], one["labels"]
    records[2]["steps"][-1] = "forged text"
    lines(file, records)


@pytest.mark.parametrize("here", [True, False])
def test_labelled_traces_are_what_the_journal_gives(
    judged: tuple[Path, Path], tmp_path: Path, here: bool
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(judged[0], copy)
    if not here:
        content = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
        content["settings"]["data"] = str(tmp_path / "elsewhere.jsonl")
        (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    found = verify_run(copy)
    assert found.differences == [] and "traces.jsonl" in found.files
    assert ("problems of traces.jsonl (the data are not here)" in found.unverified) is not here
    swapped(copy)
    fields = {one.field for one in verify_run(copy).differences if one.file.name == "traces.jsonl"}
    assert {"line 1.labels[0]", "line 2.labels[0]", "line 3.steps[1]"} <= fields


def test_estimates_of_rollouts_and_questions_of_a_world_are_compared(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished / "label", copy)
    records = [json.loads(line) for line in (copy / "traces.jsonl").open(encoding="utf-8")]
    records[0]["problem"] += " Or not?"
    one = records[1]["estimates"][0]
    one["value"] = (one["low"] + one["high"] + 1e-3) / 2 if one["low"] < one["high"] else 1 - one["value"]
    one |= {"low": one["value"], "high": one["value"]}
    lines(copy / "traces.jsonl", records)
    fields = {one.field for one in verify_run(copy).differences}
    assert {"line 1.problem", "line 2.estimates[0].value"} <= fields


def test_doubts_counts_and_usage_of_labels_are_compared(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished / "label", copy)
    content = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
    counts = content["extra"]["counts"]
    reason = next(iter(counts))
    counts[reason] += 1
    content["extra"]["doubts"].append("the server repeats itself")
    content["metrics"]["label.tokens_generated"]["value"] += 1
    (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    fields = {one.field for one in verify_run(copy).differences}
    assert {"extra.doubts", f"extra.counts.{reason}", "metrics.label.tokens_generated.value"} <= fields


def test_an_own_oracle_of_somebody_elses_run_is_not_run(judged: tuple[Path, Path], tmp_path: Path) -> None:
    copy, mark = tmp_path / "copy", tmp_path / "mark"
    shutil.copytree(judged[0], copy)
    (tmp_path / "own.py").write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")
    content = json.loads((copy / "metrics.json").read_text(encoding="utf-8"))
    content["settings"]["oracle"] = ["arithmetic", f"{tmp_path / 'own.py'}:judge"]
    (copy / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    found = verify_run(copy)
    assert found.differences == [] and not mark.exists()
    assert "labels of traces.jsonl (an own oracle is not run)" in found.unverified


def test_a_changed_journal_is_named_by_its_place_in_the_run(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished / "label", copy)
    text = (copy / "journal.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    text[1] = text[1].replace('"done"', '"gone"')
    (copy / "journal.jsonl").write_text("".join(text), encoding="utf-8")
    with pytest.raises(DataError, match="cannot be verified by it") as caught:
        verify_run(copy)
    assert (caught.value.file, caught.value.line) == (str(copy / "journal.jsonl"), 2)
    assert "delete" not in str(caught.value)


def test_a_page_that_is_gone_is_missed(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished / "prmbench", copy)
    (copy / "report.html").unlink()
    (one,) = verify_run(copy).differences
    assert (one.file.name, one.field, one.stored) == ("report.html", "the file", ABSENT)
