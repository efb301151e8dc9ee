"""Data made for TRL's and OpenRLHF's PRM trainers: read, converted, refused by name, and trained on."""

from __future__ import annotations

import io
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from conftest import log_of
from sparring.__main__ import app
from sparring.errors import DataError, SettingsError
from sparring.models.loading import load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.traces import read_traces_as
from sparring.traces.convert import MigrateSettings, migrate, openrlhf_trace, show_migration
from sparring.traces.fields import Fields
from sparring.traces.jsonl import read_traces
from sparring.traces.records import Trace
from sparring.traces.spans import Layout, encode
from sparring.training.supervised import train_supervised
from supervised_data import quick

OPENRLHF = {"input": "What is 2 + 2? Step 1: 2 + 2 = 4 ки\nStep 2: The answer is: 5 ки", "label": ["+", "-"]}
TRL = {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 4", "So 5"], "labels": [True, False]}


def lines(folder: Path, *records: dict[str, Any]) -> Path:
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return file


def converted(folder: Path, *records: dict[str, Any], **options: Any) -> list[Trace]:
    chosen = MigrateSettings.model_validate({"source": "openrlhf"} | options)
    migrate(lines(folder, *records), folder / "out.jsonl", chosen)
    return read_traces(folder / "out.jsonl")


# --- OpenRLHF ------------------------------------------------------------------------------------------------


def test_openrlhf_tokens(tmp_path):
    [trace] = converted(tmp_path, OPENRLHF)
    assert trace.problem.question == "What is 2 + 2?"
    assert trace.steps == ("Step 1: 2 + 2 = 4", "Step 2: The answer is: 5")
    assert trace.labels == (1.0, 0.0) and trace.source == "openrlhf"


def test_openrlhf_probabilities_other_names_and_text_after_the_last_label(tmp_path):
    record = {"text": "1 + 1?\n1 + 1 = 2 <s>so 2 <s>done", "value": [0.75, 0]}
    names = {"input_key": "text", "label_key": "value", "placeholder_token": "<s>", "first_step": "\n"}
    [trace] = converted(tmp_path, record, **names)
    assert (trace.problem.question, trace.steps) == ("1 + 1?", ("1 + 1 = 2", "so 2", "done"))
    assert trace.labels == (0.75, 0.0, None)
    [swapped] = converted(tmp_path, OPENRLHF, reward_tokens=("-", "+"))
    assert swapped.labels == (0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"label": ["+"]}, "label", "1 label for 2 placeholders"),
        ({"label": ["+", "-", "+"]}, "label", "3 labels for 2 placeholders"),
        ({"label": ["+", "bad"]}, r"label\[1\]", "reward_tokens"),
        ({"label": ["+", 0.5]}, r"label\[1\]", "reward_tokens"),
        ({"label": [0.5, 1.5]}, r"label\[1\]", "0 to 1"),
        ({"label": "+ -"}, "label", "math_shepherd"),
        ({"label": None}, "label", "expected a list"),
        ({"input": "What is 2? no labels"}, "input", "placeholder_token"),
        ({"input": "What is 2? 2 ки so 2 ки"}, "input", "first_step"),
        ({"input": "Step 1: 2 ки Step 2: ки"}, "input", "question"),
        ({"input": "What? Step 1: 2 ки ки"}, "input", "step 2 is empty"),
        ({"input": 3}, "input", "expected a text"),
    ],
)
def test_openrlhf_records_that_cannot_be_used_are_named(tmp_path, change, field, message):
    with pytest.raises(DataError, match=rf"data\.jsonl:2: field '{field}': .*{message}"):
        converted(tmp_path, OPENRLHF, OPENRLHF | change)
    assert not (tmp_path / "out.jsonl").exists()


def test_bad_records_can_be_left_out_and_are_counted(tmp_path):
    data = lines(tmp_path, OPENRLHF, OPENRLHF | {"label": ["+"]}, OPENRLHF | {"label": ["-"]}, OPENRLHF)
    text = io.StringIO()
    chosen = MigrateSettings(source="openrlhf", on_bad="skip")
    show_migration(data, tmp_path / "out.jsonl", chosen, Console(file=text, width=300))
    assert "2 traces, 4 steps (2 wrong, 0 without a label)" in text.getvalue()
    assert "left out: 2 × field 'label': 1 label for 2 placeholders" in text.getvalue()
    assert "data.jsonl:2" in text.getvalue()
    with pytest.raises(DataError, match=r"nothing can be written as sparring: field 'input': .* \(1\)"):
        migrate(lines(tmp_path, {"input": "x"}), tmp_path / "none.jsonl", chosen)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="к"), min_size=1, max_size=12).filter(
    str.strip
)


@settings(max_examples=60)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=5))
def test_with_spaces_kept_the_text_can_be_rebuilt(question, steps):
    steps = ["Step 1:" + steps[0], *steps[1:]]
    if "Step 1:" in question:
        return
    record = {"input": question + "".join(step + "ки" for step in steps), "label": [1.0] * len(steps)}
    trace = openrlhf_trace(Fields(record), MigrateSettings(source="openrlhf", keep_spaces=True))
    assert trace.problem.question + "".join(step + "ки" for step in trace.steps) == record["input"]


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=8), st.just("Step 1: a ки")
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["input", "label", "prompt", "completions", "labels"]), JSON))
def test_any_record_is_read_or_refused(record):
    for source in ("openrlhf", "trl"):
        try:
            migrated = openrlhf_trace(Fields(record), MigrateSettings(source=source))
        except DataError as error:
            assert error.field
        else:
            assert migrated.labels is not None and len(migrated.labels) == len(migrated.steps)


# --- TRL -----------------------------------------------------------------------------------------------------


def test_trl_data_are_read_as_they_are_and_converted(tmp_path):
    data = lines(tmp_path, TRL, TRL | {"labels": [1, 0.25]})
    read = read_traces_as(data).traces
    assert [trace.labels for trace in read] == [(1.0, 0.0), (1.0, 0.25)]
    migrate(data, tmp_path / "out.jsonl", MigrateSettings(source="trl"))
    assert read_traces(tmp_path / "out.jsonl") == read


def test_parquet_is_read_and_broken_parquet_is_named(tmp_path):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([TRL, TRL]), file)
    assert migrate(file, tmp_path / "out.jsonl", MigrateSettings(source="trl")).traces == 2
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([TRL, TRL | {"labels": [True]}]), file)
    with pytest.raises(DataError, match=r"train\.parquet:2: field 'labels'"):
        migrate(file, tmp_path / "out.jsonl", MigrateSettings(source="trl"))
    file.write_bytes(b"PAR1 but nothing else")
    with pytest.raises(DataError, match=r"train\.parquet: cannot read"):
        migrate(file, tmp_path / "out.jsonl", MigrateSettings(source="trl"))


@pytest.mark.parametrize("bos", [None, "<end>"])
def test_the_layout_of_the_migration_page_gives_trls_ids_and_label_places(tiny_folder, bos):
    tokenizer = load_tokenizer(tiny_folder)
    record = {"prompt": "mod 13 : find c", "completions": ["c = a + b", "c is 3"], "labels": [True, False]}
    # What PRMTrainer does with a row: begin token, prompt, then every step and the separator; labels at step ends.
    pieces = [tokenizer.encode(step) + tokenizer.encode("\n") for step in record["completions"]]
    start = [tokenizer.convert_tokens_to_ids(bos)] if bos else []
    ids = [*start, *tokenizer.encode(record["prompt"]), *chain(*pieces)]
    last = len(ids) - 1
    layout = Layout(before=bos or "", after="", separator="\n")
    encoded = encode(record["prompt"], record["completions"], tokenizer, layout)
    assert list(encoded.input_ids) == ids
    assert encoded.positions == (last - len(pieces[1]), last)


# --- from their data to a model ------------------------------------------------------------------------------


def test_openrlhf_data_train_a_label_token_model(tiny_folder, tmp_path):
    records = [
        {
            "input": f"mod 13 : a is {n} ; find c Step 1: c = a + a ки\nc = a - a ки",
            "label": ["+", "-"],
        }
        for n in range(16)
    ]
    migrate(lines(tmp_path, *records), tmp_path / "ours.jsonl", MigrateSettings(source="openrlhf"))
    chosen = quick(
        "prm", tiny_folder, tmp_path / "ours.jsonl", head="label_tokens", learning_rate=1e-2, epochs=6
    )
    folder = train_supervised(chosen, tmp_path / "run")
    assert log_of(tmp_path / "run")[-1]["validation_auc"] == 1.0
    [row] = load_scorer(folder, device="cpu").score(read_traces(tmp_path / "ours.jsonl")[:1])
    assert row[0] > 0.6 and row[1] < 0.4


def test_the_command_converts_and_refuses_by_name(tmp_path):
    data = lines(tmp_path, OPENRLHF, OPENRLHF | {"label": ["+"]})
    words = ["migrate", str(data), str(tmp_path / "out.jsonl"), "source=openrlhf"]
    refused = CliRunner().invoke(app, words).exception
    assert isinstance(refused, DataError) and "data.jsonl:2: field 'label'" in str(refused)
    assert CliRunner().invoke(app, [*words, "on_bad=skip"]).exit_code == 0
    assert len(read_traces(tmp_path / "out.jsonl")) == 1


def test_the_data_is_not_replaced_by_what_is_made_of_it(tmp_path):
    data = lines(tmp_path, OPENRLHF)
    before = data.read_bytes()
    refused = CliRunner().invoke(app, ["migrate", str(data), str(data), "source=openrlhf"]).exception
    assert isinstance(refused, SettingsError) and "is read as data" in str(refused)
    assert data.read_bytes() == before
