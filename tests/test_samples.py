"""Samples to share: written by commands, read by `datasets` and by us, refused when a text was changed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import sparring as sp
from rl_data import random_prm
from sparring.__main__ import app
from sparring.errors import DataError, SettingsError
from sparring.models.loading import resolve_model
from sparring.traces import read_traces
from sparring.traces.records import Estimate, Problem, Trace
from sparring.traces.samples import content_hash, public, sample_row, write_samples

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)


def written(folder: Path, *traces: Trace, **options: object) -> Path:
    given: dict[str, object] = {"command": "sparring label", "settings": {"seed": 3}} | options
    write_samples(folder, [sample_row(trace) for trace in traces], **given)  # type: ignore[arg-type]
    return folder


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    steps = tuple(draw(st.lists(TEXTS, min_size=1, max_size=3)))
    count = len(steps)
    labels = draw(
        st.none() | st.lists(st.none() | st.floats(0, 1), min_size=count, max_size=count).map(tuple)
    )
    estimates = draw(st.none() | st.just((Estimate(0.5, 4, 0.2, 0.8), None, None)[:count]))
    if estimates is not None and len(estimates) < count:
        estimates = None
    meta = draw(st.dictionaries(TEXTS, st.integers(-9, 9) | TEXTS, max_size=2))
    problem = Problem(
        draw(TEXTS), draw(TEXTS), draw(st.none() | TEXTS), meta=draw(st.just({}) | st.just({"level": 2}))
    )
    return Trace(
        problem,
        steps,
        labels,
        draw(st.none() | st.booleans()),
        draw(st.sampled_from(["", "m"])),
        meta,
        estimates,
    )


@given(found=st.lists(traces(), min_size=1, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_reads_back_equal(tmp_path, found):
    assert sp.read(written(tmp_path / "samples", *found)) == found


def test_the_card_says_how_the_samples_came_about_and_names_no_folder_of_this_machine(tmp_path):
    trace = Trace(
        Problem("a|b", "1 + 1?", "2"), ("1 + 1 = 2",), outcome=True, source="/home/me/models/policy"
    )
    told = {
        "seed": 3,
        "policy": "/home/me/models/policy",
        "stop": ["```"],
        "server": {"data": "C:\\Users\\me\\x"},
    }
    folder = written(tmp_path / "samples", trace, trace, settings=told, license="cc-by-4.0")
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and "process-reward-model" in head["tags"]
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]
    assert "| solutions | 2 |" in card and "| different ones | 1 |" in card and "| seed | 3 |" in card
    assert "/home/me" not in card and "Users" not in card and '"policy": "policy"' in card
    [file] = folder.rglob("*.parquet")
    kept = json.loads(pyarrow.parquet.read_schema(file).metadata[b"sparring"])
    assert (
        kept["settings"]["policy"] == "policy" and kept["license"] == "cc-by-4.0" and kept["digest"] in card
    )
    assert b"/home/me" not in file.read_bytes()
    assert "Nobody has named a licence" in (written(tmp_path / "free", trace) / "README.md").read_text()


def test_equal_samples_have_equal_digests_in_any_order(tmp_path):
    one, two = (Trace(Problem(name, name + "?"), ("x",)) for name in "ab")
    digests = []
    for number, group in enumerate(((one, two), (two, one), (one, one))):
        [file] = written(tmp_path / str(number), *group).rglob("*.parquet")
        digests.append(json.loads(pyarrow.parquet.read_schema(file).metadata[b"sparring"])["digest"])
    assert digests[0] == digests[1] != digests[2]
    assert content_hash(Problem("other", "a?"), ("x",)) == content_hash(one.problem, one.steps)


def test_many_rows_are_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr("sparring.traces.samples.ROWS_PER_FILE", 2)
    found = [Trace(Problem(str(number), "?"), ("x",)) for number in range(5)]
    folder = written(tmp_path / "samples", *found)
    assert len(list(folder.rglob("*.parquet"))) == 3 and sp.read(folder) == found


def test_a_text_that_was_changed_is_refused(tmp_path):
    folder = written(tmp_path / "samples", Trace(Problem("a", "?", "1"), ("x", "y")))
    [file] = folder.rglob("*.parquet")
    rows = pyarrow.parquet.read_table(file).to_pylist()
    rows[0]["steps"] = ["x", "z"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    with pytest.raises(DataError, match=r"samples-00000\.parquet:1: field 'sha256': .* were changed"):
        sp.read(folder)


def test_bad_arguments_are_named(tmp_path):
    trace = Trace(Problem("a", "?"), ("x",))
    for license in ("CC BY", "", "x" * 50, "a\nb: c"):
        with pytest.raises(SettingsError, match="licence is named as on the hub"):
            written(tmp_path / "samples", trace, license=license)
    with pytest.raises(DataError, match="no samples"):
        written(tmp_path / "samples")
    assert not (tmp_path / "samples").exists()
    assert public({"a": ["/x/y", "rel/z", 3, None, "~/m"]}) == {"a": ["y", "rel/z", 3, None, "m"]}


# --- the commands ----------------------------------------------------------------------------------------------------


def run(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "device=cpu", "dtype=float32"])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.output


def test_label_and_search_write_samples_that_datasets_reads(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="what they are for is read where datasets is installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    prm = random_prm(Path(resolve_model("tiny-chain-policy")), tmp_path / "prm")
    label, search = tmp_path / "label", tmp_path / "search"
    words = ("label", "problems=3", "n_cov=2", "n_mc=1", "--out", str(label))
    run(*words)
    assert not (label / "samples").exists()
    said = run(*words, "--samples", "--license", "cc-by-4.0")  # a finished run is not made again
    traces = read_traces(label / "traces.jsonl")
    assert "samples to share" in said and sp.read(label / "samples") == traces
    run(
        "search", f"prm={prm}", "methods=[beam]", "n=[2]", "expansions=2", "problems=2", "baseline_samples=2",
        "max_steps=3", "--samples", "--out", str(search),
    )  # fmt: skip
    found = sp.read(search / "samples")
    assert {trace.meta["method"] for trace in found} == {"independent", "beam"}
    assert all(len(trace.meta["scores"]) == len(trace.steps) and trace.outcome is not None for trace in found)
    assert sum(trace.meta["chosen"] for trace in found) == 4  # one per search of a problem
    for folder, count in ((label, len(traces)), (search, len(found))):
        rows = datasets.load_dataset(
            str(folder / "samples"), split="train", cache_dir=str(tmp_path / f"cache-{folder.name}")
        )
        assert len(rows) == count and rows[0]["license"] in ("cc-by-4.0", "unknown")
    both = pyarrow.concat_tables(
        pyarrow.parquet.read_table(next((folder / "samples").rglob("*.parquet")))
        for folder in (label, search)
    )
    assert both.num_rows == len(traces) + len(found)
    table = pytest.importorskip("pandas").DataFrame(both.to_pylist())
    assert table["scores"].isna().sum() == len(traces)
