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
from dataclasses import dataclass
from pathlib import Path


def records_digest(records: Iterable[object]) -> str:
    """Return a SHA-256 of records of plain JSON types, in order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record).encode("ascii") + b"\n")
    return digest.hexdigest()


def files_digest(files: Iterable[str | Path]) -> str:
    """Return a SHA-256 of what files hold, one after the other; they are never held whole.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        with Path(file).open("rb") as content:
            while data := content.read(1 << 20):
                digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has scored, for records, and to refuse going on with somebody else.

    Attributes:
        place: a folder or an address.
        model: the model's name there.
        fingerprint: of its content; empty where a server does not say.
        key: what must agree for a journal to be continued. The same model of a server may have moved to another address.
    """

    place: str
    model: str
    fingerprint: str
    key: str

    def record(self) -> dict[str, str]:
        """Return what records name."""
        return {"place": self.place, "model": self.model, "fingerprint": self.fingerprint}


def identity_of(folder: Path) -> Identity:
    """Return who scores where the model is in a folder."""
    key = folder_identity(folder)
    place, _, fingerprint = key.rpartition(" ")
    return Identity(place, folder.resolve().name, fingerprint, key)


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


_SAMPLED = 1 << 20


def model_content(path: Path) -> str:
    """Return a name for a model folder's content that is the same on every machine that has the same files.

    Of weights, which are too large to be read for this, sizes and three MiB (first, middle, last) count, and no times.
    """
    known: list[object] = []
    for folder in (path, *_reference(path)):
        files = {file for pattern in (*_TEXTS, _WEIGHTS) for file in folder.glob(pattern) if file.is_file()}
        known += [
            [str(file.relative_to(path)), file.stat().st_size, _sampled(file)] for file in sorted(files)
        ]
    return records_digest(known)[:16]


def _sampled(path: Path) -> str:
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        for start in (0, max(0, (size - _SAMPLED) // 2), max(0, size - _SAMPLED)):
            file.seek(start)
            digest.update(file.read(_SAMPLED))
    return digest.hexdigest()


def _reference(path: Path) -> list[Path]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        name = json.loads((path / "sparring.json").read_text(encoding="utf-8"))["log_ratio"]["reference"]
        return [path / name] if (path / name).is_dir() and ".." not in Path(name).parts else []
    return []
