"""How much an engine takes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Bounds of a base's engine.

    Attributes:
        rows: that decode together.
        waiting: requests that wait at most; more are refused with :class:`EngineBusy`.
        plugin_bytes: of the weights of plugins in memory; what was used least recently goes first. A plugin of rank 8
            on all layers of the default base takes 10 MB in float32.
        prefix_bytes: of keys, values and hidden states of what ended rows have read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(default=32, ge=1)
    waiting: int = Field(default=1024, ge=1)
    plugin_bytes: int = Field(default=1 << 30, ge=0)
    prefix_bytes: int = Field(default=512 << 20, ge=0)
