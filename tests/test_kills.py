"""The short form of `scripts/kill_test.py`: a command that is killed ends with the files of one that was left alone."""

import kill_test


def test_a_command_that_is_killed_at_changes_of_files_ends_the_same(capsys):
    status = kill_test.main(["--kills", "1", "--only", "score", "--seed", "3"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "| `score` |" in said and "the same files" in said
