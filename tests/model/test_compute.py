"""One thread computes; answers pass what takes long, and loading happens beside it."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from loragent.model import aside, breathe, compute
from loragent.model.compute import TURNS, _worker


def wait_for_urgent() -> None:
    """In a long job: hold it up until somebody has asked."""
    while not _worker()._urgent:
        time.sleep(1e-3)


def test_all_computes_on_one_thread_and_loads_on_another() -> None:
    def name() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: compute(name), range(32))) == {"loragent-compute"}
    assert compute(lambda: compute(name)) == "loragent-compute"
    assert aside(name) == aside(lambda: aside(name)) != "loragent-compute"
    assert aside(torch.get_num_threads) == 1
    assert compute(torch.get_num_threads) == torch.get_num_threads()


def test_errors_reach_whoever_asked() -> None:
    def fail() -> None:
        raise KeyError("mine")

    for place in (compute, aside):
        with pytest.raises(KeyError, match="mine"):
            place(fail)


def test_urgent_jobs_pass_a_long_one_where_it_breathes() -> None:
    order: list[str] = []
    begun = threading.Event()

    def long() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            begun.set()
            wait_for_urgent()
            order.append("first half")
            breathe()
            order.append("second half")

    def answer() -> None:
        order.append("answer")
        assert not torch.is_autocast_enabled("cpu")

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(compute, long)
        begun.wait()
        quick = pool.submit(compute, answer, urgent=True)
        slow.result()
        quick.result()
    assert order == ["first half", "answer", "second half"]


def test_a_long_job_is_passed_by_so_many_and_no_more() -> None:
    passed: list[int] = []

    def long() -> int:
        for _ in range(2 * TURNS):
            _worker().ask(lambda: passed.append(1), urgent=True)
        breathe()
        return len(passed)

    assert compute(long) == TURNS


def test_one_who_was_served_may_ask_again_before_a_long_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[_worker.__module__], "PATIENCE", 60)  # nobody waits that long
    passed: list[int] = []
    begun = threading.Event()

    def long() -> int:
        begun.set()
        wait_for_urgent()
        breathe()
        return len(passed)

    def asking() -> None:
        begun.wait()
        for _ in range(TURNS):
            compute(lambda: passed.append(1), urgent=True)

    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(asking)
        assert pool.submit(compute, long).result(10) == TURNS
        asked.result()


def test_what_computes_does_not_wait_for_what_loads() -> None:
    """In a process that has loaded nothing yet, it would wait for ever."""
    with pytest.raises(RuntimeError, match="load first"):
        compute(lambda: aside(lambda: None))


def test_breathing_elsewhere_does_nothing() -> None:
    breathe()
