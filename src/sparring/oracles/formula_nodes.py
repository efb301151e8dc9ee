"""The expression tree that the formula modules share, and the few things that every one of them asks of it.

Contract: immutable, without meaning of its own. Not here: reading (`formulas.py`), values (`values.py`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from sparring.oracles.formula_tokens import TooLargeError


class Node(NamedTuple):
    """An expression: ``number`` (value), ``variable`` (name), or an operation over parts.

    Operations: sum, product, quotient, power, negative, plusminus, call (name: sqrt, sin, log, binom, ...),
    mixed (whole number and fraction side by side), percent, degrees, finite sum ``sigma`` (name: index; parts:
    first, last, body), application (name: a function of the text), either (two readings of the same signs, the usual
    one first).
    """

    kind: str
    parts: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction = Fraction(0)


def number(value: int | Fraction) -> Node:
    """Return a number node."""
    return Node("number", value=Fraction(value))


def walk(node: Node) -> list[Node]:
    """Return the node and all nodes below it."""
    found, todo = [], [node]
    while todo:
        one = todo.pop()
        found.append(one)
        todo.extend(one.parts)
    return found


def variables(node: Node) -> frozenset[str]:
    """Return the names of the variables; indices of finite sums do not count."""
    bound = {one.name for one in walk(node) if one.kind in ("sigma",)}
    return frozenset(one.name for one in walk(node) if one.kind == "variable") - bound


def replaced(node: Node, name: str, value: Node) -> Node:
    """Return the tree with an expression in place of a variable."""
    if node.kind == "variable" and node.name == name:
        return value
    return node._replace(parts=tuple(replaced(part, name, value) for part in node.parts))


Functions = dict[str, tuple[str, Node]]
"""Name → (argument, body) of functions that a text defines."""


def inlined(node: Node, functions: Functions) -> Node:
    """Return the tree with applications of known functions of one argument replaced by their bodies.

    Raises:
        TooLargeError: the result has over 600 nodes.
    """
    parts = tuple(inlined(part, functions) for part in node.parts)
    if node.kind == "application" and len(parts) == 1 and node.name in functions:
        argument, body = functions[node.name]
        made = replaced(body, argument, parts[0])
        if len(walk(made)) > 600:
            raise TooLargeError("a composition of functions is too large")
        return made
    return node if parts == node.parts else node._replace(parts=parts)
