"""What the HTTP routes of realtime answer with."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Ticket(msgspec.Struct, kw_only=True):
    """Says who you are on one WebSocket: `{"op": "auth", "ticket": …}`. Good once, until then."""

    ticket: str
    expires_at: datetime
