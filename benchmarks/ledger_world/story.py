"""Stories of the ledger world: a word problem as a graph of named quantities, and statements about them.

A *quantity* is a number that the problem gives, or one that follows from others by a formula. A *claim* is what a step
says: sentence, calculation, result. A calculation is right for a quantity if it is its formula, with what is known put in:
operands of + and * in any order, values that have been stated or their own formulas, in the unit or the larger one.

In this order: calculations (trees, their canonical form, their text); amounts and units; the graph, told fact by fact;
reading a question; reading a step; which calculations are right.

Contract: pure functions of texts, exact (fractions), linear in the text; nothing is evaluated but trees of bounded size.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

from ledger_world.sentences import (
    ACT_TABLE,
    COLOURS,
    COUNTED,
    LARGER,
    PEOPLE,
    ROLE_TABLE,
    SIGN_WORDS,
    SINGULAR,
    WEIGHED,
    Act,
    Form,
)
from sparring.errors import DataError

LONGEST_QUESTION, LONGEST_STEP = 400, 48
"""Words; what is longer is not of this world."""
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,2})?")
_WORD = re.compile(r"[a-z]{1,15}")

# --- calculations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """Two parts and a sign between them."""

    sign: str
    left: Tree
    right: Tree


Number = int | Fraction
"""Exact; a `Fraction` only where it is not whole."""
Tree = Node | int | Fraction | str
"""A calculation; its leaves are numbers or names of quantities."""
Values = Mapping[str, Number]
Canon = tuple[object, ...]


def canonical(tree: Tree) -> Canon:
    """Return what is equal for trees that differ only in order and grouping of sums and of products."""
    if not isinstance(tree, Node):
        return ("leaf", tree)
    family, terms = ("+", "+-") if tree.sign in "+-" else ("*", "*/")
    parts: Counter[tuple[int, Canon]] = Counter()

    def collect(part: Tree, direction: int) -> None:
        if isinstance(part, Node) and part.sign in terms:
            collect(part.left, direction)
            collect(part.right, direction if part.sign == family else -direction)
        else:
            parts[direction, canonical(part)] += 1

    collect(tree, 1)
    return (family, frozenset(parts.items()))


def exact(value: Number) -> Number:
    """Return a whole number as an int."""
    return value.numerator if value.denominator == 1 else value


def evaluate(tree: Tree, values: Values) -> Number:
    """Return the value of a calculation; raises KeyError for an unknown name, ZeroDivisionError."""
    if isinstance(tree, Node):
        left, right = evaluate(tree.left, values), evaluate(tree.right, values)
        if tree.sign == "+":
            return left + right
        if tree.sign == "-":
            return left - right
        return left * right if tree.sign == "*" else exact(Fraction(left) / right)
    return values[tree] if isinstance(tree, str) else tree


def filled(tree: Tree, values: Mapping[str, Tree]) -> Tree:
    """Return the tree with every name replaced by its value, or by another name."""
    if isinstance(tree, Node):
        return Node(tree.sign, filled(tree.left, values), filled(tree.right, values))
    return values[tree] if isinstance(tree, str) else tree


def leaves(tree: Tree) -> Iterator[Number | str]:
    """Yield the leaves from left to right."""
    if isinstance(tree, Node):
        yield from leaves(tree.left)
        yield from leaves(tree.right)
    else:
        yield tree


def rounded(value: Number, rounding: str) -> Number:
    """Return the value rounded ``up``, ``down`` or not at all."""
    if rounding == "up":
        return ceil(value)
    return floor(value) if rounding == "down" else value


_SIGNS = {**{sign: sign for sign in SIGN_WORDS}, **{word: sign for sign, word in SIGN_WORDS.items()}}
Leaf = Callable[[str], Tree | None]


def number(word: str) -> Number | None:
    """Return the number that a word is, or None."""
    if not _NUMBER.fullmatch(word):
        return None
    return int(word) if "." not in word else exact(Fraction(word))


def parse_calculation(words: Sequence[str], start: int, leaf: Leaf = number) -> tuple[Tree, int] | None:
    """Return the longest calculation that starts at a word, and where it ends; None if there is none."""

    def operand(at: int, depth: int) -> tuple[Tree, int] | None:
        if at >= len(words):
            return None
        if words[at] == "(" and depth < 2:
            inner = chain(at + 1, "+-", depth + 1)
            return (inner[0], inner[1] + 1) if inner and words[inner[1] : inner[1] + 1] == [")"] else None
        found = leaf(words[at])
        if found is None:
            return None
        if tuple(words[at + 1 : at + 3]) == ("percent", "of") and (whole := operand(at + 3, depth)):
            return Node("/", Node("*", whole[0], found), 100), whole[1]
        return found, at + 1

    def chain(at: int, signs: str, depth: int) -> tuple[Tree, int] | None:
        part: Callable[[int], tuple[Tree, int] | None]
        part = (lambda at: chain(at, "*/", depth)) if signs == "+-" else (lambda at: operand(at, depth))
        found = part(at)
        while found and found[1] < len(words) and (sign := _SIGNS.get(words[found[1]], " ")) in signs:
            if (right := part(found[1] + 1)) is None:
                break
            found = Node(sign, found[0], right[0]), right[1]
        return found

    words = list(words)
    return chain(start, "+-", 0)


@lru_cache(maxsize=256)
def formula_tree(formula: Form) -> Tree:
    """Return a formula of the table of facts as a tree whose names are its words."""
    parsed = parse_calculation(formula, 0, lambda word: word if number(word) is None else number(word))
    assert parsed is not None and parsed[1] == len(formula)
    return parsed[0]


def write_number(value: Number) -> str:
    """Return a number as text: whole, or with two decimals."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.2f}"


def write_calculation(tree: Tree, in_words: bool = False) -> str:
    """Return a calculation with numbers for leaves as text, with signs or in words."""
    if not isinstance(tree, Node):
        return tree if isinstance(tree, str) else write_number(tree)
    left = tree.left
    is_share = tree.sign == "/" and tree.right == 100 and isinstance(left, Node) and left.sign == "*"
    if in_words and is_share and isinstance(left, Node) and not isinstance(left.left, Node):
        return f"{write_calculation(left.right)} percent of {write_calculation(left.left)}"

    def side(part: Tree, bracket: str) -> str:
        text = write_calculation(part, in_words)
        return f"( {text} )" if isinstance(part, Node) and part.sign in bracket else text

    sign = SIGN_WORDS[tree.sign] if in_words else tree.sign
    right_brackets = {"+": "", "-": "+-", "*": "+-*/", "/": "+-*/"}[tree.sign]
    return f"{side(left, '+-' if tree.sign in '*/' else '')} {sign} {side(tree.right, right_brackets)}"


# --- amounts ---------------------------------------------------------------------------------------------------------

_PLURAL = {one: many for many, one in SINGULAR.items()}
_SMALLER = {larger: (unit, factor) for unit, (larger, factor) in LARGER.items()}


@dataclass(frozen=True, slots=True)
class Amount:
    """A stated amount: one number and unit, or two (1 dollar and 20 cents)."""

    parts: tuple[tuple[Number, str], ...]

    @property
    def smallest(self) -> tuple[Number, str] | None:
        """Return it in its smallest unit, None where the parts do not belong together."""
        converted = [in_smallest(value, unit) for value, unit in self.parts]
        if len({unit for _, unit in converted}) > 1:
            return None
        return exact(sum(value for value, _ in converted)), converted[0][1]

    def __str__(self) -> str:
        return " and ".join(
            f"{write_number(value)} {SINGULAR.get(unit, unit) if value == 1 else unit}"
            for value, unit in self.parts
        )


def in_smallest(value: Number, unit: str) -> tuple[Number, str]:
    """Return an amount in the smallest unit of its dimension."""
    smaller, factor = _SMALLER.get(unit, (unit, 1))
    return exact(value * factor), smaller


def mixed(value: Number, unit: str) -> Amount:
    """Return an amount in the larger unit and what is left over."""
    if unit not in LARGER or value < LARGER[unit][1]:
        return Amount(((value, unit),))
    larger, factor = LARGER[unit]
    whole, rest = divmod(value, factor)
    return Amount(((whole, larger), *(((rest, unit),) if rest else ())))


def _parse_amount(words: Sequence[str], start: int) -> tuple[Amount, int] | None:
    parts: list[tuple[Number, str]] = []
    at = start
    while len(parts) < 2 and at + 1 < len(words):
        value, unit = number(words[at]), words[at + 1]
        if value is None or not _WORD.fullmatch(unit) or unit in _SIGNS:
            break
        parts.append((value, _PLURAL.get(unit, unit)))
        at += 2
        if tuple(words[at : at + 1]) != ("and",) or len(parts) == 2:
            break
        at += 1
    if not parts:
        return None
    return Amount(tuple(parts)), start + 3 * len(parts) - 1


# --- statements and claims -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Style:
    """How a statement is written: signs or words, the result before or after its calculation."""

    in_words: bool = False
    result_first: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """A calculation, whether it is rounded ``up`` or ``down``, its result, and the style that it is written in."""

    tree: Tree
    rounding: str
    amount: Amount
    style: Style = Style()

    def __str__(self) -> str:
        calculation = write_calculation(self.tree, self.style.in_words)
        if self.rounding:
            calculation += f" rounded {self.rounding}"
        if self.style.result_first:
            return f"{self.amount} ( {calculation} )"
        return f"{calculation} {'or' if self.style.in_words else '='} {self.amount}"


def _parse_statement(words: Sequence[str], start: int) -> tuple[Statement, int] | None:
    """Return the statement at a word and where it ends."""
    first = _parse_amount(words, start)
    if first and list(words[first[1] : first[1] + 1]) == ["("]:
        inner = _rounded_calculation(words, first[1] + 1)
        if inner and list(words[inner[2] : inner[2] + 1]) == [")"]:
            style = Style(_has_words(words[first[1] : inner[2]]), True)
            return Statement(inner[0], inner[1], first[0], style), inner[2] + 1
    inner = _rounded_calculation(words, start)
    if inner is None or list(words[inner[2] : inner[2] + 1]) not in (["="], ["or"]):
        return None
    amount = _parse_amount(words, inner[2] + 1)
    if amount is None:
        return None
    return Statement(inner[0], inner[1], amount[0], Style(_has_words(words[start : inner[2] + 1]))), amount[1]


def _rounded_calculation(words: Sequence[str], start: int) -> tuple[Tree, str, int] | None:
    found = parse_calculation(words, start)
    if found is None:
        return None
    tree, end = found
    if tuple(words[end : end + 1]) == ("rounded",) and words[end + 1 : end + 2] in (["up"], ["down"]):
        return tree, words[end + 1], end + 2
    return tree, "", end


def _has_words(words: Sequence[str]) -> bool:
    return any(word in ("or", "percent", *SIGN_WORDS.values()) for word in words)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a step says.

    Attributes:
        readings: (role, slots) that its sentence can mean; none where no form fits.
        statement: calculation and result.
        words: the words before the statement, and those after it.
    """

    readings: tuple[tuple[str, Mapping[str, str]], ...]
    statement: Statement
    words: tuple[tuple[str, ...], tuple[str, ...]]

    def with_statement(self, statement: Statement) -> str:
        """Return the step's text with another statement."""
        return " ".join((*self.words[0], str(statement), *self.words[1]))

    @property
    def mentioned(self) -> frozenset[str]:
        """Return the people and goods that its sentence names."""
        return frozenset(word for part in self.words for word in part if word in PEOPLE or word in _GOODS)


_GOODS = frozenset((*COUNTED, *WEIGHED))
_ONE_TO_MANY = {one: many for many, one in COUNTED.items()}
_FITTING: Mapping[str, frozenset[str]] = {
    "{P}": frozenset((*PEOPLE, *PEOPLE.values())),
    "{Q}": frozenset(PEOPLE),
    "{G}": _GOODS,
    "{G1}": frozenset(_ONE_TO_MANY),
    "{W}": frozenset(WEIGHED),
    "{K}": frozenset(COLOURS),
}
"""Words that fit into a slot; any other slot holds a whole number."""


def _match(form: Form, words: Sequence[str], start: int) -> dict[str, str] | None:
    """Return what the slots of a form hold that stands at a word, None where it does not stand there."""
    if start + len(form) > len(words):
        return None
    slots: dict[str, str] = {}
    for at, expected in enumerate(form, start):
        word = words[at]
        if expected[0] != "{":
            if expected != word:
                return None
            continue
        fitting = _FITTING.get(expected)
        if not (word in fitting if fitting is not None else word.isdecimal() and _NUMBER.fullmatch(word)):
            return None
        if expected == "{G1}":
            expected, word = "{G}", _ONE_TO_MANY[word]
        if slots.setdefault(expected[1:-1], word) != word:
            return None
    return slots


def _split(form: Form) -> tuple[Form, Form]:
    place = form.index("{=}")
    return form[:place], form[place + 1 :]


STEP_FORMS = tuple(
    (role.name, *_split(form))
    for role in ROLE_TABLE.values()
    for forms in role.steps.values()
    for form in forms
)


@lru_cache(maxsize=8192)
def read_step(step: str) -> Claim | None:
    """Return what a step says, or None where the text has not a step's form: words, one statement, a full stop."""
    words = step.split(" ")
    if not 6 <= len(words) <= LONGEST_STEP or words[-1] != "." or any(len(word) > 20 for word in words):
        return None
    found = None
    for start, word in enumerate(words):
        if (word == "(" or _NUMBER.fullmatch(word)) and (found := _parse_statement(words, start)):
            break
    if found is None:
        return None
    statement, end = found
    before, after = tuple(words[:start]), tuple(words[end:])
    rest = (*before, *after)
    if (
        not all(word in (",", ".", ":") or re.fullmatch(r"[A-Za-z]+", word) for word in rest)
        or "." in rest[:-1]
    ):
        return None
    readings = []
    for role, head, tail in STEP_FORMS:
        if len(head) != len(before) or len(tail) != len(after):
            continue
        if (start_slots := _match(head, before, 0)) is None or (slots := _match(tail, after, 0)) is None:
            continue
        same = all(slots.setdefault(slot, word) == word for slot, word in start_slots.items())
        if same and slots.get("P") not in PEOPLE.values():
            readings.append((role, slots))
    return Claim(tuple(readings), statement, (before, after))


# --- the graph -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quantity:
    """A node of the graph.

    Attributes:
        name: its own.
        value: exact.
        unit: of the value.
        tree: how it follows from others; None where the problem gives it.
        rounding: ``up``, ``down`` or empty.
        role: what steps call it; empty where it is given.
        slots: whose it is.
        before: the quantity that it is a changed version or a part of.
        idle: whether the fact that gives it has no consequence.
        letter: of a given one, its letter in the fact.
    """

    name: str
    value: Number
    unit: str
    tree: Tree | None = None
    rounding: str = ""
    role: str = ""
    slots: Mapping[str, str] = field(default_factory=dict)
    before: str | None = None
    idle: bool = False
    letter: str = ""

    @property
    def formula(self) -> Tree:
        """Return how it follows from others, of one that does."""
        assert self.tree is not None
        return self.tree

    @property
    def subject(self) -> frozenset[str]:
        """Return the people and goods that it belongs to."""
        return frozenset(self.slots.values())


UNITS_OF_LETTERS: Mapping[str, str] = {"p": "cents", "c": "cents", "D": "dollars"}
"""Units that a calculation can be carried out in the larger unit of; other letters are counts, or carry their factor."""


@dataclass
class Story:
    """A graph under construction, fact by fact; whole once the question has been read."""

    quantities: dict[str, Quantity] = field(default_factory=dict)
    values: dict[str, Number] = field(default_factory=dict)
    asked: str = ""
    facts: int = 0
    right: dict[tuple[str, frozenset[str]], frozenset[Canon]] = field(default_factory=dict)
    """Right calculations found so far, by quantity and what is known."""
    _current: dict[str, str] = field(default_factory=dict)
    _costs: dict[str, list[str]] = field(default_factory=dict)
    _goods: dict[str, str] = field(default_factory=dict)

    def _put(self, quantity: Quantity) -> str:
        if quantity.name in self.quantities:
            raise DataError(f"two facts define {quantity.name}", field="problem")
        self.quantities[quantity.name] = quantity
        self.values[quantity.name] = quantity.value
        return quantity.name

    def current(self, person: str) -> str:
        """Return the quantity that a person's story has come to; adds up what was bought.

        Raises:
            DataError: nothing has been told of the person.
        """
        costs = self._costs.pop(person, [])
        if len(costs) > 1:
            tree: Tree = costs[0]
            for cost in costs[1:]:
                tree = Node("+", tree, cost)
            self._current[person] = self._derive("total", tree, {"P": person}, "")
        if person not in self._current:
            raise DataError(f"nothing is told of {person} before this", field="problem")
        return self._current[person]

    def _derive(self, role: str, tree: Tree, slots: Mapping[str, str], rounding: str) -> str:
        known = ROLE_TABLE[role]
        own = {slot: slots[slot] for slot in known.slots}
        unit = own["G"] if known.unit == "G" else known.unit
        try:
            value = rounded(evaluate(tree, self.values), rounding)
        except ZeroDivisionError:
            raise DataError("a fact divides by zero", field="problem") from None
        return self._put(Quantity(" ".join((role, *own.values())), value, unit, tree, rounding, role, own))

    def tell(self, act: Act, slots: Mapping[str, str]) -> None:
        """Add a fact.

        Raises:
            DataError: it does not follow on what was told before.
        """
        self.facts += 1
        person = slots.get("P", "")
        slots = {"G": self._goods.get(person, ""), **slots}
        if "W" in slots:
            slots["G"] = slots["W"]
        names: dict[str, str] = {}
        for letter in act.ranges:
            unit = UNITS_OF_LETTERS.get(letter, "")
            name = f"{self.facts} {letter}"
            value = int(slots[letter])
            idle = not act.follows
            owner = {slot: slots[slot] for slot in "PQG" if slots.get(slot)}
            given = Quantity(name, value, unit, slots=owner, idle=idle, letter=letter)
            if letter in act.whole:
                given = replace(given, before=f"{self.facts} {act.whole[letter]}")
            names[letter] = self._put(given)
        if any("cur" in formula for _, formula, _ in act.follows):
            names["cur"] = self.current(person)
        made = ""
        for role, formula, rounding in act.follows:
            if any(slot not in slots or not slots[slot] for slot in ROLE_TABLE[role].slots):
                raise DataError(f"the fact {act.name!r} comes before what it is about", field="problem")
            made = self._derive(role, filled(formula_tree(formula), names), slots, rounding)
            self._mark_before(made, names.get("cur"))
            names[role] = made
        if made and self.quantities[made].role == "cost":
            self._costs.setdefault(person, []).append(made)
        if made:
            self._current[person] = made
            self._goods[person] = slots["G"]

    def _mark_before(self, made: str, current: str | None) -> None:
        """Remember what a quantity is a changed version of: the current one, or the whole that a part is left of."""
        quantity = self.quantities[made]
        assert isinstance(quantity.tree, Node)
        origin = current or next(leaves(quantity.tree))
        if isinstance(origin, str) and quantity.tree.sign in "+-":
            self.quantities[made] = replace(quantity, before=origin)

    def finish(self, role_slots: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Add up what is still to be added up, and find the quantity that the question asks for.

        Raises:
            DataError: the problem has no such quantity.
        """
        for person in list(self._costs):
            self.current(person)
        for quantity in reversed(self.quantities.values()):
            if any(quantity.role == role and quantity.slots == slots for role, slots in role_slots):
                self.asked = quantity.name
                return
        raise DataError("the question asks for nothing that the facts define", field="problem")

    def needed(self, name: str) -> list[str]:
        """Return the derived quantities that lead to one, in the order in which they can be stated."""
        wanted, waiting = set[str](), [name]
        while waiting:
            quantity = self.quantities[waiting.pop()]
            if quantity.tree is not None and quantity.name not in wanted:
                wanted.add(quantity.name)
                waiting += [leaf for leaf in leaves(quantity.tree) if isinstance(leaf, str)]
        return [one for one in self.quantities if one in wanted]


_FACTS = sorted(
    ((form, act.name) for act in ACT_TABLE.values() for forms in act.facts.values() for form in forms),
    key=lambda entry: -len(entry[0]),
)
_FACTS_BY_START = {
    start: [entry for entry in _FACTS if entry[0][0] == start] for start in {form[0] for form, _ in _FACTS}
}
_SLOT_STARTS = tuple(start for start in _FACTS_BY_START if start[0] == "{")
_ASKS = tuple((form, role.name) for role in ROLE_TABLE.values() for form in role.asks)


@lru_cache(maxsize=1024)
def read_question(question: str) -> Story:
    """Return the graph of a problem.

    Raises:
        DataError: the text is not a question of this world.
    """
    words = question.split(" ")
    if len(words) > LONGEST_QUESTION:
        raise DataError(f"a ledger problem has at most {LONGEST_QUESTION} words", field="problem")
    story, at, person = Story(), 0, ""
    while at < len(words):
        if words[at] == "How":
            forms = ((role, _match(form, words, at)) for form, role in _ASKS if at + len(form) == len(words))
            asks = [(role, slots) for role, slots in forms if slots is not None]
            if not asks:
                raise DataError("the last sentence is not a question of the ledger world", field="problem")
            story.finish(asks)
            return story
        starts = (words[at], *_SLOT_STARTS)
        tried = (
            (act, len(form), _match(form, words, at))
            for start in starts
            for form, act in _FACTS_BY_START.get(start, ())
        )
        act, length, found = next((one for one in tried if one[2] is not None), ("", 0, None))
        if found is None:
            near = " ".join(words[at : at + 8])
            raise DataError(f"not a fact or question of the ledger world: {near[:80]!r}", field="problem")
        if found.get("P") in PEOPLE.values():
            if PEOPLE.get(person) != found["P"]:
                raise DataError(f"nobody is named before {found['P']!r}", field="problem")
            found["P"] = person
        person = found.get("P", person)
        story.tell(ACT_TABLE[act], found)
        at += length
    raise DataError("the problem does not end with a question", field="problem")


# --- right calculations ----------------------------------------------------------------------------------------------

_MOST_READINGS = 400


def right_calculations(story: Story, quantity: Quantity, known: frozenset[str]) -> frozenset[Canon]:
    """Return the canonical form of every calculation of a quantity from what is known.

    Known are given quantities and those in `known`; a quantity that is not known, or not rounded, may be replaced by its
    own formula, three levels deep. In a sum of money, time or weight the calculation may be in the larger unit.
    """
    if (quantity.name, known) in story.right:
        return story.right[quantity.name, known]
    found = set(_readings(story, quantity.formula, known, 3, 1))
    if quantity.name in known:
        found.add(quantity.value)
    for small, (_, factor) in LARGER.items():
        if quantity.unit == small:
            found |= set(_readings(story, quantity.formula, known, 3, factor))
    story.right[quantity.name, known] = right = frozenset(canonical(tree) for tree in found)
    return right


def _readings(story: Story, tree: Tree, known: frozenset[str], depth: int, factor: int) -> list[Tree]:
    """Return numeric versions of a tree, divided by `factor` (1, or what makes the larger unit)."""
    if isinstance(tree, int | Fraction):
        return [tree] if factor == 1 else []
    if isinstance(tree, str):
        quantity = story.quantities[tree]
        found: list[Tree] = []
        larger = LARGER.get(quantity.unit)
        if (quantity.tree is None or tree in known) and (factor == 1 or (larger and larger[1] == factor)):
            found.append(exact(Fraction(quantity.value) / factor) if factor > 1 else quantity.value)
        if quantity.tree is not None and depth and not quantity.rounding:
            found += _readings(story, quantity.tree, known, depth - 1, factor)
        return found
    sides = [(factor, factor)] if tree.sign in "+-" else [(factor, 1)]
    if tree.sign == "*" and factor > 1:
        sides.append((1, factor))
    found = []
    if tree.sign == "*" and factor > 1 and tree.right == factor:
        found += _readings(story, tree.left, known, depth, 1)
    for left_factor, right_factor in sides:
        lefts = _readings(story, tree.left, known, depth, left_factor)
        rights = _readings(story, tree.right, known, depth, right_factor)
        pairs = itertools.islice(itertools.product(lefts, rights), _MOST_READINGS)
        found += [Node(tree.sign, left, right) for left, right in pairs]
    return found[:_MOST_READINGS]
