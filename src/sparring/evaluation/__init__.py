"""Measuring PRMs: every number with its interval, its threshold's rule, and the cases that it rests on.

    statistics.py    bootstrap and Wilson intervals, paired comparison, AUC, calibration
    score_files.py   step scores on disk, and the check that every list of scores passes
    scoring.py       running a scorer over many traces, with progress and a journal to continue from
    processbench.py  ProcessBench: finding the first wrong step
    tables.py        what is shown on the terminal
    commands.py      `eval processbench` and `score`

Nothing here imports torch until a model is loaded.
"""

from sparring.evaluation.commands import evaluate_processbench, score_file
from sparring.evaluation.processbench import Case, Threshold, best_threshold, evaluate, first_error_below
from sparring.evaluation.score_files import checked_scores, read_scores, write_scores
from sparring.evaluation.scoring import StepScorer, score_traces
from sparring.statistics import (
    auc,
    auc_interval,
    bootstrap_mean,
    bootstrap_statistic,
    expected_calibration_error,
    paired_difference,
    proportion,
    reliability_bins,
)

__all__ = [
    "Case",
    "StepScorer",
    "Threshold",
    "auc",
    "auc_interval",
    "best_threshold",
    "bootstrap_mean",
    "bootstrap_statistic",
    "checked_scores",
    "evaluate",
    "evaluate_processbench",
    "expected_calibration_error",
    "first_error_below",
    "paired_difference",
    "proportion",
    "read_scores",
    "reliability_bins",
    "score_file",
    "score_traces",
    "write_scores",
]
