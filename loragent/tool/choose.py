"""Which plugin calls an agent's tools: one that has learnt exactly them, else one that reads schemas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core import ToolSchema
from ..plugin import Plugin


@dataclass(frozen=True, slots=True)
class Choice:
    """A plugin for a set of tools.

    Attributes:
        plugin: None if there is none for them.
        why: for people, where tools changed or their schemas are read.
    """

    plugin: Plugin | None
    why: str = ""


def plugin_for(tools: Sequence[ToolSchema], plugins: Iterable[Plugin], base: str) -> Choice:
    """Choose among the tool plugins of a base.

    Args:
        tools: an agent's.
        plugins: all that are known.
        base: the base's fingerprint; plugins of another are left out.
    """
    fitting = [p for p in plugins if p.manifest.kind == "tool" and p.manifest.base == base]
    wanted = {tool.name: tool.digest for tool in tools}
    taught = [p for p in fitting if p.manifest.tools]
    exact = [p for p in taught if wanted.items() <= p.manifest.tools.items()]
    if exact:
        return Choice(min(exact, key=lambda p: (len(p.manifest.tools), p.name)))  # what was taught least else
    reader = next((p for p in fitting if not p.manifest.tools), None)
    nearest = max(taught, key=lambda p: len(wanted.keys() & p.manifest.tools.keys()), default=None)
    changed = [n for n, d in wanted.items() if nearest is not None and nearest.manifest.tools.get(n, d) != d]
    if changed and nearest is not None:
        by = f"{reader} reads their schemas" if reader else "the prompt tells of them"
        return Choice(reader, f"{', '.join(changed)} changed since {nearest} was trained: {by}")
    return Choice(reader, f"no plugin has learnt {', '.join(wanted)}: {reader} reads their schemas" if reader else "")
