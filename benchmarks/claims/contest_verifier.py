"""A stronger verifier watches a weaker solver: the contest with a backbone that does not share the solver's blind spots.

In `contest.py` solver, PRM and adversary begin as one policy, whose author often misreads certain pairs of a sign and a
number: what the solver cannot look up, its verifier hardly can. Here the solver is the same, and PRM and adversary begin as
a backbone that went on with text of an author without such habits (`policies.py`, `backbone-13`). Everything else is
`contest.py`'s: updates, rewrites, problems, measures. One arm keeps the solver's own weights as backbone, so that what the
better one is worth stands in the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claims import contest
from claims.harness import Aim, Claim, Experiment, Reduced, product
from claims.policies import policy_folder

SHARED = "frozen, solver's backbone"
ARMS = {
    "rules": "the kinds that the rules know, and no others",
    "frozen": "a generator that imitated the rules, as it is",
    "level": "the game, without optimism, and step sizes do not rise again",
    "frozen 4x": "frozen, imitating with four times the step size",
    "zero-sum": "level from that generator: being caught costs as much as failing, four updates of G a round, KL weight .1",
    "zero-sum 1x": "the same at the default step size, from the generator of frozen",
    "own steps": "rules and the solver's own wrong steps half and half, no adversary",
    SHARED: "frozen, with PRM and generator from the solver's own weights",
}


def run(arm: str, seed: int, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train one arm and return its record (`contest.run`); the backbone is made once for all seeds."""
    backbone = settings["solver"] if arm == SHARED else policy_folder(settings["backbone"], folder.parent)
    return contest.run(arm.partition(",")[0], seed, {**settings, "backbone": backbone}, folder)


EXPERIMENT = Experiment(
    name="contest-verifier",
    run=run,
    arms=ARMS,
    points=product(backbone=("backbone-13",)),
    seeds=5,
    settings={"solver": "tiny-chain-policy", "kinds": 1, "updates": 60, "problems": [300, 150]},
    minutes=3.0,
    minutes_reduced=1.0,
    reduced=Reduced(
        points=product(backbone=("backbone-13",)),
        seeds=3,
        settings=contest.EXPERIMENT.reduced.settings,
    ),
    expectation=(
        "With the solver's own backbone, what is left to catch are values looked up wrongly, which the backbone itself "
        "looks up wrongly. A backbone without the habits should see them: step AUC above .95 with a frozen generator, and "
        "best-of-16 closer to the perfect verifier by 3.4 points or more. If it is not, shared blind spots are not what "
        "keeps detection from becoming choice. For the game we expect nothing beyond the frozen generator: a stronger R "
        "catches G sooner still. An interval of level less frozen above 0 would change our mind. "
        "Of the arm zero-sum, after a pilot of seed 90 (step AUC .952, the same generator frozen .939; best-of-16 74.9 and "
        "75.9) and before these seeds: about one point of AUC and nothing in choice. Of zero-sum 1x, after all seeds of "
        "zero-sum and one pilot (seed 90: .925, frozen .908): a gain over frozen like that of zero-sum over frozen 4x."
    ),
    failed=(
        "The backbone without habits sees wrong values better (AUC .81, the solver's own weights .76; frozen generator, "
        "mean of three seeds), far from .95, and chooses 1.3 points better, which may be chance. With the solver's own "
        "wrong steps it sees them at .93 and all first wrong steps at .96, and chooses no better (74.4, frozen 75.0, a "
        "perfect verifier 88.5): shared blind spots are not what keeps detection from becoming choice.",
    ),
    caveats=(
        "One backbone serves all seeds: seeds vary problems, sampling and training alone.",
        "Step sizes are the chain world's defaults for every arm.",
    ),
)
_BASELINES = ("rules", "frozen", "own steps")
CLAIMS = (
    Claim(
        "verifier-choice",
        "A verifier without the solver's blind spots chooses better than one that shares them",
        Aim(3.4, "points"),
        ours="frozen",
        baselines=(SHARED,),
        value=contest.choice("id", "best"),
    ),
    Claim(
        "verifier-choice-longer",
        "The same on longer chains than trained on",
        Aim(5.3, "points"),
        ours="frozen",
        baselines=(SHARED,),
        value=contest.choice("longer", "best"),
    ),
    Claim(
        "verifier-detection",
        "It sees more of the solver's first wrong steps",
        Aim(2.0, "points of AUC"),
        ours="frozen",
        baselines=(SHARED,),
        value=contest.detection,
    ),
    Claim(
        "verifier-game",
        "With such a verifier, the game chooses better than rules, a frozen generator or the solver's own steps",
        Aim(3.4, "points"),
        ours="level",
        baselines=_BASELINES,
        value=contest.choice("id", "best"),
    ),
    Claim(
        "verifier-game-longer",
        "The same on longer chains than trained on",
        Aim(5.3, "points"),
        ours="level",
        baselines=_BASELINES,
        value=contest.choice("longer", "best"),
    ),
    Claim(
        "verifier-game-detection",
        "With such a verifier, the game sees more of the solver's first wrong steps than a frozen generator teaches",
        Aim(2.0, "points of AUC"),
        ours="level",
        baselines=("frozen",),
        value=contest.detection,
    ),
    Claim(
        "verifier-zero-sum-detection",
        "Where being caught costs the adversary, and it is fast, the game sees more than the same generator frozen",
        Aim(2.0, "points of AUC"),
        ours="zero-sum",
        baselines=("frozen 4x",),
        value=contest.detection,
    ),
    Claim(
        "verifier-zero-sum-longer",
        "The same on longer chains than trained on",
        Aim(2.0, "points of AUC"),
        ours="zero-sum",
        baselines=("frozen 4x",),
        value=contest.detection_longer,
    ),
    Claim(
        "verifier-zero-sum-alive",
        "It still fools the PRM late in the game, beyond what the same generator frozen does",
        Aim(5.0, "points"),
        ours="zero-sum",
        baselines=("frozen 4x",),
        value=contest.late_fool_rate,
    ),
    Claim(
        "verifier-zero-sum",
        "Its PRM chooses better than on rules, on either frozen generator or on the solver's own steps",
        Aim(3.4, "points"),
        ours="zero-sum",
        baselines=(*_BASELINES, "frozen 4x"),
        value=contest.choice("id", "best"),
    ),
    Claim(
        "verifier-zero-sum-1x-detection",
        "At the default step size the zero-sum game sees more than the frozen generator that it begins from",
        Aim(2.0, "points of AUC"),
        ours="zero-sum 1x",
        baselines=("frozen",),
        value=contest.detection,
    ),
)
