"""What the routes of webhooks take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

Url = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=2048,
        pattern=r"^[\x21-\x7e]*$",
        description="https, with a host of the public internet, without credentials and fragment.",
        examples=["https://shop.example.com/hooks/tessera"],
    ),
]
Pattern = Annotated[
    str,
    Meta(
        max_length=100,
        pattern=r"^([*]|[a-z][a-z0-9_]*[.]([*]|[a-z0-9_.]+))$",
        description="All (*), a group (call.*), or a type (tip.sent).",
        examples=["call.*"],
    ),
]
Patterns = Annotated[list[Pattern], Meta(min_length=1, max_length=50)]
Description = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$", examples=["The shop's."])]
EndpointStatus = Literal["active", "disabled"]
DeliveryStatus = Literal["pending", "delivered", "dead"]


class EndpointRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where to send which of the caller's events."""

    url: Url
    event_types: Patterns = msgspec.field(default_factory=lambda: ["*"])
    description: Description = ""


class EndpointPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Only the fields that are sent change. ``status: active`` enables an endpoint again."""

    url: Url | UnsetType = UNSET
    event_types: Patterns | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    status: EndpointStatus | UnsetType = UNSET


class Endpoint(msgspec.Struct, kw_only=True):
    """A webhook endpoint.

    ``disabled_reason``: by_user; gone, it answered 410; failing, too often for too long. ``position_lost_at``: when
    events could last not be read any more, so that some were never sent; null: never.
    """

    endpoint_id: UUID
    url: str
    description: str
    event_types: list[str]
    status: EndpointStatus
    disabled_at: datetime | None
    disabled_reason: Literal["by_user", "gone", "failing"] | None
    failures_in_a_row: int
    failing_since: datetime | None
    position_lost_at: datetime | None
    created_at: datetime
    updated_at: datetime


class NewEndpoint(msgspec.Struct, kw_only=True):
    """An endpoint that was made. The secret is in this answer and nowhere else."""

    secret: str
    endpoint: Endpoint


class NewSecret(msgspec.Struct, kw_only=True):
    """The new secret, in this answer and nowhere else; until when the old one signs too."""

    secret: str
    old_secrets_until: datetime


class Delivery(msgspec.Struct, kw_only=True):
    """An event on its way to an endpoint. ``delivery_id`` is its webhook-id; ``attempts`` were begun.

    ``last_error``: null for success, else status, redirect, gone, address (the host has none, or none of the public
    internet), connect, tls, timeout, protocol, interrupted.
    """

    delivery_id: UUID
    endpoint_id: UUID
    type: str
    status: DeliveryStatus
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    in_flight: bool
    event_at: datetime
    created_at: datetime
    ended_at: datetime | None


class Attempt(msgspec.Struct, kw_only=True):
    """One attempt. ``answer`` is the beginning of the answer's body; ``error`` as in ``last_error``."""

    attempt: int
    started_at: datetime
    duration_ms: int | None
    status: int | None
    error: str | None
    answer: str | None


class DeliveryDetails(Delivery, kw_only=True):
    """A delivery with the event's data and its last attempts, the newest first (100 at most)."""

    payload: dict[str, Any]
    history: list[Attempt]
