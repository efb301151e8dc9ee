"""PRMs in other people's hands: transformers' pipeline gives our scores, vLLM's configuration travels with label tokens."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import accelerate.tracking
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM, pipeline

from rl_data import random_prm
from sparring.errors import SettingsError
from sparring.models.checkpoint import how_to_serve, write_pooler_config
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Sidecar, read_sidecar
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import trusted_ids
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.training.run import available_trackers
from sparring.training.supervised import PrmSettings, train_supervised
from supervised_data import data_file, separable_traces
from tiny_tokenizers import SIZES, qwen_tokenizer

# --- transformers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PRM on a backbone whose tokenizer joins a full stop and the line break after it."""
    folder = tmp_path_factory.mktemp("byte")
    tokenizer = qwen_tokenizer()
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return random_prm(folder / "model", folder / "prm")


def piped(tagger, trace: Trace) -> tuple[str, list[float]]:
    """What the pipeline says at the end of every line after the first."""
    text = "".join(f"{line}\n" for line in (trace.problem.question, *trace.steps))
    ends, place = [], 0
    for line in text.splitlines():
        place += len(line) + 1
        ends.append(place)
    found = {one["end"]: one for one in tagger(text)}
    tokens = [found[end] for end in ends[1:]]
    return text, [one["score"] if one["entity"] == "correct" else 1 - one["score"] for one in tokens]


@given(
    steps=st.lists(
        st.sampled_from(["16 - 3 = 13", "so 5 eggs are left", "60 km in 2 hours"]), min_size=1, max_size=4
    )
)
def test_the_pipeline_gives_our_scores(byte_level, steps):
    tagger = pipeline("token-classification", model=str(byte_level), device="cpu")
    scorer = load_scorer(byte_level, device="cpu", dtype="float32")
    trace = Trace(Problem("1", "Janet has 16 eggs and eats 3"), tuple(steps))
    text, found = piped(tagger, trace)
    assert tuple(tagger.tokenizer(text, add_special_tokens=False).input_ids) == scorer.encode(trace).input_ids
    assert found == pytest.approx(scorer.score([trace])[0], abs=1e-5)


def test_where_a_separator_is_joined_to_its_step_the_pipeline_reads_other_tokens(byte_level):
    trace = Trace(Problem("1", "Janet has 16 eggs."), ("She eats 3.",))
    tagger = pipeline("token-classification", model=str(byte_level), device="cpu")
    text = "".join(f"{line}\n" for line in (trace.problem.question, *trace.steps))
    ids = load_scorer(byte_level).encode(trace).input_ids
    # As docs/checkpoints.md says
    assert tuple(tagger.tokenizer(text, add_special_tokens=False).input_ids) != ids


# --- vLLM ------------------------------------------------------------------------------------------------------------


def test_label_tokens_travel_with_what_vllm_is_told(tiny_folder, tmp_path):
    data = data_file(tmp_path, separable_traces(12), "labelled.jsonl")
    settings = PrmSettings(
        data=str(data),
        backbone=str(tiny_folder),
        head="label_tokens",
        epochs=1,
        device="cpu",
        dtype="float32",
    )
    folder = train_supervised(settings, tmp_path / "run")
    told, sidecar = json.loads((folder / "pooler_config.json").read_text()), read_sidecar(folder)
    scorer = load_scorer(folder)
    encoded = scorer.encode(Trace(Problem("1", "find d"), ("d is 5",)))
    assert told == {
        "pooling_type": "STEP",
        "step_tag_id": encoded.input_ids[encoded.positions[0]],
        "returned_token_ids": list(sidecar.label_tokens or ()),
    }
    card = (folder / "README.md").read_text()
    assert '--runner pooling --pooler-config "$(cat path/to/this/folder/pooler_config.json)"' in card


def test_classification_heads_need_no_pooler_and_say_how_they_are_served(tiny_folder, tmp_path):
    folder = random_prm(tiny_folder, tmp_path / "prm")
    assert not (folder / "pooler_config.json").exists()
    card = (folder / "README.md").read_text()
    assert "vllm serve path/to/this/folder --runner pooling\n" in card and "sparring serve prm=path" in card


def test_a_separator_of_several_tokens_is_told_by_its_last(tmp_path):
    tokenizer = qwen_tokenizer()
    sidecar = Sidecar.model_validate(
        {"head": "label_tokens", "label_tokens": (5, 6), "layout": {"separator": " ки\n"}}
    )
    write_pooler_config(tmp_path, tokenizer, sidecar)
    told = json.loads((tmp_path / "pooler_config.json").read_text())
    assert told["step_tag_id"] == trusted_ids(tokenizer, " ки\n")[-1] and told["returned_token_ids"] == [5, 6]
    ratio = Sidecar.model_validate({"head": "log_ratio", "log_ratio": {"beta": 0.1}})
    assert how_to_serve(ratio) == ""


# --- trackio ---------------------------------------------------------------------------------------------------------


class Trackio(types.ModuleType):
    """What accelerate asks of trackio: `init(project, name, resume)`, `config.update`, and a run's `log` and `finish`."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.started: list[dict[str, object]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.config = types.SimpleNamespace(
            update=lambda values, allow_val_change=False: self.kept.update(values)
        )
        self.kept: dict[str, object] = {}
        self.finished = 0

    def init(self, *, project: str, name: str | None = None, resume: str = "never") -> Trackio:
        self.started.append({"project": project, "name": name, "resume": resume})
        return self

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


def smallest(tiny_folder: Path, **changes: object) -> AprmSettings:
    return AprmSettings(
        backbone=str(tiny_folder), updates=2, prm_warm_steps=1, adversary_warm_steps=1, states_per_update=2,
        samples_per_state=2, device="cpu", dtype="float32", trackers=["trackio"], **changes,
    )  # fmt: skip


def test_a_run_is_tracked_by_trackio_under_its_own_name(tiny_folder, tmp_path, monkeypatch):
    trackio = Trackio()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    known = [*accelerate.tracking._available_trackers, accelerate.tracking.LoggerType.TRACKIO]
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", known)
    train_aprm(smallest(tiny_folder), tmp_path / "mine")
    assert trackio.started == [{"project": "sparring-aprm", "name": "mine", "resume": "allow"}]
    assert trackio.kept["updates"] == 2 and trackio.finished == 1
    assert trackio.logged and all(
        isinstance(one, float) for _, values in trackio.logged for one in values.values()
    )
    steps = [step for step, _ in trackio.logged]
    assert steps == sorted(steps) and len(set(steps)) == 4  # two warm-up steps, two updates


def test_without_trackio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [])
    with pytest.raises(SettingsError, match=r"pip install 'sparring\[trackio\]'"):
        available_trackers(["trackio"])
