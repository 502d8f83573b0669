"""A channel that somebody here follows: its newest events, and the sockets that get the next ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import md5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.realtime.sockets import Socket

RECENT_EVENTS = 128
RECENT_BYTES = 64 * 1024
"""How much of a channel is remembered for who comes back after a moment."""


class Channel:
    """``seq`` is the last event that was read here. Who is in ``live`` has been sent everything up to it."""

    __slots__ = ("name", "mark", "seq", "live", "followers", "_recent", "_bytes")

    def __init__(self, name: str, seq: int) -> None:
        self.name = name
        self.mark = mark_of(name)
        self.seq = seq
        self.live: dict[Socket, None] = {}
        self.followers = 0
        self._recent: deque[bytes] = deque()
        self._bytes = 0

    def add(self, encoded: Sequence[bytes]) -> None:
        """The next events."""
        self.seq += len(encoded)
        self._recent.extend(encoded)
        self._bytes += sum(map(len, encoded))
        while len(self._recent) > RECENT_EVENTS or self._bytes > RECENT_BYTES:
            self._bytes -= len(self._recent.popleft())

    def after(self, seq: int) -> list[bytes] | None:
        """The events above ``seq`` up to the last one, if all of them are remembered."""
        missing = self.seq - seq
        if missing > len(self._recent):
            return None
        return list(self._recent)[len(self._recent) - missing :]


def mark_of(name: str) -> str:
    """What a hint calls the channel (api.relay_events)."""
    return md5(name.encode(), usedforsecurity=False).hexdigest()[:8]
