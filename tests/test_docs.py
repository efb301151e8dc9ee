"""The documentation is true: links lead somewhere, Python runs, commands and settings exist, lists are complete."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import ledger_world  # noqa: F401 (a world of one's own)
import sparring
from page_outputs import session
from sparring.__main__ import COMMANDS as TABLE
from sparring.__main__ import app
from sparring.cli.commands import Command, imported
from sparring.errors import SettingsError
from sparring.models.sidecar import Sidecar
from sparring.oracles.perturbations import PERTURBATIONS
from sparring.pool import PoolSettings
from sparring.settings import Settings, load_settings, setting_rows
from sparring.traces import read_problems_as, read_traces, write_traces
from sparring.traces.readers import FORMATS
from sparring.training.aprm import train_aprm
from sparring.training.aprm_settings import AprmSettings
from sparring.worlds.chain_errors import CHAIN_ERRORS
from sparring.worlds.world import make_world

PACKAGED = ("chain", "countdown")
ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
SETTINGS: dict[tuple[str, ...], type[Settings]] = {
    tuple(row.name.split()): imported(row.settings) for row in TABLE if row.settings
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def shell_lines(page: Path) -> list[str]:
    """The commands of a page: lines of `bash` blocks, and of sessions (`console`) those after ``$``."""
    found = []
    for language, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "bash":
            found += [line for line in body.replace("\\\n", " ").splitlines() if line.strip()]
        elif language == "console":
            found += [shown.command for shown in session(body)]
    return found


def every(language: str) -> list[Any]:
    return [
        pytest.param(body, id=f"{name}-{number}")
        for page, name in zip(PAGES, NAMES, strict=True)
        for number, body in enumerate(blocks(page, language))
    ]


MISTAKES = {
    shown.command
    for page in PAGES
    for body in blocks(page, "console")
    for shown in session(body)
    if shown.output and shown.output[0].startswith("error: ")
}
COMMANDS = [
    pytest.param(line, id=line[:60])
    for page in PAGES
    for line in shell_lines(page)
    if line not in MISTAKES  # shown with what is said of them
]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings: lower case, without punctuation, hyphens for spaces."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_the_map_names_every_page() -> None:
    listed = set(_LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"} <= listed


# --- Python --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def prm_run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the smallest game."""
    out = tmp_path_factory.mktemp("run") / "aprm"
    settings = AprmSettings(
        backbone=str(tiny_folder),
        updates=1,
        prm_warm_steps=1,
        adversary_warm_steps=1,
        states_per_update=2,
        samples_per_state=2,
        device="cpu",
    )
    train_aprm(settings, out)
    return out


@pytest.mark.parametrize("code", every("python"))
def test_python_blocks_compile(code: str) -> None:
    compile(code, "block", "exec")


@pytest.mark.parametrize(
    "page", ["README.md", "docs/checkpoints.md", "docs/data-formats.md", "docs/python.md"]
)
def test_python_blocks_run_as_they_stand(
    page: str, prm_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("runs/demo/aprm", "runs/aprm"):
        shutil.copytree(prm_run, tmp_path / place)
    record = {"id": "1", "problem": "1 + 1 = ?", "steps": ["1 + 1 = 2"]}
    (tmp_path / "solutions.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    (tmp_path / "shards").mkdir()
    write_traces(tmp_path / "shards" / "0.jsonl.zst", read_traces(tmp_path / "solutions.jsonl"))
    monkeypatch.chdir(tmp_path)
    codes = blocks(ROOT / page, "python")
    assert codes
    for number, code in enumerate(codes):
        script = tmp_path / f"block{number}.py"
        script.write_text(code, encoding="utf-8")
        runpy.run_path(str(script))


def test_plain_transformers_read_the_score_that_sparring_reads(
    prm_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prm_run, tmp_path / "runs" / "aprm")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(blocks(ROOT / "docs" / "checkpoints.md", "python")[0], encoding="utf-8")
    plain = float(runpy.run_path(str(script))["score"].detach())
    trace = sparring.Trace(sparring.Problem("1", "1 + 1 = ?"), ("1 + 1 = 2",))
    [[ours]] = sparring.load_scorer("runs/aprm/prm").score([trace])
    assert plain == pytest.approx(ours, abs=1e-6)


# --- commands and settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist_and_take_these_options(line: str) -> None:
    words = shlex.split(line.removesuffix("&"), comments=True)
    if words[0] in ("curl", "head"):
        return
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif words[0] == "python":
        script = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in script for word in words[2:] if word.startswith("--"))
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        assert set(re.findall(r"\[(\w+)\]", line)) <= set(extras)
    elif words[0] in ("torchrun", "accelerate"):  # before `-m sparring` stand the launcher's own options
        check_sparring(words[words.index("sparring") + 1 :])
    else:
        assert words[0] == "sparring"
        check_sparring(words[1:])


def check_sparring(words: list[str]) -> None:
    """Parse a command line without running it, and load its settings."""
    command: Any = typer.main.get_command(app)
    names: list[str] = []
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]}"
        names.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    try:
        context = command.make_context(names[-1], list(words))
    except typer.Exit:  # --explain
        return
    overrides = context.params.get("overrides")
    if overrides:
        load_settings(SETTINGS[tuple(names)], None, overrides)


def test_a_wrong_command_line_would_be_noticed() -> None:
    for words in (["trane"], ["score", "--modle", "x"], ["train", "aprm", "updats=3"], ["score"]):
        with pytest.raises(Exception, match=r"."):
            check_sparring(words)


def options(command: Any) -> set[str]:
    inner = [options(sub) for sub in getattr(command, "commands", {}).values()]
    return {name for parameter in command.params for name in parameter.opts}.union({"--help"}, *inner)


@pytest.mark.parametrize("name", SETTINGS, ids=" ".join)
def test_every_setting_is_explained_on_the_terminal(name: tuple[str, ...]) -> None:
    assert [row.name for row in setting_rows(SETTINGS[name]) if not row.help] == []


@pytest.mark.parametrize("name", SETTINGS, ids=" ".join)
def test_no_number_is_without_an_upper_bound(name: tuple[str, ...]) -> None:
    """What no machine gets through is refused by name: so many epochs, samples, seconds or tokens."""
    for row in setting_rows(SETTINGS[name]):
        if "number" in row.type and not row.type.startswith("mapping"):
            count = row.type.count("number") if "exactly" in row.type else 1
            value = f"[{', '.join(['1e99'] * count)}]" if row.type.startswith("list") else "1e99"
            with pytest.raises(SettingsError, match=rf"(?m)\b{row.name}: .*(at most|less than)"):
                load_settings(SETTINGS[name], None, [f"{row.name}={value}"])


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_and_settings_named_in_passing_exist(page: Path) -> None:
    scripts = "".join(
        path.read_text(encoding="utf-8")
        for name in ("scripts", "benchmarks")
        for path in (ROOT / name).glob("*.py")
    )
    known_options = options(typer.main.get_command(app)) | set(re.findall(r'"(--[a-z-]+)"', scripts))
    known_settings = {name for cls in (*SETTINGS.values(), PoolSettings) for name in cls.model_fields}
    known_settings |= {dial.name for world in PACKAGED for dial in dataclasses.fields(make_world(world))}  # type: ignore[arg-type]
    # a placeholder, arguments of Python functions, options of other programs
    known_settings |= {"key", "overflow", "split_special_tokens", "extra_body", "use_activation"}
    known_options |= {"--runner", "--pooler-config", "--multi-item-scoring-delimiter"}
    for code in re.findall(r"`([^`\n]+)`", _FENCE.sub("", page.read_text(encoding="utf-8"))):
        for word in code.split():
            assert not word.startswith("--") or word in known_options
            setting = re.match(r"([a-z_]+)=", word)
            assert setting is None or setting[1] in known_settings
        if named := re.match(r"([a-z_]+): ", code):
            assert named[1] in known_settings


@pytest.mark.parametrize("text", every("yaml"))
def test_settings_files_load(text: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith("# for sparring "), "the first line says whose settings these are"
    load_settings(SETTINGS[tuple(first.removeprefix("# for sparring ").split())], file)
    assert yaml.safe_load(text)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_command_finds_its_function_and_gives_it_what_it_takes(row: Command) -> None:
    named = {one.name for one in row.options} | ({"out"} if row.target == "out" else set())
    named -= {one.name for one in row.arguments}
    named |= {"settings"} if row.settings else set()
    named |= {"resume"} if row.after_stop == "--resume" else set()
    named |= {"console"} if row.progress else set()
    if row.from_options:
        assert {one.name for one in (*row.arguments, *row.options)} <= set(
            imported(row.settings).model_fields
        )
        named -= {one.name for one in row.options}
    first = [] if row.from_options else [one.name for one in row.arguments]
    inspect.signature(imported(row.run)).bind(*first, **dict.fromkeys(named))


def test_commands_table_is_complete() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command: Any = typer.main.get_command(app)
    for name, sub in command.commands.items():
        for full in [f"{name} {inner}" for inner in getattr(sub, "commands", {})] or [name]:
            assert f"| `sparring {full}` |" in readme


# --- lists that the code defines -----------------------------------------------------------------------------


def mentioned(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", (ROOT / "docs" / page).read_text(encoding="utf-8")))


def test_every_format_mistake_and_sidecar_field_is_described() -> None:
    assert set(FORMATS) <= mentioned("data-formats.md")
    assert set(PERTURBATIONS) <= mentioned("oracles.md")
    assert set(CHAIN_ERRORS) <= mentioned("worlds.md")
    for world in PACKAGED:
        dials = {dial.name for dial in dataclasses.fields(make_world(world))}  # type: ignore[arg-type]
        assert {world, *dials} <= mentioned("worlds.md")
    assert set(Sidecar.model_fields) <= mentioned("checkpoints.md")


def test_every_logged_name_and_metric_is_described(prm_run: Path) -> None:
    records = [json.loads(line) for line in (prm_run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {record["phase"] for record in records} == {"warm_prm", "warm_adversary", "game"}
    assert {name for record in records for name in record} <= mentioned("aprm.md")
    written = json.loads((prm_run / "metrics.json").read_text(encoding="utf-8"))
    assert set(written) | set(written["metrics"]) <= mentioned("settings.md")


def test_sidecar_examples_are_valid_and_the_first_shows_the_defaults() -> None:
    [defaults] = [body for body in blocks(ROOT / "docs" / "checkpoints.md", "json") if '"version"' in body]
    assert Sidecar.model_validate_json(defaults) == Sidecar()
    for body in blocks(ROOT / "docs" / "checkpoints.md", "json"):
        Sidecar.model_validate_json(body)


def test_examples_of_worlds_are_correct_solutions() -> None:
    worlds = {"mod": "chain", "make": "countdown", "start": "countdown:variant=long"}
    texts = [body.strip() for body in blocks(ROOT / "docs" / "worlds.md", "")]
    shown = [(one, other) for one, other in itertools.pairwise(texts) if one.split()[0] in worlds]
    question, *lines = next(text for text in texts if text.startswith("Mia buys")).splitlines()
    shown.append((question, "\n".join(line.strip() for line in lines)))
    assert len(shown) == len(worlds) + 1
    for question, solution in shown:
        world = make_world(worlds.get(question.split()[0], "ledger"))
        problem, steps = sparring.Problem("1", question), solution.splitlines()
        for number, step in enumerate(steps):
            assert world.judge(problem, steps[:number], step).truth == "correct", step
        assert world.alive(problem, steps)


@pytest.mark.parametrize("page", ["tutorial.md", "data-formats.md"])
def test_data_examples_are_read_without_naming_their_format(page: str, tmp_path: Path) -> None:
    for body in blocks(ROOT / "docs" / page, "json"):
        for number, line in enumerate(body.splitlines()):
            file = tmp_path / f"{number}.jsonl"
            file.write_text(line + "\n", encoding="utf-8")
            assert len(read_problems_as(file).problems) == 1


# --- the package's own face ----------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sparring, sys; print([m for m in ('torch', 'transformers', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_names_of_the_package_are_there() -> None:
    assert all(getattr(sparring, name) is not None for name in sparring.__all__)
    assert dir(sparring) == sorted(sparring.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_scores'"):
        _ = sparring.load_scores
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sparring.__version__ == project["version"]
    assert f"## {sparring.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
