"""Equations in prose: which tokens belong to one calculation, and which calculations a step says are equal.

Contract: a clause is split, in one pass, into runs: ``8 shares * $8 per share`` is one run whose cleaned tokens are
``8 * 8``; units, remarks in brackets and ``/ hour`` are dropped and remembered. A run that holds anything that is not a
number (a variable, a function call, a missing operand) is not `known` and must not be judged; one that can be read in
more than one way carries a `doubt`. `find_equations` returns every pair of neighbouring sides in the order of the text,
``a = b = c`` as two, GSM8K calculator annotations ``<<48/2=24>>`` as equations of their own and as a link to the number
printed after them. Not here: values (`values.py`), whether an equation holds (`arithmetic.py`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from sparring.oracles.reading import Token, bracket_partners, cached, tokenize, without_marks
from sparring.oracles.units import POWER_WORDS, SHORT_UNITS, UNITS, Unit, raised, unit_or_place
from sparring.oracles.words import (
    APPROXIMATE_WORDS,
    CLAUSE_WORDS,
    DOUBTFUL_WORDS,
    HARMLESS_AFTER,
    HEDGES_AFTER,
    HEDGES_BEFORE,
    LEAD_WORDS,
    NUMBERED_WORDS,
    RATE_WORDS,
    ROUNDED_TO,
    SPELLED_NUMBERS,
)


@dataclass(slots=True)
class Run:
    """One expression in a clause.

    Attributes:
        tokens: the cleaned expression, for `expressions.calculation`.
        start: first character; `end` is one past the last character of the last operand.
        known: every operand is a number.
        operators: how many operators it has (a fraction bar counts).
        doubt: why it can be read in more than one way, or empty.
        units: words inside and after it.
        measures: the unit straight after an operand, by that operand's place in `tokens`; none for rates. Amounts such as
            "5 lb 4 oz" are joined by the operator ``and``, which adds and binds closest.
        short: places of `measures` whose unit is spelled as a variable could be ("500 g").
        lead: words between the clause's beginning (or the run before) and this run.
        approximate: a hedge ("about", "~", "rounded") governs it: it stands straight before it or one of its numbers, or
            after it as a phrase of its own.
        digit: the digit that such a phrase names: 100 in "rounded to the nearest hundred".
        closed: a word that ends expressions follows its units.
        trailing: number of words after the last operand.
    """

    tokens: list[Token] = field(default_factory=list)
    start: int = -1
    end: int = -1
    known: bool = True
    operators: int = 0
    doubt: str = ""
    units: list[str] = field(default_factory=list)
    measures: dict[int, Unit] = field(default_factory=dict)
    short: set[int] = field(default_factory=set)
    lead: list[str] = field(default_factory=list)
    approximate: bool = False
    digit: Fraction | None = None
    closed: bool = False
    trailing: int = 0

    @property
    def numbers(self) -> list[Token]:
        """The operands that are numbers, in order."""
        return [token for token in self.tokens if token.kind == "number"]

    @property
    def compound(self) -> bool:
        """Whether an amount in several units stands in it."""
        return any(token.text == "and" for token in self.tokens)


def is_share(run: Run) -> bool:
    """Whether the run ends in a fraction or a percentage, after which ``of`` multiplies."""
    if not run.tokens:
        return False
    if run.tokens[-1].kind == "percent" or "/" in run.tokens[-1].text:
        return True
    if run.tokens[-1].kind == "close":
        return run.operators > 0
    return len(run.tokens) >= 3 and run.tokens[-2].text == "/" and run.tokens[-3].kind == "number"


# --- from tokens to runs ---

MAX_UNIT_WORDS = 6
MAX_WORDS_TO_HEDGE = 3
MAX_HEDGE_WORDS = 8
_AFTER_HEDGE = frozenset(("to", "up", "down", "off"))


def read_runs(tokens: Sequence[Token], first: int, last: int, partners: dict[int, int]) -> list[Run]:
    """Return the runs of ``tokens[first:last]``, a stretch without relations and breaks."""
    return _Reader(tokens, first, last, partners).read()


class _Reader:
    """The state of one pass over a stretch of tokens."""

    def __init__(self, tokens: Sequence[Token], first: int, last: int, partners: dict[int, int]) -> None:
        self.tokens = tokens
        self.position = first
        self.first = first
        self.last = last
        self.partners = partners
        self.runs: list[Run] = []
        self.run: Run | None = None
        self.waiting = False  # an operator or an opening bracket wants an operand
        self.brackets = 0  # of the run, which are open
        self.lead: list[str] = []
        self.approximate = False

    def read(self) -> list[Run]:
        while self.position < self.last:
            token = self.tokens[self.position]
            getattr(self, f"_{token.kind}")(token)
            self.position += 1
        self._finish(closed=False)
        return self.runs

    def _near(self, offset: int) -> Token | None:
        """The token so many places on within the stretch, or back."""
        place = self.position + offset
        return self.tokens[place] if self.first <= place < self.last else None

    # --- beginning and ending runs ---

    def _begin(self, token: Token) -> Run:
        self.run = Run(start=token.start, end=token.end, lead=self.lead, approximate=self.approximate)
        before = self._near(-1)
        numbered = before is not None and before.kind == "word" and before.text in NUMBERED_WORDS
        if numbered or any(word in DOUBTFUL_WORDS for word in self.lead[-3:]):
            self.run.doubt = "word_before"
        elif self.runs and self.runs[-1].operators and (not self.runs[-1].closed or self.lead == ["and"]):
            # "20 + 10 added to the 29 + 24", "12 x 1 and 1/4"
            self.run.doubt = "two_calculations_side_by_side"
        self.lead, self.approximate, self.waiting = [], False, True
        return self.run

    def _finish(self, *, closed: bool) -> None:
        run = self.run
        if run is not None:
            run.closed = closed
            run.known = run.known and not self.waiting and not self.brackets and not _has_doubtful_short(run)
            self.runs.append(run)
        self.run, self.waiting = None, False
        self.brackets = 0

    def _operand(self, token: Token) -> Run:
        """Return the run that an operand starting at `token` belongs to, beginning a new one where needed."""
        run = self.run
        if run is None:
            return self._begin(token)
        if self.waiting:
            return run
        if self.brackets:
            run.known = False  # two numbers without an operator inside brackets
            return run
        if self._goes_on_smaller(self.position):
            if token.start > self.tokens[self.position - 1].end + 1:
                run.doubt = run.doubt or "list_or_amount"  # "2 hours, 30 minutes"
            run.tokens.append(Token("operator", "and", token.start, token.start))
            return run
        beside = run.trailing == 0
        self._finish(closed=False)
        begun = self._begin(token)
        if beside:
            begun.doubt = run.doubt = "two_numbers_side_by_side"
        return begun

    def _goes_on_smaller(self, index: int) -> bool:
        """Whether the number at an index is the next part of "5 lb 4 oz" or "2 hours and 30 minutes"."""
        run = self.run
        last = run.measures.get(len(run.tokens) - 1) if run is not None and not self.waiting else None
        if run is None or last is None or run.trailing != 1 or run.units[-1:] == ["/"] or index >= self.last:
            return False
        number = self.tokens[index]
        after = [one for one in self.tokens[index + 1 : index + 3] if one.kind != "open"]
        unit = self._unit_of(after[0].text, last) if after else None
        return (
            number.value is not None
            and unit is not None
            and unit.dimension == last.dimension
            and unit.factor < last.factor
        )

    @staticmethod
    def _unit_of(word: str, larger: Unit | None) -> Unit | None:
        if larger is not None and larger.name == "hour" and word == "m":
            return UNITS["minute"]
        return unit_or_place(word) or SHORT_UNITS.get(word)

    def _took_operand(self, run: Run, token: Token) -> None:
        run.end = token.end
        run.trailing = 0
        self.waiting = False

    # --- one method per kind of token ---

    def _number(self, token: Token) -> None:
        run = self._factor(token) if token.text == "π" else self._operand(token)
        run.tokens.append(token)
        if token.dollars:
            run.measures[len(run.tokens) - 1] = UNITS["dollar"]
        if "/" in token.text or "frac" in token.text or "binom" in token.text:
            run.operators += 1
        self._took_operand(run, token)

    def _factor(self, token: Token) -> Run:
        """Return the run that a root or π belongs to: straight after an operand, it multiplies."""
        run = self.run
        if run is None or self.waiting or run.trailing:
            return self._operand(token)
        run.operators += 1
        run.tokens.append(Token("operator", "*", token.start, token.start))
        return run

    def _root(self, token: Token) -> None:
        run = self._factor(token)
        after = self._near(1)
        if after is None or after.kind not in ("number", "open"):
            run.known = False
            self._took_operand(run, token)
            return
        run.operators += 1
        run.tokens.append(token)
        self.waiting = True

    def _fraction(self, token: Token) -> None:
        self._opened(self._operand(token), token)

    def _opened(self, run: Run, token: Token) -> None:
        run.tokens.append(token._replace(kind="open"))
        self.brackets += 1
        self.waiting = True

    def _open(self, token: Token) -> None:
        partner = self.partners.get(self.position)
        if partner is None or partner >= self.last:
            self._boundary()
            return
        inside = self.tokens[self.position + 1 : partner]
        before = self._near(-1)
        touching = before is not None and not token.gap and before.end == token.start
        beside = before.kind if before is not None and touching else ""
        words_only = len(inside) < 12 and not any(
            one.kind in ("number", "unknown", "fraction") for one in inside
        )
        if words_only and beside not in ("number", "close"):  # else ``2(losses)`` multiplies
            self._remark(inside, partner)
            return
        if beside in ("word", "unknown"):
            self._unknown(token)
        run = self.run
        if run is not None and touching and not self.waiting and run.trailing == 0:
            run.operators += 1
        else:
            run = self._operand(token)
        self._opened(run, token)

    def _remark(self, inside: Sequence[Token], partner: int) -> None:
        words = [part.text for part in inside if part.kind == "word"]
        if self.run is not None and self.waiting:
            self.run.known = False
            self.waiting = False
        elif self.run is not None:
            if words and words[0] in UNITS and self.run.trailing == 0:
                self._measure(self.run, words[0])
            self.run.units += words
            self.run.trailing += 1
        if self.run is not None and words and self._hedges_after(words):
            self._hedge_after(self.run, words)
        self.position = partner

    def _close(self, token: Token) -> None:
        if not self.brackets or self.run is None:
            self._boundary()
            return
        if self.waiting:
            self.run.known = False
        self.run.tokens.append(token)
        self.brackets -= 1
        self._took_operand(self.run, token)

    def _postfix(self, token: Token) -> None:
        if self.run is None or self.waiting or self.run.trailing:
            self._unknown(token)
            return
        self.run.tokens.append(token)
        self.run.end = token.end

    def _formula(self, token: Token) -> None:
        """The formula before ends; the words between the two speak of the new one."""
        if self.run is None or self.waiting or self.brackets:
            return
        words = self.run.units[len(self.run.units) - self.run.trailing :]
        self._finish(closed=True)
        self.lead = words

    _percent = _postfix
    _factorial = _postfix

    def _operator(self, token: Token) -> None:
        run = self.run
        after = self._near(1)
        if run is None:
            if (after is not None and after.kind == "operator" and token.text == "*") or self._is_bullet(
                after
            ):
                return  # emphasis, or a list mark
            begun = self._begin(token)
            signed = after is not None and after.kind in ("number", "open", "fraction") and token.text in "+-"
            spaced = after is not None and after.gap
            if not signed or token.text == "+" or (begun.lead and spaced):
                begun.known = False  # the operand before the sign is a word or a symbol
            elif token.text == "-":
                begun.tokens.append(token)
                opens = self.position > self.first and self.tokens[self.position - 1].kind == "formula"
                if (begun.lead or spaced) and not opens:
                    begun.doubt = begun.doubt or "minus_or_dash"
            return
        if self.waiting:
            if token.text not in "+-":
                run.known = False
            run.tokens.append(token)
            return
        if token.text == "^" and run.trailing:
            self._unit_power(run)  # "20 cm^2"
            return
        before = self.tokens[self.position - 1]
        if (
            before.kind == "word"
            and before.text in SPELLED_NUMBERS
            and len(run.tokens) - 1 not in run.measures
        ):
            run.known = False
        spelled = after is not None and after.text in SPELLED_NUMBERS
        if token.text == "/" and after is not None and after.kind in ("word", "unknown") and not spelled:
            run.units.append("/")  # "per", of the unit; the word after it counts as trailing
            run.measures.pop(len(run.tokens) - 1, None)
            return
        if after is None and token.text == "*":
            return  # emphasis closes
        if run.trailing > MAX_UNIT_WORDS:
            run.known = False
        run.operators += 1
        run.tokens.append(token)
        self.waiting = True

    def _is_bullet(self, after: Token | None) -> bool:
        """A dash or star that opens a line and stands apart is a list mark."""
        opens = self.position == self.first and (self.first == 0 or self.tokens[self.first - 1].text == "\n")
        return opens and after is not None and after.gap

    def _of(self, token: Token) -> None:
        run = self.run
        if run is not None and not self.waiting and run.trailing == 0 and is_share(run):
            run.operators += 1
            run.tokens.append(token)
            self.waiting = True
        else:
            self._word(token)

    def _word(self, token: Token) -> None:
        run = self.run
        hedge = token.text in HEDGES_BEFORE and self._number_follows()
        self.approximate = hedge and not (run is not None and self.waiting)
        if run is None:
            self.lead.append(token.text)
        elif self.waiting:
            run.approximate = run.approximate or hedge
            if token.text not in LEAD_WORDS:
                run.known = False
                self.waiting = False
        elif token.text == "and" and self._goes_on_smaller(self.position + 1):
            return
        elif token.text in CLAUSE_WORDS and not self.brackets:
            self._finish(closed=True)
            self.lead = [token.text]
        else:
            if token.text in HEDGES_AFTER and run.trailing <= MAX_WORDS_TO_HEDGE and not self.brackets:
                words = [part.text for part in self.tokens[self.position : self.last][:MAX_HEDGE_WORDS]]
                if self._hedges_after(words):
                    self._hedge_after(run, words)
            if run.trailing == 0 and token.text not in RATE_WORDS:
                self._measure(run, token.text)
            elif run.trailing == 1 and run.units and run.units[-1] in POWER_WORDS:
                self._measure(run, token.text, POWER_WORDS[run.units[-1]])
            elif token.text not in CLAUSE_WORDS and not self._counts_things(run):
                run.measures.pop(len(run.tokens) - 1, None)  # "5 hours per day", "2 cups flour"
            run.units.append(token.text)
            run.trailing += 1
            if token.text in DOUBTFUL_WORDS and token.text not in HARMLESS_AFTER:
                run.doubt = run.doubt or "word_after"

    def _number_follows(self) -> bool:
        """Whether a number stands straight after the present token, its sign or bracket aside."""
        after = self.tokens[self.position + 1 : min(self.position + 3, self.last)]
        kinds = [token.kind for token in after]
        opens = bool(kinds) and (kinds[0] in ("open", "fraction", "root") or after[0].text == "-")
        return kinds[:1] == ["number"] or (opens and kinds[1:] in (["number"], ["open"]))

    @staticmethod
    def _hedges_after(words: Sequence[str]) -> bool:
        """Whether words after a number begin a hedge: "rounded up", "approximately" at the end; not "rounded corners"."""
        return words[0] in HEDGES_AFTER and (len(words) == 1 or words[1] in _AFTER_HEDGE)

    @staticmethod
    def _hedge_after(run: Run, words: Sequence[str]) -> None:
        run.approximate = True
        nearest = next((place for place, word in enumerate(words) if word in ("nearest", "closest")), None)
        named = (
            ROUNDED_TO.get(words[nearest + 1]) if nearest is not None and nearest + 1 < len(words) else None
        )
        run.digit = run.digit if named is None else Fraction(str(named))

    def _measure(self, run: Run, word: str, power: int = 1) -> None:
        if not run.tokens or run.tokens[-1].kind != "number" or run.units[-1:] == ["/"]:
            return
        place = len(run.tokens) - 1
        larger = run.measures.get(place - 2) if run.tokens[place - 1].text == "and" else None
        if word == "in" and larger is None and not self._ends_operand():
            return
        unit = self._unit_of(word, larger)
        if unit is not None:
            run.measures[place] = raised(unit, power)
            if len(word) == 1:
                run.short.add(place)

    @staticmethod
    def _counts_things(run: Run) -> bool:
        """Whether the last operand is "4 dozen" of what follows; "3 third graders" and "2 ten dollar bills" are 3 and 2."""
        unit = run.measures.get(len(run.tokens) - 1)
        return unit is not None and unit.name in ("dozen", "million", "billion")

    def _ends_operand(self) -> bool:
        """Whether an operand ends after this token, so that "in" before it is no preposition."""
        after = self._near(1)
        return after is None or after.kind in ("operator", "close")

    def _unit_power(self, run: Run) -> None:
        """Pass over the exponent of a unit."""
        unit = run.measures.pop(len(run.tokens) - 1, None)
        after = self.position + 1
        inner = self.tokens[
            after + 1 if after < self.last and self.tokens[after].kind == "open" else after : self.last
        ]
        if unit is not None and inner and inner[0].value in (2, 3):
            run.measures[len(run.tokens) - 1] = raised(unit, int(inner[0].value))
        if after in self.partners and self.partners[after] < self.last:
            self.position = self.partners[after]
        elif after < self.last and self.tokens[after].kind == "number":
            self.position = after

    def _unknown(self, token: Token) -> None:
        run = self.run
        if run is not None and not self.waiting and not run.trailing and token.text in SHORT_UNITS:
            self._measure(run, token.text)
            if len(run.tokens) - 1 in run.measures:
                run.units.append(token.text)
                run.trailing += 1
                return
        run = self.run or self._begin(token)
        run.known = False
        self._took_operand(run, token)

    def _approximate(self, token: Token) -> None:
        """``~`` hedges the number that follows it, an ellipsis the decimal before it; ``200~km`` hedges nothing."""
        if token.text != "~":
            if self.run is not None and not self.waiting:
                self.run.approximate = True
        elif self._number_follows() and not (self.position > self.first and self._touches(token)):
            if self.run is not None and self.waiting:
                self.run.approximate = True
            else:
                self.approximate = True

    def _touches(self, token: Token) -> bool:
        before = self.tokens[self.position - 1]
        return before.kind not in ("operator", "open") and before.end == token.start

    def _boundary(self) -> None:
        """A bracket without a partner ends what went before."""
        self._finish(closed=True)
        self.lead, self.approximate = [], False


def _has_doubtful_short(run: Run) -> bool:
    """Whether a letter that may be a unit or a variable stands beside no unit of its dimension."""
    spelled = {unit.dimension for place, unit in run.measures.items() if place not in run.short}
    return bool(run.short) and (len(spelled) != 1 or len(run.measures) < len(run.numbers)
                                or any(unit.dimension not in spelled for unit in run.measures.values()))  # fmt: skip


# --- from runs to equations ---

ANNOTATION = re.compile(r"<<([^<>\n]{0,400})>>")
MAX_TRAILING_WORDS = 4
_BEFORE_SIDE = LEAD_WORDS | APPROXIMATE_WORDS
_RELATION_HINT = re.compile(
    r"[=≈≅≃<>≤≥]|\bequals?\b|\b(?:is|are)\s|\\(?:approx|sim|[lg](?:eq?|t)\b|[lg]eqslant)", re.IGNORECASE
)

Source = Literal["text", "annotation", "printed"]


@dataclass(frozen=True, slots=True)
class Equation:
    """Two expressions that a step equates.

    Attributes:
        left: the expression before the relation, ``None`` where words stand there (``Total = 5 + 3``).
        right: the expression after it, ``None`` where words stand there.
        relation: ``=``, ``~`` (approximately), ``is``, or one of `reading.COMPARISONS`.
        source: ``text``, ``annotation`` (inside ``<<...>>``), or ``printed`` (an annotation's result against
            the number printed straight after it).
        symbolic: a missing side holds numbers, variables or operators that could not be read.
        chained: the left side is, as a whole, the right side of the equation before.
    """

    left: Run | None
    right: Run | None
    relation: str
    source: Source
    symbolic: bool = False
    chained: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """Character range from the first to the last side that is there."""
        sides = [side for side in (self.left, self.right) if side is not None]
        return (min(side.start for side in sides), max(side.end for side in sides)) if sides else (0, 0)


def may_hold_equation(text: str) -> bool:
    """Return quickly whether the text has any sign of a relation."""
    return _RELATION_HINT.search(text) is not None


def find_equations(text: str) -> list[Equation]:
    """Return the equations of a step in the order of their first characters.

    Raises:
        TooLargeError: see `tokenize`.
    """
    tokens, annotations = read_step(text)
    found = equations_of(tokens, "text")
    for _, end, inside in annotations:
        inner = equations_of(inside, "annotation")
        found += inner
        result = inner[-1].right if inner else _only_run(inside)
        printed = number_after(tokens, end)
        if result is not None and printed is not None:
            found.append(Equation(result, printed, "=", "printed"))
    return sorted(found, key=lambda equation: equation.span) if annotations else found


def _only_run(tokens: Sequence[Token]) -> Run | None:
    """Return the expression that an annotation without a result is: ``<<2*3>>6``."""
    if any(token.kind in ("relation", "break") for token in tokens):
        return None
    runs = read_runs(tokens, 0, len(tokens), bracket_partners(tokens))
    return runs[0] if len(runs) == 1 and runs[0].known else None


Annotations = tuple[tuple[int, int, list[Token]], ...]


@cached
def read_step(text: str) -> tuple[tuple[Token, ...], Annotations]:
    """Return the tokens of the visible text, and (start, end, tokens) of every calculator annotation.

    Annotations are blanked out of the visible text with spaces, so that all character ranges stay those of `text`.

    Raises:
        TooLargeError: see `tokenize`.
    """
    text = without_marks(text)
    annotations = tuple(
        (match.start(), match.end(), _shifted(tokenize(match.group(1)), match.start(1)))
        for match in ANNOTATION.finditer(text)
    )
    visible = ANNOTATION.sub(lambda match: " " * len(match.group()), text) if annotations else text
    return tuple(tokenize(visible)), annotations


def number_after(tokens: Sequence[Token], position: int) -> Run | None:
    """Return the number printed straight after an annotation that ends at `position`, if there is one."""
    for index, token in enumerate(tokens):
        if token.start >= position:
            if token.kind != "number" or token.value is None or token.start - position > 2:
                return None
            printed = Run(tokens=[token], start=token.start, end=token.end)
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            if after is not None and after.kind in ("number", "unknown"):
                printed.doubt = "two_numbers_side_by_side"  # "17 500": one number or two
            elif after is not None and after.text == "/" and not after.gap:
                printed.doubt = "fraction"  # "3/4"
            return printed
    return None


def _shifted(tokens: Sequence[Token], offset: int) -> list[Token]:
    return [token._replace(start=token.start + offset, end=token.end + offset) for token in tokens]


def equations_of(tokens: Sequence[Token], source: Source) -> list[Equation]:
    """Return the equations that a token list spells."""
    found: list[Equation] = []
    tokens = _joined_lines(tokens)
    if not any(token.kind == "relation" for token in tokens):
        return found
    partners = bracket_partners(tokens)
    first, relation, left = 0, "", None  # of the stretch being read: its beginning and what stands before it
    chained = False
    end = len(tokens)
    for index in range(end + 1):
        token = tokens[index] if index < end else None
        if token is not None and token.kind not in ("relation", "break"):
            continue
        last_of_chain = token is None or token.kind == "break"
        if relation or not last_of_chain:
            runs, right = read_runs(tokens, first, index, partners), None
            stretch = tokens[first:index]
            if relation and left is not None:
                right = _first_side(runs)
                symbolic = left[1] or (right is None and is_symbolic(stretch))
                found.append(Equation(left[0], right, relation, source, symbolic, chained))
            side = _last_side(runs)
            chained = bool(found) and side is not None and side is right
            left = (side, side is None and is_symbolic(stretch))
        relation = "" if last_of_chain else (token.text if token is not None else "")
        if last_of_chain:
            left, chained = None, False
        first = index + 1
    return found


def is_symbolic(stretch: Sequence[Token]) -> bool:
    """Whether a stretch that is no expression still looks like mathematics and not like a label."""
    kinds = {token.kind for token in stretch}
    return "unknown" in kinds or ("number" in kinds and "operator" in kinds)


def _joined_lines(tokens: Sequence[Token]) -> list[Token]:
    """Drop line ends inside a calculation: aligned chains and sums go on over several lines."""
    kept: list[Token] = []
    for index, token in enumerate(tokens):
        if token.kind == "break" and token.text in ("\n", "\\\\"):
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            if (kept and kept[-1].kind in ("relation", "operator")) or (after and after.kind == "relation"):
                continue
            if after is not None and _continues(token, after):
                if _is_relation_row(tokens, index + 1):  # the sum above goes on, or a new equation begins
                    kept.append(token._replace(kind="unknown"))
                continue
        kept.append(token)
    return kept


def _continues(line_end: Token, after: Token) -> bool:
    """Whether a sign that begins a line carries on the sum above; a dash or star may be a list mark."""
    return after.kind == "operator" and (line_end.text != "\n" or after.text == "+")


def _is_relation_row(tokens: Sequence[Token], first: int) -> bool:
    """Whether the line that begins here holds a relation of its own."""
    row = itertools.takewhile(lambda token: token.kind != "break", itertools.islice(tokens, first, None))
    return any(token.kind == "relation" for token in row)


def _last_side(runs: Sequence[Run]) -> Run | None:
    """The expression that a relation after these runs speaks of."""
    run = runs[-1] if runs else None
    return None if run is None or run.closed or run.trailing > MAX_TRAILING_WORDS else run


def _first_side(runs: Sequence[Run]) -> Run | None:
    """The expression that a relation before these runs speaks of."""
    return runs[0] if runs and _BEFORE_SIDE.issuperset(runs[0].lead) else None


def expression_text(run: Run) -> str:
    """Write the cleaned expression for people."""
    text = "".join(token.text if token.kind != "of" else " of " for token in run.tokens)
    return text if len(text) <= 80 else text[:77] + "..."
