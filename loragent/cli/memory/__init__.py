"""The benchmark of memory: an invented world that can't be guessed, and what is remembered of it."""

from .bench import Setup, bench_memory

__all__ = ["Setup", "bench_memory"]
