"""Lists of words that decide how the numbers beside them are read.

Contract: plain sets of lower-case words, no code. Not here: units (`units.py`), words for numbers (`quantities.py`).
"""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set: keeps word lists readable in the source."""
    return frozenset(text.split())


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
# Words after which a number is counted by, or in, the number before them: "8 packs of 5", "24 eggs in 1".
GROUPING_WORDS = word_set("of in per with for containing every each")
# After an amount of money these make it a price: "$5 per ticket", "$3 each".
RATE_WORDS = word_set("per each every apiece a an")
# The words of two letters; any other two small letters are a product of variables.
SHORT_WORDS = word_set(
    """
    ad ah am an as at be by do go he hi id if in is it me mi my no of oh ok on or ox so to up us vs we
    """
)
