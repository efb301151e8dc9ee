"""Mistakes in the ledger world: one small function per kind, used to make them and to name them.

The calculation kinds list every wrong calculation of that kind for a quantity; what a careless solver then does is carry it
out faithfully. A rule picks one of them; the judge names a wrong calculation by the first kind that lists it. So a rule's
mistake is always judged to be of its kind, and whatever no rule lists is called `wrong_calculation`.

Contract: the lists are short (at most some hundred entries), exact, and a function of story, quantity and what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ledger_world.sentences import LARGER, NUMBERS
from ledger_world.story import (
    Amount,
    Canon,
    Node,
    Number,
    Quantity,
    Story,
    Tree,
    canonical,
    filled,
    leaves,
    mixed,
    rounded,
)

CalculationKind = Callable[[Story, Quantity, frozenset[str]], Iterator[Tree]]


def wrong_operation(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """Another sign between two parts."""
    yield from _nodes_changed(
        quantity.formula,
        lambda node: [Node(sign, node.left, node.right) for sign in "+-*/" if sign != node.sign],
    )


def off_by_one(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """One more, or one less, of something that is counted."""

    def neighbours(leaf: Number | str) -> list[Tree]:
        given = story.quantities[leaf] if isinstance(leaf, str) else None
        if given is None or given.unit or given.letter == "r" or given.tree is not None:
            return []
        return [given.value + 1, given.value - 1]

    yield from _leaves_changed(quantity.tree, neighbours)


def unconverted(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """A unit that is not converted, or converted by the factor of another."""
    factors: set[Tree] = {12, *(factor for _, factor in LARGER.values())}
    if _percent(story, quantity) is not None:
        return
    yield from _nodes_changed(quantity.formula, lambda node: [node.left] if node.right in factors else [])
    yield from _leaves_changed(
        quantity.formula,
        lambda leaf: [other for other in (10, 12, 60, 100, 1000) if other != leaf] if leaf in factors else [],
    )


def missing_part(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """A part of a sum is left out."""
    yield from _nodes_changed(
        quantity.formula, lambda node: [node.left, node.right] if node.sign == "+" else []
    )


def double_counting(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """A part of a sum or a difference is counted twice."""
    top = quantity.formula
    if isinstance(top, Node) and top.sign in "+-":
        yield Node(top.sign, top, top.right)
        if top.sign == "+":
            yield Node("+", top, top.left)


def distractor(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """A number that has nothing to do with the question."""
    idle = [one.name for one in story.quantities.values() if one.idle]
    yield from _leaves_changed(quantity.formula, lambda leaf: idle if isinstance(leaf, str) else [])


def missing_condition(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """The whole in place of a part, or what was there before in place of what is left."""

    def earlier(leaf: Number | str) -> list[Tree]:
        found: list[Tree] = []
        at = story.quantities[leaf].before if isinstance(leaf, str) else None
        while at is not None:
            found.append(at)
            at = story.quantities[at].before
        return found

    yield from _leaves_changed(quantity.tree, earlier)


def wrong_percent(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """The other share, a division by the percentage, or the percentage taken for an amount."""
    rate = _percent(story, quantity)
    if rate is not None and isinstance(quantity.formula, Node):
        whole = next(leaf for leaf in leaves(quantity.formula) if leaf != rate)
        yield Node("/", Node("*", whole, 100 - story.values[rate]), 100)
        yield Node("/", whole, rate)
        yield Node("-", whole, rate)
    for leaf in leaves(quantity.formula):
        origin = story.quantities[leaf] if isinstance(leaf, str) else None
        if origin is not None and (rate := _percent(story, origin)) is not None:
            yield from _leaves_changed(quantity.formula, lambda one: [rate] if one == origin.name else [])  # noqa: B023


def wrong_quantity(story: Story, quantity: Quantity, known: frozenset[str]) -> Iterator[Tree]:
    """Another number of the problem, or of an earlier step."""
    others = [
        one.name
        for one in story.quantities.values()
        if one.name != quantity.name and not one.idle and (one.tree is None or one.name in known)
    ]
    yield from _leaves_changed(quantity.formula, lambda leaf: others if isinstance(leaf, str) else [])


CALCULATION_KINDS: Mapping[str, CalculationKind] = {
    "wrong_operation": wrong_operation,
    "off_by_one": off_by_one,
    "missing_condition": missing_condition,
    "wrong_percent": wrong_percent,
    "unconverted": unconverted,
    "missing_part": missing_part,
    "double_counting": double_counting,
    "distractor": distractor,
    "wrong_quantity": wrong_quantity,
}
"""In the order in which the judge asks for the name of a wrong calculation: the more telling name first."""


def wrong_calculations(
    story: Story, quantity: Quantity, known: frozenset[str], right: frozenset[Canon], kind: str
) -> dict[Canon, Tree]:
    """Return every wrong calculation of a kind, as a tree with names, by its canonical form with numbers."""
    found: dict[Canon, Tree] = {}
    for tree in CALCULATION_KINDS[kind](story, quantity, known):
        if isinstance(tree, Node) and (form := canonical(filled(tree, story.values))) not in right:
            found.setdefault(form, tree)
    return found


def name_of(
    story: Story, quantity: Quantity, known: frozenset[str], right: frozenset[Canon], form: Canon
) -> str:
    """Return the kind of a wrong calculation."""
    for kind in CALCULATION_KINDS:
        if form in wrong_calculations(story, quantity, known, right, kind):
            return kind
    return "wrong_calculation"


# --- wrong results ---------------------------------------------------------------------------------------------------


def slips(value: Number, unit: str) -> list[Amount]:
    """Return results that a slip of arithmetic gives."""
    money = 5 if unit == "cents" and value % 5 == 0 else 1
    near = {value + money * by for by in (-10, -2, -1, 1, 2, 10)} | {value + 100, value - 100}
    digits = str(value)
    if len(digits) == 2:
        near.add(int(digits[::-1]))
    return [Amount(((one, unit),)) for one in sorted(near) if writable(one) and one != value]


def roundings(quantity: Quantity, exact: Number) -> list[Amount]:
    """Return results of rounding where nothing is to be rounded, or the other way round."""
    if quantity.rounding:
        other = rounded(exact, "down" if quantity.rounding == "up" else "up")
        return [Amount(((other, quantity.unit),))] if other != quantity.value else []
    steps = [10, *([LARGER[quantity.unit][1]] if quantity.unit in LARGER else [])]
    found = {(exact // step + up) * step for step in steps for up in (0, 1) if exact % step}
    return [mixed(one, quantity.unit) for one in sorted(found) if one > 0 and writable(one)]


def other_units(quantity: Quantity, story: Story) -> list[Amount]:
    """Return the same number with another unit."""
    pairs = {small: large for small, (large, _) in LARGER.items()}
    pairs |= {large: small for small, large in pairs.items()}
    if quantity.unit in pairs:
        units = [pairs[quantity.unit]]
    else:
        units = sorted({one.unit for one in story.quantities.values() if one.unit} - {quantity.unit})
    return [Amount(((quantity.value, unit),)) for unit in units]


def writable(value: Number) -> bool:
    """Tell whether a number is one of the world's words."""
    return value in _NUMBERS


_NUMBERS = frozenset(NUMBERS)


# --- trees with one change -------------------------------------------------------------------------------------------


def _nodes_changed(tree: Tree, change: Callable[[Node], Iterable[Tree]]) -> Iterator[Tree]:
    if isinstance(tree, Node):
        yield from change(tree)
        for left in _nodes_changed(tree.left, change):
            yield Node(tree.sign, left, tree.right)
        for right in _nodes_changed(tree.right, change):
            yield Node(tree.sign, tree.left, right)


def _leaves_changed(tree: Tree, change: Callable[[Number | str], Iterable[Tree]]) -> Iterator[Tree]:
    if not isinstance(tree, Node):
        yield from (other for other in change(tree) if other != tree)
        return
    for left in _leaves_changed(tree.left, change):
        yield Node(tree.sign, left, tree.right)
    for right in _leaves_changed(tree.right, change):
        yield Node(tree.sign, tree.left, right)


def _percent(story: Story, quantity: Quantity) -> str | None:
    """Return the name of the percentage that a quantity is a share by."""
    if quantity.tree is None:
        return None
    named = (leaf for leaf in leaves(quantity.tree) if isinstance(leaf, str))
    return next(
        (leaf for leaf in named if story.quantities[leaf].letter == "r" and "/" in _signs(quantity.tree)),
        None,
    )


def _signs(tree: Tree) -> str:
    return tree.sign + _signs(tree.left) + _signs(tree.right) if isinstance(tree, Node) else ""
