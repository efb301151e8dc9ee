"""Several solutions of a problem, and the search for them: the runs of `search` and `eval bon`.

Contract: a case is a problem (of a search: a problem, a method and an N) with its candidates; the chosen one comes first.
Trees are those that the search wrote (`trees/`).
Candidates without steps on disk are shown with answer and total.

Not here: the search (`search/`), what choosing is worth (`evaluation/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparring.errors import SparringError
from sparring.evaluation.bon import SCORES_FILE, read_candidates
from sparring.evaluation.outcome import CASES_FILE, WORST_FILE
from sparring.evaluation.scores import read_scores
from sparring.evaluation.search import CANDIDATES_FILE, COUNTS, TREES
from sparring.report.numbers import plain
from sparring.report.page import Run
from sparring.search.aggregation import AGGREGATIONS
from sparring.traces.fields import Fields, records_of
from sparring.traces.records import Trace
from sparring.viewer.data import InspectorCase, InspectorData, Node, Prm, Solution, Tree, known_of
from sparring.viewer.labelled import model_name

MOST_CANDIDATES = 64
"""Of a problem; the chosen one is always among them."""
Search = tuple[str, int, int, str]
"""Method, N, repeat, problem."""


def search_data(run: Run) -> InspectorData:
    """Return the page of a search run: every problem under every method and N, with its tree.

    Raises:
        DataError: a record does not hold what it should.
    """
    judged = {_search(record): record for record in records_of(run.folder / CANDIDATES_FILE)}
    trees: dict[tuple[str, int], dict[str, Tree]] = {}
    journals: dict[tuple[str, int, int], dict[str, Fields]] = {}
    cases = []
    for record in records_of(run.folder / CASES_FILE):
        method, n, repeat, problem = key = _search(record)
        if (method, n) not in trees:
            trees[method, n] = dict(_trees(run.folder / TREES / f"{method}-{n}.jsonl"))
        if key[:3] not in journals:
            journals[key[:3]] = {
                one.string("problem"): one
                for one in records_of(run.folder / "journals" / f"{method}-{n}-{repeat}.jsonl")
                if one.has("problem")  # the first line names the job
            }
        tree = trees[method, n].get(problem) if repeat == 0 else None
        cases.append(_searched(record, key, judged.get(key), journals[key[:3]].get(problem), tree))
    prm = Prm.of(model_name(str(run.settings.get("prm") or "PRM")), run.extra)
    return InspectorData("Search", str(run.folder), [prm], cases)


def _search(record: Fields) -> Search:
    return record.string("method"), record.integer("n"), record.integer("repeat"), record.string("problem")


def _searched(
    record: Fields, key: Search, judged: Fields | None, journal: Fields | None, tree: Tree | None
) -> InspectorCase:
    method, n, repeat, problem = key
    right = record.boolean("right")
    candidates, chosen = ([] if journal is None else journal.children("candidates")), 0
    answers = judged.array("answers") if judged is not None else []
    truths = judged.array("right") if judged is not None else []
    if journal is not None and journal.has("chosen"):
        chosen = journal.integer("chosen")
    elif journal is None and record.has("steps"):  # the chosen one is in the record itself
        candidates, answers, truths = [record], [record.optional_string("answer")], [right]
    solutions = [
        Solution(
            candidate.strings("steps"),
            [candidate.labels("scores", booleans=False, unknown=True)],
            answer=answers[place] if place < len(answers) else None,
            right=truths[place] if place < len(truths) else right if place == chosen else None,
            total=candidate.number("value") if candidate.has("value") else None,
        )
        for place, candidate in enumerate(candidates)
    ]
    solutions, chosen = _bounded(solutions, chosen)
    spent = [(name.replace("_", " "), plain(record.number(name))) for name in COUNTS if record.has(name)]
    odd = [f"{name}: {count}" for name, count in record.mapping("counts").items()]
    refusal = record.optional_string("refusal")
    return InspectorCase(
        f"{problem} · {method}, N = {n}" + (f", repeat {repeat + 1}" if repeat else ""),
        "" if judged is None else judged.string("question"),
        solutions or [Solution(())],
        chosen,
        {
            "method": [f"{method}, N = {n}"],
            "answer": ["right" if right else "wrong"],
            "candidates": [_how_many_right(record.integer("candidates_right"), record.integer("candidates"))],
        },
        tree=None if tree is None else Tree(tree.nodes, tree.left_out, spent),
        notes=[*odd, *([f"refused: {refusal}"] if refusal else [])],
    )


def _how_many_right(right: int, total: int) -> str:
    return (
        "there is none"
        if total == 0
        else "none is right"
        if right == 0
        else "all are right"
        if right == total
        else "some are right"
    )


def _bounded(solutions: list[Solution], chosen: int) -> tuple[list[Solution], int]:
    """Return at most `MOST_CANDIDATES` solutions, those with the highest totals and the chosen one, and where that is."""
    if len(solutions) <= MOST_CANDIDATES:
        return solutions, chosen
    order = sorted(
        range(len(solutions)), key=lambda place: (place != chosen, -(solutions[place].total or 0.0))
    )
    kept = sorted(order[:MOST_CANDIDATES])
    return [solutions[place] for place in kept], kept.index(chosen)


def _trees(file: Path) -> Iterator[tuple[str, Tree]]:
    for record in records_of(file):
        if not record.has("nodes"):
            continue  # the first line names the job
        nodes = []
        for place, node in enumerate(record.array("nodes")):
            if not (
                isinstance(node, list)
                and len(node) == 7
                and isinstance(node[0], int)
                and -1 <= node[0] < place
            ):
                raise record.error(f"nodes[{place}]", "expected a node with the place of an earlier one")
            nodes.append(Node(*node))
        yield record.string("problem"), Tree(nodes, record.integer("left_out"))


# --- best of N -------------------------------------------------------------------------------------------------------


def bon_data(run: Run, data: Sequence[Path]) -> InspectorData:
    """Return the page of best-of-N: every problem with its candidates, the one of the highest total first.

    Raises:
        DataError: a record, or data that was given, does not hold what it should.
    """
    notes = []
    named = run.settings.get("data")
    files = list(data) or [Path(one) for one in named or () if isinstance(one, str)]
    traces: Mapping[str, Trace] = {}
    scores: dict[str, Sequence[float]] = {}
    try:
        candidates = read_candidates(files)
        traces, scores = candidates.traces, dict(candidates.scores)
    except (SparringError, OSError) as error:
        if data:
            raise
        notes.append(f"only the worst cases have steps: the data cannot be read ({error}); --data names it")
    named_files = [
        Path(one) for one in run.settings.get("scores") or () if isinstance(one, str) and Path(one).is_file()
    ]
    own = run.folder / SCORES_FILE
    for file in [own] if own.is_file() else named_files:
        model = None if file == own else run.settings.get("scores_model")
        scores |= {name: row.scores for name, row in read_scores(file, model=model).items()}
    worst = (
        {record.string("id"): record for record in records_of(run.folder / WORST_FILE)} if not traces else {}
    )
    rule = run.settings.get("rule")
    name = model_name(str(run.settings.get("model") or run.folder.name))
    cases = [
        _candidates(record, traces, scores, worst.get(record.string("id")))
        for record in records_of(run.folder / CASES_FILE)
    ]
    if rule in AGGREGATIONS:
        notes.append(f"Candidates are ranked by the rule {rule}, whatever the threshold")
    prm = Prm.of(name, run.extra)
    return InspectorData(f"Best of N by {name}", str(run.folder), [prm], cases, notes=notes)


def _candidates(
    record: Fields, traces: Mapping[str, Trace], scores: Mapping[str, Sequence[float]], worst: Fields | None
) -> InspectorCase:
    ids, answers = record.strings("candidates"), record.array("answers")
    correct, totals = record.array("correct"), record.array("totals")
    if not len(ids) == len(answers) == len(correct) == len(totals):
        raise record.error("candidates", "expected as many candidates as answers, outcomes and totals")
    solutions = []
    question = ""
    for identity, answer, right, total in zip(ids, answers, correct, totals, strict=True):
        trace, row = traces.get(identity), scores.get(identity)
        known = Solution(()) if trace is None else known_of(trace)
        question = question or ("" if trace is None else trace.problem.question)
        fits = row is not None and len(row) == len(known.steps)
        solutions.append(
            Solution(
                known.steps,
                [row if fits else None],
                known.labels,
                known.first,
                answer=answer,
                right=right,
                total=total,
            )
        )
    if worst is not None:
        question = worst.optional_string("problem") or ""
        solutions = [_from_worst(worst.child(name), name == "right") for name in ("picked", "right")]
    ranked = [place for place, one in enumerate(solutions) if one.total is not None]
    chosen = max(ranked, key=lambda place: solutions[place].total or 0.0, default=0)
    solutions, chosen = _bounded(solutions, chosen)
    return InspectorCase(
        record.string("id"),
        question,
        solutions or [Solution(())],
        chosen,
        {
            "choice": ["right" if solutions and solutions[chosen].right else "wrong"],
            "candidates": [_how_many_right(sum(one is True for one in correct), len(correct))],
        },
    )


def _from_worst(candidate: Fields, right: bool) -> Solution:
    steps = candidate.strings("steps")
    row = candidate.labels("scores", booleans=False, unknown=True) if candidate.has("scores") else ()
    return Solution(
        steps,
        [row if len(row) == len(steps) else None],
        answer=candidate.optional_string("answer"),
        right=right,
        total=candidate.number("value"),
    )
