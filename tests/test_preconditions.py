"""The preconditions member: what is forbidden, what is only doubtful, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.contrib.oracles.preconditions import judge
from sparring.traces.records import Problem


def verdict(
    step: str, prefix: tuple[str, ...] = (), question: str = "Find all solutions."
) -> tuple[str, str]:
    found = judge(Problem("p", question), prefix, step)
    return found.truth, found.reason.removeprefix("preconditions:")


@pytest.mark.parametrize(
    ("step", "prefix", "kind"),
    [
        ("Dividing both sides by $-2$ gives $x > -3$.", ("We have $-2x > 6$.",), "inequality_direction"),
        (r"$-2x > 6 \Rightarrow x > -3$", (), "inequality_direction"),
        ("Dividing both sides by $x$ gives $x = 5$.", ("We have $x^2 = 5x$.",), "lost_root"),
        (r"$\frac{5}{3 - 3} = 0$", (), "division_by_zero"),
    ],
)
def test_forbidden_steps_are_wrong(step: str, prefix: tuple[str, ...], kind: str) -> None:
    assert verdict(step, prefix) == ("wrong", kind)


@pytest.mark.parametrize(
    ("step", "prefix"),
    [
        ("Dividing both sides by $-2$ gives $x < -3$.", ("We have $-2x > 6$.",)),
        ("Since $x$ is positive, dividing both sides by $x$ gives $x = 5$.", ("We have $x^2 = 5x$.",)),
        ("Dividing both sides by $5$ gives $x = 1$.", ("We have $5x = 5$.",)),
        (r"$\frac{5}{3 - 3}$ is undefined, so $\frac{5}{0} = 0$ makes no sense.", ()),
        ("$x > 2$ or $x < 2$", ()),
    ],
)
def test_allowed_or_doubtful_steps_are_undecided(step: str, prefix: tuple[str, ...]) -> None:
    assert verdict(step, prefix)[0] == "undecided"


@given(st.text(max_size=200), st.text(min_size=1, max_size=80).filter(str.strip))
def test_never_raises_and_never_correct(step: str, question: str) -> None:
    assert judge(Problem("p", question), (step,), step).truth != "correct"
