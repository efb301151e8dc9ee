"""Derivatives and integrals: true ones are never wrong, changed ones are found, equations and hostile text are left."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.contrib.oracles.calculus import judge, trees
from sparring.traces.records import Problem

ROOTS = st.lists(st.integers(-9, 9), min_size=3, max_size=5).filter(lambda values: values[-1] != 0)
LEAVES = st.one_of(
    st.just("x"), st.integers(2, 9).map(str), st.integers(2, 5).map(lambda power: f"x^{{{power}}}")
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda both: rf"\left({both[0]} + {both[1]}\right)"),
        st.tuples(inner, inner).map(lambda both: rf"({both[0]}) \cdot ({both[1]})"),
        st.tuples(inner, inner).map(lambda both: rf"\frac{{{both[0]}}}{{1 + ({both[1]})^2}}"),
        st.tuples(st.sampled_from(["sin", "cos", "exp", "arctan"]), inner).map(
            lambda both: rf"\{both[0]}(0.1 \cdot ({both[1]}))"
        ),
        inner.map(lambda one: rf"\sqrt{{1 + ({one})^2}}"),
        inner.map(lambda one: rf"\ln(2 + ({one})^2)"),
    ),
    max_leaves=5,
)


def truth(step: str, question: str = "Solve.", prefix: tuple[str, ...] = ()) -> str:
    return judge(Problem("p", question), prefix, step).truth


def reason(step: str, question: str = "Solve.", prefix: tuple[str, ...] = ()) -> str:
    return judge(Problem("p", question), prefix, step).reason


def written(values: Sequence[int | Fraction]) -> str:
    """A polynomial in x, lowest power first in `values`."""
    terms = [
        rf"{'-' if value < 0 else '+'} \frac{{{abs(value.numerator)}}}{{{value.denominator}}} x^{{{power}}}"
        for power, value in enumerate(values) if value
    ]  # fmt: skip
    return " ".join(reversed(terms)).removeprefix("+").strip().replace(" x^{0}", "") or "0"


def derived(values: list[int]) -> list[int]:
    return [power * value for power, value in enumerate(values)][1:]


def integrated(values: list[int]) -> list[Fraction]:
    return [Fraction(0), *(Fraction(value, power + 1) for power, value in enumerate(values))]


STATED = {
    "derivative_holds": [
        r"\[\frac{d}{dx}(x^3) = 3x^2\]",
        r"$\frac{d}{dx} x^2 + 3x = 2x + 3$",
        r"$\frac{d}{dx}\left[x^2 e^x\right] = 2x e^x + x^2 e^x = x(x+2)e^x$",
        r"$\frac{d}{dx}(x^2) \cdot \sin x = 2x\sin x$",
        r"$\frac{d^2}{dx^2}(x^3) = 6x$",
        r"$\frac{d}{dx}\tan x = \sec^2 x$",
        r"$\frac{d}{dx} x^x = x^x (\ln x + 1)$",
        r"$\frac{\partial}{\partial x}(x^2 y) = 2xy$",
        r"Let $f(x) = x^2 \sin x$. Then $f'(x) = 2x \sin x + x^2 \cos x$.",
        r"$f(x)=x^3$ so $f'(2) = 12$ and $f''(x) = 6x$.",
        r"If $y = e^{2x}$ then $\frac{dy}{dx} = 2e^{2x}$.",
        "d/dx x^3 = 3x^2",
        "y = x^2 + 1, so dy/dx = 2x.",
        r"$\frac{d}{dx} \log x = \frac{1}{x}$",
        r"$\frac{d}{dx} \log x = \frac{1}{x \ln 10}$",
    ],
    "wrong_derivative": [
        r"$\frac{d}{dx}(x^3) = 2x^2$",
        r"$\frac{d}{dx} x^2 + 3x = 2x + 4$",
        r"Let $f(x) = x^2 \sin x$. Then $f'(x) = 2x \cos x$.",
        r"$f(x)=x^3$ so $f'(2) = 11$.",
        r"If $y = e^{2x}$ then $\frac{dy}{dx} = e^{2x}$.",
        "So d/dx x^3 = 3x",
        "y = x^2 + 1, so dy/dx = 3x.",
    ],
    "integral_holds": [
        r"$\int x^2 \, dx = \frac{x^3}{3} + C$",
        r"$\int x^2 dx = \frac{x^3}{3} = \frac{x^3}{3} + C$",
        r"$\int x e^x dx = x e^x - \int e^x dx = x e^x - e^x + C$",
        r"$\int \frac{dx}{1+x^2} = \arctan x + C$",
        r"$\int \frac{1}{x} dx = \ln|x| + C$",
        r"$\int_0^1 x^2 dx = \left[\frac{x^3}{3}\right]_0^1 = \frac13$",
        r"$\int_0^2 (3x^2+1)\,dx = \left[x^3 + x\right]_0^2 = 10$",
        r"$\int_0^{\pi} \sin x \, dx = 2$",
        r"$\int_0^x t^2 dt = \frac{x^3}{3}$",
        r"$\int_0^1 \int_0^2 x y \, dx \, dy = 1$",
        "∫ x^2 dx = x^3/3 + C",
    ],
    "wrong_integral": [
        r"$\int x^2 \, dx = \frac{x^3}{2} + C$",
        r"$\int_0^1 x^2 dx = \frac{1}{2}$",
        r"$\int_0^{\pi} \sin x \, dx = 1$",
        "∫_0^1 x^2 dx = 1/4",
    ],
}


@pytest.mark.parametrize(("kind", "step"), [(kind, step) for kind, steps in STATED.items() for step in steps])
def test_stated_derivatives_and_integrals(kind: str, step: str) -> None:
    assert reason(step) == f"calculus:{kind}"


@pytest.mark.parametrize(
    "step",
    [
        r"Setting the derivative to zero, $\frac{d}{dx}(x^2 - 4x) = 0$.",
        r"$y = x^4$. So $y' = 4x^3 = 0$.",
        r"Let $f(x) = x^2$ and $g(x) = 3x$. We solve $f'(x) = g'(x)$.",
        r"$f(x) = x^2$, and $f'(x) = f(x)$ at some point.",
        r"$\frac{d}{dx}(x^2 + y^2) = 2x + 2y \frac{dy}{dx}$",
        r"$\frac{d}{dt}(x^2) = 2x \frac{dx}{dt}$",
        r"$\int 2x e^{x^2} dx = \int e^u du = e^u + C$",
        r"$\int_0^a 2x dx = 9$",
        r"$\int_{-1}^{1} \frac{1}{x} dx = 5$",
        r"$\int_{-1}^{1} \frac{1}{x^2} dx = -2$",
        r"$f(x) = x^2$. Now with $f(x) = x^3$ we get $f'(x) = 3x^2$.",
        r"$f(x) = ax^2$ and so $f'(x) = 6x$.",
        r"$\frac{d}{dx}(x^3) = 2x^2$ is wrong.",
        r"$f'(x) = 6$",
        r"$f(x) = 2^x$ so $f'(1) \approx 1.386$.",
    ],
)
def test_equations_and_unknown_functions_are_not_wrong(step: str) -> None:
    assert truth(step) != "wrong"


def test_functions_of_the_problem_and_of_earlier_steps_are_known() -> None:
    assert reason("$f'(x) = 3x^2 - 2$", "Let $f(x) = x^3 - 2x$.") == "calculus:derivative_holds"
    assert reason("$f'(x) = 3x^2$", "Solve.", ("We have $f(x) = x^3 - 2x$.",)) == "calculus:wrong_derivative"
    assert truth("$f(x) = x^3 + 2x$, so $f'(x) = 3x^2$", "Let $f(x) = x^3 - 2x$.") == "undecided"


def test_a_derivative_in_plain_text_is_no_equation_for_later_steps() -> None:
    assert truth("So x = 5.", prefix=("d/dx x^3 = 3x^2",)) == "undecided"


@settings(max_examples=25, deadline=None)
@given(ROOTS, st.sampled_from([r"$\frac{d}{dx}\left(A\right) = B$",
                              r"$f(x) = A$, so $f'(x) = B$.", r"$\int (B) \, dx = A + C$"]))  # fmt: skip
def test_true_derivatives_of_polynomials(values: list[int], form: str) -> None:
    step = form.replace("A", written(values)).replace("B", written(derived(values)))
    assert truth(step) == "correct"


@settings(max_examples=25, deadline=None)
@given(ROOTS, st.data())
def test_a_changed_coefficient_is_found(values: list[int], data: st.DataObject) -> None:
    slope = derived(values)
    place = data.draw(st.integers(0, len(slope) - 1))
    changed = [value + (index == place) for index, value in enumerate(slope)]
    if not any(changed[1:]):
        return
    step = rf"$\frac{{d}}{{dx}}({written(values)}) = {written(changed)}$"
    assert reason(step) == "calculus:wrong_derivative"
    step = rf"$\int ({written(changed)}) \, dx = {written(values)} + C$"
    assert reason(step) == "calculus:wrong_integral"


@settings(max_examples=25, deadline=None)
@given(ROOTS, st.integers(-3, 3), st.integers(-3, 3))
def test_definite_integrals_of_polynomials(values: list[int], low: int, high: int) -> None:
    primitive = integrated(values)
    exact = sum(
        (value * (Fraction(high) ** power - Fraction(low) ** power) for power, value in enumerate(primitive)),
        Fraction(0),
    )
    integral = rf"\int_{{{low}}}^{{{high}}} ({written(values)}) \, dx"
    bars = rf"\left[ {written(primitive)} \right]_{{{low}}}^{{{high}}}"
    value = f"{exact.numerator}/{exact.denominator}"
    assert truth(f"${integral} = {bars} = {value}$") == "correct"
    assert reason(f"${integral} = {value} + 1$") == "calculus:wrong_integral"


@given(EXPRESSIONS, EXPRESSIONS)
@settings(max_examples=15, deadline=None)
def test_rules_hold_for_any_composition(first: str, second: str) -> None:
    operator = r"\frac{d}{dx}"
    product = rf"${operator}\left[({first}) \cdot ({second})\right] = {operator}[{first}] \cdot ({second}) + ({first}) \cdot {operator}[{second}]$"  # noqa: E501
    assert truth(product) != "wrong"
    assert truth(rf"$\int {operator}[{first}] \, dx = {first} + C$") != "wrong"
    assert truth(rf"${operator}[{first}] = {operator}[2 \cdot ({first})]$") != "correct" or "x" not in first


@pytest.mark.parametrize(
    "text", [r"\frac{1}{x}", r"\frac{1}{x^2}", r"\tan(2x)", r"\ln x", r"\sqrt{x}", r"\frac{1}{x - \pi/8}"]
)
def test_quadrature_gives_up_near_singularities(text: str) -> None:
    assert reason(rf"$\int_{{-1}}^2 {text} dx = 5$") == "calculus:unread"


@pytest.mark.parametrize(
    "step", [r"$\int_0^{10000} e^{-x} dx = 1$", r"$\int_0^{5000} e^{-2x} dx = \frac{1}{2}$"]
)
def test_a_peak_that_no_place_of_the_quadrature_meets_is_no_error(step: str) -> None:
    assert reason(step) == "calculus:unread"
    assert truth(r"$\int_{-2}^2 x \cos x dx = 0$") == "correct"


HOSTILE = [
    r"$\frac{d}{d$", r"$\frac{d}{dx}$ = $", r"$\int$ = $\int_$", r"$\int" * 300 + " x dx = 1$",
    r"$\frac{d}{dx}" * 400 + "x = 1$", "d/dx " * 500 + "= 3", r"$\frac{d^{99}}{dx^{99}} x = 1$",
    "f" + "'" * 5000 + "(x) = 1", r"$f(x) = x^2$, $f'(f'(f'(x))) = 8x$", r"$\int_0^{9^{9^9}} x dx = 1$",
    r"$f(x) = \frac{x^2 + x + 1}{x^3 + x}$, $" + "f'(" * 25 + "x" + ")" * 25 + " = y$",
    r"$\int_{-\infty}^\infty e^{-x^2} dx = \sqrt{\pi}$", "the derivative of " * 300 + "is",
    r"$\frac{d}{dx} " + r"\sin(" * 25 + "x" + ")" * 25 + " = 1$", "∫" * 1000 + "= d x",
    r"$\frac{d^4}{dx^4}(" + "(x+1)" * 200 + ") = 3$", "$" + "[" * 25 + "x^2" + "]_0^{x}" * 25 + " = x$",
    r"$\frac{d}{dx} x^{x^{x^{x^{x^{x}}}}} = \frac{d}{dx} x^{x^{x^{x^{x^{x}}}}}$",
    r"$\int_0^1 " + r"\int_0^1 " * 20 + r"\sin x dx = 1$", r"$[x]_0^1]_0^1 = x|_|_ = '$",
    r"$\arctan(i) = 2$ and $\frac{d}{di} i^i = \arctan i$", r"$f(x) = f'(x)$, $f'(x) = f''(x)$",
    r"$y = y'$ and $y = y^2 + y$",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_never_wrong_and_never_raises(text: str) -> None:
    assert truth(text) != "wrong"


@given(
    st.lists(
        st.sampled_from(
            [r"\frac{d}{dx}", r"\int", "_0^1", "dx", "d", "/", "x", "^2", "(", ")", "[", "]", "|", "'", "f", "(x)",
             " = ", "$", "+", "-", r"\sin", "3", "e", "y", "the derivative of ", " is ", "{", "}", r"\partial",
             "∫", "C", r"\prime", ","]
        ),
        max_size=25,
    ).map("".join)
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_never_raises(text: str) -> None:
    judge(Problem("p", "Solve." + text), ("$f(x) = x^3$ and $y = x^2$", text or "x"), text)
    trees(text)
