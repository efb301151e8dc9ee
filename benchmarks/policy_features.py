"""What a PRM can see in the features of a chain-world policy, before any training of its backbone.

    python benchmarks/policy_features.py
    python benchmarks/policy_features.py --policies tiny-chain-policy runs/chain-policy

A small head (one hidden layer) is trained over the policy's *frozen* hidden states at the step's position on rule
perturbations and the correct steps that they were made from. Reported is its AUC on other problems, per kind of mistake,
and on the first errors of the policy's own sampled solutions. Where that is 1/2, a PRM starts at chance and its backbone
has to learn first; where it is near 1, a PRM needs minutes.

Contract: `--seeds` seeds of problems and head; writes `policy_features.json` and `.md` with mean and range over seeds.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from publishing import command_line, over_seeds, table
from sparring.files import atomic_write_json, atomic_write_text
from sparring.models import TINY_POLICY
from sparring.models.batching import pad_right
from sparring.models.loading import load_causal_model, load_tokenizer, pick_device
from sparring.models.prompts import layout_for
from sparring.rollouts.engine import Limits, Prefix, solutions
from sparring.rollouts.local import LocalEngine
from sparring.runs import machine, source_commit
from sparring.settings_shared import seed_from
from sparring.statistics import auc
from sparring.traces.records import Trace
from sparring.traces.spans import encode
from sparring.training.game_tasks import WorldTask
from sparring.worlds.chain import IN_DISTRIBUTION, generate_problems
from sparring.worlds.chain_world import ChainWorld
from sparring.worlds.world import judged

Solution = tuple[str, Sequence[str]]  # question, steps
OWN = "own first errors"


class Policy:
    """A frozen policy and the hidden states of its steps."""

    def __init__(self, folder: str) -> None:
        self.model = load_causal_model(folder, device=pick_device("cpu"), dtype=torch.float32).eval()
        self.tokenizer = load_tokenizer(folder)
        self.layout = layout_for(self.tokenizer, "plain")

    @torch.no_grad()
    def features(self, solutions: Sequence[Solution]) -> list[torch.Tensor]:
        """Return the last hidden states at the steps' positions: one (steps, width) per solution."""
        encoded = [encode(question, steps, self.tokenizer, self.layout) for question, steps in solutions]
        found: list[torch.Tensor] = []
        for start in range(0, len(encoded), 128):
            batch = encoded[start : start + 128]
            ids = pad_right([row.input_ids for row in batch], self.tokenizer.pad_token_id)
            hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            found += [row[list(e.positions)] for e, row in zip(batch, hidden, strict=True)]
        return found

    def solutions(self, problems: int, seed: int) -> list[Trace]:
        """Return sampled solutions with exact labels."""
        drawn = generate_problems(problems, steps=IN_DISTRIBUTION, seed=seed, name="policy-features")
        groups = solutions(
            LocalEngine(self.model, self.tokenizer, self.layout),
            [Prefix(problem) for problem in drawn],
            8,
            limits=Limits(110),
            seeds=[seed_from(seed, index) for index in range(len(drawn))],
        )
        return [judged(ChainWorld(), trace) for group in groups for trace in group if trace is not None]


def measure(policy: Policy, seed: int, states: int, problems: int) -> dict[str, float | None]:
    """Return the head's AUC per kind of rule, and on the policy's own first errors against its correct steps."""
    task, rng = WorldTask(ChainWorld()), random.Random(seed)
    solutions: list[Solution] = []
    kinds: list[str] = []
    for state in task.draw(rng, states):
        if (mistake := task.perturb(state, rng)) is not None:
            kind, rewrite = mistake
            solutions += [
                (state.problem.question, (*state.prefix, state.step)),
                (state.problem.question, (*state.prefix, rewrite)),
            ]
            kinds += ["correct", kind]
    inputs = torch.stack([rows[-1] for rows in policy.features(solutions)])
    train = len(kinds) * 4 // 5 // 2 * 2  # a state's two steps stay together
    head = trained_head(inputs[:train], torch.tensor([float(k == "correct") for k in kinds[:train]]), seed)
    groups: dict[str, list[float]] = defaultdict(list)
    for kind, score in zip(kinds[train:], scores_of(head, inputs[train:]), strict=True):
        groups[kind].append(score)
    found = {kind: against(groups["correct"], rows) for kind, rows in groups.items() if kind != "correct"}
    traces = policy.solutions(problems, seed)
    right: list[float] = []
    wrong: list[float] = []
    for trace, rows in zip(
        traces, policy.features([(t.problem.question, t.steps) for t in traces]), strict=True
    ):
        for label, score in zip(trace.labels or (), scores_of(head, rows), strict=True):
            if label is not None:  # nothing after the first error has a label
                (right if label == 1 else wrong).append(score)
    return found | {OWN: against(right, wrong)}


def trained_head(inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.nn.Module:
    """Return a head with one hidden layer after 30 passes of Adam."""
    torch.manual_seed(seed)
    width = inputs.shape[1]
    head = torch.nn.Sequential(
        torch.nn.LayerNorm(width), torch.nn.Linear(width, 256), torch.nn.GELU(), torch.nn.Linear(256, 1)
    )
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    for _ in range(30):
        for rows in torch.split(torch.randperm(len(inputs)), 256):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                head(inputs[rows])[:, 0], labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return head


@torch.no_grad()
def scores_of(head: torch.nn.Module, rows: torch.Tensor) -> list[float]:
    """Return the head's score of each row."""
    return [float(score) for score in head(rows)[:, 0]]


def against(right: Sequence[float], wrong: Sequence[float]) -> float | None:
    """Return the AUC of right steps above wrong ones."""
    return auc([*right, *wrong], [1] * len(right) + [0] * len(wrong))


def main() -> None:
    """Measure, write."""
    parser = command_line(__doc__)
    parser.add_argument("--policies", nargs="+", default=[TINY_POLICY], help="model folders")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--states", type=int, default=6000, help="steps that rules are applied to")
    parser.add_argument(
        "--problems", type=int, default=100, help="problems that the policy solves, 8 samples each"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[float]]] = {}
    for folder in arguments.policies:
        policy, of_kind = Policy(folder), defaultdict(list)
        for seed in range(arguments.seeds):
            for kind, value in measure(policy, seed, arguments.states, arguments.problems).items():
                if value is not None:
                    of_kind[kind].append(value)
        found[Path(folder).name] = dict(of_kind)
    settings = {"seeds": arguments.seeds, "states": arguments.states, "problems": arguments.problems}
    atomic_write_json(
        arguments.results / "policy_features.json",
        {**settings, "commit": source_commit(), "machine": machine(), "auc_per_seed": found},
    )
    lines = [
        "# What a small head sees in a policy's frozen features\n",
        f"AUC of right above wrong steps on other problems: mean over {arguments.seeds} seeds with "
        f"Student's 95 % interval (lowest to highest). "
        f"Commit {source_commit()}.\n",
        rows(found),
    ]
    atomic_write_text(arguments.results / "policy_features.md", "\n".join(lines))
    print("\n".join(lines))


def rows(found: dict[str, dict[str, list[float]]]) -> str:
    """Return the table of the AUC of every seed, by policy and kind of mistake."""
    lines = [
        [
            kind,
            *(over_seeds(one[kind], ".3f", "fraction") if one.get(kind) else "–" for one in found.values()),
        ]
        for kind in sorted({kind for one in found.values() for kind in one})
    ]
    return table(["mistakes", *found], lines)


if __name__ == "__main__":
    main()
