"""The report of ``sparring demo``: one HTML file that loads nothing and needs no script.

Contract: reads a run directory (`run_files.py`), writes the page in one atomic move. The summary on top is
computed: its wording follows the intervals (`wording.py`) and counts findings for and against the APRM
alike. Not here: the sections themselves (`solver.py`, `contest.py`, `reading.py`, `method.py`).
"""

from __future__ import annotations

from pathlib import Path

from sparring.files import atomic_write_text
from sparring.report.comparisons import (
    SPLIT_NAMES,
    attack_comparison,
    error_comparison,
    samples_per_problem,
    solver_comparison,
    tone,
)
from sparring.report.contest import attack_section, cross_play_section, game_section
from sparring.report.method import method_section
from sparring.report.page import Html, card, cards, document, element, paragraph
from sparring.report.reading import reading_section
from sparring.report.run_files import DemoRun, read_demo_run
from sparring.report.solver import errors_section, solver_section
from sparring.report.wording import Comparison, both, duration, percent, plain, points, range_of_difference

TITLE = "Sparring: an adversarially trained process reward model"
CONTENTS = (
    ("solver", "Does it help the solver?"),
    ("errors", "Does it find errors?"),
    ("attack", "Can it be fooled?"),
    ("game", "The game over time"),
    ("cross-play", "Cross-play"),
    ("examples", "Examples"),
    ("method", "Method"),
)


def write_demo_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the report of a demo run and return its path: `out`, or `report.html` in the run directory.

    Raises:
        SparringError: `metrics.json` is missing, a file is malformed, or the page cannot be written.
    """
    path = run_dir / "report.html" if out is None else out
    page = demo_page(read_demo_run(run_dir))
    atomic_write_text(path, page)
    return path


def demo_page(run: DemoRun) -> str:
    """Return the whole page."""
    parts = (solver_section, errors_section, attack_section, game_section, cross_play_section)
    return document(
        TITLE,
        header(run),
        CONTENTS,
        [*(make(run) for make in parts), reading_section(run), method_section(run)],
    )


def header(run: DemoRun) -> Html:
    """Return title, result and key numbers."""
    about = [
        f"{name} {run.context[name]}" for name in ("seed", "commit") if run.context.get(name) is not None
    ]
    return element(
        "header",
        element("h1", "An adversarially trained process reward model"),
        paragraph(" · ".join(["Report of a Sparring demo run", *about]), class_="byline"),
        result(run),
        cards(key_numbers(run)),
    )


def compared(run: DemoRun) -> list[tuple[Comparison, bool]]:
    """Return the comparisons of APRM and rules PRM that were measured, each with whether more is better."""
    found = [(solver_comparison(run, split), True) for split in SPLIT_NAMES]
    found += [(error_comparison(run, split), True) for split in SPLIT_NAMES]
    found.append((attack_comparison(run), False))
    return [(comparison, better) for comparison, better in found if comparison.finding != "not measured"]


def balance(run: DemoRun) -> str:
    """Return how the comparisons of the two PRMs came out, counted."""
    tones = [tone(comparison, more_is_better=better) for comparison, better in compared(run)]
    if not tones:
        return "This run holds no comparison of the two PRMs, so it shows nothing about which is better."
    good, bad, none = (tones.count(name) for name in ("good", "bad", "none"))
    if max(good, bad) == len(tones):
        number = (
            f"All {good + bad} main comparisons speak" if len(tones) > 1 else "The one comparison made speaks"
        )
        return f"{number} {'for' if good else 'against'} the APRM."
    if not good and not bad:
        return f"None of the {len(tones)} main comparisons shows a difference between them."
    return (
        f"Of {len(tones)} main comparisons, {good} {speak(good)} for the APRM, {bad} {speak(bad)} against "
        f"it, and {none} {'shows' if none == 1 else 'show'} no difference."
    )


def against_vote(run: DemoRun) -> str:
    """Return whether the APRM beats a majority vote, which needs no training; nothing where not measured."""
    findings = {split: solver_comparison(run, split, "aprm", "majority").finding for split in SPLIT_NAMES}
    measured = [split for split, finding in findings.items() if finding != "not measured"]
    better = [split for split in measured if findings[split] == "more"]
    if not measured:
        return ""
    if better == measured:
        return " As a judge of solutions, the APRM also beats a plain majority vote."
    if better:
        return f" It beats a plain majority vote on {SPLIT_NAMES[better[0]]} only."
    return " It is not shown to beat a plain majority vote."


def speak(count: int) -> str:
    """Return the verb for a count of comparisons."""
    return "speaks" if count == 1 else "speak"


def result(run: DemoRun) -> Html:
    """Return the result of the run in one plain paragraph."""
    n = samples_per_problem(run)
    sentences = [
        "A process reward model (PRM) scores every step of a solution. This run trained two without human "
        "labels: the rules PRM on errors planted by fixed rules, and the APRM in a game against an "
        "adversary that learns to write errors it misses. ",
        element("b", f"{balance(run)}{against_vote(run)}"),
    ]
    for split, place in SPLIT_NAMES.items():
        main = solver_comparison(run, split)
        if main.finding != "not measured":
            words = both(main, "right with the APRM", "with the rules PRM")
            sentences.append(f" Best of {n} on {place}: {words} ({range_of_difference(main)}).")
    attack = attack_comparison(run)
    if attack.finding != "not measured":
        words = both(attack, "of its wrong steps accepted by the APRM", "by the rules PRM")
        sentences.append(f" Attacked by a fresh trained adversary: {words} ({range_of_difference(attack)}).")
    sentences.append(f" Ranges are 95\u202f% intervals of the difference. {reach(run)}")
    return paragraph(*sentences, class_="result")


def reach(run: DemoRun) -> str:
    """Return how far the result reaches: the intervals of one seed say nothing about other training runs."""
    seed = run.context.get("seed")
    if isinstance(seed, list) and len(seed) > 1:
        return f"The numbers cover {len(seed)} seeds."
    return (
        "This is one training run per PRM: the intervals cover the test cases, "
        "not the spread between training runs."
    )


def key_numbers(run: DemoRun) -> list[Html]:
    """Return the cards on top; a number that was not measured is left out."""
    n = samples_per_problem(run)
    found = [
        comparison_card(f"APRM best of {n}, {SPLIT_NAMES[split]}", solver_comparison(run, split), True)
        for split in SPLIT_NAMES
    ]
    found += [
        comparison_card(f"APRM step-error F1, {SPLIT_NAMES[split]}", error_comparison(run, split), True)
        for split in SPLIT_NAMES
    ]
    found.append(comparison_card("APRM exploitability (lower is better)", attack_comparison(run), False))
    labelled, seconds = (run.metrics.get(f"training.aprm.{name}") for name in ("labelled_steps", "seconds"))
    if labelled is not None:
        time = "" if seconds is None else f"; training took {duration(seconds.value)}"
        found.append(card("Steps labelled by the oracle", plain(labelled.value), f"0 by people{time}"))
    return [shown for shown in found if shown is not None]


def comparison_card(label: str, comparison: Comparison, more_is_better: bool) -> Html | None:
    """Return a card with the APRM's number beside the rules PRM's; ``None`` where it was not measured."""
    if comparison.first is None:
        return None
    notes = []
    if comparison.second is not None:
        notes.append(f"rules PRM {percent(comparison.second.value)}")
    if comparison.finding == "none shown":
        notes.append("no difference shown")
    elif comparison.difference is not None:
        notes.append(f"{points(comparison.difference.value)} points")
    if comparison.finding == "no interval":
        notes.append("no interval")
    return card(
        label,
        percent(comparison.first.value),
        "; ".join(notes),
        tone(comparison, more_is_better=more_is_better),
    )
