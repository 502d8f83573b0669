"""The SQL of webhooks: one typed function per statement. Everything is the caller's own, or not there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from app.core.acts import act_of, note_act
from app.core.context import AppContext, RequestInfo
from app.core.errors import error
from app.core.paging import LAST
from app.webhooks.structs import (
    Attempt,
    Delivery,
    DeliveryDetails,
    DeliveryStatus,
    Endpoint,
    EndpointPatch,
    EndpointRequest,
    NewEndpoint,
    NewSecret,
)

MAX_HISTORY = 100
_ENDPOINT = ", ".join(f"e.{name}" for name in Endpoint.__struct_fields__)
_DELIVERY = ", ".join(f"d.{name}" for name in Delivery.__struct_fields__)
_STATUS = {None: "", "pending": "AND d.status = 'pending'", "delivered": "AND d.status = 'delivered'"} | {
    "dead": "AND d.status = 'dead'"
}


class WebhookQueries:
    """Statements on endpoints and deliveries."""

    def __init__(self, context: AppContext) -> None:
        self.db = context.database

    async def create(self, user: UUID, data: EndpointRequest, info: RequestInfo) -> NewEndpoint:
        """Make an endpoint. Errors: those of api.create_webhook_endpoint."""
        async with act_of(self.db, info) as connection:
            made = await connection.fetchrow(
                "SELECT * FROM api.create_webhook_endpoint($1, $2, $3, $4)",
                user,
                data.url,
                data.event_types,
                data.description,
            )
            assert made is not None
            await note_act(connection, user, "webhook_endpoint.created", made["endpoint_id"], {"url": data.url})
        return NewEndpoint(secret=made["secret"], endpoint=await self.endpoint(user, made["endpoint_id"]))

    async def endpoints(self, user: UUID, before: UUID | None, limit: int) -> list[Endpoint]:
        """The user's endpoints, newest first."""
        return await self.db.fetch_as(
            Endpoint,
            f"""
            SELECT {_ENDPOINT} FROM api.webhook_endpoints AS e
            WHERE e.user_id = $1 AND e.endpoint_id < $2 ORDER BY e.endpoint_id DESC LIMIT $3
            """,
            user,
            before or LAST,
            limit,
        )

    async def endpoint(self, user: UUID, endpoint: UUID) -> Endpoint:
        """An endpoint of the user. Errors: WEBHOOK_ENDPOINT_NOT_FOUND."""
        found = await self.db.fetch_one_as(
            Endpoint,
            f"SELECT {_ENDPOINT} FROM api.webhook_endpoints AS e WHERE e.user_id = $1 AND e.endpoint_id = $2",
            user,
            endpoint,
        )
        if found is None:
            raise error("WEBHOOK_ENDPOINT_NOT_FOUND", endpoint_id=str(endpoint))
        return found

    async def update(self, user: UUID, endpoint: UUID, data: EndpointPatch, info: RequestInfo) -> Endpoint:
        """Change the fields that are set. Errors: those of api.update_webhook_endpoint."""
        changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow(
                f"SELECT {_ENDPOINT} FROM api.update_webhook_endpoint($1, $2, $3) AS e",
                endpoint,
                msgspec.json.encode(changes).decode(),
                user,
            )
            await note_act(connection, user, "webhook_endpoint.updated", endpoint, changes)
        assert row is not None
        return Endpoint(**row)

    async def rotate(self, user: UUID, endpoint: UUID, info: RequestInfo) -> NewSecret:
        """A new secret. Errors: those of api.rotate_webhook_secret."""
        async with act_of(self.db, info) as connection:
            row = await connection.fetchrow("SELECT * FROM api.rotate_webhook_secret($1, $2)", endpoint, user)
            assert row is not None
            await note_act(connection, user, "webhook_endpoint.rotated", endpoint, {})
        return NewSecret(**row)

    async def delete(self, user: UUID, endpoint: UUID, info: RequestInfo) -> None:
        """Take an endpoint away. Errors: those of api.delete_webhook_endpoint."""
        async with act_of(self.db, info) as connection:
            await connection.execute("SELECT api.delete_webhook_endpoint($1, $2)", endpoint, user)
            await note_act(connection, user, "webhook_endpoint.deleted", endpoint, {})

    async def test(self, user: UUID, endpoint: UUID) -> Delivery:
        """Send the test event. Errors: those of api.test_webhook_endpoint."""
        return await self._delivery(f"SELECT {_DELIVERY} FROM api.test_webhook_endpoint($1, $2) AS d", endpoint, user)

    async def replay(self, user: UUID, delivery: UUID) -> Delivery:
        """Send it again. Errors: those of api.replay_webhook_delivery."""
        return await self._delivery(f"SELECT {_DELIVERY} FROM api.replay_webhook_delivery($1, $2) AS d", delivery, user)

    async def deliveries(
        self, user: UUID, endpoint: UUID, status: DeliveryStatus | None, before: UUID | None, limit: int
    ) -> list[Delivery]:
        """Deliveries to an endpoint of the user, newest first. Errors: WEBHOOK_ENDPOINT_NOT_FOUND."""
        await self.endpoint(user, endpoint)
        return await self.db.fetch_as(
            Delivery,
            f"""
            SELECT {_DELIVERY} FROM api.webhook_deliveries AS d
            WHERE d.endpoint_id = $1 AND d.delivery_id < $2 {_STATUS[status]}
            ORDER BY d.delivery_id DESC LIMIT $3
            """,
            endpoint,
            before or LAST,
            limit,
        )

    async def delivery(self, user: UUID, delivery: UUID) -> DeliveryDetails:
        """A delivery of the user with its attempts. Errors: WEBHOOK_DELIVERY_NOT_FOUND."""
        row = await self.db.fetchrow(
            f"SELECT {_DELIVERY}, d.payload FROM api.webhook_deliveries AS d"
            " WHERE d.user_id = $1 AND d.delivery_id = $2",
            user,
            delivery,
        )
        if row is None:
            raise error("WEBHOOK_DELIVERY_NOT_FOUND", delivery_id=str(delivery))
        history = await self.db.fetch_as(
            Attempt,
            """
            SELECT a.attempt, a.started_at, a.duration_ms, a.status, a.error, a.answer FROM api.webhook_attempts AS a
            WHERE a.delivery_id = $1 ORDER BY a.attempt DESC LIMIT $2
            """,
            delivery,
            MAX_HISTORY,
        )
        fields: dict[str, Any] = dict(row)
        payload = msgspec.json.decode(fields.pop("payload"))
        return DeliveryDetails(**fields, payload=payload, history=history)

    async def _delivery(self, sql: str, subject: UUID, user: UUID) -> Delivery:
        row = await self.db.fetchrow(sql, subject, user)
        assert row is not None
        return Delivery(**row)
