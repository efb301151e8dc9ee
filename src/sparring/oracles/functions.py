"""Functions that a text defines: their bodies in place of their applications.

Contract: `inlined` is pure and bounded. Not here: finding the definitions (`algebra.py`).
"""

from __future__ import annotations

from sparring.oracles.formula_nodes import Node, replaced, walk
from sparring.oracles.formula_tokens import TooLargeError

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
