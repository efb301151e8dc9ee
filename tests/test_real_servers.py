"""The engine on real servers: `transformers serve` and llama.cpp's, each with a random two-layer model."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sparring.addresses import parse_address
from sparring.errors import DataError
from sparring.judging.judge import Question
from sparring.models.loading import load_causal_model, load_tokenizer
from sparring.models.scorer import load_scorer
from sparring.rollouts.engine import Limits, Prefix
from sparring.rollouts.local import LocalEngine
from sparring.rollouts.server import ServerEngine
from sparring.scorers.door import open_scorer, record_of
from sparring.traces.records import Problem, Trace
from sparring.traces.spans import Layout
from sparring.worlds.chain import generate_problems
from tiny_gguf import SERVE, write_gguf

BYTE_TOKENS = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory) -> Path:
    """A random two-layer model on bytes, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("bytes") / "model"
    vocabulary = {token: index for index, token in enumerate(BYTE_TOKENS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=0, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def transformers_server(byte_model: Path) -> Iterator[str]:
    """`transformers serve` on the byte model."""
    missing = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"`transformers serve` needs {', '.join(missing)}")
    port = free_port()
    code = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    words = ["serve", str(byte_model), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(3000):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
            if process.poll() is not None:
                pytest.fail(f"transformers serve ended: {process.stderr.read()[-2000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def test_transformers_serve_greedily_writes_what_this_process_writes(transformers_server, byte_model):
    remote = ServerEngine(transformers_server, str(byte_model), Layout(), kind="transformers", concurrency=2)
    model = load_causal_model(byte_model, device=torch.device("cpu"), dtype=torch.float32)
    local = LocalEngine(model, load_tokenizer(byte_model), Layout())
    asked = [Prefix(Problem("p", "one two")), Prefix(Problem("q", "three"), ("four",))]
    for stop in ((), ("\n",)):
        theirs = remote.sample(asked, 1, limits=Limits(12, 0.0), seeds=[1, 2], stop=stop)
        ours = local.sample(asked, 1, limits=Limits(12, 0.0), seeds=[1, 2], stop=stop)
        assert [(c.text, c.finish) for [c] in theirs] == [(c.text, c.finish) for [c] in ours]
    assert remote.usage.tokens_generated == local.usage.tokens_generated
    assert remote.usage.tokens_prefilled == local.usage.tokens_prefilled


def test_transformers_serve_samples_with_seeds_and_ends_steps(transformers_server, byte_model):
    engine = ServerEngine(transformers_server, str(byte_model), Layout(), kind="transformers", concurrency=1)
    asked = [Prefix(Problem("p", "one two"))]
    [first] = engine.sample(asked, 6, limits=Limits(80), seeds=[1], stop=("e",))
    [again] = engine.sample(asked, 6, limits=Limits(80), seeds=[1], stop=("e",))
    [other] = engine.sample(asked, 6, limits=Limits(80), seeds=[2], stop=("e",))
    assert first == again != other
    assert len({completion.text for completion in first}) > 1
    assert all("e" not in completion.text for completion in [*first, *other])
    assert "stop" in {completion.finish for completion in [*first, *other]}


@pytest.fixture(scope="module")
def llama_server(byte_model: Path, tmp_path_factory) -> Iterator[str]:
    """llama.cpp's server on the byte model."""
    for package in ("xllamacpp", "gguf"):
        pytest.importorskip(package, reason=f"llama.cpp's server needs {package}")
    path, port = tmp_path_factory.mktemp("gguf") / "model.gguf", free_port()
    model = load_causal_model(byte_model, device=torch.device("cpu"), dtype=torch.float32)
    write_gguf(path, model, BYTE_TOKENS)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if process.stdout.readline().strip() != "ready":
            pytest.fail(f"llama.cpp's server ended: {process.communicate()[1][-2000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("as_ids", [True, False])
def test_llama_cpp_writes_what_this_process_writes_with_the_same_log_probabilities(
    llama_server, byte_model, as_ids
):
    tokenizer = load_tokenizer(byte_model)
    remote = ServerEngine(
        llama_server, "m", Layout(), kind="llama.cpp", tokenizer=tokenizer if as_ids else None, concurrency=4
    )
    model = load_causal_model(byte_model, device=torch.device("cpu"), dtype=torch.float32)
    local = LocalEngine(model, tokenizer, Layout())
    asked = [Prefix(Problem(str(i), f"question {i}"), ("the step",) * (i % 3)) for i in range(12)]
    theirs, ours = (e.sample(asked, 1, limits=Limits(3, 0.0), seeds=range(12)) for e in (remote, local))
    assert [(c.text, c.finish) for [c] in theirs] == [(c.text, c.finish) for [c] in ours]
    known = 0
    for [their], [our] in zip(theirs, ours, strict=True):
        if their.token_ids:  # it does not list tokens that are part of a character
            known += 1
            assert their.token_ids == our.token_ids
            assert their.log_probabilities == pytest.approx(our.log_probabilities, abs=1e-3)
    assert known > 0
    assert remote.usage.tokens_generated == local.usage.tokens_generated


def test_llama_cpp_samples_plainly_with_seeds(llama_server, byte_model):
    tokenizer = load_tokenizer(byte_model)
    engine = ServerEngine(llama_server, "m", Layout(), kind="llama.cpp", tokenizer=tokenizer, concurrency=1)
    asked = [Prefix(Problem("p", "question"))]
    first, again, other = (
        [c.text for c in engine.sample(asked, 30, limits=Limits(2), seeds=[seed])[0]] for seed in (1, 1, 2)
    )
    assert first == again != other
    # A random model: were the tail cut at 40 tokens, so few different ones would hardly ever come.
    assert len({text[:1] for text in first + other}) > 15


def test_llama_cpp_as_judge_speaks_the_chat_protocol(llama_server, tmp_path):
    """A random model says nonsense; that it was asked, answered and refused as a verdict is what can be seen."""
    short = tmp_path / "short.txt"
    short.write_text("{problem} {solution}")
    words = f"model=m&max_tokens=4&retries=0&concurrency=1&preset=thinkprm&template={short}"
    scorer = open_scorer(f"judge+{llama_server}?{words}")
    trace = Trace(Problem("p", "1 + 1?"), ("2",))
    [[judgement]] = scorer.judgements([trace])
    cost = record_of(scorer)["cost"]
    assert isinstance(judgement, DataError) and "no verdict in 3 of 3 answers" in str(judgement)
    [row] = scorer.score_each([Trace(Problem("p", "1 + 1?" * 60), ("2",))])
    assert isinstance(row, DataError) and "exceeds the available context" in str(row)
    assert cost["unreadable"] == 3
    assert cost["completion_tokens"] > 0 and cost["requests"] == cost["votes"] + cost["unreadable"]
    question = Question("1 + 1?", (), ("2",))
    body = scorer.judge._body(question, 1, scorer.judge.left_out)
    answer = scorer.judge._read(httpx.post(f"{llama_server}/chat/completions", json=body).content)
    assert "".join(str(token["token"]) for token in answer.tokens) == answer.text or not answer.text.isascii()
    assert all(isinstance(token["top_logprobs"], list) for token in answer.tokens)


@pytest.mark.skipif("SPARRING_TEST_ADDRESSES" not in os.environ, reason="no address is given")
def test_addresses_that_are_given_score_like_their_folder():
    """`SPARRING_TEST_ADDRESSES='vllm+http://host:8000#models/prm …'`: real servers of PRMs that are here too."""
    for address in os.environ["SPARRING_TEST_ADDRESSES"].split():
        folder = parse_address(address).folder
        traces = [Trace(problem, problem.solution) for problem in generate_problems(20, steps=(2, 6), seed=0)]
        expected = load_scorer(folder).score(traces)
        for row, wanted in zip(open_scorer(address).score(traces), expected, strict=True):
            assert row == pytest.approx(wanted, abs=float(os.environ.get("SPARRING_TEST_TOLERANCE", "0.02")))
