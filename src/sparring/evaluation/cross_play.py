"""Cross-play: every saved adversary of a run against every saved PRM of it.

A PRM that only learned to beat its latest opponent shows a fool rate that rises again for older adversaries.

Contract: all pairs meet on the same held-out states, and each adversary's rewrites are sampled once, so that a column's
cells differ only by the PRM. A step is accepted from a score of 0.5 on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparring.training.aprm import Run, load_snapshot, score_rewrites
from sparring.training.game import Rewrites
from sparring.training.run import random_for, torch_generator_for


@dataclass(frozen=True, slots=True)
class CrossPlay:
    """Fool rates (rows: PRMs, columns: adversaries), None where an adversary wrote nothing well-formed and decided."""

    updates: list[int]
    fool_rate: list[list[float | None]]
    n: int


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
    for folder in folders:
        load_snapshot(run, run.out, int(folder.name), "prm")
        matrix.append([made.outcome_shares(score_rewrites(run, made))["fool_rate"] for made in rewrites])
        progress(len(folders) + len(matrix))
    return CrossPlay(
        [int(Path(folder).name) for folder in folders], matrix, n=states * run.settings.samples_per_state
    )
