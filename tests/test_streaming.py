"""Streams: every packing and form gives the same traces, damage is named, memory does not grow with the traces."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

import sparring.compressed
import sparring.json_files
from sparring.__main__ import main
from sparring.compressed import atomic_lines, bare_name, raw_lines
from sparring.errors import DataError, SettingsError
from sparring.evaluation.cases import Case, CaseTable, by_subset
from sparring.evaluation.processbench import ProcessbenchSettings, evaluate_processbench
from sparring.evaluation.scores import score_file, stream_scores, write_scores
from sparring.files import OutputError
from sparring.journals import Journal
from sparring.labels.command import label_files
from sparring.labels.settings import LabelSettings
from sparring.rollouts.engine import Prefix
from sparring.settings import load_settings
from sparring.streams import Places, windows
from sparring.traces import read_problems_as, read_traces, read_traces_as, write_problems, write_traces
from sparring.traces.convert import WRITERS, convert
from sparring.traces.ids import distinct_ids
from sparring.traces.readers import stream_problems, stream_traces
from sparring.traces.records import Estimate, Problem, Trace
from sparring.worlds.chain import generate_problems, parse_question
from test_label_command import Solver

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
COMPRESSED = (".jsonl.gz", ".jsonl.zst")

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(str.strip)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def some_traces(draw: Callable[..., object]) -> Trace:
    steps = draw(st.lists(texts, min_size=1, max_size=4))
    each = {"min_size": len(steps), "max_size": len(steps)}
    estimate = st.builds(
        lambda three, count: Estimate(three[1], count, three[0], three[2]),
        st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted), st.integers(0, 10**6),
    )  # fmt: skip
    meta = st.dictionaries(texts, values, max_size=3)
    problem = Problem(
        draw(texts), draw(texts), draw(st.none() | texts), draw(st.none() | st.lists(texts, min_size=1).map(tuple)),
        draw(meta),
    )  # fmt: skip
    return Trace(
        problem, tuple(steps), draw(st.none() | st.lists(st.none() | st.floats(0, 1), **each).map(tuple)),
        draw(st.none() | st.booleans()), draw(st.just("") | texts), draw(meta),
        draw(st.none() | st.lists(st.none() | estimate, **each).map(tuple)),
    )  # fmt: skip


def numbered(count: int, start: int = 0) -> list[Trace]:
    return [
        Trace(Problem(f"p{n}", f"question {n} {'x' * 50}"), (f"step {n}", "bb"), (1.0, 0.0))
        for n in range(start, start + count)
    ]


# files of every kind


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(traces=st.lists(some_traces(), min_size=1, max_size=5), ending=st.sampled_from(ENDINGS))
def test_what_is_written_reads_back_equal_in_every_packing_and_form(
    tmp_path: Path, traces: list[Trace], ending: str
) -> None:
    file = tmp_path / f"traces{ending}"
    write_traces(file, traces)
    assert read_traces(file) == traces
    assert read_traces_as(file, "sparring").traces == traces


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_converted_files_hold_the_same_in_every_packing_and_form(
    tmp_path: Path, to: str, ending: str
) -> None:
    plain = tmp_path / "traces.jsonl"
    write_traces(plain, numbered(300))
    convert(plain, tmp_path / "all.jsonl", to=to)
    convert(plain, tmp_path / f"all{ending}", to=to)
    expected = read_traces_as(tmp_path / "all.jsonl", to).traces
    assert read_traces_as(tmp_path / f"all{ending}", to).traces == expected and len(expected) == 300


def test_a_file_is_known_by_its_first_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    write_traces(tmp_path / "a.jsonl.gz", numbered(3))
    (tmp_path / "a.jsonl.gz").rename(tmp_path / "b.jsonl")
    assert read_traces(tmp_path / "b.jsonl") == numbered(3)


def test_packed_files_may_be_joined_end_to_end(tmp_path: Path) -> None:
    for ending in COMPRESSED:
        parts = []
        for number, traces in enumerate((numbered(2), numbered(3, 2))):
            write_traces(tmp_path / f"{number}{ending}", traces)
            parts.append((tmp_path / f"{number}{ending}").read_bytes())
        (tmp_path / f"all{ending}").write_bytes(b"".join(parts))
        assert read_traces(tmp_path / f"all{ending}") == numbered(5)


@pytest.mark.parametrize("ending", [*COMPRESSED, ".parquet"])
def test_damaged_files_are_named_and_never_read_as_whole_ones(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"traces{ending}"
    write_traces(file, numbered(400))
    content = file.read_bytes()
    for cut in (4, 7, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:cut])
        with pytest.raises(DataError, match=f"traces{ending}") as error:
            read_traces(file)
        if ending in COMPRESSED:
            assert "cut off" in str(error.value) and error.value.line is not None
    file.write_bytes(content + b"garbage behind it")
    with pytest.raises(DataError, match=f"traces{ending}"):
        read_traces(file)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7), ending=st.sampled_from([*COMPRESSED, ".parquet"]))
def test_a_flipped_bit_is_refused_with_the_file_or_changes_nothing_that_is_not_text(
    tmp_path: Path, place: int, bit: int, ending: str
) -> None:
    file = tmp_path / f"traces{ending}"
    write_traces(file, numbered(50))
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 1 << bit
    file.write_bytes(content)
    try:
        found = read_traces(file)
    except DataError as error:
        assert f"traces{ending}" in str(error)
    else:  # Zstandard without a checksum, a page of Parquet: what is read is whole traces all the same
        assert all(isinstance(trace, Trace) for trace in found)


@pytest.mark.parametrize("ending", [".jsonl", *COMPRESSED])
def test_a_line_that_unpacks_to_more_than_the_limit_is_refused_in_little_memory(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparring.compressed, "LONGEST_LINE", 1 << 20)
    file = tmp_path / f"bomb{ending}"
    with atomic_lines(file) as write:
        write(b'{"id": "p"}\n')
        for _ in range(64):
            write(b" " * (1 << 20))
    tracemalloc.start()
    lines = raw_lines(file)
    assert next(lines) == b'{"id": "p"}\n'
    with pytest.raises(DataError, match=r":2: the line is longer than 1 MiB"):
        next(lines)
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("start", ["", "\ufeff", "\n \r\n", "\ufeff" + " " * 200_000])
@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_one_json_array_may_be_one_line_longer_than_the_longest(
    tmp_path: Path, start: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparring.compressed, "LONGEST_LINE", 1 << 10)
    file = tmp_path / f"array{ending}"
    record = {"id": "p", "problem": "q", "steps": ["a"]}
    with atomic_lines(file) as write:
        write((start + json.dumps([record] * 100)).encode())
    assert read_traces(file) == read_traces_as(file).traces == [Trace(Problem("p", "q"), ("a",))] * 100
    monkeypatch.setattr(sparring.compressed, "MOST_WHOLE", 1 << 12)
    with pytest.raises(DataError, match="write JSON lines"):
        read_traces(file)
    with atomic_lines(file) as write:
        write((json.dumps(record) + "\n").encode() * 100)  # JSON lines are not held whole
    assert len(read_traces(file)) == 100


def test_the_line_is_named_where_a_packed_json_array_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "array.json.gz"
    with atomic_lines(file) as write:
        for n in range(20_000):
            write(b"%c%d\n" % (b"[,"[n > 0], random.Random(n).getrandbits(60)))
        write(b"]")
    file.write_bytes(file.read_bytes()[:-9000])
    with pytest.raises(DataError, match="cut off") as error:
        read_traces(file)
    assert error.value.line is not None and 1000 < error.value.line < 20_000


def test_an_array_is_read_in_time_that_is_linear_in_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    class Text(str):  # counts the characters that are copied out of it
        copied = 0

        def __getitem__(self, place: slice) -> str:  # type: ignore[override]
            found = super().__getitem__(place)
            Text.copied += len(found)
            return found

    text = Text(json.dumps([{"id": n} for n in range(1000)]))
    assert [record["id"] for _, record in sparring.json_files._array(text, "x.json")] == list(range(1000))
    assert Text.copied < 5 * len(text)


def test_an_interrupted_or_refused_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    def broken() -> Iterator[Trace]:
        yield from numbered(5000)
        raise KeyboardInterrupt

    for ending in ENDINGS:
        file = tmp_path / f"traces{ending}"
        write_traces(file, numbered(2))
        with pytest.raises(KeyboardInterrupt):
            write_traces(file, broken())
        assert read_traces(file) == numbered(2)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(f"traces{ending}" for ending in ENDINGS)
    with pytest.raises(OutputError):
        write_traces(Path("/dev/full"), numbered(1))


def test_the_name_of_a_file_is_bare_of_its_packing() -> None:
    assert [bare_name(name) for name in ("a/gsm8k.jsonl", "math.jsonl.zst", "b.gz", "c")] == [
        "gsm8k", "math", "b", "c",
    ]  # fmt: skip


# many files as one


def shards_in(folder: Path) -> Path:
    folder.mkdir()
    for number, ending in enumerate(ENDINGS):
        write_traces(folder / f"part-{number}{ending}", numbered(3, 3 * number))
    (folder / "README.md").write_text("about these shards")
    (folder / "empty.jsonl").write_text("")
    return folder


def test_a_folder_and_a_pattern_are_one_input_in_the_order_of_names(tmp_path: Path) -> None:
    folder = shards_in(tmp_path / "shards")
    assert list(stream_traces(folder)) == numbered(12)
    assert list(stream_traces(str(folder / "part-[12]*"))) == numbered(6, 3)
    convert(folder, tmp_path / "all.parquet", to="sparring")
    assert read_traces(tmp_path / "all.parquet") == numbered(12)


def test_what_is_wrong_in_a_shard_is_said_with_the_shard_and_its_line(tmp_path: Path) -> None:
    folder = shards_in(tmp_path / "shards")
    with (folder / "part-0.jsonl").open("a") as file:
        file.write('{"id": "p", "problem": "q", "steps": [""]}\n')
    with pytest.raises(DataError, match=r"part-0\.jsonl:4: field 'steps\[0\]'"):
        list(stream_traces(folder))
    content = (folder / "part-1.jsonl.gz").read_bytes()
    (folder / "part-0.jsonl").unlink()
    (folder / "part-1.jsonl.gz").write_bytes(content[:-6])
    with pytest.raises(DataError, match=r"part-1\.jsonl\.gz:\d+: the compressed file is cut off"):
        list(stream_traces(folder))
    (folder / "part-1.jsonl.gz").unlink()
    (folder / "part-1.jsonl.gz").symlink_to(folder / "nowhere")
    with pytest.raises(DataError, match=r"part-3\.parquet"):
        (folder / "part-3.parquet").write_bytes(b"PAR1 and no more")
        list(stream_traces(folder))


def test_inputs_that_hold_no_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for data, said in (
        (tmp_path / "folder", "holds neither"), (tmp_path / "no*.jsonl", "no file fits"), ("hf:", "is named hf:NAME"),
        ("hf:a:b:c:d", "is named hf:NAME"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            list(stream_traces(data))


def test_a_local_data_set_of_several_formats_is_refused(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        write_traces(tmp_path / name, numbered(2))
    assert len(list(stream_traces(tmp_path))) == 6
    with pytest.raises(DataError, match=r"JSON \(a\.jsonl\), Parquet \(c\.parquet\)"):
        list(stream_traces(f"hf:{tmp_path}"))


def test_a_bit_that_flips_in_a_page_of_parquet_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "traces.parquet"
    write_traces(file, numbered(40))
    whole, expected = file.read_bytes(), read_traces(file)
    rng = random.Random(5)
    for _ in range(150):
        place = rng.randrange(len(whole))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        try:
            found = read_traces(file)
        except DataError:
            continue
        assert found == expected, place


def test_data_sets_are_streamed_and_their_package_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "rows"
    folder.mkdir()
    convert_from = tmp_path / "traces.jsonl"
    write_traces(convert_from, numbered(7))
    convert(convert_from, folder / "train.parquet", to="trl_stepwise")
    expected = read_traces_as(folder / "train.parquet").traces
    assert list(stream_traces(f"hf:{folder}")) == expected == list(stream_traces(f"hf:{folder}:train"))
    saved = datasets.Dataset.from_parquet(str(folder / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    saved.save_to_disk(tmp_path / "saved")
    assert list(stream_traces(tmp_path / "saved")) == expected
    with pytest.raises(DataError, match="cannot read the data set"):
        list(stream_traces(f"hf:{folder}:nosuchsplit"))
    for file in (tmp_path / "saved").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match="saved: cannot read the data set"):
        list(stream_traces(tmp_path / "saved"))
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(SettingsError, match="needs datasets: pip install"):
        list(stream_traces(f"hf:{folder}"))


# streams


def test_windows_hold_what_they_say_and_read_no_more() -> None:
    read = []
    cut = windows((read.append(n) or n for n in range(7)), 3)
    assert next(cut) == [0, 1, 2] and read == [0, 1, 2]
    assert list(cut) == [[3, 4, 5], [6]]


def test_places_know_very_many_keys() -> None:
    # Digests may end with zero bytes, which numpy strips.
    places = Places(lambda key: str(key).ljust(16, "\0").encode())
    for n in range(150_000):
        assert places.setdefault(n, n + 7) == n + 7
    assert all(places.setdefault(n, 0) == n + 7 for n in range(0, 150_000, 1001))
    for n in range(5000):  # digests that end with zeros among them
        assert all(places.get(key) == number for key, number in [(n, n + 7)])
    assert len(places) == 150_000 and places.get(-1) is None and places.get(149_999) == 150_006


@pytest.mark.parametrize("most", [1, 7, 64])
def test_places_sort_in_few_times(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Places, "_MOST_LOOSE", most)
    times = []
    settle = Places._settle
    monkeypatch.setattr(Places, "_settle", lambda self: times.append(len(self)) or settle(self))
    keys = random.Random(0).sample(range(1 << 40), 5000)
    places = Places(lambda key: int(key).to_bytes(16, "big" if int(key) % 2 else "little"))
    assert [places.setdefault(key, n) for n, key in enumerate(keys)] == list(range(5000))
    assert [places.get(key) for key in keys] == list(range(5000))
    assert 0 < len(times) < 20 * (1 + 16) and all(b - a >= max(most, a // 16) for a, b in pairwise(times))


@given(st.lists(st.sampled_from(["a", "b", "a#1", "a#2", "a#1#1", "#1", "é"]), max_size=12))
def test_names_of_traces_in_a_stream_are_those_of_a_list(ids: list[str]) -> None:
    shared = {one for one in ids if ids.count(one) > 1}
    names = [f"{one}#{ids[: n + 1].count(one)}" if one in shared else one for n, one in enumerate(ids)]
    traces = [Trace(Problem(one, "q"), ("s",)) for one in ids]
    if len(set(names)) < len(names):
        with pytest.raises(DataError, match="both a problem's own and a numbered one"):
            distinct_ids(traces)
    else:
        assert distinct_ids(traces) == names


def test_a_journal_holds_its_lines_in_the_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", {"job": 1}, lambda record: record["key"]) as journal:
        for n in range(50):
            journal.add({"key": f"k{n}", "value": "é" * n})
        assert journal.found["k7"] == {"key": "k7", "value": "é" * 7} and "k50" not in journal.found
    with Journal(tmp_path / "j.jsonl", {"job": 1}, lambda record: record["key"]) as journal:
        journal.add({"key": "k50", "value": "new"})
        assert list(journal.found) == [f"k{n}" for n in range(51)] and len(journal.found) == 51
        assert journal.found["k50"]["value"] == "new"
        starts = [start for start, _ in journal.starts()]
        assert journal.line(starts[3]) == 5 and journal.at(starts[3])["key"] == "k3"


# commands


class Quiet:
    """Scores by length; remembers the most traces that it was given at once."""

    threshold = 0.5

    def __init__(self) -> None:
        self.most = 0

    def score(self, traces: Sequence[Trace]) -> list[list[float]]:
        self.most = max(self.most, len(traces))
        return [[1 / len(step) for step in trace.steps] for trace in traces]


def score(data: Path | str, out: Path, **more: object) -> dict[str, int]:
    return score_file(None, Path(data), out=out, scorer=Quiet(), console=Console(file=StringIO()), **more)


def test_scores_of_a_packed_file_and_of_shards_are_those_of_the_plain_file(tmp_path: Path) -> None:
    write_traces(tmp_path / "all.jsonl", numbered(12))
    score(tmp_path / "all.jsonl", tmp_path / "plain.jsonl")
    score(shards_in(tmp_path / "shards"), tmp_path / "shards.jsonl")
    score(tmp_path / "shards", tmp_path / "packed.jsonl.gz")
    expected = (tmp_path / "plain.jsonl").read_bytes()
    assert (tmp_path / "shards.jsonl").read_bytes() == expected
    assert gzip.decompress((tmp_path / "packed.jsonl.gz").read_bytes()) == expected


def test_a_record_that_is_wrong_at_the_end_is_found_before_anything_is_scored(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    write_traces(file, numbered(100))
    with file.open("a") as end:
        end.write('{"id": "p", "problem": ""}\n')
    scorer = Quiet()
    with pytest.raises(DataError, match=r"all\.jsonl:101"):
        score_file(None, file, out=tmp_path / "scores.jsonl", scorer=scorer)
    assert scorer.most == 0 and not (tmp_path / "scores.jsonl").exists()


def test_memory_of_converting_and_scoring_does_not_grow_with_the_number_of_traces(tmp_path: Path) -> None:
    peaks = []
    for count in (200, 800):
        file = tmp_path / f"{count}.jsonl.zst"
        write_traces(file, numbered(count))
        tracemalloc.start()
        convert(file, tmp_path / "out.jsonl.gz", to="trl_stepwise")
        converted = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        score(file, tmp_path / "scores.jsonl.zst")
        peaks.append((converted, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    for few, many in zip(*peaks, strict=True):
        # A trace takes about 1,000 bytes as objects; digests of it 150 until sorted
        assert many < few + 600 * 400


def test_problems_in_a_stream_are_those_of_a_list(tmp_path: Path) -> None:
    one, other = Problem("a", "q", meta={"x": 1, "y": 2}), Problem("a", "q", "1")
    problems = [one, Problem("b", "q"), other, Problem("a", "q", meta={"y": 2, "x": 1}), Problem("c", "q")]
    write_problems(tmp_path / "problems.jsonl", problems)
    found, skipped = read_problems_as(tmp_path / "problems.jsonl"), []
    assert list(stream_problems(tmp_path / "problems.jsonl", skip=skipped.append)) == found.problems
    assert [one.line for one in skipped] == [one.line for one in found.skipped] == [3]


# labelling in windows


def labelled(out: Path, *overrides: str) -> tuple[bytes, dict[str, object]]:
    """Label with the tests' solver; return the traces and the metrics that do not hang on time."""
    run = load_settings(LabelSettings, None, overrides)
    label_files(run, out, Console(file=StringIO()), (Solver(), Solver()))
    written = json.loads((out / "metrics.json").read_text())
    metrics = {
        name: one["value"]
        for name, one in written["metrics"].items()
        if name not in ("label.seconds", "label.new_rollouts")
    }
    return (out / "traces.jsonl").read_bytes(), metrics | written["extra"]["counts"] | written["extra"][
        "walks"
    ]


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Solutions of sums, two or three of a problem one after the other; one problem comes again with another question."""
    traces = []
    for n in range(11):
        for number in range(2 + n % 2):
            steps, _ = Solver.fair(Prefix(Problem(f"p{n}", f"{n} + 1 = ?", str(n + 1))), n + number)
            question = "another?" if (n, number) == (5, 1) else f"{n} + 1 = ?"
            answer = None if n == 3 else str(n + 1)
            traces.append(Trace(Problem(f"p{n}", question, answer), tuple(steps.strip().split("\n"))))
    write_traces(tmp_path / "sums.jsonl", traces)
    return tmp_path / "sums.jsonl"


MODES = (
    ("solutions=given", "mode=montecarlo"),
    ("solutions=given", "mode=oracle"),
    ("solutions=sample", "mode=montecarlo", "adaptive=true", "label=hard"),
    ("solutions=given", "mode=binary_search", "problems=8"),
)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: " ".join(mode))
def test_windows_do_not_change_labels_also_when_the_job_goes_on_from_any_line(
    tmp_path: Path, sums: Path, mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (f"data={sums}", "n_mc=4", "n_cov=2", "batch=3", *mode)
    expected = labelled(tmp_path / "whole", *given)
    monkeypatch.setattr("sparring.labels.command.WINDOW", 3)
    monkeypatch.setattr("sparring.labels.journal._PART", 2)
    assert labelled(tmp_path / "windows", *given) == expected
    lines = (tmp_path / "windows" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines), 3):
        (tmp_path / f"{kept}").mkdir()
        (tmp_path / f"{kept}" / "journal.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
        assert labelled(tmp_path / f"{kept}", *given) == expected


def test_solutions_that_do_not_stand_by_problem_are_labelled_in_the_order_of_their_problems(
    tmp_path: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.labels.command.WINDOW", 3)
    traces = read_traces(sums)
    ids = [trace.problem.id for trace in traces]
    # Every problem's first one, then the others
    order = sorted(range(len(traces)), key=lambda n: ids[n] in ids[:n])
    write_traces(tmp_path / "scattered.jsonl.zst", [traces[n] for n in order])
    found = labelled(tmp_path / "scattered", f"data={tmp_path / 'scattered.jsonl.zst'}", "solutions=given")
    assert found == labelled(tmp_path / "together", f"data={sums}", "solutions=given")


def test_memory_of_labelling_does_not_grow_with_the_number_of_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.labels.command.WINDOW", 25)
    monkeypatch.setattr("sparring.worlds.chain_world._parsed", parse_question)  # without its (bounded) memory
    peaks = []
    for count in (100, 400):
        problems = generate_problems(count, steps=(3, 5), seed=1)
        write_traces(tmp_path / f"{count}.jsonl.gz", (Trace(one, one.solution or ()) for one in problems))
        tracemalloc.start()
        labelled(
            tmp_path / f"{count}", f"data={tmp_path / f'{count}.jsonl.gz'}", "solutions=given", "mode=oracle",
            "checker=world",
        )  # fmt: skip
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300 * 1000  # of a trace and its journal's line, about 4,000 bytes as objects


def test_a_cut_off_file_ends_a_command_in_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "traces.jsonl.zst"
    write_traces(file, numbered(50))
    file.write_bytes(file.read_bytes()[:-5])
    monkeypatch.setattr("sys.argv", ["sparring", "convert", str(file), str(tmp_path / "out.parquet")])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "Traceback" not in said
    assert "traces.jsonl.zst:" in " ".join(said.split()) and "cut off" in " ".join(said.split())
    assert [one.name for one in tmp_path.iterdir()] == ["traces.jsonl.zst"]


def test_work_that_ends_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    worked = []

    class Dying(Quiet):
        def score(self, traces: Sequence[Trace]) -> list[list[float]]:
            worked.append(traces[0].problem.id)
            if len(worked) == 3:
                raise DataError("a shard cannot be read")
            return super().score(traces)

    def scores() -> list[tuple[Trace, tuple[float, ...]]]:
        journal = tmp_path / "journal.jsonl"
        return list(stream_scores(Dying(), lambda: iter(numbered(300)), journal=journal, scorer_name="one"))

    with pytest.raises(DataError):
        scores()
    expected = [(trace, tuple(row)) for trace in numbered(300) for row in Quiet().score([trace])]
    assert scores() == scores() == expected
    assert worked == ["p0", "p64", "p128", "p128", "p192", "p256"]


# evaluations


def test_evaluations_of_packed_shards_give_the_numbers_of_the_file(tmp_path: Path) -> None:
    traces = [Trace(one.problem, one.steps, (1.0, float(n % 3 > 0))) for n, one in enumerate(numbered(40))]
    write_traces(tmp_path / "set.jsonl", traces)
    (tmp_path / "shards" / "set").mkdir(parents=True)
    write_traces(tmp_path / "shards" / "set" / "a.jsonl.gz", traces[:15])
    write_traces(tmp_path / "shards" / "set" / "b.parquet", traces[15:])
    rows = [(one.problem.id, [0.9, 0.2 + 0.015 * n]) for n, one in enumerate(traces)]
    write_scores(tmp_path / "scores.jsonl.zst", rows)
    found = [
        evaluate_processbench(
            ProcessbenchSettings(data=[data], scores=[tmp_path / "scores.jsonl.zst"], resamples=50),
            tmp_path / f"run{number}",
            console=Console(file=StringIO()),
        )
        for number, data in enumerate((tmp_path / "set.jsonl", tmp_path / "shards" / "set"))
    ]
    assert found[0] == found[1]
    one, other = ((tmp_path / f"run{n}" / "cases.jsonl").read_bytes() for n in (0, 1))
    assert one == other
    assert (tmp_path / "run0" / "worst.jsonl").read_bytes() == (
        tmp_path / "run1" / "worst.jsonl"
    ).read_bytes()


@given(
    st.lists(
        st.lists(st.tuples(st.none() | st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4).map(
            lambda pairs: [list(side) for side in zip(*pairs, strict=True)]
        ),
        max_size=6,
    )
)
def test_cases_are_held_as_numbers_and_come_back_as_they_were(rows: list[list[list[float | None]]]) -> None:
    cases = [
        Case(f"s{n % 2}", f"é{n}", n - 1, tuple(labels), tuple(scores), "q" * n)
        for n, (labels, scores) in enumerate(rows)
    ]
    table = CaseTable(cases)
    assert list(table) == cases and len(table) == len(cases)
    assert {name: list(some) for name, some in by_subset(table).items()} == {
        name: [case for case in cases if case.subset == name]
        for name in dict.fromkeys(c.subset for c in cases)
    }
