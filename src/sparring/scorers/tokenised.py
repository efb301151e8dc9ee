"""What the servers have in common that know nothing of steps: token ids are made here, by the step contract.

The PRM's folder is needed for its tokenizer and its sidecar, not for its weights. A server's answer holds numbers of
tokens; which of them are steps is known by construction, never found in text.

Contract: scores are those that the folder would give in process, to rounding: log-odds from the server's logits (or
log-probabilities), then the sidecar's calibration. Servers promise no batch invariance, so the same request may differ in
its last digits from time to time; `docs/serving.md` says by how much.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparring.errors import DataError, SettingsError
from sparring.fingerprints import Identity, identity_of
from sparring.http_client import UnusableError
from sparring.models.sidecar import Sidecar, read_sidecar
from sparring.models.text_layout import UnknownTokens, encode_trace
from sparring.scorers.remote import RemoteScorer
from sparring.traces.fields import finite_number
from sparring.traces.records import Trace
from sparring.traces.spans import Encoded


class Work(NamedTuple):
    """A trace with its token ids."""

    trace: Trace
    encoded: Encoded


class TokenisedScorer(RemoteScorer[Work]):
    """A PRM on a server that reads token ids; arguments as of `RemoteScorer`, with a folder in the address.

    Attributes:
        tokenizer: the folder's.
        sidecar: the folder's; `max_length` is the server's where that is less.
    """

    kind: str
    heads: tuple[str, ...]
    why_not: str
    sidecar: Sidecar
    _reading = threading.Lock()  # a fast tokenizer keeps its options in itself

    def introduce(self) -> tuple[Identity, Sidecar, float | None, str]:
        """Read the folder, and ask `/v1/models` who is there."""
        from sparring.models.loading import load_tokenizer, resolve_model

        if not self.address.folder:
            raise SettingsError(
                f"{self.kind}+{self.client.url}: this server reads token ids, which are made here: name the PRM's folder, "
                f"which needs its tokenizer and sparring.json only, as {self.kind}+{self.client.url}#path/to/folder"
            )
        folder = Path(resolve_model(self.address.folder))
        sidecar = read_sidecar(folder)
        if sidecar.head not in self.heads:
            raise SettingsError(f"'{folder}' has the head '{sidecar.head}': {self.why_not}")
        entry = self.client.chosen(self.client.models(), self.wanted)
        self.tokenizer, self.unknown = load_tokenizer(folder), UnknownTokens()
        if type(most := entry.get("max_model_len")) is int and 0 < most < sidecar.max_length:
            sidecar = sidecar.model_copy(update={"max_length": most})
        here = identity_of(folder)
        name, root = str(entry["id"]), str(entry.get("root", ""))
        identity = Identity(
            f"{self.kind}+{self.client.url}#{self.address.folder}",
            name,
            here.fingerprint,
            f"{self.kind} {name} {root} {here.fingerprint}",
        )
        return identity, sidecar, sidecar.threshold, sidecar.threshold_rule

    def prepare(self, trace: Trace) -> Work:
        """Return the trace with its token ids; counts the steps that do not fit.

        Raises:
            DataError: it does not fit the model, and steps are not to be dropped.
        """
        try:
            with self._reading:
                encoded = encode_trace(
                    trace.problem.question,
                    trace.steps,
                    self.tokenizer,
                    self.sidecar.layout,
                    max_length=self.sidecar.max_length,
                    overflow=self.overflow,
                )
                self.unknown.count(encoded, self.tokenizer, self.sidecar.layout)
            self.dropped_steps += encoded.dropped
            return Work(trace, encoded)
        except DataError as error:
            raise DataError(
                f"trace of problem '{trace.problem.id}': {error.message}", field=error.field, trace=trace
            ) from None

    def calibrated(self, log_odds: Sequence[float]) -> list[float]:
        """Return scores, as `models.scorer.Scorer` makes them."""
        calibration = self.sidecar.calibration
        return [_sigmoid(calibration.scale * odds + calibration.shift) for odds in log_odds]


def log_odds_of(logits: Sequence[float], correct: int) -> float:
    """Return log p(correct) − log p(any other label); one logit is the log-odds itself."""
    if len(logits) == 1:
        return logits[0]
    others = [*logits[:correct], *logits[correct + 1 :]]
    most = max(others)
    return logits[correct] - most - math.log(sum(math.exp(one - most) for one in others))


def numbers(values: Any, place: str) -> list[float]:
    """Return a list of finite numbers.

    Raises:
        UnusableError: it is none; names the field.
    """
    if not isinstance(values, list):
        raise UnusableError(f"{place}: expected a list of numbers, got {type(values).__name__}")
    for index, value in enumerate(values):
        if finite_number(value) is None:
            raise UnusableError(f"{place}[{index}]: expected a number, got {value!r:.40}")
    return [float(value) for value in values]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
