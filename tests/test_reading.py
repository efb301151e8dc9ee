"""The reading list is true: its files exist, open with a header, and are together as short as it says."""

import ast
import re
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
