"""The ledger world: word problems in ordinary English whose every step can be judged exactly.

    Mia buys 3 apples for 40 cents each . She buys 2 dozen eggs . Each egg costs 10 cents . Tom is 9 years old . Mia gets 20
    percent off . How much does Mia pay in the end ?

    Mia pays 3 * 40 = 120 cents for the apples .
    In single pieces , Mia buys 2 * 12 = 24 eggs .
    The eggs cost Mia 24 * 10 = 2 dollars and 40 cents .
    For all goods Mia pays 120 + 240 = 360 cents .
    Mia saves 360 * 20 / 100 = 72 cents .
    In the end Mia pays 360 - 72 = 288 cents .

A problem is a graph of named quantities (`story`); a step states one of them, with a calculation and a result, in
one of a hundred sentence forms (`sentences`). A step is correct if its sentence means a quantity of the problem, its
calculation is that quantity's formula with what is known so far, and its result is right in the unit that it names; swapped
operands, `1.20 dollars` for `120 cents`, two steps in one and a useless true quantity are right too. It is undecided
where its sentence is not known (`unmapped`) or usually said in other words (`other_words`), where it reaches a true result
from known numbers by a way that the oracle does not know (`other_way`), or rests on a step that was not understood
(`after_undecided`). Anything else is wrong, also a true result from numbers that are neither given nor stated. The rules
(`mistakes`) know fourteen kinds; what none of them lists is `wrong_calculation` or `invented`.

In this order: dials; problems; the author of a policy's training text; the verdict; rules; outcomes.

Contract: that of `World`. Values are judged against the problem, so a step on an earlier mistake is wrong as well.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ledger_world.mistakes import (
    CALCULATION_KINDS,
    name_of,
    other_units,
    roundings,
    slips,
    writable,
    wrong_calculations,
)
from ledger_world.sentences import (
    ACT_TABLE,
    COLOURS,
    COUNTED,
    FORM_SETS,
    IDLE,
    LARGER,
    PEOPLE,
    ROLE_TABLE,
    SINGULAR,
    WEIGHED,
    Act,
    Form,
    vocabulary,
)
from ledger_world.story import (
    Amount,
    Claim,
    Number,
    Quantity,
    Statement,
    Story,
    Style,
    Tree,
    Values,
    canonical,
    evaluate,
    exact,
    filled,
    formula_tree,
    in_smallest,
    leaves,
    mixed,
    read_question,
    read_step,
    right_calculations,
    rounded,
)
from sparring.traces.records import Problem
from sparring.traces.verdict import Truth, Verdict
from sparring.worlds.world import world_name

KINDS = (
    "arithmetic",
    "wrong_operation",
    "wrong_quantity",
    "off_by_one",
    "wrong_unit",
    "missing_part",
    "unconverted",
    "wrong_percent",
    "rounding",
    "distractor",
    "double_counting",
    "missing_condition",
    "wrong_reference",
    "skipped_step",
)
"""Kinds of mistakes that the rules make, the first that come to a rule-writer's mind first."""

_PLOTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Each chapter of a plot: acts of which one is told. "-" is none, "+" stands for going on buying.
    "shop": (
        ("each", "dozen", "kilo", "grams", "only", "others"),
        ("+",),
        ("-", "coupon", "percent", "fee"),
        ("-", "-", "weekly"),
        ("-", "pays", "share", "more", "less", "twice"),
    ),
    "work": (("shift",), ("wage",), ("-", "gift", "spend"), ("-", "goal")),
    "shifts": (("minutes",), ("-", "pause"), ("-", "limit")),
    "stock": (
        ("boxes",),
        ("-", "loose"),
        ("-", "broken"),
        ("-", "gives"),
        ("-", "times", "sells", "bags", "full", "children"),
    ),
    "kitchen": (("cakes",), ("-", "flour"), ("-", "loaves")),
    "run": (("laps",), ("-", "pause"), ("-", "daily"), ("-", "limit")),
}
_CONVERTING = frozenset(("dozen", "grams", "minutes", "flour", "limit", "pays"))
_NEEDED_BEFORE = {"loaves": "flour"}
_MOST_DRAWS, _DRAWS_OF_A_PLOT = 20_000, 100


@dataclass(frozen=True)
class Ledger:
    """The ledger world with its dials set. Implements `sparring.worlds.world.World`."""

    steps: tuple[int, int] = (2, 4)
    """Fewest and most steps of a reference solution."""
    forms: str = "a"
    """Sets of sentence forms, some of `a`, `b` and `c`: a problem and its solution are told in one of them."""
    distractors: int = 1
    """Facts that do not matter: at most so many."""
    units: bool = True
    """Whether there are dozens, and units to convert."""
    size: int = 3
    """How large numbers get, and so how many calculations there are: 1 (the lowest third of each range) to 3."""
    habits: float = 0.15
    """Share of kinds of quantity that the author of a policy's training text often gets wrong in one certain way."""
    habit_rate: float = 0.7
    """How often the author gets them wrong."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps[0] <= self.steps[1] <= 8:
            raise ValueError(f"a ledger problem has 1 to 8 steps, got {self.steps[0]} to {self.steps[1]}")
        if not self.forms or len(set(self.forms)) < len(self.forms) or not set(self.forms) <= set(FORM_SETS):
            raise ValueError(f"forms are some of {', '.join(FORM_SETS)}, such as 'ab', got {self.forms!r}")
        if not 1 <= self.size <= 3:
            raise ValueError(f"the size of a ledger problem's numbers is 1, 2 or 3, got {self.size}")
        if not 0 <= self.habits <= 1 or not 0 <= self.habit_rate <= 1:
            raise ValueError("habits and habit_rate are shares")
        if not 0 <= self.distractors <= 4:
            raise ValueError(f"a ledger problem has 0 to 4 distractors, got {self.distractors}")

    @property
    def name(self) -> str:
        """Return the world's name and every dial that is not at its default."""
        return world_name("ledger", self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of mistakes that the rules can make."""
        return KINDS

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Return every word by its part of speech."""
        return vocabulary()

    # --- problems ------------------------------------------------------------------------------------------------

    def problem(self, rng: random.Random, identifier: str) -> Problem:
        """Return a random problem with its answer and reference solution."""
        plots = [one for one, chapters in _PLOTS.items() if self.units or not set(chapters[0]) <= _CONVERTING]
        plots += ["shop"] * 2  # the richest
        plot, forms = rng.choice(plots), rng.choice(self.forms)
        for draw in range(1, _MOST_DRAWS):
            if draw % _DRAWS_OF_A_PLOT == 0:
                plot = rng.choice(plots)
            told = self._draw_story(plot, forms, rng)
            if told is None:
                continue
            question = " ".join(told)
            story = read_question(question)
            asked = story.quantities[story.asked]
            solution = self._solution(story, rng, forms)
            return Problem(
                identifier, question, str(Amount(((asked.value, asked.unit),))), solution, {"forms": forms}
            )
        raise ValueError(f"no problem found with {self.name}")

    def _draw_story(self, plot: str, forms: str, rng: random.Random) -> list[str] | None:
        """Return the sentences of a random problem, or None where the draw does not come out well."""
        person, other, stranger = rng.sample(list(PEOPLE), 3)
        acts = self._draw_plot(plot, rng)
        made = [role for name in acts for role, _, _ in ACT_TABLE[name].follows]
        planned = len(made) + (made.count("cost") > 1)
        if not self.steps[0] <= planned <= self.steps[1] + (made[-1] in ("both", "all")):
            return None
        facts: list[tuple[Act, dict[str, str]]] = []
        story, used = Story(), set[str]()
        goods = rng.choice(list(COUNTED))
        for name in acts:
            act = ACT_TABLE[name]
            if plot == "shop":
                goods = rng.choice([one for one in COUNTED if one not in used])
            mass = rng.choice([one for one in WEIGHED if one not in used] or [""])
            fixed = {"P": person, "Q": other, "G": goods, "W": mass, "K": rng.choice(COLOURS)}
            fixed = {slot: value for slot, value in fixed.items() if slot in act.slots}
            if (slots := _draw_numbers(story, act, fixed, self.size, rng)) is None:
                return None
            used |= {slots.get("W", slots.get("G", ""))}
            facts.append((act, slots))
        asked = story.quantities[story.current(person)]
        if not writable(asked.value):
            return None
        if acts[-1] in ("more", "less", "twice", "times") and rng.random() < 0.4:
            asked = next(one for one in story.quantities.values() if one.role in ("theirs", "many"))
        if not self.steps[0] <= len(story.needed(asked.name)) <= self.steps[1]:
            return None
        for _ in range(rng.randint(0, self.distractors)):
            idle = self._draw_distractor(plot, person, stranger, used | {goods}, rng)
            alike = [slots for act, slots in facts if act is idle[0]]
            if all(idle[0].name == "each" and slots["P"] == person for slots in alike):
                facts.insert(rng.randint(0, len(facts)), idle)
        return [
            *_tell(facts, forms, rng),
            *_filled_form(rng.choice(ROLE_TABLE[asked.role].asks), asked.slots),
        ]

    def _draw_plot(self, plot: str, rng: random.Random) -> list[str]:
        acts: list[str] = []
        for chapter in _PLOTS[plot]:
            allowed = [one for one in chapter if self.units or one not in _CONVERTING]
            if chapter == ("+",):
                first = [one for one in _PLOTS[plot][0] if self.units or one not in _CONVERTING]
                acts += [rng.choice(first) for _ in range(rng.choice((0, 1, 1, 2)))]
                continue
            act = rng.choice(allowed or ["-"])
            if act != "-" and _NEEDED_BEFORE.get(act) in (None, *acts[-1:]):
                acts.append(act)
        return acts

    def _draw_distractor(
        self, plot: str, person: str, stranger: str, used: set[str], rng: random.Random
    ) -> tuple[Act, dict[str, str]]:
        """Return an idle fact, or another person's purchase."""
        names = [name for name in IDLE if plot == "shop" or name not in ("away", "home")]
        act = ACT_TABLE[rng.choice([*names, "each"] if plot == "shop" else names)]
        who = stranger if act.name == "each" else rng.choice((person, stranger))
        fixed = {"P": who, "G": rng.choice([one for one in COUNTED if one not in used])}
        slots = {slot: value for slot, value in fixed.items() if slot in act.slots}
        return act, slots | {letter: str(value) for letter, value in _drawn(act, self.size, rng).items()}

    # --- solutions -----------------------------------------------------------------------------------------------

    def _solution(
        self, story: Story, rng: random.Random, forms: str, habits: bool = False
    ) -> tuple[str, ...]:
        values = dict(story.values)
        steps, known = [], frozenset[str]()
        for name in story.needed(story.asked):
            quantity = story.quantities[name]
            tree = quantity.formula
            if habits and (habit := self._habit(quantity)) and rng.random() < self.habit_rate:
                right = right_calculations(story, quantity, known)
                found = wrong_calculations(story, quantity, known, right, habit)
                fine = [one for one in found.values() if _result(one, quantity, values) is not None]
                tree = rng.choice(fine) if fine else tree
            result = _result(tree, quantity, values)
            if result is None:  # what follows from the mistake cannot be written
                return self._solution(story, rng, forms)
            values[name] = result
            steps.append(_say(quantity, filled(tree, values), result, forms, rng))
            known |= {name}
        return tuple(steps)

    def _habit(self, quantity: Quantity) -> str | None:
        """Return the way in which the author often gets quantities of this kind wrong."""
        subject = quantity.slots.get("G", "")
        rng = random.Random(f"ledger-habit/{quantity.role}/{subject}")
        return rng.choice(list(CALCULATION_KINDS)) if rng.random() < self.habits else None

    def written(self, problem: Problem, rng: random.Random) -> tuple[str, ...]:
        """Return a solution as the author of a policy's training text writes it."""
        story = read_question(problem.question)
        forms = problem.meta.get("forms") or rng.choice(self.forms)
        return self._solution(story, rng, str(forms), habits=True)

    # --- the verdict ---------------------------------------------------------------------------------------------

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the exact verdict on a step; raises DataError where the problem is not one of this world."""
        story = read_question(problem.question)
        claim = read_step(step)
        if claim is None:
            return Verdict("wrong", "ledger:malformed", "not a sentence with one calculation and its result")
        truth, kind, detail = _judge(story, _known(story, prefix), claim)
        if kind in ("skipped_step", "wrong_calculation") and _rests_on_undecided(story, prefix, claim):
            truth, kind = "undecided", "after_undecided"
            detail = "rests on a number of an earlier step that is not understood"
        return Verdict(truth, f"ledger:{kind}", detail)

    def is_step(self, text: str) -> bool:
        """Tell whether a text has a step's form: a sentence with one calculation and its result."""
        return read_step(text) is not None

    def perturb(
        self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random, kinds: Sequence[str]
    ) -> tuple[str, str] | None:
        """Return (kind, wrong step) of a random one of the kinds, or None where none of them is possible."""
        story, claim = read_question(problem.question), read_step(step)
        known = _known(story, prefix)
        if claim is None:
            return None
        quantity = next((one for one in _candidates(story, claim) if _exact(story, one, known, claim)), None)
        if quantity is None:
            return None
        for kind in rng.sample(list(kinds), len(kinds)):
            made = self._mistakes(story, quantity, known, claim, kind, rng)
            for text in rng.sample(made, min(len(made), 4)):
                changed = read_step(text)
                if changed is not None and _judge(story, known, changed)[:2] == ("wrong", kind):
                    return kind, text
        return None

    def _mistakes(
        self,
        story: Story,
        quantity: Quantity,
        known: frozenset[str],
        claim: Claim,
        kind: str,
        rng: random.Random,
    ) -> list[str]:
        """Return the texts of a step's mistakes of a kind."""
        said = claim.statement
        if kind == "arithmetic":
            return [
                claim.with_statement(replace(said, amount=one))
                for one in slips(quantity.value, quantity.unit)
            ]
        if kind == "wrong_unit":
            return [claim.with_statement(replace(said, amount=one)) for one in other_units(quantity, story)]
        if kind == "rounding":
            unrounded = evaluate(quantity.formula, story.values)
            other = {"up": "down", "down": "up", "": ""}[said.rounding]
            return [
                claim.with_statement(replace(said, amount=one, rounding=other))
                for one in roundings(quantity, unrounded)
            ]
        if kind == "wrong_reference":
            return _renamed(story, claim)
        if kind == "skipped_step":
            return _skips(story, known, claim.statement.style, rng)
        right = right_calculations(story, quantity, known)
        texts = []
        for tree in wrong_calculations(story, quantity, known, right, kind).values():
            if (result := _result(tree, quantity, story.values)) is not None:
                amount = (
                    Amount(((result, quantity.unit),)) if writable(result) else mixed(result, quantity.unit)
                )
                statement = Statement(filled(tree, story.values), said.rounding, amount, said.style)
                texts.append(claim.with_statement(statement))
        return texts

    # --- outcomes ------------------------------------------------------------------------------------------------

    def answer(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the amount that the last step states for what the question asks, or None."""
        story = read_question(problem.question)
        claim = read_step(steps[-1]) if steps else None
        asked = story.quantities[story.asked]
        if claim is None or asked not in _candidates(story, claim):
            return None
        stated = claim.statement.amount.smallest
        if stated is None:
            return None
        smallest = in_smallest(1, asked.unit)
        if stated[1] != smallest[1]:
            return str(claim.statement.amount)
        return str(Amount(((exact(Fraction(stated[0]) / smallest[0]), asked.unit),)))

    def solved(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether the answer is right."""
        story = read_question(problem.question)
        asked = story.quantities[story.asked]
        return self.answer(problem, steps) == str(Amount(((asked.value, asked.unit),)))

    def alive(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether every step so far is correct: what is missing can then always be added."""
        return all(
            self.judge(problem, steps[:index], step).truth == "correct" for index, step in enumerate(steps)
        )


# --- judging a claim -------------------------------------------------------------------------------------------------


def _candidates(story: Story, claim: Claim) -> list[Quantity]:
    """Return the quantities that a claim's sentence can mean."""
    return [
        quantity
        for role, slots in claim.readings
        for quantity in story.quantities.values()
        if quantity.role == role and all(quantity.slots[slot] == value for slot, value in slots.items())
    ]


def _known(story: Story, prefix: Sequence[str]) -> frozenset[str]:
    """Return the names of the derived quantities that the prefix has stated."""
    claims = [claim for step in prefix if (claim := read_step(step)) is not None]
    return frozenset(quantity.name for claim in claims for quantity in _candidates(story, claim))


def _rests_on_undecided(story: Story, prefix: Sequence[str], claim: Claim) -> bool:
    """Tell whether a true calculation uses the result of an earlier sentence that fits no quantity."""
    earlier = [read_step(step) for step in prefix]
    unclear = {
        number
        for one in earlier
        if one is not None and not _candidates(story, one)
        for number, _ in one.statement.amount.parts
    }
    return any(leaf in unclear for leaf in leaves(claim.statement.tree)) and _arithmetic_holds(
        claim.statement
    )


def _exact(story: Story, quantity: Quantity, known: frozenset[str], claim: Claim) -> bool:
    """Tell whether a claim is correct if it means this quantity; a whole number `rounded down` is itself, and so right."""
    said = claim.statement
    if said.amount.smallest != in_smallest(quantity.value, quantity.unit):
        return False
    if said.rounding != quantity.rounding and evaluate(quantity.formula, story.values) != quantity.value:
        return False
    return canonical(said.tree) in right_calculations(story, quantity, known)


def _judge(story: Story, known: frozenset[str], claim: Claim) -> tuple[Truth, str, str]:
    """Return truth, kind and detail of a claim: the best of what its sentence can mean."""
    candidates = _candidates(story, claim)
    if any(_exact(story, one, known, claim) for one in candidates):
        return "correct", "exact", ""
    verdicts = [_judge_inexact(story, one, known, claim) for one in candidates]
    if found := [one for one in verdicts if one[0] == "undecided"]:
        return found[0]
    others = [one for one in story.quantities.values() if one.role and one not in candidates]
    elsewhere = [one for one in others if _exact(story, one, known, claim)]
    if verdicts:
        if elsewhere and verdicts[0][1] not in ("arithmetic", "rounding", "wrong_unit"):
            return "wrong", "wrong_reference", f"this is {elsewhere[0].name}"
        return verdicts[0]
    if not _arithmetic_holds(claim.statement):
        return "wrong", "arithmetic", "the calculation does not give this result"
    if any(claim.mentioned <= one.subject for one in elsewhere):
        return (
            "undecided",
            "other_words",
            f"right for {elsewhere[0].name}, in words that are not known for it",
        )
    if elsewhere:
        return "wrong", "wrong_reference", f"this is {elsewhere[0].name}"
    if not claim.readings:
        return "undecided", "unmapped", "the sentence is not known"
    return "wrong", "invented", "the problem has no such quantity"


def _judge_inexact(
    story: Story, quantity: Quantity, known: frozenset[str], claim: Claim
) -> tuple[Truth, str, str]:
    """Return the verdict on a claim that means this quantity and is not exact."""
    said = claim.statement
    form = canonical(said.tree)
    right = right_calculations(story, quantity, known)
    stated = said.amount.smallest
    is_right = stated == in_smallest(quantity.value, quantity.unit)
    if form in right:
        unrounded = evaluate(quantity.formula, story.values)
        detail = f"{quantity.name} is {Amount(((quantity.value, quantity.unit),))}, not {said.amount}"
        if is_right or stated in [one.smallest for one in roundings(quantity, unrounded)]:
            return "wrong", "rounding", detail
        number = said.amount.parts[0][0] if len(said.amount.parts) == 1 else None
        if (
            stated is None
            or number == quantity.value
            or stated[1] != in_smallest(quantity.value, quantity.unit)[1]
        ):
            return "wrong", "wrong_unit", detail
        return "wrong", "arithmetic", detail
    missing = _unstated(story, quantity, known)
    detail = f"not a calculation of {quantity.name} from what is known"
    other_way = is_right and _arithmetic_holds(said) and _only_known(story, known, said)
    if missing and not other_way:
        return "wrong", "skipped_step", detail
    kind = name_of(story, quantity, known, right, form)
    if kind == "wrong_calculation" and other_way:
        return "undecided", "other_way", "a true result by a way that is not known"
    return "wrong", kind, detail


def _arithmetic_holds(said: Statement) -> bool:
    """Tell whether a calculation gives its result, in the unit of the result or the smaller one."""
    try:
        value = rounded(evaluate(said.tree, {}), said.rounding)
    except ZeroDivisionError:
        return False
    stated = said.amount.smallest
    return stated is not None and stated[0] in {
        value,
        *(in_smallest(value, unit)[0] for _, unit in said.amount.parts),
    }


def _only_known(story: Story, known: frozenset[str], said: Statement) -> bool:
    """Tell whether a calculation uses known numbers, 100 less a percentage, factors of units, 0 and 1 only."""
    numbers = {one.value for one in story.quantities.values() if one.tree is None or one.name in known}
    numbers |= {100 - one.value for one in story.quantities.values() if one.letter == "r"}
    numbers |= {0, 1, 12, *(factor for _, factor in LARGER.values())}
    return all(leaf in numbers for leaf in leaves(said.tree))


def _unstated(story: Story, quantity: Quantity, known: frozenset[str]) -> list[str]:
    """Return the derived quantities in a formula that have not been stated."""
    names = (leaf for leaf in leaves(quantity.formula) if isinstance(leaf, str))
    return [one for one in names if story.quantities[one].tree is not None and one not in known]


def _skips(story: Story, known: frozenset[str], style: Style, rng: random.Random) -> list[str]:
    """Return later steps that guess what has not been computed."""
    texts = []
    forms = "c" if style.result_first else "b" if style.in_words else "a"
    for name in story.needed(story.asked):
        quantity = story.quantities[name]
        missing = _unstated(story, quantity, known)
        if name not in known and missing:
            guesses = {one: rng.choice(range(5, 120, 5)) for one in missing}
            values = {**story.values, **guesses}
            if (result := _result(quantity.formula, quantity, values)) is not None:
                texts.append(_say(quantity, filled(quantity.formula, values), result, forms, rng))
    return texts


def _renamed(story: Story, claim: Claim) -> list[str]:
    """Return the step's text with another person or good of the problem named."""
    texts = []
    named = {word for one in story.quantities.values() for word in one.subject}
    for part in (0, 1):
        for place, word in enumerate(claim.words[part]):
            if word not in claim.mentioned:
                continue
            alike = PEOPLE if word in PEOPLE else COUNTED
            for other in sorted(named & alike.keys() - {word}) or sorted(alike.keys() - {word}):
                words = list(claim.words)
                words[part] = (*words[part][:place], other, *words[part][place + 1 :])
                texts.append(replace(claim, words=(words[0], words[1])).with_statement(claim.statement))
    return texts


# --- numbers and forms -----------------------------------------------------------------------------------------------


def _result(tree: Tree, quantity: Quantity, values: Values) -> Number | None:
    """Return what a calculation gives if it can be written: its numbers and its result are words of the world."""
    try:
        value = rounded(evaluate(tree, values), quantity.rounding)
    except ZeroDivisionError:
        return None
    numbers = [values[one] if isinstance(one, str) else one for one in leaves(tree)]
    if value <= 0 or not all(writable(one) for one in numbers):
        return None
    parts = mixed(value, quantity.unit).parts
    return value if writable(value) or all(writable(one) for one, _ in parts) else None


def _draw_numbers(
    story: Story, act: Act, fixed: Mapping[str, str], size: int, rng: random.Random
) -> dict[str, str] | None:
    """Draw an act's numbers until what follows can be written, and tell it; None where no draw comes out well."""
    needs_current = any("cur" in formula for _, formula, _ in act.follows)
    current = {"cur": story.values[story.current(fixed["P"])]} if needs_current else {}
    if not all(writable(value) for value in current.values()):
        return None
    for _ in range(30):
        numbers = _drawn(act, size, rng)
        values: dict[str, Number] = {**numbers, **current}
        fine = all(1 < numbers[part] < numbers[whole] for part, whole in act.whole.items())
        for role, formula, rounding in act.follows:
            value = evaluate(formula_tree(formula), values)
            values[role] = rounded(value, rounding)
            fine = (
                fine
                and values[role] > 1
                and writable(values[role])
                and (not rounding or value != values[role])
            )
        if fine:
            slots = {**fixed, **{letter: str(value) for letter, value in numbers.items()}}
            story.tell(act, slots)
            return slots
    return None


def _drawn(act: Act, size: int, rng: random.Random) -> dict[str, int]:
    """Return random numbers of an act, from the lowest `size` thirds of their ranges."""
    ranges = (
        (letter, range(first, last + 1, stride)) for letter, (first, last, stride) in act.ranges.items()
    )
    return {letter: rng.choice(all_of[: -(-len(all_of) * size // 3)]) for letter, all_of in ranges}


def _tell(facts: Sequence[tuple[Act, Mapping[str, str]]], forms: str, rng: random.Random) -> list[str]:
    """Return the words of the facts, with pronouns where the same person goes on."""
    words: list[str] = []
    person = ""
    for act, slots in facts:
        form = rng.choice(_forms_of(act.facts, forms))
        shown = dict(slots)
        if form[0] == "{P}" and slots["P"] == person and rng.random() < 0.6:
            shown["P"] = PEOPLE[person]
        person = slots["P"] if "P" in slots and "Q" not in slots else ""
        words += _filled_form(form, shown)
    return words


def _say(quantity: Quantity, tree: Tree, result: Number, forms: str, rng: random.Random) -> str:
    """Return a step that states a quantity."""
    style = Style(forms == "b" or (forms == "c" and rng.random() < 0.5), forms == "c")
    amount = Amount(((result, quantity.unit),))
    if quantity.unit in LARGER and (not writable(result) or rng.random() < 0.15):
        amount = mixed(result, quantity.unit)
    statement = Statement(tree, quantity.rounding, amount, style)
    form = rng.choice(_forms_of(ROLE_TABLE[quantity.role].steps, forms))
    return " ".join(_filled_form(form, {**quantity.slots, "=": str(statement)}))


def _forms_of(sets: Mapping[str, Sequence[Form]], wanted: str) -> Sequence[Form]:
    """Return the sentences of a set of forms; `c` has those of both others."""
    return [*sets["a"], *sets["b"]] if wanted == "c" else sets[wanted]


def _filled_form(form: Form, slots: Mapping[str, str]) -> list[str]:
    """Return a form's words with its slots filled."""
    words = []
    for word in form:
        if word == "{G1}":
            words.append(SINGULAR[slots["G"]])
        else:
            words.append(slots[word[1:-1]] if word[0] == "{" else word)
    return words
