"""Fingerprints of what a run was started with, so that going on with something else can be refused.

Contract: equal content gives equal text, on every machine for records; a folder is known by its path and its files' names,
sizes and times (weights are too large to be read for this).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def records_digest(records: Iterable[object]) -> str:
    """Return a SHA-256 of records of plain JSON types, in order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record).encode("ascii") + b"\n")
    return digest.hexdigest()


def folder_identity(path: Path) -> str:
    """Return a name for a model folder's present content."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    known = (
        [str(file.relative_to(path)), status.st_size, status.st_mtime_ns]
        for file in files
        for status in [file.stat()]
    )
    return f"{path.resolve()} {records_digest(known)}"
