"""Right statements as people and language models write them are never called wrong, and their false twins never correct.

One row per kind of notation: (what a step may say, the same with a mistake, whether the mistake must be seen). Every
member that reads calculations is asked. `right_and_false_steps.txt` holds more of such twins, one pair a line.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.contrib.oracles import logic, preconditions
from sparring.oracles import algebra, arithmetic, quantities
from sparring.traces.records import Problem

MEMBERS = (arithmetic, algebra, quantities, preconditions, logic)
SEEN, PASSED = True, False


def truths(step: str, question: str = "", *prefix: str) -> set[str]:
    """Return what the members say of a step to a question that gives its numbers."""
    problem = Problem("p", question or step.replace("=", " "))
    return {member.judge(problem, prefix, step).truth for member in MEMBERS}


ROWS: dict[str, list[tuple[str, str, bool]]] = {
    "an amount more or less a percentage": [
        ("$40 - 25% = $30", "$40 - 25% = $20", SEEN),
        ("$80 + 15% tip = $92", "$80 + 15% tip = $93", SEEN),
        ("100 - 20% - 10% = 72", "100 - 20% - 10% = 75", SEEN),
        ("$x - 20\\% = 0.8x$", "$x - 20\\% = 0.7x$", PASSED),
        ("100% - 25% = 75%", "100% - 25% = 65%", SEEN),
    ],
    "marks of equations": [
        ("\\[ 2 + 3 = 5 \\tag{2} \\]", "\\[ 2 + 3 = 6 \\tag{2} \\]", SEEN),
        ("$2 + 3 = 5 \\label{eq:4}$", "$2 + 3 = 6 \\label{eq:4}$", SEEN),
        ("2 + 3 = 5 (2)", "2 + 3 = 6 (2)", SEEN),
        ("$$2 + 3 = 5 \\qquad (3)$$", "$$2 + 3 = 6 \\qquad (3)$$", SEEN),
    ],
    "a letter before a bracket": [
        ("Let a be 5. Then $a\\left(1 + 2\\right) = 15$.", "$a\\left(1 + 2\\right) = 15a$", PASSED),
        ("$I\\bigl(1 + 2\\bigr) = 6$", "$A\\sqrt{4} = 3A$", PASSED),
    ],
    "formulas side by side": [
        ("It goes from \\(-2-5 = -7\\) to \\(-2+5 = 3\\).", "It goes from \\(-2-5 = -7\\) to \\(-2+5 = 4\\).", SEEN),
        ("It goes from $8-2 = 6$ down to $8-5 = 3$.", "It goes from $8-2 = 6$ down to $8-5 = 2$.", SEEN),
    ],
    "signs with two readings": [
        ("25 / 1/3 = 75", "25 / 1/3 = 60", SEEN),
        ("4 ÷ 1/2 = 8", "4 ÷ 1/2 = 6", SEEN),
        ("2^3^2 = 512", "2^3^2 = 100", SEEN),
        ("2^3^2 = 64", "$2^{3^2} = 64$", SEEN),
    ],
    "angles": [
        ("$\\arcsin(\\sin 6^\\circ) = 6^\\circ$", "$\\arcsin(\\sin 6^\\circ) = 7^\\circ$", SEEN),
        ("$\\arctan 1 + 15^\\circ = 60^\\circ$", "$\\arctan 1 + 15^\\circ = 70^\\circ$", SEEN),
        ("$\\sin 30 = 0.5$", "$\\sin 30 = 0.7$", SEEN),
    ],
    "amounts in several units": [
        ("4 dozen big cookies - 2 dozen = 2 dozen big cookies", "4 dozen big cookies - 2 dozen = 3 dozen", SEEN),
        ("2 dozen eggs + 3 eggs = 27 eggs", "2 dozen eggs + 3 eggs = 5 eggs", PASSED),
        ("5 lb 4 oz + 12 oz = 6 lb", "5 lb 4 oz + 12 oz = 7 lb", SEEN),
        ("1 hour 20 min + 50 min = 2 h 10 min", "1 hour 20 min + 50 min = 2 h 20 min", SEEN),
        ("4 m 50 cm - 75 cm = 3 m 75 cm", "4 m 50 cm - 75 cm = 3 m 85 cm", SEEN),
        ("2 feet 8 inches + 1 foot 6 inches = 3 feet 14 inches", "5 ft 7 in + 5 in = 7 ft", SEEN),
        ("$5\\text{ lb } 4\\text{ oz} + 12\\text{ oz} = 6\\text{ lb}$", "3 kg + 500 g = 4.5 kg", SEEN),
        ("He works 5 days 8 hours a day = 40 hours", "2 h 30 min × 2 = 6 h", PASSED),
        ("3x = 1 hour, so 3x = 60 minutes, so x = 20 minutes.", "3x = 60 minutes, so x = 30 minutes.", SEEN),
    ],
    "place values": [
        ("5 tens + 3 ones = 53", "5 tens + 3 ones = 54", SEEN),
        ("4 hundreds + 2 tens + 7 ones = 427", "4 hundreds + 2 tens + 7 ones = 428", SEEN),
        ("6 tenths + 5 hundredths = 0.65", "6 tenths + 5 hundredths = 0.11", PASSED),
        ("He has 5 tens + 3 ones = 8 bills.", "53 = 5 tens + 2 ones", PASSED),
    ],
    "remainders": [
        ("10 % 4 = 2", "10 % 4 = 3", SEEN),
        ("$17\\%5=2$", "$17\\%5=3$", SEEN),
        ("17 ÷ 5 = 3 R 2", "17 ÷ 5 = 3 R 3", SEEN),
        ("17 / 5 = 3 with a remainder of 2", "17 / 5 = 3 with a remainder of 1", SEEN),
        ("$17 \\div 5 = 3 \\text{ R } 2$", "$17 \\div 5 = 2 \\text{ R } 2$", SEEN),
        ("$2^5 \\bmod 7 = 4$", "$2^5 \\bmod 7 = 5$", SEEN),
        ("So the inverse of 17 mod 83 is 44.", "50 % of 20 = 11", SEEN),
    ],
    "number bases": [
        ("$1011_2 = 11$", "$1011_2 = 12$", SEEN),
        ("$1011_{2} + 110_{2} = 10001_{2}$", "$1011_{2} + 110_{2} = 10011_{2}$", SEEN),
        ("We have $852_9 = 8(9^2) + 5(9) + 2 = 695$.", "$852_9 = 696$", SEEN),
        ("So $62_7=6\\cdot7^1+2\\cdot7^0=42+2=44$.", "$25_8 = 22$", SEEN),
        ("\\[a_{14} = -2^{13}\\] \\[a_{14} = -8192\\]", "We get $FF_{16} = 254$.", SEEN),
        ("0x10 = 16", "0x10 = 15", SEEN),
        ("0x5 = 0", "0b1010 = 11", SEEN),
    ],
    "thousands apart": [
        ("1\u2009000 + 2\u2009000 = 3\u2009000", "1\u2009000 + 2\u2009000 = 4\u2009000", SEEN),
        ("12\u202f345 + 5 = 12\u202f350", "12\u202f345 + 5 = 12\u202f360", SEEN),
        ("1\u00a0000 + 2\u00a0000 = 3\u00a0000", "$1\\,000 + 2\\,000 = 4\\,000$", SEEN),
        ("3,5 · 2 = 7 and 1.200,50 + 1 = 1.201,50", "1 000 + 2 000 = 4 000", PASSED),
    ],
    "statements that are only reported": [
        ("She wrongly wrote 2 + 2 = 5.", "She is right: 2 + 2 = 5.", SEEN),
        ("Tom claims that 7 * 8 = 54.", "The chair costs 7 * 8 = 54 dollars.", SEEN),
        ("The answer “7 * 8 = 54” is not his.", "The table costs 400 - 240 = 200. She is not wrong.", SEEN),
        ("7 * 8 = 54. Wait, that is not right.", "7 * 8 = 54. That is the total.", SEEN),
        ("Incorrect: $7 \\times 8 = 54$. Correct: $7 \\times 8 = 56$.", "Correct: $7 \\times 8 = 54$.", SEEN),
        ("By faulty reasoning he got 7 * 8 = 54.", "The faulty parts cost 7 * 8 = 54 dollars.", SEEN),
        ("~~7 * 8 = 54~~ 7 * 8 = 56", "7 * 8 = 54 ✓", SEEN),
        ("If 9 × 7 were 64, i.e. 9 × 7 = 64, we would be done.", "It is even, i.e. 9 × 7 = 64.", SEEN),
        ("We'd have 9 × 7 = 64, but 9 × 7 = 63.", "So we'd have 9 × 7 = 64.", SEEN),
    ],
}  # fmt: skip
CASES = [pytest.param(*row, id=f"{kind}: {row[0]}") for kind, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("right", "false", "seen"), CASES)
def test_a_right_statement_is_not_wrong_and_its_false_twin_not_correct(
    right: str, false: str, seen: bool
) -> None:
    assert "wrong" not in truths(right)
    found = truths(false)
    assert "wrong" in found if seen else "correct" not in found


@pytest.mark.parametrize(
    ("before", "step", "wrong"),
    [
        ("A hexagon has 6 sides, so n = 6.", "An octagon has 8 sides, so n = 8.", False),
        ("The pair (1, 99) gives a = 1, thus b = 99.", "The pair (3, 33) gives a = 3, thus b = 33.", False),
        ("On Monday he has m = 10.", "On Tuesday he earns 5 more, so m = 15.", False),
        ("We have $2x = 10$.", "So $x = 6$.", True),
        ("Adding both sides gives x = 5.", "Therefore x = 6.", True),
    ],
)
def test_a_letter_may_stand_for_something_else_in_another_case(before: str, step: str, wrong: bool) -> None:
    assert ("wrong" in truths(step, "Find it.", before)) == wrong


def test_this_is_not_one_thing_for_ever() -> None:
    before = "Rex is a dog. This is an animal."
    assert "wrong" not in truths("Rose is a flower. So this is not an animal.", "Decide.", before)
    assert "wrong" in truths("This is an animal. So this is not an animal.", "Decide.")


def test_steps_in_the_styles_of_today_are_not_wrong_and_their_false_twins_not_correct() -> None:
    lines = (Path(__file__).parent / "right_and_false_steps.txt").read_text(encoding="utf-8").splitlines()
    twins = [line.replace("\\n", "\n").split(" ||| ") for line in lines]
    assert [right for right, _ in twins if "wrong" in truths(right)] == []
    found = [truths(false) for _, false in twins]
    seen = sum("wrong" in one for one in found)
    assert [
        false for (_, false), one in zip(twins, found, strict=True) if one == {"correct", "undecided"}
    ] == []
    assert seen >= 0.7 * len(twins)
