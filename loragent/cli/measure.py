"""What benchmarks have in common: the memory of the process, and what machine it is."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

import torch


class Resident:
    """Peak growth of the process's resident memory, sampled ten times a second (Linux; 0 elsewhere)."""

    def __enter__(self) -> Resident:
        self._before = self._peak = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes."""
        return self._peak - self._before

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self._peak = max(self._peak, resident())


def resident() -> int:
    """Resident bytes of this process (Linux; 0 elsewhere)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def machine() -> str:
    """What the numbers were taken on."""
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{os.cpu_count()} cores {platform.machine()}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
