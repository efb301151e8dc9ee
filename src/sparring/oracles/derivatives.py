"""Derivatives and definite integrals of expression trees, and whether two trees are equal as functions.

Contract: `differentiate` follows the textbook rules and bounds the tree that it makes; `definite` is exact for
polynomials and otherwise a Gauss quadrature that is given up where its estimates differ (`UnreadableError`);
`compare` says ``different`` only where two trees differ clearly at every fixed point at which both are real.
Not here: reading (`calculus_formulas.py`), what a step claims (`calculus.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Literal

from sparring.oracles.expressions import Node, number, replaced, variables, walk
from sparring.oracles.polynomials import rational
from sparring.oracles.reading import TooLargeError, UndefinedError, UnreadableError
from sparring.oracles.values import Reading, as_complex, evaluate, same

Agreement = Literal["same", "different", "unclear"]

MAX_NODES = 1500
MAX_ORDER = 4
EULER = frozenset("e")
USUAL = Reading()
_POINTS = tuple(
    Fraction(numerator, 100)
    for numerator in (37, 83, 129, 191, 263, 371, 613, 1187, -41, -137, -319, 11, 2203)
)
_NEEDED = 4
_CLEAR = 1e-4  # relative distance from which two values differ
_PANELS = (24, 37, 50)  # no two share an interior edge other than the middle: poles are not met evenly
_GAUSS = ((0.0, 128 / 225), *(
    (sign * math.sqrt(5 + turn * 2 * math.sqrt(10 / 7)) / 3, (322 - turn * 13 * math.sqrt(70)) / 900)
    for turn in (-1, 1) for sign in (-1, 1)
))  # fmt: skip


def names(node: Node) -> frozenset[str]:
    """Return the variables of a tree; Euler's number is none."""
    return variables(node) - EULER


# --- derivatives ---


def differentiate(node: Node, name: str, order: int = 1) -> Node:
    """Return a derivative with respect to a variable; every other variable is constant.

    Raises:
        UnreadableError: a part of the tree has no rule.
        TooLargeError: the derivative has over `MAX_NODES` nodes, or `order` exceeds `MAX_ORDER`.
    """
    if order > MAX_ORDER:
        raise TooLargeError("too high a derivative")
    for _ in range(order):
        node = _derivative(node, name)
        if len(walk(node)) > MAX_NODES:
            raise TooLargeError("too large a derivative")
    return node


def _derivative(node: Node, name: str) -> Node:
    kind, parts = node.kind, node.parts
    if kind == "antiderivative" and node.name == name:
        return parts[0]
    if name not in variables(node) and kind not in ("antiderivative", "sigma", "application"):
        return number(0)
    if kind == "variable":
        return number(1)
    if kind == "call":
        return _chain_rule(node, name)
    if kind not in ("sum", "negative", "product", "quotient", "power"):
        raise UnreadableError(f"the derivative of a part of kind {kind}")
    if kind == "power":
        return _power_rule(parts[0], parts[1], name)
    inner = [_derivative(part, name) for part in parts]
    if kind == "sum":
        return _sum(inner)
    if kind == "negative":
        return _product(number(-1), inner[0])
    if kind == "product":
        return _sum([_product(inner[0], parts[1]), _product(parts[0], inner[1])])
    above = _sum([_product(inner[0], parts[1]), _product(number(-1), _product(parts[0], inner[1]))])
    return Node("quotient", (above, _power(parts[1], 2)))


def _power_rule(base: Node, exponent: Node, name: str) -> Node:
    found = []
    if name in variables(base):
        lower = Node("power", (base, _sum([exponent, number(-1)])))
        found.append(_product(_product(exponent, lower), _derivative(base, name)))
    if name in variables(exponent):
        whole = Node("power", (base, exponent))
        growth = number(1) if base.kind == "variable" and base.name in EULER else Node("call", (base,), "ln")
        found.append(_product(_product(whole, growth), _derivative(exponent, name)))
    return _sum(found)


def _chain_rule(node: Node, name: str) -> Node:
    argument = node.parts[0]
    degrees = any(one.kind == "degrees" for one in walk(node))
    if degrees or any(name in variables(part) for part in node.parts[1:]):
        raise UnreadableError("degrees, or a logarithm to a variable base")
    if node.name in ("log", "ln"):
        base = node.parts[1] if len(node.parts) > 1 else number(10) if node.name == "log" else None
        below = argument if base is None else _product(argument, Node("call", (base,), "ln"))
        return Node("quotient", (_derivative(argument, name), below))

    def call(function: str) -> Node:
        return Node("call", (argument,), function)

    def over(below: Node) -> Node:
        return Node("quotient", (number(1), below))

    minus = number(-1)
    square = _power(argument, 2)
    rest = _sum([number(1), _product(minus, square)])
    rules: dict[str, Callable[[], Node]] = {
        "sqrt": lambda: over(_product(number(2), node)),
        "exp": lambda: node,
        "abs": lambda: Node("quotient", (argument, node)),
        "sin": lambda: call("cos"),
        "cos": lambda: _product(minus, call("sin")),
        "tan": lambda: _power(call("sec"), 2),
        "cot": lambda: _product(minus, _power(call("csc"), 2)),
        "sec": lambda: _product(node, call("tan")),
        "csc": lambda: _product(minus, _product(node, call("cot"))),
        "arcsin": lambda: over(Node("call", (rest,), "sqrt")),
        "arccos": lambda: _product(minus, over(Node("call", (rest,), "sqrt"))),
        "arctan": lambda: over(_sum([number(1), square])),
    }
    if node.name not in rules:
        raise UnreadableError(f"the derivative of {node.name}")
    return _product(rules[node.name](), _derivative(argument, name))


def _is(node: Node, value: int) -> bool:
    return node.kind == "number" and node.value == value


def _sum(terms: Iterable[Node]) -> Node:
    kept = [term for term in terms if not _is(term, 0)] or [number(0)]
    return Node("sum", tuple(kept)) if len(kept) > 1 else kept[0]


def _product(left: Node, right: Node) -> Node:
    if _is(left, 0) or _is(right, 0):
        return number(0)
    return right if _is(left, 1) else left if _is(right, 1) else Node("product", (left, right))


def _power(base: Node, exponent: int) -> Node:
    return Node("power", (base, number(exponent)))


# --- definite integrals ---


def definite(body: Node, name: str, low: Node, high: Node) -> Node:
    """Return the integral of `body` over a variable between two bounds as a tree.

    Raises:
        UnreadableError: no polynomial, and variables are left or the quadrature does not settle.
        TooLargeError: a value exceeds the bounds.
    """
    if name in variables(low) | variables(high):
        raise UnreadableError("a bound that names the variable of integration")
    try:
        antiderivative = _polynomial_antiderivative(body, name)
    except UnreadableError:
        return number(Fraction(_quadrature(body, name, low, high)))
    return between(antiderivative, name, low, high)


def between(body: Node, name: str, low: Node, high: Node) -> Node:
    """Return the value of a tree at the upper bound less its value at the lower one."""
    return _sum([substituted(body, name, high), _product(number(-1), substituted(body, name, low))])


def substituted(body: Node, name: str, value: Node) -> Node:
    """Return `body` with an expression in place of a variable.

    Raises:
        TooLargeError: the result would have over `MAX_NODES` nodes.
    """
    nodes = walk(body)
    places = sum(one.kind == "variable" and one.name == name for one in nodes)
    if len(nodes) + places * len(walk(value)) > MAX_NODES:
        raise TooLargeError("an expression put in for a variable is too large")
    return replaced(body, name, value)


def _polynomial_antiderivative(body: Node, name: str) -> Node:
    above, below = rational(body, USUAL)
    if set(below) != {()}:
        raise UnreadableError("no polynomial")
    terms = []
    for monomial, coefficient in above.items():
        exponents = dict(monomial)
        exponents[name] = exponents.get(name, 0) + 1
        term = number(coefficient / below[()] / exponents[name])
        for factor, exponent in exponents.items():
            term = _product(term, _power(Node("variable", name=factor), exponent))
        terms.append(term)
    return _sum(terms)


def _quadrature(body: Node, name: str, low: Node, high: Node) -> float:
    if names(body) - {name} or names(low) or names(high) or any(one.kind == "mixed" for one in walk(body)):
        raise UnreadableError("an integral with parameters")
    try:
        start, end = _real_value(low, {}), _real_value(high, {})
        estimates = [_gauss(body, name, start, end, panels) for panels in _PANELS]
    except UndefinedError as error:
        raise UnreadableError("an integrand without a real value") from error
    if not max(estimates) - min(estimates) <= max(1e-8 * abs(estimates[-1]), 1e-10):
        raise UnreadableError("the quadrature does not settle")
    return estimates[-1]


def _gauss(body: Node, name: str, start: float, end: float, panels: int) -> float:
    """Composite five-point Gauss rule."""
    total = 0.0
    half = (end - start) / panels / 2
    for panel in range(panels):
        middle = start + (2 * panel + 1) * half
        for place, weight in _GAUSS:
            total += _real_value(body, {name: complex(middle + place * half)}) * weight * half
    return total


def _real_value(node: Node, point: dict[str, Fraction | complex], reading: Reading = USUAL) -> float:
    value = as_complex(evaluate(node, point, reading))
    if abs(value.imag) > 1e-9 * max(abs(value), 1):
        raise UndefinedError("not real")
    return value.real


# --- comparison ---


def compare(left: Node, right: Node) -> Agreement:
    """Return whether two trees are the same function, at fixed points; mixed numbers may be products.

    Numbers with decimals are never ``different`` within 12 %.
    """
    mixed = any(one.kind == "mixed" for side in (left, right) for one in walk(side))
    found = {_compare(left, right, reading) for reading in (USUAL, Reading(mixed=False))[: 1 + mixed]}
    return "same" if "same" in found else "different" if found == {"different"} else "unclear"


def natural(node: Node) -> Node:
    """Return the tree with logarithms without a base as natural ones, as calculus often means them."""
    parts = tuple(natural(part) for part in node.parts)
    name = "ln" if node.kind == "call" and node.name == "log" and len(parts) == 1 else node.name
    return node._replace(parts=parts, name=name)


def _compare(left: Node, right: Node, reading: Reading) -> Agreement:
    both = [*walk(left), *walk(right)]
    unknown = sorted(names(left) | names(right))
    if "i" in unknown or any(one.kind in ("plusminus", "percent", "degrees", "sigma") for one in both):
        return "unclear"
    clear = 0.12 if any("." in one.name for one in both if one.kind == "number") else _CLEAR
    agreed = differed = 0
    for index in range(len(_POINTS) if unknown else 1):
        point: dict[str, Fraction | complex] = {
            name: _POINTS[(index + 5 * place) % len(_POINTS)] for place, name in enumerate(unknown)
        }
        try:
            first, second = _real_value(left, point, reading), _real_value(right, point, reading)
        except (UndefinedError, UnreadableError):
            continue
        distance = abs(first - second)
        agreed += same(complex(first), complex(second), 1e-7)
        differed += distance > max(clear * max(abs(first), abs(second)), 1e-6)
        if agreed and differed:
            return "unclear"
    needed = _NEEDED if unknown else 1
    if agreed >= needed and not differed:
        return "same"
    return "different" if differed >= needed and not agreed else "unclear"
