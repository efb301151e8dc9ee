"""Claims: verdicts from intervals, records that survive a kill, and a page that is what its generator gives."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import run_claims
from claims import harness, page, runner
from claims.harness import FAILS, GAIN_BELOW, GAIN_OPEN, HOLDS, HOLDS_HERE, OPEN, Aim, verdict
from sparring.errors import DataError
from sparring.runs import Metric
from sparring.statistics import paired_difference

ROOT = Path(__file__).resolve().parents[1]

TOY = """
import time
from claims.harness import Aim, Claim, Experiment, Reduced, made_once, product

def run(arm, seed, settings, folder):
    shared = made_once(folder.parent / f"shared-{seed}", lambda draft: (draft / "made").write_text("1"))
    with (folder.parent / "calls.txt").open("a") as calls:
        calls.write(f"{arm} {seed} {settings['kinds']}\\n")
    if arm == "game" and seed == 1 and settings["kinds"] == 3 and not (folder.parent / "go").exists():
        (folder.parent / "waiting").touch()
        time.sleep(60)
    if arm == "broken":
        raise RuntimeError("no such luck")
    gain = {1: 8.0, 3: 2.0}[settings["kinds"]] if arm == "game" else {"rules": 0.0, "frozen": 1.0}[arm]
    values = {str(n): n + gain + seed + 0.1 * (seed * 7 % 3) * (arm == "game") for n in (4, 16)}
    return {"values": values, "outcomes": [True, False]}

EXPERIMENT = Experiment(
    name="toy", run=run, arms={"game": "a game", "rules": "rules", "frozen": "a frozen generator"},
    points=product(kinds=(1, 3)), seeds=4, settings={"updates": UPDATES}, minutes=0.01,
    reduced=Reduced(points=product(kinds=(1,)), seeds=3), depends={"rules": ("kinds",), "frozen": ("kinds",)},
    expectation="a gain with one kind", failed=("more of the same",), caveats=("it is a toy",),
)
CLAIMS = (
    Claim("toy-choice", "The game chooses better", Aim(5.0), ours="game", baselines=("rules", "frozen"),
          value=lambda record, n: record["values"][str(n)], readings={"n": (4, 16)},
          regions={"one kind": lambda point: point["kinds"] == 1, "everywhere": lambda point: True}),
    Claim("toy-ratio", "The game is larger", Aim(1.2, "times", 1.0), ours="game", baselines=("rules",), ratio=True,
          value=lambda record: record["values"]["4"]),
    Claim("toy-value", "The game is positive", Aim(0.0), ours="game", value=lambda record: record["values"]["4"]),
)
"""


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    folder = tmp_path / f"toys_{abs(hash(tmp_path))}"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY.replace("UPDATES", "5"))
    return folder


def command(toys: Path, *words: str) -> list[str]:
    where = ["--claims", str(toys), "--records", str(toys.parent / "records"), "--results", str(toys.parent)]
    where += ["--docs", str(toys.parent / "docs")]
    return [sys.executable, str(ROOT / "benchmarks" / "run_claims.py"), *where, *words]


def test_a_toy_claim_killed_and_resumed_gives_verdicts_and_a_page(toys: Path) -> None:
    work = toys.parent / "records" / "toy" / "work"
    first = subprocess.Popen(command(toys, "--full", "--jobs", "1"), stdout=subprocess.PIPE)
    while not (work / "waiting").exists():
        assert first.poll() is None
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = sorted((toys.parent / "records" / "toy").glob("*.json"))
    assert 6 <= len(before) < 12
    (work / "go").touch()
    done = subprocess.run(command(toys, "--full", "--jobs", "2"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "24 runs, " not in done.stdout
    assert f"{24 - len(before)} of 24 runs to do" in done.stdout
    calls = (work / "calls.txt").read_text().splitlines()
    assert len(calls) == 25  # each once, and again the one that was being run
    assert calls.count("game 1 3") == 2
    assert not list(work.glob("game-*"))

    assert run_claims.main(command(toys, "--publish")[2:]) == 0
    rows = {
        (row["claim"], row["region"]): row
        for row in json.loads((toys.parent / "claims.json").read_text())["claims"]
    }
    one = rows["toy-choice", "one kind"]
    expected = [7.0 + 0.1 * (seed * 7 % 3) for seed in range(4)]
    assert one["verdict"] == HOLDS_HERE
    assert one["value"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert one["seeds"] == 4
    assert rows["toy-choice", "everywhere"]["verdict"] == GAIN_BELOW
    assert rows["toy-choice", "kinds 3, n 16"]["against"] == "frozen"
    assert rows["toy-choice", "kinds 3, n 16"]["verdict"] == GAIN_BELOW
    assert rows["toy-ratio", "everywhere"]["unit"] == "times"
    assert rows["toy-value", "everywhere"]["verdict"] == HOLDS
    text = (toys.parent / "docs" / "claims.md").read_text()
    for words in ("The game chooses better", "more of the same", "it is a toy", "a gain with one kind"):
        assert words in text
    pictures = {path.name for path in (toys.parent / "docs" / "images" / "claims").iterdir()}
    assert pictures == {
        "overview.svg",
        *(f"toy-choice-{d}.svg" for d in ("kinds", "n")),
        "toy-ratio-kinds.svg",
        "toy-value-kinds.svg",
    }
    assert all(f"images/claims/{name}" in text for name in pictures)
    again = {path: path.read_bytes() for path in toys.parent.rglob("docs/**/*") if path.is_file()}
    assert run_claims.main(command(toys, "--page")[2:]) == 0
    assert again == {path: path.read_bytes() for path in again}


def test_records_of_other_settings_do_not_count_and_changed_ones_are_refused(toys: Path) -> None:
    (file,) = runner.claim_files(toys)
    records = toys.parent / "records"
    work = records / "toy" / "work"
    work.mkdir(parents=True)
    for cell in file.experiment.cells("reduced"):
        runner.run_cell(file.experiment, cell, records)
    found = runner.read_records(records, file.experiment)
    assert list(runner.missing(file, found, "reduced")) == []
    assert len(list(runner.missing(file, found, "full"))) == 24 - 9  # the same settings: they count for both
    other = harness.Experiment(
        **{**{name: getattr(file.experiment, name) for name in file.experiment.__slots__}, "version": 2}
    )
    assert len(list(runner.missing(harness.ClaimFile(other, ()), found, "reduced"))) == 9
    assert runner.publish(records, other, toys.parent / "other.json") == 0

    path = runner.record_path(records, file.experiment.cells("reduced")[0])
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "settings": {**entry["settings"], "updates": 500}}))
    with pytest.raises(DataError, match="was changed"):
        runner.read_records(records, file.experiment)


def test_a_run_that_fails_is_told_and_the_others_go_on(toys: Path) -> None:
    text = TOY.replace("UPDATES", "5").replace('"rules": "rules",', '"rules": "rules", "broken": "fails",')
    (toys / "toy.py").write_text(text)
    done = subprocess.run(command(toys, "--jobs", "1"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("RuntimeError: no such luck") == 3
    assert "toy-choice, one kind: +7" in done.stdout
    assert len(list((toys.parent / "records" / "toy").glob("*.json"))) == 9
    listed = subprocess.run(
        command(toys, "--list", "--only", "none"), capture_output=True, text=True, check=False
    )
    assert (listed.returncode, listed.stderr) == (2, "error: no experiment or claim none\n")


def test_an_arm_that_can_no_longer_be_run_keeps_its_records(toys: Path) -> None:
    (file,) = runner.claim_files(toys)
    records = toys.parent / "records"
    (records / "toy" / "work").mkdir(parents=True)
    for cell in file.experiment.cells("reduced"):
        if cell.arm == "frozen":
            runner.run_cell(file.experiment, cell, records)
    retired = dataclasses.replace(file.experiment, retired={"game", "frozen"})
    found = runner.read_records(records, retired)
    todo = [cell.arm for cell, _ in runner.missing(harness.ClaimFile(retired, ()), found, "reduced")]
    assert todo == ["rules"] * 3
    assert runner.publish(records, retired, toys.parent / "toy.json") == 3


def test_a_baseline_without_records_settles_nothing(toys: Path) -> None:
    (file,) = runner.claim_files(toys)
    records = toys.parent / "records"
    for cell in file.experiment.cells("reduced"):
        if cell.arm != "frozen":
            runner.run_cell(file.experiment, cell, records)
    findings = harness.measure(file, runner.read_records(records, file.experiment), "reduced")
    one = next(finding for finding in findings if finding.claim.id == "toy-choice")
    assert (one.verdict, one.missing, one.gain.n) == (OPEN, ["frozen"], 3)
    assert "without frozen" in page.summary(file, "reduced", findings)


def test_against_no_baseline_there_is_no_gain(toys: Path) -> None:
    (file,) = runner.claim_files(toys)
    records = toys.parent / "records"
    for cell in file.experiment.cells("reduced"):
        if cell.arm == "game":
            runner.run_cell(file.experiment, cell, records)
    for one in harness.measure(file, runner.read_records(records, file.experiment), "reduced"):
        if one.claim.baselines:
            assert (one.verdict, one.gain.value) == (OPEN, None)


def test_of_a_region_the_points_with_records_count_and_it_says_so(toys: Path) -> None:
    (file,) = runner.claim_files(toys)
    records = toys.parent / "records"
    (records / "toy" / "work").mkdir(parents=True)
    for cell in file.experiment.cells("full"):
        if cell.settings["kinds"] == 1:
            runner.run_cell(file.experiment, cell, records)
    size, findings = harness.measure_best(file, runner.read_records(records, file.experiment))
    assert size == "full"
    regions = {one.region: one for one in findings if one.claim.id == "toy-choice" and one.point is None}
    assert regions.keys() == {"one kind", "everywhere (2 of 4 points)"}
    assert {one.verdict for one in regions.values()} == {HOLDS_HERE}


# --- verdicts ------------------------------------------------------------------------------------------------

ENDS = st.floats(-20, 20).map(lambda x: round(x, 3))


@given(ENDS, ENDS, st.integers(1, 8), st.floats(0.0, 6.0), st.sampled_from([0.0, -1.0]))
def test_a_verdict_is_a_function_of_interval_aim_and_seeds(
    one: float, other: float, seeds: int, number: float, none: float
) -> None:
    low, high = min(one, other), max(one, other)
    aim = Aim(number, "points", none)
    word = verdict(Metric((low + high) / 2, low, high, seeds), aim)
    if seeds < harness.FEWEST_SEEDS:
        assert word == OPEN
    else:
        assert (word == HOLDS_HERE) == (low >= number and low > none)
        assert (word in (GAIN_OPEN, GAIN_BELOW, HOLDS_HERE)) == (low > none)
        assert (word in (GAIN_BELOW, FAILS)) == (high < number)
    assert word in harness.VERDICTS
    everywhere = verdict(Metric((low + high) / 2, low, high, seeds), aim, everywhere=True)
    assert everywhere == (HOLDS if word == HOLDS_HERE else word)


@given(ENDS, ENDS, st.floats(0, 5), st.floats(0, 3))
def test_a_better_interval_never_gets_a_worse_verdict(
    one: float, other: float, number: float, up: float
) -> None:
    order = [FAILS, OPEN, GAIN_BELOW, GAIN_OPEN, HOLDS_HERE]
    low, high = min(one, other), max(one, other)
    before, after = (
        order.index(verdict(Metric(low, low + by, high + by, 5), Aim(number))) for by in (0.0, up)
    )
    assert after >= before


def test_without_an_interval_nothing_is_settled() -> None:
    assert verdict(Metric(5.0, n=9), Aim(1.0)) == OPEN
    assert verdict(Metric(None, n=0), Aim(1.0)) == OPEN
    with pytest.raises(ValueError, match="less than no gain"):
        Aim(-1.0)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_paired_interval_over_seeds_covers_what_it_says(seeds: int) -> None:
    """Accuracies of 200 problems that both arms share, over few seeds: 95 % of the intervals hold the true gain."""
    random, rounds, gain = np.random.default_rng(seeds), 2000, 0.05
    of_seed = random.normal(0.5, 0.05, size=(rounds, seeds, 1))
    # A problem is right where its hardness is below the skill
    hard = random.uniform(size=(rounds, seeds, 200))
    ours, baseline = ((hard < of_seed + by).mean(axis=2) for by in (gain, 0.0))
    inside = 0
    for one, other in zip(ours, baseline, strict=True):
        found = paired_difference(one, other, runs=True).difference
        inside += found.low is not None and found.low <= gain <= found.high
    assert inside / rounds == pytest.approx(0.95, abs=0.02)


# --- what is published ---------------------------------------------------------------------------------------


def test_the_published_page_is_what_the_generator_gives() -> None:
    files = runner.claim_files()
    found = [
        page.measured(file, run_claims.published(ROOT / "benchmarks" / "results", file.experiment.name))
        for file in files
    ]
    assert page.markdown(found, "images/claims") == (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    every_point = ROOT / "benchmarks" / "results" / "claims.md"
    assert page.points(found) == every_point.read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks" / "results" / "claims.json").read_text(encoding="utf-8"))["claims"]
    assert rows == json.loads(json.dumps(page.rows(found)))
