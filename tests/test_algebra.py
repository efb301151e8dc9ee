"""The algebra member: identities, derivations, excuses; never wrong about true identities, never raises."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.oracles import algebra, arithmetic
from sparring.oracles.algebra import judge
from sparring.oracles.chains import find_chains
from sparring.oracles.expressions import parse
from sparring.oracles.panel import combine
from sparring.oracles.polynomials import LinearSystem, cross_difference
from sparring.oracles.reading import TooLargeError, UnreadableError, tokenize_formula
from sparring.oracles.values import Reading, evaluate
from sparring.traces.records import Problem

PROBLEM = Problem("p", "Solve the problem.")
COEFFICIENTS = st.lists(st.integers(-9, 9), min_size=2, max_size=4).filter(lambda values: values[-1] != 0)


def truth(step: str, question: str = "Solve the problem.", prefix: tuple[str, ...] = ()) -> str:
    return judge(Problem("p", question), prefix, step).truth


def reason(step: str, question: str = "Solve the problem.", prefix: tuple[str, ...] = ()) -> str:
    return judge(Problem("p", question), prefix, step).reason


def written(values: list[int]) -> str:
    """A polynomial in x, highest power first."""
    terms = [f"{value:+d}x^{{{power}}}" for power, value in enumerate(values) if value]
    return "".join(reversed(terms)).lstrip("+").replace("x^{0}", "").replace("^{1}", "") or "0"


def times(first: list[int], second: list[int]) -> list[int]:
    product = [0] * (len(first) + len(second) - 1)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            product[i + j] += a * b
    return product


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\frac12 + \dfrac{1}{3}", Fraction(5, 6)),
        (r"2\frac{3}{4}", Fraction(11, 4)),
        (r"36(\frac{13}{6})", Fraction(78)),
        (r"-3^2", Fraction(-9)),
        (r"2^{3^2}", Fraction(512)),
        (r"\binom{5}{2} - 3!", Fraction(4)),
        (r"\sqrt{\frac{9}{16}}", Fraction(3, 4)),
        (r"\sqrt[3]{27}", Fraction(3)),
        (r"\left( 1,200 - 200 \right) \div 4", Fraction(250)),
        (r"\left\lfloor \frac{7}{2} \right\rfloor", Fraction(3)),
        (r"|3 - 5|", Fraction(2)),
    ],
)
def test_formulas_have_their_values(text: str, value: Fraction) -> None:
    assert evaluate(parse(tokenize_formula(text)), {}) == value


@pytest.mark.parametrize("text", ["1/2x", "58_9", "3 4", r"\frac{1}", "(2", "x^", r"\foo{2}", "2^10^2"])
def test_what_is_not_clear_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse(tokenize_formula(text))


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9}}",
        "(400!)!",
        "2^{99999}",
        "((10^{99})^{99})^{99}",
        r"\sum_{i=1}^{999}\sum_{j=1}^{999}\sum_{k=1}^{999} 1",
    ],
)
def test_towers_are_too_large(text: str) -> None:
    with pytest.raises(TooLargeError):
        evaluate(parse(tokenize_formula(text)), {})
    assert reason(f"${text} = 5 + 1$") == "algebra:too_large"


@pytest.mark.parametrize(
    "step",
    [
        "We expand $(x+3)(x-2) = x^2 + x - 6$.",
        r"\begin{align*} (a+b)^2 &= a^2 + 2ab + b^2 \\ &= a^2 + b^2 + 2ab \end{align*}",
        r"$\sqrt{50} = 5\sqrt{2}$",
        r"$\sin 30^\circ = \frac{1}{2}$",
        r"$\frac{x^2-1}{x-1} = x+1$",
        "We get 2(x + 3) = 2x + 6.",
        r"$(2+3i)(2-3i) = 4 + 9 = 13$",
        r"$\log_2 8 = 3$",
        r"$\sum_{k=1}^{10} k = 55$",
    ],
)
def test_true_rewritings_are_correct(step: str) -> None:
    assert truth(step) == "correct"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ("We expand $(x+3)(x-2) = x^2 + 5x - 6$.", "false_identity"),
        (r"$\sqrt{50} = 2\sqrt{5}$", "false_value"),
        (r"$\frac{1}{2} + \frac{1}{3} = \frac{2}{5}$", "false_value"),
        (r"$3x + 5x = 9x$", "false_identity"),
        (r"\begin{align*} (a+b)^2 &= a^2 + ab + b^2 \end{align*}", "false_identity"),
        (r"$\cos 60^\circ = \frac{\sqrt{3}}{2}$", "false_value"),
        (r"From $2x + 3 = 11$ we get $2x = 14$, so $x = 7$.", "does_not_follow"),
        (r"$x^2 - 5x + 6 = 0 \Rightarrow (x-1)(x-6) = 0$", "does_not_follow"),
    ],
)
def test_false_rewritings_are_wrong(step: str, kind: str) -> None:
    assert reason(step) == f"algebra:{kind}"


def test_an_equation_follows_from_the_step_before() -> None:
    prefix = ("We have $3x + 5 = 20$.",)
    assert reason("Subtracting 5 gives $3x = 15$, so $x = 5$.", prefix=prefix) == "algebra:follows"
    assert reason("Subtracting 5 gives $3x = 25$.", prefix=prefix) == "algebra:does_not_follow"


def test_a_value_follows_from_a_system() -> None:
    prefix = ("We have $x + y = 10$ and $x - y = 2$.",)
    assert truth("Adding the equations gives $2x = 12$, so $x = 6$.", prefix=prefix) == "correct"
    assert truth("Adding the equations gives $2x = 8$.", prefix=prefix) == "wrong"


def test_a_function_of_the_problem_is_applied() -> None:
    question = "Let $f(x) = 3x - 2$. Find $f(4)$."
    assert truth("$f(4) = 3(4) - 2 = 10$", question) == "correct"
    assert truth("$f(4) = 11$", question) == "wrong"


@pytest.mark.parametrize(
    "step",
    [
        "Let $x = 5$.",
        "We solve $x^2 + 3x = 10$.",
        "If $x = 2$, then $2x = 4$; if $x = 3$, then $2x = 6$.",
        "Suppose $2x + 3 = 11$. Then suppose $x = 7$.",
        r"$2^{10} = 1024 \equiv 1 \pmod{7}$ and $17 = 3$",
        r"$\pi = 3.14$",
        r"$1 + 2 + \cdots + 10 = 54$",
        r"$3 \text{ feet} = 3 \cdot 1 \text{ yard}$ and $x$",
        "Is $2 + 2 = 5$?",
        "That is impossible, since $2 + 2 = 5$.",
        "The ratio is $1:2^2 = 1:4$.",
        "He has 29 inches + 12 inches = 41 inches, so j = 29 inches + 12 inches",
    ],
)
def test_nothing_here_is_wrong(step: str) -> None:
    assert truth(step) != "wrong"


def test_own_operations_are_not_judged() -> None:
    question = r"If $a \ast b = a + 2b$, what is $3 \ast 4$?"
    assert reason(r"$3 \ast 4 = 3 + 8 = 11$", question) == "algebra:other_arithmetic"


@given(COEFFICIENTS, COEFFICIENTS)
def test_true_products_are_never_wrong_and_changed_ones_are(first: list[int], second: list[int]) -> None:
    left = f"({written(first)})({written(second)})"
    product = times(first, second)
    step = f"Expanding gives ${left} = {written(product)}$."
    assert truth(step) != "wrong"
    difference, _ = cross_difference(
        parse(tokenize_formula(left)), parse(tokenize_formula(written(product))), Reading()
    )
    assert difference == {}


@given(COEFFICIENTS, COEFFICIENTS, st.data())
def test_a_changed_coefficient_is_found(first: list[int], second: list[int], data: st.DataObject) -> None:
    if sum(map(bool, first)) < 2 or sum(map(bool, second)) < 2:
        return
    product = times(first, second)
    place = data.draw(st.integers(0, len(product) - 2))
    if not product[place] or product[place] == -1:
        return
    changed = [value + (index == place) for index, value in enumerate(product)]
    step = f"Expanding gives $({written(first)})({written(second)}) = {written(changed)}$."
    assert reason(step) == "algebra:false_identity"


@given(st.integers(1, 9), st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 5))
def test_linear_equations(a: int, b: int, root: int, off: int) -> None:
    equation = f"${a}x + {b} = {a * root + b}$".replace("+ -", "- ")
    assert truth(f"So $x = {root}$.", prefix=(f"We have {equation}.",)) != "wrong"
    assert truth(f"So $x = {root + off}$.", prefix=(f"We have {equation}.",)) == "wrong"


def test_elimination_sees_contradictions() -> None:
    system = LinearSystem()
    x, y, one = (("x", 1),), (("y", 1),), ()
    assert system.include({x: Fraction(1), y: Fraction(1), one: Fraction(-3)})
    assert system.include({x: Fraction(1), y: Fraction(-1), one: Fraction(-1)})
    assert not system.reduced({x: Fraction(1), one: Fraction(-2)}) and not system.reduced(
        {y: Fraction(1), one: Fraction(-1)}
    )
    assert not system.include({x: Fraction(1), one: Fraction(-5)})


HOSTILE = [
    r"\frac{\frac{\frac{", "$$$$", r"\[ \] \( $ = $ \)", "= = = =", "$x = \u202e5 + 3 = 8\u202c$", "x\x00=\x01 5",
    "$" + "(" * 3000 + "=1$", "$" + "-" * 5000 + "1 = 1$", "1" * 100_000 + " = 1", "$" + "9^" * 400 + "9 = 1$",
    "$" + "9!" * 300 + "= 1$", "NaN = inf = -inf", "$\\infty = \\infty + 1$", "$١٢ = ３$", "$x_{x_{x_{x}}} = 1$",
    r"\begin{align*}" * 200, "$" + "x=" * 500 + "$", "$" + r"\sqrt{" * 500 + "2" + "}" * 500 + "=1$", "$0^{-1} = 0$",
    r"$\log_1 5 = \tan 90^\circ$", "$||||x|||| = 3$", "\ud800 = 1", "$f(f(f(f(x)))) = f(x) = 2$", "$=$",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_never_wrong_and_never_raises(text: str) -> None:
    assert truth(text) != "wrong"


@given(st.text(alphabet=r"\frac{}$^_()[]|=<>+-*/!.,0123456789xyzie sqrtlogn&" + "\n", max_size=80))
@settings(max_examples=300)
def test_never_raises(text: str) -> None:
    judge(PROBLEM, ("$x = 2$", text or "x"), text)
    find_chains(text)


@pytest.mark.parametrize(
    "step",
    ["11 / 5 = 2 trays", "4 / 3 = 1 and 1/3", "We have $e(-1) = e(1)$", "So $-4 = y$"],
)
def test_readings_that_no_value_refutes(step: str) -> None:
    assert judge(Problem(id="p", question="q"), (), step).truth != "wrong"


@pytest.mark.parametrize("step", ["She has 5 + 3 = 8 - 2 = 6 pens.", r"So $3 \times 4 = 12 + 5 = 17$."])
def test_a_calculation_that_runs_on_is_excused_as_the_arithmetic_member_does(step: str) -> None:
    members = {"arithmetic": arithmetic.judge, "algebra": algebra.judge}
    found = {name: member(Problem("p", "q"), (), step) for name, member in members.items()}
    assert found["arithmetic"].reason == "arithmetic:run_on_chain"
    assert combine(found).truth == "undecided"
    wrong = step.replace("17", "18").replace("= 6", "= 7")
    assert truth(wrong) == "wrong"


def test_one_branch_of_a_piecewise_function_is_no_definition() -> None:
    question = r"Let $f(x) = \begin{cases} 3-x & x \leq 3 \\ x^2 & x > 3 \end{cases}$. Find $f(5)$."
    prefix = (r"For small numbers, $f(x) = 3 - x$.",)
    assert truth(r"So $f(5) = 5^2$.", question, prefix) == "undecided"
    assert truth(r"So $f(5) = 5^2$.", "Find $f(5)$.", prefix) == "wrong"


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ("We write the equation 4 * x + 600 = 10000.", "We get 4 * x = 9400."),
        ("We set up the equation $40=.02x$.", "So $x = 2000$."),
        ("It lies on line $3x + 2 = 14$.", "So $x = 4$."),
    ],
)
def test_a_number_after_equation_or_line_is_no_name_where_a_formula_begins(before: str, step: str) -> None:
    assert truth(step, prefix=(before,)) == "correct"
    assert truth(step.replace("= ", "= 1"), prefix=(before,)) != "correct"
    assert truth("Equation 2 - 1 = 3") != "wrong"
