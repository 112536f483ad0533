"""Giving freed memory back to the system during training."""

from __future__ import annotations

import ctypes
import sys


def release_freed() -> None:
    """Ask the C library to return what it holds on to; glibc keeps large freed blocks otherwise."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # musl has none
            libc.malloc_trim(0)
