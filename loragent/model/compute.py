"""The one thread of a process that computes, and the one beside it that loads.

Every thread that enters a parallel region of OpenMP gets a team of workers of its own, which stays. With more workers
than cores libgomp lets them sleep at once instead of waiting awake, and every one of the thousands of small products of
a step pays for waking them (seen on two cores: training takes nearly twice as long once another thread has computed).
So answering, scoring and training all compute here, one job after the other. Answers go first: a long job lets them
pass wherever it calls :func:`breathe`.

What is compiled for a product of one shape is kept, 0.6 MB each, by oneDNN and once more by torch; both keep up to a
thousand. A layer and its backward pass have some thirty, which the next layer finds again: the bound below costs no
time and saves more than 100 MB (docs/adr/0007).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

T = TypeVar("T")
_LOADER = "loragent-load"
KERNELS = "48"  # compiled products that are kept; fewer than a layer has would be compiled again in every layer
TURNS = 24  # urgent jobs that may pass one part of another job: with so many, 95 of 100 tokens don't wait for training
PATIENCE = 2e-3  # seconds in which one who was just served may ask again

for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # both are read at the first product
    os.environ.setdefault(_cache, KERNELS)


class _Worker:
    """A thread with two queues; no more than ``TURNS`` urgent jobs pass one that waits."""

    def __init__(self) -> None:
        self._asked = threading.Condition()
        self._urgent: deque[Callable[[], None]] = deque()
        self._others: deque[Callable[[], None]] = deque()
        self._passed = 0
        self._closed = False
        self.thread = threading.Thread(target=self._serve, name="loragent-compute", daemon=True)
        self.thread.start()
        atexit.register(self._close)  # torch aborts when a thread is inside it while Python goes down

    def ask(self, job: Callable[[], T], urgent: bool) -> Future[T]:
        """Queue a job."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # whoever waits gets it, be it an interrupt
                future.set_exception(error)

        with self._asked:
            if self._closed:
                raise RuntimeError("Python goes down: nothing computes any more")
            (self._urgent if urgent else self._others).append(run)
            self._asked.notify()
        return future

    def let_pass(self) -> None:
        """Run urgent jobs that wait, in the middle of another; called by that job."""
        if not self._urgent:
            return
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            for _ in range(TURNS):
                with self._asked:
                    if not self._asked.wait_for(lambda: self._urgent, PATIENCE):
                        return
                    run = self._urgent.popleft()
                run()

    def _serve(self) -> None:
        while (run := self._next()) is not None:
            run()
            del run  # and with it what the job held on to, while the next one is waited for

    def _close(self) -> None:
        with self._asked:
            self._closed = True
            self._asked.notify()
        self.thread.join()

    def _next(self) -> Callable[[], None] | None:
        with self._asked:
            self._asked.wait_for(lambda: self._urgent or self._others or self._closed)
            if self._closed:
                return None
            if self._urgent and (self._passed < TURNS or not self._others):
                self._passed += 1
                return self._urgent.popleft()
            self._passed = 0
            return self._others.popleft()


def compute(job: Callable[[], T], *, urgent: bool = False) -> T:
    """Run a job on the thread that computes, and wait for what it returns or raises.

    Jobs should be short (a step, not a run), since answers and training take turns. Thread-local state of torch
    (inference mode, autocast) has to be set within the job.

    Args:
        urgent: goes before jobs that are not, and in the middle of those that :func:`breathe`.
    """
    worker = _worker()
    if threading.current_thread() is worker.thread:
        return job()
    return worker.ask(job, urgent).result()


def breathe() -> None:
    """Let urgent jobs pass; to be called in a long job where it can be interrupted. Elsewhere it does nothing."""
    worker = _worker()
    if threading.current_thread() is worker.thread:
        worker.let_pass()


def aside(job: Callable[[], T]) -> T:
    """Run a job beside the thread that computes, on one that never starts a team, and wait for it: for loading."""
    if threading.current_thread().name.startswith(_LOADER):
        return job()
    if threading.current_thread() is _worker().thread:
        raise RuntimeError("what computes must not wait for what loads: load first, then compute")
    with _starting:
        loader = _loader()
    return loader.submit(job).result()


def _worker() -> _Worker:
    with _starting:
        return _the_worker()


@lru_cache(maxsize=1)
def _the_worker() -> _Worker:
    return _Worker()


@lru_cache(maxsize=1)
def _loader() -> ThreadPoolExecutor:
    def alone() -> None:
        team = torch.get_num_threads()  # which is also what sets it, on a thread that never asked
        torch.set_num_threads(1)  # of this thread; but threads to come would begin with it
        compute(lambda: torch.set_num_threads(team), urgent=True)

    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=_LOADER, initializer=alone)


def _forked() -> None:
    """A fork has none of its parent's threads, and a lock may have been held by one of them."""
    global _starting
    _starting = threading.Lock()
    if _the_worker.cache_info().currsize:
        atexit.unregister(_the_worker()._close)
    _the_worker.cache_clear()
    _loader.cache_clear()


_starting = threading.Lock()
os.register_at_fork(after_in_child=_forked)
