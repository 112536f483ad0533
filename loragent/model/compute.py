"""The one thread of a process that computes.

Every thread that enters a parallel region of OpenMP gets a team of workers of its own, which stays. With more workers
than cores libgomp lets them sleep at once instead of waiting awake, and every one of the thousands of small products of
a step pays for waking them (seen on two cores: training takes nearly twice as long once another thread has computed).
So answering, scoring and training all compute here, one job after the other in the order of asking.

What is compiled for a product of one shape is kept, 0.6 MB each, by oneDNN and once more by torch; both keep up to a
thousand. A layer and its backward pass have some thirty, which the next layer finds again: the bound below costs no
time and saves more than 100 MB (docs/adr/0007).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
_NAME = "loragent-compute"
KERNELS = "48"  # compiled products that are kept; fewer than a layer has would be compiled again in every layer

for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # both are read at the first product
    os.environ.setdefault(_cache, KERNELS)


def compute(job: Callable[[], T]) -> T:
    """Run a job on the thread that computes, and wait for what it returns or raises.

    Jobs should be short (a step, not a run), since answers and training take turns. Thread-local state of torch
    (inference mode, autocast) has to be set within the job.
    """
    if threading.current_thread().name.startswith(_NAME):
        return job()
    return _pool().submit(job).result()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=_NAME)


os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has none of its parent's threads
