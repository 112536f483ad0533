"""Roles: their folders, and their data on the road to a plugin."""

from .distil import PromptCurriculum
from .scenes import scenes
from .spec import RoleSpec, load_role, write_role
from .train import train_role

__all__ = ["PromptCurriculum", "RoleSpec", "load_role", "scenes", "train_role", "write_role"]
