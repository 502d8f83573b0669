"""Payments in SQL: opened, told of, and what became of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from tests.support.postgres import Connection

OPEN = "SELECT * FROM api.open_payment($1, $2, $3, 'https://shop.example.com/ok', 'https://shop.example.com/no', $4)"
SETTLE = "SELECT * FROM api.settle_payment($1, $2)"
REVERSE = "SELECT * FROM api.reverse_payment($1, $2, $3, $4, $5)"
NOTE_REFUND = "SELECT * FROM api.note_payment_refund($1, $2, $3, $4)"
NOTE = "SELECT api.note_payment_event($1::api.payment_fact)"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a provider, as it was understood."""

    kind: str = "paid"
    payment: UUID | None = None
    id: str = msgspec.field(default_factory=lambda: f"evt_{uuid4().hex}")
    provider: str = "stripe"
    refund: UUID | None = None
    amount: int | None = 500
    currency: str | None = "USD"
    reference: str | None = None
    charge: str | None = None
    item: str | None = None
    reason: str | None = None

    def row(self) -> tuple[Any, ...]:
        """An api.payment_fact."""
        return (
            self.provider,
            self.id,
            f"test.{self.kind}",
            self.kind,
            self.payment,
            self.refund,
            self.amount,
            self.currency,
            self.reference,
            self.charge,
            self.item,
            self.reason,
            b"{}",
        )


async def package(conn: Connection, tokens: int = 50) -> UUID:
    """A package of the seed."""
    found: UUID = await conn.fetchval("SELECT package_id FROM api.token_packages WHERE tokens = $1", tokens)
    return found


async def open_payment(
    conn: Connection, buyer: UUID, *, tokens: int = 50, provider: str = "stripe", key: str | None = None
) -> UUID:
    """50 tokens for 5 USD, unless told otherwise."""
    found: UUID = await conn.fetchval(
        OPEN.replace("*", "payment_id", 1), buyer, await package(conn, tokens), provider, key or uuid4().hex
    )
    return found


async def tell(conn: Connection, fact: Fact) -> asyncpg.Record:
    """Keep the event and apply it."""
    await conn.execute(NOTE, fact.row())
    row = await conn.fetchrow(SETTLE, fact.provider, fact.id)
    assert row is not None
    return row


async def paid(conn: Connection, buyer: UUID, *, tokens: int = 50, amount: int = 500) -> UUID:
    """A payment that is paid, by the charge ch_<payment>."""
    payment = await open_payment(conn, buyer, tokens=tokens)
    told = await tell(conn, Fact(payment=payment, amount=amount, charge=f"ch_{payment}"))
    assert told["outcome"] == "applied"
    return payment


async def state(conn: Connection, payment: UUID) -> dict[str, Any]:
    """What api.payments says."""
    row = await conn.fetchrow("SELECT * FROM api.payments WHERE payment_id = $1", payment)
    assert row is not None
    return dict(row)
