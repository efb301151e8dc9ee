"""Cross-play: every saved adversary of a run against every saved PRM of it, and how strong each is.

A PRM that only learned to beat its latest opponent shows a fool rate that rises again for older adversaries. `ratings`
puts all of them on one scale (Elo): the log-odds that adversary j fools PRM i are g_j − r_i. In a contest both lines rise;
where one stays flat, that player has stopped learning.

Contract: all pairs meet on the same held-out states, and each adversary's rewrites are sampled once, so that a column's
cells differ only by the PRM. A step is accepted from a score of 0.5 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.runs import Metric
from sparring.training.aprm import Run, load_snapshot, score_rewrites
from sparring.training.game import Rewrites
from sparring.training.run import random_for, torch_generator_for


@dataclass(frozen=True, slots=True)
class CrossPlay:
    """Fool rates (rows: PRMs, columns: adversaries), None where an adversary wrote nothing well-formed and decided.

    Attributes:
        updates: of the snapshots.
        fool_rate: fooled / decided rewrites.
        n: rewrites of an adversary.
        fooled: how many fooled, (PRMs, adversaries, states).
        decided: how many were well-formed and decided, (adversaries, states).
    """

    updates: list[int]
    fool_rate: list[list[float | None]]
    n: int
    fooled: NDArray[np.int64]
    decided: NDArray[np.int64]


def cross_play(
    run: Run, *, states: int, seed: int, progress: Callable[[int], None] = lambda units: None
) -> CrossPlay:
    """Return the matrix for the snapshots in the run's directory; the run's players are left as the last snapshot.

    Args:
        run: whose snapshots meet.
        states: held-out states on which they meet.
        seed: of states and rewrites.
        progress: called with how many units are done, two for each snapshot.
    """
    folders = sorted(path for path in (run.out / "snapshots").iterdir() if path.is_dir())
    held_out = run.task.draw(random_for(seed, 0, "cross-play"), states)
    rewrites: list[Rewrites] = []
    for folder in folders:
        load_snapshot(run, run.out, int(folder.name), "adversary")
        generator = torch_generator_for(seed, 0, "cross-play", run.device)
        rewrites.append(run.adversary.rewrite(run.task, held_out, generator))
        progress(len(rewrites))
    matrix: list[list[float | None]] = []
    fooled: list[list[list[int]]] = []
    for folder in folders:
        load_snapshot(run, run.out, int(folder.name), "prm")
        scores = [score_rewrites(run, made) for made in rewrites]
        pairs = list(zip(rewrites, scores, strict=True))
        matrix.append([made.outcome_shares(row)["fool_rate"] for made, row in pairs])
        fooled.append([_fooled(made, row) for made, row in pairs])
        progress(len(folders) + len(matrix))
    return CrossPlay(
        [int(Path(folder).name) for folder in folders],
        matrix,
        n=states * run.settings.samples_per_state,
        fooled=np.array(fooled),
        decided=np.array([[sum(i.truth is not None for i in group) for group in m.groups] for m in rewrites]),
    )


def _fooled(made: Rewrites, scores: Sequence[Sequence[float]]) -> list[int]:
    formed = ([item for item in group if item.malformed is None] for group in made.groups)
    return [
        sum(item.truth is False and score >= 0.5 for item, score in zip(group, row, strict=True))
        for group, row in zip(formed, scores, strict=True)
    ]


# --- ratings ---------------------------------------------------------------------------------------------------------

_ELO = 400 / math.log(10)


@dataclass(frozen=True, slots=True)
class Ratings:
    """Elo ratings in the order of the snapshots, the mean of the PRMs being 0, with intervals over states.

    Attributes:
        prm, adversary: rating of each snapshot.
        prm_trend, adversary_trend: what a straight line through a player's ratings gains from the first to the last; a
            trend is there where its interval leaves out 0.
    """

    prm: list[Metric]
    adversary: list[Metric]
    prm_trend: Metric
    adversary_trend: Metric


def ratings(played: CrossPlay, *, resamples: int = 400, seed: int = 0) -> Ratings:
    """Rate all snapshots by maximum likelihood (Bradley and Terry 1952), with bootstrap intervals over states.

    Every pair is given half a success and half a failure beside its own, so that who never fooled has a rating too.

    Raises:
        ValueError: fewer than two snapshots, or no state.
    """
    if len(played.updates) < 2 or played.decided.shape[-1] == 0:
        raise ValueError("ratings need two snapshots and a state")
    states = played.decided.shape[-1]
    rng = np.random.default_rng(seed)
    found = [_rated(played, np.ones(states))]
    found += [
        _rated(played, np.bincount(rng.integers(states, size=states), minlength=states))
        for _ in range(resamples)
    ]
    draws = np.array(found)  # (1 + resamples, 2, snapshots)
    updates = np.array(played.updates, dtype=np.float64)
    centred = updates - updates.mean()
    trends = draws @ centred / (centred @ centred) * (updates[-1] - updates[0])
    prm, adversary = (
        [_interval(draws[:, player, place]) for place in range(len(updates))] for player in (0, 1)
    )
    return Ratings(prm, adversary, _interval(trends[:, 0]), _interval(trends[:, 1]))


def _rated(played: CrossPlay, weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return Elo of PRMs and adversaries, (2, snapshots), with the states weighted."""
    won = played.fooled @ weights + 0.5
    total = (played.decided @ weights)[None, :] + 1.0
    r, g = np.zeros(len(won)), np.zeros(len(won))
    for _ in range(200):  # alternate Newton steps, each on one player's ratings: concave in both
        for player in (0, 1):
            p = 1 / (1 + np.exp(r[:, None] - g[None, :]))
            gap, curvature = won - total * p, total * p * (1 - p)
            if player == 0:
                r -= np.clip(gap.sum(axis=1) / curvature.sum(axis=1), -1, 1)
            else:
                g += np.clip(gap.sum(axis=0) / curvature.sum(axis=0), -1, 1)
        if np.abs(gap.sum(axis=0)).max() < 1e-6 and np.abs(gap.sum(axis=1)).max() < 1e-6:
            break
    return _ELO * np.stack([r - r.mean(), g - r.mean()])


def _interval(draws: NDArray[np.float64]) -> Metric:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return Metric(float(draws[0]), float(low), float(high), unit="Elo")
