"""Model folders, sidecars, devices and adapter targets that cannot be used: one line that names what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel, LlamaForTokenClassification

from sparring.errors import CheckpointError, DataError, SettingsError, SparringError
from sparring.models.loading import load_causal_model, load_policy, pick_device, pick_dtype, positions
from sparring.models.roles import add_adapter, lora_config
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Sidecar, read_sidecar, write_sidecar
from sparring.traces.records import Problem, Trace
from sparring.worlds.chain_model import build_tokenizer, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random PRM of 512 positions."""
    folder = tmp_path_factory.mktemp("prm") / "prm"
    tokenizer = build_tokenizer()
    LlamaForTokenClassification(tiny_config(len(tokenizer), width=16, layers=1)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_sidecar(folder, Sidecar(max_length=512))
    return folder


def refused(prm: Path, copy: Path, edit: Callable[[Path], object], message: str) -> None:
    shutil.copytree(prm, copy)
    edit(copy)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_scorer(copy, device="cpu")
    assert "\n" not in str(caught.value)
    shutil.rmtree(copy)


TEXTS = ("", "{", "[]", "null", "3", '"a"', '{"a": 1, "a": 2}', "[" * 99_999, '{"a":' * 99_999)


@pytest.mark.parametrize("file", ["config.json", "sparring.json", "tokenizer.json", "tokenizer_config.json"])
def test_json_files_that_are_no_objects_are_refused_by_name(prm, tmp_path, file):
    for text in TEXTS:
        refused(prm, tmp_path / "copy", lambda place, t=text: (place / file).write_text(t), file)
    refused(
        prm,
        tmp_path / "copy",
        lambda place: (place / file).write_bytes(b'{"a": "\xff"}'),
        f"{file}: not UTF-8",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": "32"}, {"hidden_size": 0}, {"num_attention_heads": 0}, {"num_hidden_layers": 10**9},
        {"vocab_size": -1}, {"model_type": []}, {"model_type": "nope"}, {"hidden_act": "nope"}, {"id2label": 3},
        {"max_position_embeddings": -1}, {"rope_parameters": {"rope_type": "nope"}}, {"pad_token_id": 10**6},
        {"vocab_size": 10**8}, {"intermediate_size": 10**9}, {"hidden_size": 10**6}, {"head_dim": 10**9},
        {"text_config": {"vocab_size": 10**9}}, {"intermediate_size": 0}, {"num_key_value_heads": 10**8},
        {"num_labels": 70_000}, {"text_config": {"num_labels": 70_000}}, {"text_config": {}}, {"text_config": 3},
        {"decoder": {"vocab_size": 12}}, {"transformers_weights": "../other.safetensors"},
    ],
)  # fmt: skip
def test_configurations_of_wrong_types_or_sizes_are_refused(prm, tmp_path, fields):
    refused(
        prm,
        tmp_path / "copy",
        lambda place: edit_json(place / "config.json", fields),
        "config|cannot load|weights",
    )


@pytest.mark.parametrize("field", ["n_positions", "n_embd", "n_inner", "vocab_size", "num_labels"])
def test_no_size_of_another_architecture_is_made_before_it_is_compared(tmp_path, field):
    sizes = {"n_embd": 16, "n_head": 2, "n_layer": 1, "vocab_size": 64, "n_positions": 64, "n_inner": 32}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(tmp_path)
    load_causal_model(tmp_path, device=CPU, dtype=torch.float32)
    edit_json(tmp_path / "config.json", {field: 70_000 if field == "num_labels" else 10**8})
    said = r"asks for a model of [0-9,]+ numbers, but the weights hold|at most 65536 are read"
    with pytest.raises(CheckpointError, match=said):
        load_causal_model(tmp_path, device=CPU, dtype=torch.float32)


def edit_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_infinity_may_stand_in_a_configuration(prm, tmp_path):
    folder = shutil.copytree(prm, tmp_path / "copy")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("{", '{"time_step_limit": [0.0, Infinity],', 1))
    load_scorer(folder, device="cpu")


def test_damaged_weight_files_are_refused(prm, tmp_path):
    whole = (prm / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for cut in (0, 1, 8, 9, header - 1, header, len(whole) // 2, len(whole) - 1):
        refused(
            prm, tmp_path / "copy", lambda place, n=cut: weights(place, whole[:n]), "not a whole safetensors"
        )
    refused(prm, tmp_path / "copy", lambda place: weights(place, whole + b"x"), "not a whole safetensors")
    refused(prm, tmp_path / "copy", lambda place: weights(place, b"version https://git-lfs"), "not a whole")
    refused(
        prm, tmp_path / "copy", lambda place: (place / "model.safetensors").unlink(), "has no safetensors"
    )


def weights(place: Path, content: bytes) -> None:
    (place / "model.safetensors").write_bytes(content)


@settings(max_examples=40)
@given(st.data())
def test_a_flipped_bit_in_the_header_loads_whole_or_is_refused(prm, tmp_path_factory, data):
    whole = bytearray((prm / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    whole[data.draw(st.integers(0, header - 1))] ^= 1 << data.draw(st.integers(0, 7))
    folder = shutil.copytree(prm, tmp_path_factory.mktemp("flip") / "copy")
    weights(folder, bytes(whole))
    try:
        load_scorer(folder, device="cpu")
    except SparringError as error:
        assert "\n" not in str(error)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(prm, tiny_folder, tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<more>"])
    refused(prm, tmp_path / "copy", lambda place: tokenizer.save_pretrained(place), "'<more>' with id 41")
    policy = shutil.copytree(tiny_folder, tmp_path / "policy")
    tokenizer.save_pretrained(policy)
    with pytest.raises(CheckpointError, match="'<more>' with id 41, the model has embeddings for 41"):
        load_policy(policy, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(
    "fields",
    [
        {"model_max_length": "x"}, {"model_max_length": True}, {"model_max_length": 0}, {"model_max_length": [512]},
        {"pad_token": 5}, {"eos_token": ["<end>"]}, {"unk_token": {"content": 1}}, {"bos_token": {}},
        {"padding_side": "up"}, {"truncation_side": 1}, {"add_bos_token": "yes"}, {"split_special_tokens": 1},
        {"clean_up_tokenization_spaces": "false"}, {"tokenizer_class": 5}, {"chat_template": 5},
        {"chat_template": ["x"]}, {"additional_special_tokens": "x"}, {"added_tokens_decoder": {"x": 1}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_fields_of_a_tokenizer_of_wrong_types_are_refused_by_name(prm, tmp_path, file, fields):
    def edit(place: Path) -> None:
        before = json.loads((place / file).read_text()) if (place / file).exists() else {}
        (place / file).write_text(json.dumps(before | fields))

    refused(prm, tmp_path / "copy", edit, f"{file}: {next(iter(fields))} must be .*, it is ")


def test_a_tokenizer_that_reads_nothing_is_refused(prm, tmp_path):
    def empty(place: Path) -> None:
        content = json.loads((place / "tokenizer.json").read_text())
        content["model"]["vocab"], content["added_tokens"] = {}, []
        (place / "tokenizer.json").write_text(json.dumps(content))

    refused(prm, tmp_path / "copy", empty, "cannot load .* with AutoTokenizer")


def test_a_text_that_a_tokenizer_cannot_read_is_named(prm, tmp_path):
    folder = shutil.copytree(prm, tmp_path / "copy")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "<gone>"
    (folder / "tokenizer.json").write_text(json.dumps(content))
    scorer = load_scorer(folder, device="cpu")
    with pytest.raises(DataError, match=r"steps|cannot read 'zebra"):
        scorer.score([Trace(Problem("1", "zebra"), ("zebra",))])


def test_loading_says_nothing(prm, tmp_path, recwarn):
    folder = shutil.copytree(prm, tmp_path / "copy")
    edit_json(folder / "config.json", {"hidden_size": 0})
    with pytest.raises(CheckpointError):
        load_scorer(folder, device="cpu")
    assert not [str(warning.message) for warning in recwarn]


# --- sidecar ---------------------------------------------------------------------------------------------------------

BAD_FIELDS: list[tuple[str, str]] = [
    ('"threshold": "0.5"', "threshold"), ('"threshold": true', "threshold"), ('"threshold": 1.01', "threshold"),
    ('"threshold": NaN', "NaN"), ('"threshold": null', "threshold"), ('"threshold": [0.5]', "threshold"),
    ('"version": "1"', "version"), ('"version": true', "version"), ('"version": 1.0', "version"),
    ('"version": 0', "version"), ('"version": -1', "version"), ('"version": 2', "newer"),
    ('"version": 1, "version": 1', "twice"), ('"calibration": {"scale": 1e999}', "too large"),
    ('"calibration": {"scale": 0}', "scale"), ('"calibration": {"scale": "1"}', "scale"),
    ('"calibration": {"scale": 1e300}', "scale"), ('"calibration": {"shift": Infinity}', "Infinity"),
    ('"calibration": {"shift": true}', "shift"), ('"calibration": {"scale": 1, "scale": 1}', "twice"),
    ('"calibration": []', "calibration"), ('"layout": "plain"', "layout"), ('"layout": {"before": 1}', "before"),
    ('"layout": {"strip": "yes"}', "strip"), ('"layout": {"strip": 1}', "strip"), ('"layout": {"speed": 1}', "speed"),
    ('"layout": {"separator": "\\ud800"}', "surrogate"), ('"max_length": "512"', "max_length"),
    ('"max_length": 0', "max_length"), ('"max_length": 12.5', "max_length"), ('"max_length": true', "max_length"),
    ('"max_length": 513', "512 positions"), ('"max_length": 1' + "0" * 30, "positions"), ('"Threshold": 0.5', "Threshold"),
    ('"head": "Token_classification"', "head"), ('"head": null', "head"), ('"correct_label": "1"', "correct_label"),
    ('"correct_label": -1', "correct_label"), ('"correct_label": 2', "2 labels"), ('"meaning": 1', "meaning"),
    ('"aggregation": "max"', "aggregation"), ('"threshold_rule": 5', "threshold_rule"),
    ('"label_tokens": [1, 2]', "label_tokens"),
    ('"head": "label_tokens", "label_tokens": ["1", "2"]', "label_tokens"),
    ('"head": "label_tokens", "label_tokens": [true, false]', "label_tokens"),
    ('"head": "log_ratio", "log_ratio": {"beta": "1"}', "beta"), ('"head": "log_ratio", "log_ratio": {"beta": 0}', "beta"),
    ('"head": "log_ratio", "log_ratio": {"beta": 1, "reference": "/etc"}', "reference"),
    ('"head": "log_ratio", "log_ratio": {"beta": 1, "reference": "a/../../b"}', "reference"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_FIELDS)
def test_the_sidecar_is_read_strictly(prm, tmp_path, text, message):
    refused(
        prm, tmp_path / "copy", lambda place: (place / "sparring.json").write_text(f"{{{text}}}"), message
    )


@given(
    st.builds(
        Sidecar,
        threshold=st.floats(0, 1),
        max_length=st.integers(1, 10**9),
        correct_label=st.integers(0, 5),
        threshold_rule=st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_what_is_written_is_read(tmp_path_factory, sidecar):
    folder = tmp_path_factory.mktemp("sidecar")
    write_sidecar(folder, sidecar)
    assert read_sidecar(folder) == sidecar


def test_a_length_that_is_not_given_is_what_the_model_takes(prm, tmp_path):
    folder = shutil.copytree(prm, tmp_path / "copy")
    (folder / "sparring.json").write_text("{}")
    assert load_scorer(folder, device="cpu").sidecar.max_length == 512
    (folder / "sparring.json").write_text('{"max_length": 100}')
    assert load_scorer(folder, device="cpu").sidecar.max_length == 100


def test_positions_are_those_of_the_configuration():
    yarn = {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 512,
        "rope_theta": 10000.0,
    }
    llama3 = {
        "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512, "rope_theta": 10000.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    }  # fmt: skip
    for name, fields, limit in (
        ("llama", {"max_position_embeddings": 512}, 512),
        ("gpt2", {"n_positions": 64}, 64),
        ("bloom", {}, None),  # positions without end
        ("qwen2", {"max_position_embeddings": 512, "rope_parameters": yarn}, 2048),
        ("llama", {"max_position_embeddings": 8192, "rope_parameters": llama3}, 8192),
    ):
        assert positions(AutoConfig.for_model(name, **fields)) == limit


# --- devices, types, adapters ----------------------------------------------------------------------------------------


def test_devices_that_are_not_here_are_refused():
    names = [
        "banana",
        "cuda:99",
        "meta",
        "",
        "CPU",
        "cpu:x",
        "cuda:-1",
        "cuda:",
        "gpu",
        "xla",
        "cpu cpu",
        "cpu:99",
    ]
    for name in names + ([] if torch.cuda.is_available() else ["cuda", "cuda:0"]):
        with pytest.raises(SettingsError, match=f"device: '{name}'") as caught:
            pick_device(name)
        assert "\n" not in str(caught.value)
    assert pick_device("cpu") == CPU and pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(SettingsError, match="dtype: 'int8'"):
        pick_dtype("int8", CPU)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("q_proj", "as a whole"), (["nothing"], "'nothing' matches no layer"), (["q_proj", "nothing"], "'nothing'"),
        (["proj"], "'proj'"), ("(", "not a regular expression"), ("*", "not a regular expression"),
        ("", "matches no layer"), ([], "matches no layer"), (["embed_tokens"], "class Embedding"), (["lm_head"], "shares"),
        (["norm"], "class LlamaRMSNorm"), (".*", "linear"), (["Q_PROJ"], "'Q_PROJ'"), ("all_linear", "matches no layer"),
    ],
)  # fmt: skip
def test_adapter_targets_that_match_nothing_are_refused(tiny_folder, targets, message):
    model = load_causal_model(tiny_folder, device=CPU, dtype=torch.float32)
    with pytest.raises(SettingsError, match="lora_targets") as caught:
        lora_config(model, 4, targets)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "targets", ["all-linear", ["q_proj"], ["self_attn.v_proj", "down_proj"], r".*\.(q|v)_proj"]
)
def test_adapter_targets_that_are_there_get_adapters(tiny_folder, targets):
    model = load_causal_model(tiny_folder, device=CPU, dtype=torch.float32)
    add_adapter(model, lora_config(model, 4, targets))
    assert any("lora_" in name for name, _ in model.named_parameters())
