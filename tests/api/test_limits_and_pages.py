"""Rate limits and cursors by themselves."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.core import ratelimit
from app.core.context import RequestInfo
from app.core.errors import TesseraError
from app.core.idempotency import read_key
from app.core.paging import decode_cursor, encode_cursor, page_of
from app.core.ratelimit import RateLimiter


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_steady_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(60, burst=3, clock=clock)
    assert [limiter.hit("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.hit("a") == pytest.approx(1.0)
    assert limiter.hit("b") == 0
    clock.now += 1.0
    assert limiter.hit("a") == 0
    assert limiter.hit("a") > 0
    clock.now += 3600
    assert [limiter.hit("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.hit("a") > 0


def test_refused_events_are_not_counted() -> None:
    clock = Clock()
    limiter = RateLimiter(60, burst=1, clock=clock)
    limiter.hit("a")
    for _ in range(100):
        assert limiter.hit("a") == pytest.approx(1.0)
    clock.now += 1.0
    assert limiter.hit("a") == 0


def test_the_rate_never_passes_the_limit_over_a_long_time() -> None:
    clock = Clock()
    limiter = RateLimiter(600, clock=clock)
    allowed = 0
    for _ in range(60_000):
        clock.now += 0.001
        allowed += limiter.hit("a") == 0
    assert 600 <= allowed <= 600 + 101


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "MAX_KEYS", 100)
    limiter = RateLimiter(60, burst=1, clock=Clock())
    for number in range(1000):
        limiter.hit(number)
    assert len(limiter) <= 100
    assert limiter.hit(999) > 0


def test_cursors_go_there_and_back() -> None:
    key = uuid4()
    assert decode_cursor(encode_cursor(key), type(key)) == key
    assert decode_cursor(None, type(key)) is None


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "bnVsbA", "W10", "é", "A" * 900])
def test_foreign_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(TesseraError) as raised:
        decode_cursor(cursor, type(uuid4()))
    assert raised.value.slug == "VALIDATION_ERROR"


def test_the_row_too_many_tells_of_the_next_page() -> None:
    page = page_of([1, 2, 3], 2, lambda row: row)
    assert (page.items, decode_cursor(page.next_cursor, int)) == ([1, 2], 2)
    last = page_of([1, 2], 2, lambda row: row)
    assert (last.items, last.next_cursor) == ([1, 2], None)
    assert page_of([], 2, lambda row: row).next_cursor is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "IDEMPOTENCY_KEY_REQUIRED"),
        (b"", "IDEMPOTENCY_KEY_INVALID"),
        (b"two words", "IDEMPOTENCY_KEY_INVALID"),
        (b"caf\xe9", "IDEMPOTENCY_KEY_INVALID"),
        (b"tab\t", "IDEMPOTENCY_KEY_INVALID"),
        (b"k" * 256, "IDEMPOTENCY_KEY_INVALID"),
    ],
)
def test_idempotency_keys_that_are_refused(header: bytes | None, expected: str) -> None:
    info = RequestInfo()
    info.idempotency_key = header
    with pytest.raises(TesseraError) as raised:
        read_key(info)
    assert raised.value.slug == expected


@pytest.mark.parametrize("header", [b"a", b"k" * 255, b"!~", b"6f1c-\xff"[:5]])
def test_idempotency_keys_that_are_taken(header: bytes) -> None:
    info = RequestInfo()
    info.idempotency_key = header
    assert read_key(info) == header.decode()
