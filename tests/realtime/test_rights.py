"""Rights that end: the socket loses the channel, or closes with a code that says why."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.core.auth import Actor, TokenSigner
from app.realtime.service import Realtime
from tests.api.people import api, register
from tests.realtime.world import live_stream, put, relay, ticket
from tests.support.calls import ACCEPT, OPEN, ask_for
from tests.support.nodes import Node
from tests.support.postgres import Connection

pytestmark = pytest.mark.makes_events

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


async def test_a_ticket_that_is_refunded(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    stream = await live_stream(db, creator, "private")
    await db.execute("SELECT api.grant_tokens($1, 10, 'gift')", fan.id)
    await db.execute("SELECT api.buy_ticket($1, $2, 'k')", fan.id, stream)
    channel = f"stream:{stream}"
    async with node.socket(fan.access_token) as talk, node.socket(creator.access_token) as owner:
        await talk.follow(channel)
        await talk.follow(f"creator:{fan.id}")
        await owner.follow(channel)
        await db.execute("SELECT api.cancel_stream($1, 'ill', $2)", stream, creator.id)
        assert await talk.next() == {"op": "revoked", "channel": channel, "error": "NO_ACCESS_TO_STREAM"}
        await db.execute(
            "INSERT INTO core.outbox (type, channels, payload) VALUES ('late', $1, '{}')",
            [channel, f"creator:{fan.id}"],
        )
        await relay(db)
        assert [event["channel"] for event in await talk.events(1)] == [f"creator:{fan.id}"]
        await talk.silent()
        while (await owner.next())["events"][-1]["type"] != "late":
            pass


async def test_a_stream_that_becomes_private(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    stream = await live_stream(db, creator)
    async with node.socket(fan.access_token) as talk:
        await talk.follow(f"stream:{stream}")
        await db.execute("UPDATE core.streams SET visibility = 'private', ticket_price = 5 WHERE id = $1", stream)
        assert (await talk.next())["error"] == "NO_ACCESS_TO_STREAM"


async def test_an_operator_that_is_none_any_more(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    await db.execute("UPDATE core.users SET roles = '{operator}' WHERE id = $1", fan.id)
    async with node.socket(fan.access_token) as talk:
        await talk.follow("ops")
        await put(db, "ops", 1)
        assert len(await talk.events(1)) == 1
        await db.execute("UPDATE core.users SET roles = '{}' WHERE id = $1", fan.id)
        assert await talk.next() == {"op": "revoked", "channel": "ops", "error": "FORBIDDEN"}


async def test_who_is_suspended(node: Node, db: Connection) -> None:
    fan, other = await register(node.http), await register(node.http)
    async with (
        node.socket(fan.access_token) as talk,
        node.socket() as by_ticket,
        node.socket(other.access_token) as bystander,
    ):
        await talk.follow(f"user:{fan.id}")
        await by_ticket.ask("auth", ticket=await ticket(node, fan))
        await bystander.ask("ping")
        await db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", fan.id)
        assert await talk.closed() == (4003, "USER_SUSPENDED")
        assert await by_ticket.closed() == (4003, "USER_SUSPENDED")
        assert (await bystander.ask("ping"))["op"] == "ping"


async def test_who_signs_out(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk, node.socket() as by_ticket:
        await talk.follow(f"user:{fan.id}")
        await by_ticket.ask("auth", ticket=await ticket(node, fan))
        out = await node.http.post(api("/auth/logout"), json={"refresh_token": fan.refresh_token})
        assert out.status_code == 204, out.text
        assert await talk.closed() == (4001, "INVALID_TOKEN")
        assert await by_ticket.closed() == (4001, "INVALID_TOKEN")


async def test_one_session_ends_and_the_other_goes_on(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    body = {"email": fan.email, "password": "correct horse battery"}
    second = (await node.http.post(api("/auth/login"), json=body)).json()["access_token"]
    async with node.socket(fan.access_token) as first, node.socket(second) as talk:
        await first.ask("ping")
        await node.http.post(api("/auth/logout"), json={"refresh_token": fan.refresh_token})
        assert await first.closed() == (4001, "INVALID_TOKEN")
        assert (await talk.ask("ping"))["op"] == "ping"


async def test_all_tokens_of_before(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        await talk.ask("ping")
        await db.execute("UPDATE core.users SET token_epoch = token_epoch + 1 WHERE id = $1", fan.id)
        assert await talk.closed() == (4001, "INVALID_TOKEN")


async def test_a_key_that_is_deleted(node: Node) -> None:
    fan = await register(node.http)
    body = {"name": "k", "scopes": ["realtime:read"]}
    made = (await node.http.post(api("/api-keys"), json=body, headers=fan.headers)).json()
    async with node.socket(made["key"]) as talk, node.socket(fan.access_token) as by_token:
        await talk.follow(f"user:{fan.id}")
        await by_token.ask("ping")
        gone = await node.http.delete(api(f"/api-keys/{made['api_key']['id']}"), headers=fan.headers)
        assert gone.status_code == 204, gone.text
        assert await talk.closed() == (4001, "INVALID_TOKEN")
        assert (await by_token.ask("ping"))["op"] == "ping"


async def test_a_token_that_expires_unless_it_is_renewed(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    context = node.app.state["context"]
    session: UUID = await db.fetchval("SELECT id FROM core.sessions")
    signer: TokenSigner = context.auth.signer
    now = await db.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    short = signer.issue(fan.id, session, 0, now - signer.ttl_seconds + 3)
    async with node.socket(short) as talk, node.socket(short) as renewed:
        await talk.follow(f"user:{fan.id}")
        await renewed.follow(f"creator:{fan.id}")
        assert (await renewed.ask("auth", token=fan.access_token))["op"] == "auth"
        assert await talk.closed() == (4001, "TOKEN_EXPIRED")
        await put(db, f"creator:{fan.id}", 1)
        assert len(await renewed.events(1)) == 1


async def _revoke(node: Node, db: Connection) -> None:
    """End all sessions; the node has heard of it."""
    auth = node.app.state["context"].auth
    heard = asyncio.Event()

    def tell(_: UUID | None) -> None:
        heard.set()

    auth.on_revoked.append(tell)
    await db.execute("UPDATE core.sessions SET revoked_at = now(), revoke_reason = 'logout'")
    await heard.wait()
    auth.on_revoked.remove(tell)


@pytest.mark.parametrize("way", ["authenticate", "redeem", "verify"])
async def test_who_signs_out_while_being_let_in(
    node: Node, db: Connection, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The notification comes after the credential was looked at, and before the socket is known to be theirs."""
    fan = await register(node.http)
    made = await ticket(node, fan)
    before = getattr(Realtime, way)

    async def late(self: Realtime, *args: Any) -> Actor | None:
        actor: Actor | None = await before(self, *args)
        if actor is not None:
            await _revoke(node, db)
        return actor

    monkeypatch.setattr(Realtime, way, late)
    async with node.socket(fan.access_token if way == "authenticate" else None) as talk:
        if way == "redeem":
            assert (await talk.ask("auth", ticket=made))["op"] == "auth"
        elif way == "verify":
            assert (await talk.ask("auth", token=fan.access_token))["op"] == "auth"
        assert await talk.closed() == (4001, "INVALID_TOKEN")


async def test_who_signs_out_while_nothing_can_be_heard(node: Node, db: Connection) -> None:
    """No notification comes, and none is known to be missed: the new connection takes its time."""
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        await talk.ask("ping")
        await node.app.state["context"].listener.stop()
        await asyncio.sleep(1.2)
        await db.execute("UPDATE core.sessions SET revoked_at = now(), revoke_reason = 'logout'")
        assert await talk.closed() == (4001, "INVALID_TOKEN")


async def test_a_key_does_over_the_socket_what_it_may_do_elsewhere(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    stream = await live_stream(db, creator)
    await ask_for(db, creator.id, 60)
    await db.execute("SELECT api.grant_tokens($1, 1000, 'gift')", fan.id)
    row = await db.fetchrow(OPEN, fan.id, creator.id, "k")
    assert row is not None
    await db.execute(ACCEPT, row["call_id"], creator.id)
    channels = {f"stream:{stream}": "streams:read", f"call:{row['call_id']}": "calls:write"}
    for scopes in (["realtime:read"], ["realtime:read", *channels.values()]):
        body = {"name": "k", "scopes": scopes}
        made = (await node.http.post(api("/api-keys"), json=body, headers=fan.headers)).json()["key"]
        asked = await node.http.post(api("/realtime/ticket"), headers={"X-API-Key": made})
        async with node.socket(made) as talk, node.socket() as by_ticket:
            assert (await by_ticket.ask("auth", ticket=asked.json()["ticket"]))["op"] == "auth"
            for one in (talk, by_ticket):
                for channel, scope in channels.items():
                    await one.follow(channel)
                    reply = await one.ask("presence", channel=channel)
                    if scope in scopes:
                        assert reply["op"] == "presence", reply
                    else:
                        assert (reply["error"], reply["required"]) == ("INSUFFICIENT_SCOPE", scope)


async def test_everybody_is_asked_about_after_notifications_were_missed(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        await talk.ask("ping")
        await db.execute("ALTER TABLE core.sessions DISABLE TRIGGER ALL")
        await db.execute("UPDATE core.sessions SET revoked_at = now(), revoke_reason = 'logout'")
        await db.execute(CUT)
        assert await talk.closed() == (4001, "INVALID_TOKEN")
