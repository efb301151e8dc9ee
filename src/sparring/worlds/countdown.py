"""Countdown: reach a target with every number used once; correct steps that lead nowhere are what fails.

    make 24 from 8 7 5 4        8 - 7 = 1 : 5 4 1
                                5 - 4 = 1 : 1 1         (a dead end: correct, and 24 cannot be made any more)

A step combines two of the numbers that are left, the larger one first, by + - * or exact /, with a result of 0 to 99, and
says what is left, in falling order. So correctness and progress come apart: a step can be *wrong* (its result, its
operands or what it says is left), and a step can be *right and useless*. Both are exact: the verdict is arithmetic,
`alive` is enumeration. Outcomes get as sparse as the numbers are many.

The long variant (`variant=long`) is a ladder of two-step stages with a total and a table of three numbers: two of them
are worked into the total, which must then be the stage's goal; the third one stays on the table, and two new ones arrive.

    start 12 with 3 ; 5 2 make 19 ; 9 4 make 7       12 + 5 = 17 : 17 with 3 2 make 19
                                                     17 + 2 = 19 : 19 with 9 4 3 make 7
                                                     19 - 9 = 10 : 10 with 4 3 make 7
                                                     10 - 3 = 7 : 7 with 4

Whether a state is alive depends mostly on its own stage, that is on two or three numbers, so a tiny value model can learn
it, while a search meets many decisions, whose parents differ in value.

Contract: that of `worlds.world`. A step after a wrong one is wrong (`after_mistake`): the state is lost. `alive` takes
microseconds to a few milliseconds: sets of reachable results are bit masks, remembered per sorted tuple.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from sparring.errors import DataError
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict
from sparring.worlds.world import world_name

OPERATIONS = ("+", "-", "*", "/")
LARGEST = 99
"""Largest number that a step may write; the smallest is 0."""
KINDS = ("arithmetic", "absent_number", "wrong_operation", "number_lost", "number_kept", "number_changed")
"""Mistakes that the rules make, those first that a rule-writer thinks of first."""

_NUMBER = "(?:0|[1-9][0-9]?)"
_SHORT_QUESTION = re.compile(rf"make ({_NUMBER}) from ({_NUMBER}(?: {_NUMBER}){{1,5}})")
_LONG_QUESTION = re.compile(
    rf"start ({_NUMBER}) with ({_NUMBER})((?: ; {_NUMBER} {_NUMBER} make {_NUMBER}){{1,8}})"
)
_STEP = re.compile(
    rf"({_NUMBER}) ([-+*/]) ({_NUMBER}) = ({_NUMBER}) : "
    rf"(?:({_NUMBER}) with )?({_NUMBER}(?: {_NUMBER}){{0,5}})(?: make ({_NUMBER}))?"
)
_LONGEST_TEXT = 200  # characters; a well-formed question or step has fewer


def combine(left: int, operation: str, right: int) -> int | None:
    """Return the result of a step's calculation, or None where it is not allowed: smaller first, inexact, out of range."""
    if left < right:
        return None
    if operation == "+":
        result = left + right
    elif operation == "-":
        result = left - right
    elif operation == "*":
        result = left * right
    elif right and left % right == 0:
        result = left // right
    else:
        return None
    return result if result <= LARGEST else None


def falling(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return numbers in the order in which steps write them."""
    return tuple(sorted(numbers, reverse=True))


class Stage(NamedTuple):
    """A stage of the long variant: two numbers arrive, and the total must be `goal` two steps later."""

    arriving: tuple[int, int]
    goal: int


class State(NamedTuple):
    """What is left after correct steps.

    Attributes:
        table: numbers that can be used, falling.
        total: the running total of the long variant, None in the short one.
        stage: number of the long variant's stage.
        missed: a goal of the long variant was missed, so that nothing can succeed.
    """

    table: tuple[int, ...]
    total: int | None = None
    stage: int = 0
    missed: bool = False


class Move(NamedTuple):
    """A calculation as a step writes it."""

    left: int
    operation: str
    right: int
    result: int


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A parsed problem: where it starts, its target, and, in the long variant, its stages."""

    start: State
    target: int
    stages: tuple[Stage, ...] = ()

    @property
    def length(self) -> int:
        """Return the number of steps of a whole solution."""
        return 2 * len(self.stages) if self.stages else len(self.start.table) - 1

    def done(self, state: State) -> bool:
        """Tell whether no step can follow because the solution is whole."""
        return state.stage == len(self.stages) if self.stages else len(state.table) == 1

    def moves(self, state: State) -> list[tuple[Move, State]]:
        """Return every correct calculation with what is left after it, in a fixed order; none for a whole solution."""
        found = []
        for left, right in [] if self.done(state) else self.pairs(state):
            for operation in OPERATIONS:
                if (result := combine(left, operation, right)) is not None:
                    move = Move(left, operation, right, result)
                    found.append((move, self.after(state, move)))
        return found

    def after(self, state: State, move: Move) -> State:
        """Return what is left after a calculation whose operands are there; its result may be a mistaken one."""
        table = list(state.table)
        if state.total is None:
            table.remove(move.left)
            table.remove(move.right)
            return State(falling([*table, move.result]))
        table.remove(move.right if move.left == state.total and move.right in table else move.left)
        if len(table) > 1:
            return State(tuple(table), move.result, state.stage, state.missed)
        missed = state.missed or move.result != self.stages[state.stage].goal
        stage = state.stage + 1
        if stage < len(self.stages):
            table += self.stages[stage].arriving
        return State(falling(table), move.result, stage, missed)

    def left(self, state: State) -> str:
        """Return the words with which a step says what is left."""
        table = " ".join(map(str, state.table))
        if state.total is None:
            return table
        goal = f" make {self.stages[state.stage].goal}" if state.stage < len(self.stages) else ""
        return f"{state.total} with {table}{goal}"

    def alive(self, state: State) -> bool:
        """Tell whether correct steps can still succeed from here, exactly."""
        if state.total is None:
            return bool(_reachable(state.table) >> self.target & 1)
        return not state.missed and _ladder(
            state.total, state.table, self.stages[state.stage :], state.stage == len(self.stages)
        )

    def pairs(self, state: State) -> list[tuple[int, int]]:
        """Return the two numbers of every calculation, the larger one first."""
        if state.total is None:
            return list(dict.fromkeys(combinations(state.table, 2)))
        total = state.total
        return list(dict.fromkeys((max(total, one), min(total, one)) for one in state.table))


@lru_cache(maxsize=1 << 18)
def _reachable(table: tuple[int, ...]) -> int:
    """Return the results that all of these numbers (falling) can be combined to, as a mask of bits."""
    if len(table) == 1:
        return 1 << table[0]
    mask = 0
    if len(table) == 2:
        for operation in OPERATIONS:
            result = combine(table[0], operation, table[1])
            if result is not None:
                mask |= 1 << result
        return mask
    seen = set()
    for one, other in combinations(range(len(table)), 2):
        pair = table[one], table[other]
        if pair in seen:
            continue
        seen.add(pair)
        rest = table[:one] + table[one + 1 : other] + table[other + 1 :]
        results = _reachable(pair)
        while results:
            lowest = results & -results
            mask |= _reachable(falling((*rest, lowest.bit_length() - 1)))
            results ^= lowest
    return mask


@lru_cache(maxsize=1 << 18)
def _ladder(total: int, table: tuple[int, ...], stages: tuple[Stage, ...], done: bool) -> bool:
    """Tell whether every goal from here on can be met; `stages` begins with the present one."""
    if done:
        return True
    for place, number in enumerate(table):
        left, right = max(total, number), min(total, number)
        rest = table[:place] + table[place + 1 :]
        for operation in OPERATIONS:
            result = combine(left, operation, right)
            if result is None:
                continue
            if len(rest) > 1:
                if _ladder(result, rest, stages, False):
                    return True
            elif result == stages[0].goal:
                later = stages[1:]
                arriving = later[0].arriving if later else ()
                if _ladder(result, falling((*rest, *arriving)), later, not later):
                    return True
    return False


@lru_cache(maxsize=1 << 12)
def parse_question(question: str) -> Puzzle:
    """Return the puzzle that a question describes.

    Raises:
        DataError: the text is not a question of this world.
    """
    if len(question) <= _LONGEST_TEXT:
        if match := _SHORT_QUESTION.fullmatch(question):
            return Puzzle(State(falling([int(word) for word in match[2].split()])), int(match[1]))
        if match := _LONG_QUESTION.fullmatch(question):
            stages = []
            for part in match[3].split(" ; ")[1:]:
                first, second, _, goal = part.split()
                stages.append(Stage((int(first), int(second)), int(goal)))
            table = falling([int(match[2]), *stages[0].arriving])
            return Puzzle(State(table, int(match[1])), stages[-1].goal, tuple(stages))
    raise DataError("not a countdown question", field="problem")


def parse_step(step: str) -> tuple[Move, str] | None:
    """Return a step's calculation and what it says is left, or None where the text does not have a step's form."""
    match = _STEP.fullmatch(step) if len(step) <= _LONGEST_TEXT else None
    if match is None or (match[7] is not None and match[5] is None):
        return None
    move = Move(int(match[1]), match[2], int(match[3]), int(match[4]))
    return move, step.partition(" : ")[2]


def render_step(puzzle: Puzzle, move: Move, state: State) -> str:
    """Return a step as text; `state` is what is left after it."""
    return f"{move.left} {move.operation} {move.right} = {move.result} : {puzzle.left(state)}"


def judge_step(puzzle: Puzzle, state: State | None, step: str) -> tuple[Verdict, State | None]:
    """Return the verdict on a step from a state (None: lost by a mistake), and what is left, None after a mistake."""
    parsed = parse_step(step)
    if parsed is None:
        return _wrong("malformed", "not of the form '8 - 5 = 3 : 7 4 3'")
    if state is None:
        return _wrong("after_mistake", "builds on a wrong step")
    move, left = parsed
    if puzzle.done(state):
        return _wrong("after_end", "the solution is whole")
    if (max(move.left, move.right), min(move.left, move.right)) not in puzzle.pairs(state):
        return _wrong("absent_number", f"{puzzle.left(state)} is there, not {move.left} and {move.right}")
    result = combine(move.left, move.operation, move.right)
    if result is None:
        return _wrong("not_allowed", "smaller number first, inexact, or out of range")
    if move.result != result:
        others = {combine(move.left, one, move.right) for one in OPERATIONS if one != move.operation}
        kind = "wrong_operation" if move.result in others else "arithmetic"
        return _wrong(kind, f"{move.left} {move.operation} {move.right} is {result}, not {move.result}")
    after = puzzle.after(state, move)
    expected = puzzle.left(after)
    if left != expected:
        more = len(left.split()) - len(expected.split())
        kind = "number_lost" if more < 0 else "number_kept" if more else "number_changed"
        return _wrong(kind, f"{expected} is left")
    return Verdict("correct", "countdown:exact"), after


def _wrong(kind: str, detail: str) -> tuple[Verdict, None]:
    return Verdict("wrong", f"countdown:{kind}", detail), None


def state_after(puzzle: Puzzle, steps: Sequence[str]) -> State | None:
    """Return what is left after steps, or None where one of them is wrong."""
    state: State | None = puzzle.start
    for step in steps:
        _, state = judge_step(puzzle, state, step)
        if state is None:
            return None
    return state


@dataclass(frozen=True, slots=True)
class Countdown:
    """The countdown world with its dials. Implements `sparring.worlds.world.World`."""

    numbers: tuple[int, int] = (4, 4)
    """Fewest and most numbers of a problem, 3 to 6; the short variant's difficulty."""
    variant: str = "short"
    """`short`: one target for all numbers; `long`: a ladder of stages, each with its goal."""
    steps: tuple[int, int] = (8, 8)
    """Fewest and most steps of the long variant, even, 2 to 16."""
    largest: int = 12
    """Largest number that a problem gives; goals go up to 99."""
    useless: float = 0.3
    """Share of plays (long: of stages) in the policy's training text that do not mind the target."""
    slips: float = 0.03
    """Share of steps in the policy's training text with a wrong result."""

    def __post_init__(self) -> None:
        if not 3 <= self.numbers[0] <= self.numbers[1] <= 6:
            raise ValueError(f"numbers: a problem has 3 to 6 numbers, got {self.numbers}")
        if self.variant not in ("short", "long"):
            raise ValueError(f"variant: 'short' or 'long', got {self.variant!r}")
        other, takes = ("steps", "numbers") if self.variant == "short" else ("numbers", "steps")
        if getattr(self, other) != {"steps": (8, 8), "numbers": (4, 4)}[other]:
            raise ValueError(
                f"{other}: without effect in countdown's {self.variant} variant, whose dials are {takes}, largest, useless "
                "and slips"
            )
        if not 2 <= self.steps[0] <= self.steps[1] <= 16 or any(one % 2 for one in self.steps):
            raise ValueError(f"steps: the long variant has 2, 4, ... or 16, got {self.steps}")
        # Three numbers of less seldom or never make a target of two digits
        if not 4 <= self.largest <= LARGEST:
            raise ValueError(f"largest: 4 to {LARGEST}, got {self.largest}")
        for share in ("useless", "slips"):
            if not 0 <= getattr(self, share) < 1:
                raise ValueError(f"{share}: a share from 0 to below 1, got {getattr(self, share)}")

    @property
    def name(self) -> str:
        """Return the world's name and the dials that are not at their default."""
        return world_name("countdown", self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of mistakes that the rules can make."""
        return KINDS

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Return every word by part of speech; the same for every dial, so that one tokenizer serves them all."""
        return {
            "sign": OPERATIONS,
            "number": tuple(str(number) for number in range(LARGEST + 1)),
            "mark": ("=", ":", ";"),
            "word": ("make", "from", "start", "with"),
        }

    def problem(self, rng: random.Random, identifier: str) -> Problem:
        """Return a random problem whose target is where a random play ended: 10 to 99 (short), 1 to 99 (long)."""
        puzzle, steps = self._short(rng) if self.variant == "short" else self._long(rng)
        if self.variant == "short":
            question = f"make {puzzle.target} from {puzzle.left(puzzle.start)}"
        else:
            carried = list(puzzle.start.table)
            for number in puzzle.stages[0].arriving:
                carried.remove(number)
            question = f"start {puzzle.start.total} with {carried[0]}" + "".join(
                f" ; {stage.arriving[0]} {stage.arriving[1]} make {stage.goal}" for stage in puzzle.stages
            )
        return Problem(id=identifier, question=question, answer=str(puzzle.target), solution=steps)

    def _short(self, rng: random.Random) -> tuple[Puzzle, tuple[str, ...]]:
        while True:
            start = State(falling([rng.randint(1, self.largest) for _ in range(rng.randint(*self.numbers))]))
            puzzle = Puzzle(start, 0)
            steps, state = _played(puzzle, rng, 0.0)
            if state.table[0] >= 10:
                return Puzzle(start, state.table[0]), steps

    def _long(self, rng: random.Random) -> tuple[Puzzle, tuple[str, ...]]:
        total, carried = rng.randint(1, 2 * self.largest), rng.randint(1, self.largest)
        first_total, first_carried = total, carried
        stages: list[Stage] = []
        wanted = rng.randint(self.steps[0] // 2, self.steps[1] // 2)
        while len(stages) < wanted:
            arriving = rng.randint(1, self.largest), rng.randint(1, self.largest)
            one = Puzzle(State(falling([carried, *arriving]), total), 0, (Stage(arriving, -1),))
            _, state = _played(one, rng, 0.0)
            assert state.total is not None
            if state.total >= 1:
                stages.append(Stage(arriving, state.total))
                total, carried = state.total, state.table[0]
        start = State(falling([first_carried, *stages[0].arriving]), first_total)
        puzzle = Puzzle(start, stages[-1].goal, tuple(stages))
        return puzzle, _climbed(puzzle, rng, 0.0, 0.0)

    def written(self, problem: Problem, rng: random.Random) -> tuple[str, ...]:
        """Return a play with the author's share of useless plays (long: stages) and slips."""
        puzzle = parse_question(problem.question)
        if puzzle.stages:
            return _climbed(puzzle, rng, self.useless, self.slips)
        if rng.random() < self.useless or problem.solution is None:
            return _played(puzzle, rng, self.slips)[0]
        moves = [parsed[0] for step in problem.solution if (parsed := parse_step(step)) is not None]
        return _played(puzzle, rng, self.slips, moves)[0]

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the exact verdict; its kind is that of the first mistake, reading left to right."""
        puzzle = parse_question(problem.question)
        return judge_step(puzzle, state_after(puzzle, prefix), step)[0]

    def is_step(self, text: str) -> bool:
        """Tell whether a text has a step's form."""
        return parse_step(text) is not None

    def perturb(
        self, problem: Problem, prefix: Sequence[str], step: str, rng: random.Random, kinds: Sequence[str]
    ) -> tuple[str, str] | None:
        """Return (kind, wrong step) of a random one of the kinds, or None where none of them is possible."""
        puzzle = parse_question(problem.question)
        state = state_after(puzzle, prefix)
        if state is None or judge_step(puzzle, state, step)[1] is None:
            return None
        parsed = parse_step(step)
        assert parsed is not None
        for kind in rng.sample(list(kinds), len(kinds)):
            made = _MISTAKES[kind](puzzle, state, parsed[0], rng)
            if made is not None and judge_step(puzzle, state, made)[0].reason == f"countdown:{kind}":
                return kind, made
        return None

    def answer(self, problem: Problem, steps: Sequence[str]) -> str | None:
        """Return the number that a whole solution ends with, whether or not its steps are right; None without one."""
        parsed = parse_step(steps[-1]) if steps else None
        whole = len(steps) == parse_question(problem.question).length
        return str(parsed[0].result) if whole and parsed is not None else None

    def solved(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether every step is exact, none is missing, and the target (long: every goal) is met."""
        puzzle = parse_question(problem.question)
        state = state_after(puzzle, steps)
        return state is not None and puzzle.done(state) and puzzle.alive(state)

    def alive(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Tell whether every step so far is correct and some continuation with correct steps succeeds."""
        puzzle = parse_question(problem.question)
        state = state_after(puzzle, steps)
        return state is not None and puzzle.alive(state)


# --- plays -----------------------------------------------------------------------------------------------------------


def _played(
    puzzle: Puzzle, rng: random.Random, slips: float, plan: Sequence[Move] = ()
) -> tuple[tuple[str, ...], State]:
    """Return the steps of a play by plan as far as it goes, then at random, with slips; and where it ends.

    A slip is followed by a random play with the wrong result as if it were right.
    """
    state, steps, planned = puzzle.start, [], list(plan)
    while not puzzle.done(state):
        # Subtraction is always there.
        move = planned.pop(0) if planned else rng.choice(puzzle.moves(state))[0]
        if rng.random() < slips:
            move, planned = _slipped(move, rng), []
        state = puzzle.after(state, move)
        steps.append(render_step(puzzle, move, state))
    return tuple(steps), state


def _slipped(move: Move, rng: random.Random) -> Move:
    near = [move.result + change for change in (-10, -2, -1, 1, 2, 10)]
    return move._replace(result=rng.choice([one for one in near if 0 <= one <= LARGEST]))


def _climbed(puzzle: Puzzle, rng: random.Random, useless: float, slips: float) -> tuple[str, ...]:
    """Return a play of the long variant that meets each goal where it can and, but for a share of stages, wants to."""
    state, steps, wants = puzzle.start, [], True
    for index in range(puzzle.length):
        if index % 2 == 0:
            state = state._replace(missed=False)  # a goal that was missed is forgotten
            wants = rng.random() >= useless
        moves = puzzle.moves(state)
        good = [one for one in moves if puzzle.alive(one[1])] if wants else []
        move, state_next = rng.choice(good or moves)
        if rng.random() < slips:
            move = _slipped(move, rng)
            state_next = puzzle.after(state, move)
        state = state_next
        steps.append(render_step(puzzle, move, state))
    return tuple(steps)


# --- mistakes that rules make ----------------------------------------------------------------------------------------


def _wrong_result(puzzle: Puzzle, state: State, move: Move, rng: random.Random) -> str:
    """Slip in the result, near or anywhere, and go on with it."""
    slip = _slipped(move, rng)
    if rng.random() < 0.3:
        slip = move._replace(result=rng.randint(0, LARGEST))
    return render_step(puzzle, slip, puzzle.after(state, slip))


def _other_operation(puzzle: Puzzle, state: State, move: Move, rng: random.Random) -> str | None:
    """Write the result of another operation."""
    results = [combine(move.left, one, move.right) for one in OPERATIONS if one != move.operation]
    possible = [one for one in results if one is not None and one != move.result]
    if not possible:
        return None
    slip = move._replace(result=rng.choice(possible))
    return render_step(puzzle, slip, puzzle.after(state, slip))


def _absent_number(puzzle: Puzzle, state: State, move: Move, rng: random.Random) -> str | None:
    """Calculate with a number that is not there, mostly one near a number that is, and take the other one away."""
    used, kept = (move.left, move.right) if rng.random() < 0.5 else (move.right, move.left)
    false = rng.randint(0, LARGEST) if rng.random() < 0.3 else used + rng.choice((-2, -1, 1, 2))
    left, right = max(false, kept), min(false, kept)
    result = combine(left, move.operation, right) if 0 <= false <= LARGEST else None
    if result is None:
        return None
    after = puzzle.after(state, Move(move.left, move.operation, move.right, result))
    return f"{left} {move.operation} {right} = {result} : {puzzle.left(after)}"


def _left_changed(kind: str) -> Callable[[Puzzle, State, Move, random.Random], str | None]:
    """Return a mistake in what is left: a number lost, a used one kept, or one changed."""

    def mistake(puzzle: Puzzle, state: State, move: Move, rng: random.Random) -> str | None:
        after = puzzle.after(state, move)
        table = list(after.table)
        place = rng.randrange(len(table))
        if kind == "number_lost":
            if len(table) == 1:
                return None
            del table[place]
        elif kind == "number_kept":
            table.append(rng.choice((move.left, move.right)))
        else:
            table[place] += rng.choice((-2, -1, 1, 2))
            if not 0 <= table[place] <= LARGEST:
                return None
        return render_step(puzzle, move, State(falling(table), after.total, after.stage))

    return mistake


_MISTAKES: Mapping[str, Callable[[Puzzle, State, Move, random.Random], str | None]] = {
    "arithmetic": _wrong_result,
    "absent_number": _absent_number,
    "wrong_operation": _other_operation,
    "number_lost": _left_changed("number_lost"),
    "number_kept": _left_changed("number_kept"),
    "number_changed": _left_changed("number_changed"),
}
