"""``loragent bench tools``: calls on Snips, Seal-Tools and BFCL, and what the grammar costs."""

from .bench import ToolTests, bench_tools

__all__ = ["ToolTests", "bench_tools"]
