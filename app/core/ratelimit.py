"""Rate limits per user, per API key and per address, in memory, by the generic cell rate algorithm.

Each process counts for itself: N workers allow up to N times the limit. That is decided in
docs/decisions/ (a shared count would cost every request a round trip); what must be exact (attempts to log in) is
counted in the database. Memory is bounded: at most ``MAX_KEYS`` callers are remembered, the longest unseen go first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable

MAX_KEYS = 100_000
BURST_SECONDS = 10.0


class RateLimiter:
    """Allows ``per_minute`` events a minute for each key, of which ``burst`` may come at once.

    State is one float per key: the time at which the key would be fully rested (its theoretical arrival time).
    Two generations of dicts bound the memory: when the young one is full the old one is dropped.
    """

    def __init__(self, per_minute: int, burst: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._burst = burst or max(1, math.ceil(per_minute / 60 * BURST_SECONDS))
        self._clock = clock
        self._young: dict[Hashable, float] = {}
        self._old: dict[Hashable, float] = {}

    def hit(self, key: Hashable, per_minute: int | None = None) -> float:
        """Count one event of this key. 0 when it is allowed, else the seconds to wait (and it is not counted)."""
        if per_minute is None:
            per_minute, burst = self.per_minute, self._burst
        else:
            burst = max(1, math.ceil(per_minute / 60 * BURST_SECONDS))
        interval = 60.0 / per_minute
        now = self._clock()
        young = self._young
        rested = young.get(key)
        if rested is None:
            rested = self._old.get(key, now)
        if rested < now:
            rested = now
        wait = rested - now - (burst - 1) * interval
        if wait > 1e-9:
            return wait
        if len(young) >= MAX_KEYS // 2 and key not in young:
            self._old, self._young = young, {}
            young = self._young
        young[key] = rested + interval
        return 0.0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Allowance:
    """The same for one caller alone: so many a second, of which ``at_once`` may come together."""

    __slots__ = ("_per_second", "_at_once", "_left", "_at")

    def __init__(self, per_second: float, at_once: float) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._left = at_once
        self._at = time.monotonic()

    def take(self) -> bool:
        """Count one. False: it is one too many, and not counted."""
        at = time.monotonic()
        self._left = min(self._at_once, self._left + (at - self._at) * self._per_second)
        self._at = at
        if self._left < 1:
            return False
        self._left -= 1
        return True


class RateLimits:
    """The limits of one application: signed-in callers, addresses that are not signed in, and sign-in itself."""

    def __init__(self, per_minute: int, auth_per_minute: int) -> None:
        self.caller = RateLimiter(per_minute)
        self.address = RateLimiter(per_minute)
        self.sign_in = RateLimiter(auth_per_minute, burst=auth_per_minute)
