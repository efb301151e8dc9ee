"""The logic oracle: short propositional and syllogistic inferences.

Contract: premises are the sentences of problem, prefix and step that the grammar reads; the conclusion is what follows
"therefore", "so", "thus", "hence", "it follows that", "we conclude that". ``correct``: the premises that were read
entail it. ``wrong``: they entail its opposite, or they do not entail it although every sentence was read. Anything
else, and premises that contradict each other, is ``undecided``. Decided exactly by satisfiability (sympy.logic) over
the individuals that the sentences name or claim to exist (enough for one-place predicates; "all A are B" does not say
that there is an A). Not here: relations, quantifiers inside quantifiers, modality, numbers.

Grammar (case and a final period do not matter; P, Q are clauses, A, B plural or singular nouns, n a name):
``if P then Q`` · ``if P, Q`` · ``P only if Q`` · ``P if and only if Q`` · ``Q if P`` · ``either P or Q`` · ``P or Q`` ·
``P and Q`` · ``neither P nor Q`` · ``it is not the case that P`` · ``P`` with ``is/are/does/do/will/can not`` ·
``all/every/each/any A are B`` · ``no A are B`` · ``some A are (not) B`` · ``not all A are B`` · ``n is (not) a/an B``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from sparring.oracles.words import singular
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

MAX_CHARACTERS = 6000
MAX_SENTENCES = 40
MAX_ATOMS = 24
MAX_DEPTH = 6
MAX_WORDS = 12

_MARK = r"(?:therefore|thus|hence|so|consequently|it follows that|we (?:can )?conclude(?: that)?|this means(?: that)?|which means(?: that)?)"  # noqa: E501
_CONCLUSION_HINT = re.compile(rf"\b{_MARK}\b", re.IGNORECASE)
_CONCLUSION = re.compile(rf"^(?:and\s+)?(?:{_MARK}[,:]?\s+)+(?P<claim>.+)$", re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:and|but|also|now|since|because|we know(?: that)?|given(?: that)?|suppose(?: that)?|it is (?:true|known|given) that|"  # noqa: E501
    r"premise \d+:?|\d+[.)]|step \d+[:.]?|[-•*])[,:]?\s+",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\?$|^(?:what|which|does|do|is it|can we|decide|determine|derive|conclude|find|show|say)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?P<verb>is|are|was|were|will|can|does|do|did|has|have)(?:\s+not\b|n't\b)|\b(?P<wont>won't|can't|cannot)\b",
    re.IGNORECASE,
)
_UNMODELLED = re.compile(r"\b(?:never|nobody|nothing|none|unless|most|few|many|all|some|no|every)\b")
_QUANTIFIED = re.compile(
    r"^(?P<quantifier>not all|not every|all|every|each|any|no|some|at least one)\s+(?P<subject>[a-z][a-z' -]*?)\s+"
    r"(?:is|are)\s+(?P<negated>not\s+)?(?:an?\s+)?(?P<predicate>[a-z][a-z' -]*)$"
)
_MEMBER = re.compile(
    r"^(?P<name>[A-Z][a-z]+)\s+is\s+(?P<negated>not\s+)?an?\s+(?P<predicate>[a-z][a-z' -]*)$"
)
# "It" of the weather and of the time of day stands for nothing.
_PRONOUN = re.compile(
    r"\b(?:this|that|these|those|he|she|they|him|them|it(?! (?:is |was |will |be |get )*(?:rain|snow|sun|cloud|wind|storm"
    r"|hail|freez|cold|hot|warm|cool|wet|dry|dark|light|late|early|noon|day|night|morning|evening|weekend|winter|spring|summer"
    r"|autumn|mon|tue|wed|thu|fri|sat)))\b"
)


class Formula(NamedTuple):
    """A tree: ``atom`` (name), ``not``, ``and``, ``or``, ``all`` (name A, B), ``some`` (A, B), ``member`` (n, A)."""

    kind: str
    parts: tuple[Formula, ...] = ()
    names: tuple[str, ...] = ()


def judge(problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
    """Return the logic verdict on `step`; never raises on bad text, never runs unbounded."""
    texts = [problem.question, *prefix, step]
    if _CONCLUSION_HINT.search(step) is None:
        return Verdict("undecided", "logic:nothing_to_check")
    if sum(map(len, texts)) > MAX_CHARACTERS:
        return Verdict("undecided", "logic:too_large")
    claims = [match["claim"] for match in map(_CONCLUSION.match, sentences(step)) if match]
    if not claims:
        return Verdict("undecided", "logic:nothing_to_check")
    text = claims[-1]
    place = step.find(text)
    span = (place, place + len(text)) if place >= 0 else None
    claim = _said_in(len(texts) - 1, read(text))
    if claim is None:
        return Verdict("undecided", "logic:unread", span=span)
    premises, complete = _premises(texts, text)
    known = {name for formula in premises for name in _names(formula)}
    if not premises:
        return Verdict("undecided", "logic:no_premises", span=span)
    if len(premises) > MAX_SENTENCES or len(known | set(_names(claim))) > MAX_ATOMS:
        return Verdict("undecided", "logic:too_large", span=span)
    if not satisfiable(premises):
        return Verdict("undecided", "logic:contradictory_premises", span=span)
    if not satisfiable([*premises, _not(claim)]):
        return Verdict("correct", "logic:follows", f"the premises entail: {text}", span)
    if not satisfiable([*premises, claim]):
        return Verdict("wrong", "logic:contradicts_premises", f"the premises exclude: {text}", span)
    # where the claim speaks of something that the premises do not, they were not about it
    if complete and known.issuperset(_names(claim)):
        return Verdict("wrong", "logic:does_not_follow", f"the premises leave open: {text}", span)
    return Verdict("undecided", "logic:premises_unread", span=span)


def _premises(texts: Sequence[str], claim_text: str) -> tuple[list[Formula], bool]:
    """Return what the texts state apart from the claim, and whether every sentence was read."""
    premises: list[Formula] = []
    complete = True
    for index, text in enumerate(texts):
        for sentence in sentences(text):
            concluded = _CONCLUSION.match(sentence)
            itself = concluded and index == len(texts) - 1 and concluded["claim"] == claim_text
            if itself or _QUESTION.search(sentence):
                continue
            formula = _said_in(index, read(concluded["claim"] if concluded else sentence))
            complete &= formula is not None
            premises += [formula] if formula is not None else []
    return premises, complete


def _said_in(index: int, formula: Formula | None) -> Formula | None:
    """Return the formula with its pronouns kept apart from those of other texts: "this" is not one thing for ever."""
    if formula is None:
        return None
    names = tuple(f"{name} {index}" if _PRONOUN.search(name) else name for name in formula.names)
    parts = tuple(part for part in (_said_in(index, one) for one in formula.parts) if part is not None)
    return Formula(formula.kind, parts, names)


# --- reading ---


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, stripped; a conclusion after a comma or semicolon is one of its own."""
    pieces = re.split(rf"[.;!]\s+|[.;!]$|\n+|(?<=\?)\s|,\s+(?={_MARK}\b)", text.strip(), flags=re.IGNORECASE)
    return [piece.strip() for piece in pieces if piece and piece.strip()]


def read(text: str, depth: int = 0) -> Formula | None:
    """Return the formula that a sentence states, ``None`` where the grammar does not cover it."""
    text = text.strip().rstrip(".,;").strip()
    while (lead := _LEAD.match(text)) is not None:
        text = text[lead.end() :]
    if not text or depth > MAX_DEPTH or re.search(r"[^A-Za-z' ,-]", text):
        return None
    lowered = text[0].lower() + text[1:]
    for pattern, build in _CONNECTIVES:
        if (match := pattern.match(lowered)) is not None:
            parts = [read(part, depth + 1) for part in match.groups()]
            return None if None in parts else build(*parts)
    return _quantified(lowered) or _membership(text) or _clause(lowered)


def _implies(first: Formula, second: Formula) -> Formula:
    return Formula("or", (Formula("not", (first,)), second))


def _not(part: Formula) -> Formula:
    return Formula("not", (part,))


_CONNECTIVES: list[tuple[re.Pattern[str], Callable[..., Formula]]] = [
    (re.compile(r"^it is (?:not the case|false|not true) that (.+)$", re.IGNORECASE), _not),
    (re.compile(r"^(.+?),? if and only if (.+)$", re.IGNORECASE),
     lambda p, q: Formula("and", (_implies(p, q), _implies(q, p)))),
    (re.compile(r"^if (.+?),? then (.+)$", re.IGNORECASE), _implies),
    (re.compile(r"^if ([^,]+), (.+)$", re.IGNORECASE), _implies),
    (re.compile(r"^(.+?),? only if (.+)$", re.IGNORECASE), _implies),
    (re.compile(r"^neither (.+?),? nor (.+)$", re.IGNORECASE), lambda p, q: Formula("and", (_not(p), _not(q)))),
    (re.compile(r"^(?:either )?(.+?),? or (.+)$", re.IGNORECASE), lambda p, q: Formula("or", (p, q))),
    (re.compile(r"^(.+?),? if (.+)$", re.IGNORECASE), lambda q, p: _implies(p, q)),
    (re.compile(r"^(?:both )?(.+?),? and (.+)$", re.IGNORECASE), lambda p, q: Formula("and", (p, q))),
]  # fmt: skip


def _quantified(text: str) -> Formula | None:
    match = _QUANTIFIED.match(text)
    if match is None:
        return None
    subject, predicate = _noun(match["subject"]), _noun(match["predicate"])
    negated, quantifier = bool(match["negated"]), match["quantifier"]
    if quantifier in ("some", "at least one"):
        return Formula("some", (), (subject, "!" + predicate if negated else predicate))
    if quantifier in ("not all", "not every"):
        return None if negated else Formula("some", (), (subject, "!" + predicate))
    if negated:
        return None  # "all A are not B" means two things
    return Formula("all", (), (subject, "!" + predicate if quantifier == "no" else predicate))


def _membership(text: str) -> Formula | None:
    match = _MEMBER.match(text)
    if match is None or match["name"].lower() in ("it", "this", "that", "there", "he", "she"):
        return None
    atom = Formula("member", (), (match["name"], _noun(match["predicate"])))
    return _not(atom) if match["negated"] else atom


def _clause(text: str) -> Formula | None:
    """A clause as an atom; a negated verb makes it a negation."""
    if len(text.split()) > MAX_WORDS or "," in text or (len(text.split()) < 2 and len(text) > 1):
        return None
    negations = list(_NEGATION.finditer(text))
    if len(negations) > 1 or _UNMODELLED.search(text):
        return None
    for match in negations:
        verb = (match["verb"] or ("will" if match.group() == "won't" else "can")).lower()
        kept = "" if verb in ("does", "do", "did") else verb
        text = text[: match.start()] + kept + text[match.end() :]
    words = (singular(word) for word in text.lower().split() if word not in ("the", "a", "an"))
    atom = Formula("atom", (), (" ".join(words),))
    return _not(atom) if negations else atom


def _noun(text: str) -> str:
    words = text.strip().split()
    return " ".join([*words[:-1], singular(words[-1])])


# --- deciding ---


def _names(formula: Formula) -> Iterator[str]:
    for one in _walk(formula):
        yield from (name.lstrip("!") for name in one.names)


def _walk(formula: Formula) -> Iterator[Formula]:
    yield formula
    for part in formula.parts:
        yield from _walk(part)


def satisfiable(formulas: Sequence[Formula]) -> bool:
    """Return whether formulas can be true together, in a domain with a witness for every claim of existence.

    Each such claim speaks of a witness of its own; "all" speaks of every individual and witness. Every compound gets an
    auxiliary symbol that implies it, so that the clauses are linear in the formulas.
    """
    from sympy import And, Not, Or, Symbol
    from sympy.logic.inference import satisfiable as solve

    everything = [part for formula in formulas for part in _walk(formula)]
    individuals = sorted({part.names[0] for part in everything if part.kind == "member"})
    witnesses = [f"witness {n}" for n, _ in enumerate(p for p in everything if p.kind in ("all", "some"))]
    domain, unused, auxiliaries = [*individuals, *witnesses], iter(witnesses), count()
    clauses: list[Any] = []

    def of(individual: str, predicate: str) -> Any:
        symbol = Symbol(f"{predicate.lstrip('!')} of {individual}")
        return Not(symbol) if predicate.startswith("!") else symbol

    def literal(formula: Formula, positive: bool) -> Any:
        """Return a literal that implies the formula, or its opposite."""
        kind, parts, names = formula
        if kind == "not":
            return literal(parts[0], not positive)
        if kind in ("atom", "member"):
            symbol = Symbol("clause " + names[0]) if kind == "atom" else of(*names)
            return symbol if positive else Not(symbol)
        if kind in ("and", "or"):
            literals = [literal(part, positive) for part in parts]
            found = [literals] if (kind == "or") == positive else [[one] for one in literals]
        else:
            exists = (kind == "some") == positive
            found = []
            for one in [next(unused)] if exists else domain:
                subject, predicate = of(one, names[0]), of(one, names[1])
                predicate = predicate if positive else Not(predicate)
                found += [[subject], [predicate]] if exists else [[Not(subject), predicate]]
        auxiliary = Symbol(f"auxiliary {next(auxiliaries)}")
        clauses.extend(Or(Not(auxiliary), *clause) for clause in found)
        return auxiliary

    said = [literal(formula, True) for formula in formulas]
    return solve(And(*said, *clauses)) is not False
