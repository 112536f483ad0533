"""Training settings, with defaults that work on 70 dialogues without touching a knob."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core import TrainingError


class TrainSettings(BaseModel):
    """How a plugin is trained.

    Attributes:
        rank, alpha: of the update ``alpha / rank * B A``.
        layers: LoRA on the linear layers of the top that many decoder layers; 0 is all. What lies below is
            computed once and reused every epoch.
        learning_rate: peak; warm-up, then cosine decay to zero.
        epochs: passes over the rows; by default 2 from a plugin to start with, 5 from fresh adapters.
        batch_rows: rows an optimiser step.
        micro_tokens: padded tokens a forward pass; bounds memory, not results. By default what suits the device.
        max_tokens: longer rows are cut behind the last whole answer that fits.
        dropout: on the input of A.
        validation: share of the rows that is held out to pick the best epoch; 0 holds out none.
        patience: epochs without a better validation score before the run stops.
        known: loss, in nats a token, below which a row is known, and the next ones that teach the same (its group) are
            passed over; 0 passes over none.
        seed: of initialisation, split, order and dropout.
        variant: the adapter type.
        start: the plugin to continue from (a name, name@version or folder, of the same base; of another rank or on
            other layers, what fits is taken over); "auto" is the shipped starter, "none" begins with fresh adapters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1, le=256)
    alpha: float = Field(default=32, gt=0)
    layers: int = Field(default=20, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    epochs: int | None = Field(default=None, ge=1)
    batch_rows: int = Field(default=4, ge=1)
    micro_tokens: int | None = Field(default=None, ge=64)
    max_tokens: int = Field(default=2048, ge=16)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    validation: float = Field(default=0.08, ge=0, lt=0.5)
    patience: int = Field(default=3, ge=1)
    known: float = Field(default=0.0, ge=0)
    seed: int = 13
    variant: Literal["lora", "rslora"] = "lora"
    start: str = "auto"

    @classmethod
    def parse(cls, values: dict[str, Any], place: str = "settings") -> TrainSettings:
        """From a user's table.

        Raises:
            TrainingError: naming the field.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(p) for p in first["loc"])
            known = ", ".join(cls.model_fields)
            raise TrainingError(f"{place}, {field}: {first['msg']}", f"the settings are {known}") from error

    def passes(self, *, started: bool) -> int:
        """Epochs of a run that begins with a plugin's matrices (``started``) or with fresh adapters."""
        return self.epochs or (2 if started else 5)

    def digest(self) -> str:
        """Changes when any setting does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
