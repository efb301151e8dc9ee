"""Traces labelled by machines: Math-Shepherd, MATH-APS (OmegaPRM), OpenR's form, RLHFlow, our demo, TRL's supervision.

Math-Shepherd writes a trace twice: ``input`` with the tag ``ки`` after every step, ``label`` the same text
with ``+`` or ``-`` in place of each tag. The two are aligned character by character.

MATH-APS lists prefixes of solutions with the share of rollouts from each that reached the answer
(``mc_value``). The prefixes form a tree: the parent of a prefix is the longest other one that it continues at
a white space. One trace per leaf, a step per prefix on the way to it, its label the value; equal prefixes,
sampled more than once, have their values averaged. The same program also dumps the tree itself (``text``,
``mc_value`` and ``children``, the root being the question), with the same meaning.

OpenR's form, in which MATH-APS lies on the hub, and into which its authors turn PRM800K and Math-Shepherd:
``question``, ``process``, ``label``. A step tag stands after every step of ``process`` (five line breaks, ``ки``,
or another word); ``label`` lists ``+`` and ``-``, 1 and 0, or values. Which tag it is, is told by its number.
MATH-APS itself has one label a record: of the whole beginning of a solution that ``process`` is.

RLHFlow: a conversation whose user gives one step a turn and whose assistant answers ``+`` or ``-``; the first
turn is the question and the first step. Where the question ends is only known where the step begins ``Step 1:``.

Our demo: ``question``, ``steps`` and what the world says of each, ``truths``, with the solver's ``outcome``.

TRL: ``prompt`` (a text, or a conversation of one turn), ``completions`` (the steps) and ``labels``, booleans or
numbers from 0 to 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import fmean

from sparring.errors import plural
from sparring.traces.fields import Fields, shown
from sparring.traces.formats.common import FIRST_STEP, TAG, Oddity, ReadOptions, question_id
from sparring.traces.records import Label, Problem, Trace, step_labels

# --- Math-Shepherd ------------------------------------------------------------------------------------------


def math_shepherd(record: Fields, options: ReadOptions) -> Trace | Oddity:
    """Return the trace; its outcome is the last label where the last step states ``The answer is``.

    The question is everything before ``Step 1:``. Oddities of the set: no tag at all, no ``Step 1:``, a tag inside the
    question.
    """
    parts, labels = _aligned(record)
    if not labels:
        return Oddity("no step is labelled")
    start = next((index for index, part in enumerate(parts) if FIRST_STEP.search(part)), None)
    if start is None:
        return Oddity("there is no 'Step 1:' after the question")
    if start > 0:
        return Oddity("a label stands inside the question")
    *_, first_step = FIRST_STEP.finditer(parts[0])
    question, parts[0] = parts[0][: first_step.start()].strip(), parts[0][first_step.start() :]
    if not parts[-1].strip():
        parts.pop()
    else:
        labels.append(None)  # text after the last tag: a step that nobody labelled
    steps = [part.strip() for part in parts]
    if not question:
        raise record.error("input", "the question before 'Step 1:' is empty")
    if not all(steps):
        raise record.error("input", f"step {steps.index('') + 1} is empty")
    outcome = labels[-1] == 1.0 if labels[-1] is not None and "The answer is" in steps[-1] else None
    meta = {"task": record.values["task"]} if record.has("task") else {}
    problem = Problem(question_id(question), question, meta=meta)
    return Trace(problem, tuple(steps), tuple(labels), outcome, "math-shepherd")


def _aligned(record: Fields) -> tuple[list[str], list[Label]]:
    """Return the texts between the tags (one more than there are tags) and the label at each tag."""
    parts, label = record.text("input").split(TAG), record.text("label")
    labels: list[Label] = []
    position = 0
    for number, part in enumerate(parts):
        if not label.startswith(part, position):
            raise record.error("label", f"its text differs from 'input' after {plural(number, 'label')}")
        position += len(part)
        if number < len(parts) - 1:
            sign = label[position : position + 1]
            if sign not in ("+", "-"):
                raise record.error("label", f"expected + or - in place of tag {number + 1} of 'input'")
            labels.append(1.0 if sign == "+" else 0.0)
            position += 1
    if label[position:].strip():
        raise record.error("label", "its text goes on after the end of 'input'")
    return parts, labels


# --- MATH-APS, OmegaPRM -------------------------------------------------------------------------------------


def question_problem(record: Fields, options: ReadOptions) -> Problem:
    """Read ``question`` and, where there is one, ``final_answer``: a problem of MATH-APS and of OpenR's form."""
    question = record.text("question")
    return Problem(question_id(question), question, record.optional_answer("final_answer"))


def math_aps(record: Fields, options: ReadOptions) -> Iterator[Trace | Oddity]:
    """Yield one trace per leaf; ``meta["root_value"]`` is the value of the bare question, where given."""
    problem = question_problem(record, options)
    if isinstance(record.values.get("reasoning_steps"), dict):
        yield from _tree_traces(record.child("reasoning_steps"), problem)
        return
    values = _math_aps_values(record, problem.question)
    root = values.pop("", None)
    meta = {} if root is None else {"root_value": root}
    paths = _paths(sorted(values))
    inner = {path[-2] for path in paths if len(path) > 1}
    if not paths:
        yield Oddity("no prefix goes beyond the question")
    for path in paths:
        if path[-1] in inner:
            continue
        starts = [0, *(len(prefix) for prefix in path[:-1])]
        steps = tuple(prefix[start:].strip() for prefix, start in zip(path, starts, strict=True))
        yield Trace(problem, steps, tuple(values[prefix] for prefix in path), None, "math-aps", meta)


def _math_aps_values(record: Fields, question: str) -> dict[str, float]:
    """Return the mean value of each solution prefix, without the question and the white space at its end."""
    items = record.children("reasoning_steps")
    if not items:
        raise record.error("reasoning_steps", "the list is empty")
    prefixes = [item.string("solution_prefix") for item in items]
    with_question = prefixes[0].startswith(question)
    sampled: dict[str, list[float]] = {}
    for item, prefix in zip(items, prefixes, strict=True):
        if prefix.startswith(question) != with_question:
            raise item.error("solution_prefix", "some prefixes begin with the question and others do not")
        key = (prefix[len(question) :] if with_question else prefix).rstrip()
        sampled.setdefault(key, []).append(item.share("mc_value"))
    return {prefix: fmean(found) for prefix, found in sampled.items()}


def _paths(prefixes: list[str]) -> list[list[str]]:
    """Return, for each of the sorted prefixes, the prefixes that it goes through, itself last."""
    paths: list[list[str]] = []
    open_paths: list[list[str]] = []  # of the prefixes, shortest first, that the current one starts with
    for prefix in prefixes:
        while open_paths and not prefix.startswith(open_paths[-1][-1]):
            open_paths.pop()
        parent = next((path for path in reversed(open_paths) if prefix[len(path[-1])].isspace()), [])
        open_paths.append([*parent, prefix])
        paths.append(open_paths[-1])
    return paths


def _tree_traces(root: Fields, problem: Problem) -> Iterator[Trace | Oddity]:
    meta = {"root_value": root.share("mc_value")}
    waiting: list[tuple[Fields, tuple[str, ...], tuple[float, ...]]] = [
        (child, (), ()) for child in reversed(root.children("children"))
    ]
    if not waiting:
        yield Oddity("no prefix goes beyond the question")
    while waiting:
        node, steps, labels = waiting.pop()
        steps, labels = (*steps, node.text("text").strip()), (*labels, node.share("mc_value"))
        children = node.children("children")
        if not children:
            yield Trace(problem, steps, labels, None, "math-aps", meta)
        waiting += [(child, steps, labels) for child in reversed(children)]


# --- OpenR's form, MATH-APS on the hub ----------------------------------------------------------------------

_OPENR_TAG = r"(?:\r?\n){5}"
_FOREIGN = re.compile(r"[^\x00-\xff]{1,4}")  # a tag of the kind of ки
_BRACKETED = re.compile(r"<\S{1,20}>|\[\S{1,20}\]")


def openr(record: Fields, options: ReadOptions) -> Trace | Oddity:
    """Return the trace, a step per label; a process whose tags differ from its labels in number is left out."""
    process, labels = record.text("process"), _openr_labels(record)
    steps = _openr_steps(process, len(labels))
    if steps is None:
        return Oddity("its labels and step tags differ in number")
    texts = tuple(step.strip() for step in steps)
    if not all(texts):
        return Oddity(f"step {texts.index('') + 1} of process is empty")
    labels += (None,) * (len(texts) - len(labels))
    return Trace(question_problem(record, options), texts, labels, None, "openr")


def _openr_steps(process: str, count: int) -> list[str] | None:
    """Return the texts that so many tags end, and what comes after the last one; None where there is no such tag."""
    word = process.split()[-1]
    patterns = [_OPENR_TAG, TAG]
    if _FOREIGN.fullmatch(word) or (count > 1 and _BRACKETED.fullmatch(word)):
        patterns.append(rf"(?<!\S){re.escape(word)}(?!\S)")
    for pattern in [*patterns, "\n\n"]:
        *steps, rest = re.split(pattern, process)
        if not steps:
            continue
        if len(steps) == count:  # text after the last tag: a step that nobody labelled
            return [*steps, rest] if rest.strip() else steps
        if rest.strip() and len(steps) == count - 1:  # the last tag is lost where white space at the end was
            return [*steps, rest]
        if pattern != "\n\n":
            return None
    return [process] if count == 1 else None


def _openr_labels(record: Fields) -> tuple[Label, ...]:
    values = record.array("label")
    if not values:
        raise record.error("label", "the list is empty")
    if not any(isinstance(value, str) for value in values):
        return record.labels("label", booleans=True, unknown=False)
    for index, value in enumerate(values):
        if value not in ("+", "-"):
            raise record.error(f"label[{index}]", f"expected + or -, got {shown(value)}")
    return tuple(1.0 if value == "+" else 0.0 for value in values)


# --- RLHFlow ------------------------------------------------------------------------------------------------


def rlhflow(record: Fields, options: ReadOptions) -> Trace | Oddity:
    """Return the trace; a first turn without ``Step 1:`` is left out, since nobody knows where its question ends."""
    turns = record.children("conversations")
    if len(turns) < 2 or len(turns) % 2:
        raise record.error(
            "conversations", f"expected turns of a user and an assistant in pairs, got {len(turns)}"
        )
    texts, labels = [], []
    for index, turn in enumerate(turns):
        wanted = ("user", "assistant")[index % 2]
        if turn.string("role") != wanted:
            raise turn.error("role", f"expected {wanted!r}, got {turn.string('role')!r}")
        text = turn.text("content").strip()
        if wanted == "user":
            texts.append(text)
        elif text in ("+", "-"):
            labels.append(1.0 if text == "+" else 0.0)
        else:
            raise turn.error("content", f"expected + or -, got {shown(text)}")
    *_, start = [-1, *(found.start() for found in FIRST_STEP.finditer(texts[0]))]
    if start < 0:
        return Oddity("there is no 'Step 1:' after the question")
    question, texts[0] = texts[0][:start].strip(), texts[0][start:]
    if not question:
        raise turns[0].error("content", "the question before 'Step 1:' is empty")
    return Trace(Problem(question_id(question), question), tuple(texts), tuple(labels), source="rlhflow")


# --- our demo's solutions --------------------------------------------------------------------------------------


def demo(record: Fields, options: ReadOptions) -> Trace:
    """Return the trace of ``question``, ``steps`` and ``truths``; its labels end with the first wrong step."""
    question, steps, truths = record.text("question"), record.texts("steps"), record.strings("truths")
    for index, truth in enumerate(truths):
        if truth not in ("correct", "wrong", "undecided"):
            raise record.error(
                f"truths[{index}]", f"expected correct, wrong or undecided, got {shown(truth)}"
            )
    if len(truths) != len(steps):
        raise record.error("truths", f"{plural(len(truths), 'truth')} for {plural(len(steps), 'step')}")
    outcome = record.boolean("outcome") if record.has("outcome") else None
    return Trace(Problem(question_id(question), question), steps, step_labels(truths), outcome)


# --- TRL stepwise supervision -------------------------------------------------------------------------------


def trl_stepwise(record: Fields, options: ReadOptions) -> Trace:
    """Return the trace of ``prompt``, ``completions`` and ``labels``."""
    steps = record.texts("completions")
    labels = record.labels("labels", booleans=True, unknown=False)
    question = _trl_prompt(record)
    return Trace(Problem(question_id(question), question), steps, labels)


def _trl_prompt(record: Fields) -> str:
    if not isinstance(record.values.get("prompt"), list):
        return record.text("prompt")
    turns = record.children("prompt")
    if len(turns) != 1 or turns[0].string("role") != "user":
        raise record.error("prompt", "expected a text, or a conversation of one user's turn")
    return turns[0].text("content")
