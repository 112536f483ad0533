"""llama.cpp, measured in a process of its own: ``python llama.py GGUF decode|read COUNT TOKENS TEXT``.

Of its own, since its workers and torch's would share the cores. Prints tokens a second: generated behind the first of
COUNT rows, greedily; or read, of a prompt of COUNT tokens.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

THREADS = 2


class Llama:
    """A context for some rows, through the C interface: its Python class knows one row alone."""

    def __init__(self, gguf: str, rows: int) -> None:
        self._c: Any = importlib.import_module("llama_cpp")
        self._c.llama_backend_init()
        self._quiet = self._c.llama_log_callback(lambda *_: None)
        self._c.llama_log_set(self._quiet, None)
        model = self._c.llama_model_load_from_file(gguf.encode(), self._c.llama_model_default_params())
        if not model:
            raise SystemExit(f"{gguf} is no model")
        settings = self._c.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = 1024 * rows, 2048, 2048
        settings.n_seq_max, settings.n_threads, settings.n_threads_batch = rows, THREADS, THREADS
        self._context = self._c.llama_init_from_model(model, settings)
        self._vocabulary = self._c.llama_model_get_vocab(model)
        self._words = self._c.llama_vocab_n_tokens(self._vocabulary)
        self._batch = self._c.llama_batch_init(2048, 0, 1)

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text."""
        found = (self._c.llama_token * 4096)()
        raw = text.encode()
        count = self._c.llama_tokenize(self._vocabulary, raw, len(raw), found, 4096, True, True)
        return list(found[:count])

    def step(self, tokens: list[list[int]], at: int) -> list[int]:
        """Read the next tokens of each row, from position ``at`` on; returns each row's likeliest next."""
        n, last = 0, []
        for row, ids in enumerate(tokens):
            for i, token in enumerate(ids):
                self._batch.token[n], self._batch.pos[n] = token, at + i
                self._batch.n_seq_id[n], self._batch.seq_id[n][0] = 1, row
                self._batch.logits[n] = i == len(ids) - 1
                n += 1
            last.append(n - 1)
        self._batch.n_tokens = n
        if self._c.llama_decode(self._context, self._batch):
            raise SystemExit("llama_decode failed")
        return [self._likeliest(i) for i in last]

    def _likeliest(self, at: int) -> int:
        import numpy as np

        logits = self._c.llama_get_logits_ith(self._context, at)
        return int(np.ctypeslib.as_array(logits, shape=(self._words,)).argmax())


def main(gguf: str, what: str, count: str, tokens: str, text: str) -> None:
    """Measure and print."""
    if what == "read":
        llama = Llama(gguf, 1)
        ids = (llama.tokens(text) * 1000)[: int(count)]
        llama.step([ids[:16]], 0)  # warm
        began = time.perf_counter()
        llama.step([ids], 16)
        print(json.dumps(len(ids) / (time.perf_counter() - began)))
        return
    rows = int(count)
    llama = Llama(gguf, rows)
    ids = llama.tokens(text)
    found = llama.step([ids] * rows, 0)
    began = time.perf_counter()
    for n in range(int(tokens) - 1):
        found = llama.step([[token] for token in found], len(ids) + n)
    print(json.dumps(rows * (int(tokens) - 1) / (time.perf_counter() - began)))


if __name__ == "__main__":
    main(*sys.argv[1:])
