"""Draws the house: the packages of Sparring in their layers, each with what it is for and what it imports.

    python scripts/draw_house.py            writes docs/images/house.svg
    python scripts/draw_house.py --check    says whether the drawing is still true; status 1 if not

Layers are those of `[tool.importlinter]` in `pyproject.toml`, imports those of the graph that the same tool builds, so that
the drawing shows what is checked; what a room is for is the first sentence of its docstring. Single files below all rooms
are the foundation: nearly everything imports them, so that is not drawn. The same code gives the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import html
import re
import sys
import textwrap
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
DRAWING = ROOT / "docs" / "images" / "house.svg"
WIDTH, MARGIN, GAP, LINE = 880, 60, 6, 16
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2933 }
.name { font-weight: 600; font-size: 14px } .uses { fill: #52606d; font-size: 12px }
.title { font-size: 18px; font-weight: 600 }
.room { fill: #f3f7fb; stroke: #829ab1 } .stone { fill: #ece7df; stroke: #a89f91 } .roof { fill: #e4c9b6; stroke: #a3785c }
"""


def layers() -> list[list[str]]:
    """Return the layers of `pyproject.toml` from top to bottom, without what is not there yet."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = project["tool"]["importlinter"]["contracts"]
    named = [[re.sub(r"[() ]", "", name) for name in layer.split(":")] for layer in contract["layers"]]
    there = [[name for name in layer if source(name)] for layer in named]
    return [layer for layer in there if layer]


def source(name: str) -> Path | None:
    """Return the file that holds a part's docstring."""
    home = ROOT / "src" / "sparring"
    return next((one for one in (home / name / "__init__.py", home / f"{name}.py") if one.exists()), None)


def purpose(name: str) -> str:
    """Return the first sentence of a part's docstring, without the name that it opens with."""
    path = source(name)
    assert path is not None
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    sentence = re.split(r"(?<=[a-z)])[.;](?:\s|$)|(?<=\w): (?:code|a line) here", text, flags=re.IGNORECASE)[
        0
    ]
    title, _, rest = sentence.partition(": ")
    told = rest if rest and len(title.split()) <= 3 else sentence
    return (told[:1].upper() + told[1:]).replace("`", "")


def imports(rooms: set[str]) -> dict[str, list[str]]:
    """Return the rooms that each room imports, the nearest first."""
    graph = grimp.build_graph("sparring", cache_dir=None)
    order = {name: number for number, name in enumerate(name for layer in layers() for name in layer)}
    found = {}
    for name in rooms:
        used = [
            other
            for other in rooms - {name}
            if graph.direct_import_exists(
                importer=f"sparring.{name}", imported=f"sparring.{other}", as_packages=True
            )
        ]
        found[name] = sorted(used, key=order.__getitem__)
    return found


def is_room(layer: list[str], above: bool) -> bool:
    """Say whether a layer is a floor: it has a package in it, or lies above one that has."""
    return above or any((source(name) or Path()).name == "__init__.py" for name in layer)


def drawing() -> str:
    """Return the drawing as SVG text."""
    floors, stones = [], []
    for layer in reversed(layers()):
        (floors if is_room(layer, bool(floors)) else stones).append(layer)
    floors.reverse()
    stones.reverse()
    uses = imports({name for layer in floors for name in layer})
    parts: list[str] = []
    top = 92.0
    for layer in floors:
        top += room_row(parts, layer, uses, top) + GAP
    walls = top
    for layer in stones:
        stone_row(parts, layer, top)
        top += 26 + GAP
    parts += [
        text(
            WIDTH / 2,
            top + 14,
            "Every import points down, to floors below one's own.",
            "uses",
            "middle",
        )
    ]
    left, right = MARGIN - 10, WIDTH - MARGIN + 10
    frame = [
        f'<rect width="{WIDTH}" height="{top + 28:g}" rx="8" fill="#fff"/>',
        f'<path class="roof" d="M{left - 24} 84 L{WIDTH / 2:g} 12 L{right + 24} 84 Z"/>',
        text(WIDTH / 2, 66, "sparring", "title", "middle"),
        f'<path d="M{left} 84 V{walls:g} H{right} V84" fill="none" stroke="#829ab1" stroke-width="2"/>',
    ]
    body = "\n".join(frame + parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 28:g}" role="img">\n'
        f"<title>The packages of Sparring in layers</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def room_row(parts: list[str], layer: list[str], uses: dict[str, list[str]], top: float) -> float:
    """Draw a floor and return its height."""
    width = (WIDTH - 2 * MARGIN - GAP * (len(layer) - 1)) / len(layer)
    letters = int((width - 24) / 6.6)
    told = {}
    for name in layer:
        lines = textwrap.wrap(purpose(name), letters)
        below = (
            textwrap.wrap("imports " + ", ".join(uses[name]), int((width - 24) / 6.0)) if uses[name] else []
        )
        told[name] = [(line, "") for line in lines] + [(line, "uses") for line in below]
    height = 22 + LINE * max(len(lines) for lines in told.values()) + 6
    for column, name in enumerate(layer):
        x = MARGIN + column * (width + GAP)
        parts.append(
            f'<rect class="room" x="{x:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="4"/>'
        )
        parts.append(text(x + 12, top + 18, name.strip("_") if name != "__main__" else "__main__", "name"))
        for number, (line, style) in enumerate(told[name]):
            parts.append(text(x + 12, top + 18 + LINE * (number + 1), line, style))
    return height


def stone_row(parts: list[str], layer: list[str], top: float) -> None:
    """Draw a layer of single files."""
    width = (WIDTH - 2 * MARGIN + 20 - GAP * (len(layer) - 1)) / len(layer)
    for column, name in enumerate(layer):
        x = MARGIN - 10 + column * (width + GAP)
        parts.append(f'<rect class="stone" x="{x:g}" y="{top:g}" width="{width:g}" height="26" rx="3"/>')
        parts.append(text(x + width / 2, top + 17, f"{name}.py", "uses", "middle"))


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Return a line of text."""
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{html.escape(words)}</text>'


def main() -> None:
    """Write the drawing, or compare it with what is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare only")
    now = drawing()
    if not parser.parse_args().check:
        DRAWING.write_text(now, encoding="utf-8")
    elif not DRAWING.exists() or DRAWING.read_text(encoding="utf-8") != now:
        sys.exit("docs/images/house.svg is not the house any more: python scripts/draw_house.py")


if __name__ == "__main__":
    main()
