"""The Idempotency-Key header: required on every POST that moves money.

A handler that names ``key: IdempotencyKey`` needs the header, one that names ``optional_key: OptionalKey`` takes it.
The key is 1 to 255 visible ASCII characters, belongs to the caller, and does not expire. Same key and same request:
the first answer again. Same key, other request: 409 ``IDEMPOTENCY_KEY_REUSED`` (decided in SQL, in the transaction
that moves the money).
"""

from __future__ import annotations

import re

from litestar.di import NamedDependency

from app.core.context import RequestInfo, from_request
from app.core.errors import error

IdempotencyKey = NamedDependency[str]
"""Annotation of a handler's ``key`` parameter."""

DESCRIPTION = (
    "1 to 255 visible ASCII characters of your choice, one per intended effect. "
    "Sending the same key and body again returns the first answer and moves nothing."
)

_VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]{1,255}")


def read_key(info: RequestInfo) -> str:
    """The key of this request.

    Errors: IDEMPOTENCY_KEY_REQUIRED (no header), IDEMPOTENCY_KEY_INVALID (not 1–255 visible ASCII characters).
    """
    raw = info.idempotency_key
    if raw is None:
        raise error("IDEMPOTENCY_KEY_REQUIRED")
    if _VISIBLE_ASCII.fullmatch(raw) is None:
        raise error("IDEMPOTENCY_KEY_INVALID")
    return raw.decode("ascii")


provide_key = from_request(read_key)

OptionalKey = NamedDependency[str | None]
"""Annotation of a handler's ``optional_key`` parameter: for POSTs that move no money."""


def read_optional_key(info: RequestInfo) -> str | None:
    """The key of this request, None where it has none. Errors: IDEMPOTENCY_KEY_INVALID."""
    return None if info.idempotency_key is None else read_key(info)


provide_optional_key = from_request(read_optional_key)
