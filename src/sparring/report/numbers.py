"""Numbers as people read them."""

from __future__ import annotations

from sparring.runs import Metric

THIN_SPACE, MINUS = "\u202f", "\u2212"


def plain(number: float | None) -> str:
    """Return any number with four significant digits, thousands set apart; ``None`` is a dash."""
    if number is None:
        return "–"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}".replace(",", THIN_SPACE).replace("-", MINUS)
    return f"{number:.4g}".replace("-", MINUS)


def percent(share: float | None) -> str:
    """Return a share of 1 as per cent with one decimal; ``None`` is a dash."""
    return "–" if share is None else f"{_fixed(100 * share)}{THIN_SPACE}%"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return ("+" if share > 0 else "") + _fixed(100 * share)


def _fixed(number: float) -> str:
    """Return a number with one decimal, with more where that would show a number other than 0 as 0."""
    for decimals in (1, 2, 3):
        shown = f"{number:.{decimals}f}"
        if float(shown) != 0:
            return shown.replace("-", MINUS)
    return "0.0"


def with_interval(found: Metric, *, signed: bool = False) -> str:
    """Return ``61.4 [57.2, 65.5]``: shares in percent, anything else as it is; a t behind it is Student's interval."""
    share = found.unit == "fraction"

    def write(number: float) -> str:
        shown = f"{100 * number:.1f}" if share else f"{number:.3g}" if abs(number) >= 1e6 else plain(number)
        return (f"+{shown}" if signed and number > 0 else shown).replace("-", MINUS)

    if found.value is None:
        return "–"
    if found.low is None or found.high is None:
        return write(found.value)
    mark = "\u00a0t" if found.interval == "t" else ""
    return f"{write(found.value)} [{write(found.low)},\u00a0{write(found.high)}]{mark}"
