"""Fingerprints of what a run was started with, so that going on with something else can be refused.

Contract: equal content gives equal text, on every machine for records; a model folder is known by its path, the content of
the texts that make the model, and its weights' names, sizes and times (they are too large to be read for this). Anything
else in the folder, such as a README, a log or a cache, does not count.
"""

from __future__ import annotations

import contextlib
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


_TEXTS = (
    "config.json", "generation_config.json", "sparring.json", "adapter_config.json", "*.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
    "merges.txt", "*.model", "chat_template.json", "chat_template.jinja", "additional_chat_templates/*.jinja",
)  # fmt: skip
_WEIGHTS = "*.safetensors"


def folder_identity(path: Path) -> str:
    """Return a name for a model folder's present content; the reference model of an implicit PRM belongs to it."""
    known: list[object] = []
    for folder in (path, *_reference(path)):
        texts = {file for pattern in _TEXTS for file in folder.glob(pattern) if file.is_file()}
        known += [
            [str(file.relative_to(path)), hashlib.sha256(file.read_bytes()).hexdigest()]
            for file in sorted(texts)
        ]
        for file in sorted(file for file in folder.glob(_WEIGHTS) if file.is_file()):
            status = file.stat()
            known.append([str(file.relative_to(path)), status.st_size, status.st_mtime_ns])
    return f"{path.resolve()} {records_digest(known)}"


def _reference(path: Path) -> list[Path]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        name = json.loads((path / "sparring.json").read_text(encoding="utf-8"))["log_ratio"]["reference"]
        return [path / name] if (path / name).is_dir() and ".." not in Path(name).parts else []
    return []
