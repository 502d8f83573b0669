"""Where signs of life gather into batches, and metering from outside is let in."""

from __future__ import annotations

import hmac
from uuid import UUID

from app.accounts.service import limit_address
from app.calls.queries import BeatItem, CallQueries
from app.calls.structs import Metered, Pulse
from app.core.auth import check_limit
from app.core.batching import Batcher, batcher
from app.core.context import AppContext
from app.core.errors import error

METER_BATCH = 500
METER_BATCHES = 20
"""At most this many transactions a request; what is left is told by ``more``."""


class Calls:
    """What calls need beside their statements."""

    def __init__(self, context: AppContext) -> None:
        self._queries = context.get(CallQueries)
        secret = context.settings.billing_webhook_secret
        self._limits = context.limits
        self._secret = None if secret is None else secret.encode()
        self._batcher: Batcher[BeatItem, Pulse] = batcher(context, "beat_calls", self._queries.beat_calls)

    async def beat(self, call: UUID, user: UUID) -> Pulse:
        """A sign of life. Errors: those of api.beat_calls."""
        return await self._batcher.submit(BeatItem(call, user))

    def check_secret(self, secret: bytes | None, address: str) -> None:
        """Let nobody meter from outside but who knows the secret. Errors: METER_SECRET_INVALID, RATE_LIMITED."""
        # compared in a time that tells nothing; and where none is set, nobody knows it
        if not hmac.compare_digest(secret or b"", self._secret or b"\x00") or self._secret is None:
            # who guesses does so as slowly as with a password
            check_limit(self._limits.sign_in.hit(limit_address(address)), "address")
            raise error("METER_SECRET_INVALID")

    async def meter(self, call: UUID | None) -> Metered:
        """Meter a call, or all that are due. Errors: CALL_NOT_FOUND."""
        total = Metered(calls=0, blocks_paid=0, charged=0, blocks_refunded=0, ended=0, more=False)
        for _ in range(METER_BATCHES):
            rows = (
                await self._queries.meter_due_calls(METER_BATCH)
                if call is None
                else await self._queries.meter_call_block(call)
            )
            total.calls += len(rows)
            for row in rows:
                total.blocks_paid += row["blocks_paid"]
                total.charged += row["charged"]
                total.blocks_refunded += row["blocks_refunded"]
                total.ended += row["end_reason"] is not None and (call is None or row["due_at"] is not None)
            if call is not None or not rows:
                return total
        total.more = True
        return total
