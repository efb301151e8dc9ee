"""Words that decide how a text is read: lists of lower-case words, and patterns of reported statements.

Contract: plain sets decide how the numbers beside them are read. `is_only_reported` says whether a sentence states a
passage, or supposes, denies, quotes, asks or takes it back: it looks at the clause before the passage, the rest of its
sentence, the beginning of the next one, and at quotation marks around it, so that a denial elsewhere in a step excuses
nothing. Words for numbers have their values here. Not here: units (`units.py`), whether a passage is true.
"""

from __future__ import annotations

import re
from fractions import Fraction


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set: keeps word lists readable in the source."""
    return frozenset(text.split())


def singular(word: str) -> str:
    """Return a word without the ending that plurals and third persons share."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    plural = word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
CARDINALS = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
"""Words for whole numbers below a hundred."""
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
SHARES = {
    word: Fraction(1, parts)
    for parts, words in (
        (2, "half halves halved"), (3, "third thirds"), (4, "quarter quarters fourth fourths"), (5, "fifth fifths"),
        (6, "sixth sixths"), (7, "seventh sevenths"), (8, "eighth eighths"), (9, "ninth ninths"), (10, "tenth tenths"),
        (12, "twelfth twelfths"), (20, "twentieth twentieths"), (100, "hundredth hundredths"),
    )
    for word in words.split()
}  # fmt: skip
MULTIPLES = {
    word: value
    for value, words in (
        (1, "once"), (2, "twice double doubles doubled"), (3, "thrice triple triples tripled"), (4, "quadruple quadrupled"),
    )
    for word in words.split()
}  # fmt: skip
# A number spelled out beside a sign is an operand that is not read: "seven * 10".
SPELLED_NUMBERS = word_set(
    """
    zero one two three four five six seven eight nine ten eleven twelve half quarter third dozen hundred
    thousand million
    """
)
# Words that end the expression before them: what follows speaks of something else.
CLAUSE_WORDS = word_set(
    """
    and or so then is are was were be which that because since he she it they we you has have had while but
    if when where there therefore thus hence leaving giving making totaling totalling get gets got getting
    from yields obtain obtains gives this these his her their
    """
)
# Words that may stand between an operator or a relation and its number.
LEAD_WORDS = word_set("a an the his her their its our my about only just exactly another all total of")
# After these a number is a name: "on day 1 * 2".
NUMBERED_WORDS = word_set(
    """
    day week month year hour minute round level grade page chapter step question problem number no room bus line part
    section exercise phase stage game team box row column case item option equation figure table group player trial
    """
)
# Hedges. Before a number: "about 200"; "the round table" and "the second round" hedge nothing.
HEDGES_BEFORE = word_set("about approximately approx around roughly nearly almost estimated")
# After a number, where nothing but "to ...", "up" or the end follows: "200 rounded up", "200 (approximately)".
HEDGES_AFTER = word_set("approximately approx roughly rounded rounding rounds estimated")
# Digits that a rounding may name: "rounded to the nearest hundred".
ROUNDED_TO = {
    "cent": 0.01, "hundredth": 0.01, "tenth": 0.1, "whole": 1, "integer": 1, "one": 1, "dollar": 1, "ten": 10,
    "tens": 10, "hundred": 100, "hundreds": 100, "thousand": 1000, "thousands": 1000, "million": 1_000_000,
}  # fmt: skip
# All words of approximation: they change no quantity, wherever they stand.
APPROXIMATE_WORDS = HEDGES_BEFORE | HEDGES_AFTER | word_set("approximate round closest nearest estimate")
# Words around a number that change its value in ways that are not modelled.
DOUBTFUL_WORDS = word_set(
    """
    half twice double triple thrice third thirds quarter quarters fourth fourths fifth fifths sixth sixths
    eighth eighths tenth tenths hundredths than average mean square root sqrt remainder mod modulo factorial
    sin cos tan log ln gcd lcm floor ceil max min base halves squared cubed dozen dozens hundred hundreds
    thousand thousands million millions billion billions trillion pair pairs couple times by divided
    multiplied minus plus less more out one two three four five six seven eight nine ten choose per
    """
)
HARMLESS_AFTER = word_set("per more less out one two three four five six seven eight nine ten times than")
# After an amount of money these make it a price: "$5 per ticket", "$3 each".
RATE_WORDS = word_set("per each every apiece a an")
# The words of two letters; any other two small letters are a product of variables.
SHORT_WORDS = word_set(
    """
    ad ah am an as at be by do go he hi id if in is it me mi my no of oh ok on or ox so to up us vs we
    """
)


# --- reported statements ---

_LOOK_AROUND = 120
_CLAUSE_START = re.compile(r"[.,;:!?\n](?!\d)|\bthen\b|\\\[", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.;!?](?!\d)|\n")
_HYPOTHETICAL = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|not|never|cannot|can't|isn't|doesn't|don't|didn't|wrong"
    r"|incorrect|incorrectly|instead|mistake|mistakenly|guess|unless|whether|neither|nor|nobody|no one"
    r"|(?:rather|other) than|provided|imagine|in a world|only when|even if|as (?:if|though)"
    r"|would (?:mean|imply|require))\b|≠|\\ne",
    re.IGNORECASE,
)
"""Words before a statement, in its clause, that suppose or deny it."""
_RETRACTED = re.compile(
    r"\b(?:not|isn't|wrong|incorrect|false|untrue|silly|to (?:be true|hold)|contradicts?|contradiction"
    r"|impossible|mistake|mistaken|invalid|doesn't"
    r"|error|fails?|off by|should (?:be|have)|cannot (?:be|hold|happen|occur)"
    r"|ruled out|no solutions?|absurd|broken|nonsense|reject(?:ed)?|discard(?:ed)?)\b|\?"
    r"|\btoo (?:high|low|much|many|big|small|large)\b|[❌✗✘]",
    re.IGNORECASE,
)
"""Words after a statement, in its sentence, that take it back."""
# In a whole sentence, so no word that a story uses of things: "He got 5 wrong, so 20 - 5 = 15".
_MISTAKEN = re.compile(
    r"\b(?:wrongly|(?:wrong|faulty|flawed|bogus) (?:to|line|step|approach|way|method|solution|attempt|answer|result"
    r"|equation|calculation|claim|statement|work|logic|reasoning|argument|algebra|arithmetic|math\w*)|wrong:|incorrect(?:ly)?"
    r"|mistake(?:nly?)?|mistook|erroneous(?:ly)?|error|false(?:ly)?|misconception|fallac\w+|accidentally|typo|absurd|oops"
    r"|nonsense|confus\w+|cross(?:ed|es) out|calculator \w+ broken"
    r"|mis(?:remember|read|calculat|comput|copi|add|multipl|count|underst|stat|quot|appli)\w*"
    r"|(?:forgot|forgets|forgetting|neglected|failed) to (?:carry|borrow|add|subtract|multiply|divide|square|include|count)"
    r"|instead of\b.*\b(?:wrote|got|computed|calculated|answered|put|used))(?!\w)|[❌✗✘]",
    re.IGNORECASE,
)
# What the step itself does: "Incorrectly calculate the area as 3 * 4 = 13."
_OWN_MISTAKE = re.compile(
    r"\W*(?:using (?:an? )?(?:wrong|incorrect|faulty)[^,.]*,?|(?:wrongly|incorrectly|mistakenly|erroneously)),?\s+(?:we )?"
    r"(?:calculate|compute|simplify|evaluate|conclude|apply|substitute|add|subtract|multiply|divide|find|state)\b",
    re.IGNORECASE,
)
_SAID_BY_OTHERS = re.compile(
    r"\b(?:claim(?:s|ed)|thinks|thought|believe[sd]"
    r"|(?:people|students|some|many|others) (?:claim|think|believe|say|write)"
    r"|to (?:claim|believe)|disprove"
    r"|(?:test|check|examine) the (?:claim|statement|hypothesis)"
    r"|alleg\w+|pretend\w*|imagin\w+|argue[sd]|insist(?:s|ed)|according to)\b"
    r"|\b(?:might|may|could|would|tempted to) (?:\w+ )?(?:think|say|write|guess|believe|expect)\b|^\s*had\b"
    r"|^\s*\(?[A-E][).]\s|\b(?:option|choice|statement)\s+\(?[A-E\d]\b",
    re.IGNORECASE,
)
_CORRECTED = re.compile(
    r"\s*(?:this|that|it|but|however|actually|no|wait|oops|hmm|here|clearly|which|the (?:mistake|error|correct|right))\b"
    r"[^.!?\n]*?\b(?:wrong|incorrect|false|mistaken?|error|not|isn't|impossible|contradict\w*|invalid|should|typo|absurd)\b",
    re.IGNORECASE,
)
# "If 9 × 7 were 64, i.e. 9 × 7 = 64": the clause goes on.
_SAME_CLAUSE = re.compile(
    r",?\s*\b(?:i\.\s?e\.|that is(?: to say)?,|in other words,?|namely,?)", re.IGNORECASE
)
# "We'd have 9 × 7 = 64, but 9 × 7 = 63."
_WOULD = re.compile(
    r"(?:\bwould|[’']d) (?:\w+ )?(?:have|get|be|equal|give|need|obtain|find)\b", re.IGNORECASE
)
_BUT = re.compile(r"^[\s$)}\\]*[,–—-]+ *(?:but|yet|however|whereas|while)\b", re.IGNORECASE)
_QUOTES = (("“", "”"), ('"', '"'), ("«", "»"), ("‘", "’"), ("~~", "~~"), ("\\cancel{", "}"), ("\\sout{", "}"))


def is_denied(step: str) -> bool:
    """Whether a step supposes, denies or takes back anything at all."""
    return _HYPOTHETICAL.search(step) is not None or _RETRACTED.search(step) is not None


def is_only_reported(step: str, start: int, end: int) -> bool:
    """Whether the step does not itself state what stands from `start` to `end`."""
    before = _SAME_CLAUSE.sub(" ", step[max(0, start - _LOOK_AROUND) : start])
    sentence = _SENTENCE_END.split(before)[-1]
    mistaken = _HYPOTHETICAL.search(_CLAUSE_START.split(before)[-1]) or _MISTAKEN.search(sentence)
    if (mistaken and not _OWN_MISTAKE.match(sentence)) or _SAID_BY_OTHERS.search(sentence):
        return True
    after = step[end : end + _LOOK_AROUND]
    if _WOULD.search(_CLAUSE_START.split(before)[-1]) and _BUT.match(after):
        return True
    rest = re.split(r"[.;!\n](?!\d)", after)[0]
    return _RETRACTED.search(rest) is not None or _corrected(after[len(rest) + 1 :]) or _quoted(before, after)


def is_called_mistaken(step: str, start: int, end: int) -> bool:
    """Whether the words around a passage call it a mistake."""
    return _MISTAKEN.search(step[max(0, start - _LOOK_AROUND) : end + _LOOK_AROUND]) is not None


def _corrected(following: str) -> bool:
    return _CORRECTED.match(following) is not None


def _quoted(before: str, after: str) -> bool:
    """Whether a mark of quotation opens on the line before and closes on the line after."""
    before, after = before.rpartition("\n")[2], after.partition("\n")[0]
    for opening, closing in _QUOTES:
        opened = (
            before.count(opening) % 2 if opening == closing else before.rfind(opening) > before.rfind(closing)
        )
        if opened and closing in after:
            return True
    return False
