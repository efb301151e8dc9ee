"""The journal of a long job: what it takes for done, what it refuses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparring.compressed
from sparring.errors import DataError, SettingsError
from sparring.journals import Journal
from sparring.json_files import read_jsonl_objects
from sparring.runs import JsonlLog

JOB = {"model": "m", "seed": 1, "limit": None}
PIECES = [{"id": f"p{number}", "scores": [number / 7, 0.5], "nothing": None} for number in range(4)]


def written(path: Path, job: dict[str, Any] = JOB, pieces: list[dict[str, Any]] = PIECES) -> list[bytes]:
    """Write a journal and return its lines."""
    path.unlink(missing_ok=True)
    with opened(path, job) as journal:
        for piece in pieces:
            journal.add(piece)
    return path.read_bytes().splitlines(keepends=True)


def opened(path: Path, job: dict[str, Any] = JOB, **options: Any) -> Journal:
    return Journal(path, job, lambda record: record["id"], **options)


def found(path: Path) -> list[Any]:
    with opened(path) as journal:
        return list(journal.found.values())


def test_what_is_written_is_read_back_and_what_stands_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lines = written(path)
    assert found(path) == PIECES
    path.write_bytes(b"".join([*lines, *lines, lines[2], b'{"id": "p9", "sco']))
    assert found(path) == PIECES
    with opened(path) as journal:
        journal.add({**PIECES[0], "scores": [1.0]})  # as a second writer would
    assert found(path) == PIECES
    assert found(tmp_path / "new") == []


@mock.patch.object(JsonlLog, "sync", lambda self: None)  # that takes its time, and no power is cut here
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    content = bytearray(b"".join(written(path)))
    place %= len(content)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    last = place >= content.rindex(b"\n", 0, len(content) - 1)
    try:
        # Its line break gone, a line is torn
        assert found(path) in ([PIECES, PIECES[:-1]] if last else [PIECES])
    except (DataError, SettingsError) as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        "7",
        "null",
        "[" * 5000,
        '{"id": "p1"}',
        '{"check": 3}',
        '{"id": "p1", "check": "00"}',
        "\x00",
    ],
)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_line_of_something_else_is_named(tmp_path: Path, line: str, number: int) -> None:
    path = tmp_path / "journal"
    lines = written(path)
    lines[number - 1] = line.encode() + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=rf"journal:{number}: "):
        opened(path)


def test_a_line_longer_than_those_of_other_files_may_be_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparring.compressed, "LONGEST_LINE", 1 << 10)
    pieces = [{"id": "long", "text": "x" * 5000}, {"id": "p1"}]
    lines = written(tmp_path / "journal", pieces=pieces)
    assert found(tmp_path / "journal") == pieces
    (tmp_path / "packed").write_bytes(
        gzip.compress(b"".join(lines))
    )  # one that unpacks to much is none of ours
    with pytest.raises(DataError, match="longer than"):
        list(read_jsonl_objects(tmp_path / "packed", loose=True))


def test_lines_of_another_job_are_refused_or_thrown_away(tmp_path: Path) -> None:
    other = written(tmp_path / "other", {**JOB, "seed": 2})
    path = tmp_path / "journal"
    path.write_bytes(b"".join([written(path)[0], *other[1:]]))
    with pytest.raises(DataError, match=r"journal:2: .*another job wrote it"):
        opened(path)
    path.write_bytes(b"".join(other))
    with pytest.raises(SettingsError, match="what differs: seed"):
        opened(path)
    with pytest.raises(SettingsError, match="what differs: seed"):
        opened(path, worthless=lambda job: job["seed"] == 1)
    assert path.read_bytes() == b"".join(other)
    with opened(path, worthless=lambda job: job["seed"] == 2) as journal:
        assert journal.discarded and not journal.found
    assert json.loads(path.read_text())["job"] == JOB


def test_a_journal_of_another_job_without_finished_work_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    opened(path, {"address": "http://localhost:1"}).close()
    with opened(path, {"address": "http://localhost:2"}) as journal:
        assert journal.discarded and not journal.found
        journal.add(PIECES[0])
    with pytest.raises(SettingsError, match="belongs to another job"):
        opened(path, {"address": "http://localhost:1"})
    with opened(path, {"address": "http://localhost:2"}) as journal:
        assert list(journal.found.values()) == [PIECES[0]]
