"""Moments as clients send them."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(moment: datetime | None) -> datetime | None:
    """A moment without an offset is one of UTC; the driver would take it for one of the server's time zone."""
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)
