"""What the routes of chats take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

Body = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*$", examples=["Encore!"])]


class MessageRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Something to say."""

    body: Body


class MessageReceipt(msgspec.Struct, kw_only=True):
    """A message that was posted."""

    message_id: UUID
    created_at: datetime


class ChatMessage(msgspec.Struct, kw_only=True):
    """A message as it is listed."""

    message_id: UUID
    user_id: UUID
    username: str | None
    body: str
    created_at: datetime
