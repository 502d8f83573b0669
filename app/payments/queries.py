"""The SQL of payments: one typed function per statement. The API's pool and the scheduler's both will do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import msgspec

from app.core.acts import act_of
from app.core.context import AppContext, RequestInfo
from app.core.database import Database
from app.core.errors import error
from app.core.paging import LAST
from app.core.times import utc
from app.payments.providers.protocol import Fact, Order, ProviderName, Record, RefundAnswer, RefundOrder
from app.payments.structs import (
    AdminPayment,
    Finding,
    Package,
    PackageRequest,
    Payment,
    PaymentEvent,
    Refund,
    Sales,
    Settlement,
    SoldPackage,
)

COLUMNS = """
    p.payment_id, p.package_id, p.provider, p.status, p.tokens, p.amount, p.currency, p.refunded, p.disputed,
    p.reversed, p.failure, p.created_at, p.expires_at, p.paid_at, p.failed_at
"""
EVENT = """
    e.provider, e.event_id, e.type, e.kind, e.payment_id, e.amount, e.currency, e.reference, e.charge, e.item, e.reason,
    e.outcome, e.error, e.tries, e.received_at, e.applied_at, e.open
"""
LATE = timedelta(hours=4)
"""What a provider took and gave back is in its list that long after at the latest."""
SUMS = ("gross", "given_back", "net", "tokens_sold", "tokens_taken_back")


class Runner(Protocol):
    """A pool of connections: the API's Database, or the scheduler's."""

    async def fetch(self, sql: str, /, *args: Any) -> list[asyncpg.Record]: ...

    async def fetchrow(self, sql: str, /, *args: Any) -> asyncpg.Record | None: ...

    async def fetchval(self, sql: str, /, *args: Any) -> Any: ...


def _one(row: asyncpg.Record | None) -> asyncpg.Record:
    assert row is not None
    return row


def _sold(row: asyncpg.Record) -> SoldPackage:
    fields = dict(row)
    # the seeds are on sale since -infinity, which JSON has no word for
    since: datetime = fields["active_from"]
    fields["active_from"] = None if since.replace(tzinfo=UTC) == datetime.min.replace(tzinfo=UTC) else since
    return SoldPackage(**fields)


class SettlingQueries:
    """What brings payments forward, whoever does it: a webhook, a job, an administrator."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def start_payment(self, payment: UUID, reference: str, url: str, customer: str | None) -> Order:
        """Note what the provider answered. Errors: those of api.start_payment."""
        sql = "SELECT * FROM api.start_payment($1, $2, $3, $4)"
        return Order(**_one(await self._runner.fetchrow(sql, payment, reference, url, customer)))

    async def note_event(self, fact: Fact) -> bool:
        """Keep an event; False where it was kept before."""
        kept: bool = await self._runner.fetchval(
            "SELECT api.note_payment_event($1::api.payment_fact)",
            (
                fact.provider,
                fact.event_id,
                fact.type,
                fact.kind,
                fact.payment_id,
                fact.refund_id,
                fact.amount,
                fact.currency,
                fact.reference,
                fact.charge,
                fact.item,
                fact.reason,
                fact.body,
            ),
        )
        return kept

    async def settle(self, provider: str, event: str) -> Settlement:
        """Apply an event. Errors: those of api.settle_payment."""
        row = await self._runner.fetchrow("SELECT * FROM api.settle_payment($1, $2)", provider, event)
        return Settlement(**_one(row))

    async def note_refund(self, refund: UUID, answer: RefundAnswer) -> None:
        """Note what the provider made of a refund. Errors: those of api.note_payment_refund."""
        await self._runner.fetch(
            "SELECT * FROM api.note_payment_refund($1, $2, $3, $4)",
            refund,
            answer.status,
            answer.provider_refund,
            answer.failure,
        )

    async def claim_payments(self, limit: int) -> list[Order]:
        """Payments whose provider has to be asked."""
        return [Order(**row) for row in await self._runner.fetch("SELECT * FROM api.claim_payments($1)", limit)]

    async def claim_refunds(self, limit: int) -> list[RefundOrder]:
        """Refunds that have to be asked for."""
        rows = await self._runner.fetch("SELECT * FROM api.claim_payment_refunds($1)", limit)
        return [RefundOrder(**row) for row in rows]

    async def due_events(self, limit: int) -> Sequence[tuple[str, str, int]]:
        """Events that wait: provider, id, for how many seconds they have been due."""
        rows = await self._runner.fetch("SELECT * FROM api.due_payment_events($1)", limit)
        return [(row["provider"], row["event_id"], row["lag_seconds"]) for row in rows]

    async def note_day(self, provider: str, day: date, records: list[Record]) -> int:
        """Keep a provider's records of a day."""
        told = msgspec.json.encode(records).decode()
        kept: int = await self._runner.fetchval(
            "SELECT api.note_provider_day($1, $2, $3::text::jsonb)", provider, day, told
        )
        return kept

    async def days_to_fetch(self, provider: str, days: int) -> list[date]:
        """Of the last days, those that were not fetched since they were over for LATE: PayPal lists nothing at once."""
        rows = await self._runner.fetch(
            """
            SELECT d.day FROM generate_series(1, $2::integer) AS n
            CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE 'UTC' - $3::interval)::date - n AS day) AS d
            WHERE NOT EXISTS (
                SELECT FROM api.provider_days AS f
                WHERE f.provider = $1 AND f.day = d.day
                    AND f.fetched_at > (d.day + 1)::timestamp AT TIME ZONE 'UTC' + $3::interval
            )
            ORDER BY d.day
            """,
            provider,
            days,
            LATE,
        )
        return [row["day"] for row in rows]

    async def reconcile(self, provider: str, day: date) -> list[Finding]:
        """What does not match."""
        rows = await self._runner.fetch("SELECT * FROM api.reconcile($1, $2)", provider, day)
        return [Finding(**{**dict(row), "detail": msgspec.json.decode(row["detail"])}) for row in rows]


class PaymentQueries:
    """Statements of the routes."""

    def __init__(self, context: AppContext) -> None:
        self.db: Database = context.database

    async def packages(self) -> list[Package]:
        """What is on sale, the cheapest first."""
        return await self.db.fetch_as(
            Package,
            """
            SELECT p.package_id, p.name, p.tokens, p.bonus, p.price, p.currency FROM api.token_packages AS p
            WHERE p.active ORDER BY p.currency, p.price, p.package_id LIMIT 200
            """,
        )

    async def open_payment(
        self, buyer: UUID, package: UUID, provider: str, success_url: str, cancel_url: str, key: str
    ) -> Order:
        """Open a payment. Errors: those of api.open_payment."""
        row = await self.db.fetchrow(
            "SELECT * FROM api.open_payment($1, $2, $3, $4, $5, $6)",
            buyer,
            package,
            provider,
            success_url,
            cancel_url,
            key,
        )
        return Order(**_one(row))

    async def payment(self, payment: UUID, buyer: UUID) -> Payment:
        """One's own payment. Errors: PAYMENT_NOT_FOUND."""
        found = await self.db.fetch_one_as(
            Payment,
            f"SELECT {COLUMNS} FROM api.payments AS p WHERE p.payment_id = $1 AND p.buyer_id = $2",
            payment,
            buyer,
        )
        if found is None:
            raise error("PAYMENT_NOT_FOUND", payment_id=str(payment))
        return found

    async def payments(self, buyer: UUID, status: str | None, before: UUID | None, limit: int) -> list[Payment]:
        """One's own payments, newest first."""
        return await self.db.fetch_as(
            Payment,
            f"""
            SELECT {COLUMNS} FROM api.payments AS p
            WHERE p.buyer_id = $1 AND p.payment_id < $3 AND ($2::text IS NULL OR p.status = $2)
            ORDER BY p.payment_id DESC LIMIT $4
            """,
            buyer,
            status,
            before or LAST,
            limit,
        )

    async def everybodys(
        self, buyer: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> list[AdminPayment]:
        """Payments, newest first."""
        return await self.db.fetch_as(
            AdminPayment,
            f"""
            SELECT {COLUMNS}, p.buyer_id, p.transfer_id, p.reference, p.charge FROM api.payments AS p
            WHERE p.payment_id < $3 AND ($1::uuid IS NULL OR p.buyer_id = $1) AND ($2::text IS NULL OR p.status = $2)
            ORDER BY p.payment_id DESC LIMIT $4
            """,
            buyer,
            status,
            before or LAST,
            limit,
        )

    async def payment_by(self, payment: UUID, provider: str) -> Payment:
        """Anybody's payment by this provider. Errors: PAYMENT_NOT_FOUND."""
        found = await self.db.fetch_one_as(
            Payment,
            f"SELECT {COLUMNS} FROM api.payments AS p WHERE p.payment_id = $1 AND p.provider = $2",
            payment,
            provider,
        )
        if found is None:
            raise error("PAYMENT_NOT_FOUND", payment_id=str(payment))
        return found

    async def way_back(self, payment: UUID, paid: bool) -> str:
        """Where the buyer is sent after the checkout."""
        row = _one(await self.db.fetchrow("SELECT * FROM api.start_payment($1, NULL, NULL)", payment))
        found: str = row["success_url" if paid else "cancel_url"]
        return found

    async def customers(self, user: UUID) -> dict[ProviderName, str]:
        """What each provider calls a user."""
        rows = await self.db.fetch(
            "SELECT c.provider, c.customer FROM api.payment_customers AS c WHERE c.user_id = $1", user
        )
        return {row["provider"]: row["customer"] for row in rows}

    async def who(self, user: UUID) -> tuple[str, str]:
        """Display name and e-mail address of a user."""
        row = _one(await self.db.fetchrow("SELECT u.display_name, u.email FROM core.users AS u WHERE u.id = $1", user))
        return row["display_name"], row["email"]

    async def reverse(
        self, payment: UUID, amount: int | None, reason: str, key: str, actor: UUID, info: RequestInfo
    ) -> tuple[RefundOrder, Refund]:
        """Take the tokens back and write the refund. Errors: those of api.reverse_payment."""
        async with act_of(self.db, info) as connection:
            row = _one(
                await connection.fetchrow(
                    "SELECT * FROM api.reverse_payment($1, $2, $3, $4, $5)", payment, amount, reason, key, actor
                )
            )
        order = RefundOrder(**row)
        answer = Refund(
            refund_id=order.refund_id,
            payment_id=order.payment_id,
            amount=order.amount,
            currency=order.currency,
            reason=order.reason,
        )
        return order, answer

    async def events(
        self, payment: UUID | None, only_open: bool, before: tuple[datetime, str] | None, limit: int
    ) -> list[PaymentEvent]:
        """Events of providers, newest first."""
        moment, name = before or (None, None)
        return await self.db.fetch_as(
            PaymentEvent,
            f"""
            SELECT {EVENT} FROM api.payment_events AS e
            WHERE ($1::uuid IS NULL OR e.payment_id = $1) AND (NOT $2 OR e.open)
                AND ($3::timestamptz IS NULL OR (e.received_at, e.event_id) < ($3, $4))
            ORDER BY e.received_at DESC, e.event_id DESC LIMIT $5
            """,
            payment,
            only_open,
            moment,
            name,
            limit,
        )

    async def resolve(self, provider: str, event: str, reason: str, actor: UUID, info: RequestInfo) -> PaymentEvent:
        """Close an event. Errors: those of api.resolve_payment_event."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(
                f"SELECT {EVENT} FROM api.resolve_payment_event($1, $2, $3, $4) AS e", provider, event, reason, actor
            )
        return PaymentEvent(**_one(row))

    async def create_package(self, data: PackageRequest, actor: UUID, info: RequestInfo) -> SoldPackage:
        """Sell a package. Errors: those of api.create_token_package."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(
                "SELECT * FROM api.create_token_package($1, $2, $3, $4, $5, $6, $7, $8)",
                data.name,
                data.tokens,
                data.bonus,
                data.price,
                data.currency,
                utc(data.active_from),
                utc(data.active_to),
                actor,
            )
        return _sold(_one(row))

    async def end_package(self, package: UUID, actor: UUID, info: RequestInfo) -> SoldPackage:
        """Sell it no more. Errors: those of api.end_token_package."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow("SELECT * FROM api.end_token_package($1, $2)", package, actor)
        return _sold(_one(row))

    async def sales(self, start: datetime, end: datetime) -> list[Sales]:
        """What tokens were sold for. Errors: those of api.token_sales."""
        rows = await self.db.fetch("SELECT * FROM api.token_sales($1, $2) AS s ORDER BY s.currency", start, end)
        return [
            Sales(
                currency=row["currency"],
                payments=row["payments"],
                token_value_usd=f"{row['token_value_usd'].normalize():f}",
                **{name: int(row[name]) for name in SUMS},
            )
            for row in rows
        ]
