"""trackio itself keeps the numbers of a run, and goes on with it."""

from __future__ import annotations

import sqlite3

import pytest

pytest.importorskip("trackio", reason="tested where trackio is installed (make plugins)")

from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings


def test_the_numbers_of_a_run_are_in_trackio(tiny_folder, tmp_path, monkeypatch):
    import trackio.sqlite_storage as storage
    import trackio.utils as utils

    for module in (storage, utils):
        if hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    settings = AprmSettings(
        backbone=str(tiny_folder), updates=2, prm_warm_steps=1, adversary_warm_steps=1, states_per_update=2,
        samples_per_state=2, device="cpu", dtype="float32", trackers=["trackio"],
    )  # fmt: skip
    train_aprm(settings, tmp_path / "mine")
    [file] = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, step from metrics").fetchall()
    assert {name for name, _ in rows} == {"mine"} and len({step for _, step in rows}) == 4
