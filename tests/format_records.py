"""One small record of every format, for the tests of the readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def shepherd(question: str, steps: str, labels: str) -> Record:
    label = steps
    for sign in labels:
        label = label.replace("ки", sign, 1)
    return {"input": question + steps, "label": question + label, "task": "GSM8K"}


def candidate(text: str, rating: int | None, flagged: bool | None = False) -> Record:
    return {"text": text, "rating": rating, "flagged": flagged}


def state(candidates: list[Record] | None, chosen: int | None, human: str | None = None) -> Record:
    completion = (
        None if human is None else {"text": human, "rating": None, "source": "human", "flagged": False}
    )
    return {"completions": candidates, "human_completion": completion, "chosen_completion": chosen}


def prm800k(states: list[Record], finish: str = "solution") -> Record:
    return {
        "labeler": "x",
        "generation": 3,
        "is_quality_control_question": False,
        "question": {"problem": "What is 2 + 2?", "ground_truth_answer": "4"},
        "label": {"steps": states, "total_time": 1, "finish_reason": finish},
    }


RECORDS: dict[str, Record] = {
    "sparring": {"id": "p", "problem": "1 + 1?", "steps": ["1 + 1 = 2"], "labels": [1.0], "outcome": True},
    "samples": {
        "sha256": "2bd3ba77eb35dd761ae82c3995aa3715832ff3f23a1efeea2db4ddf326021026",
        "id": "p",
        "problem": "1 + 1?",
        "answer": "2",
        "steps": ["1 + 1 = 2"],
        "labels": [1.0],
        "outcome": True,
        "source": "policy",
        "scores": [0.9],
        "value": 0.9,
        "method": "beam",
        "n": 4,
        "chosen": True,
        "license": "cc-by-4.0",
        "meta": '{"walk": "right"}',
        "problem_meta": None,
    },
    "gsm8k": {
        "question": "How many?",
        "answer": "2 + 3 = <<2+3=5>>5 eggs.\n\n5 * 2 = <<5*2=10>>10.\n#### 10",
    },
    "gsm8k_solutions": {
        "question": "How many?",
        "ground_truth": "2 + 3 = <<2+3=5>>5\nA: 5",
        "6b_finetuning": {"is_correct": False, "solution": "2 * 3 = <<2*3=6>>6\nA: 6"},
        "6b_verification": {"is_correct": True, "solution": "2 + 3 = 5\nA: 5"},
        "175b_finetuning": {"is_correct": False, "solution": "2 + 3 = 3333333"},
        "175b_verification": {"is_correct": True, "solution": "So 5\nA: 5"},
    },
    "math": {
        "problem": "Halve 1.",
        "solution": "We divide.\n\nSo $\\boxed{\\frac{1}{2}}$.",
        "level": "Level 1",
        "subject": "Algebra",
    },
    "math_steps": {"problem": "How many seconds?", "steps": ["60 * 7 = 420", "So \\boxed{420}"]},
    "demo": {
        "question": "1 + 1?",
        "steps": ["1 + 1 = 3", "So 3"],
        "truths": ["wrong", "correct"],
        "scores": {"aprm": [0.1, 0.2]},
        "outcome": False,
        "split": "test",
    },
    "trl_stepwise": {"prompt": "1 + 1?", "completions": ["1 + 1 = 2", "So 3"], "labels": [True, False]},
    "prm800k": prm800k(
        [
            state([candidate("Add.", 0), candidate("Guess.", -1)], 0),
            state([candidate("2 + 2 = 5", -1)], None, human="2 + 2 = 4"),
            state([candidate("So 4.", 1), candidate("So 4!", 1), candidate("Hm.", 1, True)], 0),
        ]
    ),
    "math_shepherd": shepherd(
        "1 + 1 - 0? ", "Step 1: 1 + 1 = 2 ки\nStep 2: 2 - 0 = 2 The answer is: 2 ки", "+-"
    ),
    "math_aps": {
        "question": "What is x?",
        "final_answer": "2",
        "reasoning_steps": [
            {"solution_prefix": "What is x?", "mc_value": 0.5},
            {"solution_prefix": "What is x?\n\nLet x = 2", "mc_value": 0.25},
            {"solution_prefix": "What is x?\n\nLet x = 2\n\nSo 2", "mc_value": 1.0},
            {"solution_prefix": "What is x?\n\nLet x = 26", "mc_value": 0.0},
            {"solution_prefix": "What is x?\n\nLet x = 2\n", "mc_value": 0.75},
        ],
    },
    "openr": {
        "question": "What is 2 + 2?",
        "process": "Step 1: Add. \n\n\n\n\nStep 2: So 5. \n\n\n\n\n",
        "label": ["+", "-"],
    },
    "rlhflow": {
        "conversations": [
            {"role": "user", "content": "What is 2 + 2? Step 1: 2 + 2 = 4"},
            {"role": "assistant", "content": "+"},
            {"role": "user", "content": "Step 2: The answer is: 5"},
            {"role": "assistant", "content": "-"},
        ]
    },
    "versaprm": {
        "domain": "math",
        "question": "What is 2 + 2?",
        "answer": "Add.\n\nSo \\boxed{4}",
        "chain_of_thoughts": [
            {
                "steps": ["Add.", "So 5.", "Yes 5."],
                "labels": [1, -1, -1],
                "augs": [{"aug_step": "So 4.", "aug_idx": 1, "aug_type": 1}],
            }
        ],
    },
    "processbench": {
        "id": "math-0",
        "generator": "some-model",
        "problem": "2 + 2?",
        "steps": ["2 + 2 = 5", "So 5"],
        "label": 0,
        "final_answer_correct": False,
    },
    "prmbench": {
        "original_question": "2 + 2?",
        "modified_question": "2 + 2 ?",
        "original_process": ["2 + 2 = 4"],
        "modified_process": ["2 + 2 = 5", "so 5", "as it were"],
        "error_steps": [1, 2],
        "reason": "because",
        "classification": "circular",
        "idx": "prm_test_0",
    },
}


def jsonl(folder: Path, *records: Any) -> Path:
    """Write records as JSON lines into a file in `folder` and return its path."""
    path = folder / "records.jsonl"
    path.write_text(
        "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8"
    )
    return path
