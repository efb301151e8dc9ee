"""The short form of `scripts/kill_test.py`: a command that is killed ends with the files of one that was left alone."""

import json
from pathlib import Path

import kill_test

ROOT = Path(__file__).resolve().parents[1]


def test_a_command_that_is_killed_at_changes_of_files_ends_the_same(capsys):
    status = kill_test.main(["--kills", "1", "--only", "score", "--seed", "3"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "| `score` | 1 | 1 | 2 | nothing |" in said  # and it came at the rename of the result


def test_a_command_that_no_kill_met_or_none_at_a_rename_is_no_success(capsys, monkeypatch, tmp_path):
    renamed = kill_test.Outcome("label", kills=2, met=["os.rename a", "open b"], renames=True)
    outcomes = {
        "label": renamed,
        "score": kill_test.Outcome("score"),
        "search": kill_test.Outcome("search", kills=1, met=["open b"], renames=True),
    }
    monkeypatch.setattr(kill_test, "jobs", lambda folder: dict.fromkeys(outcomes, kill_test.Job(("label",))))
    monkeypatch.setattr(kill_test, "killed", lambda name, *_: outcomes[name])
    record = tmp_path / "kills.json"
    assert kill_test.main(["--record", str(record)]) == 1
    assert "none at a rename, met score, search: nothing is shown of it" in capsys.readouterr().out
    assert kill_test.main(["--only", "label", "--seed", "7", "--record", str(record)]) == 0
    rows = json.loads(record.read_text(encoding="utf-8"))["rows"]
    assert [(row["command"], row["seed"]) for row in rows] == [("score", 0), ("search", 0), ("label", 7)]
    assert "| `label` | 2 | 1 | 0 | nothing |" in kill_test.table(rows)


def test_the_published_table_is_that_of_the_record():
    rows = json.loads((ROOT / "benchmarks" / "results" / "kills.json").read_text(encoding="utf-8"))["rows"]
    page = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    assert kill_test.table(rows) in page
    assert f"{sum(row['kills'] for row in rows)} kills" in page
    assert all(row["commit"][:8] in page and str(row["seed"]) in page for row in rows)
