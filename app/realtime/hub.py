"""Reads the log of channels once for all sockets of this process, and hands out what is new.

The relay hints which channels moved (`tessera_events`), each hint with how many rows the log had before and after, so
that one that is missing is noticed; then, and after every loss of the listening connection, all channels are looked
at. Without any hint the log is looked at twice a second. Each look asks for what comes after the last event that was
read, and what comes must be the next one: nothing can be left out without being seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from app.core.batching import Batcher, batcher
from app.core.context import AppContext
from app.core.errors import TesseraError
from app.core.listening import Hearer
from app.core.metrics import EVENTS_READ, FOLLOWED, FRAMES_SENT
from app.core.queries import Relayed
from app.core.relaying import Relay
from app.core.wire import text_frame
from app.realtime.channel import Channel
from app.realtime.protocol import events, lines, seq_of
from app.realtime.queries import FollowItem, RealtimeQueries, Standing

if TYPE_CHECKING:
    from app.realtime.sockets import Socket

HINTS = "tessera_events"
POLL_SECONDS = 0.5
RETRY_SECONDS = 0.25
GROUP = 200
"""Channels of one read…"""
LIMIT = 200
"""… and how many events of each…"""
LEAST = 5
"""… or fewer, down to this, where that has taken too long."""
TOLD = 500
"""Up to so many channels are asked of this process's own relay; with more all of them are read."""
TOGETHER = 64 * 1024
"""Bytes of several channels that are written to a socket at once: each write costs a call of the system."""
PAGE = 100
"""Events of a page of history. Pages begin at the same numbers for everybody, so that many who come back share them."""
PAGES = 128
"""How many full pages are remembered."""
JOINS = 5
"""How often a channel is tried to be joined while the log is restored beneath it."""

log = structlog.get_logger("tessera.realtime")


class Lost(Exception):
    """What comes next is not kept any more, or the epoch has changed."""


class Hub:
    """One for an application."""

    def __init__(self, context: AppContext) -> None:
        self._queries = context.get(RealtimeQueries)
        self._follow: Batcher[FollowItem, Standing] = batcher(context, "follow_channels", self._queries.follow_channels)
        self._channels: dict[str, Channel] = {}
        self._by_mark: dict[str, set[str]] = {}
        self._epoch: UUID | None = None
        self._rows = -1
        """How many rows the log had when everything before was read or hinted at."""
        self._hinted: set[str] = set()
        self._all = True
        self._woken = asyncio.Event()
        self._reading = asyncio.Lock()
        self._limit = LIMIT
        self._pages: dict[tuple[str, int], list[bytes]] = {}
        self._fetching: dict[tuple[str, int], asyncio.Task[list[bytes]]] = {}
        self.on_epoch: list[Callable[[], None]] = []
        """Called when positions have lost their meaning: nobody follows anything any more."""
        context.listener.add(Hearer(HINTS, self._hint, self._missed))
        self._relay = context.get(Relay)
        self._relay.asks_for, self._relay.tell = self._asks_for, self._told
        self._held: list[str] = []
        """Hints that came while this process's relay was at work: perhaps its own."""
        context.in_background(self._run, "realtime-hub")

    # following

    async def standing(self, user: UUID, channel: str) -> Standing:
        """Where a channel stands that the user may follow. Errors: those of api.follow_channels."""
        return await self._follow.submit(FollowItem(user, channel))

    async def join(self, user: UUID, name: str) -> tuple[Channel, Standing]:
        """The channel, read at least as far as it stands, with one more follower. Errors: as `standing`."""
        for _ in range(JOINS):
            standing = await self.standing(user, name)
            if self._epoch is None or standing.epoch != self._epoch:
                await self._read(())
            channel = self._channels.get(name)
            if standing.epoch != self._epoch:
                continue
            if channel is None:
                channel = self._channels[name] = Channel(name, standing.seq)
                self._by_mark.setdefault(channel.mark, set()).add(name)
                FOLLOWED.inc()
                # a hint may have come and gone between the question and now
                self._hinted.add(channel.mark)
                self._woken.set()
            elif channel.seq < standing.seq:
                await self._read((name,))
                if self._channels.get(name) is not channel or channel.seq < standing.seq:
                    continue
            channel.followers += 1
            return channel, standing
        raise Lost

    def leave(self, channel: Channel, socket: Socket) -> None:
        """One follower less."""
        channel.live.pop(socket, None)
        channel.followers -= 1
        if channel.followers == 0 and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            FOLLOWED.dec()
            names = self._by_mark[channel.mark]
            names.discard(channel.name)
            if not names:
                del self._by_mark[channel.mark]

    async def history(self, channel: Channel, after: int) -> list[bytes]:
        """Encoded events above ``after``, at least one and none above ``channel.seq``. Raises Lost."""
        recent = channel.after(after)
        if recent is not None:
            return recent[:PAGE]
        number, skipped = divmod(after, PAGE)
        for _ in range(JOINS):
            page = await self._page(channel, number)
            wanted = page[skipped : channel.seq - number * PAGE]
            if b"" in wanted:
                break
            if wanted:
                return wanted
            # somebody else had asked for it before the event was there
        raise Lost

    async def _page(self, channel: Channel, number: int) -> list[bytes]:
        key = (channel.name, number)
        page = self._pages.get(key)
        if page is not None:
            return page
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.create_task(self._fetch(key))
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        return await asyncio.shield(task)

    async def _fetch(self, key: tuple[str, int]) -> list[bytes]:
        """A page: its events in their places, those that are not kept any more as nothing."""
        name, number = key
        epoch = self._epoch
        rows = await self._queries.read_channels([name], [number * PAGE], PAGE)
        if epoch is None or rows[0]["events"] != str(epoch):
            raise Lost
        page = [b""] * PAGE
        last = 0
        for encoded in lines(rows[1]["events"]) if len(rows) > 1 else ():
            place = seq_of(encoded) - number * PAGE - 1
            if place < PAGE:
                page[place] = encoded
                last = place + 1
        if last == PAGE:
            while len(self._pages) >= PAGES:
                del self._pages[next(iter(self._pages))]
            if epoch == self._epoch:
                self._pages[key] = page
        return page[:last]

    # reading

    def _asks_for(self) -> list[str]:
        return list(self._channels) if len(self._channels) <= TOLD else []

    def _told(self, turn: Relayed | None) -> None:
        """The relay of this process has moved channels: what it tells need not be read."""
        if turn is not None and turn.hint is not None:
            self._take(turn, turn.hint)
        held, self._held = self._held, []
        for hint in held:
            self._hint(hint)

    def _take(self, turn: Relayed, hint: str) -> None:
        known: set[str] = set()
        # whoever reads at this moment has asked for what comes after what was there
        if turn.told and turn.epoch == self._epoch and not self._reading.locked():
            texts = {number: text.encode() for number, text in turn.texts or ()}
            found = [
                (channel, [b'{"seq":%d,%b' % (seq, texts[number]) for seq, number in enumerate(ids, first)])
                for name, first, ids in turn.told
                if (channel := self._channels.get(name)) is not None and channel.seq + 1 == first
            ]
            self._hand_out(found)
            known = {channel.mark for channel, _ in found if len(self._by_mark[channel.mark]) == 1}
        self._hint(hint, known)

    def _hint(self, payload: str, known: Set[str] = frozenset()) -> None:
        """Channels have moved; those with ``known`` marks have been read already."""
        if self._relay.turning:
            self._held.append(payload)
            return
        before, _, rest = payload.partition(":")
        after, _, marks = rest.partition(":")
        if not (before.isdigit() and after.isdigit()) or int(before) > self._rows or marks == "*":
            self._all = True
        elif int(after) <= self._rows:
            return
        else:
            found = {mark for mark in (marks[i : i + 8] for i in range(0, len(marks), 8)) if mark in self._by_mark}
            self._rows = int(after)
            found -= known
            if not found:
                return
            self._hinted |= found
        self._woken.set()

    def _missed(self) -> None:
        self._all = True
        self._woken.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            if not self._channels:
                continue
            marks, self._hinted = self._hinted, set()
            whole, self._all = self._all, False
            names = list(self._channels) if whole else [n for m in marks for n in self._by_mark.get(m, ())]
            try:
                await self._read(names, whole=whole)
            except Exception as exc:
                # what was hinted at is not forgotten
                self._all = True
                self._limit = max(LEAST, self._limit // 2)
                self._woken.set()
                if not isinstance(exc, TesseraError):
                    log.exception("realtime_read_failed")
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, names: Iterable[str], *, whole: bool = False) -> None:
        """Read what is new in these channels and hand it out; without any only where the log is."""
        async with self._reading:
            todo = list(names)
            first = True
            while todo or first:
                group = [self._channels[name] for name in todo[:GROUP] if name in self._channels]
                del todo[:GROUP]
                limit = self._limit
                rows = await self._queries.read_channels(
                    [channel.name for channel in group], [channel.seq for channel in group], limit
                )
                log_row = rows[0]
                if self._epoch is None or log_row["events"] != str(self._epoch):
                    self._begin(UUID(log_row["events"]), log_row["last_seq"])
                    return
                if first and whole:
                    self._rows = log_row["last_seq"]
                elif first and not group and log_row["last_seq"] > self._rows:
                    self._all = True
                    self._woken.set()
                first = False
                found = [(group[row["place"] - 1], lines(row["events"])) for row in rows[1:]]
                if any(
                    (row["first_seq"], row["last_seq"]) != (channel.seq + 1, channel.seq + len(encoded))
                    for row, (channel, encoded) in zip(rows[1:], found, strict=True)
                ):
                    # they have been read meanwhile by nobody but us: so they are gone
                    self._begin(self._epoch, self._rows)
                    return
                self._hand_out(found)
                todo += [channel.name for channel, encoded in found if len(encoded) == limit]
                self._limit = min(LIMIT, limit * 2)

    def _hand_out(self, found: Sequence[tuple[Channel, list[bytes]]]) -> None:
        """Give the next events of these channels to who is waiting for them."""
        written: dict[Socket, bytes] = {}
        for channel, encoded in found:
            EVENTS_READ.inc(len(encoded))
            channel.add(encoded)
            if not channel.live:
                continue
            frames = [text_frame(payload) for _, payload in events(channel.name, encoded)]
            FRAMES_SENT.inc(len(frames) * len(channel.live))
            ready = frames[0] if len(frames) == 1 else b"".join(frames)
            for socket in tuple(channel.live):
                before = written.pop(socket, b"")
                if len(before) + len(ready) > TOGETHER:
                    socket.write_live(before + ready)
                else:
                    written[socket] = before + ready if before else ready
        for socket, ready in written.items():
            socket.write_live(ready)

    def _begin(self, epoch: UUID | None, rows: int) -> None:
        """An epoch begins: nobody's position means anything any more."""
        known = self._epoch is not None
        self._epoch = epoch
        self._rows = rows
        self._pages.clear()
        if not known:
            return
        log.warning("realtime_epoch", epoch=str(epoch), channels=len(self._channels))
        FOLLOWED.dec(len(self._channels))
        self._channels.clear()
        self._by_mark.clear()
        for told in self.on_epoch:
            told()
