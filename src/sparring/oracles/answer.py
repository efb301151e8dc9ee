r"""The answer oracle: a step's final answer against the problem's reference answer.

Contract: only a step that clearly states a final answer is judged (``\boxed{…}``, ``#### …``, "the (final) answer is
…" at its end). Plain numbers (currency, percent, separators, fractions, units) are compared exactly here; everything
else by math-verify, without its alarm, which works only in a main thread: limits of time belong to the caller.
``wrong`` needs two answers of the same kind (both numbers, or both parsed by math-verify) that differ beyond rounding
and beyond the scale of percent and units; a step's single box is taken for its final answer. Not here: whether the
steps before lead to the answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from sparring.oracles.formula_nodes import Node, variables, walk
from sparring.oracles.formula_tokens import UnreadableError, tokenize
from sparring.oracles.formulas import parse
from sparring.oracles.values import Reading, UndefinedError, as_complex, evaluate, same
from sparring.traces.boxed import boxes
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

MAX_CHARACTERS = 400
_STATED = re.compile(
    r"(?:####\s*(?P<hashes>[^\n]+)"
    r"|\b(?:the\s+)?(?:final\s+|correct\s+)?answer\s+is:?\s*(?P<said>[^\n]+?)\s*(?:\.\s*)?$)",
    re.IGNORECASE | re.MULTILINE,
)
_DRESS = re.compile(
    r"\\(?:text|mathrm|textbf|mbox)\s*\{[^{}]*\}(?:\s*\^\s*\{?\d\}?)?|\^\s*\{?\\circ\}?|°|\\[!,;: ]|\\?\$|[€£¥]|\\(?:left|right)(?![A-Za-z])|\*\*"  # noqa: E501
)
_UNITS = re.compile(
    r"(?<=[\d}%)])\s*(?:[A-Za-z]{2,}|[mglsh])(?:[ /](?:per )?[A-Za-z]+){0,3}(?:\s*\^\s*\{?\d\}?|²|³)?\s*$"
)
# Long numbers, and powers and factorials that sympy would write out.
_UNBOUNDED = re.compile(
    r"\d{60,}|\^\s*\{?\s*(?:\d{3,}|[^{}]*\^)|!\s*!|\d{3,}\s*!|\*\*\s*\d{3,}|\^\s*\{?\s*\(?\s*\d*\s*!"
)
_HEDGED = re.compile(r"\b(?:not|if|would|wrong|incorrect|suppose|can't|cannot|unless|isn't)\b", re.IGNORECASE)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the verdict on the final answer that `step` states; never raises on bad text."""
    if not problem.answer or not problem.answer.strip():
        return Verdict("undecided", "answer:no_answer")
    stated = stated_answer(step)
    if stated is None:
        return Verdict("undecided", "answer:nothing_to_check")
    text, span = stated
    reference = _content(problem.answer)
    if any(len(one) > MAX_CHARACTERS or _UNBOUNDED.search(one) for one in (text, reference)):
        return Verdict("undecided", "answer:too_large", span=span)
    equal = equivalent(reference, text)
    detail = f"the answer is {reference}, not {text}"
    if equal is None:
        return Verdict("undecided", "answer:incomparable", span=span)
    if equal:
        return Verdict("correct", "answer:agrees", span=span)
    if _HEDGED.search(step[max(0, span[0] - 80) : span[0]]):
        return Verdict("undecided", "answer:hedged", detail, span)
    return Verdict("wrong", "answer:differs", detail, span)


def stated_answer(step: str) -> tuple[str, tuple[int, int]] | None:
    """Return the final answer of a step and its place; ``None`` where none, or more than one box, is stated."""
    found = boxes(step)
    if found:
        if len({_plain(box.content) for box in found}) > 1 or not found[-1].content.strip():
            return None
        return found[-1].content.strip(), (found[-1].start, found[-1].end)
    matches = list(_STATED.finditer(step))
    if not matches:
        return None
    group = "hashes" if matches[-1]["hashes"] else "said"
    text = _content(matches[-1][group])
    if group == "said" and len(text.split()) > 4:
        return None  # a sentence, not an answer
    return (text, matches[-1].span(group)) if text else None


def _content(text: str) -> str:
    found = boxes(text)
    text = found[-1].content if found else text
    text = re.sub(
        r"^\s*(?:\$\$?|\\\[|\\\()(.*?)(?:\$\$?|\\\]|\\\))[.\s]*$", r"\1", text.strip(), flags=re.DOTALL
    )
    return text.strip().strip("*_` ").rstrip(".").strip()


def _plain(text: str) -> str:
    return re.sub(r"\s+|\\(?:left|right|!|,|;)|\\[dt](?=frac)", "", text)


def equivalent(reference: str, text: str) -> bool | None:
    """Return whether two answers mean the same, ``None`` where that cannot be told."""
    if _plain(reference).lower() == _plain(text).lower():
        return True
    first, second = _number(reference), _number(text)
    if first is not None and second is not None:
        return _numbers_agree(first, second, reference, text)
    return _verified(reference, text)


def _number(text: str) -> Node | None:
    """The tree of an answer that is one constant; names before ``=`` and units after it are dropped."""
    text = _DRESS.sub(" ", re.sub(r"^[A-Za-z]\w{0,3}\s*=", "", text.strip())).strip()
    text = _UNITS.sub("", text).strip()
    try:
        node = parse(tokenize(text))
    except (UnreadableError, ValueError, RecursionError):
        return None
    if variables(node) - {"i", "e"} or any(one.kind in ("application", "plusminus") for one in walk(node)):
        return None
    return node


def _numbers_agree(first: Node, second: Node, reference: str, text: str) -> bool | None:
    try:
        values = [evaluate(node, {}, Reading(percent=False)) for node in (first, second)]
        if same(values[0], values[1]):
            return True
        if "_" in reference + text or re.search(r"\d\s+\d", text):
            return None
        share = as_complex(values[1]) / as_complex(values[0]) if values[0] else complex(0)
    except (UnreadableError, UndefinedError, ZeroDivisionError):
        return None
    if values[0] and abs(share - 1) < 0.02 and re.search(r"\.|\\pi|π", reference + text):
        return None  # rounded
    scaled = any(same(values[0] * scale, values[1]) or same(values[0], values[1] * scale)
                 for scale in (Fraction(100), Fraction(1000), Fraction(60), Fraction(12)))  # fmt: skip
    return None if scaled else False


@lru_cache(maxsize=4096)
def _verified(reference: str, text: str) -> bool | None:
    """Compare by math-verify; ``None`` where either is not parsed, or they are of different kinds."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, verify
    from math_verify import parse as read

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    configs = (LatexExtractionConfig(), ExprExtractionConfig())
    try:
        parsed = [
            read(f"${one}$", configs, parsing_timeout=None, raise_on_error=False, fallback_mode="no_fallback")
            for one in (reference, text)
        ]
        if not all(parsed):
            return None
        if any(verify(*pair, timeout_seconds=None, raise_on_error=False) for pair in (parsed, parsed[::-1])):
            return True
    except Exception:  # the parsers of other people raise whatever they like on bad text
        return None
    if type(parsed[0][0]) is not type(parsed[1][0]) or "\\text" in reference + text:
        return None
    return False if _shape(reference) == _shape(text) else None


def _shape(text: str) -> tuple[int, bool, bool, frozenset[str]]:
    """What two answers must share before their difference counts: commas, relation, union, letters."""
    bare = re.sub(r"\\[A-Za-z]+", "", text)
    return text.count(","), "=" in text, "cup" in text, frozenset(re.findall(r"[A-Za-z]", bare))
