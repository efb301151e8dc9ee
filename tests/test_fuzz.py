"""The short form of `scripts/fuzz.py`: inputs that once were faults, and a few mutations of every target's seeds."""

from __future__ import annotations

import json
import random

import pytest

import fuzz
from fuzz_promises import BrokenPromise
from fuzz_targets import TARGETS

MUTATIONS = {"models": 3, "spans": 10}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Time and memory are the campaign's business: the suite runs on machines that are busy."""
    monkeypatch.setattr(fuzz, "SLOW", 60.0)
    monkeypatch.setattr(fuzz, "GUARD", 300.0)
    monkeypatch.setattr(fuzz, "MEMORY", 1 << 40)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_a_fault(name):
    rng = random.Random(0)
    with fuzz.trial(name) as one:
        inputs = [
            *one.corpus,
            *(one.mutated(rng.choice(one.corpus), rng) for _ in range(MUTATIONS.get(name, 25))),
        ]
        came = {data: one.once(data) for data in inputs}
    assert not {data[:300]: what for data, what in came.items() if what.startswith("FAULT")}


def test_every_line_of_the_corpus_is_of_a_target():
    lines = [json.loads(line) for line in fuzz.CORPUS.read_text(encoding="utf-8").splitlines()]
    assert {line["target"] for line in lines} <= set(TARGETS)
    assert all(line["was"] and line["input"].encode("latin-1") in fuzz.kept(line["target"]) for line in lines)


def test_a_fault_is_found_shortened_and_counted(capsys):
    def run(data: bytes) -> str:
        if b"9" in data:
            raise BrokenPromise("a nine")
        return "fine"

    one = fuzz.Trial("toy", [b"some words 1", b"others"], run, fuzz.Piece("toy", False, 0))
    fuzz.plain(one, 3000, 100.0, seed=0)
    assert one.piece.inputs == 3000 and one.piece.outcomes == 2
    [(short, what)] = one.piece.faults
    assert short == "9" and what == "FAULT: BrokenPromise: a nine"
    assert json.loads(capsys.readouterr().out)["input"] == "9"


def test_pieces_are_summed_up(tmp_path):
    pieces = [{"target": "toy", "guided": led, "seed": 0, "inputs": 5, "seconds": 1.5, "slowest": 0.1 + led, "outcomes": 2,
               "faults": [["9", "FAULT"]] * led} for led in (False, True)]  # fmt: skip
    (tmp_path / "pieces.jsonl").write_text(
        "".join(json.dumps(piece) + "\n" for piece in pieces), encoding="utf-8"
    )
    assert fuzz.main(["--publish", str(tmp_path), "--results", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "fuzz.json").read_text(encoding="utf-8"))["metrics"]
    found = {
        name: metrics[f"toy.{name}"]["value"] for name in ("inputs", "guided", "seconds", "slowest", "faults")
    }
    assert found == {"inputs": 10, "guided": 5, "seconds": 3.0, "slowest": 1.1, "faults": 1}
    assert metrics["all.inputs"]["value"] == 10
    assert "| toy |  | 10 | 5 | 3 | 1.10 | 1 |" in (tmp_path / "fuzz.md").read_text(encoding="utf-8")
