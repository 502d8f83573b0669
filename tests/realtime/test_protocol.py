"""What is said over the socket, and before it: who may open one, and what is wrong with a frame."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.core.auth import Actor
from app.core.context import RequestInfo
from app.realtime.service import Realtime
from tests.api.people import Person, api, register, slug
from tests.realtime.world import live_stream, put, ticket
from tests.support.nodes import Node, Talk, running_node
from tests.support.postgres import Clone, Connection

pytestmark = pytest.mark.makes_events


async def refusal(node: Node, token: str | None = None, **options: Any) -> tuple[int, str]:
    """Status and slug of an upgrade that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with node.socket(token, **options):
            pass
    response = caught.value.response
    body = msgspec.json.decode(response.body or b"")
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    return response.status_code, body["error"]


async def test_a_token_with_the_upgrade(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        assert (await talk.follow(f"user:{fan.id}"))["seq"] == 0


async def test_what_is_wrong_with_the_upgrade_is_told_by_http(node: Node) -> None:
    assert await refusal(node, "nonsense") == (401, "INVALID_TOKEN")
    assert await refusal(node, None, additional_headers={"X-API-Key": "tsk_no"}) == (401, "INVALID_TOKEN")


async def test_an_api_key_needs_the_scope(node: Node) -> None:
    fan = await register(node.http)
    for scopes, answer in ((["tips:read"], (403, "INSUFFICIENT_SCOPE")), (["realtime:read"], None)):
        made = await node.http.post(api("/api-keys"), json={"name": "k", "scopes": scopes}, headers=fan.headers)
        assert made.status_code == 201, made.text
        key = made.json()["key"]
        if answer is not None:
            assert await refusal(node, key) == answer
            continue
        async with node.socket(key) as talk:
            assert (await talk.ask("auth", token=key))["expires_at"] is None
            await talk.follow(f"user:{fan.id}")


async def test_a_ticket_is_good_once(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    made = await ticket(node, fan)
    stored = await db.fetchval("SELECT ticket_hash FROM core.realtime_tickets")
    assert stored == hashlib.sha256(made.encode()).digest()
    async with node.socket() as talk:
        reply = await talk.ask("auth", ticket=made)
        assert (reply["op"], reply["user_id"]) == ("auth", str(fan.id))
        assert reply["expires_at"] is not None
        await talk.follow(f"user:{fan.id}")
        # who is somebody stays so
        again = await talk.ask("auth", ticket=made)
        assert (again["op"], again["error"]) == ("error", "INVALID_TICKET")
        await talk.ask("ping")
    async with node.socket() as talk:
        assert (await talk.ask("auth", ticket=made))["error"] == "INVALID_TICKET"
        assert await talk.closed() == (4001, "INVALID_TICKET")


async def test_a_ticket_ends_with_its_time_and_with_its_session(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    for change, slug_ in (
        ("UPDATE core.realtime_tickets SET expires_at = now()", "INVALID_TICKET"),
        ("UPDATE core.sessions SET revoked_at = now(), revoke_reason = 'logout'", "INVALID_TOKEN"),
        ("UPDATE core.users SET status = 'suspended'", "USER_SUSPENDED"),
    ):
        made = await ticket(node, fan)
        await db.execute(change)
        async with node.socket() as talk:
            assert (await talk.ask("auth", ticket=made))["error"] == slug_
            assert await talk.closed() == (4003 if slug_ == "USER_SUSPENDED" else 4001, slug_)
        await db.execute("UPDATE core.sessions SET revoked_at = NULL, revoke_reason = NULL")


async def test_a_ticket_is_for_who_is_signed_in(node: Node) -> None:
    assert slug(await node.http.post(api("/realtime/ticket"))) == "NOT_AUTHENTICATED"


async def test_who_says_nothing_is_closed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.realtime.sockets.AUTH_SECONDS", 0.1)
    async with node.socket() as talk:
        assert await talk.closed() == (4001, "NOT_AUTHENTICATED")


async def test_nothing_is_told_to_strangers(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket() as talk:
        for op in ("subscribe", "unsubscribe", "presence"):
            assert (await talk.ask(op, channel=f"user:{fan.id}"))["error"] == "NOT_AUTHENTICATED"
        assert (await talk.ask("ping"))["op"] == "ping"


async def test_a_socket_stays_its_users(node: Node) -> None:
    fan, other = await register(node.http), await register(node.http)
    async with node.socket(fan.access_token) as talk:
        reply = await talk.ask("auth", token=other.access_token)
        assert reply["error"] == "INVALID_TOKEN"
        assert (await talk.ask("auth", token=fan.access_token))["user_id"] == str(fan.id)
        assert (await talk.ask("auth", token="x", ticket="y"))["error"] == "VALIDATION_ERROR"
        assert (await talk.ask("auth"))["error"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://good.example", True),
        ("https://GOOD.example:443", True),
        ("https://evil.example", False),
        ("https://good.example.evil.example", False),
        ("http://good.example", False),
        ("null", False),
        ("https://good.example:1", False),
        ("garbage", False),
        ("https://[::1", False),
    ],
)
async def test_origins(database: Clone, origin: str, allowed: bool) -> None:
    async with running_node(database.settings(cors_origins=("https://good.example",))) as node:
        fan = await register(node.http)
        if not allowed:
            assert await refusal(node, fan.access_token, origin=origin) == (403, "ORIGIN_NOT_ALLOWED")
            return
        async with node.socket(fan.access_token, origin=origin) as talk:
            await talk.ask("ping")


async def test_the_services_own_origin(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token, origin=f"http://127.0.0.1:{node.port}") as talk:
        await talk.ask("ping")


async def test_a_plain_request_is_told_that_this_is_a_websocket(node: Node) -> None:
    response = await node.http.get(api("/realtime"))
    assert (response.status_code, slug(response)) == (426, "UPGRADE_REQUIRED")
    assert response.headers["upgrade"] == "websocket"


async def test_another_server_says_that_it_cannot(client: httpx.AsyncClient) -> None:
    """As any ASGI server would serve it: without our wire."""
    response = await client.get(api("/realtime"))
    assert slug(response) == "UPGRADE_REQUIRED"


FRAMES: list[tuple[str | bytes, str]] = [
    ("", "MALFORMED_JSON"),
    ("{", "MALFORMED_JSON"),
    ("[" * 50_000, "VALIDATION_ERROR"),
    ("null", "VALIDATION_ERROR"),
    ("[]", "VALIDATION_ERROR"),
    ("1", "VALIDATION_ERROR"),
    ("{}", "VALIDATION_ERROR"),
    ('{"op": "explode"}', "VALIDATION_ERROR"),
    ('{"op": 1}', "VALIDATION_ERROR"),
    ('{"op": "ping", "more": 1}', "VALIDATION_ERROR"),
    ('{"op": "ping", "id": 1.5}', "VALIDATION_ERROR"),
    ('{"op": "ping", "id": {}}', "VALIDATION_ERROR"),
    ('{"op": "ping", "id": 9223372036854775808}', "VALIDATION_ERROR"),
    ('{"op": "ping", "id": "' + "x" * 65 + '"}', "VALIDATION_ERROR"),
    ('{"op": "ping", "id": NaN}', "MALFORMED_JSON"),
    ('{"op": "subscribe"}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": ""}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "x"}', "INVALID_CHANNEL"),
    ('{"op": "subscribe", "channel": "user:\\u0000"}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "' + "x" * 101 + '"}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "ops", "seq": 1}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "ops", "epoch": "7d0c0000-0000-0000-0000-000000000000"}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "ops", "epoch": "x", "seq": 1}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "ops", "seq": -1}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "ops", "seq": 9223372036854775808}', "VALIDATION_ERROR"),
    ('{"op": "subscribe", "channel": "ops", "seq": "1"}', "VALIDATION_ERROR"),
    ('{"op": "unsubscribe", "channel": 1}', "VALIDATION_ERROR"),
    ('{"op": "presence", "channel": "ops"}', "NOT_SUBSCRIBED"),
    ('{"op": "auth", "ticket": ""}', "VALIDATION_ERROR"),
    (b'{"op": "ping"}', "MALFORMED_JSON"),
    (b"\xff", "MALFORMED_JSON"),
]


async def test_every_bad_frame_has_its_answer(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        for frame, expected in FRAMES:
            await talk.raw.send(frame)
            answer = await talk.next()
            assert (answer["op"], answer["error"]) == ("error", expected), frame[:80]
            assert answer["title"]
        assert (await talk.ask("ping"))["op"] == "ping"


async def test_an_error_carries_the_id_that_can_be_read(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        await talk.raw.send('{"op": "explode", "id": "a"}')
        assert (await talk.next())["id"] == "a"
        await talk.raw.send('{"op": "ping", "id": "ü☃"}')
        assert (await talk.next())["id"] == "ü☃"
        await talk.raw.send('{"op": "ping"}')
        assert (await talk.next())["id"] is None


async def test_a_frame_that_is_too_large_closes_the_socket(node: Node) -> None:
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        await talk.raw.send('{"op": "ping", "id": "' + "x" * 70_000 + '"}')
        assert (await talk.closed())[0] == 1009


async def test_frames_beyond_the_limit_are_refused_and_then_the_socket(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.realtime.sockets.FRAMES_PER_SECOND", 0.0)
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        for n in range(302):
            await talk.raw.send(f'{{"op": "ping", "id": {n}}}')
        answers = [await talk.next() for _ in range(302)]
        refused = [answer for answer in answers if answer["op"] == "error"]
        assert refused
        assert {(a["error"], a["limited_by"], a["retry_after"]) for a in refused} == {("RATE_LIMITED", "socket", 1)}
        with suppress(ConnectionClosed):
            for _ in range(600):
                await talk.raw.send("{}")
        assert await talk.closed() == (4029, "RATE_LIMITED")


async def test_how_many_channels_a_socket_follows(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.realtime.sockets.CHANNELS", 2)
    fan = await register(node.http)
    async with node.socket(fan.access_token) as talk:
        for kind in ("user", "creator", "user"):  # one of them again
            await talk.follow(f"{kind}:{fan.id}")
        full = await talk.ask("subscribe", channel="ops")
        assert (full["error"], full["maximum"]) == ("TOO_MANY_SUBSCRIPTIONS", 2)
        await talk.ask("unsubscribe", channel=f"user:{fan.id}")
        assert (await talk.ask("subscribe", channel="ops"))["error"] == "FORBIDDEN"


async def test_how_many_sockets_a_user_has(database: Clone) -> None:
    async with running_node(database.settings(realtime_per_user=2)) as node:
        fan, other = await register(node.http), await register(node.http)
        async with node.socket(fan.access_token), node.socket(fan.access_token):
            assert await refusal(node, fan.access_token) == (429, "TOO_MANY_CONNECTIONS")
            async with node.socket() as talk:
                assert (await talk.ask("auth", ticket=await ticket(node, fan)))["error"] == "TOO_MANY_CONNECTIONS"
                assert await talk.closed() == (4029, "TOO_MANY_CONNECTIONS")
            async with node.socket(other.access_token) as talk:
                await talk.ask("ping")
        await _eventually_open(node, fan)


async def test_how_many_sockets_an_address_has(database: Clone) -> None:
    async with running_node(database.settings(realtime_per_address=2)) as node:
        fan = await register(node.http)
        async with node.socket(), node.socket():
            assert await refusal(node, fan.access_token) == (429, "TOO_MANY_CONNECTIONS")
        await _eventually_open(node, fan)


async def _eventually_open(node: Node, fan: Person) -> None:
    """The service has noticed that the others are gone."""
    for _ in range(100):
        try:
            async with node.socket(fan.access_token) as talk:
                await talk.ask("ping")
                return
        except InvalidStatus:
            await asyncio.sleep(0.05)
    raise AssertionError("sockets that are closed count for ever")


async def test_sockets_of_an_address_that_come_all_at_once(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are looked at before any of them is there."""
    async with running_node(database.settings(realtime_per_address=2)) as node:
        fan = await register(node.http)
        before = Realtime.authenticate
        waiting = 0
        let_in = asyncio.Event()

        async def slow(self: Realtime, info: RequestInfo) -> Actor | None:
            nonlocal waiting
            waiting += 1
            if waiting == 5:
                let_in.set()
            await let_in.wait()
            return await before(self, info)

        monkeypatch.setattr(Realtime, "authenticate", slow)

        async def one() -> tuple[int | None, str] | None:
            async with node.socket(fan.access_token) as talk:
                try:
                    await talk.ask("ping")
                except ConnectionClosed:
                    return talk.raw.close_code, talk.raw.close_reason or ""
                await asyncio.sleep(0.5)
                return None

        found = await asyncio.gather(*(one() for _ in range(5)))
        assert found.count((4029, "TOO_MANY_CONNECTIONS")) == 3


async def test_other_peoples_channels(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    hidden = await live_stream(db, creator, "private")
    async with node.socket(fan.access_token) as talk:
        for channel, expected in (
            (f"user:{creator.id}", "FORBIDDEN"),
            (f"creator:{creator.id}", "FORBIDDEN"),
            (f"stream:{hidden}", "NO_ACCESS_TO_STREAM"),
            (f"call:{fan.id}", "CALL_NOT_FOUND"),
            ("ops", "FORBIDDEN"),
        ):
            answer = await talk.ask("subscribe", channel=channel)
            assert (answer["error"], answer["channel"]) == (expected, channel)
            await put(db, channel, 1)
        await talk.silent()


async def test_no_event_after_the_reply_to_unsubscribe(node: Node, db: Connection) -> None:
    fan = await register(node.http)
    channel = f"creator:{fan.id}"
    async with node.socket(fan.access_token) as talk:
        await talk.follow(channel)
        await put(db, channel, 1)
        assert len(await talk.events(1)) == 1
        assert (await talk.ask("unsubscribe", channel=channel))["op"] == "unsubscribe"
        await put(db, channel, 2)
        await talk.silent()
        assert (await talk.ask("unsubscribe", channel=channel))["op"] == "unsubscribe"  # once more is as good


async def test_a_node_that_stops_says_so(database: Clone) -> None:
    async with running_node(database.settings()) as node:
        fan = await register(node.http)
        opened = node.socket(fan.access_token)
        talk: Talk = await opened.__aenter__()
        await talk.ask("ping")
    assert (await talk.closed())[0] == 1012
    await opened.__aexit__(None, None, None)
