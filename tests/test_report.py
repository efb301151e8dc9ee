"""The demo's page and the parts of every page: wording by intervals, formulas, untrusted text, plots, malformed files."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_checks import assert_loads_nothing, checked
from sparring.errors import DataError, SparringError
from sparring.report import plots
from sparring.report.cases import Case, Part, Step
from sparring.report.demo import Comparison, compared, unpaired_difference
from sparring.report.formulas import ATTRIBUTES, ELEMENTS, LONGEST, escape, mathml, with_formulas
from sparring.report.kinds import KINDS
from sparring.report.numbers import percent, plain, points
from sparring.report.page import band, read_run, render, write_report
from sparring.report.plots import Bar, Curve, Panel, bar_panel, curve_panel, smoothed
from sparring.runs import Metric

DRAWN = plots._panel

OPTIONAL = (
    "rules_prm/log.jsonl",
    "aprm/log.jsonl",
    "attack_rules_prm.jsonl",
    "attack_frozen_prm.jsonl",
    "attack_aprm.jsonl",
    "cross_play.json",
    "examples.jsonl",
    "solutions.jsonl",
)
HOSTILE = '<script>alert("x")</script><img src=http://e.vil/a onerror=x>\x00\u202e</td>&amp;\U0001f600'


@pytest.fixture(autouse=True, scope="module")
def no_drawing() -> Iterator[None]:
    """Leave the plots out where a test is not about them: drawing takes most of the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_panel", lambda title, *_: Panel(title, ""))
        yield


def entry(value: float, half: float = 0.03, n: int = 300) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n, "unit": "fraction"}


def metrics(gain: float = 0.1, half: float = 0.03) -> dict[str, Any]:
    """Metrics of a run where the APRM is better by `gain` everywhere, every interval `half` to both sides."""
    named: dict[str, Any] = {}
    for split in ("in_distribution", "longer"):
        for picker in ("greedy", "random", "majority", "rules_prm", "oracle"):
            named[f"best_of_n.{split}.{picker}.accuracy"] = entry(0.5, half)
        named[f"best_of_n.{split}.aprm.accuracy"] = entry(0.5 + gain, half)
        named[f"best_of_n.{split}.aprm_minus_rules_prm"] = entry(gain, half)
        named[f"best_of_n.{split}.aprm_minus_majority"] = entry(gain, half)
        named[f"best_of_n.{split}.frozen_prm.accuracy"] = entry(0.5, half)
        named[f"best_of_n.{split}.ceiling.accuracy"] = entry(0.8, half)
        named[f"best_of_n.{split}.aprm_minus_frozen_prm"] = entry(0.0, half)
        for method, f1 in (("rules_prm", 0.4), ("aprm", 0.4 + gain)):
            for measure in ("f1", "accuracy_erroneous", "accuracy_correct", "step_auc"):
                named[f"step_error.{split}.{method}.{measure}"] = entry(f1, half)
    for method in ("rules_prm", "frozen_prm", "aprm"):
        for kind in ("arithmetic", "wrong_value", "known", "unlisted"):
            named[f"kinds.{method}.{kind}.accepted"] = entry(0.2, half)
    for method, rate in (("rules_prm", 0.6), ("frozen_prm", 0.6), ("aprm", 0.6 - gain)):
        for attacker in ("rules", "frozen", "trained"):
            named[f"attack.{method}.{attacker}.fool_rate"] = entry(rate, half)
            named[f"attack.{method}.{attacker}.fool_rate_at_98"] = entry(rate, half)
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
        "settings": {"best_of_n": 16, "rule_kinds": ["arithmetic", text], "world": {"name": text}},
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
    for name in OPTIONAL[:5]:
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
    return write_report(root).read_text(encoding="utf-8")


def result(page: str) -> str:
    found = re.search(r'<p class="result">(.*?)</p>', page, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_panel", DRAWN)
    run = make_run(tmp_path)
    page = report(run)
    assert_loads_nothing(page)
    assert "http://" not in page
    assert "https://" not in page
    assert "Not in this run" not in page
    targets = {str(a["href"])[1:] for _, a in checked(page).seen if "href" in a}
    assert targets <= {str(a["id"]) for _, a in checked(page).seen if "id" in a}
    for number in (
        "60.0\u202f%",
        "60.0 [57.0,\u00a063.0]",
        "+10.0",
        "abc1234",
        "best_of_n.longer.aprm.accuracy",
        "37",
    ):
        assert number in page


def test_hostile_text_is_shown_and_never_markup(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, text=HOSTILE))
    assert_loads_nothing(page)
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page.replace("&#34;", "&quot;")
    assert "&amp;amp;" in page
    assert "⟨U+0000⟩⟨U+202E⟩" in page
    assert "\x00" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize("empty", [False, True])
def test_missing_and_empty_files_are_named(tmp_path: Path, empty: bool) -> None:
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
    assert "training log of the APRM" in page


def test_a_run_without_comparisons_says_so(tmp_path: Path) -> None:
    name = "best_of_n.longer.greedy.accuracy"
    page = report(make_run(tmp_path, {name: entry(0.5)}))
    checked(page)
    assert "no comparison of the two PRMs" in result(page)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("metrics.json", '{"metrics": {"a.f1": 0.5}}', "metrics.a.f1"),
        ("metrics.json", '{"metrics": {"a": {"value": NaN, "low": null, "high": null, "n": 1, "unit": ""}}}', "a.value"),
        ("metrics.json", json.dumps({"metrics": {"a": entry(10**400, 0)}}), "metrics.a.value"),
        ("metrics.json", json.dumps({"metrics": {"a": entry(1, -0.5)}}), "metrics.a.low"),
        ("metrics.json", json.dumps({"metrics": {"a": entry(1, n=-1)}}), "metrics.a.n"),
        ("metrics.json", json.dumps({"metrics": {}, "settings": []}), "settings"),
        ("aprm/log.jsonl", '{"update": 1}\n{"update": "2"}\n', "log.jsonl:2"),
        ("aprm/log.jsonl", '{"fool_rate": 1}', "update"),
        ("attack_aprm.jsonl", '{"update": 1}\n{"upd', "attack_aprm.jsonl:2"),
        ("cross_play.json", '{"prm_updates": [0], "adversary_updates": [0], "fool_rate": [[1.5]]}', "fool_rate"),
        ("cross_play.json", '{"prm_updates": [0], "adversary_updates": [0], "fool_rate": []}', "fool_rate"),
        ("cross_play.json", '{"prm_updates": [null], "adversary_updates": [], "fool_rate": [[]]}', "prm_updates"),
        ("cross_play.json", "[]", "object"),
        ("examples.jsonl", '{"adversary": "rules", "question": 7}', "examples.jsonl:1"),
        ("solutions.jsonl", '{"question": "q", "steps": ["a"], "truths": []}', "truths"),
        ("solutions.jsonl", '{"question": "q", "steps": ["a"], "truths": ["b"], "scores": {"x": [2]}}', "scores.x"),
        ("solutions.jsonl", '{"question": "q", "steps": ["a"], "truths": ["b"], "outcome": 1}', "outcome"),
        ("examples.jsonl", "\udcff", "UTF-8"),
    ],
)  # fmt: skip
def test_malformed_files_are_refused_by_place(tmp_path: Path, name: str, content: str, place: str) -> None:
    run = make_run(tmp_path)
    (run / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError) as caught:
        write_report(run)
    assert place in str(caught.value)
    assert name.rsplit("/")[-1] in str(caught.value)


def test_missing_numbers_and_an_unwritable_place_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(SparringError, match=r"metrics\.json is missing"):
        write_report(tmp_path)
    run = make_run(tmp_path)
    (run / "report.html").mkdir()
    with pytest.raises(SparringError, match=r"report\.html"):
        write_report(run)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
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
        assert_loads_nothing(report(run))
    except DataError as error:
        assert error.file is not None
    except SparringError as error:
        assert "no evaluation's numbers" in str(error)


# --- what the intervals allow to say ---


@pytest.mark.parametrize(
    ("gain", "counts", "says", "never"),
    [
        (0.1, (5, 0, 0), "higher by 10.0 points (95\u202f% interval +7.0 to +13.0)", "lower by"),
        (-0.1, (0, 5, 0), "lower by 10.0 points (95\u202f% interval −13.0 to −7.0)", "higher by"),
        (0.01, (0, 0, 5), "no difference shown (+1.0 points, 95\u202f% interval −2.0", "by 1.0 points"),
    ],
)
def test_the_result_follows_the_intervals(
    tmp_path: Path, gain: float, counts: tuple[int, ...], says: str, never: str
) -> None:
    page = report(make_run(tmp_path, metrics(gain)))
    good, bad, none = counts
    assert f"{good} for the APRM, {bad} against it, {none} with\nno difference shown" in result(page)
    assert "one training run" in result(page)
    assert (
        "the baseline that the game must beat, the APRM picks on problems as in training: no difference"
        in result(page)
    )
    found = page[page.index('id="solver"') : page.index('id="attack"')]
    assert says in found and never not in found


def test_mixed_results_and_the_majority_vote_are_told_both_ways(tmp_path: Path) -> None:
    named = metrics(0.1)
    named["best_of_n.longer.aprm_minus_rules_prm"] = entry(-0.1)
    named["best_of_n.in_distribution.aprm_minus_rules_prm"] = entry(0.0)
    named["best_of_n.longer.aprm_minus_majority"] = entry(0.0)
    text = result(report(make_run(tmp_path, named)))
    assert "3 for the APRM, 1 against it, 1 with" in text
    assert (
        "majority vote, which needs no training, the APRM picks on problems as in training: higher by 10.0"
        in text
    )
    assert "on longer problems: no difference shown" in text


def test_without_intervals_nothing_is_concluded(tmp_path: Path) -> None:
    named = {name: value | {"low": None, "high": None} for name, value in metrics(0.3).items()}
    page = report(make_run(tmp_path, named))
    assert "0 for the APRM, 0 against it, 5 with" in result(page)
    assert "nothing can be concluded" in page
    assert "higher by" not in page


def test_a_frozen_generators_prm_stands_in_the_attack_where_it_was_attacked(tmp_path: Path) -> None:
    page = report(make_run(tmp_path / "three"))
    assert "Three PRMs are frozen and attacked" in page
    assert (
        "50.0\u202f% against the APRM, 60.0\u202f% against the PRM on the frozen generator: lower by 10.0"
        in page
    )
    two = {name: value for name, value in metrics().items() if not name.startswith("attack.frozen_prm")}
    page = report(make_run(tmp_path / "two", two))
    assert "Two PRMs are frozen and attacked" in page and "attack_frozen_prm" not in page
    assert "the PRM on the frozen generator:" not in page


def test_a_weak_attack_is_called_weak(tmp_path: Path) -> None:
    named = metrics()
    named["attack.aprm.trained.fool_rate_at_98"] = entry(0.1)
    run = make_run(tmp_path, named)
    assert "exploitability is underestimated" in report(run)
    assert "weak attacker" not in report(run)
    lines(run / "attack_aprm.jsonl", [{"update": u, "fool_rate": 0.1, "failed": 0.8} for u in range(20)])
    assert "80.0\u202f% of the attempts were steps that are\nstill correct" in report(run)


shares = st.floats(0, 1)


@given(shares, shares, shares, shares)
def test_a_verdict_always_agrees_with_its_interval(a: float, b: float, c: float, d: float) -> None:
    low, high = sorted((a - b, c - d))
    words = Comparison(None, None, Metric((low + high) / 2, low, high)).verdict
    assert ("no difference shown" in words) == (low <= 0 <= high)
    assert ("higher" in words) == (low > 0)
    assert ("lower" in words) == (high < 0)


@given(shares, shares, st.floats(0, 0.2), st.floats(0, 0.2))
def test_unpaired_difference_holds_its_value_and_turns_round(
    a: float, b: float, wide: float, other: float
) -> None:
    first, second = Metric(a, a - wide, a + other), Metric(b, b - other, b + wide)
    one, two = unpaired_difference(first, second), unpaired_difference(second, first)
    assert one is not None and two is not None and one.value is not None
    assert one.low is not None and one.high is not None and two.high is not None
    assert one.low <= one.value <= one.high
    assert one.low == pytest.approx(-two.high)
    # Never narrower than either interval, never wider than both together.
    assert one.high - one.low <= (wide + other) * 2 + 1e-9
    assert one.high - one.low >= wide + other - 1e-9


def test_unpaired_difference_is_newcombes() -> None:
    # Newcombe (1998), table II, contrast (a) 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    difference = unpaired_difference(Metric(0.8, 0.69, 0.8769, 70), Metric(0.6, 0.4904, 0.7001, 80))
    assert difference is not None
    assert difference.value == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.0524, abs=2e-3)
    assert difference.high == pytest.approx(0.3339, abs=2e-3)


def test_a_paired_difference_goes_before_single_intervals() -> None:
    named = {"a": Metric(0.6, 0.5, 0.7), "b": Metric(0.5, 0.4, 0.6), "d": Metric(0.1, 0.05, 0.15)}
    assert compared(named, "a", "b").tone == "none"
    assert compared(named, "a", "b", "d").tone == "good"
    assert compared(named, "a", "b", "d", better=-1).tone == "bad"
    assert compared(named, "a", "gone").verdict == "not measured"


# --- text and formulas ---


def page_with(tmp_path: Path, text: str) -> str:
    """The page of an evaluation with one case that holds the text wherever a case can."""
    (tmp_path / "metrics.json").write_text('{"metrics": {}}', encoding="utf-8")
    step = Step(text, text, text, text, text, {text: 0.5, text + "2": None}, (text,))
    case = Case(text, text, text, [Part([step], heading=text)])
    content = {"name": text, "counts": [text], "tables": [], "plots": {}, "cases": ([case], 1), "total": 1}
    return render("page.html", read_run(tmp_path), kind=KINDS["bon"], **content)


@settings(max_examples=100)
@given(
    text=st.text(alphabet=st.characters(codec=None), max_size=60)
    | st.text("$\\\\(){}[]^_&<>\"'=x1\\u202e", max_size=60)
)
def test_any_text_survives_escaping(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    page = page_with(tmp_path_factory.mktemp("run"), text)
    page.encode("utf-8")
    known = {"html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "div", "span", "p", "b",
             "h1", "h2", "h3", "h4", "ol", "li", "a", "article", "details", "summary", "table", "caption", "thead", "tbody",
             "tr", "th", "td", "code", "semantics", "annotation"}  # fmt: skip
    for tag, attributes in checked(page).seen:
        assert tag in known or ELEMENTS.fullmatch(tag)
        assert not any(name.startswith("on") or name == "src" for name in attributes)
    assert not set('<"') & set(escape(text))


def test_long_text_is_cut_visibly(tmp_path: Path) -> None:
    assert "2400 more characters not shown" in page_with(tmp_path, "a" * 3000)


@pytest.mark.parametrize(
    ("text", "markup", "source"),
    [
        (r"so $x^2$ is", "<msup><mi>x</mi><mn>2</mn></msup>", "x^2"),
        (r"\(\frac{1}{2}\)", "<mfrac>", r"\frac{1}{2}"),
        (
            r"\[\begin{aligned} x &= 1 \\ y &= 2 \end{aligned}\]",
            "<mtr>",
            r"\begin{aligned} x &amp;= 1 \\ y &amp;= 2 \end{aligned}",
        ),
        (r"$$a < b$$", "<mo>&lt;</mo>", "a &lt; b"),
        (r"$\text{<b onclick=x>}$", "<mtext>&lt;b\u00a0onclick=x&gt;</mtext>", r"\text{&lt;b onclick=x&gt;}"),
    ],
)
def test_formulas_are_set_and_keep_their_source(text: str, markup: str, source: str) -> None:
    page = with_formulas(text)
    checked(page)
    assert markup in page and source in page[page.index("<annotation") :]


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and then $6.",
        "US$5, US$6",
        "a tip of $3 for the waiter and the cook, in all$",
        r"$\unknown{1}$",
        r"$\frac{1}$",
        r"$\left($",
        r"$\def\a{\a\a}\a$",
        r"$\newcommand{\a}{xx}\a$",
        "$" + "{" * 399 + "$",
        "$x" + "+x" * LONGEST + "$",
        "$a\u202eb$",
        "x = 5$",
    ],
)
def test_what_is_no_readable_formula_stays_as_it_was_written(text: str) -> None:
    assert with_formulas(text) == escape(text)


LATEX = [
    *"{}^_&x1 <>'|()[]", r"\frac", r"\sqrt", r"\left", r"\right", r"\text{", r"\begin{matrix}", r"\end{matrix}", r"\\",
    r"\href{javascript:x}", r"\color{red}", r"\class{a}", r"\style{b}", r"\limits", r"\over", r"\hline", r"\genfrac",
]  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.sampled_from(LATEX), max_size=30))
def test_a_formula_gives_plain_mathml_or_nothing(parts: list[str]) -> None:
    made = mathml("".join(parts))
    for tag, attributes in checked(made or "").seen:
        assert ELEMENTS.fullmatch(tag) or tag in ("semantics", "annotation")
        assert all(ATTRIBUTES.fullmatch(name) or name == "encoding" for name in attributes)


# --- numbers and plots ---


def test_numbers_for_people() -> None:
    assert percent(0.5) == "50.0\u202f%"
    assert points(-0.091) == "−9.1"
    assert points(0.0004) == "+0.04"
    assert points(0.0) == "0.0"
    assert plain(76800) == "76\u202f800"
    assert plain(0.123456) == "0.1235"
    assert [band(score) for score in (0.0, 0.19, 0.2, 0.5, 0.99, 1.0)] == [0, 0, 1, 2, 4, 4]


@given(st.lists(st.floats(-1e3, 1e3), max_size=50), st.sampled_from((1, 3, 7, 21)))
def test_smoothing_stays_inside_the_values(values: list[float], window: int) -> None:
    line = smoothed(values, window)
    assert len(line) == len(values)
    assert all(min(values) - 1e-6 <= value <= max(values) + 1e-6 for value in line)
    if window == 1:
        assert line == pytest.approx(values, abs=1e-6)


def test_plots_hold_their_numbers_and_say_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_panel", DRAWN)
    bars = {"group <b>": [Bar("one & two", "aprm", 0.625, 0.5, 0.7), Bar("none", "rules", None)]}
    curves = [
        Curve("up", "aprm", [(n, 0.1 * (n % 3)) for n in range(40)]),
        Curve("empty", "rules", [(0, None)]),
    ]
    panel = bar_panel("t < u", bars)
    drawn = base64.b64decode(panel.svg).decode()
    assert "62.5\u202f%" in panel.said and "62.5\u202f%" in drawn and "not measured" in drawn
    assert panel == bar_panel("t < u", bars)
    assert curve_panel("t", curves) == curve_panel("t", curves)


def test_a_run_of_two_prms_has_a_page_as_before(tmp_path: Path) -> None:
    named = {
        name: value for name, value in metrics().items() if "frozen_prm" not in name and "kinds." not in name
    }
    page = report(make_run(tmp_path, named))
    checked(page)
    assert "trained two without" in page
    assert "Wrong steps accepted" not in page
    assert "frozen-generator PRM" not in page


def test_long_words_of_a_plot_stay_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_panel", DRAWN)
    title, group = "Fool rate by attacker (lower is better)", "solutions with an error: first error found"
    panel = bar_panel(title, {group: [Bar("frozen-generator PRM", "adversary", 0.5, 0.4, 0.6)]})
    svg = base64.b64decode(panel.svg).decode()
    for words, widest in ((title, 7.6), (group, 6.0)):
        found = re.search(rf'x="([0-9.]+)"[^>]*>{re.escape(words)}<', svg)
        assert found is not None
        assert 50 < float(found[1]) < 350 - len(words) * widest * 0.9
    labels = ("against the rules PRM", "against the frozen-generator PRM", "against the APRM")
    long, short = (
        re.findall(
            r'x="([0-9.]+)"[^>]*>(?:against[^<]*|[abc])<',
            base64.b64decode(
                curve_panel("t", [Curve(name, "aprm", [(0, 0.5), (1, 0.5)]) for name in names]).svg
            ).decode(),
        )
        for names in (labels, "abc")
    )
    assert len(set(long)) == 1 and len(set(short)) == 2
