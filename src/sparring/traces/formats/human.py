"""Traces whose steps were judged one by one: PRM800K, VersaPRM's form of it, ProcessBench, PRMBench.

VersaPRM's training set lies on the hub with one chain a record, its steps and labels as texts of Python lists; these
are read as literals, never evaluated.

PRM800K rates candidate steps: 1 right, 0 neutral, −1 wrong. The chosen candidate of each state (or, where all
were wrong, the step that the annotator wrote) is the context of the next. One record gives

- the main trace: the chosen path; where the last state has no chosen step, its first candidate ends the
  trace;
- with `alternatives`, for every other candidate the path up to its state with that candidate as last step.

Candidates that occur twice give two traces. A flagged candidate (the annotator could not tell) has no label.
The outcome is known (true) only of a main trace whose labelling finished with ``solution``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from sparring.errors import plural
from sparring.traces.fields import Fields
from sparring.traces.formats.common import (
    Oddity,
    RatedStep,
    ReadOptions,
    boxed_solution,
    question_id,
    rated_trace,
    reference_trace,
)
from sparring.traces.records import Problem, Trace, labels_from_first_error

_LONGEST_LIST = 200_000  # characters of the text of a list
_PRM800K_META = ("generation", "is_quality_control_question", "is_initial_screening_question")


# --- PRM800K ------------------------------------------------------------------------------------------------


def prm800k_problem(record: Fields, options: ReadOptions) -> Problem:
    """Read ``question``; phase 1 has no reference solution."""
    question = record.child("question")
    text, solution = question.text("problem"), None
    if question.has("ground_truth_solution"):
        _, solution = boxed_solution(question.text("ground_truth_solution"))
    return Problem(question_id(text), text, question.optional_answer("ground_truth_answer"), solution)


def prm800k(record: Fields, options: ReadOptions) -> Iterator[Trace | Oddity]:
    """Yield the main trace and the alternatives; see the module."""
    problem = prm800k_problem(record, options)
    label = record.child("label")
    finish = label.optional_string("finish_reason")
    meta: dict[str, object] = {name: record.values[name] for name in _PRM800K_META if record.has(name)}
    meta["finish_reason"] = finish

    def trace(steps: list[RatedStep], role: str, outcome: bool | None = None) -> Trace:
        return rated_trace(
            problem, steps, options, source="prm800k", meta={**meta, "role": role}, outcome=outcome
        )

    path: list[RatedStep] = []
    alternatives: list[Trace] = []
    ended_at: int | None = None
    for number, state in enumerate(label.children("steps")):
        candidates, chosen = _prm800k_state(state, options)
        if ended_at is not None:
            if candidates or chosen:
                yield Oddity(
                    f"label.steps[{number}] follows label.steps[{ended_at}], which has no chosen step"
                )
            continue
        others = [step for step in candidates if step is not chosen]
        if chosen is None:
            ended_at = number
            ending, others = others[:1], others[1:]
        else:
            ending = [chosen]
        alternatives += (
            [trace([*path, step], "alternative") for step in others] if options.alternatives else []
        )
        path += ending
    if not path:
        yield Oddity("no step was labelled")
        return
    solved = True if finish == "solution" and ended_at is None else None
    yield trace(path, "chosen", solved)
    yield from alternatives


def _prm800k_state(state: Fields, options: ReadOptions) -> tuple[list[RatedStep], RatedStep | None]:
    """Return a state's rated candidates and the step that goes on: one of them, the annotator's, or None."""
    candidates = (
        [_prm800k_candidate(item) for item in state.children("completions")]
        if state.has("completions")
        else []
    )
    if state.has("chosen_completion"):
        index = state.integer("chosen_completion")
        if not 0 <= index < len(candidates):
            raise state.error("chosen_completion", f"there is no completion {index}, only {len(candidates)}")
        return candidates, candidates[index]
    if state.has("human_completion"):
        text = state.child("human_completion").text("text")
        return candidates, RatedStep(text, 1 if options.human_steps == "correct" else None)
    return candidates, None


def _prm800k_candidate(candidate: Fields) -> RatedStep:
    flagged = candidate.boolean("flagged") if candidate.has("flagged") else False
    rating = _rating(candidate, "rating") if candidate.has("rating") else None
    return RatedStep(candidate.text("text"), None if flagged else rating)


def _rating(fields: Fields, name: str) -> int:
    rating = fields.integer(name)
    if rating not in (-1, 0, 1):
        raise fields.error(name, "a rating is 1, 0 or -1")
    return rating


# --- VersaPRM -----------------------------------------------------------------------------------------------


def versaprm_problem(record: Fields, options: ReadOptions) -> Problem:
    r"""Read ``question`` and ``answer``; an answer with a ``\boxed{…}`` is a whole reference solution."""
    question = record.text("question")
    answer, solution = record.optional_answer("answer"), None
    if answer is not None:
        boxed, steps = boxed_solution(answer)
        if boxed is not None:
            answer, solution = boxed, steps
    meta = {name: record.values[name] for name in ("domain", "source") if record.has(name)}
    return Problem(question_id(question), question, answer, solution, meta)


def versaprm(record: Fields, options: ReadOptions) -> Iterator[Trace | Oddity]:
    """Yield every chain of thought, and as alternatives the steps tried after its prefixes (``augs``).

    Labels are ratings 1, 0, −1; the machine-labelled domains repeat −1 after the first error, which is read
    as unknown.
    """
    problem = versaprm_problem(record, options)
    if isinstance(record.values.get("chain_of_thoughts"), str) or record.has("labels"):
        yield _versaprm_row(record, problem, options)
        return
    for number, chain in enumerate(record.children("chain_of_thoughts")):
        if not chain.has("labels"):
            yield Oddity(f"chain_of_thoughts[{number}] has no labels")
            continue
        steps = _versaprm_steps(chain)
        tried = chain.children("augs") if chain.has("augs") else []
        if steps:
            yield rated_trace(problem, steps, options, source="versaprm", meta={"role": "chosen"})
        elif not tried:
            raise chain.error("steps", "the list is empty")
        for item in tried if options.alternatives else ():
            place = item.integer("aug_idx")
            if not 0 <= place <= len(steps):
                raise item.error("aug_idx", f"expected 0..{len(steps)}, the place of a step in this chain")
            added = RatedStep(item.text("aug_step"), _rating(item, "aug_type"))
            yield rated_trace(
                problem, [*steps[:place], added], options, source="versaprm", meta={"role": "alternative"}
            )


def _versaprm_row(record: Fields, problem: Problem, options: ReadOptions) -> Trace:
    """Return the one chain of a record as the set lies on the hub: two columns, each the text of a Python list."""
    chain = Fields({"steps": _listed(record, "chain_of_thoughts"), "labels": _listed(record, "labels")})
    known = record.values.get("parsed_answer_correctness")
    outcome = known if isinstance(known, bool) else None
    return rated_trace(
        problem, _versaprm_steps(chain), options, source="versaprm", meta={"role": "chosen"}, outcome=outcome
    )


def _listed(record: Fields, name: str) -> list[object]:
    value = record.values.get(name)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value) if len(value) <= _LONGEST_LIST else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if not isinstance(value, list):
            raise record.error(name, "expected a list, or the text of one")
    return value if isinstance(value, list) else record.array(name)


def _versaprm_steps(chain: Fields) -> list[RatedStep]:
    texts = chain.texts("steps") if chain.array("steps") else ()
    ratings = chain.integers("labels")
    if len(ratings) != len(texts):
        raise chain.error("labels", f"{plural(len(ratings), 'label')} for {plural(len(texts), 'step')}")
    for index, rating in enumerate(ratings):
        if rating not in (-1, 0, 1):
            raise chain.error(f"labels[{index}]", "a rating is 1, 0 or -1")
    return [RatedStep(text, rating) for text, rating in zip(texts, ratings, strict=True)]


# --- ProcessBench -------------------------------------------------------------------------------------------


def processbench(record: Fields, options: ReadOptions) -> Trace:
    """Return the trace: ``label`` is the index of the first wrong step or −1; what follows it is unknown.

    ``id`` names one model's solution; there is no reference answer.
    """
    steps, first_error = record.texts("steps"), record.integer("label")
    if not -1 <= first_error < len(steps):
        raise record.error("label", f"the first error is not in -1..{len(steps) - 1}")
    return Trace(
        Problem(record.text("id"), record.text("problem")),
        steps,
        labels_from_first_error(first_error, len(steps)),
        record.boolean("final_answer_correct"),
        record.optional_string("generator") or "",
    )


# --- PRMBench -----------------------------------------------------------------------------------------------


NO_WRONG_STEP = "multi_solutions"
"""The class of PRMBench that plants no error: another right solution of the problem, which should be accepted whole."""


def prmbench_problem(record: Fields, options: ReadOptions) -> Problem | Oddity:
    """Read the original question; its solution is the original process."""
    steps = _prmbench_steps(record, "original_process")
    return steps if isinstance(steps, Oddity) else _prmbench_problem(record, "original_question", steps)


def prmbench(record: Fields, options: ReadOptions) -> Iterator[Trace | Oddity]:
    """Yield the modified solution, the original one, or both.

    ``error_steps`` counts from 1 and lists every step that is wrong (or, for redundancy, needless), so every
    other step is labelled correct; for `NO_WRONG_STEP` it is empty by design. The set has records of other classes
    whose ``error_steps`` name no step or one past the end, and solutions with an empty step: these are oddities.
    ``meta`` holds the classification, the reason and PRMBench's ``idx``.
    """
    if options.prmbench_process in ("original", "both"):
        problem = prmbench_problem(record, options)
        yield problem if isinstance(problem, Oddity) else reference_trace(problem)
    if options.prmbench_process in ("modified", "both"):
        yield _prmbench_modified(record)


def _prmbench_steps(record: Fields, name: str) -> tuple[str, ...] | Oddity:
    steps = record.strings(name)
    if not steps:
        raise record.error(name, "the list is empty")
    empty = next((number for number, step in enumerate(steps, start=1) if not step.strip()), None)
    return steps if empty is None else Oddity(f"step {empty} of {name} is empty")


def _prmbench_modified(record: Fields) -> Trace | Oddity:
    problem = _prmbench_problem(record, "modified_question", None)
    steps = _prmbench_steps(record, "modified_process")
    if isinstance(steps, Oddity):
        return steps
    wrong = set(record.integers("error_steps")) if record.has("error_steps") else set()
    if not wrong and record.optional_string("classification") != NO_WRONG_STEP:
        return Oddity("error_steps names no step")
    if not all(1 <= number <= len(steps) for number in wrong):
        return Oddity("error_steps names a step that does not exist")
    labels = tuple(0.0 if number in wrong else 1.0 for number in range(1, len(steps) + 1))
    meta = {name: record.values[name] for name in ("idx", "classification", "reason") if record.has(name)}
    return Trace(problem, steps, labels, None, "prmbench", meta)


def _prmbench_problem(record: Fields, name: str, solution: tuple[str, ...] | None) -> Problem:
    question = record.text(name)
    return Problem(question_id(question), question, None, solution)
