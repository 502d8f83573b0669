"""Where purchases of tickets gather into batches."""

from __future__ import annotations

from uuid import UUID

from app.core.batching import Batcher
from app.core.context import AppContext
from app.streams.queries import StreamQueries, TicketItem
from app.wallets.queries import Replayable


class Tickets:
    """Tickets in the caller's name, gathered into batches: a stream is locked once for hundreds of buyers."""

    def __init__(self, context: AppContext) -> None:
        queries = context.get(StreamQueries)
        self._batcher = Batcher[TicketItem, Replayable](
            "buy_tickets",
            queries.buy_tickets,
            largest=context.settings.batch_max,
            gather=context.settings.batch_enabled,
        )
        context.on_shutdown.append(self._batcher.close)

    async def buy(self, viewer: UUID, stream: UUID, key: str) -> Replayable:
        """Buy a ticket. Errors: those of api.buy_tickets."""
        return await self._batcher.submit(TicketItem(viewer, stream, key))
