"""The server's log: one JSON object a line, with what a request cost, and never what it said.

    {"time": "2026-11-30T04:20:11.402Z", "level": "info", "event": "request", "id": "…", "method": "POST",
     "path": "/v1/score", "status": 200, "seconds": 0.012, "body_bytes": 412, "items": 1, "steps": 3, "tokens": 96}

Not here: counts over time (`/metrics`).
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

LOGGER = logging.getLogger("sparring.serving")


def log(level: int, event: str, **fields: object) -> None:
    """Write one line."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time.replace("+00:00", "Z"), "level": record.levelname.lower()}
        line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps({key: value for key, value in line.items() if value is not None}, default=str)


def start_log(level: str, stream: TextIO | None = None) -> None:
    """Send the server's log, and uvicorn's own words, to a stream (standard error without one)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (LOGGER.name, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        # uvicorn tells of its own starting and stopping; what it says of trouble is wanted.
        logger.setLevel(level.upper() if name == LOGGER.name else "WARNING")
