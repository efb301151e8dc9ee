"""A PRM on vLLM: `POST /pooling` with `task: "token_classify"` (as of vLLM 0.33; older ones may call the task otherwise).

    {"model": "prm", "task": "token_classify", "input": [[1, 317, …], …], "use_activation": false}
    {"data": [{"index": 0, "data": [[-1.2, 3.4], …]}, …], …}

What `data` of an item holds depends on how the server was started, and is told apart by its length: one vector per token
(a head that classifies tokens), or one per step tag (`--pooler-config '{"pooling_type": "STEP", "step_tag_id": …,
"returned_token_ids": [correct, wrong]}'`, for label tokens also with the two ids in the sidecar's order). Step tags are all
tokens of the separator's last id, also those in anybody's text, so the steps' own are picked by their places.

Contract: as `tokenised.py`. Logits are asked for, since probabilities near 1 have lost their digits; a server that gives
probabilities nevertheless is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sparring.errors import plural
from sparring.fingerprints import Identity
from sparring.http_client import UnusableError, field_of
from sparring.models.sidecar import Sidecar
from sparring.scorers.tokenised import TokenisedScorer, Work, log_odds_of, numbers


class VllmScorer(TokenisedScorer):
    """A PRM on vLLM; arguments as of `RemoteScorer`."""

    kind, path = "vllm", "/pooling"
    heads = ("token_classification", "label_tokens", "mlp")
    _activated: bool | None = None
    why_not = "vLLM has no vectors of tokens for it; serve it by `sparring serve`"

    def introduce(self) -> tuple[Identity, Sidecar, float | None, str]:
        """Read the folder, and ask the server who it is."""
        self.client.advice[404] = "; was vLLM started for pooling (--runner pooling)?"
        return super().introduce()

    def request(self, works: Sequence[Work]) -> dict[str, Any]:
        """Return the body for some traces."""
        return {
            "model": self.identity.model,
            "task": "token_classify",
            "input": [list(work.encoded.input_ids) for work in works],
            "use_activation": False,
            "encoding_format": "float",
        }

    def rows(self, answer: Any, works: Sequence[Work]) -> list[list[float]]:
        """Return the scores that follow from an answer's vectors."""
        items = field_of(answer, "data", list)
        if len(items) != len(works):
            raise UnusableError(f"data: {plural(len(items), 'item')} for {plural(len(works), 'input')}")
        found = []
        for index, (item, work) in enumerate(zip(items, works, strict=True)):
            if (number := field_of(item, "index", int, f"data[{index}]")) != index:
                raise UnusableError(f"data[{index}].index: expected {index}, got {number}")
            vectors = field_of(item, "data", list, f"data[{index}]")
            found.append(self._at_steps(vectors, work, f"data[{index}].data"))
        if self._given_probabilities([row for rows in found for row in rows]):
            found = [[[math.log(max(one, _TINY)) for one in row] for row in rows] for rows in found]
        return [self.calibrated([log_odds_of(row, self._correct) for row in rows]) for rows in found]

    @property
    def _correct(self) -> int:
        # `returned_token_ids` are in the sidecar's order, and there the token that says "correct" is the first.
        return 0 if self.sidecar.head == "label_tokens" else self.sidecar.correct_label

    def _at_steps(self, vectors: list[Any], work: Work, place: str) -> list[list[float]]:
        """Return the vectors of a trace's steps."""
        ids, positions = work.encoded.input_ids, work.encoded.positions
        tag = ids[positions[-1]]
        tags = [index for index, one in enumerate(ids) if one == tag]
        if len(vectors) == len(ids):
            places = list(positions)
        elif len(vectors) == len(tags):
            number = {position: index for index, position in enumerate(tags)}
            places = [number[position] for position in positions]
        else:
            raise UnusableError(
                f"{place}: {plural(len(vectors), 'vector')} for a prompt of {len(ids)} tokens, of which "
                f"{len(tags)} are the step tag {tag}: is another model served, or with another pooler config?"
            )
        rows = [numbers(vectors[index], f"{place}[{index}]") for index in places]
        labels = len(rows[0])
        if self.sidecar.head == "label_tokens" and labels != 2:
            raise UnusableError(
                f"{place}: vectors of {plural(labels, 'number')}: are the label tokens "
                f"{self.sidecar.label_tokens} the server's returned_token_ids?"
            )
        if any(len(row) != labels for row in rows) or labels <= self._correct:
            raise UnusableError(
                f"{place}: vectors of {plural(labels, 'number')}, of which number {self._correct} should say correct"
            )
        return rows

    def _given_probabilities(self, rows: Sequence[Sequence[float]]) -> bool:
        """Whether these vectors are probabilities, though logits were asked for: older servers do not know how to."""
        if self._activated is None and len(rows[0]) > 1:
            # Logits look like probabilities by accident, but not four times.
            look_so = all(min(row) >= 0.0 and abs(sum(row) - 1.0) < 1e-2 for row in rows)
            if look_so and len(rows) < 4:
                return True
            self._activated = look_so
        return bool(self._activated)


_TINY = 1e-38  # the least number that float32 has
