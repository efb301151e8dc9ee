"""The audit of oracles: cases from files, rates with known answers, the command, resuming, halves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from real_data import sample
from sparring.errors import DataError, SettingsError
from sparring.evaluation.oracle import (
    Case,
    CaseSet,
    Judged,
    OracleAuditSettings,
    add_prmbench,
    add_processbench,
    add_references,
    audit_oracles,
    false_alarms,
    half_of,
    judge_cases,
    rates,
)
from sparring.evaluation.outcome import markdown, markdown_tables
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.runs import Metric, read_metrics
from sparring.settings import load_settings
from sparring.traces.records import Problem
from sparring.traces.verdict import Truth, Verdict

MEMBERS = "members=[arithmetic, reference]"


def processbench_record(name: str, steps: list[str], label: int) -> dict[str, Any]:
    record = {"id": name, "generator": "nobody", "problem": f"Problem {name}.", "steps": steps}
    return record | {"final_answer_correct": label < 0, "label": label}


def prmbench_record(original: list[str], modified: list[str], wrong: list[int], kind: str) -> dict[str, Any]:
    questions = dict.fromkeys(("original_question", "modified_question"), "How many pens?")
    record = {"idx": kind, "classification": kind, "reason": "made so", "error_steps": wrong}
    return questions | record | {"original_process": original, "modified_process": modified}


def jsonl(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def processbench(tmp_path: Path) -> Path:
    return jsonl(
        tmp_path / "pb.json",
        processbench_record("a", ["2 + 2 = 4 pens.", "Then 4 * 3 = 12."], -1),
        processbench_record("b", ["5 + 5 = 10.", "10 * 2 = 30.", "So 30 + 1 = 31."], 1),
        processbench_record("c", ["3 + 3 = 7.", "Done."], -1),  # labelled correct: a false alarm
    )


@pytest.fixture
def gsm8k(tmp_path: Path) -> Path:
    return jsonl(
        tmp_path / "train.jsonl",
        {
            "question": "48 clips in April, half in May. How many?",
            "answer": "She sold 48/2 = <<48/2=24>>24 in May.\nIn all 48+24 = <<48+24=72>>72 clips.\n#### 72",
        },
        {"question": "Is there a step?", "answer": "There are no numbers here.\n#### 1"},
    )


# --- halves ---


def test_halves_never_change() -> None:
    found = {name: half_of(name) for name in ("a", "b", "How many pens?")}
    assert found == {"a": "held_out", "b": "development", "How many pens?": "development"}
    assert half_of("How  many\n pens? ") == half_of("How many pens?")


def test_halves_are_halves_and_make_up_the_whole(tmp_path: Path) -> None:
    share = sum(half_of(f"problem {number}") == "held_out" for number in range(2000)) / 2000
    assert 0.46 < share < 0.54
    records = [processbench_record(str(number), ["1 + 1 = 2."], -1) for number in range(40)]
    path = jsonl(tmp_path / "many.json", *records)
    counts = {}
    for half in ("development", "held_out", "all"):
        found = CaseSet(half)  # type: ignore[arg-type]
        add_processbench(found, path)
        counts[half] = len(found.cases)
        assert len(found.cases) + found.left_out["ProcessBench solution of the other half"] == 40
    assert counts["development"] + counts["held_out"] == counts["all"] == 40
    assert min(counts.values()) > 0


# --- cases ---


def test_processbench_cases(processbench: Path) -> None:
    found = CaseSet("all")
    add_processbench(found, processbench)
    assert [(case.place, case.label, case.groups[1:]) for case in found.cases] == [
        ("a.0", "correct", ("processbench_pb.correct_solutions",)),
        ("a.1", "correct", ("processbench_pb.correct_solutions",)),
        ("b.0", "correct", ("processbench_pb.before_error",)),
        ("b.1", "wrong", ()),
        ("c.0", "correct", ("processbench_pb.correct_solutions",)),
        ("c.1", "correct", ("processbench_pb.correct_solutions",)),
    ]
    assert found.cases[1].prefix == ("2 + 2 = 4 pens.",)
    assert found.left_out["ProcessBench step after the first error"] == 1


def test_prmbench_pairs_controls_and_what_is_left_out(tmp_path: Path) -> None:
    folder, original = tmp_path / "prmbench", ["2 + 2 = 4.", "4 * 3 = 12.", "So 12."]
    jsonl(
        folder / "one.jsonl",
        prmbench_record(original, ["2 + 2 = 4.", "4 * 3 = 13.", "So 13."], [2, 3], "step_contradiction"),
        prmbench_record(original, ["Two.", "4 * 3 = 13.", "So 13."], [2], "step_contradiction"),
        prmbench_record(original, ["2 + 2 = 4.", "4 * 3 = 12.", "So 12."], [2], "step_contradiction"),
        prmbench_record(original, ["2 + 2 = 4."], [7], "step_contradiction"),
        prmbench_record(original, ["2 + 2 = 4."], [], "step_contradiction"),
    )
    jsonl(
        folder / "two.jsonl",
        prmbench_record(["2+2 = 4", *original[1:]], ["2+2 = 4", "2 + 2 is 4."], [2], "redundency"),
    )
    found = CaseSet("all")
    add_prmbench(found, folder)
    assert [case.label for case in found.cases] == ["correct"] * 3 + ["wrong"] * 3 + ["needless"]
    assert [case.original for case in found.cases[3:]] == ["4 * 3 = 12.", None, None, "4 * 3 = 12."]
    assert found.cases[-1].groups == ("prmbench_redundency",)
    assert +found.left_out == {
        "PRMBench original solution met before": 5,
        "PRMBench error judged without its original: the solutions differ before it": 1,
        "PRMBench error judged without its original: the same text": 1,
        "PRMBench modified solution: error_steps names a step that does not exist": 1,
        "PRMBench modified solution: error_steps names no step": 1,
    }
    with pytest.raises(DataError, match="no PRMBench file"):
        add_prmbench(CaseSet("all"), tmp_path / "nowhere")


def references(gsm8k: Path, **options: Any) -> CaseSet:
    found = CaseSet("all")
    settings = OracleAuditSettings(gsm8k=[str(gsm8k)], **({"perturbed_steps": 10} | options))
    add_references(found, gsm8k, "gsm8k", settings)
    return found


def test_reference_cases_and_perturbations(gsm8k: Path) -> None:
    found = references(gsm8k)
    plain = [case for case in found.cases if case.label == "correct"]
    made = [case for case in found.cases if case.label == "wrong"]
    assert [case.groups for case in plain] == [("gsm8k_train",)] * 3
    assert all(case.original is not None and case.original != case.step for case in made)
    assert {case.groups[0] for case in made} <= set(found.tried)
    assert set(found.tried.values()) == {3}
    for case in made:
        _, kind, style = case.groups[0].split(".")
        assert (len(case.groups) == 2) == (style in PERTURBATIONS[kind].computable)
    assert references(gsm8k).cases == found.cases
    assert references(gsm8k, seed=1).cases != found.cases
    few = references(gsm8k, reference_steps=1, perturbed_steps=0)
    assert len(few.cases) == 1
    assert few.left_out["reference step of gsm8k_train not in the sample"] == 2


def test_the_sample_of_one_kind_does_not_depend_on_the_others(gsm8k: Path) -> None:
    alone = [case for case in references(gsm8k, kinds=["off_by_one"]).cases if case.label == "wrong"]
    among = [case for case in references(gsm8k).cases if case.groups[0] == "gsm8k_train.off_by_one.text"]
    assert alone == among != []


# --- rates ---


def judged(label: str, truths: Sequence[Truth], question: str = "q{}") -> list[Judged]:
    return [
        Judged(
            Case(("set",), label, f"p.{number}", Problem(id="p", question=question.format(number)), (), "s"),  # type: ignore[arg-type]
            {"judge": Verdict(truth, "judge:kind")},
        )
        for number, truth in enumerate(truths)
    ]


def test_rates_with_known_answers() -> None:
    everything = [
        *judged("correct", ["wrong"] + ["correct"] * 2 + ["undecided"]),
        *judged("wrong", ["wrong", "undecided", "undecided", "correct", "correct"]),
        *judged("needless", ["wrong", "correct"]),
    ]
    found = {name.removeprefix("set.judge."): metric.value for name, metric in rates(everything).items()}
    assert found == {
        "false_alarm": 0.25,
        "confirmed": 0.5,
        "undecided": 0.25,
        "recall": 0.2,
        "missed": 0.4,
        "undecided_on_errors": 0.4,
        "needless_wrong": 0.5,
        "needless_correct": 0.5,
        "needless_undecided": 0.0,
    }
    assert len(false_alarms(everything)) == 1


@given(st.lists(st.sampled_from(["wrong", "correct", "undecided"]), min_size=2, max_size=40))
def test_shares_of_a_label_add_up_and_lie_in_their_intervals(truths: list[Truth]) -> None:
    found = rates(judged("correct", truths), resamples=50)
    assert sum(metric.value or 0 for metric in found.values()) == pytest.approx(1)
    for metric in found.values():
        assert metric.n == len(truths)
        assert metric.low is not None and metric.high is not None and metric.value is not None
        assert 0 <= metric.low <= metric.value <= metric.high <= 1


def test_an_interval_is_wilson_for_rare_events_and_wider_for_dependent_steps() -> None:
    rare = share([True] + [False] * 999, [str(number) for number in range(1000)])
    assert rare.low is not None and 0 < rare.low < 0.001 < (rare.high or 0)
    assert share([False] * 50, [str(number // 2) for number in range(50)]).high == pytest.approx(
        0.133, abs=0.001
    )
    assert share([False] * 50, ["q"] * 50).low is None, "one problem says nothing about others"
    hits = [number % 2 == 0 for number in range(40) for _ in range(10)]
    together = share(hits, [str(number) for number in range(40) for _ in range(10)])
    apart = share(hits, [str(number) for number in range(400)])
    assert together.value == apart.value == 0.5 and together.n == 400
    assert width(together) > 2 * width(apart)


def share(hits: list[bool], problems: list[str]) -> Metric:
    cases = [Case(("set",), "wrong", name, Problem(name, name), (), "step") for name in problems]
    judged = [
        Judged(case, {"arithmetic": Verdict("wrong" if hit else "correct", "arithmetic", "equation_holds")})
        for case, hit in zip(cases, hits, strict=True)
    ]
    return rates(judged)["set.arithmetic.recall"]


def width(metric: Metric) -> float:
    assert metric.low is not None and metric.high is not None
    return metric.high - metric.low


# --- judging and its journal ---


class CountedPanel:
    """Says `wrong` of every step that ends in an exclamation mark; can fail after some steps."""

    members = ("arithmetic", "reference")

    def __init__(self, fails_after: int | None = None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.fails_after = fails_after

    def judge_members_many(
        self, steps: Sequence[tuple[Any, Any, str | None, str]]
    ) -> list[dict[str, Verdict]]:
        self.asked += [(step, original) for _, _, original, step in steps]
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise KeyboardInterrupt
        return [
            {
                "arithmetic": Verdict("wrong" if step.endswith("!") else "undecided", "arithmetic:x", "", (0, 1)),
                "reference": Verdict(*(("undecided", "reference:no_original") if original is None
                                       else ("wrong", "reference:y"))),
            }
            for _, _, original, step in steps
        ]  # fmt: skip


def cases(count: int) -> list[Case]:
    problem = Problem(id="p", question="q")
    return [
        Case(("set",), "wrong", f"p.{n}", problem, (), f"step {n}{'!' * (n % 2)}", "other" if n % 3 else None)
        for n in range(count)
    ]


def test_who_judges() -> None:
    alone, against = judge_cases(cases(2), CountedPanel())  # type: ignore[arg-type]
    assert {judge: verdict.truth for judge, verdict in alone.verdicts.items()} == {
        "arithmetic": "undecided",
        "panel": "undecided",
    }
    assert {judge: verdict.truth for judge, verdict in against.verdicts.items()} == {
        "arithmetic": "wrong",
        "panel": "wrong",
        "panel_against": "wrong",
        "reference": "wrong",
    }


def test_a_killed_audit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.evaluation.oracle.BATCH", 3)
    journal, quiet = tmp_path / "journal.jsonl", Console(quiet=True)
    whole = judge_cases(cases(10), CountedPanel())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        judge_cases(cases(10), CountedPanel(11), journal=journal, console=quiet)  # type: ignore[arg-type]
    with journal.open("a") as file:
        file.write('{"arithmetic": ["wro')  # torn by the kill
    second = CountedPanel()
    assert judge_cases(cases(10), second, journal=journal, console=quiet) == whole  # type: ignore[arg-type]
    first_asked = next(step for step, original in second.asked if original is None)
    assert first_asked != cases(10)[0].step
    assert len([1 for _, original in second.asked if original is None]) < 10
    third, kept = CountedPanel(), journal.read_bytes()
    with pytest.raises(
        SettingsError, match=r"journal\.jsonl belongs to another job; what differs: cases\. Choose"
    ):
        judge_cases(cases(9), third, journal=journal, console=quiet)  # type: ignore[arg-type]
    assert not third.asked and journal.read_bytes() == kept


# --- the command ---


def run(out: Path, *overrides: str) -> dict[str, Metric]:
    members = [] if any(text.startswith("members=") for text in overrides) else [MEMBERS]
    given = [*members, "workers=1", "resamples=50", *overrides]
    settings = load_settings(OracleAuditSettings, None, given)
    return audit_oracles(settings, out, console=Console(quiet=True))


def test_the_whole_command(tmp_path: Path, processbench: Path, gsm8k: Path) -> None:
    out = tmp_path / "out"
    metrics = run(out, f"processbench=[{processbench}]", f"gsm8k=[{gsm8k}]", "perturbed_steps=3")
    assert read_metrics(out) == metrics
    found = {name: metric.value for name, metric in metrics.items()}
    assert found["oracle.processbench_pb.arithmetic.false_alarm"] == 1 / 5
    assert found["oracle.processbench_pb.correct_solutions.arithmetic.false_alarm"] == 1 / 4
    assert found["oracle.processbench_pb.before_error.arithmetic.false_alarm"] == 0
    assert found["oracle.processbench_pb.panel.recall"] == 1
    assert found["oracle.gsm8k_train.panel.false_alarm"] == 0
    assert found["oracle.gsm8k_train.computable.panel_against.recall"] == 1
    assert found["oracle.gsm8k_train.computable.reference.recall"] == 1
    assert found["oracle.gsm8k_train.arithmetic_slip.text.applies"] == 2 / 3
    assert found["oracle.gsm8k_train.dropped_case.text.applies"] == 0
    assert found["oracle.false_alarms"] == 1
    written = [json.loads(line) for line in (out / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(written) == found["oracle.cases"]
    [alarm] = (out / "false_alarms.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(alarm)["step"] == "3 + 3 = 7."
    assert "3 + 3 = 7." in (out / "false_alarms.md").read_text(encoding="utf-8")
    assert "### Rule perturbations found" in (out / "tables.md").read_text(encoding="utf-8")
    assert not (out / "cases.partial.jsonl").exists()
    content = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert content["extra"]["left_out"] == {"ProcessBench step after the first error": 1}
    assert content["extra"]["panel_reasons"]["processbench_pb.wrong"] == {"wrong arithmetic:wrong_result": 1}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give data"),
        (["processbench=[PB]", "kinds=[nonsense]"], "unknown kind 'nonsense'"),
        (["processbench=[PB]", "half=first"], "half"),
        (["processbench=[PB]", "members=[arithmetik]"], "did you mean 'arithmetic'"),
        (["processbench=[PB]", "members=[]"], "at least one member"),
    ],
)
def test_bad_settings_are_refused(
    tmp_path: Path, processbench: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        run(tmp_path / "out", *(text.replace("PB", str(processbench)) for text in overrides))
    assert not (tmp_path / "out").exists()


def test_bad_data_is_refused(tmp_path: Path, processbench: Path) -> None:
    with pytest.raises(DataError, match="another file"):
        run(tmp_path / "out", f"processbench=[{processbench}, {processbench}]")
    one = jsonl(tmp_path / "one.json", processbench_record("a", ["1 + 1 = 2."], -1))
    other = "held_out" if half_of("Problem a.") == "development" else "development"
    with pytest.raises(DataError, match="no step of the half"):
        run(tmp_path / "out", f"processbench=[{one}]", f"half={other}")


# --- tables ---


def test_tables_escape_what_data_says() -> None:
    lines = markdown([("a", "b"), ("x | y", "<b>\n$z$ \\frac")]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| x \\| y | &lt;b> \\$z\\$ \\\\frac |"


def test_every_judge_of_a_set_and_every_kind_of_mistake_has_a_row() -> None:
    shares = {
        "gsm8k_train.slip.text.panel.recall": Metric(0.5, unit="fraction"),
        "gsm8k_train.slip.text.panel_against.missed": Metric(0.25, unit="fraction"),
        "gsm8k_train.slip.text.applies": Metric(1.0, unit="fraction"),
        "pb.before_error.arithmetic.false_alarm": Metric(0.125, unit="fraction"),
        "pb.panel.recall": Metric(0.75, unit="fraction"),
        "cases": Metric(4),
    }
    assert markdown_tables("oracle", shares).splitlines() == [
        "### Labelled steps",
        "",
        "| set and judge | false alarms | errors found |",
        "| --- | --- | --- |",
        "| pb · before error · arithmetic | 12.5 | – |",
        "| pb · panel | – | 75.0 |",
        "",
        "### Rule perturbations found",
        "",
        "| set, kind and style | panel | called correct by it | could be made |",
        "| --- | --- | --- | --- |",
        "| gsm8k train · slip · text | 50.0 | 25.0 | 100.0 |",
    ]


def taxonomy_rows() -> list[tuple[str, ...]]:
    """Which kind has a generator for which style, and where its errors are computable."""

    def state(there: bool, computable: bool) -> str:
        return ("computable" if computable else "not computable") if there else "–"

    rows = [("class", "kind", "GSM8K-like", "LaTeX")]
    for kind in PERTURBATIONS.values():
        text = state(bool(kind.generators("text")), "text" in kind.computable)
        latex = state(bool(kind.generators("latex")), "latex" in kind.computable)
        rows.append((kind.error_class, f"`{kind.name}`", text, latex))
    return rows


def test_documented_taxonomy_is_the_taxonomy() -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "oracles.md"
    text = page.read_text(encoding="utf-8")
    without_words = re.sub(
        r"^(\|[^|\n]+\|[^|\n]+\|)[^|\n]+\|(?=[^|\n]+\|[^|\n]+\|$)", r"\1", text, flags=re.MULTILINE
    )
    assert markdown(taxonomy_rows()) in without_words


# --- real data ---


def test_every_real_record_is_a_case_or_counted() -> None:
    found = CaseSet("all")
    folder = sample("prmbench")
    add_prmbench(found, folder)
    records = sum(len(path.read_text().splitlines()) for path in folder.glob("*.jsonl"))
    skipped = sum(
        n for reason, n in found.left_out.items() if reason.startswith("PRMBench modified solution")
    )
    modified = sum(case.label != "correct" for case in found.cases)
    assert modified + skipped == records
    found = CaseSet("all")
    add_processbench(found, sample("processbench/gsm8k.json"))
    assert sum(case.label == "correct" for case in found.cases) == 680
    assert sum(case.label == "wrong" for case in found.cases) == 104
