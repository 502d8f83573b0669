"""The words that tests of payouts are told in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.core.vault import Vault
from app.payouts.details import BankDetails, Details, PaystackDetails, StripeDetails, seal_details
from app.settings import Settings
from tests.support.money import Person, as_ledger, lapse, unguarded
from tests.support.postgres import Connection

REQUEST = "SELECT * FROM api.request_payout($1, $2, $3, $4)"
CANCEL = "SELECT * FROM api.cancel_payout($1, $2)"
APPROVE = "SELECT * FROM api.approve_payout($1, $2)"
HOLD = "SELECT * FROM api.hold_payout($1, $2, $3)"
CLAIM = "SELECT * FROM api.claim_payout($1)"
NOTE = "SELECT api.note_payout($1, $2, $3, $4, $5, $6, $7, $8)"
SETTLE = "SELECT * FROM api.settle_payout($1, $2, $3)"
FAIL = "SELECT * FROM api.fail_payout($1, $2, $3, $4)"
ADD_ACCOUNT = "SELECT account_id FROM api.add_payout_account($1, $2, $3, $4, '•••• 6789', 'v1', $5)"
LEASE = timedelta(minutes=2)
SECRET = b"\x00" * 64
"""What stands for encrypted details where nobody decrypts them."""


async def row(conn: Connection, query: str, *args: Any) -> asyncpg.Record:
    """The one row of an answer."""
    found = await conn.fetchrow(query, *args)
    assert found is not None
    return found


async def rate(conn: Connection, name: str, value: int | str, asset: str | None = "TOKEN") -> None:
    """A rate from now on."""
    await conn.execute("SELECT api.set_rate($1, $2::text::numeric, $3)", name, str(value), asset)


async def no_reviews(conn: Connection) -> None:
    """No payout waits for an operator, and nobody reaches a day's limit."""
    await rate(conn, "payout_review_first", 0)
    await rate(conn, "payout_review_amount", 10**9)
    await rate(conn, "payout_day_count", 10**6)
    await rate(conn, "payout_day_amount", 10**9)


async def account_of(conn: Connection, who: Person, provider: str = "stripe", currency: str = "USD") -> UUID:
    """An account of this person's, with details that nobody can read."""
    account: UUID = await conn.fetchval(ADD_ACCOUNT, uuid4(), who.id, provider, currency, SECRET)
    return account


async def ask(conn: Connection, who: Person, amount: int, account: UUID, key: str | None = None) -> UUID:
    """A payout is asked for."""
    payout: UUID = (await row(conn, REQUEST, who.id, amount, account, key))["payout_id"]
    return payout


async def claim(conn: Connection) -> asyncpg.Record:
    """A scheduler takes the next one; all None where none is due."""
    return await row(conn, CLAIM, LEASE)


async def payout(conn: Connection, payout_id: UUID) -> asyncpg.Record:
    """How a payout stands."""
    return await row(conn, "SELECT * FROM api.payouts WHERE payout_id = $1", payout_id)


async def status(conn: Connection, payout_id: UUID) -> tuple[str, str | None]:
    """Its status and reason."""
    found = await payout(conn, payout_id)
    return found["status"], found["reason"]


async def clearing(conn: Connection) -> int:
    """Tokens in payout_clearing."""
    value: int = await conn.fetchval(
        "SELECT sum(balance)::bigint FROM core.wallets WHERE purpose = 'payout_clearing' AND asset = 'TOKEN'"
    )
    return value


async def due_now(conn: Connection, payout_id: UUID) -> None:
    """Its time has come (by a superuser): a lease is over, or it is to be asked about again."""
    async with as_ledger(conn):
        await conn.execute("UPDATE core.payouts SET next_at = clock_timestamp() WHERE id = $1", payout_id)


async def lapse_hold(conn: Connection, payout_id: UUID) -> None:
    """The hold of a payout is over."""
    await lapse(conn, await conn.fetchval("SELECT hold_id FROM core.payouts WHERE id = $1", payout_id))


async def age(conn: Connection, wallet: UUID, days: int) -> None:
    """All that is in a wallet came so many days earlier (by a superuser, behind the ledger's back)."""
    async with unguarded(conn):
        await conn.execute(
            "UPDATE core.entries SET created_at = created_at - make_interval(days => $2) WHERE wallet_id = $1",
            wallet,
            days,
        )


async def events(conn: Connection, payout_id: UUID) -> list[str]:
    """Types of the events of a payout, in order."""
    rows = await conn.fetch(
        "SELECT type, channels FROM core.outbox WHERE payload ->> 'payout_id' = $1 ORDER BY xid, id",
        str(payout_id),
    )
    owner = await conn.fetchval("SELECT user_id FROM core.payouts WHERE id = $1", payout_id)
    for found in rows:
        ops = ["ops"] if found["type"] == "payout.held" else []
        assert found["channels"] == [f"user:{owner}", f"creator:{owner}", *ops]
    return [found["type"].removeprefix("payout.") for found in rows]


DETAILS: dict[str, Details] = {
    "stripe": StripeDetails(account="acct_1MTfjCQ9PRzxEwkZ"),
    "paystack": PaystackDetails(holder="Ada Obi", bank_code="058", number="0123456789"),
    "manual": BankDetails(holder="Ada Obi", number="DE89370400440532013000"),
}


async def real_account(
    conn: Connection, who: UUID, settings: Settings, provider: str = "stripe", currency: str = "USD"
) -> UUID:
    """An account of this user's, encrypted as the application does it."""
    account, vault = uuid4(), Vault(settings)
    sealed = seal_details(vault, account, who, provider, DETAILS[provider])
    await conn.execute(
        "SELECT api.add_payout_account($1, $2, $3, $4, $5, $6, $7)",
        account,
        who,
        provider,
        currency,
        DETAILS[provider].masked,
        *sealed,
    )
    return account
