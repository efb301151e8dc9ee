"""A PRM of label tokens on SGLang: `POST /v1/score` with one prefix per step (as of SGLang 0.5.23).

    {"model": "prm", "query": [ids of the question], "items": [[ids of step 1], [ids of steps 1 and 2], …],
     "label_token_ids": [correct, wrong], "apply_softmax": false}
    {"scores": [[0.61, 0.02], [0.10, 0.55], …], "object": "scoring", …}

SGLang has no step pooling: what follows the query and one item is read at its end. The prefixes of a trace share the
server's prefix cache, so that every token is computed once where that is on.

Contract: as `tokenised.py`. Probabilities of the whole vocabulary are asked for (`apply_softmax: false`): their ratio has
all its digits, where the softmax of two labels near 1 has lost them. A server with `--multi-item-scoring-delimiter` puts a
token of its own between items and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sparring.errors import SettingsError, plural
from sparring.fingerprints import Identity
from sparring.http_client import ServerError, UnusableError, field_of
from sparring.models.sidecar import Sidecar
from sparring.scorers.tokenised import TokenisedScorer, Work, numbers


class SglangScorer(TokenisedScorer):
    """A PRM of label tokens on SGLang; arguments as of `RemoteScorer`, a request holds one trace."""

    kind, path = "sglang", "/v1/score"
    heads = ("label_tokens",)
    why_not = "SGLang gives probabilities of tokens only; serve it by vLLM or `sparring serve`"
    options = ("model", "concurrency", "timeout", "retries")
    batch_size = 1

    def introduce(self) -> tuple[Identity, Sidecar, float | None, str]:
        """Read the folder, and ask the server who it is and how it was started."""
        found = super().introduce()
        try:
            started = self.client.get("/get_server_info")
        except ServerError:
            return found  # another version: it cannot be asked
        if isinstance(started, dict) and started.get("multi_item_scoring_delimiter") is not None:
            raise SettingsError(
                f"the server at {self.client.url} was started with --multi-item-scoring-delimiter, which puts a token "
                "between steps that the PRM does not know: start it without"
            )
        return found

    def request(self, works: Sequence[Work]) -> dict[str, Any]:
        """Return the body for one trace."""
        [work] = works
        ids, first = list(work.encoded.input_ids), work.encoded.spans[0][0]
        assert self.sidecar.label_tokens is not None
        return {
            "model": self.identity.model,
            "query": ids[:first],
            "items": [ids[first : position + 1] for position in work.encoded.positions],
            "label_token_ids": list(self.sidecar.label_tokens),
            "apply_softmax": False,
            "item_first": False,
        }

    def rows(self, answer: Any, works: Sequence[Work]) -> list[list[float]]:
        """Return the scores that follow from the label tokens' probabilities."""
        [work] = works
        scores = field_of(answer, "scores", list)
        if len(scores) != len(work.encoded.positions):
            raise UnusableError(f"scores: {len(scores)} for {plural(len(work.encoded.positions), 'step')}")
        odds = []
        for index, pair in enumerate(scores):
            place = f"scores[{index}]"
            both = numbers(pair, place)
            if len(both) != 2 or not all(0.0 < one <= 1.0 for one in both):
                # SGLang writes 0.0 for a token whose probability it did not compute.
                raise UnusableError(f"{place}: expected two probabilities above 0, got {both!r:.60}")
            odds.append(math.log(both[0]) - math.log(both[1]))
        return [self.calibrated(odds)]
