"""The planted world against slow search and sampling, and its network against the definition of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planted_policy import MaskedPolicies, PlantedTraining, Population, Run
from planted_world import PlantedWorld

WORLD = PlantedWorld()
SMALL = PlantedWorld(hidden=(1, 2), vocabulary=4, end=3, length=4)

# Computed independently of this code, by another dynamic program: strength γ of the prover, its success, and for the
# policy γ = 5 the share of visited (state, action) with |A^μ| < 0.02 and the distinguishability summed over the steps.
EXACT = [
    (5, 0.0054, 0.98, 0.005),
    (8, 0.0245, 0.90, 0.008),
    (10, 0.0455, 0.80, 0.010),
    (15, 0.118, 0.67, 0.017),
    (20, 0.203, 0.30, 0.028),
    (50, 0.585, 0.30, 0.109),
    (100, 0.815, 0.42, 0.205),
    (1000, 0.993, 0.79, 0.398),
]


@pytest.mark.parametrize(("strength", "success", "flat", "spread"), EXACT)
def test_exact_numbers_of_the_provers(strength: float, success: float, flat: float, spread: float) -> None:
    policy, prover = WORLD.prover(5.0), WORLD.prover(strength)
    action_values, state_values = WORLD.values(prover)
    advantages = action_values - state_values[:-1, :, None]
    visited = (WORLD.visits(policy)[:, :, None] * policy)[:, : WORLD.ended]  # before an end without success
    inside = advantages[:, : WORLD.ended]
    assert WORLD.success(prover) == pytest.approx(success, rel=0.01)
    assert visited[np.abs(inside) < 0.02].sum() / visited.sum() == pytest.approx(flat, abs=0.0051)
    mean = (policy * advantages).sum(axis=2, keepdims=True)
    variance = (policy * (advantages - mean) ** 2).sum(axis=2)
    assert (WORLD.visits(policy) * variance).sum() == pytest.approx(spread, abs=0.00051)


@pytest.mark.parametrize("strength", [20.0, 100.0])
def test_values_agree_with_sampling(strength: float) -> None:
    policy, n = WORLD.prover(strength), 40_000
    tokens = WORLD.sample(policy, n, np.random.default_rng(0))
    success = WORLD.success(policy)
    assert WORLD.outcomes(tokens).mean() == pytest.approx(success, abs=4 * (success / n) ** 0.5)
    reached = WORLD.states(tokens)
    for step in range(WORLD.length):
        share = np.bincount(reached[:, step], minlength=7) / n
        assert share == pytest.approx(WORLD.visits(policy)[step], abs=4 * (0.25 / n) ** 0.5)
        # Of those that match two tokens here, as many succeed as the value says.
        here = reached[:, step] == 2
        if here.sum() > 100:
            value = WORLD.values(policy)[1][step, 2]
            assert WORLD.outcomes(tokens[here]).mean() == pytest.approx(value, abs=2.5 / here.sum() ** 0.5)


HIDDEN = st.lists(st.integers(0, 2), min_size=1, max_size=4)


@given(HIDDEN, st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_the_automaton_finds_what_a_plain_search_finds(hidden: list[int], tokens: list[int]) -> None:
    world = PlantedWorld(tuple(hidden), vocabulary=4, end=3, length=5)
    shown = tokens[: tokens.index(3)] if 3 in tokens else tokens
    found = any(shown[at : at + len(hidden)] == hidden for at in range(len(shown)))
    assert world.outcomes([tokens])[0] == float(found)
    counted = tokens.index(3) + 1 if 3 in tokens else 5
    assert world.counted(tokens).tolist() == [1.0] * counted + [0.0] * (5 - counted)


@given(HIDDEN, st.integers(0, 2**32))
def test_advantages_sum_to_the_outcome_less_the_first_value(hidden: list[int], seed: int) -> None:
    world = PlantedWorld(tuple(hidden), vocabulary=4, end=3, length=5)
    random = np.random.default_rng(seed)
    policy = random.dirichlet(np.ones(4), size=(5, len(hidden) + 2))
    tokens = world.sample(policy, 20, random)
    values = world.prefix_values(tokens, policy)
    assert np.diff(values).sum(axis=1) == pytest.approx(world.outcomes(tokens) - world.success(policy))
    assert world.visits(policy).sum(axis=1) == pytest.approx(np.ones(5))


def test_impossible_worlds_and_provers_are_refused() -> None:
    for arguments in (
        {"hidden": ()},
        {"hidden": (1,) * 11},
        {"hidden": (14,)},
        {"hidden": (15,)},
        {"end": 15},
    ):
        with pytest.raises(ValueError, match=r"."):
            PlantedWorld(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive"):
        WORLD.prover(0.0)


# --- the network ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks() -> MaskedPolicies:
    policies = MaskedPolicies(SMALL, [3, 4], width=24)
    with torch.no_grad():
        for bias in policies.biases:
            bias.normal_(generator=torch.Generator().manual_seed(0))
    return policies


def test_every_token_depends_on_those_before_it_only(networks: MaskedPolicies) -> None:
    tokens = torch.randint(0, 4, (2, 50, 4), generator=torch.Generator().manual_seed(1))
    before = networks.log_probabilities(tokens)
    for position in range(4):
        changed = tokens.clone()
        changed[:, :, position] = (changed[:, :, position] + 1) % 4
        after = networks.log_probabilities(changed)
        assert torch.equal(before[:, :, :position], after[:, :, :position])
        if position < 3:
            assert (before[:, :, position + 1 :] != after[:, :, position + 1 :]).any()
    every = torch.cartesian_prod(*[torch.arange(4)] * 4).expand(2, -1, -1)
    assert networks.log_probabilities(every).sum(dim=2).exp().sum(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("start", [0, 2])
def test_sampling_inverts_the_distribution_that_is_trained(networks: MaskedPolicies, start: int) -> None:
    uniforms = torch.rand(2, 200, 4, generator=torch.Generator().manual_seed(2))
    known = torch.randint(0, 4, (2, 200, 4), generator=torch.Generator().manual_seed(3))
    tokens = networks.sample(uniforms, known, start)
    assert torch.equal(tokens[:, :, :start], known[:, :, :start])
    with torch.no_grad():
        for position in range(start, 4):
            choices = []
            for token in range(4):
                other = tokens.clone()
                other[:, :, position] = token
                choices.append(networks.log_probabilities(other)[:, :, position].exp())
            limits = torch.stack(choices, dim=2).cumsum(dim=2)
            u, chosen = uniforms[:, :, position], tokens[:, :, position, None]
            above = limits.gather(2, chosen).squeeze(2)
            below = (
                torch.cat([torch.zeros_like(limits[:, :, :1]), limits], dim=2).gather(2, chosen).squeeze(2)
            )
            assert ((u < above + 1e-5) & (u > below - 1e-5)).all()


def test_neighbours_do_not_change_a_run() -> None:
    def trained(runs: list[Run]) -> torch.Tensor:
        population = Population(SMALL, runs, PlantedTraining(iterations=5, start_samples=128))
        population.start()
        population.train(lambda _: None, 1)
        return population.policies.weights[1][0].detach()

    run = Run(5, strength=20.0)
    assert torch.allclose(trained([run]), trained([run, Run(6, 3.0, 0.0)]), atol=1e-5)
    assert not torch.allclose(trained([run]), trained([Run(6, strength=20.0)]), atol=1e-3)


@pytest.mark.parametrize("rollouts", [0, 400])
def test_rewards_are_returns_plus_immediate_progress(rollouts: int) -> None:
    runs = [Run(0, 20.0, 0.0), Run(0, 20.0, 2.0)]
    population = Population(SMALL, runs, PlantedTraining(rollouts=rollouts))
    tokens = torch.tensor([[[1, 2, 0, 0], [0, 1, 3, 2]]] * 2)
    outcome_only, effective = population.rewards(tokens)
    values = SMALL.prefix_values(tokens[0].numpy(), SMALL.prover(20.0))
    counted = SMALL.counted(tokens[0].numpy())
    if rollouts == 0:
        assert outcome_only.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
        assert effective - outcome_only == pytest.approx(2.0 * np.diff(values) * counted)
    else:
        # The first response has found the sequence after two tokens, the second never will after its third.
        assert outcome_only[0, 1:].tolist() == [1, 1, 1]
        assert 0 < outcome_only[0, 0] < 1
        assert outcome_only[1, 2:].tolist() == [0, 0]
        assert 0 < outcome_only[1, 1] < 1


def test_progress_teaches_the_small_world() -> None:
    training = PlantedTraining(iterations=150, learning_rate=5e-3, start_samples=256)
    population = Population(SMALL, [Run(0, 10.0), Run(1, 10.0)], training)
    population.start()
    seen: list[int] = []
    population.train(seen.append, 100)
    assert seen == [0, 100, 150]
    assert SMALL.outcomes(population.sample(1000, "test")).mean(axis=1).min() > 0.8  # uniform: 0.15
