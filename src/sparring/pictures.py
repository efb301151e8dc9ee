"""SVG of a figure: the same bytes for the same figure, at any time and in any process."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def svg_of(figure: Figure) -> str:
    """Return a figure as SVG text, without the random ids and the date that matplotlib puts in by itself."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "sparring", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
