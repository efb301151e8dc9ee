"""The repository's own published results are what their raw records and numbers give; a changed one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import verify_results

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def test_the_published_results_are_what_their_records_give(capsys):
    status = verify_results.main([])
    said = capsys.readouterr().out
    assert status == 0, said
    lines = dict(line.split(": ", 1) for line in said.splitlines() if ".json: " in line)
    assert lines.keys() == {file.name for file in RESULTS.glob("*.json")}
    for name in ("planted", "rl_chain", "trl_equivalence"):
        count, whole = lines[f"{name}.json"].split(" numbers")[0].split(" of ")
        assert count == whole and int(whole) > 20
    for name in ("plan_check", "plan_simulation"):
        assert "rows of its page are what its numbers give" in lines[f"{name}.json"]


def test_every_check_is_of_a_file_that_is_there():
    assert {f"{name}.json" for name in verify_results.CHECKS} <= {
        file.name for file in RESULTS.glob("*.json")
    }


def test_a_changed_number_and_a_changed_row_are_named(tmp_path):
    for name in ("label_allocation", "search_chain"):
        for ending in ("json", "md"):
            shutil.copy(RESULTS / f"{name}.{ending}", tmp_path)
    file = tmp_path / "label_allocation.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    name = next(key for key in content["metrics"] if key.endswith(".error"))
    content["metrics"][name]["value"] += 0.001
    file.write_text(json.dumps(content), encoding="utf-8")
    _, differences = verify_results.verify_file(file)
    fields = [one.field for one in differences]
    assert f"metrics.{name}.value" in fields and any(field.startswith("row ") for field in fields)
    page = tmp_path / "search_chain.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("| majority |", "| majority  |", 1), encoding="utf-8")
    _, differences = verify_results.verify_file(tmp_path / "search_chain.json")
    (one,) = differences
    assert one.field == "row 'majority'" and "search_chain.md" in str(one)


def test_rows_that_are_stale_or_in_another_order_are_named(tmp_path):
    for name in ("search_chain", "gsm8k_aprm"):
        for ending in ("json", "md"):
            shutil.copy(RESULTS / f"{name}.{ending}", tmp_path)
        page = tmp_path / f"{name}.md"
        lines = page.read_text(encoding="utf-8").splitlines()
        first = next(n for n, line in enumerate(lines) if line.startswith("|")) + 2
        swapped = [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]]
        for changed in (swapped, [*lines[: first + 1], "| stale | 1 |", *lines[first + 1 :]]):
            page.write_text("\n".join(changed), encoding="utf-8")
            assert verify_results.verify_file(tmp_path / f"{name}.json")[1]
    page = tmp_path / "search_chain.md"
    page.write_text("\n".join([*lines_of("search_chain"), "| stale | 1 |"]), encoding="utf-8")
    (one,) = verify_results.verify_file(tmp_path / "search_chain.json")[1]
    assert (one.field, one.recomputed) == ("row 'stale'", "(absent)")


def lines_of(name: str) -> list[str]:
    return (RESULTS / f"{name}.md").read_text(encoding="utf-8").splitlines()


def test_a_changed_seed_is_named(tmp_path):
    for ending in ("json", "md"):
        shutil.copy(RESULTS / f"demo_seeds.{ending}", tmp_path)
    file = tmp_path / "demo_seeds.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    seed = next(iter(content["seeds"].values()))
    name = next(iter(seed))
    seed[name] += 0.01
    file.write_text(json.dumps(content), encoding="utf-8")
    assert [one.field for one in verify_results.verify_seeds(file)[1]] == [name]
