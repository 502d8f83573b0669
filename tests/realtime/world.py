"""What the tests of realtime are told in: events that are there, tickets, people with streams."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from tests.api.people import Person, api
from tests.support.nodes import Node
from tests.support.postgres import Connection

PUT = "INSERT INTO core.outbox (type, channels, payload) VALUES ('n', $1, jsonb_build_object('n', $2::integer))"
MANY = """
    INSERT INTO core.outbox (type, channels, payload)
    SELECT 'n', $1::text[], jsonb_build_object('n', n) FROM generate_series($2::integer, $3::integer) AS n"""


async def relay(db: Connection) -> None:
    """Relay what is there; a node may be at work at the same time."""
    while await db.fetchval("SELECT busy OR more OR events > 0 FROM api.relay_events()"):
        pass


async def put(db: Connection, channel: str, first: int, last: int | None = None) -> None:
    """Events numbered like their places in the channel, and relayed."""
    await db.execute(MANY, [channel], first, first if last is None else last)
    await relay(db)


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Their numbers, after checking that they are what was put there."""
    assert [event["seq"] for event in events] == [event["data"]["n"] for event in events]
    return [event["seq"] for event in events]


async def ticket(node: Node, who: Person) -> str:
    """A ticket of the realtime socket."""
    response = await node.http.post(api("/realtime/ticket"), headers=who.headers)
    assert response.status_code == 201, response.text
    found: str = response.json()["ticket"]
    return found


async def live_stream(db: Connection, creator: Person, visibility: str = "public") -> UUID:
    """A stream that is live, for 10 tokens where it is not public; all of that is relayed."""
    await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", creator.id)
    made: UUID = await db.fetchval(
        "SELECT stream_id FROM api.create_stream($1, 'Show', $2, $3, 10)", creator.id, uuid4().hex, visibility
    )
    await db.execute("SELECT api.start_stream($1)", made)
    await relay(db)
    return made
