"""Counts for Prometheus (`GET /metrics`), in a registry of the server's own.

Names, labels and meanings are listed in `docs/serving.md`. Not here: what single requests cost, which is in the log.
"""

from __future__ import annotations

import logging
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sparring.serving.batcher import Batcher
from sparring.serving.logs import LOGGER
from sparring.serving.models import Models
from sparring.serving.searches import Searches

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All counts of one server; the batchers of `models` tell it what they do."""

    def __init__(self, models: Models, searches: Searches) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.requests = counter("sparring_requests", "Finished requests.", ["path", "status"])
        self.seconds = histogram("sparring_request_seconds", "Time of requests.", ["path"], buckets=SECONDS)
        self.at_work = gauge("sparring_requests_at_work", "Requests that are not finished.")
        on_model = ["model", "kind"]
        self.tokens = counter("sparring_tokens", "Tokens that models have read.", on_model)
        self.rows = counter("sparring_rows", "Traces or prompts that models have read.", on_model)
        self.batch_rows = histogram("sparring_batch_rows", "Rows of a batch.", ["model"], buckets=ROWS)
        self.batch_seconds = histogram(
            "sparring_batch_seconds", "Time of a batch.", ["model"], buckets=SECONDS
        )
        self.queue = gauge("sparring_queue_tokens", "Tokens that wait or are computed.", ["model"])
        self.failures = counter("sparring_model_failures", "Jobs at which the model failed.", ["model"])
        self.restarts = counter("sparring_worker_restarts", "Workers that were lost.", ["model"])
        accepted = gauge("sparring_searches", "Searches that run or wait.")
        accepted.set_function(lambda: searches.accepted)
        for name, batcher in models.batchers.items():
            self._watch(name, batcher)

    def _watch(self, model: str, batcher: Batcher) -> None:
        self.queue.labels(model).set_function(lambda: batcher.waiting_tokens)
        failures, restarts = self.failures.labels(model), self.restarts.labels(model)

        def on_batch(kind: object, rows: int, tokens: int, seconds: float) -> None:
            name = kind if isinstance(kind, str) else "samples"
            self.rows.labels(model, name).inc(rows)
            self.tokens.labels(model, name).inc(tokens)
            self.batch_rows.labels(model).observe(rows)
            self.batch_seconds.labels(model).observe(seconds)

        def on_error(error: BaseException) -> None:
            (failures if isinstance(error, Exception) else restarts).inc()
            LOGGER.log(logging.ERROR, "model failed", exc_info=error, extra={"fields": {"model": model}})

        batcher.on_batch, batcher.on_error = on_batch, on_error

    def finished(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Return all counts in Prometheus' text format."""
        return generate_latest(self.registry)
