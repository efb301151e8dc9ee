"""The doctor: what is found is said, what is missing comes with what mends it, and only what is bad fails."""

from __future__ import annotations

import json
from importlib import metadata
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sparring import doctor
from sparring.__main__ import app
from sparring.doctor import findings

TOKEN = "hf_not_to_be_shown"


@pytest.fixture
def wanted(monkeypatch):
    """Let the package ask for other things than it does, of which some are not there."""

    def ask(*requirements: str) -> None:
        monkeypatch.setattr(metadata, "requires", lambda _: list(requirements))
        extras = sorted({text.split("'")[1] for text in requirements if "extra ==" in text})
        monkeypatch.setattr(doctor, "_extras", lambda: extras)
        monkeypatch.setattr(doctor, "_checkout_extras", lambda: set(extras))

    return ask


def said(**options: bool) -> str:
    text = StringIO()
    doctor.doctor(console=Console(file=text, width=200), **options)
    return text.getvalue()


def test_this_environment_is_sound(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.output)
    areas = {one["area"] for one in content["findings"]}
    assert {"python", "packages", "devices", "room", "system"} <= areas
    assert content["machine"]["cpus"] and TOKEN not in done.output
    names = {one["name"]: one for one in content["findings"]}
    assert names["torch"]["state"] == "ok" and "threads" in names["cpu"]["found"]
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == 0 and "give up" in plain.output and TOKEN not in plain.output


def test_an_extra_that_is_missing_is_a_note_with_its_command(wanted):
    wanted("numpy>=1", "no-such-package>=2; extra == 'far'", "rich; extra == 'near'")
    text = said()
    assert "lacks no-such-package>=2: pip install 'sparring[far]'" in text
    states = {one.name: one.state for one in findings() if one.area in ("packages", "extras")}
    assert states == {"numpy": "ok", "far": "note", "near": "ok"}


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("no-such-package>=2", "missing: pip install 'no-such-package>=2'"),
        ("numpy>=99", "but >=99 is needed"),
    ],
)
def test_a_core_package_that_is_missing_or_too_old_is_bad(wanted, requirement, words):
    wanted(requirement)
    text = StringIO()
    with pytest.raises(SystemExit) as end:
        doctor.doctor(console=Console(file=text, width=200))
    assert end.value.code == 1 and words in text.getvalue()


def test_a_small_machine_and_a_bare_kernel_are_notes(monkeypatch):
    monkeypatch.setattr(doctor, "possible", list)
    monkeypatch.setattr(doctor, "memory_room", lambda: (1 << 28, 1 << 30))
    found = {one.name: one for one in findings()}
    assert found["memory"].state == "note" and "0.2 of 1.0 GiB" in found["memory"].found
    assert found["oracles' workers"].state == "note"
    assert "network, files, other processes" in found["oracles' workers"].mend


def test_extras_that_the_installed_metadata_do_not_know_are_told(wanted, monkeypatch):
    wanted("numpy>=1")
    monkeypatch.setattr(doctor, "_checkout_extras", lambda: {"vllm", "dev"})
    (one,) = [one for one in findings() if one.area == "extras"]
    assert (one.name, one.state, one.mend) == ("vllm", "note", "pip install -e .") and "older" in one.found
