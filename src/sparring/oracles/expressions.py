r"""Expression trees and their two parsers, without `eval`: recursive descent for formulas, precedence climbing for prose.

Contract: `parse` reads one side of a relation in LaTeX or plain mathematical text, `calculation` the cleaned tokens of a
number expression; both understand all of it or raise `UnreadableError`; nothing is guessed or skipped. Length, operations
and nesting are bounded (`TooLargeError`). What has several readings (``1/2x``, ``f(x)`` as product or application,
digits with a base) is unreadable, or a node of its own (mixed numbers, percent) whose readings `values.py` tries; the
order of operations in a calculation is an argument. Trees are immutable. Not here:
where formulas and calculations stand in a text (`chains.py`, `equations.py`), values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from sparring.oracles.reading import Token, TooLargeError, UnreadableError
from sparring.oracles.words import word_set

# `Parser` is for its subclass in `contrib/oracles/calculus.py` alone.
__all__ = [
    "FUNCTIONS", "FUNCTION_LETTERS", "GREEK", "USUAL", "Functions", "Node", "Order", "calculation", "inlined", "number",
    "parse", "replaced", "variables", "walk",
]  # fmt: skip


class Node(NamedTuple):
    """An expression: ``number`` (value), ``variable`` (name), or an operation over parts.

    Operations: sum, product, quotient, power, negative, plusminus, call (name: sqrt, sin, log, binom, ...; root: a
    square root carried to many digits),
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


# --- the parser ---

MAX_CHARACTERS = 1500
MAX_DEPTH = 30
MAX_EITHER = 4  # places with two readings: each may double the tree

GREEK = word_set(
    """
    alpha beta gamma delta epsilon theta lambda mu phi varphi psi sigma tau rho zeta omega eta kappa
    """
)
FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "arcsin", "arccos", "arctan", "exp"]
)
_FRACTIONS = frozenset(("frac", "dfrac", "tfrac", "cfrac"))
_BINOMIALS = frozenset(("binom", "dbinom", "tbinom"))
_BEGIN_ATOMS = (
    FUNCTIONS | GREEK | _FRACTIONS | _BINOMIALS | {"sqrt", "pi", "lfloor", "lceil", "boxed", "fbox"}
)
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
# Letters that name functions rather than factors when a bracket follows.
FUNCTION_LETTERS = frozenset("fghFGHPQRTpqEVKJ")


def parse(tokens: Sequence[Token]) -> Node:
    """Return the tree of one expression.

    Raises:
        UnreadableError: anything in it is not understood (`TooLargeError`: it is too long or too deep).
    """
    return Parser(tokens).whole()


class Parser:
    """Recursive descent over one token list."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.doubts = 0

    def whole(self) -> Node:
        """The tree of all tokens; raises what `parse` raises."""
        if not self.tokens:
            raise UnreadableError("nothing there")
        if self.tokens[-1].end - self.tokens[0].start > MAX_CHARACTERS:
            raise TooLargeError("the formula is too long")
        node = self.sum()
        if self.position != len(self.tokens):
            raise UnreadableError(f"cannot read {self.text!r}")
        return node

    @property
    def text(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    @property
    def kind(self) -> str:
        return self.tokens[self.position].kind if self.position < len(self.tokens) else "end"

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these symbols."""
        return self.kind == "symbol" and self.text in texts

    def either(self, usual: Node, other: Node) -> Node:
        """Two readings of the same signs."""
        self.doubts += 1
        if self.doubts > MAX_EITHER:
            raise TooLargeError("too many signs with two readings")
        return Node("either", (usual, other))

    def descend(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLargeError("nested too deeply")

    def take(self, text: str) -> None:
        if self.text != text:
            raise UnreadableError(f"expected {text!r}, found {self.text!r}")
        self.position += 1

    def sum(self) -> Node:
        self.descend()
        terms = [self.product()]
        while self.at("+", "-", "±", "∓"):
            sign = self.text
            self.position += 1
            terms.append(_signed(sign, self.product()))
            if _is_share(terms[-1]) and not any(map(_is_share, terms[:-1])):
                if terms[0].kind == "either":
                    raise UnreadableError("percentages of the first amount or of the last one")
                terms = [self.either(*_changed_by_share(terms))]
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("sum", tuple(terms))

    def product(self) -> Node:
        node = self.signed()
        slashed = False
        while True:
            if self.at("*"):
                self.position += 1
                node, slashed = Node("product", (node, self.signed())), False
            elif self.at("/", "÷"):
                node, slashed = self.divided(node, slashed)
            elif self.starts_atom():
                if self.tokens[self.position - 1].text == "%":
                    raise UnreadableError("a percentage or a remainder")
                if slashed:
                    raise UnreadableError("what stands below the slash is not clear")
                if self.kind == "number" and self.tokens[self.position - 1].kind in ("number", "letter"):
                    raise UnreadableError("two numbers side by side")
                bare = self.text in _FRACTIONS  # 36(13/6) is a product, 2\frac{1}{6} may be a mixed number
                factor = self.postfix()
                node = _juxtaposed(node, factor) if bare else Node("product", (node, factor))
            else:
                return node

    def divided(self, node: Node, slashed: bool) -> tuple[Node, bool]:
        """A quotient, and whether what stands below may go on; several slashes are read from the left, or as fractions."""
        loose = self.loose()
        self.position += 1
        factor = self.signed()
        if loose and self.at("/") and not self.loose():  # 3/4 ÷ 1/2
            self.position += 1
            below = self.signed()
            from_left = Node("quotient", (Node("quotient", (node, factor)), below))
            return self.either(from_left, Node("quotient", (node, Node("quotient", (factor, below))))), False
        quotient = Node("quotient", (node, factor))
        if slashed and node.kind == "quotient":  # 25 / 1 / 3
            above, below = node.parts
            other = Node("quotient", (above, Node("quotient", (below, factor))))
            return self.either(quotient, other), False
        return quotient, True

    def loose(self) -> bool:
        """Whether the division sign here stands apart, so that slashes beside it bind closer."""
        token, before = self.tokens[self.position], self.tokens[self.position - 1]
        return token.text == "÷" or token.start > before.end

    def signed(self) -> Node:
        if not self.at("-", "+", "±", "∓"):
            return self.postfix()
        sign = self.text
        self.position += 1
        self.descend()
        inner = self.signed()
        self.depth -= 1
        return _signed(sign, inner)

    def starts_atom(self) -> bool:
        if self.kind in ("number", "letter", "name"):
            return True
        if self.kind == "command":
            return self.text in _BEGIN_ATOMS
        return self.at("(", "[", "{", "π", "√", "\\{")

    def postfix(self) -> Node:
        node = self.atom()
        while True:
            if self.kind == "degrees":
                self.position += 1
                node = Node("degrees", (node,))
            elif self.at("%"):
                self.position += 1
                node = Node("percent", (node,))
            elif self.at("!"):
                self.position += 1
                if self.text == "!":
                    raise UnreadableError("double factorial")
                node = Node("call", (node,), "factorial")
            elif self.at("²", "³"):
                node = Node("power", (node, number(2 if self.text == "²" else 3)))
                self.position += 1
            elif self.at("^"):
                node = self.tower(node)
            else:
                return node

    def tower(self, base: Node) -> Node:
        """A power, or several that stand upon each other without braces."""
        exponents = []
        while self.at("^"):
            self.position += 1
            exponents.append(self.script())
        upper = exponents[-1]
        for exponent in reversed(exponents[:-1]):
            upper = Node("power", (exponent, upper))
        usual = Node("power", (base, upper))
        if len(exponents) == 1:
            return usual
        for exponent in exponents:
            base = Node("power", (base, exponent))
        return self.either(usual, base)

    def script(self) -> Node:
        """An exponent: a group, one digit of LaTeX, a letter, or a signed number of plain text."""
        if self.text == "{":
            return self.group("{")
        if self.text == "-":
            self.position += 1
            return Node("negative", (self.script(),))
        if self.kind == "number" and len(self.text) > 1 and self.position + 1 < len(self.tokens):
            # LaTeX sets only the first digit up; plain text means the whole number
            following = self.tokens[self.position + 1]
            if following.kind in ("letter", "number") or following.text == "^":
                raise UnreadableError("an exponent without braces")
        if self.kind in ("letter", "number") or self.text == "(":
            return self.atom()
        if self.kind == "command" and (self.text in _FRACTIONS or self.text in GREEK):
            return self.atom()
        raise UnreadableError(f"an exponent {self.text!r}")

    def group(self, opening: str) -> Node:
        self.take(opening)
        node = self.sum()
        self.take(_CLOSING[opening])
        return node

    def argument(self) -> Node:
        """The argument of a LaTeX command: a group or a single token (one digit of a number)."""
        if self.text == "{":
            return self.group("{")
        if (self.kind == "number" and self.text.isdigit() and len(self.text) == 1) or self.kind == "letter":
            return self.atom()
        if self.kind == "command" and self.text == "pi":
            return self.atom()
        raise UnreadableError("an argument without braces")

    def two_arguments(self) -> tuple[Node, Node]:
        r"""Two arguments of a LaTeX command, or two digits without braces (``\frac12``)."""
        if self.kind == "number" and self.text.isdigit() and len(self.text) == 2:
            digits = self.text
            self.position += 1
            return number(int(digits[0])), number(int(digits[1]))
        above = self.argument()
        return above, self.argument()

    def fraction(self) -> Node:
        derivative = self.text == "{" and [
            one.text for one in self.tokens[self.position + 1 : self.position + 2]
        ]
        if (self.kind == "letter" and self.text == "d") or derivative == ["d"]:
            raise UnreadableError("a derivative")
        return Node("quotient", self.two_arguments())

    def atom(self) -> Node:
        kind, text = self.kind, self.text
        if kind == "number":
            self.position += 1
            if self.text == "_":
                raise UnreadableError("a number with a base")
            if len(text) > 1 and text[0] == "0" and text[1].isdigit():
                raise UnreadableError("a number that begins with 0")
            value = self.tokens[self.position - 1].value
            assert value is not None  # else refused by the lexer
            return Node("number", name=re.sub(r"[^\d.]", "", text), value=value)
        if kind in ("letter", "name"):
            self.position += 1
            return self.named(text)
        if kind == "command":
            return self.command()
        if kind == "symbol":
            if text in _CLOSING:
                return self.group(text)
            if text == "π":
                self.position += 1
                return Node("constant", name="pi")
            if text == "√":
                self.position += 1
                return Node("call", (self.atom(),), "sqrt")
            if text == "|":
                return self.absolute()
        raise UnreadableError(f"cannot read {text!r}" if text else "something is missing")

    def absolute(self) -> Node:
        depth, end = 0, self.position + 1
        while end < len(self.tokens) and not (depth == 0 and self.tokens[end].text == "|"):
            depth += (self.tokens[end].text in "([{") - (self.tokens[end].text in ")]}")
            end += 1
        if end >= len(self.tokens) or any(token.text == "|" for token in self.tokens[end + 1 :]):
            raise UnreadableError("bars that may open or close")
        inner = Parser(self.tokens[self.position + 1 : end])
        inner.depth, inner.doubts = self.depth + 1, self.doubts
        node = inner.sum()
        self.doubts = inner.doubts
        if inner.position != len(inner.tokens):
            raise UnreadableError("bars around something else")
        self.position = end + 1
        return Node("call", (node,), "abs")

    def named(self, name: str) -> Node:
        """A variable with its subscript, or a function of the text applied to arguments."""
        if self.text == "_":
            self.position += 1
            if self.text == "{":
                start = self.position
                while self.text not in ("}", ""):
                    self.position += 1
                inside = self.tokens[start + 1 : self.position]
                self.take("}")
                if any(token.kind not in ("number", "letter", "symbol", "words") for token in inside):
                    raise UnreadableError("a subscript")
                name += "_" + "".join(token.text for token in inside)
            elif self.kind in ("number", "letter") and len(self.text) == 1:
                name += "_" + self.text
                self.position += 1
            else:
                raise UnreadableError("a subscript")
        if self.text in ("'", "’", "\\'"):
            raise UnreadableError("a prime")
        if self.text == "^" and name[0] in "fghFGH" and self._inverse_ahead():
            raise UnreadableError("an inverse function")
        if self.text == "(" and (name[0] in FUNCTION_LETTERS or len(name) > 1):
            self.position += 1
            arguments = [self.sum()]
            while self.text == ",":
                self.position += 1
                arguments.append(self.sum())
            self.take(")")
            return Node("application", tuple(arguments), name)
        return Node("variable", name=name)

    def _inverse_ahead(self) -> bool:
        following = [token.text for token in self.tokens[self.position + 1 : self.position + 4]]
        return following in (["{", "-", "1"], ["-", "1", "("]) or "[" in following[:2]

    def command(self) -> Node:
        name = self.text
        self.position += 1
        if name in _FRACTIONS:
            return self.fraction()
        if name in _BINOMIALS:
            return Node("call", self.two_arguments(), "binom")
        if name == "sqrt":
            if self.text == "[":
                degree = self.group("[")
                return Node("power", (self.argument(), Node("quotient", (number(1), degree))))
            return Node("call", (self.group("(") if self.text == "(" else self.argument(),), "sqrt")
        if name in ("boxed", "fbox"):
            return self.group("{")
        if name in ("lfloor", "lceil"):
            inner = self.sum()
            self.take("rfloor" if name == "lfloor" else "rceil")
            return Node("call", (inner,), "floor" if name == "lfloor" else "ceil")
        if name == "pi":
            return Node("constant", name="pi")
        if name in GREEK:
            return self.named(name)
        if name == "sum":
            return self.finite_sum()
        if name in FUNCTIONS:
            return self.function(name)
        raise UnreadableError(f"\\{name}")

    def function(self, name: str) -> Node:
        exponent = base = None
        if name == "log" and self.text == "_":
            self.position += 1
            base = self.argument()
        if self.text == "^":
            self.position += 1
            exponent = self.script()
            if exponent.kind != "number":
                raise UnreadableError("an inverse function")
        if self.text in ("(", "{", "["):
            argument = self.group(self.text)
            if self.text == "^":
                raise UnreadableError("a power of the argument or of the function")
        else:
            argument = self.postfix()
            while self.starts_atom() and self.text not in FUNCTIONS and self.text not in ("(", "["):
                argument = _juxtaposed(argument, self.postfix())
        node = Node("call", (argument,) if base is None else (argument, base), name)
        return node if exponent is None else Node("power", (node, exponent))

    def finite_sum(self) -> Node:
        self.take("_")
        self.take("{")
        if self.kind != "letter":
            raise UnreadableError("a sum over something else")
        index = self.text
        self.position += 1
        self.take("=")
        first = self.sum()
        self.take("}")
        self.take("^")
        last = self.script()
        return Node("sigma", (first, last, self.product()), index)


def _is_share(node: Node) -> bool:
    """Whether a term is a percentage."""
    return node.kind == "percent" or (node.kind in ("negative", "sum") and all(map(_is_share, node.parts)))


def _changed_by_share(terms: Sequence[Node]) -> tuple[Node, Node]:
    """``40 - 25%``: the amount less a share of itself, or less a quarter of one."""
    before = terms[0] if len(terms) == 2 else Node("sum", tuple(terms[:-1]))
    changed = Node("product", (before, Node("sum", (number(1), terms[-1]))))
    return changed, Node("sum", tuple(terms))


def _signed(sign: str, node: Node) -> Node:
    if sign in "±∓":
        node = Node("plusminus", (node,))
    return Node("negative", (node,)) if sign in "-∓" else node


def _juxtaposed(left: Node, right: Node) -> Node:
    whole = left.kind == "number" and left.value.denominator == 1
    if whole and right.kind == "quotient" and all(part.kind == "number" for part in right.parts):
        return Node("mixed", (left, right))
    return Node("product", (left, right))


# --- the parser of calculations ---

USUAL_ORDER = {"+": 1, "-": 1, "*": 2, "/": 2, "of": 2, "negative": 3, "^": 4, "root": 5, "and": 6}
"""Binding strength. A unary minus binds looser than a power (-3^2 is -9) and tighter than a product."""
MAX_OPERATIONS = 400
MAX_NESTING = 64


class Order(NamedTuple):
    """An order of operations, to test the readings of a sloppy calculation.

    Attributes:
        strengths: binding strength of each operator.
        right_first: read ``a / b / c`` as ``a / (b / c)``, and ``a ^ b ^ c`` as ``(a ^ b) ^ c``.
        shares: read every percentage as its share of one; else ``40 - 25%`` takes a quarter of the 40 away.
    """

    strengths: Mapping[str, int] = USUAL_ORDER
    right_first: bool = False
    shares: bool = False


USUAL = Order()


def calculation(tokens: Sequence[Token], order: Order = USUAL) -> Node:
    """Return the tree of a number expression: numbers, operators, brackets, roots, ``%`` and ``!``.

    A bracket directly after an operand multiplies.

    Raises:
        UnreadableError: the tokens are no expression (`TooLargeError`: one beyond the bounds).
    """
    return _Calculation(tokens, order).whole()


class _Calculation:
    """Precedence climbing over one token list."""

    def __init__(self, tokens: Sequence[Token], order: Order) -> None:
        self.tokens = tokens
        self.strengths, self.right_first, self.shares = order
        self.position = self.nesting = self.operations = 0

    def whole(self) -> Node:
        node = self.read(-1)
        if self.position != len(self.tokens):
            raise UnreadableError("two expressions side by side")
        return node

    def read(self, floor: int) -> Node:
        """An operand, and the operators after it that bind more strongly than `floor`."""
        node = self.operand()
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            implied = token.kind in ("open", "root")
            if not implied and token.kind not in ("operator", "of"):
                break
            sign = "*" if implied else token.text
            strength = self.strengths[sign]
            from_right = (sign == "^") != self.right_first and sign in "^/"
            if strength < floor or (strength == floor and not from_right):
                break
            self.position += not implied
            self.count()
            right = self.nested(strength) if from_right else self.read(strength)
            node = self.joined(sign, node, right)
        return node

    def operand(self) -> Node:
        if self.position >= len(self.tokens):
            raise UnreadableError("something is missing")
        token = self.tokens[self.position]
        self.position += 1
        if token.kind == "number":
            if token.value is None:
                raise TooLargeError("a number of too many digits")
            node = Node("number", name=token.text, value=token.value)
        elif token.kind in ("open", "fraction"):
            node = self.bracket()
        elif token.kind == "root":
            self.count()
            return Node("call", (self.nested(self.strengths["root"]),), "root")
        elif token.kind == "operator" and token.text in "+-":
            self.count()
            if token.text == "+":
                return self.operand()
            return Node("negative", (self.nested(self.strengths["negative"]),))
        else:
            raise UnreadableError(f"cannot read {token.text!r}")
        while self.position < len(self.tokens) and self.tokens[self.position].kind in (
            "percent",
            "factorial",
        ):
            percent = self.tokens[self.position].kind == "percent"
            node = Node("percent", (node,)) if percent else Node("call", (node,), "factorial")
            self.position += 1
        return node

    def bracket(self) -> Node:
        node = self.nested(-1)
        if self.position >= len(self.tokens) or self.tokens[self.position].kind != "close":
            raise UnreadableError("a bracket that does not close")
        self.position += 1
        return node

    def nested(self, floor: int) -> Node:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise TooLargeError("nested too deeply")
        node = self.read(floor)
        self.nesting -= 1
        return node

    def count(self) -> None:
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise TooLargeError("too many operations")

    def joined(self, sign: str, left: Node, right: Node) -> Node:
        if sign in "+-" or sign == "and":
            if sign == "-":
                right = Node("negative", (right,))
            terms = (*(left.parts if left.kind == "sum" else (left,)), right)
            if not self.shares and _is_share(right) and not all(map(_is_share, terms)):
                return _changed_by_share(terms)[0]
            return Node("sum", terms)
        if sign == "^":
            return Node("power", (left, right))
        return Node("quotient" if sign in "/÷" else "product", (left, right))
