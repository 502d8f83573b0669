"""What the routes of bans take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta


class BanRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why, for the creator's own memory: nobody else is shown it."""

    reason: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=255,
                pattern=r"^[^\x00]*$",
                description="Not blank, and at most 255 bytes of UTF-8.",
                examples=["Shouts at others."],
            ),
        ]
        | None
    ) = None


class Ban(msgspec.Struct, kw_only=True):
    """Somebody who is banned."""

    user_id: UUID
    reason: str | None
    created_at: datetime
