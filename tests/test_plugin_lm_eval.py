"""lm-evaluation-harness with our filter: the real evaluator on a task of three questions, with a model that recites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

lm_eval = pytest.importorskip(
    "lm_eval", reason="the adapter is tested where lm-eval is installed (make plugins)"
)

from plugin_parts import Broken, Spoken
from sparring.contrib.lm_eval import ChooseFilter
from sparring.errors import DataError

model = pytest.importorskip("lm_eval.api.model")


class Reciter(model.LM):
    """Answers every request with the next of its texts."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.texts, self.calls = texts, 0

    def generate_until(self, requests, disable_tqdm=False):
        found = []
        for _ in requests:
            found.append(self.texts[self.calls % len(self.texts)])
            self.calls += 1
        return found

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


def task(folder: Path, prm: object) -> dict[str, object]:
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": "2"}) + "\n" for n in range(3)))
    return {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": True},
        "repeats": 2,
        "filter_list": [
            {
                "name": "prm",
                "filter": [
                    {"function": "sparring_choose", "prm": prm},
                    {"function": "regex", "regex_pattern": r"#### (\d+)"},
                    {"function": "take_first"},
                ],
            },
            {"name": "first", "filter": [{"function": "take_first"}]},
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def test_the_harness_scores_what_our_prm_chooses(tmp_path):
    model = Reciter(["so {0.2}\n#### 3", "so {0.9}\n#### 2 {0.8}"])
    found = lm_eval.simple_evaluate(model=model, tasks=[task(tmp_path, Spoken())], bootstrap_iters=0)
    assert found["results"]["tiny"]["exact_match,prm"] == 1.0
    assert found["results"]["tiny"]["exact_match,first"] == 0.0
    assert model.calls == 6


def test_filters_by_themselves():
    docs = [{"question": "1?"}, {"question": "2?"}]
    answers = [["a {0.1} #### 1", "a {0.7} #### 2", "b {0.65} #### 1.0"], ["x {0.3}"]]
    assert ChooseFilter(prm=Spoken()).apply(answers, docs) == [["a {0.7} #### 2"], ["x {0.3}"]]
    vote = ChooseFilter(prm=Spoken(), rule="weighted_vote").apply(iter(answers), docs)
    assert vote == [["b {0.65} #### 1.0"], ["x {0.3}"]]
    with pytest.raises(DataError, match="document 1 has no text"):
        ChooseFilter(prm=Spoken(), question="query").apply(answers, docs)
    with pytest.raises(DataError, match="NaN"):
        ChooseFilter(prm=Broken()).apply(answers, docs)
