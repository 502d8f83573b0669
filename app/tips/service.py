"""Where tips gather into batches."""

from __future__ import annotations

from uuid import UUID

from app.core.batching import Batcher, batcher
from app.core.context import AppContext
from app.tips.queries import TipItem, TipQueries
from app.tips.structs import TipRequest
from app.wallets.queries import Replayable


class Tips:
    """Tips in the caller's name, gathered into batches."""

    def __init__(self, context: AppContext) -> None:
        queries = context.get(TipQueries)
        self._batcher: Batcher[TipItem, Replayable] = batcher(context, "send_tips", queries.send_tips)

    async def send(self, sender: UUID, data: TipRequest, key: str) -> Replayable:
        """Tip a creator. Errors: those of api.send_tips."""
        where = data.context
        return await self._batcher.submit(
            TipItem(
                sender,
                data.creator_id,
                data.amount,
                key,
                data.message,
                None if where is None else where.stream_id,
                None if where is None else where.call_id,
            )
        )
