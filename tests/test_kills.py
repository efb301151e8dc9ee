"""The short form of `scripts/kill_test.py`: a command that is killed ends with the files of one that was left alone."""

import kill_test


def test_a_command_that_is_killed_at_changes_of_files_ends_the_same(capsys):
    status = kill_test.main(["--kills", "1", "--only", "score", "--seed", "3"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "| `score` |" in said and "the same files" in said


def test_a_command_that_no_kill_met_is_no_success(capsys, monkeypatch):
    outcomes = {"label": kill_test.Outcome("label", kills=2), "score": kill_test.Outcome("score")}
    monkeypatch.setattr(kill_test, "jobs", lambda folder: dict.fromkeys(outcomes, kill_test.Job(())))
    monkeypatch.setattr(kill_test, "killed", lambda name, *_: outcomes[name])
    assert kill_test.main([]) == 1
    assert "no kill met score: nothing is shown of it" in capsys.readouterr().out
    assert kill_test.main(["--only", "label"]) == 0
