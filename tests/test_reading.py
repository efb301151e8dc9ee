"""The page of the house is true: its rooms stand as the imports do, and its reading list is as short as it says."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_reading_list_names_files_that_tell_their_story_within_its_number_of_lines():
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    files = [
        ROOT / "src" / "sparring" / name
        for name in re.findall(r"^\| \d+ \| \[`([^`]+)`\]", page, re.MULTILINE)
    ]
    limit = int(re.search(r"at most ([\d,]+) lines", page)[1].replace(",", ""))
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert len(files) == 14
    assert sum(len(text.splitlines()) for text in texts) <= limit
    for file, text in zip(files, texts, strict=True):
        header = ast.get_docstring(ast.parse(text)) or ""
        assert "\n\n" in header and len(header.splitlines()[0]) <= 122, file


def test_the_rooms_stand_in_the_order_of_imports_each_with_the_first_sentence_of_its_header():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = project["tool"]["importlinter"]["contracts"]
    rooms = []
    for name in (name for layer in contract["layers"] for name in re.findall(r"\w+", layer)):
        file = ROOT / "src" / "sparring" / name / "__init__.py"
        if file.exists():
            header = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            rooms.append(f"| `{name}` | {re.split('[.](?: |$)', ' '.join(header.split()))[0]} |")
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    assert re.findall(r"^[|] `\w+` [|] .+ [|]$", page, re.MULTILINE) == rooms
