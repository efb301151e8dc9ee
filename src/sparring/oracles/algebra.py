"""The algebra oracle: identities, equations that follow from others, inequalities, values of functions.

Contract: ``wrong`` only where a rewriting is false for all values (`links.py`), where an equation that the words
present as derived shares no solution with what it is derived from (`derivations.py`), where an inequality contradicts
the one before (`inequalities.py`), or where a stated derivative or integral is another one (`calculus.py`).
``correct``: at least one relation was verified and none is left open.
Problem and prefix are taken to be true. Definitions, hypotheses, trials, congruences, other operations, ellipses and
units that differ are ``undecided``. Bounded on any text, no `eval`. Not here: plain number calculations in prose
(`arithmetic.py`), lost roots and hypotheses of theorems (`preconditions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from sparring.oracles.calculus import SIGNS, covers, judge_calculus
from sparring.oracles.chains import Chain, find_chains
from sparring.oracles.derivations import History, make_fact
from sparring.oracles.formulas import TooLargeError, variables, walk
from sparring.oracles.functions import Functions
from sparring.oracles.inequalities import follows as inequality_follows
from sparring.oracles.links import Link, check_chain
from sparring.oracles.verdict import Verdict
from sparring.traces.records import Problem

MAX_PREFIX = 60

RETRACTED = re.compile(
    r"\b(?:not|isn't|wrong|incorrect|false|contradict\w*|impossible|mistake|invalid|doesn't|don't|error|cannot|can't|"
    r"never|no solutions?|extraneous|nope|oops|fails?|typo)\b|\?\s*$|≠|\\ne\b|\\neq\b",
    re.IGNORECASE,
)
_OTHER_ARITHMETIC = re.compile(
    r"\\p?mod\b|\bmod(?:ulo)?\b|\\equiv|≡|\bbase[- ]|\bbinary\b|\\ast\b|\\star\b|\\oplus|\\otimes|\\diamond|\\clubsuit|"
    r"\\spadesuit|\\heartsuit|\\odot|\\circledast|\boperations?\b[^.]{0,30}\bdefined\b|\bdefine\b[^.$]{0,30}\boperation|"
    r"\bclock\b|\bremainder\b|matri|determinant|vector",
    re.IGNORECASE,
)
_OWN_STAR = re.compile(r"[A-Za-z)]\s*(?:\*|@|#|\\#|\\&|\$ ?x ?\$)\s*[A-Za-z(]|\d\s*\*\s*\d")
_NAMED_E = re.compile(r"(?<![A-Za-z\\])e\s*(?:\\left)?\(")  # a function called e, and not Euler's number
_TRIED = re.compile(
    r"\b(?:plug\w*|check\w*|test\w*|try|trying|verif\w*|substitut\w*|becomes|satisf\w*|guess)\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|when|whenever|let|lets|suppose|supposing|assume|assuming|for|case|cases|try|trying|test|plug\w*|"
    r"substitut\w*|check\w*|another|other|similarly|or|where|consider|instead|say|choose|would|could|might|example|guess|"
    r"at|minimum|maximum|vertex|axis|line|point|passes|next|initial\w*|first|second|third|but|want|need|define|"
    r"denote|given|possib\w*|either|same|now|different|as|unless|until|take|taking|setting|set|equation|with|given|know)\b|let's",
    re.IGNORECASE,
)
_DERIVED = re.compile(
    r"\b(?:so|thus|therefore|hence|then|gives?|giving|get|gets|getting|obtain\w*|yields?|simplif\w*|becomes?|means|"
    r"implies|which is|divid\w*|multipl\w*|subtract\w*|adding|add|solv\w*|rearrang\w*|factor\w*|expand\w*|find|"
    r"reduces?|isolat\w*|equivalent\w*|combin\w*|distribut\w*|cancel\w*|tak(?:e|ing) the)\b",
    re.IGNORECASE,
)
_REWRITTEN = re.compile(
    r"\b(?:simplif\w*|divid\w*|multipl\w*|rearrang\w*|factor\w*|expand\w*|reduces?|isolat\w*|equivalent|combin\w*|"
    r"distribut\w*|becomes?|rewrit\w*|complet\w*|collect\w*|mov(?:e|ing))\b",
    re.IGNORECASE,
)
_CASES = re.compile(
    r"\b(?:if|suppose|supposing|assum\w+|cases?|try|trying|tests?|testing|when|guess|would|possibilit\w+|possible|"
    r"either|for example|plug\w*|for each|for \$?\\?\(?[a-z] ?=|works?)\b",
    re.IGNORECASE,
)
_INTRODUCED = re.compile(r"\b(?:let|denote|define|suppose|call)\b[^.]{0,40}$", re.IGNORECASE)


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the algebra verdict on `step`; never raises on bad text, never runs unbounded."""
    try:
        chains = find_chains(step)
        if not chains and not SIGNS.search(step):
            return Verdict("undecided", "algebra:nothing_to_check")
        return _judge(problem, prefix, step, chains)
    except TooLargeError as error:
        return Verdict("undecided", "algebra:too_large", str(error))
    except RecursionError:
        return Verdict("undecided", "algebra:too_large", "nested too deeply")


def _judge(problem: Problem, prefix: Sequence[str], step: str, chains: Sequence[Chain]) -> Verdict:
    if any(_OTHER_ARITHMETIC.search(text) for text in (step, problem.question)) or _OWN_STAR.search(
        problem.question
    ):
        return Verdict("undecided", "algebra:other_arithmetic")
    background = [problem.question, *prefix[-MAX_PREFIX:]]
    functions = defined_functions(chains_of(text) for text in background)
    texts = [*map(chains_of, background), chains]
    findings = stated = judge_calculus(step, texts, RETRACTED.search(step) is not None)
    for number, chain in enumerate(chains):
        findings = findings + [
            _link_verdict(link, chain, step)
            for link in check_chain(chain, functions)
            if not any(covers(one, link.span) for one in stated)
        ]
        if any(relation in ("<", "<=", ">", ">=") for relation in chain.relations):
            findings = [*findings, _inequality_verdict(chains, number, background, step)]
    return _combined([*findings, *_derivation_verdicts(background, step, chains)])


@lru_cache(maxsize=512)
def chains_of(text: str) -> tuple[Chain, ...]:
    """Return the chains of a text, none where it is too large; remembered, as prefixes come again."""
    try:
        return tuple(find_chains(text))
    except TooLargeError:
        return ()


def defined_functions(texts: Iterable[Sequence[Chain]]) -> Functions:
    """Return the functions of one variable that texts define (``f(x) = 3x - 2``), where all agree."""
    found: Functions = {}
    doubtful: set[str] = set()
    for index, chains in enumerate(texts):
        for chain in chains:
            head, body = chain.members[0].node, chain.members[1].node
            if (
                head is None
                or body is None
                or head.kind != "application"
                or chain.relations[0] not in ("=", "defines")
            ):
                continue
            if len(head.parts) != 1 or head.parts[0].kind != "variable":
                continue
            argument = head.parts[0].name
            if variables(body) - {"e", "i"} != {argument} or body.kind == "variable":
                continue
            if any(one.kind in ("application", "plusminus") for one in walk(body)):
                continue
            if head.name in found and found[head.name] != (argument, body) and index == 0:
                doubtful.add(head.name)
            found.setdefault(head.name, (argument, body))
    return {name: value for name, value in found.items() if name not in doubtful}


# --- identities and values ---


def _link_verdict(link: Link, chain: Chain, step: str) -> Verdict:
    outcome = link.outcome
    if outcome in ("slip", "false_value"):
        if RETRACTED.search(step):
            return Verdict("undecided", "algebra:retracted", link.detail, link.span)
        if outcome == "false_value" and _NAMED_E.search(step):
            return Verdict("undecided", "algebra:unread", link.detail, link.span)
        if outcome == "false_value" and len(chain.members) == 2 and _TRIED.search(step):
            return Verdict("undecided", "algebra:trial", link.detail, link.span)
        reason = "algebra:false_identity" if outcome == "slip" else "algebra:false_value"
        return Verdict("wrong", reason, link.detail, link.span)
    if outcome in ("identity", "value", "rounded"):
        return Verdict(
            "correct",
            "algebra:identity_holds" if outcome == "identity" else "algebra:values_agree",
            "",
            link.span,
        )
    kind = {"label": "definition", "excused": "units_or_rounding", "unread": "unread"}.get(outcome, outcome)
    return Verdict("undecided", f"algebra:{kind}", link.detail, link.span)


# --- derivations ---


def _derivation_verdicts(background: Sequence[str], step: str, chains: Sequence[Chain]) -> list[Verdict]:
    history = History()
    place = 0
    for place, text in enumerate(background):
        for chain in chains_of(text):
            _include(history, chain, place)
    place += 1
    found: list[Verdict] = []
    for number, chain in enumerate(chains):
        claimed = is_claim(chain, number, background[-1] if len(background) > 1 else "", step)
        for left, right, relation in zip(chain.members, chain.members[1:], chain.relations, strict=False):
            if relation != "=" or left.node is None or right.node is None:
                continue
            fact = make_fact(left.node, right.node, place)
            if fact is None or fact.polynomial == {}:
                continue
            answer = history.judge(fact)
            span = (left.start, right.end)
            if answer == "follows":
                found.append(Verdict("correct", "algebra:follows", "", span))
            elif answer == "conflict" and claimed:
                detail = "no solution of this equation solves what it is derived from"
                found.append(Verdict("wrong", "algebra:does_not_follow", detail, span))
            elif answer == "slip" and claimed and _REWRITTEN.search(chain.prose):
                found.append(
                    Verdict(
                        "wrong", "algebra:term_changed", "differs from the equation before in one term", span
                    )
                )
        _include(history, chain, place)
    return found


def _include(history: History, chain: Chain, place: int) -> None:
    names = frozenset(
        name for member in chain.members if member.node is not None for name in variables(member.node)
    )
    if _INTRODUCED.search(chain.prose):
        for name in names:
            history.forget(name)
    if _hypothetical(chain.prose):
        return
    for left, right, relation in zip(chain.members, chain.members[1:], chain.relations, strict=False):
        if relation == "=" and left.node is not None and right.node is not None:
            fact = make_fact(left.node, right.node, place)
            if fact is not None and fact.polynomial != {}:
                history.include(fact)


def _sentence(prose: str) -> str:
    """The part of the prose that belongs to the sentence of the formula after it."""
    return re.split(r"[.!?]\s|\n", prose)[-1]


def _hypothetical(prose: str) -> bool:
    return (
        re.search(r"\b(?:if|suppose|assum\w+|case|try|trying|test\w*|when|guess|would)\b", _sentence(prose))
        is not None
    )


def is_claim(chain: Chain, number: int, before: str, step: str) -> bool:
    """Whether the words present a chain as following from what stands before; `before` is the step before."""
    if RETRACTED.search(step):
        return False
    sentence = _sentence(chain.prose)
    if _CASES.search(before) or _CASES.search(step[: chain.span[0]]):
        return False
    if _SUPPOSED.search(sentence) or re.match(r"\s*(?:or|and|if|when|for|works|as|is|in)\b", chain.after):
        return False
    return (
        chain.joined == "implies"
        or (chain.joined == "row" and number > 0)
        or _DERIVED.search(sentence) is not None
    )


def _inequality_verdict(
    chains: Sequence[Chain], number: int, background: Sequence[str], step: str
) -> Verdict:
    chain = chains[number]
    earlier = chains[number - 1] if number else next(iter(reversed(chains_of(background[-1]))), None)
    answer = inequality_follows(earlier, chain) if earlier is not None else "unknown"
    before = background[-1] if len(background) > 1 else ""
    if answer == "follows":
        return Verdict("correct", "algebra:inequality_follows", "", chain.span)
    if answer == "conflict" and is_claim(chain, number, before, step):
        detail = "not what the inequality before says"
        return Verdict("wrong", "algebra:inequality_does_not_follow", detail, chain.span)
    return Verdict("undecided", "algebra:inequality", "", chain.span)


# --- the verdict ---


def _combined(findings: Sequence[Verdict]) -> Verdict:
    """One wrong finding makes the step wrong; correct needs one verified and nothing open."""
    for finding in findings:
        if finding.truth == "wrong":
            return finding
    verified = [finding for finding in findings if finding.truth == "correct"]
    settled = {finding.span for finding in verified}
    for kind in ("too_large", "retracted", "trial", "units_or_rounding", "unread", "inequality", "equation"):
        for finding in findings:
            if finding.reason == f"algebra:{kind}" and finding.span not in settled:
                return finding
    if verified:
        count = len(verified)
        return Verdict(
            "correct",
            verified[0].reason,
            f"{count} relation{'s' if count > 1 else ''} checked",
            verified[0].span,
        )
    return Verdict("undecided", "algebra:definition" if findings else "algebra:nothing_to_check")
