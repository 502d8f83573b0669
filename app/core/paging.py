"""Lists in pages: ``?limit=`` (at most 200) and an opaque ``cursor``, answered as ``{"items", "next_cursor"}``.

A cursor is the sort key of the last item of a page, so a page costs the same wherever it is and nothing is skipped or
repeated when rows come in between. Clients must not look inside; a changed or foreign cursor is 422 VALIDATION_ERROR.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from app.core.errors import error

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_CURSOR = 1000

LAST = UUID(int=2**128 - 1)
"""No id comes after it: where a list that runs backwards begins."""

T = TypeVar("T")
K = TypeVar("K")

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Most items to return.")]
"""Annotation of a handler's ``limit`` parameter; its default is ``DEFAULT_LIMIT``."""

Cursor = Annotated[
    str | None, QueryParameter(max_length=MAX_CURSOR, description="next_cursor of the page before; none for the first.")
]
"""Annotation of a handler's ``cursor`` parameter; its default is None."""


class Page(msgspec.Struct, Generic[T]):
    """One page of a list. ``next_cursor`` is null on the last page."""

    items: list[T]
    next_cursor: str | None = None


def encode_cursor(key: Any) -> str:
    """The opaque cursor for a sort key (any type msgspec can encode, e.g. ``(created_at, id)``)."""
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, key_type: type[K]) -> K | None:
    """The sort key in a cursor; None for the first page. Errors: VALIDATION_ERROR."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=key_type)
    except (ValueError, msgspec.MsgspecError, RecursionError) as exc:
        raise error("VALIDATION_ERROR", errors=[{"field": "cursor", "message": "Not a cursor of this list"}]) from exc


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], Any]) -> Page[T]:
    """A page from up to ``limit + 1`` rows: the one too many tells that there is a next page and is left out."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return Page(items, encode_cursor(key(items[-1])) if more and items else None)
