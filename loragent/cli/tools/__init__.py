"""``loragent bench tools``: calls on Snips, Seal-Tools and BFCL, and what the grammar costs."""

from .bench import bench_tools

__all__ = ["bench_tools"]
