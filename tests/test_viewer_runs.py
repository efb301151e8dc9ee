"""The step inspector's readers of attacks, searches, best-of-N, audits, labels and the demo, on whole runs."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scripted_search import Judge, Letters, problems, share_of_a
from sparring.errors import DataError, SparringError
from sparring.evaluation.bon import BonSettings, evaluate_bon
from sparring.evaluation.oracle import OracleAuditSettings, audit_oracles
from sparring.runs import Metric, write_metrics
from sparring.search import METHODS, MethodSettings, run_search
from sparring.search.tree import MOST_NODES
from sparring.settings import load_settings
from sparring.traces import write_traces
from sparring.traces.records import Estimate, Problem, Trace
from sparring.viewer.page import inspector_page
from sparring.viewer.runs import inspector_data

SMALL = MethodSettings(expansions=2, max_steps=3, lookahead_steps=1)


def write_run(folder: Path, metric: str, settings: dict[str, Any], **files: list[dict[str, Any]]) -> Path:
    """Write a run directory: one metric, settings, and JSONL files by name."""
    write_metrics(folder, {metric: Metric(0.5, n=4)}, settings=settings, seed=0)
    for name, records in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


# --- search ---


@pytest.mark.parametrize("method", METHODS)
def test_a_tree_holds_what_was_scored_and_what_was_kept(method, tmp_path):
    judge = Judge(share_of_a)
    found = run_search(method, problems(2), Letters(), judge, SMALL, n=2, trees=tmp_path / "trees.jsonl")
    head, *lines = map(json.loads, (tmp_path / "trees.jsonl").read_text().splitlines())
    lines.sort(key=lambda line: line["problem"])  # they are written as they are finished
    assert "job" in head and [line["problem"] for line in lines] == ["p0", "p1"]
    for one, line in zip(found, lines, strict=True):
        paths: list[tuple[str, ...]] = []
        for parent, step, score, value, kept, end, chosen in line["nodes"]:
            path = (*(paths[parent] if parent >= 0 else ()), step)
            paths.append(path)
            assert score == share_of_a(path) and (value is None or 0 <= value <= 1)
            on_the_way = any(c.steps[: len(path)] == path for c in one.candidates)
            assert kept or not on_the_way
            assert end == (
                "finished" if any(c.steps == path and c.finished for c in one.candidates) else "open"
            )
            assert chosen == (one.candidates[one.chosen].steps[: len(path)] == path)
        asked = {
            t.steps[:n]
            for t in judge.asked
            if t.problem.id == one.problem
            for n in range(1, len(t.steps) + 1)
        }
        assert set(paths) == asked and line["left_out"] == 0
        if method == "beam":  # of every depth at most N steps are kept
            kept_at = [len(p) for p, node in zip(paths, line["nodes"], strict=True) if node[4]]
            assert all(kept_at.count(depth) <= 2 for depth in set(kept_at))


def test_a_search_that_was_stopped_goes_on_to_the_same_trees(tmp_path):
    def search(name: str) -> list[str]:
        run_search(
            "beam", problems(5), Letters(), Judge(share_of_a), SMALL, n=2,
            journal=tmp_path / f"{name}.jsonl", trees=tmp_path / f"{name}-trees.jsonl",
        )  # fmt: skip
        return sorted((tmp_path / f"{name}-trees.jsonl").read_text().splitlines())

    whole = search("whole")
    search("cut")
    for name, kept in (("cut", 3), ("cut-trees", 4)):  # the tree is written just before the journal
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines[:kept]) + lines[kept][:20])
    assert search("cut") == whole


def test_a_tree_is_bounded(tmp_path):
    wide = Letters(lambda prefix, seed, j: f"{len(prefix.steps)} {seed} {j} " + "x" * 5000)
    run_search("independent", problems(1), wide, Judge(share_of_a), SMALL, n=200, trees=tmp_path / "t.jsonl")
    line = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[1])
    assert len(line["nodes"]) == MOST_NODES and line["left_out"] == 200
    assert max(len(node[1]) for node in line["nodes"]) == 2000


def searched(tmp_path: Path) -> Path:
    from sparring.evaluation.search import Models, SearchSettings, run_search_command

    write = tmp_path / "problems.jsonl"
    write.write_text(
        "".join(
            json.dumps({"id": f"q{i}", "problem": f"Question {i}", "answer": "a"}) + "\n" for i in range(3)
        )
    )
    settings = load_settings(
        SearchSettings, None,
        [f"data={write}", "prm=models/some/prm", "methods=[beam]", "n=[2]", "expansions=2", "max_steps=3", "repeats=2"],
    )  # fmt: skip
    run_search_command(
        settings,
        tmp_path / "search",
        console=Console(file=StringIO()),
        models=Models(Letters(), Judge(share_of_a)),
    )
    return tmp_path / "search"


def test_a_search_shows_its_candidates_answers_and_tree(tmp_path):
    run = searched(tmp_path)
    found = inspector_data([run])
    assert len(found.cases) == 3 * 2 * 2 and [prm.name for prm in found.prms] == ["some/prm"]
    [prm] = found.prms
    assert (prm.threshold, prm.rule) == (0.873, "best F1 on some") and not found.notes
    by_name = {case.id: case for case in found.cases}
    case = by_name["q1 · beam, N = 2"]
    assert case.question == "Question 1" and case.tags["method"] == ["beam, N = 2"]
    assert len(case.solutions) == 2 and case.solutions[case.chosen].total == max(
        s.total for s in case.solutions
    )
    assert case.solutions[0].right in (True, False) and len(case.solutions[0].scores[0]) == 3
    assert case.tree is not None and list(case.tree.cost) == [("tokens generated", "12")]
    assert by_name["q1 · beam, N = 2, repeat 2"].tree is None
    for name in ("candidates.jsonl", "trees/beam-2.jsonl"):  # an older run has neither
        (run / name).unlink()
    older = {case.id: case for case in inspector_data([run]).cases}["q1 · beam, N = 2"]
    assert older.tree is None and len(older.solutions) == 2 and older.question == ""
    written = json.loads((run / "metrics.json").read_text())
    assert written["extra"].pop("threshold") == {"value": 0.873, "rule": "best F1 on some"}
    for threshold in ({}, {"threshold": None}, {"threshold": {"value": "x"}}, {"threshold": {"value": 7}}):
        (run / "metrics.json").write_text(json.dumps({**written, "extra": written["extra"] | threshold}))
        unknown = inspector_data([run])
        assert unknown.prms[0].threshold == 0.5 and "threshold of some/prm is not known" in unknown.notes[0]
    (run / "trees").joinpath("beam-2.jsonl").write_text(
        '{"problem": "q1", "nodes": [[5, "x"]], "left_out": 0}\n'
    )
    with pytest.raises(DataError, match=r"beam-2.jsonl:1: field 'nodes\[0\]'"):
        inspector_data([run])


# --- best of N ---


def bon(tmp_path: Path, scorer: Any = None) -> tuple[Path, Path]:
    data = tmp_path / "samples.jsonl"
    write_traces(
        data,
        [
            Trace(
                Problem(f"q{number}", f"Question {number}"),
                (f"step of {sample}", f"The answer is {sample}."),
                outcome=sample == 1,
            )
            for number in range(3)
            for sample in range(4)
        ],
    )
    evaluate_bon(BonSettings(data=[data]), tmp_path / "bon", scorer=scorer, console=Console(file=StringIO()))
    return tmp_path / "bon", data


class Favourite:
    """Scores the wrong candidate 2 above the right one."""

    threshold, threshold_rule = 0.6, "r"

    def score(self, traces: Any) -> list[list[float]]:
        return [[0.9, {"1": 0.6, "2": 0.8}.get(trace.steps[1][-2], 0.1)] for trace in traces]


def test_best_of_n_shows_all_candidates_with_the_scores_that_a_model_gave(tmp_path):
    run, data = bon(tmp_path, Favourite())
    found = inspector_data([run])
    assert (found.prms[0].threshold, found.prms[0].rule) == (0.6, "r")
    case = found.cases[0]
    assert (case.question, len(case.solutions), case.chosen) == ("Question 0", 4, 2)
    assert case.tags == {"choice": ["wrong"], "candidates": ["some are right"]}
    assert list(case.solutions[1].scores[0]) == [0.9, 0.6] and case.solutions[1].right is True
    data.unlink()
    worst = inspector_data([run])
    assert "only the worst cases have steps" in worst.notes[0]
    assert [solution.total for solution in worst.cases[0].solutions] == [0.8, 0.6]
    with pytest.raises(SparringError, match="gone"):
        inspector_data([run], data=[tmp_path / "gone.jsonl"])


# --- attack ---


def rewrite(adversary: str, text: str, truth: str | None, score: float | None, **more: Any) -> dict[str, Any]:
    return {
        "adversary": adversary, "id": "p", "question": "q", "prefix": ["given"], "step": "right", "rewrite": text,
        "malformed": None, "truth": truth, "reason": "member:kind", "score": score, "clean_score": 0.9, **more,
    }  # fmt: skip


def test_an_attack_shows_the_variants_of_every_step_and_two_attacks_stand_side_by_side(tmp_path):
    probe = {
        "probe": "invariance", "kind": "commute", "problem": "q", "before": "right", "after": "turned",
        "score_before": 0.9, "score_after": 0.3,
    }  # fmt: skip
    one = write_run(
        tmp_path / "one", "attack.rules.fool_rate", {"prm": "models/one/prm", "threshold": 0.4},
        cases=[rewrite("rules", "wrong", "wrong", 0.7), rewrite("trained", "", None, None, malformed="empty")],
        probes=[probe], attack=[{"update": 1, "fool_rate": 0.5}, {"update": 2, "fool_rate": 0.6}],
    )  # fmt: skip
    other = write_run(
        tmp_path / "other", "attack.rules.fool_rate", {"prm": "models/other/prm", "threshold": 0.6},
        cases=[rewrite("rules", "wrong", "wrong", 0.5), rewrite("rules", "else", "correct", 0.9, step="another")],
    )  # fmt: skip
    [case] = inspector_data([one]).cases
    assert [(v.by, v.text, v.truth, list(v.scores)) for v in case.variants] == [
        ("rules", "wrong", "wrong", [0.7]),
        ("trained", "", "", [None]),
        ("harmless: commute", "turned", "correct", [0.3]),
    ]
    assert case.variants[1].reason == "malformed: empty" and case.solutions[0].scores == [[None, 0.9]]
    assert case.tags == {"error kind": ["member:kind"], "fooled by": ["rules"]}
    both = inspector_data([one, other])
    assert [prm.name for prm in both.prms] == ["one/prm", "other/prm"] and len(both.cases) == 2
    assert list(both.cases[0].variants[0].scores) == [0.7, 0.5]
    assert both.cases[0].tags["fooled by"] == ["rules → one/prm"]
    assert [curve.name for curve in both.curves] == ["fool_rate"]


# --- audit of oracles ---


def test_an_audit_shows_verdicts_with_span_and_reason_and_planted_mistakes_in_place(tmp_path):
    data = tmp_path / "bench.json"
    data.write_text(json.dumps([{
        "id": "b-1", "generator": "g", "problem": "How much?", "steps": ["2 + 3 = 5 pens.", "5 * 2 = 11 pens.", "So 11."],
        "final_answer_correct": False, "label": 1,
    }]))  # fmt: skip
    gsm8k = tmp_path / "train.jsonl"
    gsm8k.write_text(
        json.dumps(
            {
                "question": "How many?",
                "answer": "4 * 3 = <<4*3=12>>12 pens.\n12 + 1 = <<12+1=13>>13 pens.\n#### 13",
            }
        )
        + "\n"
    )
    settings = load_settings(
        OracleAuditSettings, None,
        [f"processbench=['{data}']", f"gsm8k=['{gsm8k}']", "members=[arithmetic, reference]", "workers=1",
         "kinds=[arithmetic_slip]"],
    )  # fmt: skip
    audit_oracles(settings, tmp_path / "audit", console=Console(file=StringIO()))
    found = inspector_data([tmp_path / "audit"])
    cases = {case.id: case for case in found.cases}
    bench = cases["processbench_bench b-1"]
    [solution] = bench.solutions
    assert (bench.question, len(solution.steps), solution.first) == ("How much?", 2, 1) and not found.notes
    said = {one.by: one for one in solution.said[1]}
    assert (said["arithmetic"].truth, said["arithmetic"].reason) == ("wrong", "arithmetic:wrong_result")
    assert said["arithmetic"].span == (0, 10) and said["panel"].truth == "wrong"
    reference = next(case for name, case in cases.items() if name.startswith("gsm8k_train"))
    assert reference.question == "How many?" and len(reference.solutions[0].steps) == 2
    assert {variant.at for variant in reference.variants} == {0, 1}
    assert reference.variants[0].by == "planted: arithmetic slip" and reference.variants[0].truth == "wrong"
    assert reference.tags["reason"] == ["arithmetic:wrong_result"]
    scores = tmp_path / "scores.jsonl"
    scores.write_text('{"id": "b-1", "scores": [0.9, 0.8, 0.1]}\n')
    # Label, oracle and PRM on the same steps
    together = inspector_data([scores, tmp_path / "audit"], data=[data])
    [solution] = together.cases[0].solutions
    assert solution.first == 1 and [one.by for one in solution.said[1]] == ["arithmetic", "panel"]
    assert list(solution.scores[0]) == [0.9, 0.8, 0.1] and 2 not in solution.said
    assert together.notes[-2] == f"verdicts of {tmp_path / 'audit'} on 2 steps"
    scores.write_text('{"id": "b-2", "scores": [0.9]}\n')
    data.write_text(
        json.dumps([{**json.loads(data.read_text())[0], "id": "b-2", "steps": ["x"], "label": 0}])
    )
    with pytest.raises(DataError, match="no step of these cases was audited"):
        inspector_data([scores, tmp_path / "audit"], data=[data])
    (tmp_path / "audit" / "solutions.jsonl").unlink()
    with pytest.raises(DataError, match=r"cases.jsonl:1: field 'place': .*solutions.jsonl"):
        inspector_data([tmp_path / "audit"])


# --- labels, traces, demo ---


def test_labels_show_measured_values_and_so_does_any_file_of_traces(tmp_path):
    trace = Trace(
        Problem("q", "How many?"), ("one", "two"), (1.0, 0.25), False, "solver", {"walk": "measured", "root_value": 0.5},
        (Estimate(0.75, 8, 0.4, 0.9), None),
    )  # fmt: skip
    run = write_run(tmp_path / "run", "label.problems", {})
    write_traces(run / "traces.jsonl", [trace, trace])
    found = inspector_data([run])
    assert [case.id for case in found.cases] == ["q#1", "q#2"]
    [solution] = found.cases[0].solutions
    assert (solution.values, solution.root, solution.first) == ([(0.75, 0.4, 0.9, 8), None], 0.5, 1)
    assert found.cases[0].tags == {"walk": ["measured"], "written by": ["solver"], "answer": ["wrong"]}
    file = inspector_data([run / "traces.jsonl"])
    assert file.cases == found.cases and file.title == "traces.jsonl"


def test_the_demo_shows_solutions_with_an_oracle_and_rewritten_steps(tmp_path):
    scores = {"rules_prm": [0.9, 0.8], "aprm": [0.9, 0.1]}
    run = write_run(
        tmp_path / "demo", "best_of_n.aprm.longer.accuracy", {},
        solutions=[{"question": "q", "steps": ["a", "b"], "truths": ["correct", "wrong"], "scores": scores,
                    "outcome": False, "split": "longer"}],
        examples=[{"question": "q", "prefix": ["a"], "step": "b", "perturbed": "c", "truth": "wrong", "reason": "m:k",
                   "detail": "no", "adversary": "trained", "scores": {"rules_prm": 0.7, "aprm": 0.2}}],
        attack_aprm=[{"update": 1, "fool_rate": 0.5}, {"update": 2, "fool_rate": 0.4}],
    )  # fmt: skip
    found = inspector_data([run])
    assert [prm.name for prm in found.prms] == ["rules PRM", "APRM"]
    solved, rewritten = found.cases
    assert solved.solutions[0].first == 1 and solved.tags["problems"] == ["longer problems"]
    assert rewritten.variants[0].reason == "m:k: no" and list(rewritten.variants[0].scores) == [0.7, 0.2]
    assert [(curve.run, curve.name) for curve in found.curves] == [("APRM", "fool_rate")]
    assert len(inspector_page(found)) > 1000


def test_a_damaged_record_is_named_with_its_place(tmp_path):
    run = write_run(
        tmp_path / "run", "attack.rules.fool_rate", {}, cases=[rewrite("rules", "x", "wrong", 7.0)]
    )
    with pytest.raises(DataError, match=r"cases.jsonl:1: field 'score': expected a number from 0 to 1"):
        inspector_data([run])
    run = write_run(
        tmp_path / "demo", "best_of_n.x", {}, solutions=[{"question": "q", "steps": ["a"], "truths": []}]
    )
    with pytest.raises(DataError, match=r"solutions.jsonl:1: field 'truths': 0 truths for 1 step"):
        inspector_data([run])
