"""A world of short logical arguments whose every step is valid or a named fallacy, exactly.

A problem states premises; a solution draws one conclusion per step:

    If the lamp is red then the door is open. The lamp is red. All bakers are singers. Mia is a baker. What follows?
    Therefore, the door is open.
    Therefore, Mia is a singer.

Contract: everything is a pure function of a seed. Each step uses its own premises, whose clauses, nouns and names
occur nowhere else in the problem, so the validity of its form is its validity. `FORMS` lists, per form, the premises,
the valid conclusion, and conclusions that do not follow, by the name of the fallacy. Not here: reading and deciding
(`sparring.contrib.oracles.logic`), longer derivations.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sparring.traces.records import Problem, Trace

_THINGS, _STATES, _NOUNS = map(str.split, (
    "lamp door gate bell sign valve stove clock boat kite tank drum flag robot piano wagon",
    "red open loud wet cold new heavy broken clean dark warm small empty locked tall safe",
    "baker singer farmer pilot doctor artist tailor hunter writer sailor dancer painter miner teacher runner",
))  # fmt: skip
_PEOPLE = ["Mia", "Tom", "Ana", "Leo", "Eva", "Max", "Ida", "Ben", "Zoe", "Sam", "Lea", "Jon"]


@dataclass(frozen=True, slots=True)
class Form:
    """Premises and conclusions as templates over clauses p, q, r, nouns a, b, c and a name n (``{-p}`` is p denied)."""

    premises: tuple[str, ...]
    valid: str
    fallacies: tuple[tuple[str, str], ...]


FORMS: dict[str, Form] = {
    "modus_ponens": Form(("if {p} then {q}", "{p}"), "{q}", (("contradiction", "{-q}"),)),
    "modus_tollens": Form(("if {p} then {q}", "{-q}"), "{-p}", (("contradiction", "{p}"),)),
    "consequent_known": Form(("if {p} then {q}", "{q}"), "{p} or {q}", (("affirming_the_consequent", "{p}"),)),
    "antecedent_denied": Form(("if {p} then {q}", "{-p}"), "{-p} or {q}", (("denying_the_antecedent", "{-q}"),)),
    "chained": Form(("if {p} then {q}", "if {q} then {r}"), "if {p} then {r}",
                    (("converse", "if {r} then {p}"), ("inverse", "if {-p} then {-r}"))),
    "disjunctive": Form(("{p} or {q}", "{-p}"), "{q}", (("contradiction", "{-q}"),)),
    "disjunct_known": Form(("{p} or {q}", "{p}"), "{q} or {p}", (("affirming_a_disjunct", "{-q}"),)),
    "barbara": Form(("all {a}s are {b}s", "all {b}s are {c}s"), "all {a}s are {c}s",
                    (("illicit_conversion", "all {c}s are {a}s"), ("existential", "some {a}s are {c}s"))),
    "instance": Form(("all {a}s are {b}s", "{n} is a {a}"), "{n} is a {b}", (("contradiction", "{n} is not a {b}"),)),
    "middle": Form(("all {a}s are {b}s", "{n} is a {b}"), "some {b}s are {b}s",
                   (("undistributed_middle", "{n} is a {a}"),)),
    "celarent": Form(("no {b}s are {c}s", "all {a}s are {b}s"), "no {a}s are {c}s",
                     (("contradiction_of_kind", "some {a}s are {c}s"), ("illicit_conversion", "all {b}s are {a}s"))),
    "darii": Form(("all {b}s are {c}s", "some {a}s are {b}s"), "some {a}s are {c}s",
                  (("hasty_generalization", "all {a}s are {c}s"),)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Example:
    """A problem, its valid solution, and for every step the same step with a fallacy: (name of the fallacy, text)."""

    trace: Trace
    fallacies: tuple[tuple[tuple[str, str], ...], ...]


def generate(seed: int, length: int = 3) -> Example:
    """Return an example with `length` inferences, from 1 to 4.

    Raises:
        ValueError: the length is out of range.
    """
    if not 1 <= length <= 4:
        raise ValueError(f"from 1 to 4 inferences, not {length}")
    rng = random.Random(seed)
    pools = [rng.sample(pool, len(pool)) for pool in (_THINGS, _STATES, _NOUNS, _PEOPLE)]
    premises: list[str] = []
    steps: list[str] = []
    fallacies: list[tuple[tuple[str, str], ...]] = []
    for form in rng.choices(list(FORMS.values()), k=length):
        names = _names(pools)
        premises += [_sentence(text, names) for text in form.premises]
        steps.append("Therefore, " + _written(form.valid, names) + ".")
        fallacies.append(
            tuple((name, "Therefore, " + _written(text, names) + ".") for name, text in form.fallacies)
        )
    question = " ".join(premises) + " What follows?"
    problem = Problem(id=f"logic-{seed}", question=question, solution=tuple(steps))
    trace = Trace(problem, tuple(steps), labels=(1.0,) * length, outcome=True, source="logic")
    return Example(trace, tuple(fallacies))


def _names(pools: list[list[str]]) -> dict[str, str]:
    things, states, nouns, people = pools
    names: dict[str, str] = {}
    for letter in "pqr":
        thing, state = things.pop(), states.pop()
        names[letter], names["-" + letter] = f"the {thing} is {state}", f"the {thing} is not {state}"
    names.update({letter: nouns.pop() for letter in "abc"})
    names["n"] = people.pop()
    return names


def _written(template: str, names: dict[str, str]) -> str:
    for key, text in names.items():
        template = template.replace("{" + key + "}", text)
    return template


def _sentence(template: str, names: dict[str, str]) -> str:
    text = _written(template, names)
    return text[0].upper() + text[1:] + "."
