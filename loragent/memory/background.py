"""Nights that begin by themselves, beside whatever the memory is asked meanwhile."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

from ..core import LoragentError


class Sleeper:
    """Sleeps in a thread of its own whenever it is woken, one night at a time.

    Args:
        night: what is to be done; an error is a warning, and the next waking tries again.
    """

    def __init__(self, night: Callable[[], object]) -> None:
        self._night = night
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Begin a night, if none is under way."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="loragent-night", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Return when no night is under way."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._night()
        except LoragentError as error:
            warnings.warn(f"a night in the background failed: {error}", stacklevel=1)
