r"""Equality of answers measured on pairs of known truth: false equal, false different, unreadable; and answers lost.

    python benchmarks/answer_equality.py --data data

Contract: answers of GSM8K and MATH are rewritten by the rules below, which know nothing of the package (none of its helpers
is used): `same` rules keep the meaning, `other` rules change it. Each rule takes a seeded sample of the answers that it
applies to. Solutions of GSM8K with a known answer are dressed with texts around it to measure how often it is found.
Results are merged by `--name` into ``answer_equality.json``, which also holds what the two checkers before this one gave,
and ``answer_equality.md`` is written from all of them.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from publishing import ROOT, command_line, table
from sparring.oracles.equality import compare_answers
from sparring.runs import machine, source_commit
from sparring.statistics import proportion
from sparring.traces.answers import stated_answer

PER_RULE = 14
Rule = Callable[[str, random.Random], str | None]
SAME: dict[str, Rule] = {}
OTHER: dict[str, Rule] = {}


def rule(
    kind: dict[str, Rule], name: str, pattern: str
) -> Callable[[Callable[..., str | None]], Callable[..., str | None]]:
    """Register a rewrite of answers that a pattern matches; it gets the match and a random generator."""

    def register(make: Callable[..., str | None]) -> Callable[..., str | None]:
        def rewrite(answer: str, rng: random.Random) -> str | None:
            match = re.fullmatch(pattern, answer, re.DOTALL)
            return None if match is None else make(match, rng)

        kind[name] = rewrite
        return make

    return register


def fill(kind: dict[str, Rule], name: str, pattern: str, template: str) -> None:
    """Register a rewrite that only fills groups of the pattern into a template."""
    rule(kind, name, pattern)(lambda match, _: template.format(*match.groups(), whole=match[0]))


NUMBER, INTEGER, BIG = r"-?\d+(?:\.\d+)?", r"-?\d+", r"(\d{1,3})(\d{3})"
ANY = r"(.+)"
FRACTION = r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}"
PLACES = r"\((?!.*infty)([^,()\[\]]+),([^,()\[\]]+)\)"
LIST = r"([^,(){}\[\]$!]+),(?!\\!| *\d{3}(?!\d)) *([^,(){}\[\]$!]+)"

# --- the same answer, written otherwise ---

for template in ("${}$", r"\({}\)", r"\[{}\]", "**{}**", "{}.", " {} ", r"\boxed{{{}}}", "**${}$**", "The answer is ${}$.",
                 "${}$, which is the answer.", r"\textbf{{{}}}", "`{}`"):  # fmt: skip
    fill(SAME, f"dress: {template}", ANY, template)
for template in (
    "{} dollars",
    "{} apples",
    "{}, which is the total.",
    r"{} \text{{ people}}",
    r"\${}",
    "{}.0",
    "{}.00",
    r"{}\text{{ miles}}",
    "x = {}",
    "{} students in total",
    "approximately {}",
    "about {} hours",
    "${}",
    "{} pages.",
):
    fill(SAME, f"number: {template}", f"({INTEGER})", template)
for template in ("{},{}", r"{}\,{}", "{}{{,}}{}", r"{},\!{}", "{} {}", "{}\u2009{}", "{}\u202f{}"):
    fill(SAME, f"thousands: {template!r}", BIG, template)
fill(SAME, "minus sign", r"-(\d+)", "−{}")
fill(SAME, "slash", FRACTION, "{}{}/{}")
for command in ("dfrac", "tfrac"):
    fill(SAME, command, FRACTION, "{}\\" + command + "{{{}}}{{{}}}")
fill(SAME, "frac without braces", r"(-?)\\frac\{(\d)\}\{(\d)\}", r"{}\frac{}{}")
fill(SAME, "root times", r"(\d+)\\sqrt\{(\d+)\}", r"{}\cdot\sqrt{{{}}}")
fill(SAME, "pi times", r"(\d+)\\pi", r"{} \cdot \pi")
fill(SAME, "pi first", r"(\d+)\\pi", r"\pi \cdot {}")
fill(SAME, "degrees in words", r"(\d+)\^\{?\\circ\}?", "{} degrees")
fill(SAME, "degree sign", r"(\d+)\^\{?\\circ\}?", "{}°")
fill(SAME, "degrees left out", r"(\d+)\^\{?\\circ\}?", "{}")
fill(SAME, "percent sign", r"(\d+)\\%", "{}%")
fill(SAME, "percent in words", r"(\d+)\\%", "{} percent")
fill(SAME, "percent left out", r"(\d+)\\%", "{}")
fill(SAME, "point with left and right", PLACES, r"\left( {},{} \right)")
fill(SAME, "point with spaces", PLACES, "( {} , {} )")
fill(SAME, "list reversed", LIST, "{1}, {0}")
fill(SAME, "list with and", LIST, "{} and {}")
fill(SAME, "list as set", LIST, r"\{{{}, {}\}}")
fill(SAME, "list of assignments", LIST, "x = {} or x = {}")
fill(SAME, "half-open as inequality", r"\[([^,]+),([^,\\]+)\)", r"{} \le x < {}")
fill(SAME, "closed as inequality", r"\[([^,]+),([^,\\]+)\]", r"{} \leq x \leq {}")
fill(SAME, "ray as inequality", r"\[([^,\\]+),\\infty\)", r"x \ge {}")
fill(SAME, "open ray as inequality", r"\(([^,\\]+),\\infty\)", "x > {}")
fill(SAME, "infinity sign", r"([\[(][^,\\]+),\\infty\)", "{},∞)")
fill(SAME, "option in parentheses", r"\\text\{\(?([A-E])\)?\}", "({})")
fill(SAME, "option bare", r"\\text\{\(?([A-E])\)?\}", "{}")
fill(SAME, "option with words", r"\\text\{\(?([A-E])\)?\}", "{}) the one in the middle")
fill(SAME, "words bare", r"\\text\{([A-Za-z]{3,})\}", "{}")
fill(SAME, "words with article", r"\\text\{([a-z]{3,})\}", "The {}.")
fill(SAME, "base in braces", r"([\dA-F]+)_\{?(\d+)\}?", "{}_{{{}}}")
fill(SAME, "base in words", r"([\dA-F]+)_\{?(\d+)\}?", "{} (base {})")
fill(SAME, "unit bare", r"(\d+)\s*(?:\\,)?\s*\\text\{ ?([a-z ]{3,})\}", "{} {}")
fill(SAME, "unit left out", r"(\d+)\s*(?:\\,)?\s*\\text\{ ?([a-z ]{3,})\}", "{}")
fill(SAME, "right side only", r"[xy] ?= ?([^=<>]+)", "{}")
fill(
    SAME,
    "brackets of matrix",
    r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}",
    r"\begin{{bmatrix}}{}\end{{bmatrix}}",
)
fill(SAME, "sum turned", r"(\d+) ?\+ ?(\d*\\sqrt\{\d+\}|\d*\\pi|\d+i|[a-z])", "{1} + {0}")
fill(SAME, "difference turned", r"(\d+) ?- ?(\d*\\sqrt\{\d+\}|\d*\\pi|\d+i|[a-z])", "-{1} + {0}")
fill(SAME, "number with clock", r"([1-9]|1[0-2])", "{}:00 AM")


@rule(SAME, "decimal of a fraction", FRACTION)
def _(match: re.Match[str], rng: random.Random) -> str | None:
    value = Fraction(int(match[2]), int(match[3]))
    return f"{match[1]}{float(value)}" if 10**6 % value.denominator == 0 and value.denominator > 1 else None


@rule(SAME, "fraction not reduced", FRACTION)
def _(match: re.Match[str], rng: random.Random) -> str:
    factor = rng.randint(2, 9)
    return f"{match[1]}\\frac{{{int(match[2]) * factor}}}{{{int(match[3]) * factor}}}"


@rule(SAME, "mixed number", FRACTION)
def _(match: re.Match[str], rng: random.Random) -> str | None:
    above, below = int(match[2]), int(match[3])
    return (
        f"{match[1]}{above // below}\\frac{{{above % below}}}{{{below}}}"
        if above > below and above % below
        else None
    )


@rule(SAME, "mixed number, plain", FRACTION)
def _(match: re.Match[str], rng: random.Random) -> str | None:
    above, below = int(match[2]), int(match[3])
    return (
        f"{above // below} {above % below}/{below}"
        if above > below and above % below and not match[1]
        else None
    )


@rule(SAME, "vulgar fraction", r"\\frac\{([13])\}\{([248])\}")
def _(match: re.Match[str], rng: random.Random) -> str | None:
    return {"12": "½", "14": "¼", "34": "¾", "18": "⅛", "38": "⅜"}.get(match[1] + match[2])


@rule(SAME, "repeating decimal", r"\\frac\{([1-8])\}\{[39]\}")
def _(match: re.Match[str], rng: random.Random) -> str | None:
    digit = int(match[1]) * (3 if match[0].endswith("{3}") else 1)
    return f"0.\\overline{{{digit}}}" if digit < 9 else None


@rule(SAME, "scientific", r"[1-9]\d{2,}")
def _(match: re.Match[str], rng: random.Random) -> str:
    digits = match[0]
    mantissa = f"{digits[0]}.{digits[1:]}"
    return rng.choice([f"{mantissa} \\times 10^{{{len(digits) - 1}}}", f"{mantissa}e{len(digits) - 1}",
                       f"{mantissa} · 10^{len(digits) - 1}", f"{mantissa}E+{len(digits) - 1:02d}"])  # fmt: skip


@rule(SAME, "number in words", r"[1-9]|1\d")
def _(match: re.Match[str], rng: random.Random) -> str:
    words = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
               eighteen nineteen"""
    return words.split()[int(match[0]) - 1]


@rule(SAME, "root drawn in", r"([2-9])\\sqrt\{(\d+)\}")
def _(match: re.Match[str], rng: random.Random) -> str:
    return f"\\sqrt{{{int(match[1]) ** 2 * int(match[2])}}}"


@rule(SAME, "radians", r"(\d+)\^\{?\\circ\}?")
def _(match: re.Match[str], rng: random.Random) -> str:
    value = Fraction(int(match[1]), 180)
    return f"\\frac{{{value.numerator}\\pi}}{{{value.denominator}}}"


@rule(SAME, "terms in another order", r"[-+ \d^{}a-z]+[a-z][-+ \d^{}a-z]*")
def _(match: re.Match[str], rng: random.Random) -> str | None:
    terms = re.findall(r"[-+] ?[^-+]+", match[0] if match[0][0] in "-+" else "+" + match[0])
    if len(terms) < 2 or not all(
        re.fullmatch(r"[-+] ?\d*(?:[a-z](?:\^\{?\d+\}?)?)* ?", term) for term in terms
    ):
        return None
    rng.shuffle(terms)
    return " ".join(term.strip() for term in terms).removeprefix("+").strip()


# --- another answer, nearly written the same ---


def shifted(number: str, rng: random.Random) -> str:
    """Return a number near another one."""
    return str(int(number) + rng.choice([-2, -1, 1, 2, 10]))


for name, pattern, place in (
    ("number", INTEGER, 0),
    ("numerator", FRACTION, 2),
    ("denominator", FRACTION, 3),
    ("factor of a root", r"(\d+)\\sqrt\{(\d+)\}", 1),
    ("under a root", r"\d*\\sqrt\{(\d+)\}", 1),
    ("factor of pi", r"(\d+)\\pi", 1),
    ("degrees", r"(\d+)\^\{?\\circ\}?", 1),
    ("percent", r"(\d+)\\%", 1),
    ("number with unit", r"(\d+)\s*(?:\\,)?\s*\\text\{ ?[a-z ]+\}", 1),
    ("base", r"\d{2,}_\{?([4-9])\}?", 1),
    ("place of a point", r"\((-?\d+),.*\)", 1),
    ("item of a list", r"(-?\d+), .*", 1),
    ("end of an interval", r"[\[(].*,(-?\d+)[\])]", 1),
    ("entry of a matrix", r"\\begin\{pmatrix\}\s*(-?\d+)\s.*", 1),
    ("coefficient", r"(\d+)[a-z].*", 1),
    ("constant", r".*[a-z] ?[-+] ?(\d+)", 1),
    ("imaginary part", r".*[-+] ?(\d+)i", 1),
    ("exponent", r".*\^\{?(\d+)\}?", 1),
):

    @rule(OTHER, f"{name} changed", pattern)
    def _(match: re.Match[str], rng: random.Random, place: int = place) -> str | None:
        start, end = match.span(place)
        made = shifted(match[place], rng)
        if place and int(made) < 2:
            return None
        made = match.string[:start] + made + match.string[end:]
        fraction = re.fullmatch(FRACTION, made)
        if fraction and Fraction(*map(int, fraction.groups()[1:])) == Fraction(*map(int, match.groups()[1:])):
            return None
        return made


fill(OTHER, "sign turned", rf"({NUMBER})", "-{}")
OTHER["sign turned"] = lambda answer, rng: (
    ("-" + answer).replace("--", "") if re.fullmatch(r"-?[1-9]\d*", answer) else None
)
fill(OTHER, "a digit more", r"([1-9]\d*)", "{}0")
fill(OTHER, "hundredth", r"(\d+)\\%", "0.{:0>2}")
fill(OTHER, "a decimal more", r"([1-9]\d*)", "{}.1")
fill(OTHER, "times a root", r"([1-9]\d*)", r"{}\sqrt{{2}}")
fill(OTHER, "times a letter", r"([1-9]\d*)", "{}x")
fill(OTHER, "with a root without braces", r"([1-9]\d*)", r"{}\sqrt(3)")
fill(OTHER, "squared", r"([2-9]\d*)", "{}^2")
fill(OTHER, "fraction turned over", FRACTION, r"{0}\frac{{{2}}}{{{1}}}")
fill(OTHER, "point turned", PLACES, "({1},{0})")
fill(OTHER, "interval opened", r"\[([^,]+),([^,]+)([\])])", "({},{}{}")
fill(OTHER, "interval closed", r"\((-\d+),(\d+)\)", "[{},{})")
fill(OTHER, "item lost", LIST, "{}")
fill(OTHER, "item more", r"(-?\d+), (-?\d+)", "{}, {}, 1000")
fill(OTHER, "sign within turned", r"(.*[\d}a-z]) ?\+ ?([\\a-z\d].*)", "{} - {}")
fill(OTHER, "another word", r"\\text\{([A-Za-z]{3,})\}", "crocodile")
fill(OTHER, "side name changed", r"x ?= ?(-?\d+)", "y = {}")
for unit, wrong in (("hours", "minutes"), ("m", "cm"), ("kg", "g"), ("dollars", "cents"), ("feet", "inches")):
    OTHER[f"{unit} for {wrong}"] = lambda answer, rng, pair=(unit, wrong): (
        f"{answer}|{pair[0]}|{pair[1]}" if re.fullmatch(r"[1-9]\d*", answer) else None
    )
OTHER["power of a tiny number"] = lambda answer, rng: (
    f"tiny|{answer}" if re.fullmatch(r"[3-9]\d", answer) else None
)
OTHER["power of ten"] = lambda answer, rng: f"ten|{answer}" if re.fullmatch(r"[1-9]\d", answer) else None
OTHER["huge number and one"] = lambda answer, rng: (
    f"huge|{answer}" if re.fullmatch(r"[3-9]\d", answer) else None
)


@rule(OTHER, "another option", r"\\text\{\(?([A-E])\)?\}")
def _(match: re.Match[str], rng: random.Random) -> str:
    return rng.choice([option for option in "ABCDE" if option != match[1]])


@rule(OTHER, "rounded", FRACTION)
def _(match: re.Match[str], rng: random.Random) -> str | None:
    value = Fraction(int(match[2]), int(match[3]))
    return None if 10**6 % value.denominator == 0 else f"{match[1]}{float(value):.2f}"


def spread(reference: str, stated: str) -> tuple[str, str]:
    """Return the pair of rules that write the reference anew, too."""
    kind, _, rest = stated.partition("|")
    if "|" not in stated:
        return reference, stated
    if kind == "tiny":
        return f"\\frac{{1}}{{2^{{{rest}}}}}", f"\\frac{{1}}{{2^{{{int(rest) - 1}}}}}"
    if kind == "ten":
        return f"3.52 \\times 10^{{-{rest}}}", f"3.52 \\times 10^{{-{int(rest) - 1}}}"
    if kind == "huge":
        return f"3^{{{rest}}}", f"3^{{{rest}}} + 1"
    unit, wrong = rest.split("|")
    return f"{kind} {unit}", f"{kind} {wrong}"


def pairs(answers: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return reference, stated answer, truth and rule for a sample of answers per rule."""
    made = []
    for same, rules in ((True, SAME), (False, OTHER)):
        for name, rewrite in rules.items():
            rng = random.Random(f"{seed} {name}")
            order = list(answers)
            rng.shuffle(order)
            found: dict[str, dict[str, Any]] = {}
            for answer in order:
                stated = rewrite(answer, rng)
                if stated is None or stated == answer or answer in found:
                    continue
                reference, stated = spread(answer, stated)
                if not same and turned_alike(reference, stated):
                    continue
                found[answer] = {"reference": reference, "stated": stated, "same": same, "rule": name}
                if len(found) == PER_RULE:
                    break
            made += found.values()
    return made


def turned_alike(reference: str, stated: str) -> bool:
    """Whether an `other` rule did not change the answer: a point of two equal places, a sign within turned twice."""
    places = re.fullmatch(PLACES, reference)
    return (
        places is not None and places[1].strip() == places[2].strip() and stated[0] == "(" == reference[0]
    ) or ("- 0" in stated or stated.replace(" ", "") == reference.replace(" ", ""))


# --- solutions that state an answer, and texts behind it ---

STATEMENTS = (
    "#### {}",
    "The answer is {}.",
    r"So the answer is $\boxed{{{}}}$.",
    "**Answer:** {}",
    r"Thus we get \boxed {}.",
    "Final Answer: The final answer is ${}$. I hope it is correct.",
    "the answer is therefore {}",
    "Answer: {}",
)
BEHIND = ("", "\nI hope this helps!", "\n\nQuestion: Tom has 3 pens and buys 4. How many?\nTom has 3+4 = 7.\n#### 7",
          "\nCheck: 2 + 2 = 4.", "\n\nProblem: What is 2+2?\nAnswer: 4", " Let me know if you have questions.")  # fmt: skip


def solutions(records: Sequence[dict[str, Any]], seed: int) -> list[tuple[str, str]]:
    """Return (solution text, answer): GSM8K solutions with every kind of statement and every text behind it."""
    rng = random.Random(seed)
    made = []
    for statement in STATEMENTS:
        for behind in BEHIND:
            for record in rng.sample(list(records), 8):
                body, _, answer = record["answer"].rpartition("\n#### ")
                body = re.sub(r"<<[^>]*>>", "", body)
                made.append((body + "\n" + statement.format(answer) + behind, answer))
    return made


# --- measuring ---


def judge(asked: Sequence[tuple[str, str]]) -> list[bool | None]:
    """Return whether each pair of answers is equal, None where one cannot be read."""
    words = {"equal": True, "different": False, "unreadable": None}
    return [words[compare_answers(*pair)] for pair in asked]


def measured(asked: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return rates with intervals, mistakes by rule, and pairs per second."""
    texts = [(pair["reference"], pair["stated"]) for pair in asked]
    judge(texts[:3])  # workers start
    started = time.perf_counter()
    found = judge(texts)
    seconds = time.perf_counter() - started
    same, other = (
        [got for pair, got in zip(asked, found, strict=True) if pair["same"] is truth]
        for truth in (True, False)
    )
    mistakes: dict[str, list[str]] = defaultdict(list)
    for pair, got in zip(asked, found, strict=True):
        if got is not pair["same"]:
            word = "unreadable" if got is None else "called equal" if got else "called different"
            mistakes[f"{pair['rule']}: {word}"].append(f"{pair['reference']} | {pair['stated']}")
    return {
        "pairs": len(asked),
        "false_different": rate(sum(got is False for got in same), len(same)),
        "false_equal": rate(sum(got is True for got in other), len(other)),
        "unreadable": rate(sum(got is None for got in found), len(found)),
        "pairs_per_second": len(asked) / seconds,
        "mistakes": {name: shown[:5] for name, shown in sorted(mistakes.items())},
        "mistake_counts": {name: len(shown) for name, shown in sorted(mistakes.items())},
    }


def rate(count: int, of: int) -> dict[str, Any]:
    """Return a share with its interval."""
    metric = proportion(count, of)
    return {"count": count, "of": of, "value": metric.value, "low": metric.low, "high": metric.high}


def sampled_agreement(path: Path) -> dict[str, Any]:
    """Compare with the outcomes that came with real samples: 50 MATH problems, eight samples each."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asked = [(record["gt"], answer) for record in records for answer in record["pred"]]
    outcomes = [outcome for record in records for outcome in record["score"]]
    counts = Counter(zip(judge(asked), outcomes, strict=True))
    return {f"{'unreadable' if got is None else 'equal' if got else 'different'}, score {outcome}": count
            for (got, outcome), count in sorted(counts.items(), key=str)}  # fmt: skip


def found_answers(texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return how many answers are found, lost, or taken for another."""
    found = [stated_answer(text.split("\n")) for text, _ in texts]
    right = [
        got is not None and got.strip("$ ").replace(",", "") == answer.replace(",", "")
        for got, (_, answer) in zip(found, texts, strict=True)
    ]
    return {"found": rate(sum(right), len(texts)), "lost": rate(found.count(None), len(texts)),
            "another": rate(len(texts) - sum(right) - found.count(None), len(texts))}  # fmt: skip


def answers_of(data: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return different answers of MATH and GSM8K, and GSM8K's records."""
    records = [
        json.loads(line) for line in (data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    answers = [record["answer"].rpartition("#### ")[2].replace(",", "") for record in records[:400]]
    math500 = (data / "math" / "math500_test.jsonl").read_text(encoding="utf-8")
    answers += [json.loads(line)["answer"] for line in math500.splitlines()]
    for line in (data / "math" / "solutions.jsonl").read_text(encoding="utf-8").splitlines():
        answers += boxed(json.loads(line)["solution"])
    return list(
        dict.fromkeys(answer.strip() for answer in answers if answer.strip() and "dots" not in answer)
    ), records


def boxed(text: str) -> Iterator[str]:
    """Yield the last box of a solution."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return
    depth = 0
    for place in range(start + 6, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            yield text[start + 7 : place]
            return


def checkers_tables(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""

    def shown(one: dict[str, Any]) -> str:
        return f"{one['value']:.1%} [{one['low']:.1%}, {one['high']:.1%}]"

    rates, stated = ("false_equal", "false_different", "unreadable"), ("found", "lost", "another")
    equality = [
        [
            name,
            one["commit"],
            str(one["pairs"]),
            *(shown(one[rate]) for rate in rates),
            f"{one['pairs_per_second']:,.0f}",
        ]
        for name, one in results.items()
    ]
    finding = [[name, *(shown(one["stated"][what]) for what in stated)] for name, one in results.items()]
    heads = ["checker", "commit", "pairs", "false equal", "false different", "unreadable", "pairs/s"]
    return (
        table(heads, equality)
        + "\n"
        + table(["checker", "answers found", "lost", "another one taken"], finding)
    )


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--name", default="one equality", help="of the checker in the tables")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    answers, records = answers_of(arguments.data)
    asked, texts = pairs(answers, arguments.seed), solutions(records, arguments.seed)
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "answer_equality.json"
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"checkers": {}}
    mine = written["checkers"][arguments.name] = {
        "commit": (source_commit() or "unknown")[:7],
        **measured(asked),
        "stated": found_answers(texts),
        "best_of_n": sampled_agreement(arguments.data / "best_of_n" / "math_8_samples_with_reward.jsonl"),
    }
    written |= {
        "seed": arguments.seed,
        "machine": machine(),
        "rules": {"same": len(SAME), "other": len(OTHER)},
    }
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    kept = sum(pair["same"] for pair in asked)
    words = (
        f"# Equality of answers\n\n`python benchmarks/answer_equality.py`, seed {arguments.seed}: {len(asked)} pairs "
        f"({kept} of one meaning, by {len(SAME)} rules; {len(asked) - kept} of "
        f"another, by {len(OTHER)}) from answers of GSM8K and MATH, and {len(texts)} solutions that state a known answer. "
        "False equal is a share of the pairs of another meaning, false different of those of one; Wilson intervals.\n\n"
    )
    tables = checkers_tables(written["checkers"])
    (arguments.results / "answer_equality.md").write_text(words + tables, encoding="utf-8")
    print(tables, json.dumps(mine["mistakes"], indent=1, ensure_ascii=False), mine["best_of_n"])


if __name__ == "__main__":
    main()
