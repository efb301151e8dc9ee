"""The page of the claims, `claims.json` and `claims.md` of the results: computed from the published records alone.

Contract: the same records and claim files give the same bytes. The page has the findings in regions; `claims.md` has every
arm at every point. Pictures stand in `images/claims/` beside the page, one per claim and dial that was swept, and one over
all claims.

Not here: the verdicts (`harness.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from claims.harness import (
    FAILS,
    GAIN_OPEN,
    HOLDS,
    OPEN,
    VERDICTS,
    Claim,
    ClaimFile,
    Finding,
    Point,
    Records,
    Size,
    arm_values,
    measure_best,
    point_text,
)
from sparring.files import atomic_write_text, dumps
from sparring.pictures import svg_of
from sparring.report.plots import PALETTE, RC, set_title
from sparring.runs import Metric

COLOURS = [PALETTE[name] for name in ("aprm", "rules", "adversary", "oracle", "baseline", "ink")]
COLOURS += ["#b08a10", "#2a9d98", "#c44e6c"]
MARKS = "osD^vP"
CUT = (-2.0, 3.0)
"""Where the overview ends, in units of the aim."""
Measured = tuple[ClaimFile, Records, Size, Sequence[Finding]]


def measured(file: ClaimFile, records: Records) -> Measured:
    """Return a file with its findings at the size that its records speak of."""
    size, findings = measure_best(file, records)
    return file, records, size, findings


def rows(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the findings as `claims.json` holds them."""
    return [
        {
            "claim": one.claim.id,
            "sentence": one.claim.sentence,
            "aim": one.claim.aim.number,
            "unit": one.claim.aim.unit,
            "value": _rounded(one.gain.value),
            "low": _rounded(one.gain.low),
            "high": _rounded(one.gain.high),
            "seeds": one.gain.n or 0,
            "region": one.region,
            "point": one.point,
            "against": one.against,
            "missing": list(one.missing),
            "size": size,
            "verdict": one.verdict,
        }
        for _, _, size, findings in found
        for one in findings
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def write_json(found: Sequence[Measured], path: Path) -> None:
    """Write `claims.json`, one finding a line."""
    lines = ",\n".join(dumps(row) for row in rows(found))
    atomic_write_text(path, f'{{"claims": [\n{lines}\n]}}\n')


def write_page(found: Sequence[Measured], page: Path, images: Path, every_point: Path) -> None:
    """Write the page, its pictures and the table of every point; pictures that it no longer shows are removed."""
    pictures = {"overview.svg": overview(found)}
    for file, records, size, findings in found:
        for claim in file.claims:
            for dial in dials(claim, findings):
                drawn = dial_picture(file, records, size, claim, findings, dial)
                pictures[f"{claim.id}-{dial}.svg"] = drawn
        if shown := without_dials(file, records, size):
            pictures[f"{file.experiment.name}-arms.svg"] = arms_picture(file, shown)
    for name, text in pictures.items():
        atomic_write_text(images / name, text)
    for path in images.glob("*.svg"):
        if path.name not in pictures:
            path.unlink()
    atomic_write_text(page, markdown(found, images.relative_to(page.parent).as_posix()))
    atomic_write_text(every_point, points(found))


# --- text ----------------------------------------------------------------------------------------------------


HEAD = """\
# When the game and progress pay: claims and verdicts

`make claims-page` writes this page from the records in `benchmarks/results/claims/`. Every claim is a file in
`benchmarks/claims/` that states, before anything is run, what is run, what it is compared with and what was to be
reached (the aim); a claim that was put down later is named as such under what the numbers do not say. `make claims`
runs a reduced form of all claims, `FULL=1 make claims` everything ({hours} CPU hours); both go on where they were
stopped, and compare their verdicts with those below.

A gain is the difference (or ratio) to the strongest baseline at each point: of the baselines run there the one with
the best mean, which favours the baseline; where less is better it is turned round. It is paired by seed; intervals are
Student's at 95 % over seeds. The verdict follows from the interval and the aim alone, region by region; *does not hold
here* says that the aim is out of reach, not that ours is worse:

"""


def markdown(found: Sequence[Measured], images: str) -> str:
    """Return the page."""
    counts = Counter(one.verdict for _, _, _, findings in found for one in findings if one.point is None)
    verdicts = [[f"*{name}*", text, str(counts[name])] for name, text in VERDICTS.items()]
    parts = [
        HEAD.format(hours=round(full_hours(found))) + table(["verdict", "meaning", "findings"], verdicts)
    ]
    parts.append(
        f"![Every claim's gain between none and its aim]({images}/overview.svg)\n\n"
        "In the picture stand the claims whose aim is more than any gain at all; triangles lie beyond its edges. In the "
        "tables `1 of 2 points` says how many of a region's points have been run; *Reduced size* under one, that its "
        "records are those of `make claims`."
    )
    parts.append(luck(found))
    for one in found:
        parts += section(*one, images)
    return _joined(parts)


def full_hours(found: Sequence[Measured]) -> float:
    """Return the CPU hours that all runs of `FULL=1 make claims` are declared to take."""
    return sum(
        file.experiment.cost(cell, "full") / 60
        for file, *_ in found
        if file.experiment.lacks is None
        for cell in file.experiment.cells("full")
        if cell.arm not in file.experiment.retired
    )


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


def luck(found: Sequence[Measured]) -> str:
    """Return how many single points would gain by luck, and where they stand."""
    gains = [
        one for _, _, _, some in found for one in some if one.point is not None and one.gain.low is not None
    ]
    above = sum((one.gain.low or 0.0) > one.claim.aim.none for one in gains)
    return (
        "Regions were named before the runs, single points were not: of "
        f"{len(gains)} points with an interval {above} lie above no gain, where luck alone would lift about "
        f"{0.025 * len(gains):.0f}. [Every arm at every point](../benchmarks/results/claims.md)."
    )


def section(
    file: ClaimFile, records: Records, size: Size, findings: Sequence[Finding], images: str
) -> list[str]:
    """Return what stands under an experiment's heading."""
    experiment = file.experiment
    parts = [f"## {title(file)}"]
    if experiment.lacks is not None:
        never = (
            ""
            if records.found
            else " It has never been run on one: there is no record, and nothing is settled."
        )
        parts.append(f"Needs a GPU and is no part of `make claims`: `scripts/gpu_claims.sh` runs it.{never}")
    if experiment.expectation:
        parts.append(f"Written before the run: {experiment.expectation}")
    parts.append("\n".join(f"- *{name}*: {text}" for name, text in experiment.arms.items()))
    parts.append(summary(file, size, findings))
    pictures = [
        f"![{claim.id} along {dial.replace('_', ' ')}]({images}/{claim.id}-{dial}.svg)"
        for claim in file.claims
        for dial in dials(claim, findings)
    ]
    if without_dials(file, records, size):
        pictures.append(
            f"![Every arm of {title(file)}, mean and interval over seeds]({images}/{experiment.name}-arms.svg)"
        )
    if pictures:
        parts.append("<details><summary>Pictures</summary>\n\n" + "\n\n".join(pictures) + "\n\n</details>")
    if experiment.failed:
        parts.append("Tried and failed:\n\n" + "\n".join(f"- {text}" for text in experiment.failed))
    if experiment.caveats:
        parts.append(
            "What these numbers do not say:\n\n" + "\n".join(f"- {text}" for text in experiment.caveats)
        )
    return parts


def title(file: ClaimFile) -> str:
    """Return an experiment's heading."""
    return file.experiment.name.replace("_", " ").replace("-", " ").capitalize()


def summary(file: ClaimFile, size: Size, findings: Sequence[Finding]) -> str:
    """Return the table of an experiment's findings; a claim's sentence stands once, regions without records share a row."""
    lines: list[list[str]] = []
    for claim in file.claims:
        mine = [one for one in findings if one.claim is claim and one.point is None]
        nothing = [one for one in mine if one.gain.value is None]
        first = [
            claim.sentence,
            (f"{claim.ours} – {', '.join(claim.baselines)}" if claim.baselines else claim.ours)
            + (" (less is better)" if claim.lower_is_better else ""),
        ]
        for one in [one for one in mine if one.gain.value is not None] + nothing[:1]:
            regions = "; ".join(other.region for other in nothing) if one in nothing else one.region
            lacks = f" (without {', '.join(one.missing)})" if one.missing else ""
            gain, seeds = number(one.gain, claim), str(one.gain.n or 0)
            lines.append([first[0], first[1] + lacks, regions, _aim(claim), gain, seeds, f"*{one.verdict}*"])
            first = ["", ""]
    heads = ["claim", "arm – baselines", "where", "aim", "gain [95 % interval]", "seeds", "verdict"]
    return table(heads, lines) + ("\nReduced size." if size == "reduced" else "")


def points(found: Sequence[Measured]) -> str:
    """Return the page of every arm at every point that has records."""
    parts = [
        "# Claims: every point\n\nWritten by `make claims-page`. What is compared and how: [claims](../../docs/claims.md). "
        "Points without records are counted, not listed."
    ]
    for file, records, size, findings in found:
        parts.append(f"## {title(file)}")
        for claim in file.claims:
            mine = [one for one in findings if one.claim is claim]
            parts += [f"### {claim.sentence}", point_table(file, records, size, claim, mine)]
    return _joined(parts)


def point_table(
    file: ClaimFile, records: Records, size: Size, claim: Claim, findings: Sequence[Finding]
) -> str:
    """Return the values of every arm at every point that has records, and the gain."""
    points = [(one, one.point) for one in findings if one.point is not None]
    values = [arm_values(file.experiment, claim, records, size, point) for _, point in points]
    empty = sum(not row for row in values)
    arms = [arm for arm in file.experiment.arms if any(arm in row for row in values)]
    lines = []
    for (one, _), row in zip(points, values, strict=True):
        if not row:
            continue
        cells = ["–" if arm not in row else _short(row[arm].value) for arm in arms]
        gain = number(one.gain, claim)
        lines.append([one.region, *cells, one.against or "–", gain, str(one.gain.n or 0), f"*{one.verdict}*"])
    shown = table(["point", *arms, "strongest", "gain", "seeds", "verdict"], lines) if lines else ""
    return shown + (f"\nPoints without records: {empty}." if empty else "")


def _aim(claim: Claim) -> str:
    return f"{'> ' if claim.aim.number == claim.aim.none else '≥ '}{claim.aim.number:g} {claim.aim.unit}"


def number(gain: Metric, claim: Claim) -> str:
    """Return a gain with its interval, in three significant digits; a sign where it is a difference."""
    if gain.value is None:
        return "–"
    sign = "" if claim.ratio else "+"
    text = _short(gain.value, sign)
    if gain.low is None or gain.high is None:
        return text
    return f"{text} [{_short(gain.low, sign)}, {_short(gain.high, sign)}]"


def _short(value: float | None, sign: str = "") -> str:
    if value is None:
        return "–"
    size = abs(value)
    if size < 5e-5:
        return f"{0.0:{sign}.1f}"
    digits = 1 if size >= 10 else 2 if size >= 0.1 else 4
    return f"{value:{sign}.{digits}f}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    made = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    return "".join("| " + " | ".join(line) + " |\n" for line in made)


# --- pictures ------------------------------------------------------------------------------------------------


def dials(claim: Claim, findings: Sequence[Finding]) -> list[str]:
    """Return the dials and readings of a claim that are worth a picture: several numbers, or at least three words."""
    points = [one.point for one in findings if one.claim is claim and one.point is not None]
    if not any(one.gain.value is not None for one in findings if one.claim is claim):
        return []
    names = dict.fromkeys(name for point in points for name in point)
    values = {name: {repr(point.get(name)): point.get(name) for point in points} for name in names}
    return [
        name
        for name, found in values.items()
        if len(found) > (1 if all(isinstance(value, (int, float)) for value in found.values()) else 2)
    ]


def without_dials(file: ClaimFile, records: Records, size: Size) -> list[tuple[Claim, dict[str, Metric]]]:
    """Return, of an experiment without dials, every value of several arms with the first claim that reads it."""
    found: list[tuple[Claim, dict[str, Metric]]] = []
    if list(file.experiment.points_of(size)) != [{}]:
        return found
    for claim in file.claims:
        values = {} if claim.readings else arm_values(file.experiment, claim, records, size, {})
        if len(values) > 1 and values not in [others for _, others in found]:
            found.append((claim, values))
    return found


def arms_picture(file: ClaimFile, shown: Sequence[tuple[Claim, Mapping[str, Metric]]]) -> str:
    """Return a picture with a panel per value that claims read: every arm's mean and interval over seeds."""
    arms = [arm for arm in file.experiment.arms if any(arm in values for _, values in shown)]
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.0 + 3.1 * across, down * (1.0 + 0.3 * len(arms))), layout="constrained")
        panels = figure.subplots(down, across, sharey=True, squeeze=False)
        for axes, (claim, values) in zip(panels.flat, shown, strict=False):
            for height, arm in enumerate(arms):
                if (one := values.get(arm)) is None:
                    continue
                colour = PALETTE["aprm"] if arm == claim.ours else PALETTE["ink"]
                if one.low is not None and one.high is not None:
                    axes.plot([one.low, one.high], [height, height], color=colour, linewidth=1.5)
                axes.plot([one.value], [height], "o", color=colour, markersize=6)
            axes.set_yticks(range(len(arms)), arms)
            axes.set_ylim(len(arms) - 0.4, -0.6)
            axes.xaxis.grid(True, linewidth=0.8)
            set_title(axes, claim.id)
        for axes in list(panels.flat)[len(shown) :]:
            axes.set_axis_off()
        return svg_of(figure)


def overview(found: Sequence[Measured]) -> str:
    """Return a picture of every region's gain, scaled so that 0 is none and 1 the aim."""
    lines = [
        one
        for _, _, _, findings in found
        for one in findings
        if one.point is None and one.gain.value is not None and one.claim.aim.number > one.claim.aim.none
    ]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(10.0, 1.2 + 0.36 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        for height, one in enumerate(lines):
            centre, low, high = (_scaled(end, one) for end in (one.gain.value, one.gain.low, one.gain.high))
            if low is not None and high is not None:
                axes.plot([low, high], [height, height], color=PALETTE["ink"], linewidth=1.5)
            mark = "o" if centre not in CUT else "<" if centre == CUT[0] else ">"
            axes.plot([centre], [height], mark, color=_verdict_colour(one.verdict), markersize=7)
        for label, word in (
            ("holds", HOLDS),
            ("gain, below the aim or the aim open", GAIN_OPEN),
            ("does not hold here", FAILS),
            ("not settled", OPEN),
        ):
            axes.plot([], [], "o", color=_verdict_colour(word), markersize=7, label=label)
        figure.legend(ncols=4, frameon=False, fontsize=10, loc="outside upper right")
        axes.set_yticks(range(len(lines)), [f"{one.claim.id}: {one.region}" for one in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlim(-2.1, 3.1)
        axes.axvline(0.0, color=PALETTE["muted"], linewidth=1.0)
        axes.axvline(1.0, color=PALETTE["oracle"], linewidth=1.5, linestyle="--")
        axes.set_xticks([-2, -1, 0, 1, 2, 3], ["−2", "−1", "no gain", "aim", "2", "3"])
        axes.set_xlabel("gain in units of the aim (95 %, cut off at the edges)")
        return svg_of(figure)


def _scaled(end: float | None, one: Finding) -> float | None:
    if end is None:
        return None
    aim = one.claim.aim
    return min(max((end - aim.none) / (aim.number - aim.none), CUT[0]), CUT[1])


def _verdict_colour(word: str) -> str:
    if word.startswith("holds"):
        return PALETTE["oracle"]
    if word.startswith("gain"):
        return PALETTE["aprm"]
    return PALETTE["rules"] if word.startswith("does not") else PALETTE["baseline"]


def dial_picture(
    file: ClaimFile, records: Records, size: Size, claim: Claim, findings: Sequence[Finding], dial: str
) -> str:
    """Return a picture along one dial: the arms' values, the mean over the other dials, and the gain at every point."""
    mine = [one for one in findings if one.claim is claim and one.point is not None]
    places = list(dict.fromkeys(repr((one.point or {})[dial]) for one in mine if dial in (one.point or {})))
    shown = {repr(one.point[dial]): one.point[dial] for one in mine if one.point and dial in one.point}
    numeric = all(
        isinstance(shown[place], (int, float)) and not isinstance(shown[place], bool) for place in places
    )
    where = {place: float(shown[place]) if numeric else float(i) for i, place in enumerate(places)}
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(11.0, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        ticks = list(where.values())
        wide = numeric and min(ticks) > 0 and max(ticks) / min(ticks) > 15
        _draw_values(left, file, records, size, claim, mine, dial, where)
        set_title(left, "every arm")
        _draw_gains(right, claim, mine, dial, where, wide)
        set_title(right, f"gain of {claim.ours}, {claim.aim.unit}")
        for axes in (left, right):
            axes.set_xlabel(dial.replace("_", " "), color=PALETTE["muted"])
            if wide:
                axes.set_xscale("log")
                axes.minorticks_off()
            axes.set_xticks(ticks, [str(shown[place]) for place in places])
            axes.yaxis.grid(True, linewidth=0.8)
        return svg_of(figure)


def _draw_values(
    axes: Any,
    file: ClaimFile,
    records: Records,
    size: Size,
    claim: Claim,
    findings: Sequence[Finding],
    dial: str,
    where: Mapping[str, float],
) -> None:
    """Draw a line per arm, in colours those that the claim compares."""
    sums: dict[str, dict[str, list[float]]] = {}
    for one in findings:
        point: Point = one.point or {}
        for arm, found in arm_values(file.experiment, claim, records, size, point).items():
            if found.value is not None and dial in point:
                sums.setdefault(arm, {}).setdefault(repr(point[dial]), []).append(found.value)
    ends = []
    for index, (arm, values) in enumerate(sums.items()):
        line = sorted((where[place], sum(some) / len(some)) for place, some in values.items())
        colour = PALETTE["muted"]
        if arm == claim.ours:
            colour = PALETTE["aprm"]
        elif arm in claim.baselines:
            colour = COLOURS[1 + list(claim.baselines).index(arm) % (len(COLOURS) - 1)]
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            f"{MARKS[index % len(MARKS)]}-",
            color=colour,
            linewidth=2.5 if arm == claim.ours else 1.5 if arm in claim.baselines else 0.8,
            markersize=5 if arm in (claim.ours, *claim.baselines) else 3,
        )
        ends.append((arm, colour, *line[-1]))
    _name_ends(axes, ends)


_LABEL = 0.052
"""Height of a line's name as a share of the picture's."""


def _name_ends(axes: Any, ends: Sequence[tuple[str, str, float, float]]) -> None:
    """Write every line's name beside its end (name, colour, x, y), none over another."""
    axes.margins(y=0.08)
    axes.autoscale_view()
    named = sorted(ends, key=lambda end: end[3])
    places = axes.transData.transform([(x, y) for _, _, x, y in named])
    heights = [float(height) for _, height in axes.transAxes.inverted().transform(places)]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + _LABEL)
    top = max(1.0, len(heights) * _LABEL)
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], top)
        top = heights[index] - _LABEL
    for (name, colour, x, y), height in zip(named, heights, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.06, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "relpos": (0.0, 0.5)},
        )


def _draw_gains(
    axes: Any, claim: Claim, findings: Sequence[Finding], dial: str, where: Mapping[str, float], wide: bool
) -> None:
    """Draw a line per setting of the other dials, side by side.

    Args:
        axes: to draw on.
        claim: whose gains.
        findings: of its points.
        dial: along the axis.
        where: place on the axis of each of the dial's values.
        wide: the axis is logarithmic.
    """
    axes.axhline(claim.aim.none, color=PALETTE["muted"], linewidth=1.0)
    axes.axhline(claim.aim.number, color=PALETTE["oracle"], linewidth=1.5, linestyle="--")
    lines: dict[str, list[tuple[float, Metric]]] = {}
    for one in findings:
        point = one.point or {}
        if dial in point and one.gain.value is not None:
            rest = point_text({name: value for name, value in point.items() if name != dial})
            lines.setdefault(rest, []).append((where[repr(point[dial])], one.gain))
    places = sorted(where.values())
    narrow = 0.012 * (places[-1] - places[0])
    ends = []
    for index, (rest, gains) in enumerate(lines.items()):
        gains.sort(key=lambda pair: pair[0])
        aside = index - (len(lines) - 1) / 2  # intervals beside, not on, each other
        values = [gain.value or 0.0 for _, gain in gains]
        below = [
            value - (value if gain.low is None else gain.low)
            for value, (_, gain) in zip(values, gains, strict=True)
        ]
        above = [
            (value if gain.high is None else gain.high) - value
            for value, (_, gain) in zip(values, gains, strict=True)
        ]
        drawn = [x * 1.03**aside if wide else x + narrow * aside for x, _ in gains]
        axes.errorbar(
            drawn,
            values,
            [below, above],
            fmt=f"{MARKS[index % len(MARKS)]}-",
            color=COLOURS[index % len(COLOURS)],
            markersize=5,
            capsize=3,
        )
        ends.append((rest, COLOURS[index % len(COLOURS)], drawn[-1], values[-1]))
    if claim.ratio:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    if len(lines) > 1:
        _name_ends(axes, ends)
