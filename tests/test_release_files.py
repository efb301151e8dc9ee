"""Files of releases agree with each other: versions, dependencies, pinned actions, and commands that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from sparring.__main__ import COMMANDS
from sparring.cli.commands import imported
from sparring.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GPU = re.compile(r"nvidia-|cuda-|triton|truststore|tzdata|setuptools")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_and_have_no_more_rights_than_they_need(file):
    text = file.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: *(\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+(\.\d+)*", comment), action  # for people, and for Dependabot
    for job in content["jobs"].values():
        assert "timeout-minutes" in job
    for script in re.findall(r"run: (?:- )?(scripts/\S+|\.ci/\S+)", text):
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_make_targets_that_workflows_call_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    texts = "\n".join(file.read_text(encoding="utf-8") for file in WORKFLOWS)
    called = {word for line in re.findall(r"run: make (.*)", texts) for word in line.split()}
    assert called and called <= targets
    phony = set(re.search(r"\.PHONY: (.*)", makefile)[1].split())
    assert phony == targets


def test_a_python_that_is_asked_for_and_missing_fails_the_matrix():
    done = subprocess.run(
        [ROOT / "scripts" / "matrix.sh", "3.99"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "python 3.99: not here, skipped\n")


def test_the_workflow_runs_the_cells_of_the_matrix_on_the_pythons_that_are_supported():
    script = (ROOT / "scripts" / "matrix.sh").read_text(encoding="utf-8")
    pythons, resolutions = (
        re.search(rf"^{name}=\$\{{\d:-(.*)\}}$", script, re.MULTILINE)[1].split()
        for name in ("pythons", "resolutions")
    )
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"][
        "matrix"
    ]
    assert job["strategy"]["matrix"] == {"python": pythons, "resolution": resolutions}
    assert job["steps"][-1]["run"] == "scripts/matrix.sh ${{ matrix.python }} ${{ matrix.resolution }}"
    assert pythons == [word.split()[-1] for word in PROJECT["classifiers"] if "Python ::" in word]
    for test in re.findall(r"tests/\S+\.py", script):
        assert (ROOT / test).is_file(), test


def test_versions_agree():
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'set version = "{version}"' in (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_conda_recipe_needs_what_the_package_needs():
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    run = text.partition("  run:\n")[2].partition("test:")[0]
    recipe = dict(re.findall(r"^    - (\S+) (.*)$", run, re.MULTILINE))
    assert recipe.pop("python") == PROJECT["requires-python"]
    other = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    wanted = {}
    for text in PROJECT["dependencies"]:
        name, limits = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", text).groups()
        wanted[other.get(name, name.lower())] = limits
    assert recipe == wanted


def test_the_hashed_pins_are_the_pins():
    pins = dict(
        re.findall(
            r"^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    known = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    text = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8")
    hashed = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE))
    # What torch needs on machines with a GPU is in no environment that the tests ran in.
    differ = {
        n: v for n, v in hashed.items() if known.get(n, v) != v or (n not in known and not GPU.match(n))
    }
    assert not differ, "make lock"
    assert text.count("--hash=sha256:") >= len(hashed)
    for requirement in PROJECT["dependencies"]:
        assert re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") in hashed, "make lock"


def test_docker_files_copy_what_is_there():
    for file in (ROOT / "docker").glob("*.Dockerfile"):
        for line in re.findall(r"^COPY (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE):
            *sources, _ = line.split()
            assert all((ROOT / source).exists() for source in sources), line


def test_scripts_are_sound_shell():
    for file in (ROOT / "scripts").glob("*.sh"):
        subprocess.run([shutil.which("bash") or "bash", "-n", str(file)], check=True)


def test_the_notebook_is_one_and_its_commands_have_settings_that_exist():
    content = json.loads((ROOT / "examples" / "hosted_gpu.ipynb").read_text(encoding="utf-8"))
    assert content["nbformat"] == 4 and all(cell.get("outputs", []) == [] for cell in content["cells"])
    rows = {row.name: row for row in COMMANDS}
    text = "\n".join("".join(cell["source"]) for cell in content["cells"])
    lines = re.findall(r"^!(sparring .*)$", text.replace("\\\n", " "), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        words = line.split()[1:]
        name = " ".join(words[:2]) if words[0] in ("train", "eval") else words[0]
        row = rows[name]
        given = [word for word in words if re.match(r"[a-z_.]+=", word)]
        if row.settings:
            load_settings(imported(row.settings), None, given)


def test_the_scripts_of_the_policy_are_named_where_they_are():
    for page in ("SECURITY.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for script in re.findall(r"`(scripts/[\w./]+)`", text):
            assert (ROOT / script).is_file(), script
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (ROOT / target).exists(), target
