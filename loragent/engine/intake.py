"""From a request to a row: its tokens, its plugins in memory, and the form that its answer has to keep to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ..core import ContextOverflow, GenerationRequest, Limits, Mounted, ToolSchema, Use
from ..model import LoadedModel
from ..plugin import Plugin
from .grammars import Grammars
from .lora import Mount
from .runner import Runner
from .sequence import Sequence as Row
from .slots import Slots


class Intake:
    """What happens to a request on its caller's thread; safe to call from any.

    Args:
        loaded: the shared base.
        resolve: finds a plugin by what a stack entry names.
        runner: which the rows are for.
        limits: how many bytes of plugins are kept.
    """

    def __init__(self, loaded: LoadedModel, resolve: Callable[[str], Plugin], runner: Runner, limits: Limits) -> None:
        self._loaded, self._resolve, self._runner = loaded, resolve, runner
        self._slots = Slots(loaded.linear_shapes(), loaded.fingerprint, runner.arrange, limits.plugin_bytes)
        self._grammars = Grammars(loaded)
        self._pinned: dict[str, list[Plugin]] = {}
        self._lock = threading.Lock()

    def prepare(self, request: GenerationRequest) -> Row:
        """Tokenise a request, bring its plugins into memory, and compile its grammar.

        Raises:
            PluginNotFound, PluginRefused: an entry of the stack can't be used.
            ContextOverflow: prompt and answer don't fit.
            ToolRefused: a tool's schema can't be kept to.
        """
        asked = time.perf_counter()
        plugins = [self._resolve(use.plugin) for use in request.stack]
        template, told = self._loaded.template, _told(request, plugins)
        prompt = template.prompt_ids(request.messages, told)
        needed, limit = len(prompt) + request.max_tokens, self._loaded.context_length
        if needed > limit:
            raise ContextOverflow(needed, limit)
        constraint = self._grammars.constraint(request, (name for p in plugins for name in p.manifest.tools))
        entries = [
            self._mounted(use, plugin, template.tokens_before(request.messages, use.after, told))
            for use, plugin in zip(request.stack, plugins, strict=True)
        ]
        return Row(
            request,
            prompt,
            tuple(mount for mount, _ in entries),
            tuple(m for _, m in entries),
            template,
            floor=self._runner.floor(mount for mount, _ in entries),
            asked=asked,
            constraint=constraint,
            told=tuple(tool.name for tool in told),
        )

    def told(self, request: GenerationRequest) -> tuple[ToolSchema, ...]:
        """The tools whose schemas the prompt needs: those that may be called and that no plugin of the stack knows."""
        return _told(request, [self._resolve(use.plugin) for use in request.stack]) if request.callable else ()

    def mount(self, use: Use) -> tuple[Mount, Mounted]:
        """A plugin in memory, and what a reply says of it."""
        return self._mounted(use, self._resolve(use.plugin), 0)

    def _mounted(self, use: Use, plugin: Plugin, start: int) -> tuple[Mount, Mounted]:
        """It applies from the token ``start`` on."""
        mounted = Mounted(plugin.name, plugin.version, use.scale, plugin.manifest.sha256)
        return Mount(plugin.key, self._slots.get(plugin), use.scale, start), mounted

    def pin(self, entry: str) -> None:
        """Keep a plugin in memory; see :meth:`loragent.engine.slots.Slots.pin`."""
        plugin = self._resolve(entry)
        self._slots.pin(plugin)
        with self._lock:
            self._pinned.setdefault(entry, []).append(plugin)

    def unpin(self, entry: str) -> None:
        """Undo the latest :meth:`pin` of that entry, whatever its version in use is by now."""
        with self._lock:
            plugins = self._pinned.get(entry)
            plugin = plugins.pop() if plugins else None
        if plugin is not None:
            self._slots.unpin(plugin)


def _told(request: GenerationRequest, plugins: Sequence[Plugin]) -> tuple[ToolSchema, ...]:
    known = {(name, digest) for plugin in plugins for name, digest in plugin.manifest.tools.items()}
    return tuple(tool for tool in request.callable if (tool.name, tool.digest) not in known)
