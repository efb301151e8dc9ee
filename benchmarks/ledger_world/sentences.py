"""The ledger world's language: which facts a word problem can tell, which quantities follow, and how both are said.

Two tables in plain text. `ROLES`: a quantity that a step can state, whose it is, its unit, sentences that state it (``{=}``
stands for calculation and result) and the question that asks for it (``?``). `ACTS`: a fact with the ranges of its numbers,
sentences that tell it, and what follows from it (``>``). ``a`` and ``b`` are two sets of sentence forms, so that what was
learned on one can be tried on the other.

In formulas a letter is a number of the fact, `cur` the quantity that the person's story has come to before this fact, a
role's name the quantity that the fact has just made. ``whole m n``: m is a part of n. ``up`` and ``down``: rounded.

Contract: sentences are words separated by single spaces. Not here: reading, judging, mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

PEOPLE: Mapping[str, str] = {
    **dict.fromkeys(("Mia", "Anna", "Lena", "Zoe"), "She"),
    **dict.fromkeys(("Tom", "Ben", "Omar", "Leo"), "He"),
}
_THINGS = ("apple", "pear", "plum", "roll", "egg", "pen", "cup", "book", "ball", "card", "stamp", "shell")
COUNTED: Mapping[str, str] = {f"{one}s": one for one in _THINGS}
WEIGHED = ("rice", "sugar", "tea")
COLOURS = ("red", "blue", "green")
LARGER: Mapping[str, tuple[str, int]] = {
    "cents": ("dollars", 100),
    "minutes": ("hours", 60),
    "grams": ("kilograms", 1000),
}
"""Units that have a larger one, and how many make one of it."""
SINGULAR: Mapping[str, str] = {
    **COUNTED,
    **{f"{unit}s": unit for unit in ("cent", "dollar", "minute", "hour", "gram", "kilogram")},
    **{f"{thing}s": thing for thing in ("bag", "boxe", "week", "cake")},
    "boxes": "box",
    "loaves": "loaf",
}
NUMBERS: tuple[int, ...] = (
    *range(120), *range(120, 500, 5), *range(500, 800, 10), *range(800, 1000, 50), *range(1000, 6001, 500),
)  # fmt: skip
"""Every number that problems, reference solutions and rules write, so that a word-level tokenizer knows them all."""
SIGN_WORDS: Mapping[str, str] = {"+": "plus", "-": "minus", "*": "times", "/": "over"}
FORM_SETS = ("a", "b", "c")
"""Two sets of sentences, and `c`: both, with the result before its calculation."""

ROLES = """
number P G : G
  a {P} buys {=} .
  a In single pieces , {P} buys {=} .
  b Counted one by one , {P} takes {=} .
  ? How many {G} does {P} buy ?
rest P G : G
  a {P} buys {=} of another colour .
  a Without the others , {P} buys {=} .
  b What remains for {P} is {=} .
  ? How many {G} does {P} buy ?
cost P G : cents
  a {P} pays {=} for the {G} .
  a The {G} cost {P} {=} .
  a For the {G} , {P} pays {=} .
  b The price of the {G} for {P} is {=} .
  b Buying {G} costs {P} {=} .
  ? How much does {P} pay for the {G} ?
total P : cents
  a Together the goods cost {P} {=} .
  a For all goods {P} pays {=} .
  b The goods of {P} come to {=} .
  b Adding up , the basket of {P} costs {=} .
  ? How much does {P} pay for all goods ?
off P : cents
  a {P} saves {=} .
  a The discount for {P} is {=} .
  b That takes {=} off for {P} .
  ? How much is the discount for {P} ?
bill P : cents
  a In the end {P} pays {=} .
  a So the bill of {P} is {=} .
  b {P} has to pay {=} after that .
  b After that the bill of {P} stands at {=} .
  ? How much does {P} pay in the end ?
spent P : cents
  a In all weeks {P} spends {=} .
  a {P} spends {=} over that time .
  b Over all weeks this costs {P} {=} .
  ? How much does {P} spend in all weeks ?
change P : cents
  a {P} gets {=} back .
  a The change for {P} is {=} .
  b Back to {P} go {=} .
  ? How much does {P} get back ?
share P : cents
  a Each of them pays {=} .
  a The share of {P} is {=} .
  b That leaves {=} for every one of them .
  ? How much does {P} pay as a share ?
theirs Q : cents
  a {Q} pays {=} .
  a So {Q} pays {=} .
  b The costs of {Q} are {=} .
  ? How much does {Q} pay ?
both P Q : cents
  a {P} and {Q} pay {=} together .
  a Both pay {=} .
  b The sum for {P} and {Q} is {=} .
  ? How much do {P} and {Q} pay together ?
hours P : hours
  a {P} works {=} in all .
  a In all days {P} works {=} .
  b The work of {P} takes {=} .
  ? How many hours does {P} work in all ?
day P : minutes
  a {P} works {=} a day .
  a Each day {P} works {=} .
  b One day of work is {=} for {P} .
  ? How many minutes does {P} work a day ?
worked P : minutes
  a {P} works {=} in all .
  a In all days {P} works {=} .
  b The work of {P} takes {=} .
  ? How many minutes does {P} work in all ?
earned P : dollars
  a {P} earns {=} .
  a For this work {P} gets {=} .
  b The pay of {P} is {=} .
  ? How much does {P} earn ?
given P : dollars
  a {P} gives away {=} .
  b The gift of {P} is {=} .
  ? How much does {P} give away ?
kept P : dollars
  a {P} has {=} left .
  a That leaves {P} {=} .
  b {P} is left with {=} .
  ? How much money does {P} have left ?
weeks P : weeks
  a {P} has to work for {=} .
  a The bike takes {P} {=} .
  b {P} needs {=} for the bike .
  ? How many weeks does {P} need ?
stock P G : G
  a {P} has {=} in the boxes .
  a In the boxes of {P} are {=} .
  b The boxes of {P} hold {=} .
  ? How many {G} does {P} have ?
has P G : G
  a {P} has {=} in all .
  a With these {P} has {=} .
  b Counting all , {P} owns {=} .
  ? How many {G} does {P} have in all ?
fine P G : G
  a {P} has {=} that are not broken .
  a Without the broken ones {P} has {=} .
  b Of these {=} are fine for {P} .
  ? How many {G} of {P} are not broken ?
left P G : G
  a {P} has {=} left .
  a That leaves {P} {=} .
  b {P} is left with {=} .
  ? How many {G} does {P} have left ?
many Q G : G
  a {Q} has {=} .
  a So {Q} has {=} .
  b The {G} of {Q} are {=} .
  ? How many {G} does {Q} have ?
all P Q G : G
  a {P} and {Q} have {=} together .
  a Both have {=} .
  b The sum for {P} and {Q} is {=} .
  ? How many {G} do {P} and {Q} have together ?
income P : cents
  a {P} takes in {=} .
  a Selling them brings {P} {=} .
  b The sale earns {P} {=} .
  ? How much money does {P} take in ?
bags P : bags
  a {P} needs {=} .
  a To hold them all {P} needs {=} .
  b Packing takes {P} {=} .
  ? How many bags does {P} need ?
full P : boxes
  a {P} fills {=} .
  a {P} can sell {=} .
  b Full ones : {P} gets {=} .
  ? How many full boxes does {P} get ?
each P G : G
  a Each child gets {=} .
  a From {P} each child gets {=} .
  b Every child is given {=} by {P} .
  ? How many {G} does each child get from {P} ?
used P : grams
  a {P} uses {=} of flour .
  a The cakes take {=} of flour .
  b The baking of {P} needs {=} of flour .
  ? How much flour does {P} use ?
flour P : grams
  a {P} has {=} of flour left .
  a That leaves {P} {=} of flour .
  b In the bag of {P} remain {=} of flour .
  ? How much flour does {P} have left ?
loaves P : loaves
  a {P} can bake {=} .
  a The flour is enough for {=} .
  b For {P} that makes {=} at most .
  ? How many loaves can {P} bake ?
run P : minutes
  a {P} runs for {=} .
  a The laps take {P} {=} .
  b All laps last {=} for {P} .
  ? How long does {P} run ?
time P : minutes
  a With the rest {P} takes {=} .
  a Running and resting take {P} {=} .
  b The rest included , {P} spends {=} .
  ? How long does {P} take with the rest ?
spare P : minutes
  a {P} has {=} left .
  a That leaves {P} {=} .
  b {P} still has {=} to spare .
  ? How much time does {P} have left ?
weekly P : minutes
  a In all days that is {=} for {P} .
  a {P} spends {=} in all days .
  b All days together take {P} {=} .
  ? How long does {P} take in all days ?
"""

ACTS = """
each : n 2 9 1 p 10 90 5
  a {P} buys {n} {G} for {p} cents each .
  a {P} buys {n} {G} . Each {G1} costs {p} cents .
  b {n} {G} go into the basket of {P} , at {p} cents each .
  b At {p} cents for each {G1} , {P} takes {n} {G} .
  > cost = n * p
dozen : d 2 5 1 p 5 25 5
  a {P} buys {d} dozen {G} for {p} cents each .
  a {P} buys {d} dozen {G} . Each {G1} costs {p} cents .
  b {d} dozen {G} go into the basket of {P} , at {p} cents each .
  > number = d * 12
  > cost = number * p
kilo : k 2 6 1 p 40 140 10
  a {P} buys {k} kilograms of {W} for {p} cents a kilogram .
  b A kilogram of {W} costs {p} cents , and {P} takes {k} kilograms .
  > cost = k * p
grams : x 200 900 100 p 10 60 5
  a {P} buys {x} grams of {W} . It costs {p} cents per 100 grams .
  b {P} takes {x} grams of {W} at {p} cents for 100 grams .
  > cost = x / 100 * p
only : n 5 12 1 m 2 8 1 p 10 90 5
  a {P} sees {n} {G} , {m} of them {K} , and buys only the {K} ones for {p} cents each .
  b Of {n} {G} , {m} are {K} . {P} takes only the {K} ones , at {p} cents each .
  whole m n
  > cost = m * p
others : n 5 12 1 m 2 8 1 p 10 90 5
  a {P} sees {n} {G} , {m} of them {K} , and buys all but the {K} ones for {p} cents each .
  b Of {n} {G} , {m} are {K} . {P} takes all the others , at {p} cents each .
  > rest = n - m
  > cost = rest * p
coupon : c 20 120 5
  a {P} has a coupon for {c} cents off .
  b A coupon takes {c} cents off the bill of {P} .
  > bill = cur - c
percent : r 10 50 10
  a {P} gets {r} percent off .
  b The bill of {P} is cut by {r} percent .
  > off = cur * r / 100
  > bill = cur - off
fee : c 20 120 5
  a {P} also pays {c} cents for delivery .
  b Delivery adds {c} cents to the bill of {P} .
  > bill = cur + c
weekly : w 2 6 1
  a {P} does this every week for {w} weeks .
  b For {w} weeks {P} shops like this every week .
  > spent = cur * w
pays : D 2 20 1
  a {P} pays with {D} dollars .
  b {P} hands over {D} dollars .
  > change = D * 100 - cur
share : f 2 6 1
  a {P} shares the cost with friends , {f} people in all .
  b {f} people , {P} among them , split the cost .
  > share = cur / f
more : x 10 95 5
  a {Q} pays {x} cents more than {P} .
  b {Q} goes {x} cents above the costs of {P} .
  > theirs = cur + x
  > both = cur + theirs
less : x 10 95 5
  a {Q} pays {x} cents less than {P} .
  b {Q} stays {x} cents below the costs of {P} .
  > theirs = cur - x
  > both = cur + theirs
twice : k 2 4 1
  a {Q} pays {k} times as much as {P} .
  b {Q} spends the costs of {P} {k} times .
  > theirs = cur * k
  > both = cur + theirs
shift : h 2 8 1 d 2 6 1
  a {P} works {h} hours a day for {d} days .
  b On each of {d} days {P} works {h} hours .
  > hours = h * d
minutes : h 2 7 1 m 10 50 5 d 2 5 1
  a {P} works {h} hours and {m} minutes a day for {d} days .
  b On each of {d} days {P} works {h} hours and {m} minutes .
  > day = h * 60 + m
  > worked = day * d
wage : w 6 20 1
  a {P} earns {w} dollars an hour .
  b Every hour brings {P} {w} dollars .
  > earned = cur * w
spend : x 10 90 5
  a {P} spends {x} dollars on food .
  b Food costs {P} {x} dollars of this .
  > kept = cur - x
gift : r 10 50 10
  a {P} gives {r} percent of the money away .
  b Of the money {P} gives away {r} percent .
  > given = cur * r / 100
  > kept = cur - given
goal : y 150 1000 50
  a {P} does this every week to buy a bike for {y} dollars .
  b A bike costs {y} dollars , and {P} saves that much every week .
  > weeks = y / cur up
boxes : b 2 9 1 m 4 15 1
  a {P} has {b} boxes with {m} {G} each .
  a In each of {b} boxes {P} has {m} {G} .
  b There are {b} boxes of {G} at the home of {P} , with {m} in each .
  > stock = b * m
loose : x 3 30 1
  a {P} also has {x} loose {G} .
  b Besides , {P} finds {x} loose {G} .
  > has = cur + x
broken : r 2 20 1
  a {r} of the {G} of {P} are broken .
  b {P} finds that {r} {G} are broken .
  > fine = cur - r
gives : x 3 30 1
  a {P} gives {x} {G} to {Q} .
  b {Q} gets {x} {G} from {P} .
  > left = cur - x
times : k 2 4 1
  a {Q} has {k} times as many {G} as {P} .
  b The {G} of {Q} are {k} times those of {P} .
  > many = cur * k
  > all = cur + many
sells : p 10 90 5
  a {P} sells them for {p} cents each .
  b The price that {P} gets is {p} cents for each .
  > income = cur * p
bags : s 4 12 1
  a {P} puts them all in bags of {s} .
  b A bag holds {s} of them , and {P} packs all .
  > bags = cur / s up
full : s 4 12 1 p 50 200 10
  a {P} fills boxes of {s} and sells each full box for {p} cents .
  b A full box of {P} holds {s} and sells for {p} cents .
  > full = cur / s down
  > income = full * p
children : f 2 8 1
  a {P} shares them out to {f} children .
  b {f} children get the same number from {P} .
  > each = cur / f
cakes : n 2 8 1 x 150 400 50
  a {P} bakes {n} cakes with {x} grams of flour each .
  b Each of the {n} cakes of {P} takes {x} grams of flour .
  > used = n * x
flour : k 2 6 1
  a {P} had {k} kilograms of flour .
  b The flour bag of {P} held {k} kilograms .
  > flour = k * 1000 - cur
loaves : y 200 600 50
  a With the rest {P} bakes loaves of {y} grams of flour .
  b A loaf takes {P} {y} grams of the remaining flour .
  > loaves = cur / y down
laps : n 2 9 1 m 4 15 1
  a {P} runs {n} laps of {m} minutes each .
  b Each of {n} laps takes {P} {m} minutes .
  > run = n * m
pause : x 5 45 5
  a Then {P} rests for {x} minutes .
  b A rest of {x} minutes follows for {P} .
  > time = cur + x
limit : h 2 5 1
  a {P} has {h} hours for this .
  b The time of {P} is {h} hours .
  > spare = h * 60 - cur
daily : d 2 6 1
  a {P} does this on {d} days .
  b For {P} there are {d} such days .
  > weekly = cur * d
age : n 6 60 1
  a {P} is {n} years old .
  b The age of {P} is {n} years .
away : n 3 40 1
  a The shop is {n} minutes away .
  b It is a walk of {n} minutes .
people : n 3 40 1
  a {n} people are there .
  b There are {n} other people .
home : n 2 40 1
  a {P} has {n} {G} at home .
  b At home {P} has {n} {G} .
cold : n 2 30 1
  a It is {n} degrees outside .
  b Outside it is {n} degrees .
"""

Form = tuple[str, ...]
"""The words of a sentence; a slot is a word in braces."""


@dataclass(frozen=True, slots=True)
class Role:
    """A quantity that a step can state: slots that say whose it is, unit (`G` for the good), sentences, questions."""

    name: str
    slots: tuple[str, ...]
    unit: str
    steps: Mapping[str, list[Form]] = field(default_factory=lambda: {"a": [], "b": []})
    asks: list[Form] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Act:
    """A fact: ranges of its numbers (first, last, stride), sentences, and (role, formula, rounding) of what follows."""

    name: str
    ranges: Mapping[str, tuple[int, int, int]]
    facts: Mapping[str, list[Form]] = field(default_factory=lambda: {"a": [], "b": []})
    follows: list[tuple[str, Form, str]] = field(default_factory=list)
    whole: dict[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> frozenset[str]:
        """Return every slot of its sentences but numbers."""
        return _slots_of(self.facts["a"][0])


@lru_cache(maxsize=256)
def _slots_of(form: Form) -> frozenset[str]:
    return frozenset(word[1] for word in form if word[0] == "{" and word[1] in "PQGWK")


def _blocks(table: str) -> Iterator[tuple[str, list[tuple[str, Form]]]]:
    """Yield (heading, [(mark, words)]) of each block: the lines below a heading are indented."""
    heading, lines = "", list[tuple[str, Form]]()
    for line in table.strip().splitlines():
        if line.startswith("  "):
            mark, *words = line.split()
            lines.append((mark, tuple(words)))
        else:
            if heading:
                yield heading, lines
            heading, lines = line, []
    yield heading, lines


def _read_roles() -> dict[str, Role]:
    roles = {}
    for heading, lines in _blocks(ROLES):
        subject, _, unit = heading.partition(" : ")
        name, *slots = subject.split()
        roles[name] = role = Role(name, tuple(slots), unit)
        for mark, words in lines:
            (role.asks if mark == "?" else role.steps[mark]).append(words)
    return roles


def _read_acts() -> dict[str, Act]:
    acts = {}
    for heading, lines in _blocks(ACTS):
        name, _, ranges = heading.partition(" : ")
        words = ranges.split()
        fours = [words[start : start + 4] for start in range(0, len(words), 4)]
        acts[name] = act = Act(name, {slot: (int(a), int(b), int(c)) for slot, a, b, c in fours})
        for mark, line in lines:
            if mark == "whole":
                act.whole[line[0]] = line[1]
            elif mark == ">":
                rounding = line[-1] if line[-1] in ("up", "down") else ""
                formula = line[2:-1] if rounding else line[2:]
                act.follows.append((line[0], formula, rounding))
            else:
                act.facts[mark].append(line)
    return acts


ROLE_TABLE: Mapping[str, Role] = _read_roles()
ACT_TABLE: Mapping[str, Act] = _read_acts()
IDLE = tuple(name for name, act in ACT_TABLE.items() if not act.follows)
"""Facts from which nothing follows: distractors."""


def vocabulary() -> dict[str, tuple[str, ...]]:
    """Return every word of problems and steps by its part of speech."""
    parts = {
        "number": tuple(str(number) for number in NUMBERS),
        "name": tuple(PEOPLE),
        "thing": (*COUNTED, *WEIGHED),
        "colour": COLOURS,
        "unit": (
            *(unit for small, (large, _) in LARGER.items() for unit in (small, large)),
            *("bags", "boxes", "weeks", "loaves", "cakes"),
            *sorted({*SINGULAR.values()} - {"boxe"}),
        ),
        "sign": (*SIGN_WORDS, *SIGN_WORDS.values()),
    }
    named = {word for words in parts.values() for word in words}
    forms = [
        form for role in ROLE_TABLE.values() for form in (*role.steps["a"], *role.steps["b"], *role.asks)
    ]
    forms += [form for act in ACT_TABLE.values() for form in (*act.facts["a"], *act.facts["b"])]
    glue = {*PEOPLE.values(), "=", "or", "(", ")", "rounded", "up", "down", "percent", "of", "and"}
    glue |= {word for form in forms for word in form if word[0] != "{"}
    return {**parts, "word": tuple(sorted(glue - named))}
