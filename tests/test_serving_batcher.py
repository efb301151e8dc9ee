"""Batches across requests: shared passes, bounds, deadlines, failures that stay with the one who caused them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.serving.batcher import Batcher, QueueFull, TooLate, WorkerLost, WorkFailed


def soon() -> float:
    return time.monotonic() + 30


class Doubler:
    """Doubles numbers; waits at a gate, fails at negative ones, and notes its batches."""

    def __init__(self, *, shut: bool = False) -> None:
        self.gate, self.entered, self.batches = threading.Event(), threading.Event(), list[list[int]]()
        if not shut:
            self.gate.set()

    def __call__(self, works: Sequence[int]) -> list[int]:
        self.entered.set()
        self.gate.wait(30)
        self.batches.append(list(works))
        if any(one < 0 for one in works):
            raise ValueError("negative")
        return [2 * one for one in works]


def batcher(compute: Doubler, *, batch_tokens: int = 100, queue_tokens: int = 1000) -> Batcher:
    return Batcher("test", {"double": compute}, batch_tokens=batch_tokens, queue_tokens=queue_tokens)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 60)), min_size=1), min_size=1, max_size=6)
)
def test_every_request_gets_its_own_results_in_order(requests):
    work = batcher(Doubler(), queue_tokens=10**9)
    tickets = [work.submit("double", [n for n, _ in one], [t for _, t in one], soon()) for one in requests]
    assert [ticket.result() for ticket in tickets] == [[2 * n for n, _ in one] for one in requests]
    work.close()
    assert work.waiting_tokens == 0


def test_what_waits_shares_a_batch_and_lengths_do_not_mix():
    compute = Doubler(shut=True)
    work = batcher(compute)
    first = work.submit("double", [0], [10], soon())
    compute.entered.wait(30)
    others = [work.submit("double", [n], [10 if n % 2 else 50], soon()) for n in range(1, 7)]
    compute.gate.set()
    assert [ticket.result() for ticket in [first, *others]] == [[2 * n] for n in range(7)]
    assert compute.batches == [[0], [2, 4], [6], [1, 3, 5]]
    work.close()


def test_a_full_queue_refuses_whole_requests_and_says_when_to_come_again():
    compute = Doubler(shut=True)
    work = batcher(compute, queue_tokens=100)
    first = work.submit("double", [1, 2], [30, 30], soon())
    with pytest.raises(QueueFull) as refused:
        work.submit("double", [3, 4], [30, 30], soon())
    assert 1 <= refused.value.retry_after <= 60
    second = work.submit("double", [5], [40], soon())
    compute.gate.set()
    assert first.result() == [2, 4]
    assert second.result() == [10]
    assert work.submit("double", [7], [5000], soon()).result() == [14], "an empty queue takes any request"
    work.close()


def test_one_bad_job_does_not_take_its_neighbours_with_it():
    compute = Doubler(shut=True)
    errors: list[BaseException] = []
    work = batcher(compute)
    work.on_error = errors.append
    first = work.submit("double", [0], [1], soon())
    compute.entered.wait(30)
    tickets = [work.submit("double", numbers, [1, 1], soon()) for numbers in ([1, 2], [3, -4], [5, 6])]
    compute.gate.set()
    assert first.result() == [0]
    assert tickets[0].result() == [2, 4]
    assert tickets[2].result() == [10, 12]
    with pytest.raises(WorkFailed) as failed:
        tickets[1].result()
    assert isinstance(failed.value.__cause__, ValueError)
    assert [str(error) for error in errors] == ["negative"]
    work.close()


def test_a_worker_that_is_lost_answers_everybody_and_starts_again(monkeypatch):
    compute = Doubler(shut=True)
    work = batcher(compute)
    first = work.submit("double", [1], [1], soon())
    compute.entered.wait(30)
    second = work.submit("double", [2], [1], soon())

    def dies(works: Sequence[int]) -> list[int]:
        compute.gate.wait(30)
        raise SystemExit("as a thread that is killed")

    compute.gate.set()
    assert first.result() == [2] and second.result() == [4]
    monkeypatch.setitem(work.compute, "double", dies)
    compute.gate.clear()
    lost = [work.submit("double", [n], [1], soon()) for n in range(3)]
    compute.gate.set()
    for ticket in lost:
        with pytest.raises(WorkerLost):
            ticket.result()
    assert work.waiting_tokens == 0
    monkeypatch.setitem(work.compute, "double", compute)
    assert work.submit("double", [4], [1], soon()).result() == [8]
    assert work.restarts >= 1
    work.close()


def test_what_nobody_waits_for_is_not_computed():
    compute = Doubler(shut=True)
    work = batcher(compute)
    first = work.submit("double", [1], [1], soon())
    compute.entered.wait(30)
    left = work.submit("double", [2], [1], soon())
    late = work.submit("double", [3], [1], time.monotonic() + 0.01)
    assert left.future.cancel()
    with pytest.raises(TooLate):
        late.result()
    compute.gate.set()
    assert first.result() == [2]
    work.close()
    assert compute.batches == [[1]]


def test_closing_finishes_what_was_accepted_and_takes_nothing_more():
    compute = Doubler(shut=True)
    work = batcher(compute)
    tickets = [work.submit("double", [n], [60], soon()) for n in range(5)]
    closing = threading.Thread(target=work.close)
    closing.start()
    while not work.closed:
        time.sleep(0.001)
    with pytest.raises(WorkerLost):
        work.submit("double", [9], [1], soon())
    compute.gate.set()
    closing.join(30)
    assert [ticket.result() for ticket in tickets] == [[2 * n] for n in range(5)]


def test_a_worker_that_hangs_does_not_keep_the_server_from_stopping():
    compute = Doubler(shut=True)
    work = batcher(compute)
    ticket = work.submit("double", [1], [1], soon())
    compute.entered.wait(30)
    while not work.busy_seconds:
        time.sleep(0.001)
    work.close(seconds=0.01)
    with pytest.raises(WorkerLost):
        ticket.result()
    compute.gate.set()


@pytest.mark.parametrize(
    ("work_item", "seconds"), [(1, 30), (-1, 30), (1, -1)], ids=["done", "failed", "late"]
)
def test_who_has_an_answer_is_no_longer_counted_as_waiting(work_item, seconds):
    compute = Doubler(shut=True)
    work = batcher(compute)
    work.submit("double", [0], [10], soon())
    compute.entered.wait(30)
    ticket = work.submit("double", [work_item], [20], time.monotonic() + seconds)
    seen: list[int] = []
    # In the worker, at the answer
    ticket.future.add_done_callback(lambda _: seen.append(work.waiting_tokens))
    compute.gate.set()
    work.close()
    assert seen == [0]
