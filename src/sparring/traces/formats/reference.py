r"""Problems with reference solutions (GSM8K, MATH, step-split MATH), and GSM8K's published model solutions.

GSM8K: one step per line, the last line is ``#### answer``, which is no step. Its model solutions end in
``A: answer``, which stays as the last step: the outcome is a judgement of that line. MATH: the steps are the
solution's paragraphs.

A reference solution read as a trace has label 1 at every step and outcome true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sparring.traces.boxed import last_boxed
from sparring.traces.fields import Fields
from sparring.traces.formats.common import ReadOptions, boxed_solution, question_id, reference_trace
from sparring.traces.records import Problem, Trace
from sparring.traces.splitting import split_steps

GSM8K_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")


def gsm8k(record: Fields, options: ReadOptions) -> Trace:
    """Return the reference solution: ``question`` and ``answer``."""
    return reference_trace(_gsm8k_problem(record, "answer", "####", options))


def gsm8k_solutions(record: Fields, options: ReadOptions) -> Iterator[Trace]:
    """Yield one trace per model, with its outcome; ``meta["answer"]`` is the answer that it states, if any."""
    problem = _gsm8k_problem(record, "ground_truth", "A:", options)
    for model in GSM8K_MODELS:
        written = record.child(model)
        steps = _annotated(split_steps(written.text("solution"), "lines"), options)
        stated = steps[-1].removeprefix("A:").strip() if steps[-1].startswith("A:") else None
        meta = {} if stated is None else {"answer": stated}
        yield Trace(problem, steps, None, written.boolean("is_correct"), model, meta)


def math_problem(record: Fields, options: ReadOptions) -> Problem:
    r"""Read ``problem``, ``solution`` and ``answer``; one of the last two may be absent.

    Without ``answer``, it is the last ``\boxed{…}`` of the solution.
    """
    question = record.text("problem")
    answer, steps = boxed_solution(record.text("solution")) if record.has("solution") else (None, None)
    given = record.optional_answer("answer")
    if given is None and steps is None:
        raise record.error("solution", "neither 'solution' nor 'answer' is there")
    name = record.text("unique_id") if record.has("unique_id") else question_id(question)
    meta = {key: record.values[key] for key in ("level", "subject", "type") if record.has(key)}
    return Problem(name, question, answer if given is None else given, steps, meta)


def math(record: Fields, options: ReadOptions) -> Trace:
    """Return the reference solution, a step per paragraph."""
    problem = math_problem(record, options)
    record.text("solution")  # refuses a record that has only an answer
    return reference_trace(problem)


def math_steps(record: Fields, options: ReadOptions) -> Trace:
    r"""Return the ``steps`` as a reference solution; without ``answer``, it is the last step's last ``\boxed{…}``."""
    question, steps = record.text("problem"), record.texts("steps")
    given = record.optional_answer("answer")
    answer = last_boxed(steps[-1]) if given is None else given
    return reference_trace(Problem(question_id(question), question, answer, steps))


def _gsm8k_problem(record: Fields, solution_field: str, mark: str, options: ReadOptions) -> Problem:
    question = record.text("question")
    *lines, last = split_steps(record.text(solution_field), "lines")
    if not last.startswith(mark) or not last.removeprefix(mark).strip():
        raise record.error(solution_field, f"the last line is not '{mark} answer'")
    if not lines:
        raise record.error(solution_field, f"there is no step before '{mark} answer'")
    steps = _annotated(lines, options)
    return Problem(question_id(question), question, last.removeprefix(mark).strip(), steps)


def _annotated(lines: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    return tuple(lines) if options.keep_annotations else tuple(_ANNOTATION.sub("", line) for line in lines)
