"""Section 6 of the demo report: adversarial steps and solver solutions to read, with coloured scores.

Contract: what is shown is spread evenly over the file, in its order, whatever the scores; the section says
how many there are, and that the file itself is a choice, not a sample. All text is untrusted. Not here: the
building blocks (`page.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparring.report.comparisons import ATTACKERS, METHOD_NAMES, SPLIT_NAMES, capital
from sparring.report.page import (
    Html,
    details,
    element,
    evenly,
    missing,
    paragraph,
    score_legend,
    score_mark,
    section,
    shortened,
    step,
)
from sparring.report.run_files import METHODS, DemoRun, Example, Solution

SHOWN_EXAMPLES = {"trained": 6, "frozen": 3, "rules": 3}
OTHER_ADVERSARY_EXAMPLES = 3
SHOWN_SOLUTIONS = 6


def reading_section(run: DemoRun) -> Html:
    """Return section 6."""
    return section(
        "examples",
        "6. Examples",
        score_legend(),
        element("h3", "What the adversaries wrote"),
        *adversarial_part(run.examples),
        element("h3", "What the solver wrote"),
        *solver_part(run.solutions),
    )


def adversarial_part(examples: Sequence[Example] | None) -> list[Html]:
    """Return the adversarial steps, grouped by adversary."""
    if not examples:
        return [missing("adversarial steps", "examples.jsonl")]
    parts = [
        paragraph(
            "Each adversary was given the problem, the steps before, and a correct step, and wrote the step "
            "with the frame. The PRMs never see the correct step. They score the written one; the oracle "
            "judges it. The run chose which steps to keep, often those that fooled a PRM: they are there to "
            "be read, not to be counted. The rates are in section 3."
        )
    ]
    known = [
        *SHOWN_EXAMPLES,
        *dict.fromkeys(e.adversary for e in examples if e.adversary not in SHOWN_EXAMPLES),
    ]
    for adversary in known:
        own = [example for example in examples if example.adversary == adversary]
        if not own:
            continue
        some = evenly(own, SHOWN_EXAMPLES.get(adversary, OTHER_ADVERSARY_EXAMPLES))
        name = capital(ATTACKERS.get(adversary, adversary))
        blocks = [adversarial_example(example) for example in some]
        parts.append(details(f"{name}: {len(some)} of {len(own)} examples", *blocks))
    return [parts[0], opened(parts[1]), *parts[2:]]


def adversarial_example(example: Example) -> Html:
    """Return one adversarial step in its place."""
    because = ": ".join(part for part in (example.reason, example.detail) if part)
    marks = [truth_mark(example.truth), *score_marks(example.scores)]
    return element(
        "div",
        paragraph(shortened(example.question), class_="question"),
        *(step(text, kind="context", label="given step") for text in example.prefix),
        step(example.step, kind="context", label="correct step"),
        step(example.perturbed, *marks, kind="judged", label="adversary wrote"),
        paragraph("Oracle: ", shortened(because) if because else "no reason given", class_="small"),
        class_="example",
    )


def solver_part(solutions: Sequence[Solution] | None) -> list[Html]:
    """Return solutions of the solver with every step scored."""
    if not solutions:
        return [missing("solutions of the solver", "solutions.jsonl")]
    some = evenly(solutions, SHOWN_SOLUTIONS)
    note = f"{len(some)} of {len(solutions)} solutions, evenly spaced over the file."
    return [paragraph(note), *(solver_solution(solution) for solution in some)]


def solver_solution(solution: Solution) -> Html:
    """Return one solution, step by step."""
    outcome = {True: "right answer", False: "wrong answer", None: "answer not judged"}[solution.outcome]
    origin = SPLIT_NAMES.get(solution.split, solution.split)
    rows = [
        step(
            text,
            truth_mark(truth),
            *score_marks({name: row[index] for name, row in solution.scores.items()}),
            label=f"step {index + 1}",
        )
        for index, (text, truth) in enumerate(zip(solution.steps, solution.truths, strict=True))
    ]
    return element(
        "div",
        paragraph(shortened(solution.question), class_="question"),
        *rows,
        paragraph(", ".join(part for part in (outcome, origin) if part), class_="small"),
        class_="example",
    )


def truth_mark(truth: str) -> Html:
    """Return the oracle's word on a step."""
    kind = truth if truth in ("correct", "wrong") else "other"
    return element("span", "oracle ", element("b", truth), class_=f"truth {kind}")


def score_marks(scores: Mapping[str, float | None]) -> list[Html]:
    """Return the marks of both PRMs in their usual order, then those of any other scorer."""
    names = [*(name for name in METHODS if name in scores), *(name for name in scores if name not in METHODS)]
    return [score_mark(METHOD_NAMES.get(name, name), scores[name]) for name in names]


def opened(folded: Html) -> Html:
    """Return a folded part, unfolded."""
    return Html(folded.replace("<details>", '<details open="open">', 1))
