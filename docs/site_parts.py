"""What the documentation site adds to Sphinx: formulas as MathML, the sidebar from the map, commands from the program,
links from pages to source files.

Contract: pure functions of the repository; nothing here needs a network or writes into the source tree.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.errors import SphinxError
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

from sparring.report.formulas import mathml

if TYPE_CHECKING:
    from docutils.nodes import document
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

SOURCE = Path(__file__).parents[1] / "src"
log = logging.getLogger(__name__)
_CAPTION = re.compile(r"^\| \*\*(.+?)\*\* \|")
_MODULE = re.compile(r"^- `(sparring[\w.]*)`: (.+)$", re.MULTILINE)
_PAGE = re.compile(r"^\| \[[^\]]*\]\(([^)#]+\.md)\) \|")


# --- formulas ------------------------------------------------------------------------------------------------


def _set(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    inline = isinstance(node, nodes.math)
    latex = node.astext()
    made = mathml(latex, display="inline" if inline else "block")
    if made is None:
        log.warning("cannot set this formula: %s", latex, location=node)
        made = mathml(r"\text{formula}")
    translator.body.append(str(made) if inline else f'<div class="formula">{made}</div>\n')
    raise nodes.SkipNode


# --- the sidebar ---------------------------------------------------------------------------------------------


def toctrees(table: str, folder: str) -> str:
    """Return the map's table as toctrees: rows in bold are their captions."""
    groups: list[tuple[str, list[str]]] = []
    for line in table.splitlines():
        if caption := _CAPTION.match(line):
            groups.append((caption[1], []))
        elif page := _PAGE.match(line):
            if not groups:
                raise SphinxError("the map's first row must be a caption in bold")
            groups[-1][1].append(posixpath.normpath(folder + page[1]))
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```\n"
        for caption, pages in groups
    )


# --- commands and settings -----------------------------------------------------------------------------------


def commands() -> str:
    """Return every command with its arguments, options and settings as Markdown, from the program's own table."""
    from sparring.__main__ import COMMANDS

    return "\n".join(_command(row) for row in COMMANDS)


def _command(row: Any) -> str:
    import typer

    from sparring.__main__ import app
    from sparring.cli.commands import imported
    from sparring.settings import setting_rows

    command: Any = typer.main.get_command(app)
    for word in row.name.split():
        command = command.commands[word]
    lines = [f"### `sparring {row.name}`", "", row.help, "", "| argument or option | meaning |", "|---|---|"]
    for one in command.params:
        name = one.name.upper() if one.param_type_name == "argument" else ", ".join(one.opts)
        default = (
            ""
            if isinstance(one.default, bool) or not isinstance(one.default, str | int | float)
            else one.default
        )
        lines.append(_row(name, "", str(default), one.help or ""))
    if row.settings and not row.from_options:
        lines += ["", "| setting | meaning |", "|---|---|"]
        lines += [
            _row(one.name, one.type, one.default, one.help) for one in setting_rows(imported(row.settings))
        ]
    return "\n".join([*lines, ""])


def _row(name: str, kind: str, default: str, meaning: str) -> str:
    what = " = ".join(part for part in (kind, default and f"`{default}`") if part)
    left = f"`{name}`" + (f"<br>{what}" if what else "")
    return f"| {left} | {meaning} |".replace("\n", " ")


# --- the reference -------------------------------------------------------------------------------------------


def modules(page: str) -> str:
    """Put the docstrings in place of the list: a row ``- `module`: `name`, …`` becomes the module with these members."""
    return _MODULE.sub(_module, page)


def _module(row: re.Match[str]) -> str:
    names = re.findall(r"`(\w+)`", row[2])
    if row[1] == "sparring":  # its names come from the modules below
        return f"`from sparring import {', '.join(names)}`"
    path = SOURCE.joinpath(*row[1].split(".")).with_suffix(".py")
    header = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    members = f"```{{eval-rst}}\n.. automodule:: {row[1]}\n   :members: {', '.join(names)}\n```\n"
    return f"#### {row[1]}\n\n{header}\n\n{members}"


def _without_header(app: Sphinx, what: str, name: str, it: object, options: object, lines: list[str]) -> None:
    """Empty a module's docstring: it is Markdown, and stands on the page already."""
    if what == "module":
        lines.clear()


def _plain(
    app: Sphinx, what: str, name: str, it: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write defaults and types of a signature as a reader would."""
    short = signature and re.sub(r"~[\w.]+\.(?=\w)", "", signature.replace("<factory>", "…"))
    return short, returns


# --- pages ---------------------------------------------------------------------------------------------------


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    if name == app.config.root_doc:
        source[0] += toctrees((app.srcdir / "docs" / "README.md").read_text(encoding="utf-8"), "docs/")
    elif name == "docs/settings":
        source[0] += "\n" + commands()
    elif name == "docs/python":
        source[0] = modules(source[0])
    elif name == "docs/README" or name.startswith(("benchmarks/", "src/")):
        app.env.metadata[name]["orphan"] = True  # the map is the sidebar; records are reached from pages


def _to_source(app: Sphinx, doctree: document, name: str) -> None:
    """Lead links to modules of the package to their highlighted source."""
    _dashes(doctree)
    for link in doctree.findall(lambda node: isinstance(node, nodes.Element) and "filename" in node):
        path = str(link.get("reftarget", ""))
        module = re.search(r"src/(sparring/.+)\.py$", path)
        if module and (known := getattr(app.env, "_viewcode_modules", {})):
            if module[1].replace("/", ".") not in known:
                log.warning("%s is not in the reference", path, location=link)
            uri = relative_uri(app.builder.get_target_uri(name), f"_modules/{module[1]}.html")
            made = nodes.reference("", "", *link.children, refuri=uri, internal=True)
            link.replace_self(made)


def _dashes(doctree: document) -> None:
    """Set the dash between a parameter and its meaning, which Sphinx writes as two hyphens."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def _front(app: Sphinx, error: Exception | None) -> None:
    front = Path(app.outdir, f"{app.config.root_doc}.html")
    if error is None and front.exists():
        shutil.copyfile(front, front.with_name("index.html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_html_math_renderer("mathml", (_set, None), (_set, None))
    app.config.html_math_renderer = "mathml"  # type: ignore[attr-defined]
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _without_header)
    app.connect("autodoc-process-signature", _plain)
    app.connect("doctree-resolved", _to_source)
    app.connect("build-finished", _front)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
