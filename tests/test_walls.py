"""Records of the package's behaviour: equal ones are equal, and every change is named."""

from __future__ import annotations

import json
import random
from pathlib import Path

import walls
from walls_cases import case_of, mistakes, read_lines, write_lines

STEPS = ["3 * 4 = 12", "3 * 4 = 13", "So she left."]


def test_a_record_equals_itself_and_a_changed_verdict_is_shown(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    write_lines(one / "steps.jsonl", [{"set": "x", **case_of("?", None, [], None, step)} for step in STEPS])
    for folder in (one, two):
        assert (
            walls.main(["record", str(folder), "--only", "verdicts", "--cases", str(one / "steps.jsonl")])
            == 0
        )
    assert walls.main(["compare", str(one), str(two), "--only", "verdicts"]) == 0
    rows = read_lines(two / "verdicts.jsonl")
    assert [row["arithmetic"][0] for row in rows] == ["correct", "wrong", "undecided"] and len(rows[0]) == 8
    rows[1]["arithmetic"][0] = "correct"
    write_lines(two / "verdicts.jsonl", rows)
    capsys.readouterr()
    assert walls.main(["compare", str(one), str(two), "--only", "verdicts"]) == 1
    printed = capsys.readouterr().out
    assert "arithmetic: 1 × wrong arithmetic" in printed and STEPS[1] in printed


def test_mistakes_are_planted_in_steps_of_data_sets():
    step = "He has 3 * 8 = 24 pens."
    [made] = mistakes("Tom has 3 boxes of 8 pens.", "24", [], step, random.Random(0))
    assert made != step


def test_tables_are_compared_key_by_key(tmp_path):
    for name, table in (
        ("one", {"a": "x\ny", "b": "1", "c": "z"}),
        ("two", {"a": "x\nw", "c": "z", "d": "2"}),
    ):
        (tmp_path / name).mkdir()
        walls.write_json(tmp_path / name / "help.json", table)
    compare = walls.compare_tables("help.json")
    assert compare(tmp_path / "one", tmp_path / "one") == []
    lines = compare(tmp_path / "one", tmp_path / "two")
    assert lines == [
        "a:",
        "    - y",
        "    + w",
        "b: only in the first",
        "d: only in the second",
    ]


def test_times_and_places_are_not_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = {"metrics": {"training.seconds": 3, "f1": 1}, "commit": "x", "settings": {"step_seconds": 5}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"extra": {"file": str(tmp_path / "a")}}))
    kept = walls.content_of(Path("metrics.json")).splitlines()
    assert kept == ['extra.file = "HERE/a"', "metrics.f1 = 1", "settings.step_seconds = 5"]
    (tmp_path / "model.safetensors").write_bytes(b"\0\1")
    assert len(walls.content_of(Path("model.safetensors"))) == 64
