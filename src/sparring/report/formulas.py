"""LaTeX to MathML (latex2mathml): text of data and models as markup in which formulas are set, without a network.

Contract: any text gives markup that shows it; nothing raises, and nothing but the elements of `ELEMENTS` and the attributes
of `ATTRIBUTES` comes out of a formula. What cannot be read, is longer than `LONGEST`, or defines macros (whose
expansion has no bound) stays as its source. Time and size are bounded: at most `MOST` formulas of a text are set.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from latex2mathml.converter import Converter

LONGEST, MOST, MOST_ELEMENTS = 400, 60, 1500
# A dollar as pandoc reads it: no space inside, no digit behind it, so that prices are none.
_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]{1,400}?)\$\$|\\\[(?P<square>.{1,400}?)\\\]|\\\((?P<round>.{1,400}?)\\\)"
    r"|(?<![\\$])\$(?=[^\s$])(?P<dollar>(?:[^$\\\n]|\\[^\n]){1,400})(?<!\s)\$(?![\d$])",
    re.DOTALL,
)
_COMMAND = re.compile(r"\\(?:text|textbf|textit|mbox|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")
_PROSE = re.compile(r"[A-Za-z]{2,}[,.]?\s+[A-Za-z]{2,}")
_MACRO = re.compile(r"\\(?:re|provide)?new|\\g?def|\\let|\\Declare|\\provide")
_ALIGNED = re.compile(r"\{(?:aligned|alignedat|split|gathered|gather\*?)\}")
_VALUE = re.compile(r"[\w.%+ -]*")
ELEMENTS = re.compile(
    "math|mrow|mi|mn|mo|ms|mtext|mspace|mfrac|msqrt|mroot|mstyle|msub|msup|msubsup|munder|mover|munderover|mtable|mtr|mtd|"
    "mpadded|mphantom|menclose|mmultiscripts|mprescripts|none"
)
CHILDREN = {
    **dict.fromkeys(("mfrac", "mroot", "msub", "msup", "munder", "mover"), 2), "msubsup": 3, "munderover": 3,
}  # fmt: skip
ATTRIBUTES = re.compile(
    "accent|accentunder|columnalign|columnlines|columnspacing|depth|display|displaystyle|fence|form|height|largeop|"
    "linethickness|lspace|mathvariant|maxsize|minsize|movablelimits|notation|rowlines|rowspacing|rspace|scriptlevel|"
    "separator|stretchy|symmetric|width"
)
# Control characters, lone surrogates, zero-width marks and direction overrides cannot be seen, and can make a page
# invalid or show its text in another order than it is written. The joiners U+200C and U+200D stay: Persian and emoji
# need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


class Html(str):
    """Text that is already safe markup, for Jinja too."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class MathElement(NamedTuple):
    """An element of a formula, of `ELEMENTS` with `ATTRIBUTES`: the text before its children, and that behind it."""

    tag: str
    attributes: Mapping[str, str]
    text: str
    children: Sequence[MathElement]
    tail: str


def visible(text: str) -> str:
    """Return the text with ``⟨U+0000⟩`` for each invisible character."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def escape(text: str) -> Html:
    """Return `text` as markup that shows exactly that text."""
    return Html(html.escape(visible(text), quote=True))


def with_formulas(text: str) -> Html:
    """Return `text` as markup with its formulas set: ``$…$``, ``$$…$$``, ``\\(…\\)`` and ``\\[…\\]``."""
    parts: list[str] = []
    end = 0
    for match, source, display in formulas_of(text):
        markup = mathml(source, display=display)
        if markup is not None:
            parts += [escape(text[end : match.start()]), markup]
            end = match.end()
    return Html("".join([*parts, escape(text[end:])]))


def formulas_of(text: str) -> Iterator[tuple[re.Match[str], str, str]]:
    """Yield the first `MOST` formulas of a text: where, the source, and whether it is set ``inline`` or as a ``block``."""
    for match in itertools.islice(_FORMULA.finditer(text), MOST):
        kind = str(match.lastgroup)
        source = match[kind]
        if kind != "dollar" or not _PROSE.search(_COMMAND.sub(" ", source)):
            yield match, source, "inline" if kind in ("dollar", "round") else "block"


@functools.lru_cache(maxsize=4096)
def mathml(latex: str, *, display: str = "inline") -> Html | None:
    """Return a formula as a ``<math>`` element with its source as annotation; ``None`` where it cannot be read."""
    tree = mathml_tree(latex, display=display)
    if tree is None:
        return None
    source = f'<annotation encoding="application/x-tex">{escape(latex)}</annotation>'
    inside = "".join(map(_markup, tree))
    return Html(f'<math display="{display}"><semantics>{inside}{source}</semantics></math>')


def mathml_tree(latex: str, *, display: str = "inline") -> list[MathElement] | None:
    """Return what is inside the ``<math>`` element of a formula; ``None`` where it cannot be read."""
    if len(latex) > LONGEST or not latex.strip() or _INVISIBLE.search(latex) or _MACRO.search(latex):
        return None
    try:
        tree = Converter(display=display).convert_to_element(_ALIGNED.sub("{align*}", latex))
        if sum(1 for _ in tree.iter()) > MOST_ELEMENTS:
            return None
        return [_checked(element) for element in tree]
    except Exception:
        # Of broken LaTeX it raises whatever it stumbles over, IndexError and RecursionError among it
        return None


def _checked(element: Element) -> MathElement:
    """Return an element with everything in it, if all of it is MathML; raises ValueError."""
    if not ELEMENTS.fullmatch(element.tag):
        raise ValueError(f"no element of a formula: {element.tag}")
    if len(element) != CHILDREN.get(element.tag, len(element)):
        raise ValueError(f"{element.tag} of {len(element)} parts")
    if re.search(r"\\|^&(amp;)?$", element.text or ""):
        raise ValueError(f"not understood: {element.text}")  # it stands in the tree as it was written
    attributes = {
        name: value
        for name, value in element.attrib.items()
        if ATTRIBUTES.fullmatch(name) and _VALUE.fullmatch(value)
    }
    text, tail = (_INVISIBLE.sub("", html.unescape(part or "")) for part in (element.text, element.tail))
    return MathElement(element.tag, attributes, text, [_checked(child) for child in element], tail)


def _markup(element: MathElement) -> str:
    """Return the markup of an element."""
    attributes = "".join(f' {name}="{value}"' for name, value in element.attributes.items())
    inside = escape(element.text) + "".join(map(_markup, element.children))
    return f"<{element.tag}{attributes}>{inside}</{element.tag}>{escape(element.tail)}"
