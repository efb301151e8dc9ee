"""What is shipped and declared: no pickles, no stray files, and dependencies that are those that are imported."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sparring.fingerprints import folder_identity

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PICKLES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".npy", ".npz", ".joblib", ".ckpt", ".dill", ".h5"}


def tracked() -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_pickle_is_tracked():
    names = tracked()
    assert [name for name in names if Path(name).suffix.lower() in PICKLES] == []
    for name in names:  # a zip is what torch.save writes, whatever it is called
        with (ROOT / name).open("rb") as file:
            start = file.read(4)
        assert not start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")), name


def test_every_tracked_file_of_the_package_is_code_or_declared_data():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["sparring"]
    package = ROOT / "src" / "sparring"
    data = {file for pattern in patterns for file in package.glob(pattern)}
    files = {ROOT / name for name in tracked() if name.startswith("src/")}
    assert {str(file) for file in files if file.suffix != ".py"} == {str(file) for file in data & files}
    assert all(any(package.glob(pattern)) for pattern in patterns)
    assert not [file for file in data if file.suffix in PICKLES]


def name_of(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported(folder: str) -> dict[str, set[str]]:
    """Distributions that the code in a folder imports, with the files that do."""
    owners = packages_distributions()
    found: dict[str, set[str]] = {}
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for module in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"sparring"}:
                distribution = owners.get(module, [module])[0].lower().replace("_", "-")
                found.setdefault(distribution, set()).add(str(file.relative_to(ROOT)))
    return found


ADAPTED = {"trl", "verl", "areal", "inspect-ai", "lm-eval", "its-hub", "atheris"}
"""Whoever plugs us into one of these has it; `fuzz.py` is led by the last where it is installed."""


def test_dependencies_are_what_the_package_imports():
    core = {name_of(text) for text in PROJECT["project"]["dependencies"]}
    extras = {
        name_of(text)
        for name, texts in PROJECT["project"]["optional-dependencies"].items()
        if name not in ("dev", "benchmarks", "docs")
        for text in texts
    }
    found = imported("src")
    assert core <= found.keys() - {"pydantic-core"} <= core | extras | ADAPTED  # a part of pydantic
    for name in ADAPTED & found.keys():
        assert all(file.startswith("src/sparring/contrib/") for file in found[name])


def test_what_scripts_and_benchmarks_import_is_declared():
    declared = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        declared += extra
    names = {name_of(text) for text in declared}
    for folder in ("scripts", "benchmarks", "examples"):
        local = {file.stem.replace("_", "-") for file in (ROOT / folder).rglob("*.py")}
        local |= {file.parent.name.replace("_", "-") for file in (ROOT / folder).glob("*/__init__.py")}
        if folder == "scripts":  # `verify_results.py` computes again what benchmarks wrote
            local |= {file.stem.replace("_", "-") for file in (ROOT / "benchmarks").glob("*.py")} | {"claims"}
            # `kill_test.py`'s jobs
            local |= {file.stem.replace("_", "-") for file in (ROOT / "tests").glob("*.py")}
        missing = {
            name: files
            for name, files in imported(folder).items()
            if name not in names | local | ADAPTED | {"tests"}
        }
        assert not missing


def test_what_tests_import_is_installed_for_them():
    known = {
        name_of(text)
        for text in [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    }
    known |= {
        file.stem.replace("_", "-")
        for folder in ("tests", "scripts", "benchmarks")
        for file in (ROOT / folder).glob("*.py")
    } | {file.parent.name.replace("_", "-") for file in (ROOT / "benchmarks").glob("*/__init__.py")}
    skipped = {"trackio"}  # its test says so where it is not there
    assert imported("tests").keys() <= known | ADAPTED | skipped | {"benchmarks", "tests", "scripts"}


def test_dependencies_have_lower_bounds_and_transformers_an_upper_one():
    requirements = PROJECT["project"]["dependencies"]
    assert all(">=" in text for text in requirements)
    assert any(text.startswith("transformers") and "<6" in text for text in requirements)


def test_the_identity_of_a_folder_is_that_of_its_model(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "src" / "sparring" / "worlds" / "tiny_chain_policy", folder)
    before = folder_identity(folder)
    (folder / "README.md").write_text("another")
    (folder / "metrics.json").unlink(missing_ok=True)
    for name in ("cache.pt", "train.log", "events.out", ".DS_Store", "optimizer.bin", "notes.txt"):
        (folder / name).write_text("x")
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / "model.safetensors").write_text("x")
    (folder / "config.json").touch()
    assert folder_identity(folder) == before
    seen = {before}
    for name in (
        "config.json",
        "tokenizer.json",
        "sparring.json",
        "chat_template.jinja",
        "model.safetensors",
    ):
        (folder / name).write_bytes(b"{}")
        seen.add(folder_identity(folder))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1] + b"!")  # as long as before
    seen.add(folder_identity(folder))
    assert len(seen) == 7


def test_the_reference_of_an_implicit_prm_is_part_of_its_identity(tmp_path):
    (tmp_path / "sparring.json").write_text('{"log_ratio": {"beta": 1, "reference": "reference"}}')
    (tmp_path / "reference").mkdir()
    before = folder_identity(tmp_path)
    (tmp_path / "reference" / "model.safetensors").write_text("x")
    assert folder_identity(tmp_path) != before
