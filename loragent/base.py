"""The shared base as users see it: weights, library, engine and trainer, wired in this one place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .core import GenerationRequest, Limits, Reply, RowScore, Teacher, ToolSchema, TrainingError, TrainingRow, Use
from .engine import Engine, fastest
from .engine import Sequence as Row
from .model import ChatTemplate, LoadedModel, compute, home, is_default, load_model, on_cuda
from .plugin import Library, Plugin, Shapes, load_weights
from .training import Fitted, Job, Step, TrainSettings, fit, fit_many


class Base:
    """One base model, in memory once, for every agent and every training run.

    Use :meth:`load`. Safe to call from any thread; answers of concurrent callers decode together.
    """

    def __init__(self, loaded: LoadedModel, library: Library, limits: Limits | None = None) -> None:
        self._loaded = loaded
        self.library = library
        self._shapes = loaded.linear_shapes()
        self._engine = Engine(loaded, library.resolve, limits)

    @classmethod
    def load(
        cls,
        source: str | Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        *,
        library: str | Path | Library | None = None,
        download: bool = False,
        limits: Limits | None = None,
    ) -> Base:
        """Load a base.

        Args:
            source: a causal LM folder or a hub id; by default SmolLM2-135M-Instruct, fetched at first use.
            device: by default CUDA where there is one.
            dtype: "float32", "bfloat16" or "int8"; by default bfloat16 on CUDA, on a CPU what computes the default base
                fastest there (docs/adr/0009), and float32 for any other base.
            library: where plugins are found by name; by default ``$LORAGENT_HOME/plugins``.
            download: allow a hub id to be fetched from the hub.
            limits: rows, requests and bytes that its engine may take.

        Raises:
            BaseModelError: it can't be found, fetched, verified or loaded.
        """
        if dtype is None and is_default(source) and not on_cuda(device):
            dtype = fastest()
        loaded = compute(lambda: load_model(source, device, dtype, download=download))
        known = library if isinstance(library, Library) else Library(library or home() / "plugins")
        return cls(loaded, known, limits)

    def __repr__(self) -> str:
        return f"Base({self.name}, {self._loaded.device}, {self._loaded.dtype}, {self.fingerprint})"

    # -- what it is --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model folder's name."""
        return self._loaded.name

    @property
    def path(self) -> Path:
        """A folder that stock transformers loads: the same weights, tokenizer and chat template."""
        return self._loaded.path

    @property
    def fingerprint(self) -> str:
        """Identifies the exact weights, configuration, tokenizer and chat template."""
        return self._loaded.fingerprint

    @property
    def template(self) -> ChatTemplate:
        """Messages to tokens and back."""
        return self._loaded.template

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may hold together."""
        return self._loaded.context_length

    @property
    def shapes(self) -> Shapes:
        """(out, in) of the linear layers that plugins may touch."""
        return self._shapes

    @property
    def embedding_size(self) -> int:
        """Parameters of the embedding, which the output head may share."""
        return int(self._loaded.model.get_input_embeddings().weight.numel())

    # -- answering ---------------------------------------------------------------------------------

    def generate(self, requests: Sequence[GenerationRequest] | GenerationRequest) -> list[Reply]:
        """Answer all requests, whatever their stacks, in one batch; replies in the requests' order.

        Raises:
            PluginNotFound, PluginRefused, ContextOverflow: about a request, before anything runs.
            EngineBusy: too many requests of others wait already.
            GenerationTimeout: one of the requests had a ``timeout``, which is over; the others are cancelled.
            GenerationError: a step failed.
        """
        several = [requests] if isinstance(requests, GenerationRequest) else list(requests)
        prepared = [self._engine.intake.prepare(request) for request in several]
        self._engine.enqueue(*prepared)
        with _cancelled_on_error(prepared):
            return [sequence.result() for sequence in prepared]

    async def agenerate(self, requests: Sequence[GenerationRequest]) -> list[Reply]:
        """:meth:`generate` for asyncio."""
        sequences = [self._engine.intake.prepare(request) for request in requests]
        self._engine.enqueue(*sequences)
        with _cancelled_on_error(sequences):
            return list(await asyncio.gather(*(asyncio.wrap_future(s.future) for s in sequences)))

    def stream(self, request: GenerationRequest) -> Iterator[str | Reply]:
        """Pieces of text as they are generated, then the reply. Leaving the loop early cancels the row."""
        sequence = self._engine.submit(request)
        yield from sequence.pieces()
        yield sequence.result()

    async def astream(self, request: GenerationRequest) -> AsyncIterator[str | Reply]:
        """:meth:`stream` for asyncio."""
        iterator, done = self.stream(request), object()
        while (item := await asyncio.to_thread(next, iterator, done)) is not done:
            yield item  # type: ignore[misc]

    def told(self, request: GenerationRequest) -> tuple[ToolSchema, ...]:
        """The tools that a request's prompt tells of: those that no plugin of its stack has learnt."""
        return self._engine.intake.told(request)

    def count_tokens(self, request: GenerationRequest) -> int:
        """Tokens of the rendered prompt."""
        return len(self.template.prompt_ids(request.messages, self.told(request)))

    # -- measuring and training --------------------------------------------------------------------

    def score(self, rows: Sequence[TrainingRow], stack: Sequence[str | Path | Use] = ()) -> list[RowScore]:
        """How likely the masked tokens of rows are under a stack."""
        return self._engine.score(rows, _uses(stack))

    def teach(self, rows: Sequence[TrainingRow], stack: Sequence[str | Path | Use] = ()) -> list[Teacher]:
        """The distributions at the masked tokens of rows, for distillation."""
        return self._engine.teach(rows, _uses(stack))

    def fit(
        self,
        rows: Sequence[TrainingRow],
        settings: TrainSettings,
        workdir: Path,
        *,
        start: Plugin | None = None,
        start_scale: float = 1.0,
        beneath: Sequence[str | Path | Use] = (),
        data_sha256: str = "",
        resume: bool = False,
        on_step: Callable[[Step], None] | None = None,
    ) -> Fitted:
        """Train a plugin on rows, on top of the plugins beneath it; see :func:`loragent.training.fit`. The base goes on
        answering meanwhile.

        Args:
            start_scale: of the plugin that it begins with.
        """
        weights = load_weights(start.path, self.shapes, start.manifest).at(start_scale) if start else None
        under = [(self.library.resolve(use.plugin), use.scale) for use in _uses(beneath)]
        mounted = "".join(f"{plugin.key}*{scale}" for plugin, scale in under)
        return fit(
            self._loaded,
            rows,
            settings,
            workdir,
            start=weights,
            beneath=[(load_weights(plugin.path, self.shapes, plugin.manifest), scale) for plugin, scale in under],
            data_sha256=f"{data_sha256}{f'{start.key}*{start_scale}' if start else ''}{mounted}",
            resume=resume,
            on_step=on_step,
        )

    def pin(self, entry: str | Path) -> None:
        """Keep a plugin in memory, whatever else is used, until :meth:`unpin` was called as often.

        Raises:
            PluginNotFound, PluginRefused: it can't be used.
        """
        self._engine.intake.pin(str(entry))

    def unpin(self, entry: str | Path) -> None:
        """Undo one :meth:`pin`; a plugin that is not pinned stays as it is."""
        self._engine.intake.unpin(str(entry))

    def fit_many(self, jobs: Sequence[Job]) -> list[Fitted | TrainingError]:
        """Train several plugins at once; see :func:`loragent.training.fit_many`. The base answers meanwhile."""
        return fit_many(self._loaded, jobs)

    def forget(self) -> None:
        """Forget what was read: keys and values of ended conversations, which those that begin alike would reuse."""
        self._engine.forget()

    def close(self) -> None:
        """Stop the engine; rows in flight end as cancelled."""
        self._engine.close()

    def __enter__(self) -> Base:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


@contextmanager
def _cancelled_on_error(sequences: Sequence[Row]) -> Iterator[None]:
    """A caller that is interrupted, or that one row fails, leaves no rows behind."""
    try:
        yield
    except BaseException:
        for sequence in sequences:
            sequence.cancelled.set()
        raise


def _uses(stack: Sequence[str | Path | Use]) -> list[Use]:
    return [entry if isinstance(entry, Use) else Use(entry) for entry in stack]
