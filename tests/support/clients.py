"""Both realtime clients behind one face, so that the same is asked of both: Python's here, JavaScript's in a browser.

Each keeps what it was told as a list: ["event", channel, seq, data], ["reset", channel, seq],
["revoked", channel, error], ["presence", channel, viewers], ["state", state, why].
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from app.realtime.client import Event, Position, Presence, RealtimeClient, RealtimeError, Reset, Revoked
from tests.support.browser import Browser, Page

SECONDS = 30
PAUSE, LONGEST_PAUSE, OPEN, SILENCE = 0.05, 0.4, 1.0, 1.5
"""Seconds, instead of the 1, 30, 10 and 45 of the real world."""
Entry = list[Any]


class Subject(Protocol):
    """A client under test."""

    async def subscribe(self, channel: str, epoch: str | None = None, seq: int = 0) -> None:
        """Follow a channel; from a position, when an epoch is given."""

    async def unsubscribe(self, channel: str) -> None:
        """Follow it no more."""

    async def presence(self, channel: str, leave: bool = False) -> None:
        """Be there, or go."""

    async def told(self) -> list[Entry]:
        """All it was told until now."""

    async def fail_tickets(self, number: int) -> None:
        """The next times it cannot find out what to say who it is."""

    async def close(self) -> None:
        """End it."""


async def eventually(condition: Callable[[], object]) -> None:
    """Return once something is so."""
    for _ in range(int(SECONDS / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come to that")


async def until(subject: Subject, condition: Callable[[list[Entry]], object]) -> list[Entry]:
    """What it was told, once that is as the condition says."""
    told: list[Entry] = []
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                told = await subject.told()
                if condition(told):
                    return told
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it does not come to that: {told}") from None


def numbers(told: list[Entry], channel: str) -> list[int]:
    """The numbers of the events of a channel, as they came."""
    return [entry[2] for entry in told if entry[0] == "event" and entry[1] == channel]


def of(told: list[Entry], kind: str) -> list[Entry]:
    """The entries of one kind."""
    return [entry[1:] for entry in told if entry[0] == kind]


class PythonSubject:
    """RealtimeClient in a task of its own."""

    def __init__(self, url: str) -> None:
        self._told: list[Entry] = []
        self._tokens = 0
        self._failures = 0
        self.client = RealtimeClient(
            url,
            self._token,
            pause_seconds=(PAUSE, LONGEST_PAUSE),
            open_seconds=OPEN,
            silence_seconds=SILENCE,
            on_state=lambda state, why: self._told.append(["state", state, why]),
        )
        self._task = asyncio.create_task(self._listen())

    async def _token(self) -> str:
        if self._failures:
            self._failures -= 1
            raise OSError("no way to get one")
        self._tokens += 1
        return f"t{self._tokens}"

    async def _listen(self) -> None:
        with suppress(RealtimeError):  # `closed` says why
            async for message in self.client:
                match message:
                    case Event():
                        self._told.append(["event", message.channel, message.seq, message.data])
                    case Reset():
                        self._told.append(["reset", message.channel, message.seq])
                    case Revoked():
                        self._told.append(["revoked", message.channel, message.error])
                    case Presence():
                        self._told.append(["presence", message.channel, message.viewers])

    async def subscribe(self, channel: str, epoch: str | None = None, seq: int = 0) -> None:
        await self.client.subscribe(channel, None if epoch is None else Position(epoch, seq))

    async def unsubscribe(self, channel: str) -> None:
        await self.client.unsubscribe(channel)

    async def presence(self, channel: str, leave: bool = False) -> None:
        await self.client.presence(channel, leave=leave)

    async def told(self) -> list[Entry]:
        return list(self._told)

    async def fail_tickets(self, number: int) -> None:
        self._failures = number

    async def close(self) -> None:
        await self.client.close()
        await self._task


PAGE = """<!doctype html><meta charset="utf-8"><title>A client</title>
<script type="module">
import { connect } from "/widgets/realtime.js";
window.told = [];
window.failures = 0;
let tickets = 0;
window.start = (url, timing) => {
  window.realtime = connect({
    url, timing, onState: (state, why) => told.push(["state", state, why]),
    storage: new URLSearchParams(location.search).has("keep") ? sessionStorage : undefined,
    ticket: async () => {
      if (window.failures > 0) { window.failures--; throw new Error("no way to get one"); }
      return `t${++tickets}`;
    },
  });
};
window.follow = (channel, position) => realtime.subscribe(channel, {
  position,
  onEvent: (event) => told.push(["event", event.channel, event.seq, event.data]),
  onReset: ({ seq }) => told.push(["reset", channel, seq]),
  onRevoked: ({ error }) => told.push(["revoked", channel, error]),
  onPresence: ({ viewers }) => told.push(["presence", channel, viewers]),
});
window.ready = true;
</script>"""


class BrowserSubject:
    """realtime.js in a page of a browser."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    async def start(cls, browser: Browser, page_url: str, url: str) -> BrowserSubject:
        """A page at `page_url` whose client talks to the WebSocket at `url`."""
        page = await browser.page(page_url)
        subject = cls(page)
        await subject.connect(url)
        return subject

    async def connect(self, url: str) -> None:
        """Make the client, once the page is there."""
        await self.page.until("window.ready === true")
        seconds = {"pause": PAUSE, "longestPause": LONGEST_PAUSE, "open": OPEN, "silence": SILENCE}
        await self._run("start", url, {name: value * 1000 for name, value in seconds.items()})

    async def subscribe(self, channel: str, epoch: str | None = None, seq: int = 0) -> None:
        await self._run("follow", channel, *([] if epoch is None else [{"epoch": epoch, "seq": seq}]))

    async def unsubscribe(self, channel: str) -> None:
        await self._run("realtime.unsubscribe", channel)

    async def presence(self, channel: str, leave: bool = False) -> None:
        await self._run("realtime.presence", channel, {"leave": leave})

    async def told(self) -> list[Entry]:
        told: list[Entry] = await self.page.run("told")
        return told

    async def fail_tickets(self, number: int) -> None:
        await self.page.run(f"window.failures = {number}")

    async def close(self) -> None:
        await self.page.run("realtime.close()")
        await self.page.close()

    async def _run(self, function: str, *values: Any) -> None:
        arguments = ", ".join(msgspec.json.encode(value).decode() for value in values)
        await self.page.run(f"void {function}({arguments})")
