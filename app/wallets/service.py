"""Where transfers gather into batches, and how history leaves as CSV."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from app.core.batching import Batcher, batcher
from app.core.context import AppContext
from app.core.errors import error
from app.core.sheets import sheet
from app.wallets.queries import Replayable, TransferItem, WalletQueries
from app.wallets.structs import Transaction, TransferRequest

COLUMNS = (
    "seq",
    "created_at",
    "kind",
    "amount",
    "balance",
    "transfer_id",
    "counterparty_wallet_id",
    "counterparty_user_id",
    "reference",
)


class Transfers:
    """Transfers in the caller's name, gathered into batches."""

    def __init__(self, context: AppContext) -> None:
        queries = context.get(WalletQueries)
        self._batcher: Batcher[TransferItem, Replayable] = batcher(context, "transfer_batch", queries.transfer_batch)

    async def send(self, actor: UUID, data: TransferRequest, key: str) -> Replayable:
        """Move money from the actor's wallet. Errors: those of api.transfer."""
        if (data.to_user_id is None) == (data.to_wallet_id is None):
            raise error(
                "VALIDATION_ERROR",
                errors=[{"field": "to_user_id", "message": "Exactly one of to_user_id and to_wallet_id is needed"}],
            )
        metadata = None if data.metadata is None else msgspec.json.encode(data.metadata).decode()
        return await self._batcher.submit(
            TransferItem(
                None,
                data.to_wallet_id,
                data.to_user_id,
                data.amount,
                data.asset,
                "transfer",
                key,
                data.reference,
                actor,
                metadata,
            )
        )


def to_csv(entries: Iterable[Transaction]) -> bytes:
    """Entries as CSV."""
    return sheet(COLUMNS, ([getattr(entry, name) for name in COLUMNS] for entry in entries))
