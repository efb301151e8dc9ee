"""Benchmarks that go on where they stopped take no number of another commit, or of other settings, for their own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

import plan_check
import rl_staleness
import streaming
from sparring.runs import Metric, write_metrics

COMMIT = "a" * 40


def test_a_row_is_used_again_at_its_own_commit_only() -> None:
    rows = [{"job": "prm", "size": "10M", "commit": COMMIT}]
    assert plan_check.reusable(rows, "prm", "10M", COMMIT) is rows[0]
    assert plan_check.reusable(rows, "score", "10M", COMMIT) is None
    for other in ("b" * 40, None):
        assert plan_check.reusable(rows, "prm", "10M", other) is None
    dirty = f"{COMMIT}-dirty"  # says not which changes
    assert plan_check.reusable([rows[0] | {"commit": dirty}], "prm", "10M", dirty) is None
    assert (
        plan_check.shown(dirty) == "aaaaaaa-dirty" and plan_check.shown("before f7ae846") == "before f7ae846"
    )


def test_metrics_under_one_stamp_are_kept_at_its_commit_only(tmp_path: Path) -> None:
    file = write_metrics(tmp_path, {"convert.10.peak_rss": Metric(1.0)}, settings={}, seed=0)
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"commit": COMMIT}), encoding="utf-8")
    assert streaming.earlier(file, COMMIT) == {"convert.10.peak_rss": Metric(1.0)}
    for other in ("b" * 40, f"{COMMIT}-dirty", None):
        assert streaming.earlier(file, other) == {}
    assert streaming.earlier(tmp_path / "absent.json", COMMIT) == {}


def test_a_finished_run_is_used_again_with_its_own_settings_only(tmp_path: Path) -> None:
    given = argparse.Namespace(out=tmp_path, updates=40, held_out=200)
    assert rl_staleness.finished(given, 0, "default", 0) is None
    asked = rl_staleness.settings_of(given, 0, rl_staleness.RATES["default"], 0)
    file = tmp_path / "default" / "0" / "0" / "result.json"
    file.parent.mkdir(parents=True)
    result = {"settings": asked.model_dump(mode="json"), "accuracy": [0.5]}
    file.write_text(json.dumps(result), encoding="utf-8")
    assert rl_staleness.finished(given, 0, "default", 0) == result
    given.updates = 20
    assert rl_staleness.finished(given, 0, "default", 0) is None
    file.write_text(json.dumps({"accuracy": [0.5]}), encoding="utf-8")  # of what settings is not known
    assert rl_staleness.finished(given, 0, "default", 0) is None


@pytest.mark.parametrize(("updates", "answers"), [(40, "1280"), (20, "640")])
def test_the_page_counts_the_answers_of_its_own_updates(updates: int, answers: str) -> None:
    given = argparse.Namespace(updates=updates, held_out=200, turns=1)
    assert f", {answers} answers a seed" in rl_staleness.page({}, given, 0.0)
