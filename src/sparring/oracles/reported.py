"""Reported statements: does a sentence state an equation, or suppose, deny, quote, ask or take it back?

Contract: `is_only_reported` looks at the clause before a passage, the rest of its sentence, the beginning of the next one,
and at quotation marks around it. It answers about one passage, so that a denial elsewhere in a step excuses nothing. Not
here: whether the passage is true.
"""

from __future__ import annotations

import re

_LOOK_AROUND = 120
_CLAUSE_START = re.compile(r"[.,;:!?\n](?!\d)|\bthen\b|\\\[", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.;!?](?!\d)|\n")
HYPOTHETICAL = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|not|never|cannot|can't|isn't|doesn't|don't|didn't|wrong"
    r"|incorrect|incorrectly|instead|mistake|mistakenly|guess|unless|whether|neither|nor|nobody|no one"
    r"|(?:rather|other) than|provided|imagine|in a world|only when|even if|as (?:if|though)"
    r"|would (?:mean|imply|require))\b|≠|\\ne",
    re.IGNORECASE,
)
"""Words before a statement, in its clause, that suppose or deny it."""
RETRACTED = re.compile(
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
    r"\b(?:wrongly|wrong (?:to|line|step|approach|way|method|solution|attempt|answer|result|equation|calculation|claim"
    r"|statement|work)|wrong:|incorrect(?:ly)?"
    r"|mistake(?:nly?)?|mistook|erroneous(?:ly)?|error|false(?:ly)?|misconception|fallac\w+|accidentally|typo|absurd|oops"
    r"|faulty|flawed|bogus|nonsense|confus\w+|cross(?:ed|es) out|calculator \w+ broken"
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


def is_only_reported(step: str, start: int, end: int) -> bool:
    """Whether the step does not itself state what stands from `start` to `end`."""
    before = _SAME_CLAUSE.sub(" ", step[max(0, start - _LOOK_AROUND) : start])
    sentence = _SENTENCE_END.split(before)[-1]
    mistaken = HYPOTHETICAL.search(_CLAUSE_START.split(before)[-1]) or _MISTAKEN.search(sentence)
    if (mistaken and not _OWN_MISTAKE.match(sentence)) or _SAID_BY_OTHERS.search(sentence):
        return True
    after = step[end : end + _LOOK_AROUND]
    if _WOULD.search(_CLAUSE_START.split(before)[-1]) and _BUT.match(after):
        return True
    rest = re.split(r"[.;!\n](?!\d)", after)[0]
    return RETRACTED.search(rest) is not None or _corrected(after[len(rest) + 1 :]) or _quoted(before, after)


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
