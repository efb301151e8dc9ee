"""Right statements as people write them are never called wrong, and their false twins never correct.

One row per kind of notation: (what a step may say, the same with a mistake, whether the mistake must be seen). Every
member that reads calculations is asked.
"""

from __future__ import annotations

import pytest

from sparring.oracles import algebra, arithmetic, logic, preconditions, quantities
from sparring.traces.records import Problem

MEMBERS = (arithmetic, algebra, quantities, preconditions, logic)
SEEN, PASSED = True, False


def truths(step: str, question: str = "A question in words.", *prefix: str) -> set[str]:
    """Return what the members say of a step."""
    problem = Problem("p", question)
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
}  # fmt: skip
CASES = [pytest.param(*row, id=f"{kind}: {row[0]}") for kind, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("right", "false", "seen"), CASES)
def test_a_right_statement_is_not_wrong_and_its_false_twin_not_correct(
    right: str, false: str, seen: bool
) -> None:
    assert "wrong" not in truths(right)
    found = truths(false)
    assert "wrong" in found if seen else "correct" not in found
