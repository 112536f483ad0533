"""``loragent bench engine``: every ratio of the engine's table, measured side by side in one run."""
