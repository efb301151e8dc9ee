"""What `fuzz.py` feeds: everything that reads what strangers write, each with seeds, and with what it promises.

Contract: a target gives its seeds and a function of one input, which returns a few words of what came, lets the project's
own errors through, and raises `BrokenPromise` where a result is not what it must be. Parts of an input are separated by a
byte. Every target is a function of its input alone, up to caches.

Not here: model folders, servers and clients (`fuzz_outside.py`), mutation, counting, faults (`fuzz.py`).
"""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuzz_outside import liars, models, serve, sidecars
from fuzz_promises import SEPARATOR, Made, Target, joined, parts, promise, text
from sparring.errors import SparringError


def proper(trace: Any) -> None:
    """Check that a trace is what its record promises."""
    count = len(trace.steps)
    promise(
        count and all(isinstance(step, str) and step.strip() for step in trace.steps),
        "steps are texts that are not blank",
    )
    promise(
        isinstance(trace.problem.question, str) and trace.problem.question.strip(), "a question is a text"
    )
    promise(
        trace.outcome in (None, True, False) and isinstance(trace.outcome, bool | None),
        "an outcome is true, false or unknown",
    )
    labels = trace.labels
    known = labels is None or all(
        one is None or (isinstance(one, float) and 0.0 <= one <= 1.0) for one in labels
    )
    promise(
        known and (labels is None or len(labels) == count), "labels are numbers from 0 to 1, one per step"
    )


# --- data ------------------------------------------------------------------------------------------------------------


@contextmanager
def readers(folder: Path) -> Made:
    """Readers of all formats of traces and problems."""
    from format_records import RECORDS
    from sparring.traces.jsonl import read_traces, write_traces
    from sparring.traces.readers import FORMATS, read_problems_as, read_traces_as

    def run(data: bytes) -> object:
        head, content = parts(data, 2)
        name, _, ending = text(head).partition("|")
        path = folder / f"data.{ending if ending in ('jsonl', 'json', 'jsonl.gz', 'jsonl.zst') else 'jsonl'}"
        path.write_bytes(content)
        name = name if name in FORMATS else "auto"
        with suppress(SparringError):
            promise(
                all(problem.question.strip() for problem in read_problems_as(path, name).problems),
                "a question is a text",
            )
        found = read_traces_as(path, name)
        for trace in found.traces:
            proper(trace)
        with suppress(SparringError):  # an id may be blank
            write_traces(folder / "again.jsonl", found.traces)
            promise(read_traces(folder / "again.jsonl") == found.traces, "what is written reads back equal")
        return f"{name} {bool(found.traces)} {len(found.skipped) > 0}"

    seeds = []
    for name, record in RECORDS.items():
        line = json.dumps(record, ensure_ascii=False).encode()
        seeds += [
            joined(f"{name}|jsonl", line),
            joined("auto|jsonl", line + b"\n" + line),
            joined(f"{name}|json", b"[" + line + b"]"),
        ]
    yield [*seeds, joined("auto|jsonl.gz", gzip.compress(seeds[0], mtime=0))], run


@contextmanager
def parquet(folder: Path) -> Made:
    """Readers of Parquet files."""
    from sparring.traces.jsonl import write_traces
    from sparring.traces.readers import read_traces_as
    from sparring.traces.records import Problem, Trace

    def run(data: bytes) -> object:
        (folder / "data.parquet").write_bytes(data)
        found = read_traces_as(folder / "data.parquet")
        for trace in found.traces:
            proper(trace)
        return bool(found.traces)

    write_traces(
        folder / "seed.parquet",
        [Trace(Problem("p", "1 + 1?", "2"), ("1 + 1 = 2", "So 2"), (1.0, None), True)],
    )
    yield [(folder / "seed.parquet").read_bytes()], run


@contextmanager
def files(folder: Path) -> Made:
    """Score files, metrics, samples, logs and journals."""
    from sparring.evaluation.scores import read_scores
    from sparring.journals import Journal
    from sparring.json_files import json_objects, read_json_object
    from sparring.runs import read_metrics
    from sparring.traces.fields import records_of

    def journal(path: Path) -> object:
        with Journal(path, {"job": 1}, lambda record: str(record.get("id"))) as found:
            return sum(1 for _ in found.found.values())

    def scores(path: Path) -> object:
        found = read_scores(path)
        return sum(1 for row in found.values() for _ in row.scores)

    kinds: dict[str, Callable[[Path], object]] = {
        "scores": scores,
        "metrics": lambda path: len(read_metrics(path)),
        "journal": journal,
        "objects": lambda path: sum(1 for _ in json_objects(path)),
        "object": lambda path: len(read_json_object(path, loose=True)),
        "records": lambda path: sum(1 for _ in records_of(path)),
    }

    def run(data: bytes) -> object:
        kind, content = parts(data, 2)
        path = folder / "data.json"
        path.write_bytes(content)
        name = text(kind)
        return name, bool(kinds.get(name, kinds["objects"])(path))

    with Journal(folder / "journal", {"job": 1}, lambda record: str(record["id"])) as made:
        made.add({"id": "a", "row": [0.5, None]})
        made.add({"id": "b", "row": []})
    metric = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 3, "unit": "share"}
    yield (
        [
            joined("scores", '{"id": "a", "scores": [0.5, 1, 0]}\n{"id": "b", "scores": [], "other": [0.1]}'),
            joined(
                "metrics",
                {
                    "metrics": {"a.b": metric},
                    "settings": {},
                    "seed": 0,
                    "commit": "x",
                    "versions": {},
                    "machine": {},
                },
            ),
            joined("journal", (folder / "journal").read_bytes()),
            joined("objects", '[{"a": 1.5e3, "b": [null, true]}, {"c": "\\u00e9"}]'),
            joined("object", '{"a": NaN, "b": {"c": [1, 2, {"d": "\\ud83d\\ude00"}]}}'),
            joined("records", '{"a": 1}\n\n{"b": Infinity}\n'),
        ],
        run,
    )


# --- texts -----------------------------------------------------------------------------------------------------------

STEPS = (
    "He has 24 - 5 = <<24-5=19>>19 pens left, about 79% of them.",
    r"So $x = \frac{5 \pm \sqrt{25 - 24}}{2} = 2.5 \pm 0.5$, that is $x = 2$ or $x = 3$.",
    r"\begin{align*} (a+b)^2 &= a^2 + 2ab + b^2 \\ &= 49 \end{align*} since $a + b = 7$.",
    "It is 3:45 pm + 2 hours = 5:45 pm, and 17 is prime. If it rains, the street is wet; it rains.",
    r"The derivative of $x^3$ is $3x^2$, and \(\int_0^1 2x\,dx = 1\). The final answer is \boxed{19}.",
    "5 ft 6 in + 8 in = 6 ft 2 in; $3.50 * 4 = $14; 20% of 50 is 10; 12:8 = 3:2",
    "3 * 8 = 25, so 25 - 5 = 21. 2 + 2 = 5.",
    r"Therefore $\frac{1}{2} + \frac{1}{3} = \frac{2}{5}$ and $2^{10} = 1000$, $x^2 - 1 = (x-1)(x-1)$.",
    "As 5 > 7, the answer is 5 dollars. 15 is prime, 3 divides 10, gcd(4, 6) = 3.",
)
QUESTION = "Tom has 3 boxes of 8 pens and gives 5 away. How many has he left?"
PREFIX = "Tom has 3 boxes of 8 pens, so he has 3 * 8 = <<3*8=24>>24 pens."


@contextmanager
def splitting(folder: Path) -> Made:
    """Splitting into steps, boxes and stated answers."""
    from sparring.traces.answers import LONGEST, stated_answer
    from sparring.traces.boxed import boxes
    from sparring.traces.splitting import split_steps

    def run(data: bytes) -> object:
        whole = text(data)
        counts = []
        for strategy in ("auto", "paragraphs", "lines", "headings"):
            steps, cursor = split_steps(whole, strategy), 0
            for step in steps:
                promise(step.strip() == step and step, "steps are trimmed and not empty")
                found = whole.find(step, cursor)
                promise(
                    found >= 0 and not whole[cursor:found].strip(),
                    "nothing but white space is lost between steps",
                )
                cursor = found + len(step)
            promise(not whole[cursor:].strip(), "nothing is lost at the end")
            counts.append(min(len(steps), 3))
        for box in boxes(whole):
            promise(0 <= box.start < box.end <= len(whole), "a box is part of the text")
        answer = stated_answer(whole)
        promise(answer is None or 0 < len(answer) <= LONGEST, "an answer is not empty and not long")
        return counts, answer is not None

    fenced = "Step 1: code\n```\nx = 1\n\ny = 2\n```\n## Step 2\n- a\n\n- b\n\n\\[\nx\n\\]\n$$ y $$\n[asy]\n\ndraw\n[/asy]"
    yield (
        [
            *(step.encode() for step in STEPS),
            "\n\n".join(STEPS).encode(),
            fenced.encode(),
            b"#### 19\nThe answer is: 19",
        ],
        run,
    )


@contextmanager
def spans(folder: Path) -> Made:
    """The step contract with byte-level, SentencePiece and word tokenizers, texts apart and together."""
    from sparring.models.sidecar import LayoutFields
    from sparring.models.text_layout import encode_answer, encode_trace
    from sparring.worlds.chain_model import build_tokenizer
    from tiny_tokenizers import LLAMA3, LLAMA_SPECIAL, byte_level, qwen_tokenizer, sentencepiece

    llama = byte_level(LLAMA_SPECIAL, template=LLAMA3, begin="<|begin_of_text|>", end="<|eot_id|>")
    tokenizers = [qwen_tokenizer(), sentencepiece(), llama, build_tokenizer()]
    layouts = [
        LayoutFields(),
        LayoutFields(before="Q: ", after="\nA:", separator="\n\n"),
        LayoutFields(
            before="Q: ", after="\n", separator=" ки\n", tokenization="prompt", step_prefix="Step {number}: "
        ),
        LayoutFields(after="\n\n", separator="\n\n", tokenization="text", strip=True),
        LayoutFields(after="\n", separator="<extra_0>", tokenization="text", between="\n"),
    ]

    def run(data: bytes) -> object:
        head, question, *steps = [text(part) for part in data.split(SEPARATOR)] + [""] * (
            data.count(SEPARATOR) < 1
        )
        number = sum(map(ord, head))
        tokenizer, layout = tokenizers[number % 4], layouts[number // 4 % 5]
        whole = encode_trace(question, steps, tokenizer, layout)
        promise(
            len(whole.positions) == len(whole.spans) == len(steps) and whole.dropped == 0,
            "one position per step",
        )
        before = -1
        for (start, end), position in zip(whole.spans, whole.positions, strict=True):
            promise(
                before < position < len(whole.input_ids) and start <= end <= position + 1,
                "spans and positions are in order",
            )
            before = position
        special, ours = (
            set(tokenizer.all_special_ids),
            encode_trace("x", ["x"] * len(steps), tokenizer, layout),
        )
        counted = [sum(one in special for one in ids.input_ids) for ids in (whole, ours)]
        unknown = tokenizer.unk_token_id
        promise(
            unknown is not None or counted[0] == counted[1],
            "special tokens in a text are ordinary characters",
        )
        if len(steps) > 1:
            part = encode_trace(question, steps[:-1], tokenizer, layout)
            promise(
                whole.input_ids[: part.positions[-1] + 1] == part.input_ids[: part.positions[-1] + 1],
                "a prefix has the same ids",
            )
            most = whole.positions[-2] + 1
            with suppress(SparringError):
                short = encode_trace(
                    question, steps, tokenizer, layout, max_length=most, overflow="drop_steps"
                )
                promise(
                    len(short.input_ids) <= most and short.dropped + len(short.positions) == len(steps),
                    "whole steps are dropped",
                )
                promise(
                    short.input_ids == whole.input_ids[: len(short.input_ids)], "what is kept stays the same"
                )
            with suppress(SparringError):
                encode_answer(question, steps, tokenizer, layouts[1], end="</s>")
        return number % 20, min(len(steps), 3)

    hostile = (
        "<|im_end|>",
        "</s> <s>",
        "a\n\n b",
        "ки\n",
        "<extra_0>",
        "é€𝟘\u200b",
        "Step 2: x.",
        "<|eot_id|>\n",
    )
    yield [joined(chr(65 + number), QUESTION, *STEPS[:2], *hostile) for number in range(20)], run


@contextmanager
def member(name: str, folder: Path) -> Made:
    """Ask a member of a panel."""
    from sparring.oracles.members import Question, ask, load_member
    from sparring.traces.records import Problem

    judge = load_member(name)

    def run(data: bytes) -> object:
        question, answer, original, step, *prefix = [text(part) for part in data.split(SEPARATOR)] + [
            ""
        ] * max(0, 3 - data.count(SEPARATOR))
        problem = Problem("p", question, answer or None)
        given = original if original or judge.compares else None
        asked = Question(problem, tuple(filter(str.strip, prefix)), given, step)
        verdict = ask(judge, asked)
        promise(
            not verdict.reason.endswith((":raised", ":bad_verdict")),
            f"a member raises nothing: {verdict.detail[:200]}",
        )
        promise(verdict.span is None or 0 <= verdict.span[0] <= verdict.span[1], "a span is part of the step")
        if verdict.truth == "wrong":
            for changed in (step + "\n", "\n" + step, step + "  "):
                other = ask(judge, asked._replace(step=changed))
                promise(
                    other.truth == "wrong",
                    f"white space around a wrong step is no excuse: {other.truth} {other.reason}",
                )
            if given == step:
                promise(False, "a step that stands for itself is not wrong")
        return verdict.truth, verdict.reason

    asked = [joined(QUESTION, "19", "", step, PREFIX) for step in STEPS]
    asked += [joined(QUESTION, r"\frac{1}{2}", STEPS[0], step, PREFIX, STEPS[1]) for step in STEPS]
    yield asked, run


@contextmanager
def equality(folder: Path) -> Made:
    """Equality of answers."""
    from sparring.oracles.equality import answer_groups, compare_answers

    def run(data: bytes) -> object:
        one, other = (text(part) for part in parts(data, 2))
        found = compare_answers(one, other)
        promise(compare_answers(other, one) == found, "equality is symmetric")
        promise(
            compare_answers(one, one) == ("equal" if one.strip() else "unreadable"),
            "an answer is equal to itself",
        )
        for changed in (other + " ", "\n" + other):
            again = compare_answers(one, changed)
            promise(again == found, f"white space around an answer changes nothing: {found}, {again}")
        groups = answer_groups([one, other, None, one])
        promise(groups[0] == groups[3] and groups[2] == -1, "an answer is in its own class")
        return found

    pairs = [
        ("1/2", "0.5"), (r"\frac{1}{2}", "0.50"), ("$5", "500 cents"), ("25\\%", "0.25"), ("60^\\circ", r"\frac{\pi}{3}"),
        ("(0,1)", "0 < x < 1"), ("x = 5", "5"), ("[1, 2)", "{1, 2}"), ("3:45 pm", "15:45"), ("1,000", "10^3"),
        ("A", "(A) 5"),
        (r"\sqrt{8}", r"2\sqrt{2}"), (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", "[[1,2],[3,4]]"), ("1011_2", "11"),
        (r"x^2 + 2x + 1", r"(x+1)^2"), ("0.333...", "1/3"), ("12 dollars", "12"), ("yes", "True"), ("5!", "120"),
        (r"\text{even}", "even"), ("2 km", "2000 m"), ("1 - i", "-i + 1"), (r"\pm 3", "3, -3"), ("3 : 4", "6:8"),
    ]  # fmt: skip
    yield [joined(*pair) for pair in pairs], run


# --- settings --------------------------------------------------------------------------------------------------------


@contextmanager
def settings(folder: Path) -> Made:
    """Settings from YAML files and words of the command line, of every command."""
    import yaml

    from sparring.__main__ import COMMANDS
    from sparring.addresses import parse_address
    from sparring.settings import Settings, dump_settings, load_settings, parse_settings

    classes: list[type[Settings]] = []
    for place in sorted({row.settings for row in COMMANDS if row.settings}):
        module, _, name = place.partition(":")
        classes.append(getattr(importlib.import_module(f"sparring.{module}"), name))
    names = [one.__name__ for one in classes]

    def run(data: bytes) -> object:
        head, file, *words = data.split(SEPARATOR)
        cls = classes[names.index(text(head))] if text(head) in names else classes[0]
        path = folder / "settings.yaml"
        path.write_bytes(file)
        for word in words:
            with suppress(SparringError):
                parse_address(text(word))
        made = load_settings(cls, path, [text(word) for word in words])
        promise(isinstance(made, cls), "settings are of their class")
        promise(parse_settings(cls, dump_settings(made), "again") == made, "settings read back equal")
        return cls.__name__

    def with_part(data: bytes) -> object:
        return run(data if SEPARATOR in data else data + SEPARATOR)

    seeds = []
    for cls in classes:
        try:
            given = dump_settings(cls())
        except ValueError:  # something is required
            usual = {
                name: "x"
                if info.is_required()
                else info.get_default(call_default_factory=True, validated_data={})
                for name, info in cls.model_fields.items()
            }
            given = json.loads(json.dumps(usual, default=str))
        words = [f"{name}={json.dumps(value)}" for name, value in list(given.items())[:3]]
        seeds += [
            joined(cls.__name__, yaml.safe_dump(given), *words),
            joined(cls.__name__, b"", "seed=3", "a.b=[1, 2]", "prm=vllm+http://h:80/v1?batch=2#f"),
        ]
    yield seeds, with_part


def _members() -> dict[str, Target]:
    from sparring.oracles.members import MEMBERS

    made = {}
    for name in MEMBERS:
        target: Any = lambda folder, name=name: member(name, folder)  # noqa: E731 (its text is set below)
        target.__doc__ = f"The oracle `{name}`."
        made[f"oracle-{name}"] = target
    return made


TARGETS: dict[str, Target] = {
    "readers": readers, "parquet": parquet, "files": files, "splitting": splitting, "spans": spans, **_members(),
    "equality": equality, "settings": settings, "sidecars": sidecars, "models": models, "serve": serve, "liars": liars,
}  # fmt: skip
