"""The page of an evaluation: every kind, hostile and oversized text, what is left out, and files that do not fit."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from report_checks import assert_loads_nothing, checked
from sparring.errors import DataError, SparringError
from sparring.evaluation.bon import BonSettings, evaluate_bon
from sparring.evaluation.cases import Case as StepCase
from sparring.evaluation.outcome import show_worst, worst_disagreements
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.evaluation.search import Case, misled_searches
from sparring.report.cases import LONGEST_STEP, MOST_STEPS, window
from sparring.report.kinds import KINDS
from sparring.report.page import MOST_CASES, MOST_ROWS, write_report
from sparring.runs import Metric, write_metrics
from sparring.search import Candidate, Found, Spent
from sparring.traces.records import Problem, Trace

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>\u202e"
LABELLED = {
    "id": "case-1", "gap": 0.9, "step": 1, "score": 0.9, "label": 0.0, "threshold": 0.5, "problem": "1 + 1 = ?",
    "steps": ["so 1 + 1", "is 3", "done"], "scores": [0.8, 0.9, 0.1], "labels": [1.0, 0.0, None],
}  # fmt: skip
CANDIDATE = {"answer": "3", "value": 0.75, "steps": ["is 3"], "scores": [0.75]}
MISLED = {
    "id": "p1", "gap": 0.2, "note": "beam, N = 4", "problem": "1 + 1 = ?", "picked": CANDIDATE,
    "right": {"answer": None, "value": 0.55, "steps": ["is 2"], "scores": [0.55]},
}  # fmt: skip
VERDICT = {"truth": "wrong", "reason": "arithmetic:wrong_result", "detail": "1+1 is 2", "span": [3, 6]}
RECORDS: dict[str, dict[str, Any]] = {
    "processbench": LABELLED,
    "prmbench": LABELLED,
    "calibration": LABELLED,
    "bon": MISLED,
    "search": MISLED,
    "compare": {
        "id": "case-1", "first_error": 1, "right_a": True, "right_b": False, "problem": "1 + 1 = ?",
        "steps": ["so", "is 3", "done"], "scores_a": [0.9, 0.1, 0.5], "scores_b": [0.9, 0.8, 0.2],
    },
    "attack": {
        "adversary": "rules", "id": "p1", "question": "1 + 1 = ?", "prefix": ["so"], "step": "is 2",
        "rewrite": "is 3", "truth": "wrong", "reason": "arithmetic:wrong_result", "score": 0.9,
    },
    "oracle": {
        "sets": ["x"], "place": "p1.1", "label": "correct", "step": "so 1+1 is 2", "original": None,
        "question": "1 + 1 = ?", "prefix": ["so"], "verdicts": {"arithmetic": VERDICT, "panel": VERDICT},
    },
}  # fmt: skip
METRICS = {
    "processbench": "gsm8k.f1", "prmbench": "overall.prm_score", "calibration": "test.share_right",
    "bon": "majority.n4.accuracy", "search": "beam.n_4.accuracy", "compare": "gsm8k.f1.difference",
    "attack": "trained.fool_rate", "oracle": "processbench_gsm8k.panel.false_alarm",
}  # fmt: skip
SAYS = {
    "processbench": "✗ PRM accepts a wrong step", "prmbench": "✗ PRM accepts a wrong step",
    "calibration": "✗ PRM accepts a wrong step", "bon": "Preferred, wrong: answer 3",
    "search": "Right, passed over: no answer found", "compare": "✗ B accepts a wrong step",
    "attack": "✗ PRM accepts a wrong step", "oracle": "<mark>1+1</mark>",
}  # fmt: skip


def make_run(
    root: Path,
    kind: str,
    records: list[dict[str, Any]] | None = None,
    metrics: dict[str, Metric] | None = None,
) -> Path:
    """A run directory of an evaluation with one number and the given worst cases."""
    found = {METRICS[kind]: Metric(0.614, 0.572, 0.655, 400, "fraction"), "skipped": Metric(3)} | (
        metrics or {}
    )
    chosen = {
        "thresholds": [{"value": 0.5, "rule": "fixed"}] * 2,
        "threshold_rule": "fixed 0.5",
        "data": ["x.json"],
    }
    named = {f"{kind}.{name}": metric for name, metric in found.items()}
    write_metrics(root, named, settings=chosen, seed=7, extra={"worst_of": 44})
    lines = [RECORDS[kind]] if records is None else records
    text = "".join(json.dumps(record) + "\n" for record in lines)
    (root / KINDS[kind].file).write_text(text, encoding="utf-8")
    for name in KINDS[kind].plots:
        (root / name).write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    return root


def page_of(root: Path) -> str:
    return write_report(root).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_page_with_numbers_and_cases(kind: str, tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, kind))
    assert_loads_nothing(page)
    for said in ("61.4 [57.2,\u00a065.5]".replace("57.2", "+57.2").replace("61.4", "+61.4").replace("65.5", "+65.5")
                 if kind == "compare" else "61.4 [57.2,\u00a065.5]",
                 SAYS[kind], "Shown: 1 of 44 cases; 43 are left out.", "skipped 3", "1 + 1 = ?"):  # fmt: skip
        assert said in page
    assert ("<img" in page) == bool(KINDS[kind].plots)
    assert page == page_of(tmp_path)


def hostile(value: Any, name: str = "") -> Any:
    """The record with every text replaced; a span then marks the beginning of one."""
    if isinstance(value, dict):
        return {key: hostile(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_is_shown_and_never_markup(kind: str, tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, kind, [hostile(RECORDS[kind])]))
    assert_loads_nothing(page)
    assert "alert(1)&lt;/script&gt;" in page and "\u202e" not in page


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_bounded_and_says_what_it_leaves_out(kind: str, tmp_path: Path) -> None:
    long = "<" * 3000  # escaping makes four characters of each
    record = copy.deepcopy(RECORDS[kind])
    for place in (record, record.get("picked", {}), record.get("right", {})):
        for name in ("problem", "question", "step", "rewrite", "reason", "answer", "note", "id", "place"):
            if isinstance(place.get(name), str):
                place[name] = long
        for name, value in place.items():
            if name in ("steps", "prefix"):
                place[name] = [long] * 40
            elif name in ("scores", "scores_a", "scores_b", "labels"):
                place[name] = [value[0]] * 40
    metrics = (
        {f"s{n}.f1": Metric(0.5, n=1, unit="fraction") for n in range(2000)} if kind == "processbench" else {}
    )
    page = page_of(make_run(tmp_path, kind, [record] * 25, metrics))
    checked(page)
    most = MOST_CASES * (2 * MOST_STEPS + 12) * (4 * LONGEST_STEP + 1000)
    assert len(page) < most + 300_000
    assert page.count('<article class="case">') == MOST_CASES
    assert "24 are left out" in page and "more characters not shown" in page
    assert "steps before and" in page
    if kind == "processbench":
        assert f"{2001 - MOST_ROWS} more rows in metrics.json" in page


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_window_of_steps_holds_its_place(total: int, place: int) -> None:
    part = window(total, place)
    assert len(part) == min(total, MOST_STEPS) and all(0 <= index < total for index in part)
    assert place >= total or place in part


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("processbench", {"scores": [0.1]}, "scores"),
        ("processbench", {"scores": [0.1, 2.0, 0.1]}, "scores[1]"),
        ("processbench", {"step": 3}, "step"),
        ("prmbench", {"steps": "is 3"}, "steps"),
        ("compare", {"first_error": 7}, "first_error"),
        ("bon", {"picked": None}, "picked"),
        ("attack", {"question": 3}, "question"),
        (
            "oracle",
            {"verdicts": {"panel": {"truth": "wrong", "reason": "a:b", "span": [4, 99]}}},
            "verdicts.panel.span",
        ),
    ],
)
def test_records_that_do_not_fit_are_refused_by_place(
    kind: str, change: dict[str, Any], field: str, tmp_path: Path
) -> None:
    root = make_run(tmp_path, kind, [RECORDS[kind], RECORDS[kind] | change])
    with pytest.raises(DataError) as refused:
        write_report(root)
    assert (refused.value.line, refused.value.field) == (2, field)
    assert not (root / "report.html").exists()


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(list(KINDS)), data=st.data())
def test_fuzzed_fields_are_shown_or_refused(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    record = dict(RECORDS[kind])
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(junk)
    root = make_run(tmp_path, kind, [record])
    try:
        assert_loads_nothing(page_of(root))
    except DataError as refused:
        assert refused.line == 1 and refused.field


def test_missing_parts_are_named(tmp_path: Path) -> None:
    root = make_run(tmp_path, "calibration")
    (root / "worst.jsonl").unlink()
    (root / "reliability.svg").unlink()
    page = page_of(root)
    assert "Not in this run: the worst cases" in page and "reliability.svg" in page
    assert "There are none." in page_of(make_run(tmp_path / "other", "search", []))


def test_a_folder_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SparringError, match="missing"):
        write_report(tmp_path)
    write_metrics(tmp_path, {"training.loss": Metric(1.0)}, settings={}, seed=0)
    with pytest.raises(SparringError, match="processbench"):
        write_report(tmp_path)


def test_a_p_value_stands_beside_its_difference(tmp_path: Path) -> None:
    metrics = {
        "best_minus_majority": Metric(-0.02, -0.05, 0.01, 50, "fraction"),
        "best_minus_majority.p_value": Metric(0.375),
    }
    assert "−2.0 [−5.0,\u00a0+1.0], p\u00a0=\u00a00.375" in page_of(
        make_run(tmp_path, "bon", metrics=metrics)
    )


# --- the commands ---


class Fixed:
    """Accepts every step."""

    threshold = 0.5

    def score(self, traces: Any) -> list[list[float]]:
        return [[0.9] * len(trace.steps) for trace in traces]


def test_an_evaluation_ends_with_its_page_and_report_makes_it_again(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"p{n}",
            "problem": f"{n} + 1?",
            "steps": ["a", "b"],
            "final_answer_correct": n % 2 == 0,
            "label": label,
        }
        for n, label in ((0, -1), (1, 1), (2, -1), (3, 0))
    ]
    data = tmp_path / "data.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    evaluate_processbench(ProcessbenchSettings(data=[data], resamples=20), tmp_path / "out", scorer=Fixed())
    path = tmp_path / "out" / "report.html"
    page = path.read_text(encoding="utf-8")
    worst = [json.loads(line) for line in (tmp_path / "out" / "worst.jsonl").open()]
    assert [(one["id"], one["step"]) for one in worst][:2] == [("p1", 1), ("p3", 0)]
    assert page.count("✗ PRM accepts a wrong step") == 2 and "Shown: 4 of 4 cases." in page
    path.unlink()
    assert write_report(tmp_path / "out").read_text(encoding="utf-8") == page


def found(values: list[float], chosen: int | None) -> Found:
    candidates = tuple(Candidate((f"step {value}",), True, (value,), value) for value in values)
    return Found("p1", chosen, candidates, Spent(), {}, None, 0.0)


def test_searches_are_misled_where_a_right_candidate_was_passed_over() -> None:
    def case(problem: str, repeat: int, *of: Any, method: str = "beam") -> Case:
        return Case(method, 4, repeat, Problem(problem, "1 + 1 = ?"), *of)

    near = case("p1", 0, found([0.6, 0.5], 0), ("3", "2"), (False, True))
    far = case("p1", 1, found([0.9, 0.2, 0.3], 0), ("3", "2", "2"), (False, True, True), method="dvts")
    hopeless = case("p2", 0, found([0.9, 0.5], 0), ("3", "4"), (False, False))
    solved = case("p3", 0, found([0.9, 0.5], 0), ("2", "3"), (True, False))
    empty = case("p4", 0, found([], None), (), ())
    [record] = misled_searches([near, hopeless, solved, empty, far])
    assert record["gap"] == pytest.approx(0.6) and record["note"].startswith("dvts, N = 4: 2 of 3")
    assert record["picked"]["answer"] == "3" and record["right"]["steps"] == ["step 0.3"]


def test_the_worst_carry_the_threshold_by_which_a_page_judges() -> None:
    trace = Trace(Problem("p", "?"), ("a", "b"))
    [record] = worst_disagreements([(StepCase("s", "p", -1, (1.0, 1.0), (0.9, 0.3)), trace)], 0.25)
    assert record["threshold"] == 0.25 and record["step"] == 1


def bon_data(folder: Path) -> Path:
    records = [
        {"id": "p1", "problem": "1 + 1 = ?", "steps": steps, "outcome": outcome}
        for steps, outcome in ((["so", "The answer is 2"], True), (["hm", "The answer is 3"], False))
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return data


class Told:
    """Scores by the first step, with a sidecar that names an aggregation."""

    threshold, threshold_rule = 0.5, ""

    def __init__(self, aggregation: str, meaning: str = "correctness") -> None:
        from sparring.models.sidecar import Sidecar

        self.sidecar = Sidecar.model_validate({"aggregation": aggregation, "meaning": meaning})

    def score(self, traces: Any) -> list[list[float]]:
        return [[0.5, 0.6] if trace.steps[0] == "so" else [0.4, 0.9] for trace in traces]


@pytest.mark.parametrize(
    ("rule", "scorer", "used", "misled"),
    [
        ("auto", Told("min"), "min", 0),
        ("auto", Told("last"), "last", 1),
        ("auto", Told("soft_min"), "soft_min", 0),
        ("auto", Told("min", "value"), "last", 1),
        ("mean", Told("min"), "mean", 1),
    ],
)
def test_the_sidecar_says_by_which_rule_the_misled_are_listed(
    rule: str, scorer: Told, used: str, misled: int, tmp_path: Path
) -> None:
    evaluate_bon(
        BonSettings(data=[bon_data(tmp_path)], rule=rule, resamples=20), tmp_path / "out", scorer=scorer
    )
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["settings"]["rule"] == used and written["extra"]["worst_of"] == misled
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ("Preferred, wrong: answer 3" in page) == bool(misled)


def test_every_aggregation_of_the_search_may_stand_in_a_sidecar() -> None:
    from typing import get_args

    from sparring.models.sidecar import Sidecar
    from sparring.search import AGGREGATIONS, MethodSettings

    assert set(get_args(Sidecar.model_fields["aggregation"].annotation)) == set(AGGREGATIONS)
    assert set(get_args(MethodSettings.model_fields["aggregation"].annotation)) == {"auto", *AGGREGATIONS}


def test_the_command_rebuilds_a_page(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from sparring.__main__ import app

    root = make_run(tmp_path, "processbench")
    done = CliRunner().invoke(app, ["report", str(root)])
    assert done.exit_code == 0 and "report.html" in done.stdout and (root / "report.html").is_file()


def test_a_terminal_counts_steps_from_one_like_the_page() -> None:
    trace = Trace(Problem("c", "1 + 1?"), ("first", "second"))
    text = StringIO()
    records = worst_disagreements([(StepCase("s", "c", 1, (1.0, 0.0), (0.9, 0.8)), trace)], 0.5)
    show_worst(Console(file=text, force_terminal=True, width=80, no_color=True), records)
    assert "c: step 2 scores 0.800, label 0" in text.getvalue()
    rows = [line.split()[1] for line in text.getvalue().splitlines() if "first" in line or "second" in line]
    assert records[0]["step"] == 1 and rows == ["1", "2"], text.getvalue()
