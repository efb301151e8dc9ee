"""Converting traces to other people's layouts, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.errors import DataError, OutputError, SettingsError
from sparring.evaluation.scores import score_file, write_scores
from sparring.traces import read_traces, read_traces_as, write_traces
from sparring.traces.convert import convert
from sparring.traces.records import Estimate, Problem, Trace

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=25).filter(str.strip)
LABEL = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])
ESTIMATE = st.none() | st.builds(
    lambda value: Estimate(value, 8, value / 2, (value + 1) / 2), st.floats(0, 1)
)


@st.composite
def traces(draw):
    steps = draw(st.lists(TEXT, min_size=1, max_size=4))
    labels = draw(st.lists(LABEL, min_size=len(steps), max_size=len(steps)))
    estimates = draw(st.none() | st.lists(ESTIMATE, min_size=len(steps), max_size=len(steps)))
    problem = Problem("p", draw(TEXT), draw(st.none() | TEXT))
    return Trace(
        problem, tuple(steps), tuple(labels), draw(st.sampled_from([None, True])), estimates=estimates
    )


@settings(deadline=None)
@given(traces(), st.sampled_from(["trl_stepwise", "math_shepherd"]), st.sampled_from([0.25, 0.5]))
def test_labels_read_back_or_the_loss_is_told(tmp_path_factory, trace, layout, threshold):
    folder = tmp_path_factory.mktemp("other")
    write_traces(folder / "a.jsonl", [trace])
    try:
        done = convert(folder / "a.jsonl", folder / "b.jsonl", to=layout, threshold=threshold)
    except DataError as error:
        told_reasons = str(error)
        assert (
            trace.labels[0] is None
            or "ки" in trace.problem.question
            or any("ки" in s for s in trace.steps)
            or ("step 1" in trace.steps[0].lower())
        ), told_reasons
        return
    known = trace.labels.index(None) if None in trace.labels else len(trace.labels)
    assert done.traces == 1 and bool(done.lost) == (known < len(trace.labels))
    [back] = read_traces_as(folder / "b.jsonl", layout).traces
    assert back.labels == tuple(float(label >= threshold) for label in trace.labels[:known])
    assert len(back.steps) == known
    if layout == "trl_stepwise":
        assert (back.problem.question, back.steps) == (trace.problem.question, trace.steps[:known])
    else:
        assert back.problem.question == trace.problem.question.strip()
        assert all(text.strip() in step for text, step in zip(trace.steps, back.steps, strict=False))


def test_math_shepherd_to_trl_and_the_exact_form(tmp_path):
    record = {
        "input": "1+1? Step 1: 1+1=2 ки\nStep 2: The answer is: 2 ки",
        "label": "1+1? Step 1: 1+1=2 +\nStep 2: The answer is: 2 -",
        "task": "GSM8K",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    assert not convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", to="trl_stepwise").lost
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {
        "prompt": "1+1?", "completions": ["Step 1: 1+1=2", "Step 2: The answer is: 2"], "labels": [True, False],
    }  # fmt: skip
    assert not convert(tmp_path / "b.jsonl", tmp_path / "c.jsonl", to="math_shepherd").lost
    again = json.loads((tmp_path / "c.jsonl").read_text())
    assert (again["input"], again["label"]) == (record["input"], record["label"])


def test_what_cannot_be_converted_is_refused(tmp_path):
    write_traces(tmp_path / "a.jsonl", [Trace(Problem("p", "q"), ("x",))])
    with pytest.raises(DataError, match=r"first step has no label \(1\)"):
        convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", to="trl_stepwise")
    with pytest.raises(SettingsError, match=r"did you mean 'trl_stepwise'"):
        convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", to="trl_stepwize")
    with pytest.raises(SettingsError, match="threshold"):
        convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", to="sparring", threshold=2.0)
    assert not (tmp_path / "b.jsonl").exists()


@pytest.mark.parametrize(
    "estimates",
    [[], [7], [{"value": 0.5}], [{"value": 0.5, "count": 1, "low": 0.6, "high": 0.7}],
     [{"value": 0.5, "count": 1.5, "low": 0.4, "high": 0.7}], [{"value": 0.5, "count": 1, "low": 0, "high": 1, "x": 1}]],
)  # fmt: skip
def test_bad_estimates_are_refused_with_their_place(tmp_path, estimates):
    record = {"id": "p", "problem": "q", "steps": ["x"], "estimates": estimates}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: field 'estimates"):
        read_traces(tmp_path / "a.jsonl")


def test_an_output_that_is_an_input_is_refused_before_anything_is_written(tmp_path):
    shard, folder = tmp_path / "shards" / "b.jsonl", tmp_path / "shards"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        write_traces(folder / name, [Trace(Problem(name, "q"), ("one",), (1.0,))])
    (tmp_path / "link.jsonl").symlink_to(shard)
    (tmp_path / "hard.jsonl").hardlink_to(shard)
    before = shard.read_bytes()
    for source, target in (
        (shard, shard),
        (shard, folder / ".." / "shards" / "b.jsonl"),
        (shard, tmp_path / "link.jsonl"),
        (tmp_path / "link.jsonl", shard),
        (shard, tmp_path / "hard.jsonl"),
        (folder, shard),
        (folder / "*.jsonl", shard),
        (f"hf:{folder}", shard),
    ):
        with pytest.raises(SettingsError, match="name another file to write"):
            convert(source, target, to="sparring")
        assert shard.read_bytes() == before and len(list(folder.iterdir())) == 2
    assert convert(folder, tmp_path / "out.jsonl", to="sparring").traces == 2
    assert convert(folder, tmp_path / "out.jsonl", to="sparring").traces == 2, "an old output may be replaced"
    with pytest.raises(DataError, match="no-such"):
        convert(tmp_path / "no-such.jsonl", tmp_path / "out.jsonl", to="sparring")


def test_an_output_that_the_same_input_would_take_in_is_refused(tmp_path):
    folder = tmp_path / "shards"
    (folder / "more").mkdir(parents=True)
    write_traces(folder / "a.jsonl", [Trace(Problem("a", "q"), ("one",), (1.0,))])
    (tmp_path / "link").symlink_to(folder)
    for source, target in (
        (folder, "b.jsonl"),
        (folder, "more/b.parquet"),
        (folder, "traces.jsonl"),
        (tmp_path / "link", "b.jsonl.gz"),
        (folder / "*.jsonl", "b.jsonl"),
        (tmp_path / "link" / "*.jsonl", "b.jsonl"),
        (tmp_path / "**" / "[a-c].jsonl", "more/b.jsonl"),
    ):
        with pytest.raises(SettingsError, match="would be read as data"):
            convert(source, folder / target, to="sparring")
        assert [file.name for file in folder.rglob("*") if file.is_file()] == ["a.jsonl"]
    for source, target in (
        (folder / "a.jsonl", "b.jsonl"),
        (folder / "a*.jsonl", "b2.jsonl"),
        (folder / "a*.jsonl", "more/a2.jsonl"),
        (folder / "[a]*", ".a.jsonl"),
    ):
        assert convert(source, folder / target, to="sparring").traces == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.csv", "is a name for CSV"),
        ("x.parquet.gz", "is a name for Parquet"),
        ("x.csv.zst", "is a name for CSV"),
        ("x.arrow", "is a name for Arrow"),
        ("x.jsonl.bz2", "is a packing that is not written"),
        ("x.zip", "is a packing that is not written"),
        ("x.tar.gz", "is a packing that is not written"),
        ("x.jsonl.GZ", "small letters"),
        ("x.PARQUET", "small letters"),
    ],
)
def test_a_name_that_says_something_else_than_what_is_written_is_refused(tmp_path, name, said):
    source = tmp_path / "a.jsonl"
    write_traces(source, [Trace(Problem("a", "q"), ("one",), (1.0,))])
    with pytest.raises(OutputError, match=said) as caught:
        convert(source, tmp_path / name, to="sparring")
    assert "name it .jsonl, .jsonl.gz or .jsonl.zst" in str(caught.value)
    with pytest.raises(OutputError):
        write_scores(tmp_path / name, [("a", (0.5,))])
    with pytest.raises(OutputError):
        score_file("nowhere", source, out=tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_only_files_of_traces_are_replaced(tmp_path):
    source, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_traces(source, [Trace(Problem("p", "q"), ("one",), (1.0,))])
    for content in ('{"model_type": "llama"}', "not JSON", '{"id": "p", "scores": [0.5]}'):
        target.write_text(content)
        with pytest.raises(SettingsError, match=r"b\.jsonl' is there and no file of traces: name another"):
            convert(source, target, to="trl_stepwise")
        assert target.read_text() == content
    target.write_text("")
    for to in ("trl_stepwise", "math_shepherd", "sparring", "trl_stepwise"):
        assert convert(source, target, to=to).traces == 1
