"""Elo of snapshots from a cross-play matrix: known ratings are found again, and a trend only where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from sparring.evaluation.cross_play import CrossPlay, cross_play, ratings
from sparring.training.aprm import AprmSettings, setup, train_aprm


def played(r: list[float], g: list[float], states: int = 150, each: int = 4, seed: int = 0) -> CrossPlay:
    """Return a matrix drawn from log-odds g_j − r_i."""
    rng = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(np.array(r)[:, None] - np.array(g)[None, :]))
    fooled = rng.binomial(each, chance[:, :, None], (len(r), len(g), states))
    decided = np.full((len(g), states), each)
    rates = (fooled.sum(axis=2) / decided.sum(axis=1)).tolist()
    return CrossPlay([20 * place for place in range(len(r))], rates, states * each, fooled, decided)


def test_known_ratings_are_found_again():
    r, g = [0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 1.5, 2.0]
    found = ratings(played(r, g, states=2000), resamples=50)
    scale = 400 / np.log(10)
    assert [m.value for m in found.prm] == pytest.approx([scale * (x - 1.5) for x in r], abs=20)
    assert [m.value for m in found.adversary] == pytest.approx([scale * (x - 1.5) for x in g], abs=20)
    assert found.prm_trend.value == pytest.approx(3 * scale, abs=40)
    assert found.prm_trend.low > 0 and found.adversary_trend.low > 0


def test_who_stands_still_has_no_trend():
    flat = [ratings(played([1.0] * 5, [0.0] * 5, seed=seed), resamples=100) for seed in range(8)]
    inside = [f.prm_trend.low <= 0 <= f.prm_trend.high for f in flat]
    inside += [f.adversary_trend.low <= 0 <= f.adversary_trend.high for f in flat]
    assert sum(inside) >= 13  # of 16; 15.2 expected


def test_who_never_fools_has_a_rating_too():
    never = played([0.0, 0.0], [-50.0, 0.0])
    found = ratings(never, resamples=20)
    assert found.adversary[0].value < found.adversary[1].value - 500
    with pytest.raises(ValueError, match="two snapshots"):
        ratings(played([0.0], [0.0]))


def test_snapshots_of_a_run_meet(tiny_folder, tmp_path):
    settings = AprmSettings(
        backbone=str(tiny_folder), updates=2, prm_warm_steps=1, adversary_warm_steps=1, states_per_update=2,
        samples_per_state=2, snapshot_every=1, device="cpu",
    )  # fmt: skip
    train_aprm(settings, tmp_path / "run")
    found = cross_play(setup(settings, tmp_path / "run"), states=6, seed=1)
    assert found.fooled.shape == (3, 3, 6) and found.decided.shape == (3, 6)
    for row, counts in zip(found.fool_rate, found.fooled, strict=True):
        for rate, fooled, decided in zip(row, counts, found.decided, strict=True):
            assert rate is None or rate == pytest.approx(fooled.sum() / decided.sum())
