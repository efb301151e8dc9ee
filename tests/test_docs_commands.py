"""Every command that is shown runs: in the README, on the pages, and in comments of settings files and examples.

A command runs as it is shown, in a folder that has the files it names, small ones. Only what says how *much* is done is
replaced (`SMALLER`); what decides whether it works at all, such as lengths and models, stays. A new command needs no
entry unless it is of a new kind. Where a page shows what a command says (`console` blocks), the words must be in what it
says here; the numbers are compared by `scripts/page_outputs.py`, which runs the whole.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from typer.testing import CliRunner

from fake_scorers import FakeJudge, FakeSparring, yes_or_no
from fake_server import FakeServer
from fake_vllm import FakeVllm, vllm  # noqa: F401 - a fixture
from family_sources import make_qwen_math
from format_records import RECORDS, shepherd
from page_outputs import WIDTH, sessions
from page_outputs import words as words_of
from rl_data import random_prm
from sparring.__main__ import app
from sparring.errors import SparringError
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from supervised_data import data_file, separable_traces
from test_docs import ROOT, blocks, shell_lines
from tiny_tokenizers import SIZES, qwen_tokenizer

ELSEWHERE = {
    "serve": "listens until it is stopped; tests/test_serving_command.py runs it",
    "demo": "starts worker processes; tests/test_commands.py runs it",
    "plan": "tests/test_plan_simulation.py compares its numbers as well",
}
SMALLER: dict[str, str] = {
    "train aprm": (
        "updates=1 prm_warm_steps=1 adversary_warm_steps=1 states_per_update=2 samples_per_state=2 snapshot_every=1 "
        "dtype=float32 trackers=[]"  # one process has one precision; tensorboard is an extra
    ),
    "train chain-policy": "problems=64 detection_problems=64 evaluation_problems=8",
    "train world-policy": "updates=2 batch=4 earlier=[1] evaluation_problems=2",
    "train prm": "epochs=1 max_traces=16",
    "train orm": "epochs=1 max_traces=16",
    "train value": "epochs=1 max_traces=16",
    "train rl": (
        "updates=1 problems_per_update=1 samples_per_problem=2 watch_problems=2 watch_every=1 prover_rollouts=1 "
        "dtype=float32"
    ),
    "attack": "updates=2 warm_steps=1 evaluation_states=4 states_per_update=2 samples_per_state=2",
    "label": "problems=2 n_cov=1 n_mc=1",
    "search": "problems=2 n=[1,2] baseline_samples=2 max_steps=3",
    "eval oracle": "reference_steps=2 perturbed_steps=1 workers=1 kinds=[arithmetic_slip]",
    "eval processbench": "",
    "eval prmbench": "",
    "eval calibration": "",
    "eval bon": "",
    "eval compare": "",
    "convert": "",
    "convert-prm": "",
    "migrate": "",
    "score": "",
    "view": "",
}
_INDENTED = re.compile(r"^(?:#|    )\s*(sparring (?:.*\\\n)*.*)", re.MULTILINE)


def shown() -> dict[str, list[str]]:
    """Return the commands of every file that shows some, as lines."""
    found = {}
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for file in [
        *pages,
        *sorted((ROOT / "configs").glob("*.yaml")),
        *sorted((ROOT / "examples").glob("*.py")),
    ]:
        text = file.read_text(encoding="utf-8")
        lines = shell_lines(file) if file.suffix == ".md" else []
        lines += [re.sub(r"\\\n[# ]*", " ", line) for line in _INDENTED.findall(text)]
        if commands := [line for line in lines if line.startswith("sparring ")]:
            found[str(file.relative_to(ROOT))] = commands
    return found


SHOWN = shown()
OUTPUTS = {
    page: {
        one.command: one.output
        for body in sessions((ROOT / page).read_text(encoding="utf-8"))
        for one in body
    }
    for page in SHOWN
    if page.endswith(".md")
}


def name_of(words: list[str]) -> str:
    return " ".join(words[:2] if words[0] in ("train", "eval") else words[:1])


def write(path: Path, *records: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")


@pytest.fixture(scope="session")
def workshop(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that commands name."""
    folder = tmp_path_factory.mktemp("workshop")
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    tokenizer = qwen_tokenizer()
    torch.manual_seed(0)
    instruct = folder / "models" / "SmolLM2-135M-Instruct"
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(instruct)
    tokenizer.save_pretrained(instruct)
    shutil.copytree(instruct, folder / "models" / "policy")
    shutil.copytree(instruct, folder / "models" / "Qwen2.5-Coder-1.5B-Instruct")
    make_qwen_math(folder / "models" / "Qwen2.5-Math-PRM-7B")
    longer = Qwen2Config(vocab_size=len(tokenizer), **(SIZES | {"max_position_embeddings": 4096}))
    Qwen2ForCausalLM(longer).save_pretrained(folder / "my-model")
    tokenizer.save_pretrained(folder / "my-model")

    game = AprmSettings(backbone=str(tiny_folder), updates=1, prm_warm_steps=1, adversary_warm_steps=1,
                        states_per_update=2, samples_per_state=2, device="cpu", dtype="float32")  # fmt: skip
    train_aprm(game, folder / "runs" / "aprm")
    for run in ("gsm8k-panel", "gsm8k"):
        shutil.copytree(folder / "runs" / "aprm" / "prm", folder / "runs" / run / "prm")
    random_prm(tiny_folder, folder / "runs" / "value" / "model", meaning="value")

    for name in ("labelled", "estimated", "solutions", "dev", "test", "traces"):
        data_file(folder, separable_traces(16), f"{name}.jsonl")
    sums = [
        {
            "question": f"Tom has {n} eggs. He finds {n + 1} more. How many has he?",
            "answer": f"He has {n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1} eggs.\n#### {2 * n + 1}",
        }
        for n in range(2, 12)
    ]
    for name in ("data/gsm8k/train", "data/gsm8k/test", "data/sums", "runs/rl_real/problems", "problems"):
        write(folder / f"{name}.jsonl", *sums)
    steps = [f"```python\nprint({n} + {n})\n```\nOutput: {2 * n}" for n in range(1, 5)]
    write(folder / "steps.jsonl", {"id": "1", "problem": "Double numbers.", "answer": "8", "solution": steps})
    cases = [
        {**RECORDS["processbench"], "id": f"{kind}-{n}", "label": n % 2 - 1}
        for kind in ("gsm8k", "math")
        for n in range(4)
    ]
    for kind in ("gsm8k", "math"):
        write(
            folder / "data" / "processbench" / f"{kind}.json",
            *(one for one in cases if one["id"].startswith(kind)),
        )
    scores = [{"id": one["id"], "scores": [0.9, 0.2]} for one in cases if one["id"].startswith("gsm8k")]
    # Of both halves of an audit
    halves = [{**one, "problem": f"{one['problem']} ({one['id']})"} for one in cases]
    write(folder / "data" / "gsm8k.json", *halves)
    for name in ("scores", "a", "b", "runs/gsm8k-panel/scores-after", "runs/gsm8k-arithmetic/scores-after"):
        write(folder / f"{name}.jsonl", *scores)
    write(
        folder / "data" / "prmbench" / "prm800k_test_p1_4o_circular.jsonl",
        *({**RECORDS["prmbench"], "idx": f"p_{n}"} for n in range(3)),
    )
    data_file(folder, separable_traces(8), "samples.jsonl")
    write(
        folder / "math-shepherd.jsonl",
        *(shepherd(f"{n} + 1? ", f"Step 1: {n} + 1 = {n + 1} ки", "+") for n in range(4)),
    )
    write(
        folder / "openrlhf.jsonl",
        *({"input": f"{n} + 1? Step 1: {n + 1} ки", "value": ["+"]} for n in range(4)),
    )
    rows = [{"prompt": f"{n} + 1?", "completions": [f"{n + 1}"], "labels": [n % 2 == 0]} for n in range(8)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train.parquet")
    return folder


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def scorer() -> Iterator[FakeSparring]:
    with FakeSparring() as made:
        made.longest = 100_000
        yield made


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    with FakeJudge() as made:
        made.says = lambda asked, body: "Verdict: correct" if "Verdict:" in asked else yes_or_no(asked, body)
        made.names = ["some-model"]
        yield made


def settings_files(page: str, folder: Path) -> None:
    """Write the settings files that a page shows, under the names that its commands give them."""
    texts = blocks(ROOT / page, "yaml") if page.endswith(".md") else []
    wanted = [
        words[words.index("--config") + 1]
        for line in SHOWN[page]
        if "--config" in (words := shlex.split(line, comments=True))
    ]
    missing = [name for name in dict.fromkeys(wanted) if not (folder / name).exists()]
    for name, text in zip(missing, texts, strict=False):
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", SHOWN)
def test_what_is_shown_runs(
    page: str,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: FakeServer,
    scorer: FakeSparring,
    judge: FakeJudge,
    vllm: object,  # noqa: F811
    request: pytest.FixtureRequest,
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder)
    settings_files(page, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", WIDTH)
    outputs = OUTPUTS.get(page, {})
    for number, line in enumerate(SHOWN[page]):
        words = shlex.split(line, comments=True)[1:]
        name = name_of(words)
        if name in ELSEWHERE:
            continue
        assert name in SMALLER, f"say in SMALLER how '{name}' is made small"
        words = [re.sub(r"judge\+https?://[^/]+/", f"judge+http://{judge.host}/", word) for word in words]
        # an oracle's labels cost no rollouts, and some of them must be of wrong steps
        less = "problems=16 n_cov=2" if "mode=oracle" in words else SMALLER[name]
        words = smaller(words, less.split(), server, scorer, folder, number)
        if any(word.startswith("sampler=") for word in words):
            beside = FakeVllm(folder / "models" / "policy")
            request.addfinalizer(beside.server_close)
            request.addfinalizer(beside.shutdown)
            words = [re.sub(r"^sampler=.*", f"sampler={beside.url}", word) for word in words]
        result = CliRunner().invoke(app, words)
        if line in outputs:  # a mistake that is shown is meant
            said = result.output.replace(scorer.host, "127.0.0.1:8000").strip("\n").splitlines()
            said += [f"error: {result.exception}"] if isinstance(result.exception, SparringError) else []
            said = [part for one in said for part in one.splitlines()]
            missing = words_of(outputs[line]) - words_of(said)
            assert not missing, f"{line} does not say {missing}\n" + "\n".join(said)
        else:
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


def test_answers_over_http_have_the_form_that_is_shown(tiny_prm: Path) -> None:
    """Requests by `curl` that a page shows with their answer, asked of a served PRM."""
    pytest.importorskip("fastapi")
    from served import Served

    served, asked = Served(tiny_prm), 0
    for page, outputs in OUTPUTS.items():
        for line, output in outputs.items():
            words = shlex.split(line)
            if words[0] != "curl":
                continue
            place = next(word for word in words if word.startswith("http://"))
            body = json.loads(words[words.index("--json") + 1])
            answer = served.post(re.sub(r"http://[^/]+", "", place), body)
            assert form(answer.json()) == form(json.loads("\n".join(output))), (page, line)
            asked += 1
    assert asked


def form(value: Any) -> Any:
    """Return names and nesting of JSON without its values."""
    if isinstance(value, dict):
        return {key: form(inner) for key, inner in value.items()}
    return [form(value[0])] if isinstance(value, list) and value else None


def smaller(
    words: list[str], less: list[str], server: FakeServer, scorer: FakeSparring, folder: Path, number: int
) -> list[str]:
    """Return a command's words with less work, its server at hand, and no run where there is one already."""
    if "--explain" in words:
        return words
    pooled = {"--engine", "--pool"}  # tests/test_pool.py runs commands on a cluster
    before = ["", *words]
    words = [word for word, last in zip(words, before, strict=False) if not {word, last} & pooled]
    keys = {word.partition("=")[0] for word in less}
    words = [word for word in words if word.partition("=")[0] not in keys]
    words = [re.sub(r"(?<!\+)http://[^/]+/v1", server.url, word) for word in words]
    words = [
        re.sub(r"(?<!\+)http://(?:localhost|127\.0\.0\.1):8000\b", f"http://{scorer.host}", word)
        for word in words
    ]
    if "--out" in words and (place := words.index("--out") + 1) and (folder / words[place]).exists():
        words[place] += f"-{number}"
    return [*words, *less]
