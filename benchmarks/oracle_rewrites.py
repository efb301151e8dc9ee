"""Rewrites of GSM8K steps that keep their meaning, and pairs of real steps: what `judge_against` must not call
wrong.

Contract: a rewriter is a function ``step -> text or None`` (``None``: it does not apply). All of them are
regular expressions over GSM8K's own way of writing, and share nothing with the tokens and sites of
`sparring.oracles`: an oracle that is measured on its own readings would only confirm itself. `REWRITES` names
(original, rewritten) pairs to be judged; `real_pairs` puts steps of different solutions of one problem side
by side. Not here: rates and tables (`oracle_audit.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

Rewriter = Callable[[str], str | None]

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
# Two operands that nothing before belongs to: neither "5 + 3 * 4 =" nor "$(3 * 4 =".
_ALONE = r"(?<![\w.,%)$*/+=(-])(?<![\d%)*/+=(-] )(?<![*/+=(-] \$)"
_SIMPLE = re.compile(rf"{_ALONE}(\$?{_NUMBER})( ?)([-+*/])( ?)(\$?{_NUMBER})(?= ?=)")
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_SMALL = {"2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven", "8": "eight"}
_SYNONYMS = {
    "total": "whole", "needs": "requires", "makes": "earns", "spent": "paid", "buys": "purchases",
    "bought": "purchased", "gets": "receives", "got": "received", "costs": "sells for", "amount": "quantity",
    "in all": "altogether", "each": "every", "left": "remaining", "has": "owns", "uses": "consumes",
}  # fmt: skip


def changed(step: str, made: str) -> str | None:
    """Return the rewritten text, ``None`` where nothing changed."""
    return made if made != step else None


def bare(step: str) -> str:
    """Return the step without calculator annotations."""
    return _ANNOTATION.sub("", step)


def swap_operands(step: str) -> str | None:
    """``3 * 4 =`` becomes ``4 * 3 =``, in the text and in the annotation."""

    def swapped(match: re.Match[str]) -> str:
        first, before, sign, after, second = match.groups()
        return f"{second}{before}{sign}{after}{first}" if sign in "+*" else match.group()

    return changed(step, _SIMPLE.sub(swapped, step))


def swap_operands_bare(step: str) -> str | None:
    """The same without annotations."""
    made = swap_operands(step)
    return None if made is None else bare(made)


def drop_annotation(step: str) -> str | None:
    """``= <<48/2=24>>24`` becomes ``= 24``."""
    return changed(step, bare(step))


def printed_signs(step: str) -> str | None:
    """``48/2`` becomes ``48 ÷ 2`` and ``3*4`` becomes ``3 × 4``."""

    def printed(match: re.Match[str]) -> str:
        first, _, sign, _, second = match.groups()
        return f"{first} { {'*': '×', '/': '÷'}.get(sign, sign) } {second}"

    return changed(step, _SIMPLE.sub(printed, bare(step)))


def spoken_signs(step: str) -> str | None:
    """``3 * 4 = 12`` becomes ``3 times 4 equals 12``."""
    words = {"*": "times", "/": "divided by", "+": "plus", "-": "minus"}
    text = bare(step)
    made = _SIMPLE.sub(lambda match: f"{match[1]} {words[match[3]]} {match[5]}", text)
    return changed(text, re.sub(r" ?= ?", " equals ", made) if made != text else text)


def half_of(step: str) -> str | None:
    """``48/2 =`` becomes ``half of 48 =``."""
    text = bare(step)

    def halved(match: re.Match[str]) -> str:
        return f"half of {match[1]}" if (match[3], match[5]) == ("/", "2") else match.group()

    return changed(text, _SIMPLE.sub(halved, text))


def half_of_annotated(step: str) -> str | None:
    """The same with the annotation left as it is."""
    return changed(step, re.sub(rf"{_ALONE}(\$?{_NUMBER}) ?/ ?2(?= ?= ?\$?<<)", r"half of \1", step))


def dollars(step: str) -> str | None:
    """``$24`` becomes ``24 dollars``."""
    text = bare(step)
    return changed(text, re.sub(rf"\$({_NUMBER})(?![\d/]|[.,]\d)", r"\1 dollars", text))


def cents_written(step: str) -> str | None:
    """``$24`` becomes ``$24.00``."""
    text = bare(step)
    return changed(text, re.sub(r"\$(\d[\d,]*)(?![\d.,]|[.,]\d)", r"$\1.00", text))


def opening(step: str) -> str | None:
    """Put a word of inference before the step."""
    return f"Therefore, {step}"


def conjunction(step: str) -> str | None:
    """Put ``So`` before the step and drop the annotations."""
    return "So " + bare(step)


def result_first(step: str) -> str | None:
    """``48/2 = 24`` becomes ``24 = 48/2`` where the equation ends the sentence."""
    text = bare(step)
    pattern = rf"{_ALONE}(\$?{_NUMBER} ?[-+*/] ?\$?{_NUMBER}) ?= ?(\$?{_NUMBER})(?=\.?$)"
    return changed(text, re.sub(pattern, r"\2 = \1", text))


def decimal_as_percent(step: str) -> str | None:
    """``0.2 * 50`` and ``.25 * 40`` become ``20% * 50`` and ``25% * 40``."""
    text = bare(step)

    def percent(match: re.Match[str]) -> str:
        return f"{int(match[1].ljust(2, '0'))}%"

    return changed(text, re.sub(r"(?<![\d.,$])0?\.(\d\d?)(?= ?\* ?\$?\d)(?! ?\* ?100)", percent, text))


def percent_as_decimal(step: str) -> str | None:
    """``20% of`` becomes ``0.20 of``, and ``20% *`` becomes ``0.20 *``."""
    text = bare(step)
    return changed(text, re.sub(r"(?<![\d.,/])([1-9]\d)%(?= of| ?\*)", r"0.\1", text))


def spelled_numbers(step: str) -> str | None:
    """Small numbers before a noun become words: ``4 boxes`` becomes ``four boxes``."""

    def spelled(match: re.Match[str]) -> str:
        return _SMALL.get(match[1], match[1])

    text = bare(step)
    return changed(
        text, re.sub(r"(?<![\d.,$*/+=%-])(?<![*/+=x-] )\b(\d)(?= [a-z]{3,} (?![*/+=x-]))", spelled, text)
    )


def spelled_operands(step: str) -> str | None:
    """Small numbers become words everywhere: ``3 * 4 = 12`` becomes ``three * four = 12``."""
    text = bare(step)
    return changed(text, re.sub(r"(?<![\w.,/])([2-8])(?![\w.,/%])", lambda match: _SMALL[match[1]], text))


def commas(step: str) -> str | None:
    """``1200`` becomes ``1,200``."""
    return changed(step, re.sub(r"(?<![\d.,])(\d{1,3})(\d{3})(?![\d,])(?!\.\d{3})", r"\1,\2", step))


def float_results(step: str) -> str | None:
    """``<<48/2=24>>24`` becomes ``<<48/2=24.0>>24``."""
    return changed(step, re.sub(r"=(\d+)>>", r"=\1.0>>", step))


def float_noise(step: str) -> str | None:
    """Results become what binary floating point prints one unit in the last place away."""
    return changed(step, re.sub(r"=(\d{1,4})>>", r"=\1.00000000000001>>", step))


def more_digits(step: str) -> str | None:
    """A quotient that never ends is rounded to three places instead of two."""

    def longer(match: re.Match[str]) -> str:
        above, below = (float(match[index].replace(",", "")) for index in (1, 2))
        if not below or round(above / below, 2) != float(match[3]):
            return match.group()
        value = above / below
        return (
            f"{match[1]} / {match[2]} = {value:.3f}" if abs(value - round(value, 3)) > 1e-9 else match.group()
        )

    text = bare(step)
    return changed(
        text, re.sub(rf"{_ALONE}({_NUMBER}) ?/ ?({_NUMBER}) ?= ?\$?(\d+\.\d\d)(?!\d)", longer, text)
    )


def brackets(step: str) -> str | None:
    """``3 * 4 = 12`` becomes ``(3 * 4) = 12``."""
    text = bare(step)
    return changed(text, _SIMPLE.sub(lambda match: f"({match.group()})", text))


def spaces(step: str) -> str | None:
    """``48/2=24`` becomes ``48 / 2 = 24``."""
    text = bare(step)
    return changed(text, re.sub(r"(?<=\d) ?([*/+=]) ?(?=[\d$])", r" \1 ", text))


def synonyms(step: str) -> str | None:
    """Common words are exchanged for others of the same meaning."""
    pattern = r"\b(?:" + "|".join(_SYNONYMS) + r")\b"
    return changed(step, re.sub(pattern, lambda match: _SYNONYMS[match.group()], step))


def conclusion(step: str) -> str | None:
    """Say the result again after the step."""
    found = re.search(rf"= ?\$?(?:<<[^<>]*>>)?({_NUMBER})[^=]*$", step)
    return None if found is None else f"{bare(step).rstrip('.')}, so the answer here is {found[1]}."


REWRITERS: dict[str, Rewriter] = {
    rewriter.__name__: rewriter
    for rewriter in (
        swap_operands, swap_operands_bare, drop_annotation, printed_signs, spoken_signs, half_of,
        half_of_annotated, dollars, cents_written, opening, conjunction, result_first, decimal_as_percent,
        percent_as_decimal, spelled_numbers, spelled_operands, commas, float_results, float_noise, more_digits,
        brackets, spaces, synonyms, conclusion,
    )
}  # fmt: skip
