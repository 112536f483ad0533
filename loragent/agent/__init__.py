"""Agents and sessions of several agents."""

from .agent import Agent
from .session import Entry, Session, SessionResult

__all__ = ["Agent", "Entry", "Session", "SessionResult"]
