"""The panel: several oracles, one verdict.

How verdicts combine, in this order; a false alarm costs more than a miss:

1. **The same text** as the correct original (`reference:same_text`) is ``correct``.
2. **Wrong**: a member says so. The first in `PRECISION` is named by the reason; one's own members come last. Two
   things stand against it and make ``undecided``, with the reason ``panel:conflict``: the reference comparison says
   ``correct`` (the same claims as the correct original); or a member that judges the same kind of claim
   (`SAME_CLAIM`) says ``correct`` of an overlapping part of the step; a false calculation or a changed word that the
   comparison finds stands even beside the right answer. A member that would call the original wrong too has no say
   (`members.ask`). A judge (`judged.py`) stands against nobody.
3. **The reference's word** where the original is known and `reference` is on the panel: only it can confirm, since
   right calculations may be those of something else; and where it does, doubts about claims that the original makes
   too do not count.
4. **Correct** without it: at least one member has positively checked something, and none has a doubt. `GUARDS` look
   for one kind of mistake and confirm nothing. An ``undecided`` is no doubt if it holds nothing against the
   step (`NO_DOUBT`), or if its member could not read what another has read and confirmed (`READ_BY`).
5. **Undecided** otherwise, with the reason of the first member that has a doubt, else of the first that is undecided.

Contract: `Panel` is an `Oracle`. All members but a judge, which is on a server, run in a sandbox, so any text and any
member is safe; verdicts are cached by content, per panel. Usable from any thread. Not here: what members there are
(`members.py`), how they are kept within limits (`sandbox.py`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparring.oracles.members import JUDGE, is_judge, resolve_members
from sparring.oracles.sandbox import Sandbox, SandboxLimits
from sparring.oracles.words import word_set
from sparring.traces.records import Problem
from sparring.traces.verdict import Verdict

if TYPE_CHECKING:
    from sparring.oracles.judged import JudgeMember

PRECISION = (
    "arithmetic", "algebra", "calculus", "answer", "reference", "logic", "quantities", "preconditions",
)  # fmt: skip
"""Members in the order in which their ``wrong`` is believed and shown."""

SAME_CLAIM = (
    {"arithmetic", "algebra"}, {"arithmetic", "answer"}, {"algebra", "answer"}, {"reference", "answer"},
    {"algebra", "calculus"}, {"answer", "calculus"},
    {"arithmetic", JUDGE}, {"algebra", JUDGE}, {"calculus", JUDGE}, {"logic", JUDGE}, {"answer", JUDGE},
)  # fmt: skip
"""Pairs that judge the same claims, so that ``wrong`` and ``correct`` contradict; others look at other sides of a step."""

GUARDS = frozenset(("quantities", "preconditions"))
"""Members whose ``correct`` says that one kind of mistake is absent, and not that the step is right."""

NO_DOUBT = word_set("nothing_to_check no_original no_answer definition numbers_founded no_margin no_verdict")
"""Kinds of ``undecided`` that hold nothing against a step: it is not for this member, or all that was looked at is fine."""

READ_BY = {
    "arithmetic:not_numeric": ("algebra", "calculus", "logic"),
    "algebra:unread": ("arithmetic", "calculus"),
    "algebra:equation": ("arithmetic", "calculus"),
    "algebra:other_arithmetic": ("arithmetic",),
    "logic:unread": ("arithmetic", "algebra"),
}
"""Reasons that say "I cannot read this", and the members whose ``correct`` says that they have read it.

One's own are none of them: they may have read another part of the step."""

CONFLICT = "panel:conflict"


class Panel:
    """Oracles that judge together.

    Args:
        members: names of `members.MEMBERS`, one's own as ``file.py:function`` or ``package.module:function``, or a judge's
            address.
        workers: most worker processes at a time; by default one per core, at most 8.
        limits: of each evaluation of a member.
        cached: verdicts kept; the least recently used are forgotten.

    Raises:
        SettingsError: a member is unknown (at once), or cannot be loaded (at the first judgement).
    """

    def __init__(
        self,
        members: Sequence[str],
        *,
        workers: int | None = None,
        limits: SandboxLimits | None = None,
        cached: int = 1 << 15,
    ) -> None:
        names = resolve_members(members)
        self.members = tuple(JUDGE if is_judge(name) else name for name in names)
        self.judge_member: JudgeMember | None = None
        for name in filter(is_judge, names):
            from sparring.oracles.judged import JudgeMember

            self.judge_member = JudgeMember(name)
        self._sandbox = Sandbox(
            [name for name in self.members if name != JUDGE], workers=workers, limits=limits
        )
        self._cached = cached
        self._cache: OrderedDict[bytes, tuple[Verdict, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def judge(self, problem: Problem, prefix: Sequence[str], step: str) -> Verdict:
        """Return the verdict on `step` after `prefix`."""
        return self.judge_many([(problem, prefix, step)])[0]

    def judge_against(self, problem: Problem, prefix: Sequence[str], original: str, step: str) -> Verdict:
        """Return the verdict on `step`, written in place of the correct step `original` after `prefix`."""
        return self.judge_against_many([(problem, prefix, original, step)])[0]

    def judge_many(self, steps: Sequence[tuple[Problem, Sequence[str], str]]) -> list[Verdict]:
        """Return the verdict on each (problem, prefix, step)."""
        found = self.judge_members_many([(problem, prefix, None, step) for problem, prefix, step in steps])
        return [combine(verdicts) for verdicts in found]

    def judge_against_many(self, steps: Sequence[tuple[Problem, Sequence[str], str, str]]) -> list[Verdict]:
        """Return the verdict on each (problem, prefix, original, step)."""
        return [combine(verdicts, compared=True) for verdicts in self.judge_members_many(steps)]

    def judge_members(
        self, problem: Problem, prefix: Sequence[str], step: str, *, original: str | None = None
    ) -> dict[str, Verdict]:
        """Return each member's own verdict, by name in the panel's order; `combine` makes one of them."""
        return self.judge_members_many([(problem, prefix, original, step)])[0]

    def judge_members_many(
        self, steps: Sequence[tuple[Problem, Sequence[str], str | None, str]]
    ) -> list[dict[str, Verdict]]:
        """Return the same for each (problem, prefix, original or None, step)."""
        questions = [
            json.dumps([problem.question, problem.answer, list(prefix), original, step])
            for problem, prefix, original, step in steps
        ]
        found = self._ask(questions)
        return [dict(zip(self.members, verdicts, strict=True)) for verdicts in found]

    def close(self) -> None:
        """End the workers; happens by itself when the panel is forgotten, or the process ends."""
        self._sandbox.close()
        if self.judge_member is not None:
            self.judge_member.close()

    def record(self) -> dict[str, Any]:
        """Return, for records, who judged from a server and what it cost; nothing without a judge."""
        return {} if self.judge_member is None else {JUDGE: self.judge_member.record()}

    def __enter__(self) -> Panel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, questions: Sequence[str]) -> list[tuple[Verdict, ...]]:
        """Return the members' verdicts on each question; each different one is asked once, and none that is cached."""
        keys = [hashlib.blake2b(question.encode(), digest_size=16).digest() for question in questions]
        known: dict[bytes, tuple[Verdict, ...]] = {}
        with self._lock:
            for key in keys:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    known[key] = self._cache[key]
        unknown = {key: question for key, question in zip(keys, questions, strict=True) if key not in known}
        if unknown:
            answers = self._verdicts(list(unknown.values()))
            fresh = {key: tuple(answer) for key, answer in zip(unknown, answers, strict=True)}
            known |= fresh
            with self._lock:
                self._cache |= fresh
                while len(self._cache) > self._cached:
                    self._cache.popitem(last=False)
        return [known[key] for key in keys]

    def _verdicts(self, questions: Sequence[str]) -> list[list[Verdict]]:
        """Return the members' verdicts on each question, in the members' order."""
        if self.judge_member is None:
            return self._sandbox.verdicts(questions)
        found = self._sandbox.verdicts(questions) if len(self.members) > 1 else [[] for _ in questions]
        place = self.members.index(JUDGE)
        for row, verdict in zip(found, self.judge_member.verdicts(questions), strict=True):
            row.insert(place, verdict)
        return found


def combine(verdicts: Mapping[str, Verdict], *, compared: bool = False) -> Verdict:
    """Return the panel's verdict from the members' own, by the rules at the top of this file.

    Args:
        verdicts: by member, in the panel's order; at least one.
        compared: whether the correct original was known.
    """
    reference = verdicts.get("reference") if compared else None
    if reference is not None and (reference.truth, reference.reason) == ("correct", "reference:same_text"):
        return reference
    confirmed = {name: verdict for name, verdict in verdicts.items() if verdict.truth == "correct"}
    wrong = sorted((name for name, verdict in verdicts.items() if verdict.truth == "wrong"), key=_rank)
    opponents = [_opponent(name, verdicts[name], confirmed) for name in wrong]
    for name, opponent in zip(wrong, opponents, strict=True):
        if opponent is None:
            return verdicts[name]
    if wrong:
        first = verdicts[wrong[0]]
        detail = f"{first.reason} ({first.detail}), but {confirmed[opponents[0] or ''].reason}"
        return Verdict("undecided", CONFLICT, detail, first.span)
    if reference is not None:
        return reference
    doubts = [verdict for verdict in verdicts.values() if _is_doubt(verdict, confirmed)]
    checked = [verdict for name, verdict in confirmed.items() if name not in GUARDS]
    if checked and not doubts:
        return checked[0]
    undecided = [verdict for verdict in verdicts.values() if verdict.truth == "undecided"]
    return next(iter(doubts or undecided), Verdict("undecided", "panel:nothing_confirmed"))


def _rank(name: str) -> int:
    return PRECISION.index(name) if name in PRECISION else len(PRECISION)


def _opponent(name: str, wrong: Verdict, confirmed: Mapping[str, Verdict]) -> str | None:
    """Return the member that stands against a ``wrong``, or None."""
    if name == "reference" and (wrong.span is None or not wrong.reason.startswith("reference:")):
        return None  # a false calculation, or something among the words: the right answer at the end does not save it
    for other, verdict in confirmed.items():
        if other == JUDGE:
            continue  # what was computed is not put in doubt by what is thought
        if other == "reference" or ({name, other} in SAME_CLAIM and _overlap(wrong, verdict)):
            return other
    return None


def _overlap(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts rest on a common part of the step; without a span, a verdict rests on all of it."""
    if one.span is None or other.span is None:
        return True
    return one.span[0] < other.span[1] and other.span[0] < one.span[1]


def _is_doubt(verdict: Verdict, confirmed: Mapping[str, Verdict]) -> bool:
    if verdict.truth != "undecided" or verdict.reason.partition(":")[2] in NO_DOUBT:
        return False
    return not any(reader in confirmed for reader in READ_BY.get(verdict.reason, ()))
