"""One equality of answers: tables of what is equal, different and unreadable, and what holds for all answers."""

from __future__ import annotations

import builtins
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparring
from real_data import sample
from sparring.json_files import read_jsonl_objects
from sparring.labels.answers import AnswerChecker
from sparring.oracles import equality
from sparring.oracles.equality import answer_groups, compare_answers
from sparring.traces.boxed import boxes
from sparring.traces.records import Problem

EQUAL = [
    ("29", "29 dollars"), ("72", "72, which is the total."), ("29", "**29**"), ("29", r"\[29\]"), ("29", r"\(29\)"),
    ("29", "$29$"), ("70000", r"70\,000"), ("70000", "70{,}000"), ("70000", "70 000"), ("70000", "70\u2009000"),
    ("70000", "70\u202f000"), ("10:30 AM", "10:30 a.m."), ("10:30 AM", "10:30"), ("10:30 AM", r"\text{10:30 AM}"),
    ("22:30", "10:30 PM"), ("3.5", "3 1/2"), ("3.5", "3½"), ("0.5", "½"), (r"3\frac{1}{2}", "3 1/2"),
    ("7/2", r"3\frac12"), ("1000", "1e3"), ("1000", "1.0E+3"), ("1000", "10^3"), ("1000", "10³"),
    ("7", r"7 \mathrm{mol}^{-1}"), (r"7 \mathrm{mol}^{-1}", "7 mol^{-1}"), ("5 m/s", r"5\text{ m s}^{-1}"),
    (r"\frac{\pi}{3}", r"60^\circ"), (r"60^\circ", "60"), ("35000", r"3.5 \times 10^{4}"), ("35000", "3.5 · 10^4"),
    ("35000", "3.5e4"), (r"3.5 \times 10^{4}", "3.5×10⁴"), ("B", "(B)"), ("B", r"\text{(B)}"), ("B", "B. 42"),
    ("B", "B) the square"), ("42", "B. 42"), ("51 dollars", "51.0"), ("True", "true"), ("(0,1)", "0 < x < 1"),
    ("(0,1)", "(0, 1)"), ("[0,1)", r"0\leq x<1"), ("x>3", r"(3,\infty)"),
    (r"(-\infty,2)\cup(3,\infty)", "x<2 or x>3"), ("1011_2", "1011"), ("1011_2", "11_{10}"), ("5 m", "500 cm"),
    ("2 hours", "120 minutes"), ("$5", "500 cents"), ("5 dollars", r"\$5"), (r"3.52 \times 10^{-19}", "3.52e-19"),
    (r"1,2,\ldots,10", r"1, 2, \ldots, 10"), (r"25\%", "25"), ("25%", "25 percent"), ("0.5", r"\frac{1}{2}"),
    ("0.5", r"\frac12"), ("1/3", r"0.\overline{3}"), ("1/3", "0.333..."), ("x=5", "5"), ("x = 5", "x=5"),
    ("1,2", "2,1"), (r"\{1,2\}", r"\{2,1\}"), ("x=1 or x=2", "1,2"), (r"\pm 3", "3,-3"),
    (r"1\pm\sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"), (r"1\pm 2", "3,-1"),
    (r"x = 1 \pm 2", "x = -1, 3"), ("5+-3", "2"), ("y=2x+3", "2x+3"), ("y=2x+3", "2x-y+3=0"), ("x+2", "2+x"),
    (r"\text{Evelyn}", "Evelyn"), ("Evelyn", "Evelyn."),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1\\2 \end{bmatrix}"), ("12,345", "12345"),
    ("-5", "−5"), ("1 million", "1000000"), ("$1,200.50", "1200.5"), ("five", "5"), ("twenty-five", "25"),
    ("2:3", "4:6"), ("18", "The answer is 18."), (r"10\;\text{edges}", "10"), ("90\\text{ square\nunits}", "90"),
    (r"99\pi \text{ square inches}", r"99\pi"), (r"1920\text{ ways.}", "1920"), (r"45 \text{ units}^2", "45"),
    (r"440\text{ cm}^2", "440 square centimeters"), (r"\text{C, F, H}", "C,F,H"), (r"19 \text{ and }43", "19, 43"),
    (r"7, -2, \text{ and } -5", "-5,-2,7"), ("0.0011_{2}", "0.0011_2"), ("-221_3", "-221_{3}"), ("0,3a", "3a, 0"),
    (r"118 \text{ dollars}", r"\$118"), (r"\text{1:03 PM}", "1:03 p.m."), (r"\text{Tuesday}", "on Tuesday"),
    (r"\frac{14}{3}", r"\dfrac{14}{3}"), ("6+9i", "9i+6"), ("5 feet 3 inches", "63 inches"),
    (r"(5, \frac{\pi}{2})", r"(5,\pi/2)"), ("$32,348", "32348"), ("16", "16 ounces"), (r"\$4", "4"),
    (r"x \in [0,25]", "[0,25]"), (r"72^\circ", "72 degrees"), (r"\mathbb{R}", r"(-\infty,\infty)"),
    (r"\sqrt{12}", r"2\sqrt{3}"), ("0.1", "0.10"), ("18", "18."), ("m=3", "3"), (r"\frac{x+2}{7}", "(x+2)/7"),
    ("(45x+28)(x+2)", "45x^2+118x+56"), (r"\cos 58^\circ", r"\sin 32^\circ"), ("$0.50", "50 cents"), ("3/4", "0.75"),
    (r"6^{\circ}", "6°"), ("1:1", "1"), ("yes", "Yes."), ("48", "48 clips."), ("48", "__48__"), ("48", "`48`"),
    ("48", "*48*"), ("48", r"\(\boxed{48}\)"), ("48", "$$48$$"), ("48", r"\[ 48 \]"), ("48", "48; that is all."),
    ("48", "48 (clips)"), ("48", "48 — the total"), ("48", "She has 48 clips left."), ("48", "= 48"),
    ("48", "Number of clips: 48"),
    ("1234567", r"1\,234\,567"), ("1234567", "1 234 567"), ("1234567", "1{,}234{,}567"),
    ("1234567", r"1,\!234,\!567"), ("1234567", "1\xa0234\xa0567"), ("12500", "12,500.00"),
    ("12500", "12.5 thousand"), ("2000000", "2 million"), ("2,500,000", "2.5 million dollars"),
    ("9:05", "9:05 p.m."), ("21:05", "9:05 PM"), ("3:00 PM", "3 PM"), ("3 PM", "15:00"), ("7:45 am", "7:45 A.M."),
    (r"2\frac{3}{4}", "2 3/4"), (r"2\frac{3}{4}", "11/4"), ("2 3/4", "2.75"), (r"-1\frac{1}{2}", "-1.5"),
    ("2¾", "2.75"), ("⅔", "2/3"), ("2e5", "200000"), ("2.5E-3", "0.0025"), ("1.20e+2", "120"),
    (r"6.02\times10^{23}", "6.02e23"), ("6.02 x 10^23", "6.02 × 10²³"), ("10^{-7}", "0.0000001"),
    (r"5\cdot 10^3", "5000"), ("9.8 m/s^2", r"9.8\ \mathrm{m\,s^{-2}}"),
    ("3 mol/L", r"3\ \text{mol}\cdot\text{L}^{-1}"), ("60 km/h", "60 km per hour"), ("60 miles per hour", "60 mph"),
    ("5 kg", "5000 g"), ("3 ft", "36 inches"), ("3 ft", "1 yard"), ("2 days", "48 hours"), ("2 weeks", "14 days"),
    ("1 hour 30 minutes", "90 minutes"), ("1 hour 30 minutes", "1.5 hours"), ("90 minutes", "1.5 hours"),
    ("$3.50", "350 cents"), (r"\$3.50", "3.5"), ("5 euros", "€5"), ("20 cm^2", "20 square centimeters"),
    ("20 cm^3", "20 cubic cm"), ("20 cm²", "20 cm^2"), (r"20\text{ cm}^2", "20 sq. cm"), ("10 liters", "10,000 ml"),
    (r"\frac{\pi}{4}", r"45^\circ"), ("45°", "45 degrees"), (r"\frac{2\pi}{3} \text{ radians}", r"120^\circ"),
    (r"\pi", r"180^\circ"), ("90", r"90^\circ"), ("C", "(C)"), ("C", "c"), ("C", "C. 17 apples"), ("(C)", "C)"),
    ("C", "Option C"), ("C", "C: blue"), ("C", "The answer is (C)."), ("C", r"\textbf{(C)}"),
    ("C", r"\boxed{\text{C}}"), ("(C) 17", "17"), ("C", r"\mathbf{(C)}\ 17"), ("true", "True."), ("False", "false"),
    ("(2,5)", "2<x<5"), ("(2,5]", r"2 < x \leq 5"), ("[2,5]", "2≤x≤5"), (r"(-\infty,3]", r"x\le 3"),
    ("(-∞, 3]", "x <= 3"), ("x<3", "3>x"), (r"x\neq 2", r"(-\infty,2)\cup(2,\infty)"),
    (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2)"), ("0<y<1", "(0,1)"), (r"[0, 2\pi)", r"0 \le \theta < 2\pi"),
    ("0.1+0.2", "0.3"), (r"\ln 2", r"\log_{e} 2"), ("110_2", "6_{10}"), ("110_2", "110 base 2"),
    ("2A_{16}", "2a_{16}"), ("2A_{16}", "42_{10}"), ("(110)_2", "110_{2}"), ("110_2", r"110_{\text{two}}"),
    ("1, 2, ...", "1,2,..."), (r"40\%", "40"), ("40%", "40 percent"), (r"33\frac{1}{3}\%", "33 1/3 %"),
    ("12.5%", r"12.5\%"), ("x=3", "3"), ("x = 3, y = 4", "(3,4)"), ("x=3,y=4", "y=4,x=3"), ("n = 7", "7"),
    ("f(x)=x^2+1", "x^2+1"), ("y=x+1", "x-y+1=0"), (r"x=-2 \text{ or } x=5", "-2, 5"), ("2x+y=5", "4x+2y=10"),
    (r"\{3,4\}", "3 and 4"), ("(3,4)", "3,4"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1 & 2\\ 3 & 4\end{bmatrix}"), ("Monday", "monday"),
    ("the red ball", "red ball"), (r"\text{no solution}", "No solutions"), ("east", r"\text{East}."), ("a+b", "b+a"),
    ("2ab", "2ba"), ("(a+b)^2", "a^2+2ab+b^2"), (r"\frac{a}{b}", "a/b"), ("x^{10}", "x^{10}"),
    (r"\frac{x-1}{x^2-1}", r"\frac{1}{x+1}"), (r"\tan x", r"\frac{\sin x}{\cos x}"), ("n!", "n!"),
    (r"\binom{5}{2}", "10"), (r"\lfloor 3.7 \rfloor", "3"), (r"\log_{10} 1000", "3"), ("3:4", "6:8"),
    ("3 to 4", "3:4"), (r"\frac{-1}{2}", r"-\frac12"), (r"-\frac{1}{2}", r"\frac{1}{-2}"), ("twelve", "12"),
    ("one half", "1/2"), ("three quarters", "0.75"), ("one hundred five", "105"), ("6 or 7", "7 or 6"),
    ("6", "six apples"), ("0", "zero"), ("0", "-0"), ("5", "05"), ("3 apples", "3 apple"), ("$12.00", "12 dollars"),
    ("1,000 meters", "1 km"), ("2 years", "24 months"), (r"\infty", "∞"), (r"\emptyset", r"\varnothing"),
    (r"\emptyset", r"\{\}"), (r"\text{(A), (C)}", "A, C"), ("A,C", "C and A"), (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
    ("4^{1/3}", r"\sqrt[3]{4}"), (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"), (r"(\frac12, 3)", "(0.5, 3)"),
    ("(1, 2, 3)", r"\langle 1,2,3\rangle"), (r"\mathbf{i}+2\mathbf{j}", r"\mathbf{i}+2\mathbf{j}"),
    (r"\vec{AB}", r"\vec{AB}"), (r"8 \text{ or } 9", "8, 9"), (r"3 \pm 2i", "3+2i, 3-2i"), ("$18", "18 dollars"),
    ("18", "$ 18 $"), ("18", "$18.$"), ("18", r"\text{18}"), ("18", "18\\\\"), ("18", r"18 \text{ (units)}"),
    ("18", "{18}"), ("18", r"18\;\mathrm{cm}"), ("18", "18~cm"), ("18", r"$18\text{ cm}$"), ("18", "eighteen"),
    ("18", "+18"), ("-18", "- 18"), ("-18", "minus 18"), ("1 000", "1000"), ("100 000 000", "10^8"),
    ("A", "The correct option is A"), ("No", "no."), ("parabola", "a parabola"), ("3x^2y", "3yx^2"),
    ("three dozen eggs", "36 eggs"), ("a=1, b=2", "b=2, a=1"), ("x^2+y^2=1", "2x^2+2y^2=2"), ("5 J", "5 N m"),
    ("25 °C", "25 degrees Celsius"), ("FF_{16}", "255_{10}"), ("$2.50 per pound", "2.5"),
    ("2 hours and 30 minutes", "2.5 hours"), ("$3 and 50 cents", "$3.50"), ("3 feet, 5 inches", "41 in"),
    ("3 feet and 5 feet", "3 feet, 5 feet"), ("0xFF", "255"), ("0x1F", "1F_{16}"), ("10-20", "10 to 20"),
    ("between 10 and 20", "10–20"), ("5-3", "2"), ("3 to 2", "3:2"), ("2 to 3", "2:3"), ("March 3rd", "3 March"),
    ("Sept. 3, 2020", "3 September 2020"), ("the 4th of July", "July 4"), ("1st", "first"), ("a dozen eggs", "12"),
]  # fmt: skip
DIFFERENT = [
    ("10:30 AM", "10:30 PM"), ("10:30", "10:31"), ("5 m/s", "5 m/min"), ("60", r"\frac{\pi}{3}"),
    (r"\frac{\pi}{3}", r"61^\circ"), ("B", "C) the square"), ("A", "B"), ("43", "B. 42"), ("true", "False"),
    ("(0,1)", r"0 \le x < 1"), ("(0,1)", "[0,1]"), (r"x\ge 3", r"(3,\infty)"), (r"1-\frac{1}{e}", r"1+\frac{1}{e}"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"), ("4", r"4\sqrt(2)"), ("1011_2", "1011_3"), ("1011_2", "11"),
    ("5 m", "5 cm"), ("2 hours", "2 minutes"), ("$5", "5 cents"), (r"3.52 \times 10^{-19}", r"3.52 \times 10^{-18}"),
    (r"25\%", "0.25"), ("1/3", "0.33"), ("x=5", "y=5"), ("5", "x=6"), ("(1,2)", "(2,1)"), ("y=2x+3", "y=2x-3"),
    ("x+2", "x+3"), ("blue", "red"), ("blue", "7"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}"), ("5", "-5"), ("2:3", "3:2"),
    ("664_7", "664_8"), ("3", "3x"), ("5", "5 or 6"), ("0.5", "50%"), ("1.5", "1,5"),
    ("12", "12 apples and 3 pears"), ("29 dollars", "29 dollars and 50 cents"), ("2^{99}", "2^{99}+1"),
    ("10^{40}", "10^{40}+1"), ("10^{-40}", "10^{-41}"), ("7:30", "19:30"), (r"3\frac{1}{2}", r"\frac{3}{2}"),
    ("p - q", "q-p"), ("2,5", "25"), ("5,000", "5"), ("9:05 AM", "9:05 PM"), ("12:00 PM", "12:00 AM"),
    ("1 1/2", "11/2"), ("⅔", "0.667"), (r"6.02\times10^{23}", r"6.02\times10^{22}"), ("10^{-7}", "10^{-8}"),
    ("9.8 m/s^2", "9.8 m/s"), ("60 km/h", "60 mph"), ("5 kg", "5 g"), ("$3.50", "3.50 cents"), ("€5", "$5"),
    ("20 cm^2", "20 cm"), (r"\frac{\pi}{4}", "45"), (r"\frac{\pi}{6}", r"60^\circ"), ("C", "D"), ("(C) 17", "18"),
    ("True", "No"), ("(2,5)", "(2,5]"), (r"(1,2)\cup(3,4)", r"(1,2)\cup(3,5)"), ("x > 2", r"x \ge 2"),
    ("(0,1)", "(1,0)"), (r"1+\sqrt2", r"1-\sqrt2"), ("e^{-50}", "e^{-51}"), ("10^{100}", "10^{100}+1"),
    (r"\frac{1}{3^{60}}", r"\frac{1}{3^{61}}"), ("2^{1000}", "2^{1001}"), (r"\sqrt{2}", "1.41421356"),
    (r"\pi", "3.14159265358979"), (r"\pi", r"\frac{22}{7}"), ("100!", "99!"), ("5", r"5\sqrt{2}"),
    ("7", r"7\sqrt(3)"), ("3", r"3\pi"), ("2", "2i"), ("2", "2^3"), ("110_2", "110_3"), ("40%", "0.4"),
    ("40%", "2/5"), ("x=3", "x=4"), ("2x+y=5", "2x+y=6"), ("3,4", "3,5"), (r"\{1,2,3\}", r"\{1,2\}"),
    ("(3,4)", "(3,5)"), (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    ("Monday", "Tuesday"), (r"\frac{a}{b}", r"\frac{b}{a}"), ("x^2", "x^3"), ("|x|", "x"), (r"\sin x", r"\cos x"),
    ("3:4", "4:3"), ("1/2", "-1/2"), ("6", "6 or 7"), ("5", "5.0000001"), ("3 apples", "4 apples"),
    ("25 miles", "25 kilometers"), ("5 m", "5 kg"), (r"\infty", r"-\infty"), ("A, C", "A, B"),
    (r"\sqrt[3]{16}", r"2\sqrt{2}"),
    ("12 V", "12 A"), ("a=1, b=2", "a=2, b=1"), ("10 m^2", "10 m^3"), ("2 1/4", "2/4"),
    ("3 feet and 5 feet", "8 feet"), ("2 hours and 3 minutes", "3 hours and 2 minutes"), ("0x1F", "30"), ("0b101", "101"),
    ("10-20", "-10"), ("10-20", "10-30"), ("10-20", "15"), ("March 3rd", "May 3"), ("July 4", "July 14"), ("1st", "2nd"),
]  # fmt: skip
UNREADABLE = [
    ("1,2,...,10", "1,2,...,11"), ("29", "not 29"), (r"2,4,6,\ldots,100", r"2,4,6,\ldots,98"),
    ("1,1,2,3,...", "1,1,2,4,..."), ("", "5"), ("5", ""), ("5", " "), ("5", "?"), ("5", "I don't know"),
    ("5", "not 5"), ("29 dollars", "29 apples"), ("3 apples", "3 oranges"), ("1/0", "0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "word"), [(EQUAL, "equal"), (DIFFERENT, "different"), (UNREADABLE, "unreadable")]
)
def test_tables_hold_in_both_directions(pairs, word):
    turned = [(stated, reference) for reference, stated in pairs]
    for asked in (pairs, turned):
        assert [pair for pair in asked if compare_answers(*pair) != word] == []


NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.fractions(max_denominator=99).map(lambda one: f"\\frac{{{one.numerator}}}{{{one.denominator}}}"),
    st.decimals(-(10**6), 10**6, places=3).map(str),
)
ANSWERS = st.one_of(
    NUMBERS,
    st.sampled_from([reference for reference, _ in EQUAL + DIFFERENT if reference.strip()]),
    st.lists(NUMBERS, min_size=2, max_size=4).map(lambda ones: f"({', '.join(ones)})"),
)


@given(ANSWERS)
@settings(deadline=None)
def test_an_answer_equals_itself(answer):
    assert compare_answers(answer, answer) == compare_answers(answer, f"  {answer} ") == "equal"


@given(ANSWERS, ANSWERS)
@settings(deadline=None)
def test_both_directions_say_the_same(one, other):
    assert compare_answers(one, other) == compare_answers(other, one)


DRESS = ["${}$", "$${}$$", "\\({}\\)", "\\[{}\\]", "**{}**", "{}.", "\\boxed{{{}}}", "The answer is {}", "**${}$**",
         "${}$.", "{}, which is the answer.", "{} "]  # fmt: skip


@given(
    NUMBERS,
    st.sampled_from([*DRESS, "{} apples", "{} dollars", "x = {}", "$\\text{{{}}}$", "about {} km"]),
    NUMBERS,
)
@settings(deadline=None)
def test_dress_changes_nothing(number, dress, other):
    assert compare_answers(number, dress.format(number)) == "equal"
    assert compare_answers(other, dress.format(number)) == compare_answers(other, number)


FRACTIONS = st.fractions(-(10**24), 10**24, max_denominator=10**6)


@given(FRACTIONS, FRACTIONS, st.integers(-60, 60))
@settings(deadline=None)
def test_different_numbers_are_never_equal(one, other, power):
    def written(number: Fraction) -> str:
        return f"\\frac{{{number.numerator}}}{{{number.denominator}}} \\cdot 10^{{{power}}}"

    assert compare_answers(written(one), written(other)) == ("equal" if one == other else "different")
    assert compare_answers(written(one), written(one + Fraction(1, 10**12))) == "different"


@given(
    st.lists(
        st.one_of(st.none(), ANSWERS, st.sampled_from(["5", "5 m", "5 cm", "500 cm", "?", ""])), max_size=8
    )
)
@settings(deadline=None, max_examples=40)
def test_groups_are_classes_of_equal_answers(answers):
    groups = answer_groups(answers)
    assert [group == -1 for group in groups] == [answer is None for answer in answers]
    firsts = [groups.index(group) for group in dict.fromkeys(groups) if group != -1]
    assert [groups[first] for first in firsts] == list(range(len(firsts)))
    for one, group in zip(answers, groups, strict=True):
        members = [other for other, theirs in zip(answers, groups, strict=True) if theirs == group != -1]
        assert all(compare_answers(one, other) != "different" or one == other for other in members)
        assert all(other in members for other in answers if other == one and one is not None)


def test_votes_for_one_number_are_one_group():
    votes = ["0.5", r"\frac{1}{2}", r"\frac12", "2", None, "2.0", "$2$", "two"]
    assert answer_groups(votes) == [0, 0, 0, 1, -1, 1, 1, 1]
    assert sparring.answer_groups(["5", "5 m", "5 cm"]) == [0, 0, 1]


HOSTILE = [
    r"\boxed{(x+y+z+w)^{99}}", "(x+y+z+w)^{99}", "9^{9^{9^{9}}}", "8^9**9**9**9", "2^{2^{2^{2^{2^{2}}}}}", "9" * 390,
    "10^{10^{10}}!", "(a+b)^{(c+d)^{99}}", "__import__('os').system('true')", "((((((((((",
    "[x for x in ().__class__.__base__.__subclasses__()]",
    r"\int_0^{10^9} e^{x^x} dx", r"\sum_{k=1}^{10^9} k^{k}", "{" * 200, "\\frac{" * 60, "a " * 190, "1," * 190, "0" * 399,
    r"\operatorname{lcm}(3,x^{99})", "lambda: 0", "x.__class__", "1e999999", "(1+2)*(3-__x__)/4", "1 + 2 - (3*4)",
    "exec('1')", "$36 %",
    r"\sqrt[99]{x^{99}}", r"\begin{pmatrix} 1 & x^{99} \\ (x+y)^{99} & 2 \end{pmatrix}", "\ud800", "\x00", "4343_6",
]  # fmt: skip


def test_nothing_is_evaluated_as_a_program(monkeypatch):
    """Python's `eval`, `exec` and `compile` see no text, whoever compares."""
    asked = [*HOSTILE, *(text for pair in (*EQUAL[::4], *DIFFERENT[::4], *UNREADABLE) for text in pair)]
    seen: list[str] = []

    def guarded(name: str) -> None:
        own = getattr(builtins, name)

        def guard(first: object, *rest: object, **named: object) -> object:
            if isinstance(first, (str, bytes)):
                seen.append(f"{name}: {first!r}")  # others catch exceptions
            return own(first, *rest, **named)

        monkeypatch.setattr(builtins, name, guard)

    for name in ("eval", "exec", "compile"):
        guarded(name)
    equality.same_answer.cache_clear()
    equality.read.cache_clear()
    for one, other in zip(asked[::2], [*asked[7::2], *asked[:7:2]], strict=False):
        compare_answers(one, other)
    assert seen == []
    eval("1")
    assert seen


def test_hostile_answers_come_back_in_bounded_time_and_are_never_equal_to_a_number():
    asked = [pair for text in HOSTILE for pair in (("18", text), (text, "x+1"))]
    assert "equal" not in [compare_answers(*pair) for pair in asked]
    assert compare_answers("(x+y+z+w)^{99}", r"\boxed{(w+z+y+x)^{99}}") == "equal"


@given(st.text(alphabet=r"\boxed{}$#&%,.^_-+/=<>|0123456789fracsqtemodlhinu ()[]:;½²∞°€", max_size=60))
@settings(deadline=None, max_examples=150)
def test_any_text_is_compared_or_not_readable(text):
    assert compare_answers("5", text) in ("equal", "different", "unreadable")
    assert compare_answers("\\frac{x}{2}", text) == compare_answers(text, "\\frac{x}{2}")


def test_the_checker_of_labels_and_the_public_function_agree():
    checker = AnswerChecker()
    pairs = [*EQUAL[:60:4], *DIFFERENT[:60:4], *UNREADABLE]
    verdicts = checker.judge(
        [(Problem("p", "q", one or "-"), [f"\\boxed{{{other}}}"]) for one, other in pairs]
    )
    words = {True: "equal", False: "different", None: "unreadable"}
    assert [words[one] for one in verdicts] == [
        sparring.compare_answers(one or "-", other) for one, other in pairs
    ]


def test_reference_answers_of_real_problems_are_read():
    answers = [record["answer"] for _, record in read_jsonl_objects(sample("math/math500_test.jsonl"))]
    solutions = [record["solution"] for _, record in read_jsonl_objects(sample("math/solutions.jsonl"))]
    answers += [boxes(solution)[-1].content for solution in solutions if boxes(solution)]
    distinct = list(dict.fromkeys(answers))[:800]
    unread = [answer for answer in distinct if not equality.read(answer)]
    assert len(unread) <= len(distinct) // 100, unread
