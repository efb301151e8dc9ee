"""The documentation site builds without a warning and a network and holds what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparring
from sparring.__main__ import COMMANDS
from test_docs import PAGES, ROOT, blocks

pytest.importorskip("sphinx")
pytest.importorskip("furo")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, but for highlighted sources, and without a network."""
    out = tmp_path_factory.mktemp("site")
    recipe = next(
        line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if "-m sphinx" in line
    )
    words = (
        recipe.split(" -m sphinx ")[1].replace("build/docs", str(out / "html")).replace("build/", f"{out}/")
    )
    nowhere = {f"{name}_proxy": "http://127.0.0.1:9" for name in ("http", "https", "all")}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-t", "reduced", *words.split()],
        cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "html"


def test_the_site(site: Path) -> None:  # one test, so that it is built once, whoever runs it
    for page in PAGES:
        assert (site / page.relative_to(ROOT).with_suffix(".html")).exists()
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()

    loaded = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\ssrc=\"([^\"]+)|<link\b[^>]*\shref=\"([^\"]+)")
    for page in site.rglob("*.html"):
        for one in loaded.findall(page.read_text(encoding="utf-8")):
            assert not re.match(r"(?:[a-z]+:)?//", "".join(one)), f"{page.name} asks for {one}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet

    method = (site / "docs" / "progress.html").read_text(encoding="utf-8")
    assert method.count("<math ") >= len(blocks(ROOT / "docs" / "progress.md", "math")) > 0
    commands = re.sub(r"<[^>]+>", "", (site / "docs" / "settings.html").read_text(encoding="utf-8"))
    assert all(f"sparring {row.name}" in commands for row in COMMANDS)
    assert "states_per_update" in commands


def test_every_name_that_is_imported_on_a_page_stands_in_the_reference() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    reference = page.partition("## Reference")[2]
    known = set(re.findall(r"`(\w+)`", reference))
    shown = {
        name
        for page in PAGES
        for code in blocks(page, "python")
        for names in re.findall(r"^from sparring[\w.]* import (.+)$", code, re.MULTILINE)
        for name in re.findall(r"\w+", names)
    }
    assert shown <= known
    assert set(sparring.__all__) - {"__version__"} <= known
