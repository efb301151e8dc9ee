"""The picture of a result for a README: best-of-N accuracy on both splits, and the attack on both PRMs.

Contract: one wide PNG from the same files and with the same drawing as the report, on a light ground. Not
here: reading the run (`run_files.py`), the drawing of bars and curves (`plots.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sparring.files import writing
from sparring.report.comparisons import SPLIT_NAMES, samples_per_problem
from sparring.report.contest import attack_curves, smoothing
from sparring.report.plots import PALETTE, RC, draw_bars, draw_curves, set_title
from sparring.report.run_files import DemoRun, read_demo_run
from sparring.report.solver import solver_bars

SIZE_INCHES = (15.0, 4.0)
DOTS_PER_INCH = 110


def write_result_picture(run_dir: Path, out_png: Path) -> Path:
    """Write the picture and return its path.

    Raises:
        SparringError: `metrics.json` is missing, a file is malformed, or the picture cannot be written.
    """
    run = read_demo_run(run_dir)
    with matplotlib.rc_context(RC):
        layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.12)
        figure = Figure(figsize=SIZE_INCHES, layout=layout, facecolor=PALETTE["paper"])
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.45))
        for axes, split in zip((left, middle), SPLIT_NAMES, strict=True):
            heading(axes, f"Best of {samples_per_problem(run)}: {SPLIT_NAMES[split]}")
            draw_bars(axes, [("", solver_bars(run, split))])
        draw_attack(right, run)
        with writing(out_png):
            figure.savefig(out_png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return out_png


def draw_attack(axes: Any, run: DemoRun) -> None:
    """Draw the fool rate of the fresh adversary against both PRMs, or say that it was not measured."""
    heading(axes, "Fool rate of a fresh adversary")
    curves = attack_curves(run)
    draw_curves(axes, curves, x_label="update of the adversary", window=smoothing(curves))
    if not curves:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, color=PALETTE["muted"])


def heading(axes: Any, title: str) -> None:
    """Set the title of one part, and its ground."""
    set_title(axes, title, legend_rows=1)
    axes.set_facecolor(PALETTE["paper"])
