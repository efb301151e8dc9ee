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
_SIMPLE = rf"{_ALONE}(\$?{_NUMBER})( ?)([-+*/])( ?)(\$?{_NUMBER})(?= ?=)"
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_SMALL = {"2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven", "8": "eight"}
_SYNONYMS = {
    "total": "whole", "needs": "requires", "makes": "earns", "spent": "paid", "buys": "purchases",
    "bought": "purchased", "gets": "receives", "got": "received", "costs": "sells for", "amount": "quantity",
    "in all": "altogether", "each": "every", "left": "remaining", "has": "owns", "uses": "consumes",
}  # fmt: skip


Made = str | Callable[[re.Match[str]], str]
"""What takes a match's place, as `re.sub` has it."""


def bare(step: str) -> str:
    """Return the step without calculator annotations."""
    return _ANNOTATION.sub("", step)


def rewriting(pattern: str, made: Made, *, annotated: bool = False) -> Rewriter:
    """Return a rewriter that replaces every match, in the step without annotations unless `annotated`."""
    compiled = re.compile(pattern)

    def rewrite(step: str) -> str | None:
        text = step if annotated else bare(step)
        found = compiled.sub(made, text)
        return found if found != text else None

    return rewrite


def swapped(match: re.Match[str]) -> str:
    """Exchange the operands of a sum or a product."""
    first, before, sign, after, second = match.groups()
    return f"{second}{before}{sign}{after}{first}" if sign in "+*" else match.group()


def printed_signs(step: str) -> str | None:
    """``48/2`` becomes ``48 ÷ 2``; the annotations go."""
    signs = {"*": "×", "/": "÷"}
    made = re.sub(_SIMPLE, lambda match: f"{match[1]} {signs.get(match[3], match[3])} {match[5]}", bare(step))
    return made if made != step else None


def halved(match: re.Match[str]) -> str:
    """Say a division by two."""
    return f"half of {match[1]}" if (match[3], match[5]) == ("/", "2") else match.group()


swap_operands = rewriting(_SIMPLE, swapped, annotated=True)
float_results = rewriting(r"= ?(\$?\d+)(?![\d.,%:/*+-]| [*/+x-])", r"= \1.0")


def swap_operands_bare(step: str) -> str | None:
    """Exchange operands in the text and in the annotation, and drop the annotation."""
    made = swap_operands(step)
    return None if made is None else bare(made)


def drop_annotation(step: str) -> str | None:
    """``= <<48/2=24>>24`` becomes ``= 24``."""
    return bare(step) if bare(step) != step else None


def spoken_signs(step: str) -> str | None:
    """``3 * 4 = 12`` becomes ``3 times 4 equals 12``."""
    words = {"*": "times", "/": "divided by", "+": "plus", "-": "minus"}
    made = rewriting(_SIMPLE, lambda match: f"{match[1]} {words[match[3]]} {match[5]}")(step)
    return None if made is None else re.sub(r" ?= ?", " equals ", made)


def float_noise(step: str) -> str | None:
    """``= <<48/2=24>>24 clips`` becomes ``= 24.00000000000001 clips``, as binary floating point prints it."""
    made = float_results(step)
    return None if made is None else re.sub(r"(= \$?\d+\.0)(?!\d)", r"\g<1>0000000000001", made)


def conclusion(step: str) -> str | None:
    """Say the result again after the step."""
    found = re.search(rf"= ?\$?(?:<<[^<>]*>>)?({_NUMBER})[^=]*$", step)
    return None if found is None else f"{bare(step).rstrip('.')}, so the answer here is {found[1]}."


REWRITERS: dict[str, Rewriter] = {
    "swap_operands": swap_operands,  # 3 * 4 = → 4 * 3 =, in the text and in the annotation
    "swap_operands_bare": swap_operands_bare,
    "drop_annotation": drop_annotation,
    "printed_signs": printed_signs,
    "spoken_signs": spoken_signs,
    "half_of": rewriting(_SIMPLE, halved),  # 48/2 = → half of 48 =
    "half_of_annotated": rewriting(
        rf"{_ALONE}(\$?{_NUMBER}) ?/ ?2(?= ?= ?\$?<<)", r"half of \1", annotated=True
    ),
    "dollars": rewriting(rf"\$({_NUMBER})(?![\w/]|[.,]\d)", r"\1 dollars"),  # $24 → 24 dollars
    "cents_written": rewriting(r"\$(\d[\d,]*)(?![\d.,]|[.,]\d)", r"$\1.00"),  # $24 → $24.00
    "opening": lambda step: f"Therefore, {step}",
    "conjunction": lambda step: "So " + bare(step),
    "result_first": rewriting(  # 48/2 = 24 → 24 = 48/2, where the equation ends the sentence
        rf"{_ALONE}(\$?{_NUMBER} ?[-+*/] ?\$?{_NUMBER}) ?= ?(\$?{_NUMBER})(?=\.?$)", r"\2 = \1"
    ),
    "decimal_as_percent": rewriting(  # 0.2 * 50 and .25 * 40 → 20% * 50 and 25% * 40
        r"(?<![\d.,$])0?\.(\d\d?)(?= ?\* ?\$?\d)(?! ?\* ?100)",
        lambda match: f"{int(match[1].ljust(2, '0'))}%",
    ),
    "percent_as_decimal": rewriting(  # 20% of and 20% * → 0.20 of and 0.20 *
        r"(?<![\d.,/=])(?<!= )([1-9]\d)%(?= of| ?\*)", r"0.\1"
    ),
    "spelled_numbers": rewriting(  # 4 boxes → four boxes
        r"(?<![\d.,$*/+=%-])(?<![*/+=x-] )\b(\d)(?= [a-z]{3,} (?![*/+=x-]))",
        lambda match: _SMALL.get(match[1], match[1]),
    ),
    "spelled_operands": rewriting(r"(?<![\w.,/])([2-8])(?![\w.,/%])", lambda match: _SMALL[match[1]]),
    # 1200 → 1,200
    "commas": rewriting(r"(?<![\d.,])(\d{1,3})(\d{3})(?![\d,])(?!\.\d{3})", r"\1,\2", annotated=True),
    "float_results": float_results,  # = <<48/2=24>>24 clips → = 24.0 clips
    "float_noise": float_noise,
    "brackets": rewriting(_SIMPLE, r"(\g<0>)"),  # 3 * 4 = 12 → (3 * 4) = 12
    "spaces": rewriting(r"(?<=\d) ?([*/+=]) ?(?=[\d$])", r" \1 "),  # 48/2=24 → 48 / 2 = 24
    "synonyms": rewriting(
        r"\b(?:" + "|".join(_SYNONYMS) + r")\b", lambda match: _SYNONYMS[match.group()], annotated=True
    ),
    "conclusion": conclusion,
}


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
