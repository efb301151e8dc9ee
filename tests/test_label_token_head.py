"""The label-token head: its scores are those that plain transformers give, in scoring, training and after export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaForCausalLM,
)

from sparring.errors import CheckpointError, SettingsError
from sparring.models.loading import load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.models.sidecar import Sidecar, sidecar_for, write_sidecar
from sparring.traces.records import Trace
from sparring.training.supervised import label_token_ids, train_supervised
from sparring.worlds.chain import generate_problems
from sparring.worlds.chain_model import CHAIN_LAYOUT, build_tokenizer, tiny_config
from supervised_data import data_file, quick

ARCHITECTURES = ["tied", "untied", "capped"]


def traces(count: int = 5) -> list[Trace]:
    return [Trace(problem, problem.solution) for problem in generate_problems(count, steps=(1, 5), seed=0)]


def labelled_folder(place: Path, architecture: str) -> Path:
    """A random causal model with a label-token sidecar."""
    tokenizer = build_tokenizer()
    torch.manual_seed(2)
    if architecture == "capped":  # Gemma 2 squeezes its logits
        config = Gemma2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5,
            max_position_embeddings=256, initializer_range=0.3, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        )  # fmt: skip
        model = Gemma2ForCausalLM(config)
    else:
        config = tiny_config(len(tokenizer), width=32, layers=2)
        config.initializer_range = 0.3  # so that the scores differ by more than rounding
        config.tie_word_embeddings = architecture == "tied"
        model = LlamaForCausalLM(config)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    ids = label_token_ids(tokenizer, ("+", "-"))
    write_sidecar(place, sidecar_for(CHAIN_LAYOUT, head="label_tokens", label_tokens=ids, max_length=200))
    return place


def plain_scores(folder: Path, trace: Trace) -> list[float]:
    """The probability of the first label token against the second, with nothing of ours but the sidecar's texts."""
    fields = json.loads((folder / "sparring.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    layout, ids, scores = fields["layout"], [], []
    for piece in (layout["before"], trace.problem.question, layout["after"]):
        ids += tokenizer.encode(piece, add_special_tokens=False) if piece else []
    for step in trace.steps:
        for piece in (step, layout["separator"]):
            ids += tokenizer.encode(piece, add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        calibration = fields["calibration"]
        odds = logits[fields["label_tokens"][0]] - logits[fields["label_tokens"][1]]
        scores.append(float(torch.sigmoid(calibration["scale"] * odds + calibration["shift"])))
    return scores


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_equal_plain_transformers_alone_and_in_a_batch(tmp_path, architecture):
    folder = labelled_folder(tmp_path / architecture, architecture)
    scorer = load_scorer(folder, device="cpu", batch_tokens=150)
    assert scorer.model(torch.tensor([[5, 6]])).logits.shape == (1, 2, 2)  # two of the vocabulary's rows
    scores = scorer.score(traces())
    spread = [score for row in scores for score in row]
    assert max(spread) - min(spread) > 0.01
    for trace, row in zip(traces(), scores, strict=True):
        assert row == pytest.approx(plain_scores(folder, trace), abs=1e-5)
        assert scorer.score([trace])[0] == pytest.approx(row, abs=1e-5)


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_trained_head_is_a_plain_causal_model_with_the_scores_of_training(tmp_path, adapter, tied):
    start = labelled_folder(tmp_path / "start", "tied" if tied else "untied")
    before = {n: p.clone() for n, p in AutoModelForCausalLM.from_pretrained(start).named_parameters()}
    chosen = quick(
        "value",
        start,
        data_file(tmp_path),
        head="label_tokens",
        adapter=adapter,
        learning_rate=1e-2,
        epochs=8,
    )
    folder = train_supervised(chosen, tmp_path / "run")
    scorer = load_scorer(folder, device="cpu")
    assert scorer.sidecar.head == "label_tokens" and scorer.sidecar.label_tokens is not None
    for trace, row in zip(traces(), scorer.score(traces()), strict=True):
        assert row == pytest.approx(plain_scores(folder, trace), abs=1e-5)
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert written["validation.auc"]["value"] > 0.95
    after = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    assert after.keys() == before.keys()
    if not tied:  # of an output head of its own only the two rows are trained
        rows = (after["lm_head.weight"] != before["lm_head.weight"]).any(dim=1).nonzero()[:, 0].tolist()
        assert set(rows) == (set() if adapter == "lora" else set(scorer.sidecar.label_tokens))
    assert "text-generation" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_tokens": None}, "label_tokens"),
        ({"label_tokens": [3, 3]}, "two different"),
        ({"label_tokens": [3, -1]}, "two different"),
        ({"label_tokens": [3, 10_000]}, "tokens"),
        ({"head": "token_classification"}, "label_tokens"),
        ({"label_tokens": [1, 2, 3]}, "label_tokens"),
    ],
)
def test_bad_sidecars_are_refused(tmp_path, change, message):
    folder = labelled_folder(tmp_path / "model", "tied")
    fields = json.loads((folder / "sparring.json").read_text()) | change
    (folder / "sparring.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match=message):
        load_scorer(folder, device="cpu")


def test_label_tokens_must_be_two_single_known_tokens(tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    assert label_token_ids(tokenizer, ("+", "-")) == tuple(tokenizer.convert_tokens_to_ids(["+", "-"]))
    for texts, message in (
        (("+ -", "-"), "it is 2"),
        (("+", "+"), "same token"),
        (("xyz", "-"), "does not know"),
    ):
        with pytest.raises(SettingsError, match=message):
            label_token_ids(tokenizer, texts)


def test_a_classifier_whose_head_has_another_size_is_refused(tmp_path, tiny_folder):
    from transformers import AutoModelForTokenClassification

    other = tmp_path / "other"
    AutoModelForTokenClassification.from_pretrained(tiny_folder, num_labels=3).save_pretrained(other)
    for file in tiny_folder.glob("tokenizer*"):
        shutil.copy(file, other)
    with pytest.raises(CheckpointError, match=r"score.bias \(3,\)"):
        train_supervised(quick("prm", other, data_file(tmp_path)), tmp_path / "run")


def test_the_sidecar_keeps_its_defaults():
    assert Sidecar().head == "token_classification" and Sidecar().label_tokens is None
    with pytest.raises(ValidationError):
        Sidecar(head="label_tokens")
