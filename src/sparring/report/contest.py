"""Sections 3 to 5 of the demo report: attacks on the frozen PRMs, the game over time, cross-play.

Contract: made from a `DemoRun`; where a part is absent the section says what is missing, and every plot has
its numbers in a table behind it. Not here: what the PRMs do for the solver (`solver.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sparring.report.comparisons import (
    ATTACKERS,
    INTERVALS,
    METHOD_NAMES,
    METHOD_ROLES,
    attack_comparison,
    bar,
    capital,
    finding,
    has,
)
from sparring.report.page import Html, details, element, figure, missing, paragraph, section, table
from sparring.report.plots import Curve, bar_panel, curve_panel
from sparring.report.run_files import METHODS, CrossPlay, DemoRun, Record
from sparring.report.wording import both, compare, percent, plain, share_with_interval, verdict

TABLE_ROWS = 12
# One entry per panel: heading, then (field, label, colour role, dashes) of every curve.
GAME_CURVES = (
    (
        "Accuracy of the PRM",
        (
            ("prm_accuracy_clean", "untouched steps", "aprm", "-"),
            ("prm_accuracy_fresh", "fresh attempts", "adversary", "-"),
            ("prm_accuracy_replayed", "replayed errors", "baseline", "--"),
        ),
    ),
    (
        "What else the attempts came to",
        (
            ("caught", "caught", "aprm", "-"),
            ("failed", "failed: still correct", "rules", "--"),
            ("undecided", "undecided", "baseline", ":"),
            ("malformed", "malformed", "oracle", "-."),
        ),
    ),
    (
        "KL from the reference",
        (("prm_kl", "PRM", "aprm", "-"), ("adversary_kl", "adversary", "adversary", "--")),
    ),
    (
        "Entropy",
        (("prm_entropy", "PRM", "aprm", "-"), ("adversary_entropy", "adversary", "adversary", "--")),
    ),
    (
        "Gradient norm",
        (
            ("prm_gradient_norm", "PRM", "aprm", "-"),
            ("adversary_gradient_norm", "adversary", "adversary", "--"),
        ),
    ),
)
UNBOUNDED = ("KL", "Entropy", "Gradient")


def attack_section(run: DemoRun) -> Html:
    """Return section 3: how often do three kinds of adversary fool each PRM?"""
    title = "3. Can it be fooled?"
    if not has(run, "attack.") and not any(run.attacks.values()):
        return section("attack", title, missing("attacks", "metrics.json, attack.*; attack_*.jsonl"))
    main, budget = attack_comparison(run), attack_budget(run)
    words = f"fool rate {both(main, 'against the APRM', 'against the rules PRM')}: {verdict(main)}."
    groups = [
        (
            capital(label),
            [
                bar(run.metrics, f"attack.{m}.{attacker}.fool_rate", METHOD_NAMES[m], METHOD_ROLES[m])
                for m in METHODS
            ],
        )
        for attacker, label in ATTACKERS.items()
    ]
    rows = [
        (label, *(share_with_interval(run.metrics.get(f"attack.{m}.{attacker}.fool_rate")) for m in METHODS))
        for attacker, label in ATTACKERS.items()
    ]
    panels = [bar_panel("attack-rates", "Fool rate by attacker (lower is better)", groups)]
    curves = attack_curves(run)
    window = smoothing(curves)
    if curves:
        panels.append(
            curve_panel("attack-curves", "A fresh adversary learns", curves, x_label="update", window=window)
        )
    tables = [
        curve_table(f"Attack on the {METHOD_NAMES[m]}", run.attacks[m] or [], fields(run.attacks[m] or []))
        for m in METHODS
        if run.attacks[m]
    ]
    absent = [
        missing(f"the curve of the attack on the {METHOD_NAMES[m]}", f"attack_{m}.jsonl")
        for m in METHODS
        if not run.attacks[m]
    ]
    return section(
        "attack",
        title,
        paragraph(
            "Both PRMs are frozen and attacked: by fixed rules, by a generator that was never trained to "
            "attack, and by a fresh adversary trained against this very PRM. The last one measures "
            "exploitability. It is a lower bound: a longer or better attack may find more."
        ),
        finding(main, element("b", "The fresh trained adversary: "), words, more_is_better=False),
        *(paragraph(text, class_="finding bad") for text in attack_cautions(run)),
        *([paragraph(f"Budget of the fresh adversaries: {budget}.", class_="small")] if budget else []),
        figure(
            f"Bars: fool rates after the attack. {INTERVALS} Curves: fool rate while the fresh adversary "
            f"learns{smoothing_note(window)}; these curves have no intervals.",
            panels,
            *absent,
            details(
                "The numbers behind the plots",
                table(
                    "Fool rate (95\u202f% interval)", ["attacker", *(METHOD_NAMES[m] for m in METHODS)], rows
                ),
                *tables,
            ),
        ),
    )


def attack_curves(run: DemoRun) -> list[Curve]:
    """Return the fool rate of the fresh adversary over its updates, for every PRM that was attacked."""
    return [
        Curve(f"against the {METHOD_NAMES[m]}", METHOD_ROLES[m], points_of(records, "fool_rate"))
        for m in METHODS
        if (records := run.attacks[m])
    ]


def attack_budget(run: DemoRun) -> str:
    """Return the budget of the fresh adversaries in words, or an empty text where no curve was kept."""
    parts = []
    for m in METHODS:
        if records := run.attacks[m]:
            last = records[-1]
            labelled = last.get("labelled_steps")
            steps = "" if labelled is None else f" ({plain(labelled)} labelled steps)"
            parts.append(f"up to update {plain(last['update'])}{steps} against the {METHOD_NAMES[m]}")
    return "; ".join(parts)


def attack_cautions(run: DemoRun) -> list[str]:
    """Return what makes the fool rates weaker evidence than they look: attackers that did not work."""
    cautions = []
    for m in METHODS:
        failed = [record.get("failed") for record in (run.attacks[m] or [])[-10:]]
        known = [share for share in failed if share is not None and share <= 1]
        if known and sum(known) / len(known) > 0.5:
            cautions.append(
                f"Caution: at the end of the attack on the {METHOD_NAMES[m]}, "
                f"{percent(sum(known) / len(known))} of the attempts were steps that are still correct. A "
                "low fool rate may then show a weak attacker."
            )
        learned = compare(run.metrics, f"attack.{m}.trained.fool_rate", f"attack.{m}.frozen.fool_rate")
        if learned.finding == "less":
            cautions.append(
                f"Caution: against the {METHOD_NAMES[m]} the trained adversary fooled less than the "
                f"untrained one ({verdict(learned)}), so its training did not work and exploitability is "
                "underestimated."
            )
    return cautions


def game_section(run: DemoRun) -> Html:
    """Return section 4: the training of both PRMs, update by update."""
    title = "4. The game over time"
    notes = [
        missing(f"the training log of the {METHOD_NAMES[m]}", f"{m}/log.jsonl")
        for m in METHODS
        if not run.logs[m]
    ]
    if len(notes) == len(METHODS):
        return section("game", title, *notes)
    shown = "aprm" if run.logs["aprm"] else "rules_prm"
    records = run.logs[shown] or []
    rates = [
        curve
        for m in METHODS
        for curve in curves_of(run.logs[m], [("fool_rate", METHOD_NAMES[m], METHOD_ROLES[m], "-")])
    ]
    window = smoothing([Curve("", "ink", points_of(log or [], "update")) for log in run.logs.values()])
    panels = [game_panel("game-fooled", "Fool rate during training", rates, window)]
    for index, (heading, series) in enumerate(GAME_CURVES):
        name = heading.replace("PRM", METHOD_NAMES[shown])
        panels.append(game_panel(f"game-{index}", name, curves_of(records, series), window))
    drawn = [panel for panel in panels if panel is not None]
    tables = [
        curve_table(f"Training of the {METHOD_NAMES[m]}", logged, fields(logged))
        for m in METHODS
        if (logged := run.logs[m])
    ]
    more = [details("More curves", element("div", *drawn[4:], class_="panels"))] if drawn[4:] else []
    return section(
        "game",
        title,
        paragraph(
            "While the APRM trains, the adversary learns too: a flat fool rate need not mean that nothing is "
            "learned. Accuracy on untouched steps shows whether the PRM still accepts correct work; replayed "
            "errors of earlier adversaries show whether it forgets."
        ),
        *notes,
        figure(
            f"Training, per update{smoothing_note(window)}. Not finite or missing values are left out.",
            drawn[:4],
            *more,
            details("The numbers behind the plots", *tables),
        ),
    )


def curves_of(records: Sequence[Record] | None, series: Sequence[tuple[str, str, str, str]]) -> list[Curve]:
    """Return the curves of those fields that hold a number; `series` lists (field, label, role, dashes)."""
    return [
        Curve(label, role, points_of(records or [], field), dashes)
        for field, label, role, dashes in series
        if has_values(records, field)
    ]


def game_panel(name: str, title: str, curves: Sequence[Curve], window: int) -> Html | None:
    """Return a panel over the updates, or ``None`` where there is no curve to draw."""
    if not curves:
        return None
    shares = all(0 <= y <= 1 for curve in curves for _, y in curve.points if y is not None)
    shares = shares and not title.startswith(UNBOUNDED)
    return curve_panel(name, title, curves, x_label="update", shares=shares, window=window)


def cross_play_section(run: DemoRun) -> Html:
    """Return section 5: every saved PRM against every saved adversary."""
    title = "5. Cross-play"
    matrix = run.cross_play
    if matrix is None or not matrix.prm_updates or not matrix.adversary_updates:
        return section("cross-play", title, missing("the cross-play matrix", "cross_play.json"))
    cells = "" if matrix.n is None else f" Every cell has {plain(matrix.n)} attempts."
    return section(
        "cross-play",
        title,
        paragraph(
            "Fool rate in per cent of the adversary saved at an update (columns) against the PRM saved at "
            "an update (rows). Read down a column: a PRM that keeps what it learned is fooled less and "
            "less by an old adversary. Read along a row: adversaries that learn fool an old PRM more and "
            f"more.{cells}"
        ),
        heat_map(matrix),
    )


def heat_map(matrix: CrossPlay) -> Html:
    """Return the matrix as a table with coloured cells: plot and numbers in one."""
    head = element(
        "tr",
        element("td"),
        *(element("th", plain(update), scope="col") for update in matrix.adversary_updates),
    )
    rows = []
    for update, rates in zip(matrix.prm_updates, matrix.fool_rate, strict=True):
        cells = [
            element("td", "–")
            if rate is None
            else element("td", f"{100 * rate:.0f}", style=f"--share: {rate:.3f}")
            for rate in rates
        ]
        rows.append(element("tr", element("th", plain(update), scope="row"), *cells))
    caption = "Fool rate in per cent; rows: update of the PRM, columns: update of the adversary"
    whole = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *rows), class_="heat"
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def has_values(records: Sequence[Record] | None, field: str) -> bool:
    """Return whether any record has a number in the field."""
    return any(record.get(field) is not None for record in records or ())


def points_of(records: Sequence[Record], field: str) -> list[tuple[float, float | None]]:
    """Return (update, value) of a field over the records."""
    return [(record["update"], record.get(field)) for record in records]


def fields(records: Sequence[Record]) -> list[str]:
    """Return the fields that hold a number anywhere, `update` first, in the order of their first record."""
    names = dict.fromkeys(name for record in records for name, value in record.items() if value is not None)
    return ["update", *(name for name in names if name != "update")]


def curve_table(caption: str, records: Sequence[Record], names: Sequence[str]) -> Html:
    """Return evenly spaced records of a curve, the last one among them."""
    some = spread(records, TABLE_ROWS)
    rows = [[plain(record.get(name)) for name in names] for record in some]
    shown = "" if len(some) == len(records) else f": {len(some)} of {len(records)} updates, evenly spaced"
    return table(f"{caption}{shown}", [name.replace("_", " ") for name in names], rows)


def spread(records: Sequence[Record], most: int) -> list[Record]:
    """Return at most `most` records, evenly spaced, the first and the last among them."""
    if len(records) <= most:
        return list(records)
    return [records[round(index * (len(records) - 1) / (most - 1))] for index in range(most)]


def smoothing(curves: Sequence[Curve]) -> int:
    """Return the width of the moving mean: odd, about a fifteenth of the longest curve, 1 = none."""
    longest = max((len(curve.points) for curve in curves), default=0)
    return 1 if longest < 15 else 2 * (longest // 30) + 1


def smoothing_note(window: int) -> str:
    """Return how the lines were smoothed, in words."""
    return "" if window == 1 else f" (dots: raw values; lines: mean over {window} neighbouring records)"
