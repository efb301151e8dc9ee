"""The demo report: computed wording, untrusted text, no loading, missing and malformed files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_checks import checked
from sparring.errors import DataError, SparringError
from sparring.report.demo import write_demo_report
from sparring.report.picture import write_result_picture
from sparring.report.run_files import read_demo_run

OPTIONAL = (
    "rules_prm/log.jsonl",
    "aprm/log.jsonl",
    "attack_rules_prm.jsonl",
    "attack_aprm.jsonl",
    "cross_play.json",
    "examples.jsonl",
    "solutions.jsonl",
)
HOSTILE = (
    '<script>alert("x")</script><img src=http://e.vil/a onerror=x>\x00\u202e</td>&amp;\U0001f600' + "\ud800"
)


def entry(value: float, half: float = 0.03, n: int = 300) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n, "unit": "share"}


def metrics(gain: float = 0.1, half: float = 0.03) -> dict[str, Any]:
    """Metrics of a run where the APRM is better by `gain` everywhere, every interval `half` to both sides."""
    named: dict[str, Any] = {}
    for split in ("in_distribution", "longer"):
        for picker in ("greedy", "random", "majority", "rules_prm", "oracle"):
            named[f"best_of_n.{split}.{picker}.accuracy"] = entry(0.5, half)
        named[f"best_of_n.{split}.aprm.accuracy"] = entry(0.5 + gain, half)
        named[f"best_of_n.{split}.aprm_minus_rules_prm"] = entry(gain, half)
        named[f"best_of_n.{split}.aprm_minus_majority"] = entry(gain, half)
        for method, f1 in (("rules_prm", 0.4), ("aprm", 0.4 + gain)):
            for measure in ("f1", "accuracy_erroneous", "accuracy_correct", "step_auc"):
                named[f"step_error.{split}.{method}.{measure}"] = entry(f1, half)
    for method, rate in (("rules_prm", 0.6), ("aprm", 0.6 - gain)):
        for attacker in ("rules", "frozen", "trained"):
            named[f"attack.{method}.{attacker}.fool_rate"] = entry(rate, half)
        for name in ("seconds", "updates", "labelled_steps"):
            named[f"training.{method}.{name}"] = {
                "value": 90,
                "low": None,
                "high": None,
                "n": 1,
                "unit": name,
            }
    return named


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def make_run(root: Path, named: dict[str, Any] | None = None, text: str = "3 + 4 = 7.") -> Path:
    """Write a whole synthetic run; `text` stands wherever a model or a person wrote something."""
    root.mkdir(exist_ok=True)
    written = {
        "metrics": metrics() if named is None else named,
        "settings": {"best_of_n": 16, "world": {"name": text}},
        "seed": 3,
        "commit": "abc1234",
        "versions": {"python": "3.11"},
        "machine": {"cpu": text},
    }
    (root / "metrics.json").write_text(json.dumps(written), encoding="utf-8")
    curve = [
        {"update": u, "fool_rate": 0.5 + 0.4 * math.sin(u), "failed": 0.2, "caught": None, "prm_kl": 0.1 * u}
        for u in range(40)
    ]
    for name in OPTIONAL[:4]:
        lines(root / name, curve)
    matrix = {
        "prm_updates": [0, 9],
        "adversary_updates": [0, 9],
        "fool_rate": [[0.5, 0.9], [None, 0.37]],
        "n": 64,
    }
    (root / "cross_play.json").write_text(json.dumps(matrix), encoding="utf-8")
    example = {"question": text, "prefix": [text], "step": text, "perturbed": text, "truth": "wrong"}
    example |= {"reason": text, "detail": text, "scores": {"rules_prm": 0.91, "aprm": 0.08, text: None}}
    lines(root / "examples.jsonl", [example | {"adversary": who} for who in ("trained", "rules", text)])
    solution = {"question": text, "steps": [text, "x"], "truths": ["correct", text], "outcome": False}
    lines(root / "solutions.jsonl", [solution | {"scores": {"aprm": [1.0, 0.0]}, "split": text}])
    return root


def report(root: Path) -> str:
    return write_demo_report(root).read_text(encoding="utf-8")


def result(page: str) -> str:
    found = re.search(r'<p class="result">(.*?)</p>', page, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


def assert_loads_nothing(page: str) -> None:
    for tag, attributes in checked(page).seen:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "image", "form"}
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")  # type: ignore[union-attr]
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", page))


def test_page_is_whole_wellformed_and_loads_nothing(tmp_path: Path) -> None:
    page = report(make_run(tmp_path))
    assert_loads_nothing(page)
    assert "http://" not in page
    assert "https://" not in page
    assert "Not in this run" not in page
    targets = {str(a["href"])[1:] for _, a in checked(page).seen if "href" in a}
    assert targets <= {str(a["id"]) for _, a in checked(page).seen if "id" in a}
    for number in ("60.0\u202f%", "+10.0", "abc1234", "best_of_n.longer.aprm.accuracy", "37"):
        assert number in page


def test_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first = write_demo_report(run).read_bytes()
    assert write_demo_report(run, tmp_path / "other.html").read_bytes() == first
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["other.html", "report.html"]


def test_hostile_text_is_shown_and_never_markup(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, text=HOSTILE))
    assert_loads_nothing(page)
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page
    assert "&amp;amp;" in page
    assert "⟨U+0000⟩⟨U+202E⟩" in page
    assert "⟨U+D800⟩" in page
    assert "\x00" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize("empty", [False, True])
def test_missing_and_empty_optional_files_are_named(tmp_path: Path, empty: bool) -> None:
    run = make_run(tmp_path)
    for name in OPTIONAL:
        if empty and name.endswith(".jsonl"):
            (run / name).write_text("", encoding="utf-8")
        else:
            (run / name).unlink()
    page = report(run)
    checked(page)
    assert page.count("Not in this run") == len(OPTIONAL)
    assert all(name in page for name in OPTIONAL)


def test_one_missing_log_leaves_the_other(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "aprm" / "log.jsonl").unlink()
    page = report(run)
    assert page.count("Not in this run") == 1
    assert "Accuracy of the rules PRM" in page or "Training of the rules PRM" in page


def test_metrics_alone_make_a_page_and_a_picture(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"metrics": {}}', encoding="utf-8")
    page = report(tmp_path)
    checked(page)
    assert "no comparison of the two PRMs" in result(page)
    assert write_result_picture(tmp_path, tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def test_missing_metrics_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SparringError, match=r"metrics\.json is missing"):
        write_demo_report(tmp_path)


def test_an_unwritable_place_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SparringError, match="is not a folder"):
        write_demo_report(make_run(tmp_path), tmp_path / "metrics.json" / "where.html")
    with pytest.raises(SparringError, match="is not a folder"):
        write_result_picture(tmp_path, tmp_path / "metrics.json" / "where.png")


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("metrics.json", "{", "metrics.json"),
        ("metrics.json", "[" * 100_000, "metrics.json"),
        ("metrics.json", "[]", "JSON object"),
        ("metrics.json", '{"metrics": {"a.f1": 0.5}}', "metrics.a.f1"),
        ("metrics.json", '{"metrics": {"a": {"value": "x"}}}', "metrics.a.value"),
        ("metrics.json", '{"metrics": {"a": {"value": 1, "low": 2, "high": 1}}}', "metrics.a.low"),
        ("metrics.json", '{"metrics": {"a": {"value": 1, "n": -1}}}', "metrics.a.n"),
        ("aprm/log.jsonl", '{"update": 1}\n{"update": "2"}\n', "log.jsonl:2"),
        ("aprm/log.jsonl", '{"fool_rate": 1}', "update"),
        ("attack_aprm.jsonl", '{"update": 1}\n{"upd', "attack_aprm.jsonl:2"),
        (
            "cross_play.json",
            '{"prm_updates": [0], "adversary_updates": [0], "fool_rate": [[1.5]]}',
            "fool_rate",
        ),
        ("cross_play.json", '{"prm_updates": [0], "adversary_updates": [0], "fool_rate": []}', "fool_rate"),
        (
            "cross_play.json",
            '{"prm_updates": [null], "adversary_updates": [], "fool_rate": [[]]}',
            "prm_updates",
        ),
        ("examples.jsonl", '{"question": 7}', "examples.jsonl:1"),
        ("solutions.jsonl", '{"question": "q", "steps": ["a"], "truths": []}', "truths"),
        ("solutions.jsonl", '{"steps": ["a"], "truths": ["b"], "scores": {"x": [2]}}', "scores.x"),
        ("solutions.jsonl", '{"steps": ["a"], "truths": ["b"], "outcome": 1}', "outcome"),
    ],
)
def test_malformed_files_are_refused_by_place(tmp_path: Path, name: str, content: str, place: str) -> None:
    run = make_run(tmp_path)
    (run / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_demo_run(run)
    assert place in str(caught.value)
    assert name.rsplit("/")[-1] in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "examples.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read_demo_run(run)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from((*OPTIONAL, "metrics.json")),
    key=st.sampled_from(
        ("metrics", "update", "fool_rate", "prm_updates", "scores", "steps", "truth", "seed")
    ),
    value=json_values,
)
def test_fuzzed_fields_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, key: str, value: Any
) -> None:
    run = make_run(tmp_path_factory.mktemp("run"))
    first = json.loads((run / name).read_text(encoding="utf-8").split("\n")[0])
    (run / name).write_text(json.dumps(first | {key: value}), encoding="utf-8")
    try:
        read = read_demo_run(run)
    except DataError as error:
        assert error.file is not None
    else:
        assert all(math.isfinite(metric.value) for metric in read.metrics.values())


@pytest.mark.parametrize(
    ("gain", "says", "never"),
    [
        (
            0.1,
            ["All 5 main comparisons speak for the APRM", "higher by 7.0 to 13.0 points", "lower by"],
            ["no difference"],
        ),
        (
            -0.1,
            ["All 5 main comparisons speak against the APRM", "lower by 7.0 to 13.0 points"],
            ["no difference"],
        ),
        (
            0.01,
            ["None of the 5 main comparisons shows a difference", "no difference shown, −2.0"],
            ["higher", "lower"],
        ),
    ],
)
def test_the_result_follows_the_intervals(
    tmp_path: Path, gain: float, says: list[str], never: list[str]
) -> None:
    text = result(report(make_run(tmp_path, metrics(gain))))
    for words in says:
        assert words in text
    for words in never:
        assert words not in text
    assert "one training run" in text


def test_mixed_results_are_counted_both_ways(tmp_path: Path) -> None:
    named = metrics(0.1)
    named["best_of_n.longer.aprm_minus_rules_prm"] = entry(-0.1)
    named["best_of_n.in_distribution.aprm_minus_rules_prm"] = entry(0.0)
    text = result(report(make_run(tmp_path, named)))
    assert (
        "Of 5 main comparisons, 3 speak for the APRM, 1 speaks against it, and 1 shows no difference" in text
    )


@pytest.mark.parametrize(
    ("inside", "longer", "says"),
    [
        (0.1, 0.1, "also beats a plain majority vote"),
        (0.0, 0.1, "beats a plain majority vote on longer problems only"),
        (-0.1, 0.0, "not shown to beat a plain majority vote"),
    ],
)
def test_the_majority_vote_is_never_left_out(tmp_path: Path, inside: float, longer: float, says: str) -> None:
    named = metrics()
    named["best_of_n.in_distribution.aprm_minus_majority"] = entry(inside)
    named["best_of_n.longer.aprm_minus_majority"] = entry(longer)
    assert says in result(report(make_run(tmp_path, named)))


def test_without_intervals_nothing_is_concluded(tmp_path: Path) -> None:
    named = {name: value | {"low": None, "high": None} for name, value in metrics(0.3).items()}
    page = report(make_run(tmp_path, named))
    assert "None of the 5 main comparisons shows a difference" in result(page)
    assert "nothing can be concluded" in page
    assert "higher by" not in page


def test_a_weak_attack_is_called_weak(tmp_path: Path) -> None:
    named = metrics()
    named["attack.aprm.trained.fool_rate"] = entry(0.1)
    run = make_run(tmp_path, named)
    assert "exploitability is underestimated" in report(run)
    assert "weak attacker" not in report(run)
    lines(run / "attack_aprm.jsonl", [{"update": u, "fool_rate": 0.1, "failed": 0.8} for u in range(20)])
    assert "80.0\u202f% of the attempts were steps that are still correct" in report(run)


def test_a_percent_unit_is_read_as_percent(tmp_path: Path) -> None:
    named = metrics()
    named["best_of_n.longer.oracle.accuracy"] = {"value": 87.5, "low": 80, "high": 91, "n": 9, "unit": "%"}
    assert "87.5\u202f% (80.0 to 91.0)" in report(make_run(tmp_path, named))
