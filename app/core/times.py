"""Moments as clients send them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from app.core.errors import error


def utc(moment: datetime | None) -> datetime | None:
    """A moment without an offset is one of UTC; the driver would take it for one of the server's time zone."""
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def moment(text: str | None, field: str) -> datetime | None:
    """A query parameter that is a moment: RFC 3339, not a bare number. Errors: VALIDATION_ERROR."""
    try:
        found = utc(msgspec.convert(text, datetime | None))
        return None if found is None else found.astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError) as exc:
        raise error("VALIDATION_ERROR", errors=[{"field": field, "message": "Expected a time (RFC 3339)"}]) from exc
