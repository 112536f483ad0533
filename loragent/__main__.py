"""``python -m loragent``."""

from .cli import main

main()
