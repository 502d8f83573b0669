"""Calls and what they cost in plain Python, with whole seconds: which the database is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BLOCK = 30
LIMIT = 40
"""Blocks a call, at most."""
GRACE = 128
RINGING = 48
COOLDOWN = 33
"""Odd ones: times in the test are multiples of 5, so nothing happens within two seconds of a limit."""


class Refused(Exception):
    """What a call is refused with."""


@dataclass
class Call:
    """One call; ``blocks`` were paid and not given back."""

    fan: str
    creator: str
    price: int
    opened: int
    seen: dict[str, int]
    status: str = "ringing"
    reason: str | None = None
    active: int = 0
    running: int | None = None
    blocks: int = 0
    ended: int = 0
    pauses: int = 0

    @property
    def over(self) -> bool:
        return self.status in ("ended", "declined", "missed")


@dataclass
class Exchange:
    """Everybody's tokens, prices and calls."""

    balances: dict[str, int]
    prices: dict[str, int]
    now: int = 0
    calls: list[Call] = field(default_factory=list)
    given_back: int = 0

    def open(self, fan: str, creator: str) -> Call:
        """Call somebody."""
        busy = {name for call in self.calls if not call.over for name in (call.fan, call.creator)}
        lately = [
            call.ended
            for call in self.calls
            if (call.fan, call.creator) == (fan, creator) and call.status in ("declined", "missed")
        ]
        if fan in busy:
            raise Refused("CALL_IN_PROGRESS")
        if creator in busy:
            raise Refused("CREATOR_BUSY")
        if lately and max(lately) + COOLDOWN > self.now:
            raise Refused("CALL_COOLDOWN")
        if self.balances[fan] < self.prices[creator]:
            raise Refused("INSUFFICIENT_TOKENS")
        self.calls.append(Call(fan, creator, self.prices[creator], self.now, {fan: self.now}))
        return self.calls[-1]

    def accept(self, call: Call) -> None:
        """The creator answers."""
        if call.over:
            raise Refused("CALL_ENDED")
        if call.status == "ringing":
            if self.now < call.opened + RINGING:
                call.status, call.running = "active", self.now
                call.seen = {call.fan: self.now, call.creator: self.now}
            self.settle(call)

    def decline(self, call: Call) -> None:
        """The creator does not."""
        if call.status == "ringing":
            self._end(call, "declined", self.now, "declined")
        elif not call.over:
            raise Refused("CALL_NOT_RINGING")
        elif call.status != "declined":
            raise Refused("CALL_ENDED")

    def pause(self, call: Call, who: str) -> None:
        """The clock stops."""
        self._goes_on(call)
        self.settle(call, closing=True)
        if not call.over:
            call.seen[who] = self.now
            if call.running is not None:
                call.active += self.now - call.running
                call.status, call.running = "paused", None
                call.pauses += 1

    def resume(self, call: Call, who: str) -> None:
        """The clock runs."""
        self._goes_on(call)
        self.settle(call, closing=True)
        if not call.over:
            call.seen[who] = self.now
            if call.running is None:
                call.status, call.running = "active", self.now
                self.settle(call)

    def stop(self, call: Call, who: str) -> None:
        """It is over."""
        if call.over:
            return
        self.settle(call, closing=True)
        if call.status == "ringing":
            missed = who == call.fan
            self._end(call, "cancelled" if missed else "declined", self.now, "missed" if missed else "declined")
        elif not call.over:
            if call.running is not None:
                call.active += self.now - call.running
            self._end(call, "stopped", self.now)

    def beat(self, call: Call, who: str) -> None:
        """A sign of life."""
        if not call.over and (call.status == "ringing" or not self._lost(call)):
            call.seen[who] = self.now

    def sweep(self) -> None:
        """The scheduler's turn."""
        for call in self.calls:
            if not call.over:
                self.settle(call)

    def settle(self, call: Call, closing: bool = False) -> None:
        """Pay what has begun, give back what nobody was there for, end what is over."""
        if call.status == "ringing":
            if self.now >= call.opened + RINGING:
                self._end(call, "no_answer", call.opened + RINGING, "missed")
            return
        lost = self._lost(call)
        until = max(call.seen.values()) if lost else self.now
        active = call.active + (0 if call.running is None else max(0, until - call.running))
        if call.running is None:
            begun = call.blocks
        elif closing and not lost:
            begun = min(math.ceil(active / BLOCK), LIMIT)
        else:
            begun = min(active // BLOCK + 1, LIMIT)
        if lost and call.blocks > begun:
            self._move(call.creator, call.fan, (call.blocks - begun) * call.price)
            self.given_back += call.blocks - begun
            call.blocks = begun
        while call.blocks < begun:
            if self.balances[call.fan] < call.price:
                call.active = min(active, call.blocks * BLOCK)
                self._end(call, "insufficient_tokens", until)
                return
            self._move(call.fan, call.creator, call.price)
            call.blocks += 1
        if lost:
            call.active = active
            self._end(call, "not_seen", until)
        elif active >= LIMIT * BLOCK:
            call.active = LIMIT * BLOCK
            self._end(call, "time_limit", until)

    def _lost(self, call: Call) -> bool:
        return self.now - max(call.seen.values()) >= GRACE

    def _goes_on(self, call: Call) -> None:
        if call.over:
            raise Refused("CALL_ENDED")
        if call.status == "ringing":
            raise Refused("CALL_NOT_ACTIVE")

    def _move(self, payer: str, payee: str, amount: int) -> None:
        self.balances[payer] -= amount
        self.balances[payee] += amount

    def _end(self, call: Call, reason: str, at: int, status: str = "ended") -> None:
        call.status, call.reason, call.ended, call.running = status, reason, at, None
