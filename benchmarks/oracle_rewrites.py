"""Steps that `judge_against` must not call wrong: rewrites of GSM8K steps, and pairs of real solutions' steps.

Contract: a rewriter is a function ``step -> text or None`` (``None``: it does not apply) that keeps the
meaning. All of them are regular expressions over GSM8K's own way of writing and share nothing with the tokens
and sites of `sparring.oracles`: an oracle that is measured on its own readings would only confirm itself.
`real_pairs` puts the steps at the same position of different solutions of one problem side by side. Not
here: rates and tables (`oracle_audit.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

Rewriter = Callable[[str], str | None]

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
# Two operands that nothing before belongs to: neither "5 + 3 * 4 =" nor "$(3 * 4 =".
_ALONE = r"(?<![\w.,%)$*/+=(-])(?<![\d%)*/+=(x-] )(?<![*/+=(x-] \$)"
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
    return changed(text, re.sub(rf"\$({_NUMBER})(?![\w/]|[.,]\d)", r"\1 dollars", text))


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
    return changed(text, re.sub(r"(?<![\d.,/=])(?<!= )([1-9]\d)%(?= of| ?\*)", r"0.\1", text))


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
    """``= <<48/2=24>>24 clips`` becomes ``= 24.0 clips``."""
    text = bare(step)
    return changed(text, re.sub(r"= ?(\$?\d+)(?![\d.,%:/*+-]| [*/+x-])", r"= \1.0", text))


def float_noise(step: str) -> str | None:
    """``= <<48/2=24>>24 clips`` becomes ``= 24.00000000000001 clips``, as binary floating point prints it."""
    made = float_results(step)
    return None if made is None else re.sub(r"(= \$?\d+\.0)(?!\d)", r"\g<1>0000000000001", made)


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
        percent_as_decimal, spelled_numbers, spelled_operands, commas, float_results, float_noise,
        brackets, spaces, synonyms, conclusion,
    )
}  # fmt: skip


# --- real pairs ---


@dataclass(frozen=True)
class Pair:
    """Two steps at the same position of two solutions of one problem, the first with a correct answer.

    Attributes:
        case: where it comes from.
        question: the problem.
        prefix: the steps before the first.
        original: the step of a solution with a correct final answer.
        step: the step of the other solution.
        kind: ``same_state`` (both answers are correct, and the annotated results before the steps agree, so
            that each could stand in the other's place), ``other_state`` (both correct, results differ) or
            ``wrong_answer`` (the other solution's final answer is wrong; its step need not be).
    """

    case: str
    question: str
    prefix: tuple[str, ...]
    original: str
    step: str
    kind: str


def solution_steps(solution: str) -> list[str]:
    """Return the steps of a model's solution, without the answer line."""
    return [step for step in solution.split("\n") if step.strip() and not step.startswith("A:")]


def model_solutions(record: dict[str, Any]) -> list[tuple[bool, list[str]]]:
    """Return (final answer is correct, steps) of the models' solutions of one problem."""
    return [
        (entry["is_correct"], solution_steps(entry["solution"]))
        for entry in record.values()
        if isinstance(entry, dict)
    ]


def real_pairs(records: Iterable[dict[str, Any]]) -> Iterator[Pair]:
    """Yield the pairs of every problem, the reference solution included, each pair of texts once."""
    for index, record in enumerate(records):
        seen: set[tuple[str, str]] = set()
        solutions = [(True, solution_steps(record["ground_truth"])), *model_solutions(record)]
        for (correct, one), (other_correct, other) in permutations(solutions, 2):
            if not correct:
                continue
            for position, texts in enumerate(zip(one, other, strict=False)):
                key = (bare(texts[0]), bare(texts[1]))
                if key[0] == key[1] or key in seen:
                    continue
                seen.add(key)
                same_state = results(one[:position]) == results(other[:position])
                kind = ("same_state" if same_state else "other_state") if other_correct else "wrong_answer"
                yield Pair(
                    f"{index}.{position}", record["question"], tuple(one[:position]), texts[0], texts[1], kind
                )


def results(steps: Sequence[str]) -> list[float | str]:
    """Return the results in the annotations of some steps."""
    shown = [inside.split("=")[-1].strip() for inside in _ANNOTATION.findall(" ".join(steps))]
    return [float(text) if re.fullmatch(r"\d+(?:\.\d+)?", text) else text for text in shown]
