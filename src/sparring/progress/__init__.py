"""Progress: how a step changes the chance of success under a prover (PAV, arXiv 2410.08146).

rewards.py   advantages and effective rewards of the steps of a trace
logs.py      logged values, and powers of failure chances without the bias of few rollouts
provers.py   distinguishability and alignment from logs with intervals: which prover to choose before training
command.py   the table at the end of `sparring label --compare-provers`
"""

from sparring.progress.logs import LoggedTrace, PrefixValues, logged_traces
from sparring.progress.provers import (
    ProverComparison,
    ProverRow,
    compare_provers,
    comparison_metrics,
    comparison_table,
)
from sparring.progress.rewards import advantages, effective_rewards

__all__ = [
    "LoggedTrace",
    "PrefixValues",
    "ProverComparison",
    "ProverRow",
    "advantages",
    "compare_provers",
    "comparison_metrics",
    "comparison_table",
    "effective_rewards",
    "logged_traces",
]
