"""The pool on a real cluster of two nodes: order, keys, and every misfortune of actors and nodes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from pyarrow import parquet
from rich.console import Console

from conftest import killed
from fake_scorers import FakeSparring
from pool_workers import MARKS, Deadly, Doubling, KilledOnce
from sparring.contrib.ray_data import score_dataset
from sparring.errors import DataError, MissingPackageError, SettingsError
from sparring.evaluation.bon import BonSettings, evaluate_bon
from sparring.evaluation.scores import score_file
from sparring.evaluation.search import SearchSettings, run_search_command
from sparring.fingerprints import model_content
from sparring.labels.command import label_files
from sparring.labels.settings import LabelSettings
from sparring.locks import LockedError, sole_writer
from sparring.pool import Here, Item, Lost, LostError, PoolSettings, content_key
from sparring.pool.ray_pool import QUEUE, PoolError, RayPool
from sparring.pool.settings import pool_settings
from sparring.scorers.door import open_scorer
from sparring.traces.jsonl import write_traces
from sparring.traces.records import Problem, Trace
from sparring.worlds.world import make_world, world_problems

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two nodes with one core each, which this process has joined."""
    from ray.cluster_utils import Cluster

    quick = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 2000,
        "health_check_failure_threshold": 3,
    }
    # Nodes hand this on to their workers, which import this folder's.
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before])
    os.environ[MARKS] = str(tmp_path_factory.mktemp("marks"))
    made = None
    for left in (2, 1, 0):  # Ray gives a node half a minute to come up: not enough on a crowded machine
        try:
            made = Cluster(
                initialize_head=True,
                head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": quick},
            )
            made.add_node(num_cpus=1)
            break
        except Exception:
            if made is not None:
                made.shutdown()
            if not left:
                raise
    assert made is not None
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ["PYTHONPATH"] = before
    del os.environ[MARKS]


def batches(number: int, size: int = 4, start: int = 0) -> list[list[Item[int]]]:
    """Numbers in batches; a number is its own key."""
    items = [Item(str(n), f"number {n}", n) for n in range(start, start + number)]
    return [items[at : at + size] for at in range(0, number, size)]


def results(pool: Any, given: Iterable[Sequence[Item[int]]], **more: Any) -> list[Any]:
    return [(item.value, result) for item, result in pool.map(given, **more)]


def keeping(kept: dict[str, int]) -> Any:
    return lambda item, result: kept.update({item.key: result})


def doubled(number: int, start: int = 0) -> list[tuple[int, int]]:
    return [(n, 2 * n) for n in range(start, start + number)]


def pool(made: Doubling, **settings: Any) -> RayPool[int, int]:
    return RayPool(made, PoolSettings(**({"actors": 2} | settings)))


def computed(made: Doubling) -> Counter[int]:
    """How often each number was given to a worker."""
    return Counter(int(line.split()[0]) for line in made.log.read_text().splitlines())


# --- in this process ---------------------------------------------------------------------------------------------------


def test_here_is_lazy_keeps_results_and_computes_nothing_twice(tmp_path: Path) -> None:
    made = Doubling(tmp_path / "log")
    kept: dict[str, int] = {"4": 80, "5": 10, "6": 12, "7": 14}
    found = Here(made()).map(
        iter(batches(12)),
        known=lambda item: kept.get(item.key),
        keep=keeping(kept),
    )
    assert next(found)[1] == 0
    assert set(computed(made)) == {0, 1, 2, 3}
    rest = {item.value: result for item, result in found}
    assert rest[4] == 80 and rest[11] == 22 and len(kept) == 12
    assert set(computed(made)) == {*range(4), *range(8, 12)}


def test_keys_are_of_content_and_settings() -> None:
    key = content_key({"b": 1, "a": "é"}, PoolSettings().model_dump())
    assert key == content_key({"a": "é", "b": 1}, PoolSettings().model_dump()) and len(key) == 32
    assert key != content_key({"a": "é", "b": 2}, PoolSettings().model_dump())


def test_the_options_of_a_pool() -> None:
    assert pool_settings("here", None) is None
    asked = pool_settings("ray", ["actors=3", "gpus_per_actor=0.5", "seconds_per_item=null"])
    assert asked == PoolSettings(actors=3, gpus_per_actor=0.5, seconds_per_item=None)
    with pytest.raises(SettingsError, match="actor"):
        pool_settings("ray", ["actor=3"])
    with pytest.raises(SettingsError, match="--engine"):
        pool_settings("here", ["actors=3"])
    with pytest.raises(SettingsError, match="here or ray"):
        pool_settings("roy", None)


# --- on the cluster ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="class")
def made(tmp_path_factory: pytest.TempPathFactory) -> Doubling:
    """Every test has numbers of its own, and a misfortune is met by the one test whose number it is."""
    log = tmp_path_factory.mktemp("pool") / "log"
    log.touch()
    return Doubling(log, once=(205,), always=(210,), stuck=(216,), broken=(221,), bad=(306, 313), pause=0.01)


@pytest.fixture(scope="class")
def workers(cluster: Any, made: Doubling) -> Iterator[RayPool[int, int]]:
    settings = PoolSettings(actors=2, in_flight=3, deaths=1, seconds_per_item=4)
    with RayPool[int, int](made, settings) as pool:
        yield pool


def computed_from(made: Doubling, start: int, end: int) -> Counter[int]:
    return Counter({n: times for n, times in computed(made).items() if start <= n < end})


class TestOnePool:
    """Tests that share actors."""

    def test_results_are_those_of_one_process_and_keys_count_once(
        self, workers: RayPool[int, int], made: Doubling, tmp_path: Path
    ) -> None:
        given = [
            *batches(40),
            *batches(8, start=12),
            [Item("39", "number 39", 39), Item("50", "number 50", 50)],
        ]
        kept: dict[str, int] = {}

        def keep(item: Item[int], result: int) -> None:
            assert item.key not in kept
            kept[item.key] = result

        found = results(workers, given, known=lambda item: kept.get(item.key), keep=keep)
        assert found == results(Here(Doubling(tmp_path / "here")()), given)
        assert set(kept) == {*map(str, range(40)), "50"}
        # A batch is computed as a whole or not at all.
        assert computed(made) == Counter([*range(40), 39, 50])
        places = {tuple(line.split()[1:]) for line in made.log.read_text().splitlines()}
        # How many processes have a part is a matter of speed
        assert {threads for _, threads in places} == {"1"}

    def test_reading_ahead_is_bounded(self, workers: RayPool[int, int]) -> None:
        read = []

        def source() -> Iterator[list[Item[int]]]:
            for batch in batches(400, start=1000):
                read.append(batch)
                yield batch

        assert workers.about().startswith("doubling in ")
        found = workers.map(source())
        for _ in range(9):
            next(found)
        assert len(read) <= 3 + 6
        found.close()
        assert workers.share(0, 8) == 1 and workers.share(100, 8) == 8  # a job that is finished has no items
        assert results(workers, batches(8, start=100)) == doubled(8, start=100)  # it can be used again

    def test_what_ends_its_actors_is_left_out_and_named_and_actors_are_replaced(
        self, workers: RayPool[int, int], made: Doubling, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of what is killed once nothing is lost; what kills, never answers or breaks every time is left out."""
        told: list[str] = []
        monkeypatch.setattr(workers, "_tell", told.append)
        found = results(workers, batches(24, 2, start=200))
        assert [pair for pair in found if not isinstance(pair[1], Lost)] == [
            pair for pair in doubled(24, start=200) if pair[0] not in (210, 216, 221)
        ]
        lost = workers.lost
        assert {one.name: one.deaths for one in lost} == dict.fromkeys(
            ["number 210", "number 216", "number 221"], 1
        )
        why = {one.name: one.why for one in lost}
        assert "died" in why["number 210"] and "no answer within 4 s" in why["number 216"]
        assert "RuntimeError: cannot double 221" in why["number 221"]
        error = str(LostError(lost, "Start again."))
        assert "number 210" in error and "number 221" in error and error.startswith("3 left out")
        assert workers.deaths == len(told) >= 7 and f"{workers.deaths} replaced" in workers.status
        # An actor that is killed may have finished the batch before and not told.
        again = {n for n, times in computed_from(made, 200, 300).items() if times > 1}
        assert 205 in again and len(again) <= workers.deaths * QUEUE * 2

    def test_a_refusal_comes_where_it_would_in_one_process(self, workers: RayPool[int, int]) -> None:
        kept: dict[str, int] = {}
        given: list[int] = []
        with pytest.raises(DataError) as caught:
            for item, _ in workers.map(batches(40, start=300), keep=keeping(kept)):
                given.append(item.value)
        assert given == [300, 301, 302, 303] and caught.value.field == "number[306]"
        assert {"300", "301", "302", "303"} <= set(kept)


def test_lost_nodes_lose_nothing(cluster: Any, tmp_path: Path) -> None:
    """One is killed with all that runs on it, and one freezes."""
    nodes = {signal.SIGKILL: cluster.add_node(num_cpus=1), signal.SIGSTOP: cluster.add_node(num_cpus=1)}
    made = Doubling(tmp_path / "log", pause=0.02)
    lost_at: list[int] = []

    def source() -> Iterator[list[Item[int]]]:
        """Batches until a fourth actor is at work; then two are lost with their nodes, and ten batches more."""
        for number, batch in enumerate(batches(40_000)):
            if not lost_at and len({line.split()[1] for line in made.log.read_text().splitlines()}) == 4:
                for how, node in nodes.items():
                    raylet = node.all_processes["raylet"][0].process.pid
                    family = subprocess.run(
                        ["ps", "-o", "pid=", "--ppid", str(raylet)], capture_output=True, text=True
                    )
                    for pid in [raylet, *map(int, family.stdout.split())]:
                        os.kill(pid, how)
                lost_at.append(number)
            if lost_at and number > lost_at[0] + 10:
                return
            yield batch

    made.log.touch()
    with pool(made, actors=4) as workers:
        found = results(workers, source())
        assert found == doubled(4 * (lost_at[0] + 11)) and not workers.lost
        assert workers.deaths >= 2
    for node in nodes.values():
        cluster.remove_node(node, allow_graceful=False)


def test_another_model_in_the_middle_is_refused(cluster: Any, tmp_path: Path) -> None:
    """There are batches until an actor finds it: one that is killed further on than is read ahead is replaced by it."""
    model = tmp_path / "model"
    model.write_text("first")
    made = Doubling(tmp_path / "log", once=(60,), pause=0.01, model=model)
    endless = ([Item(str(n), f"number {n}", n) for n in range(at, at + 4)] for at in count(step=4))
    found = []
    with (
        pool(made) as workers,
        pytest.raises(SettingsError, match=r"model changed while the job ran.*second.*first"),
    ):
        for item, _ in workers.map(endless):
            found.append(item.value)
            (tmp_path / "new").write_text("second")
            (tmp_path / "new").replace(model)
    assert found and found == list(range(len(found)))


def test_workers_that_cannot_be_made(cluster: Any, tmp_path: Path) -> None:
    with (
        pool(Doubling(tmp_path / "log", model=tmp_path / "none")) as workers,
        pytest.raises(PoolError) as caught,
    ):
        results(workers, batches(8))
    assert "3 actors died while they started; the last: FileNotFoundError" in str(caught.value)


# --- commands ----------------------------------------------------------------------------------------------------------


def chain_traces(number: int) -> list[Trace]:
    """Traces of the chain world; some come twice."""
    made = [world_problem(n % (number - 5)) for n in range(number)]
    return [Trace(problem, problem.solution or ("x",), outcome=n % 3 > 0) for n, problem in enumerate(made)]


def world_problem(number: int) -> Problem:
    return world_problems(make_world("chain"), 1, seed=number, name=f"c{number}")[0]


def test_a_killed_score_goes_on_to_the_file_of_one_process(
    cluster: Any, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is killed, then an actor: nothing is scored twice, and the file is the same byte for byte."""
    data, alone, out = tmp_path / "traces.jsonl", tmp_path / "alone.jsonl", tmp_path / "pooled.jsonl"
    write_traces(data, chain_traces(64 * 6))
    score_file(server, data, out=alone, console=quiet())
    words = ["score", server, str(data), "--out", str(out), "--engine", "ray"]
    words += ["--pool", "actors=1", "--pool", f"address={cluster.address}"]
    killed(words, 100, "sparring.journals:Journal.add")
    before = (tmp_path / "pooled.jsonl.partial").read_text().splitlines()
    assert 100 <= len(before) < 64 * 6 and not out.exists()
    monkeypatch.setattr("sparring.scorers.pooled.ScoringWorker", KilledOnce)
    told = quiet()
    score_file(server, data, out=out, console=told, pool=PoolSettings(actors=2))
    assert out.read_bytes() == alone.read_bytes()
    assert "an actor is replaced" in told.file.getvalue()  # type: ignore[attr-defined]


class Scores(FakeSparring):
    """A server whose scores are of the step's text: clients of it are workers that are quick to start."""

    def result(self, item: dict[str, Any]) -> dict[str, Any]:
        return super().result(item) | {"scores": [crc32(step.encode()) / 2**32 for step in item["steps"]]}


@pytest.fixture
def server() -> Iterator[str]:
    with Scores() as found:
        found.longest = 100
        yield f"http://{found.host}"


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


def test_what_kills_a_scorer_is_named_and_all_else_is_in_the_file(
    cluster: Any, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "traces.jsonl", tmp_path / "scores.jsonl"
    write_traces(data, chain_traces(20))
    pooled = PoolSettings(actors=1, deaths=1)
    monkeypatch.setattr("sparring.scorers.pooled.ScoringWorker", Deadly)
    with pytest.raises(LostError, match=r"2 left out: c3-3-0#1 .*died.*c3-3-0#2.* has the other 18"):
        score_file(server, data, out=out, console=quiet(), pool=pooled)
    assert len(out.read_text().splitlines()) == 18
    score_file(server, data, out=out, console=quiet())  # one process goes on with what is missing
    score_file(server, data, out=tmp_path / "alone.jsonl", console=quiet())
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [
        json.loads(line)["id"] for line in (tmp_path / "alone.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("mode", "more"), [("montecarlo", {"adaptive": True, "label": "hard"}), ("oracle", {})]
)
def test_labels_of_a_pool_are_those_of_one_process(
    cluster: Any, tmp_path: Path, mode: str, more: Any
) -> None:
    """Where one process has begun and a pool goes on; nothing is done twice."""
    settings = LabelSettings(
        mode=mode, problems=8, n_cov=2, n_mc=4, adaptive_first=2, adaptive_round=1, max_new_tokens=200, batch=4,
        device="cpu", **more,
    )  # fmt: skip
    label_files(settings, tmp_path / "alone", quiet())
    begun = tmp_path / "pooled" / "journal.jsonl"
    begun.parent.mkdir()
    lines = (tmp_path / "alone" / "journal.jsonl").read_text().splitlines(keepends=True)
    begun.write_text("".join(lines[: 2 * len(lines) // 3]))
    label_files(settings, tmp_path / "pooled", quiet(), pool=PoolSettings(actors=2))
    assert (tmp_path / "alone" / "traces.jsonl").read_bytes() == (
        tmp_path / "pooled" / "traces.jsonl"
    ).read_bytes()
    alone, pooled = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "pooled")
    )
    for name, metric in alone["metrics"].items():
        if "seconds" not in name and "new" not in name:
            assert pooled["metrics"][name] == metric, name
    assert [name for name in alone if alone[name] != pooled[name]] == ["metrics"]


def test_a_search_in_a_pool_is_that_of_one_process(cluster: Any, tmp_path: Path, tiny_prm: Path) -> None:
    settings = SearchSettings(
        prm=str(tiny_prm), problems=4, methods=("beam",), n=(2,), max_new_tokens=24, chain_steps=(2, 3),
        device="cpu",
    )  # fmt: skip
    run_search_command(settings, tmp_path / "alone", console=quiet())
    run_search_command(settings, tmp_path / "pooled", console=quiet(), pool=PoolSettings(actors=2))
    names = ["cases.jsonl", "candidates.jsonl", "trees/beam-2.jsonl", "metrics.json"]
    alone, pooled = ([without_times(tmp_path / one / name) for name in names] for one in ("alone", "pooled"))
    assert alone == pooled
    run_search_command(settings, tmp_path / "pooled", console=quiet())
    again = [without_times(tmp_path / "pooled" / name) for name in names[:3]]
    assert again == pooled[:3]  # nothing was left to do


def without_times(path: Path) -> Any:
    """What stands in a file of a search, in the problems' order, its numbers rounded and times left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("seconds", "check", "machine", "started", "finished")
            return {k: plain(v) for k, v in value.items() if not any(word in k for word in left_out)}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return round(value, 5) if isinstance(value, float) else value

    if path.suffix == ".json":
        return plain(json.loads(path.read_text()))
    return sorted(json.dumps(plain(json.loads(line))) for line in path.read_text().splitlines())


def test_an_evaluation_in_a_pool_is_that_of_one_process(cluster: Any, tmp_path: Path, tiny_prm: Path) -> None:
    data = tmp_path / "traces.jsonl"
    write_traces(data, chain_traces(80))
    settings = BonSettings(data=[data], model=tiny_prm, resamples=50, world="chain")
    evaluate_bon(settings, tmp_path / "alone", console=quiet())
    evaluate_bon(settings, tmp_path / "pooled", console=quiet(), pool=PoolSettings(actors=1))
    for name in ("scores.jsonl", "cases.jsonl"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "pooled" / name).read_bytes()
    alone, pooled = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "pooled")
    )
    assert alone["metrics"] == pooled["metrics"] and alone["settings"] == pooled["settings"]


def test_scores_are_a_column_of_a_data_set(cluster: Any, tmp_path: Path, server: str) -> None:
    traces = chain_traces(40)
    write_traces(tmp_path / "traces.parquet", traces)
    dataset = ray.data.from_arrow(parquet.read_table(tmp_path / "traces.parquet"))
    rows = sorted(score_dataset(dataset, server, batch=16).take_all(), key=lambda row: row["id"])
    scored = zip(traces, open_scorer(server).score(traces), strict=True)
    for row, (trace, scores) in zip(rows, sorted(scored, key=lambda pair: pair[0].problem.id), strict=True):
        assert row["id"] == trace.problem.id and row["scores"] == pytest.approx(scores, abs=1e-5)


def test_two_jobs_with_one_output_and_a_shard_that_cannot_be_read(tmp_path: Path, tiny_prm: Path) -> None:
    out, pooled = tmp_path / "scores.jsonl", PoolSettings(actors=2)
    write_traces(tmp_path / "a.jsonl", chain_traces(20))
    with sole_writer(out, inside=False), pytest.raises(LockedError, match="is being written by"):
        score_file(tiny_prm, tmp_path / "a.jsonl", out=out, console=quiet(), pool=pooled)
    (tmp_path / "b.jsonl").write_bytes(b"{not json")
    with pytest.raises(DataError, match=r"b\.jsonl:1"):
        score_file(tiny_prm, tmp_path / "b.jsonl", out=out, console=quiet(), pool=pooled)
    assert not out.exists()


def test_the_content_of_a_model_folder_is_known_without_place_and_time(
    tiny_prm: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_prm, copy)
    os.utime(copy / "model.safetensors", (1, 1))
    assert model_content(copy) == model_content(tiny_prm)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_content(copy) != model_content(tiny_prm)


def test_without_ray_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")  # no environment for a cluster of its own
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"--engine ray needs ray: pip install 'sparring\[ray\]'"):
        RayPool(Doubling(tmp_path / "log"), PoolSettings())


# --- clusters ----------------------------------------------------------------------------------------------------------


def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(PoolError, match=r"no Ray cluster at '127\.0\.0\.1:1': Connection refused"):
        RayPool(int, PoolSettings(address="127.0.0.1:1"))._connect()


def test_errors_travel() -> None:
    error = pickle.loads(pickle.dumps(DataError("bad", file="f", line=3, field="x")))
    assert str(error) == "f:3: field 'x': bad"


def test_a_cluster_of_its_own_is_closed_to_others() -> None:
    """All its ports are on the loopback interface, and they ask for a token."""
    code = (
        "import os, signal, subprocess, sys\n"
        "from pool_workers import Doubling\n"
        "from pathlib import Path\n"
        "from sparring.pool import Item, PoolSettings\n"
        "from sparring.pool.ray_pool import RayPool\n"
        "before = signal.getsignal(signal.SIGTERM)\n"
        "with RayPool(Doubling(Path(os.devnull)), PoolSettings(actors=1)) as pool:\n"
        "    print([result for _, result in pool.map([[Item('a', 'a', 4)]])])\n"
        "    assert signal.getsignal(signal.SIGTERM) == before\n"
        "    import ray\n"
        "    print({node['NodeManagerAddress'] for node in ray.nodes()}, os.environ['RAY_AUTH_MODE'])\n"
        "    told = subprocess.run(['ps', '-eo', 'pid=,ppid='], capture_output=True, text=True).stdout\n"
        "    parents = dict(map(int, line.split()) for line in told.splitlines())\n"
        "    mine = {os.getpid()}\n"
        "    for _ in range(5):\n"
        "        mine |= {pid for pid, parent in parents.items() if parent in mine}\n"
        "    inodes = set()\n"
        "    for pid in mine:\n"
        "        try:\n"
        "            links = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]\n"
        "        except OSError:\n"
        "            continue\n"
        "        inodes |= {link[8:-1] for link in links if link.startswith('socket:[')}\n"
        "    rows = [l.split() for f in ('tcp', 'tcp6') for l in open(f'/proc/net/{f}').readlines()[1:]]\n"
        "    listening = [r[1].rpartition(':')[0] for r in rows if r[3] == '0A' and r[9] in inodes]\n"
        "    loopback = {'0100007F', '0000000000000000FFFF00000100007F', '00000000000000000000000001000000'}\n"
        "    print(len(listening) > 3, set(listening) <= loopback, set(listening))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "[8]" and lines[1] == "{'127.0.0.1'} token" and lines[2].startswith("True True"), lines
    assert "Traceback" not in ended.stderr


def alone_environment(**more: str) -> dict[str, str]:
    """An environment for a command that starts a cluster of its own, which finds out about lost nodes quickly."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    quick = {"initial_delay_ms": 0, "period_ms": 500, "timeout_ms": 2000, "failure_threshold": 3}
    checks = {f"RAY_health_check_{name}": str(value) for name, value in quick.items()}
    return kept | checks | {"OMP_NUM_THREADS": "1"} | more


def test_a_cluster_whose_only_node_dies_ends_the_command_which_goes_on(tmp_path: Path, server: str) -> None:
    data, out, alone = tmp_path / "traces.jsonl", tmp_path / "scores.jsonl", tmp_path / "alone.jsonl"
    write_traces(data, chain_traces(64 * 6))
    words = ["score", server, str(data), "--out", str(out), "--engine", "ray", "--pool", "actors=1"]
    program = [
        sys.executable,
        str(Path(__file__).parent / "killed_at.py"),
        "sparring.journals:Journal.add",
        "70",
    ]
    ended = subprocess.run(
        [*program, *words],
        env=alone_environment(KILLED_CHILD="raylet"), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    told = " ".join(ended.stderr.split())
    assert ended.returncode == 2, told
    assert (
        "the Ray cluster has no living node any more; what is finished is kept, and the same command" in told
    )
    finished = (tmp_path / "scores.jsonl.partial").read_text().splitlines()
    assert 70 <= len(finished) < 64 * 6 and not out.exists()
    score_file(server, data, out=out, console=quiet())
    score_file(server, data, out=alone, console=quiet())
    assert out.read_bytes() == alone.read_bytes()


def test_actors_that_no_node_can_have_are_refused_and_waited_for_where_nodes_may_join(
    cluster: Any, tmp_path: Path
) -> None:
    """By a cluster that somebody else runs, what is missing is told; nobody adds nodes to one of the command's own."""
    told: list[str] = []
    with RayPool[int, int](Doubling(tmp_path), PoolSettings(gpus_per_actor=1), tell=told.append) as workers:
        assert workers.share(100, 8) and workers.share(100, 8)
    why = "gpus_per_actor=1: no node of the cluster has a GPU"
    assert told == [f"waiting for a node that can have an actor: {why}"]
    told.clear()
    with RayPool[int, int](Doubling(tmp_path), PoolSettings(cpus_per_actor=3), tell=told.append) as workers:
        assert workers.share(100, 8)
        assert told[0].endswith("cpus_per_actor=3: no node of the cluster has more than 1 core")
        workers._local, workers._looked = True, None
        with pytest.raises(PoolError, match="cpus_per_actor=3"):
            results(workers, batches(8))
    write_traces(tmp_path / "traces.jsonl", chain_traces(6))
    words = [
        "score",
        "http://127.0.0.1:1",
        str(tmp_path / "traces.jsonl"),
        "--out",
        str(tmp_path / "scores.jsonl"),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "sparring", *words, "--engine", "ray", "--pool", "gpus_per_actor=1"],
        env=alone_environment(CUDA_VISIBLE_DEVICES=""), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2 and why in " ".join(ended.stderr.split()), ended.stderr
