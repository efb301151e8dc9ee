"""The tables of speed measures are made of their records alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import speed
from publishing import RESULTS
from speed_rows.harness import Claim, in_turn, ratio


def test_the_page_and_the_table_are_made_of_the_records() -> None:
    found: dict[str, Any] = json.loads((RESULTS / "speed.json").read_text())["extra"]["rows"]
    page = (RESULTS / "speed.md").read_text()
    assert speed.markdown(found) == page
    commits = {record["commit"] for record in found.values()}
    assert all(f"Measured at {commit}, " in page for commit in commits)
    assert all(f"`{name}`" in page for name in speed.ROWS)  # measured, or said not to be


def test_a_ratio_is_taken_within_a_round() -> None:
    made = {"slow": [(2.0, 4.0), (9.0, 9.0)], "fast": [(1.0, 1.0), (3.0, 3.0)]}
    claim = ratio("", made, "slow", "fast", 2.0, at_least=True)
    assert claim.samples == {"cpu": [2.0, 3.0], "wall": [4.0, 3.0]}
    found = {
        name: {"commit": "abc", "form": "full", "claims": {"one": asdict(made)}}
        for name, made in {"prm": claim, "rl": Claim("", 2.0, False, claim.samples)}.items()
    }
    _, _, above, below, _, origin = speed.claims_table(found).splitlines()
    assert above.endswith("| yes |") and below.endswith("| **no** |")
    assert "Measured at abc, full form, at most 2 rounds: `prm`, `rl`. Not measured: `starting`, " in origin


def test_arms_take_turns_in_alternating_order() -> None:
    order: list[str] = []
    arms = {name: lambda name=name: (order.append(name), (1.0, 1.0))[1] for name in ("a", "b")}
    found = in_turn(arms, 3)  # type: ignore[arg-type]
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert all(len(times) == 3 for times in found.values())
