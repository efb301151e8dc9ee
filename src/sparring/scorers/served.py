"""A PRM behind `sparring serve`: `POST /v1/score`.

    {"model": "prm", "items": [{"id": "0", "problem": "…", "steps": ["…", "…"]}]}
    {"model": "prm", "results": [{"id": "0", "scores": [0.98, 0.07], …}], …}

Contract: as `remote.py` says. The server has the PRM's sidecar, so scores are those that the folder would give in process
(to 1e-5 in float32); threshold, meaning and rule come from `/v1/models`, and so does the fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sparring.errors import SettingsError, plural
from sparring.fingerprints import Identity
from sparring.http_client import RefusedError, ServerError, UnusableError, field_of
from sparring.scorers.remote import DeclaredReading, RemoteScorer
from sparring.traces.fields import is_number
from sparring.traces.records import Trace

_OTHERS = {"vllm": "vllm+http://…#folder", "sglang": "sglang+http://…#folder"}


class ServedScorer(RemoteScorer[tuple[Trace]]):
    """A PRM behind `sparring serve`; arguments as of `RemoteScorer`."""

    path = "/v1/score"

    def introduce(self) -> tuple[Identity, DeclaredReading, float | None, str]:
        """Ask `/v1/models` (see `RemoteScorer`)."""
        if self.address.folder:
            raise SettingsError(
                f"{self.client.url}: '#…' names a folder, which `sparring serve` has itself; did you mean ?model=…, "
                f"or {' or '.join(_OTHERS.values())}?"
            )
        listed = self.client.models()
        ours = [entry for entry in listed if isinstance(entry.get("sparring"), dict)]
        if not ours and listed:
            owner = str(listed[0].get("owned_by", "")).lower()
            advice = _OTHERS.get(owner, " or ".join(_OTHERS.values()))
            raise SettingsError(
                f"the server at {self.client.url} is not `sparring serve`: its models do not say how they score; for "
                f"a PRM on another server write {advice}, for a language model as judge judge+http://…"
            )
        entry = self.client.chosen([one for one in ours if one["sparring"].get("role") == "prm"], self.wanted)
        name, told = str(entry["id"]), entry["sparring"]
        threshold = told.get("threshold")
        if threshold is not None and (not is_number(threshold) or not 0.0 <= threshold <= 1.0):
            raise ServerError(
                f"the server at {self.client.url}: /v1/models: sparring.threshold: expected a number from 0 to 1, "
                f"got {threshold!r:.40}"
            )
        texts = {
            key: value
            for key in ("head", "meaning", "aggregation", "threshold_rule", "fingerprint")
            if isinstance(value := told.get(key), str)
        }
        fingerprint = texts.pop("fingerprint", "")
        rule = texts.pop("threshold_rule", "")
        key = f"served {name} {fingerprint}" if fingerprint else f"served {self.client.url} {name}"
        identity = Identity(self.client.url, name, fingerprint, key)
        return identity, DeclaredReading(**texts), None if threshold is None else float(threshold), rule

    def prepare(self, trace: Trace) -> tuple[Trace]:
        """Return the trace: it is sent as it is."""
        return (trace,)

    def request(self, works: Sequence[tuple[Trace]]) -> dict[str, Any]:
        """Return the body for some traces."""
        items = [
            {"id": str(index), "problem": trace.problem.question, "steps": list(trace.steps)}
            for index, (trace,) in enumerate(works)
        ]
        return {"model": self.identity.model, "items": items}

    def rows(self, answer: Any, works: Sequence[tuple[Trace]]) -> list[list[float]]:
        """Return the checked scores of an answer."""
        if (model := field_of(answer, "model", str)) != self.identity.model:
            raise UnusableError(f"model: asked {self.identity.model!r}, answered by {model!r:.80}")
        results = field_of(answer, "results", list)
        if len(results) != len(works):
            raise UnusableError(f"results: {len(results)} for {plural(len(works), 'item')}")
        rows = []
        for index, (result, (trace,)) in enumerate(zip(results, works, strict=True)):
            place = f"results[{index}]"
            if (name := field_of(result, "id", str, place)) != str(index):
                raise UnusableError(f"{place}.id: expected {str(index)!r}, got {name!r:.40}")
            if "steps" in result and result["steps"] != list(trace.steps):
                raise UnusableError(f"{place}.steps: not the steps that were sent")
            scores = field_of(result, "scores", list, place)
            if len(scores) != len(trace.steps):
                raise UnusableError(
                    f"{place}.scores: {plural(len(scores), 'score')} for {plural(len(trace.steps), 'step')}"
                )
            for step, score in enumerate(scores):
                if not is_number(score) or not 0.0 <= score <= 1.0:  # NaN is not either
                    raise UnusableError(
                        f"{place}.scores[{step}]: expected a number from 0 to 1, got {score!r:.40}"
                    )
            rows.append([float(score) for score in scores])
        return rows

    def shorter(self, trace: Trace, error: RefusedError) -> Trace | None:
        """Return the trace up to the step that the server names as the first that does not fit."""
        found = re.search(r"steps\[(\d{1,9})\]$", error.field or "")
        if (
            "past the limit of" not in error.message
            or found is None
            or not 0 < int(found[1]) < len(trace.steps)
        ):
            return None
        return replace(trace, steps=trace.steps[: int(found[1])], labels=None, estimates=None)
