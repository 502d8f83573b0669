"""Python's cyclic garbage collector, set for a server process.

A full collection walks every object that is tracked; those of the imported modules and the routes live as long as the
process, and walking them took 30 to 40 ms, several times a second under load: the slowest percent of all requests
(docs/performance.md).
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 10_000
"""Objects that must come to be before the youngest are collected: some hundred requests' worth, not five."""


def settle() -> None:
    """Collect once, then leave everything that is there now out of later collections. Call it when the app is made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)
