r"""Formulas with derivatives and integrals → expression trees with a few kinds of nodes more.

Contract: as `expressions.parse`, with the nodes of `CALCULUS`: ``derivative`` and ``partial`` (parts: body; name:
variable; value: order) for ``\frac{d}{dx}``, ``d/dx`` and ``\frac{dy}{dx}``; ``prime`` (parts: argument, if any; name:
function; value: order) for ``f''(x)``; ``integral`` (body, low, high) and ``antiderivative`` (body); ``between`` (body,
low, high) for ``[F(x)]_0^1``. How much of a product or sum an operator without brackets covers is the `scope`, which
the caller varies. Not here: limits, improper bounds, differentials inside numerators other than ``\frac{dx}{...}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from sparring.oracles.expressions import GREEK, Node, Parser, number
from sparring.oracles.reading import Token, UnreadableError

Scope = Literal["factor", "product", "sum"]
SCOPES: tuple[Scope, ...] = ("factor", "product", "sum")
CALCULUS = frozenset(("derivative", "partial", "prime", "integral", "antiderivative", "between"))
_PRIMES = ("'", "’", "′")


def read(tokens: Sequence[Token], scope: Scope) -> Node:
    """Return the tree of one expression.

    Raises:
        UnreadableError: anything in it is not understood.
        TooLargeError: it is too long or too deep.
    """
    return _CalculusParser(tokens, scope).whole()


class _CalculusParser(Parser):
    def __init__(self, tokens: Sequence[Token], scope: Scope) -> None:
        super().__init__(tokens)
        self.scope = scope
        self.integrals = 0
        self.differential = ""  # the variable of \frac{dx}{...} in the integral that is being read

    def ahead(self, offset: int = 1) -> str:
        place = self.position + offset
        return self.tokens[place].text if place < len(self.tokens) else ""

    def variable(self) -> str:
        name = self.text
        if self.kind != "letter" and not (self.kind == "command" and name in GREEK):
            raise UnreadableError("a variable was expected")
        self.position += 1
        return name

    def at_differential(self) -> bool:
        following = self.tokens[self.position + 1 : self.position + 2]
        named = any(one.kind == "letter" or one.text in GREEK for one in following)
        return named and self.kind == "letter" and self.text == "d"

    # --- where the base class is asked ---

    def starts_atom(self) -> bool:
        if self.integrals and self.at_differential():
            return False
        return self.text in ("int", "∫") or super().starts_atom()

    def atom(self) -> Node:
        if (self.kind, self.text) in (("command", "int"), ("symbol", "∫")):
            return self.integral()
        if self.text == "d" and (
            self.ahead() in ("/", "^") or (self.ahead(2) == "/" and self.ahead(3) == "d")
        ):
            return self.operator("/", "")
        return super().atom()

    def named(self, name: str) -> Node:
        order = 0
        while self.text in _PRIMES:
            order += 1
            self.position += 1
        if not order:
            return super().named(name)
        parts = (self.group("("),) if self.text == "(" else ()
        return Node("prime", parts, name, Fraction(order))

    def fraction(self) -> Node:
        if self.text == "{" and self.ahead() in ("d", "partial"):
            if self.integrals and self.ahead(3) == "}" and self.ahead(5) not in ("d",):
                self.position += 2
                self.differential = self.variable()
                self.take("}")
                return Node("quotient", (number(1), self.argument()))
            self.position += 1
            return self.operator("}", "{")
        return super().fraction()

    def sum(self) -> Node:
        return self.evaluated(super().sum(), "sum")

    def product(self) -> Node:
        return self.evaluated(super().product(), "product")

    def postfix(self) -> Node:
        node = super().postfix()
        if self.text == "_" and self.tokens[self.position - 1].text in ("]", ")"):
            return Node("between", (node, *self.bounds()))
        return self.evaluated(node, "factor")

    # --- derivatives and integrals ---

    def evaluated(self, node: Node, scope: Scope) -> Node:
        """The expression between bounds where a bar with bounds follows: ``x^3|_0^1``."""
        if self.scope == scope and self.text == "|" and self.ahead() == "_":
            self.position += 1
            return Node("between", (node, *self.bounds()))
        return node

    def order(self) -> int:
        if self.text != "^":
            return 1
        self.position += 1
        exponent = self.script()
        if exponent.kind != "number" or exponent.value.denominator != 1 or not 1 <= exponent.value <= 9:
            raise UnreadableError("the order of a derivative")
        return int(exponent.value)

    def operator(self, closing: str, opening: str) -> Node:
        """``d/dx``, ``dy/dx`` or, from inside the numerator, ``\\frac{d^2}{dx^2}``, with what it is applied to."""
        self.descend()
        sign, body = self.text, None
        self.position += 1
        order = self.order()
        if self.text != closing:
            if self.ahead() == closing:
                body = Node("variable", name=self.variable())
            else:
                body = self.group("(") if self.text == "(" else self.product()
        self.take(closing)
        if opening:
            self.take(opening)
        self.take(sign)
        name = self.variable()
        if self.order() != order:
            raise UnreadableError("two orders of a derivative")
        if opening:
            self.take("}")
        if body is None:
            body = {"factor": self.postfix, "product": self.product, "sum": self.sum}[self.scope]()
        self.depth -= 1
        return Node("derivative" if sign == "d" else "partial", (body,), name, Fraction(order))

    def bound(self) -> Node:
        if self.text == "-":
            self.position += 1
            return Node("negative", (self.bound(),))
        return self.atom() if self.text == "π" else self.argument()

    def bounds(self) -> tuple[Node, Node]:
        self.take("_")
        low = self.bound()
        self.take("^")
        return low, self.bound()

    def integral(self) -> Node:
        self.position += 1
        limits = self.bounds() if self.text == "_" else ()
        outer, self.differential = self.differential, ""
        self.integrals += 1
        body = number(1) if self.at_differential() else self.sum()
        if self.at_differential():
            self.position += 1
            name = self.variable()
        elif self.differential:
            name = self.differential
        else:
            raise UnreadableError("an integral without its differential")
        self.integrals -= 1
        self.differential = outer
        return Node("integral" if limits else "antiderivative", (body, *limits), name)
