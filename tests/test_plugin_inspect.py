"""Inspect with our scorer and reducers: the real package, its mock model, best-of-N over epochs."""

from __future__ import annotations

import pytest

inspect_ai = pytest.importorskip(
    "inspect_ai", reason="the adapter is tested where Inspect is installed (make plugins)"
)

from plugin_parts import Broken, Spoken
from sparring.contrib.inspect_ai import prm_best, prm_vote, with_prm
from sparring.errors import DataError


def evaluate(scorer: Spoken, reducers: list, folder, outputs: list[str]):
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    task = inspect_ai.Task(
        dataset=[Sample(input="1 + 1?", target="2")],
        solver=generate(),
        scorer=with_prm(match(), scorer),
        epochs=inspect_ai.Epochs(len(outputs), reducers),
    )
    said = [ModelOutput.from_content("mockllm/model", text) for text in outputs]
    model = get_model("mockllm/model", custom_outputs=said)

    async def counted(text: str) -> int:  # Inspect's own way asks the network for a vocabulary
        return len(text) // 4

    model.api.count_text_tokens = counted
    [log] = inspect_ai.eval(task, model=model, log_dir=str(folder), display="none", max_samples=1)
    return log


def accuracy_of(log, reducer: str) -> float:
    [found] = [one for one in log.results.scores if one.reducer == reducer]
    return found.metrics["accuracy"].value


def test_epochs_are_reduced_by_our_prm(tmp_path):
    outputs = ["so {0.9}\n#### 3", "a {0.5}\n#### 2", "b {0.6}\n#### 2"]
    log = evaluate(Spoken(), [prm_best(), prm_vote(), "mean"], tmp_path, outputs)
    assert log.status == "success", log.error
    assert accuracy_of(log, "prm_best") == 0.0  # the PRM is misled by one answer
    assert accuracy_of(log, "prm_vote") == 1.0  # and outvoted
    assert accuracy_of(log, "mean") == pytest.approx(2 / 3)
    scores = [sample.scores["with_prm"] for sample in log.samples]
    assert sorted(score.metadata["prm_value"] for score in scores) == [0.5, 0.5, 0.5]
    assert all(len(score.metadata["prm_scores"]) == 2 for score in scores)


def test_a_failed_score_fails_the_sample(tmp_path):
    log = evaluate(Broken(), [prm_best()], tmp_path, ["so\n#### 2"])
    assert log.status == "error" and "NaN" in log.error.message
    from inspect_ai.scorer import Score

    with pytest.raises(DataError, match="with_prm"):
        prm_best()([Score(value="C")])
