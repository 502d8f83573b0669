"""Where purchases of tickets and beats of viewers gather into batches."""

from __future__ import annotations

from uuid import UUID

from app.core.batching import Batcher, batcher
from app.core.context import AppContext
from app.streams.queries import StreamQueries, TicketItem, WatchItem
from app.streams.structs import Watching
from app.wallets.queries import Replayable


class Tickets:
    """Tickets in the caller's name, gathered into batches: a stream is locked once for hundreds of buyers."""

    def __init__(self, context: AppContext) -> None:
        queries = context.get(StreamQueries)
        self._batcher: Batcher[TicketItem, Replayable] = batcher(context, "buy_tickets", queries.buy_tickets)

    async def buy(self, viewer: UUID, stream: UUID, key: str) -> Replayable:
        """Buy a ticket. Errors: those of api.buy_tickets."""
        return await self._batcher.submit(TicketItem(viewer, stream, key))


class Viewers:
    """Beats of viewers, gathered into batches: they come from everybody who watches, all the time."""

    def __init__(self, context: AppContext) -> None:
        queries = context.get(StreamQueries)
        self._batcher: Batcher[WatchItem, Watching] = batcher(context, "watch_streams", queries.watch_streams)
        self._queries = queries

    async def watch(self, viewer: UUID, stream: UUID) -> Watching:
        """The viewer is watching. Errors: those of api.watch_streams."""
        return await self._batcher.submit(WatchItem(viewer, stream))

    async def leave(self, viewer: UUID, stream: UUID) -> None:
        """The viewer has gone."""
        await self._queries.leave_streams([WatchItem(viewer, stream)])
