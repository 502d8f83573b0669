"""LiveKit over HTTP: tokens claim by claim, rooms that close, webhooks and their forgeries."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
import pytest_asyncio

from tests.api.people import Person, api, register, slug
from tests.api.test_streams import NOBODY, STREAM, get, post
from tests.api.test_tips import fund
from tests.support.application import running_client
from tests.support.calls import ACCEPT, END, OPEN, ask_for, elapse
from tests.support.livekit import KEY, SECRET, FakeLiveKit, event, fake_livekit, sign
from tests.support.postgres import Clone, Connection

WEBHOOK = api("/webhooks/livekit")


class Cast(msgspec.Struct):
    """A creator with a private stream, a fan with 100 tokens, and the LiveKit they use."""

    creator: Person
    fan: Person
    stream: str
    livekit: FakeLiveKit


@pytest_asyncio.fixture
async def livekit() -> AsyncIterator[FakeLiveKit]:
    """A LiveKit."""
    async with fake_livekit() as found:
        yield found


@pytest_asyncio.fixture
async def online(database: Clone, livekit: FakeLiveKit) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that knows it."""
    async with running_client(livekit.settings(database.settings())) as http:
        yield http


@pytest_asyncio.fixture
async def cast(online: httpx.AsyncClient, db: Connection, livekit: FakeLiveKit) -> Cast:
    """Who is there."""
    creator, fan = [await register(online) for _ in range(2)]
    await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", creator.id)
    await db.execute("UPDATE core.users SET display_name = 'Ada Löve' WHERE id = $1", fan.id)
    await fund(db, fan, 100)
    made = await post(online, creator, "/streams", STREAM)
    return Cast(creator, fan, made.json()["stream_id"], livekit)


async def a_call(db: Connection, cast: Cast, *, accepted: bool = True) -> UUID:
    """The fan calls the creator."""
    await ask_for(db, cast.creator.id, 20)
    call: UUID = await db.fetchval(OPEN.replace("*", "call_id", 1), cast.fan.id, cast.creator.id, uuid4().hex)
    if accepted:
        await db.execute(ACCEPT, call, cast.creator.id)
    return call


async def enter(client: httpx.AsyncClient, person: Person, **what: Any) -> httpx.Response:
    """POST /live/token."""
    return await post(client, person, "/live/token", {name: str(value) for name, value in what.items()})


def claims_of(answer: httpx.Response) -> dict[str, Any]:
    """The claims of the token in an answer, its signature checked."""
    assert answer.status_code == 200, answer.text
    token = answer.json()["token"]
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"], issuer=KEY)
    return claims


def grants(room: str, publishes: bool) -> dict[str, Any]:
    """Everything a token says of its room: nothing is left to LiveKit's defaults, which allow."""
    return {
        "roomJoin": True,
        "room": room,
        "roomAdmin": False,
        "canPublish": publishes,
        "canPublishData": publishes,
        "canSubscribe": True,
        "canUpdateOwnMetadata": False,
    }


async def test_a_viewer_only_watches_and_the_owner_sends(online: httpx.AsyncClient, cast: Cast) -> None:
    room = f"stream-{cast.stream}"
    refused = await enter(online, cast.fan, stream_id=cast.stream)
    assert (refused.status_code, slug(refused), refused.json()["reason"]) == (403, "NO_ACCESS_TO_STREAM", "no_ticket")
    await post(online, cast.fan, f"/streams/{cast.stream}/tickets/checkout")
    viewer = await enter(online, cast.fan, stream_id=cast.stream)
    claims = claims_of(viewer)
    nbf, exp = claims.pop("nbf"), claims.pop("exp")
    assert exp - nbf == 120
    assert abs(nbf - time.time()) < 60
    assert claims == {"iss": KEY, "sub": str(cast.fan.id), "name": "Ada Löve", "video": grants(room, False)}
    assert viewer.json() | {"token": ""} == {
        "url": cast.livekit.url,
        "room": room,
        "token": "",
        "identity": str(cast.fan.id),
        "can_publish": False,
        "expires_in": 120,
    }
    owner = await enter(online, cast.creator, stream_id=cast.stream)
    assert claims_of(owner)["video"] == grants(room, True)
    assert claims_of(owner)["sub"] == str(cast.creator.id)
    assert owner.json()["can_publish"] is True


async def test_a_stream_started_again_and_ended_twice(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    room, body = f"stream-{cast.stream}", {"stream_id": cast.stream}
    for path in ("/live/start", "/live/end"):
        assert slug(await post(online, cast.fan, path, body)) == "NOT_STREAM_OWNER"
        assert slug(await post(online, cast.creator, path, {"stream_id": NOBODY})) == "STREAM_NOT_FOUND"
    assert slug(await post(online, cast.creator, "/live/end", body)) == "STREAM_NOT_LIVE"
    first = await post(online, cast.creator, "/live/start", body)
    again = await post(online, cast.creator, "/live/start", body)
    for started in (first, again):
        assert claims_of(started)["video"] == grants(room, True)
        assert (started.json()["stream"]["status"], started.json()["room"]) == ("live", room)
    assert first.json()["stream"] == again.json()["stream"]
    # the room emptied and LiveKit closed it: the next start is as any
    assert (await tell(online, event("room_finished", room))).status_code == 200
    assert (await post(online, cast.creator, "/live/start", body)).status_code == 200
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'stream.started'") == 1

    ended = await post(online, cast.creator, "/live/end", body)
    assert (ended.status_code, ended.json()["stream"]["status"], ended.json()["room_closed"]) == (200, "ended", True)
    assert (await post(online, cast.creator, "/live/end", body)).json() == ended.json()
    assert cast.livekit.deleted == [room, room]
    for person in (cast.creator, cast.fan):
        assert slug(await post(online, person, "/live/start", body)) in ("STREAM_ENDED", "NOT_STREAM_OWNER")
    assert slug(await enter(online, cast.creator, stream_id=cast.stream)) == "STREAM_ENDED"
    assert slug(await post(online, cast.fan, "/live/end", body)) == "NOT_STREAM_OWNER"


ANSWERS: list[tuple[int, str, bool]] = [
    (404, "not_found", True),
    (500, "internal", False),
    (403, "permission_denied", False),
]


@pytest.mark.parametrize(("status", "code", "closed"), ANSWERS, ids=str)
async def test_a_stream_ends_whatever_livekit_says(
    online: httpx.AsyncClient, cast: Cast, status: int, code: str, closed: bool
) -> None:
    body = {"stream_id": cast.stream}
    await post(online, cast.creator, "/live/start", body)
    cast.livekit.answers.append((status, {"code": code, "msg": "no"}))
    ended = await post(online, cast.creator, "/live/end", body)
    assert (ended.status_code, ended.json()["stream"]["status"]) == (200, "ended")
    assert ended.json()["room_closed"] is closed
    assert (await post(online, cast.creator, "/live/end", body)).json()["room_closed"] is True


async def test_a_stream_ends_where_livekit_is_away(database: Clone, online: httpx.AsyncClient, cast: Cast) -> None:
    body = {"stream_id": cast.stream}
    await post(online, cast.creator, "/live/start", body)
    settings = msgspec.structs.replace(cast.livekit.settings(database.settings()), livekit_url="http://127.0.0.1:1")
    async with running_client(settings) as away:
        ended = await post(away, cast.creator, "/live/end", body)
    assert (ended.status_code, ended.json()["stream"]["status"]) == (200, "ended")
    assert ended.json()["room_closed"] is False


async def test_a_call_is_for_its_two_people_while_it_goes_on(
    online: httpx.AsyncClient, cast: Cast, db: Connection
) -> None:
    call = await a_call(db, cast, accepted=False)
    for person in (cast.fan, cast.creator):
        # nothing is paid before it is accepted
        assert slug(await enter(online, person, call_id=call)) == "CALL_NOT_ACTIVE"
    await db.execute(ACCEPT, call, cast.creator.id)
    for person in (cast.fan, cast.creator):
        claims = claims_of(await enter(online, person, call_id=call))
        assert claims["video"] == grants(f"call-{call}", True)
        assert claims["sub"] == str(person.id)
    stranger = await register(online)
    assert slug(await enter(online, stranger, call_id=call)) == "NOT_CALL_PARTICIPANT"
    assert slug(await enter(online, cast.fan, call_id=NOBODY)) == "CALL_NOT_FOUND"
    assert slug(await enter(online, cast.fan, stream_id=call)) == "STREAM_NOT_FOUND"
    await db.execute(END, call, cast.fan.id)
    assert slug(await enter(online, cast.fan, call_id=call)) == "CALL_ENDED"


BODIES: list[dict[str, Any]] = [
    {},
    {"stream_id": None, "call_id": None},
    {"stream_id": NOBODY, "call_id": NOBODY},
    {"stream_id": "late-show"},
    {"stream_id": 1},
    {"stream_id": NOBODY, "room": "stream-1"},
    {"stream_id": NOBODY, "identity": NOBODY},
    {"call_id": "stream-" + NOBODY},
]


@pytest.mark.parametrize("body", BODIES, ids=str)
async def test_requests_that_do_not_fit(online: httpx.AsyncClient, cast: Cast, body: dict[str, Any]) -> None:
    for path in ("/live/token", "/live/start", "/live/end"):
        answer = await post(online, cast.creator, path, body)
        assert (answer.status_code, slug(answer)) == (422, "VALIDATION_ERROR")
        assert (await online.post(api(path), json=body)).status_code == 401


async def test_what_is_live(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    assert (await get(online, cast.fan, "/live/discover")).json() == {"items": [], "next_cursor": None}
    other = (await post(online, cast.creator, "/streams", {"title": "Two", "channel": "two"})).json()["stream_id"]
    for stream in (cast.stream, other):
        await post(online, cast.creator, "/live/start", {"stream_id": stream})
    page = (await get(online, cast.fan, "/live/discover?limit=1")).json()
    [newest] = page["items"]
    assert (newest["stream_id"], newest["title"], newest["visibility"]) == (other, "Two", "public")
    assert (newest["creator_id"], newest["creator_username"]) == (str(cast.creator.id), cast.creator.username)
    rest = (await get(online, cast.fan, f"/live/discover?cursor={page['next_cursor']}")).json()
    assert [stream["stream_id"] for stream in rest["items"]] == [cast.stream]
    assert rest["next_cursor"] is None
    await post(online, cast.creator, "/live/end", {"stream_id": other})
    assert [s["stream_id"] for s in (await get(online, cast.fan, "/live/discover")).json()["items"]] == [cast.stream]
    assert slug(await get(online, cast.fan, "/live/discover?cursor=x")) == "VALIDATION_ERROR"
    assert (await online.get(api("/live/discover"))).status_code == 401


async def test_without_livekit(client: httpx.AsyncClient, db: Connection) -> None:
    person = await register(client)
    body = {"stream_id": NOBODY}
    answers = [await post(client, person, path, body) for path in ("/live/token", "/live/start", "/live/end")]
    answers.append(await get(client, person, "/live/discover"))
    answers.append(await client.post(WEBHOOK, content=b"{}", headers={"Authorization": "x"}))
    assert [(answer.status_code, slug(answer)) for answer in answers] == [(503, "LIVEKIT_NOT_CONFIGURED")] * 5
    assert (await get(client, person, "/streams")).status_code == 200


async def tell(client: httpx.AsyncClient, told: dict[str, Any] | bytes, **signing: Any) -> httpx.Response:
    """A webhook, signed as LiveKit does."""
    body = told if isinstance(told, bytes) else msgspec.json.encode(told)
    headers = {"Authorization": sign(body, **signing), "Content-Type": "application/webhook+json"}
    return await client.post(WEBHOOK, content=body, headers=headers)


async def seen(db: Connection, call: UUID) -> tuple[Any, Any]:
    """When the fan left, and the creator."""
    row = await db.fetchrow("SELECT fan_left_at, creator_left_at FROM core.call_clocks WHERE call_id = $1", call)
    assert row is not None
    return tuple(row)


async def test_an_event_takes_effect_once(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    call = await a_call(db, cast)
    await elapse(db, call, 20, seen=False)
    left = event("participant_left", f"call-{call}", cast.fan.id, createdAt=str(int(time.time()) - 5))
    first = await tell(online, left)
    assert (first.status_code, first.json()) == (200, {"outcome": "applied"})
    noted = await seen(db, call)
    assert noted[0] is not None
    assert noted[1] is None
    for _ in range(2):
        assert (await tell(online, left)).json() == {"outcome": "repeated"}
    assert await seen(db, call) == noted
    row = await db.fetchrow("SELECT * FROM core.live_events")
    assert row is not None
    assert (row["id"], row["event"], row["identity"]) == (left["id"], "participant_left", str(cast.fan.id))
    assert int(row["created_at"].timestamp()) == int(left["createdAt"])


async def test_events_out_of_order_and_of_the_future(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    call = await a_call(db, cast)
    room, now = f"call-{call}", int(time.time())
    await elapse(db, call, 60, seen=False)
    for name, at in (("participant_joined", now - 5), ("participant_left", now - 10)):
        assert (await tell(online, event(name, room, cast.fan.id, createdAt=str(at)))).status_code == 200
    assert await seen(db, call) == (None, None), "they came back after they had left"
    paid = await db.fetchval("SELECT billed FROM api.calls WHERE call_id = $1", call)
    ahead = event("participant_joined", room, cast.creator.id, createdAt="9223372036854775807")
    assert (await tell(online, ahead)).json() == {"outcome": "applied"}
    assert await db.fetchval("SELECT max(created_at) <= clock_timestamp() FROM core.live_events")
    assert await db.fetchval("SELECT creator_seen_at <= clock_timestamp() FROM core.call_clocks")
    done = await tell(online, event("room_finished", room))
    assert (done.status_code, done.json()["outcome"]) == (200, "applied")
    assert await db.fetchval("SELECT billed FROM api.calls WHERE call_id = $1", call) == paid


async def test_a_second_connection_takes_the_place_of_the_first(
    online: httpx.AsyncClient, cast: Cast, db: Connection
) -> None:
    call = await a_call(db, cast)
    await elapse(db, call, 10, seen=False)
    replaced = event("participant_left", f"call-{call}", cast.fan.id)
    replaced["participant"]["disconnectReason"] = "DUPLICATE_IDENTITY"
    assert (await tell(online, replaced)).json() == {"outcome": "ignored"}
    assert await seen(db, call) == (None, None)


async def test_what_is_not_ours_is_ignored(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    call = await a_call(db, cast)
    strangers = [
        event("participant_joined", "lobby", cast.fan.id),
        event("participant_joined", f"call-{NOBODY}", cast.fan.id),
        event("participant_joined", f"stream-{NOBODY}", cast.fan.id),
        event("participant_joined", f"call-{call}", "EG_recorder"),
        event("participant_joined", f"call-{call}", ""),
        event("participant_left", f"call-{call}", NOBODY),
        event("participant_left", f"call-{call}"),
        event("track_published", f"call-{call}", cast.fan.id),
        event("room_started", f"call-{call}"),
        event("something_new", f"call-{call}", cast.fan.id, newField={"a": [1]}),
        event("egress_started", "", None, egressInfo={"egressId": "EG_1"}),
    ]
    for told in strangers:
        answer = await tell(online, told)
        assert (answer.status_code, answer.json()) == (200, {"outcome": "ignored"}), told
    assert await seen(db, call) == (None, None)


async def test_who_comes_when_it_is_over_is_shown_out(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    call = await a_call(db, cast)
    await enter(online, cast.fan, call_id=call)
    await db.execute(END, call, cast.fan.id)
    room = f"call-{call}"
    due = "SELECT room FROM api.live_rooms WHERE over_since IS NOT NULL AND closed_at IS NULL"
    assert [row["room"] for row in await db.fetch(due)] == [room]
    await db.execute("UPDATE core.live_rooms SET closed_at = now()")
    assert (await tell(online, event("participant_left", room, cast.fan.id))).json() == {"outcome": "ignored"}
    assert await db.fetch(due) == []
    assert (await tell(online, event("participant_joined", room, cast.fan.id))).json() == {"outcome": "over"}
    assert [row["room"] for row in await db.fetch(due)] == [room]


FORGERIES: dict[str, dict[str, Any]] = {
    "another secret": {"secret": "x" * 40},
    "another key": {"iss": "APIother"},
    "no issuer": {"iss": None},
    "expired": {"expires_in": -120},
    "never expires": {"exp": None},
    "not yet": {"nbf": int(time.time()) + 3600},
    "another hash": {"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
    "no hash": {"sha256": None},
    "an empty hash": {"sha256": ""},
    "a hash that is none": {"sha256": "!"},
    "a hash that is no text": {"sha256": 5},
    "no algorithm": {"algorithm": "none"},
    "another algorithm": {"algorithm": "HS384"},
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forgeries(online: httpx.AsyncClient, cast: Cast, db: Connection, forgery: str) -> None:
    call = await a_call(db, cast)
    told = event("participant_left", f"call-{call}", cast.fan.id)
    answer = await tell(online, told, **FORGERIES[forgery])
    assert (answer.status_code, slug(answer)) == (401, "LIVEKIT_SIGNATURE_INVALID")
    assert await db.fetchval("SELECT count(*) FROM core.live_events") == 0
    assert await seen(db, call) == (None, None)


async def test_more_forgeries(online: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    call = await a_call(db, cast)
    body = msgspec.json.encode(event("participant_left", f"call-{call}", cast.fan.id))
    token = (await enter(online, cast.fan, call_id=call)).json()["token"]
    headers: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": f"Bearer {sign(body)}"},
        {"Authorization": sign(body) + "x"},
        {"Authorization": sign(body + b" ")},
        {"Authorization": "é"},
        {"Authorization": token},  # a token that the same secret signed, for a client
        cast.fan.headers,
    ]
    for header in headers:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in header.items()]
        answer = await online.post(WEBHOOK, content=body, headers=raw)
        assert (answer.status_code, slug(answer)) == (401, "LIVEKIT_SIGNATURE_INVALID"), header
    tampered = body.replace(str(cast.fan.id).encode(), str(cast.creator.id).encode())
    answer = await online.post(WEBHOOK, content=tampered, headers={"Authorization": sign(body)})
    assert slug(answer) == "LIVEKIT_SIGNATURE_INVALID"
    assert await db.fetchval("SELECT count(*) FROM core.live_events") == 0


BROKEN: list[tuple[bytes, int, str]] = [
    (b"", 400, "MALFORMED_JSON"),
    (b"\xff\xfe", 400, "MALFORMED_JSON"),
    (b"[]", 422, "INVALID_REQUEST"),
    (b'"x"', 422, "INVALID_REQUEST"),
    (b'{"event": 1}', 400, "MALFORMED_JSON"),
    (b'{"createdAt": "soon"}', 400, "MALFORMED_JSON"),
    (b'{"createdAt": "9223372036854775808"}', 400, "MALFORMED_JSON"),
    (b'{"createdAt": "-9223372036854775808", "id": "EV_1"}', 200, "ignored"),
    (b"[" * 5000, 400, "MALFORMED_JSON"),
    (b'{"room": ' * 200 + b"1" + b"}" * 200, 422, "INVALID_REQUEST"),
    (b"{}", 422, "INVALID_REQUEST"),
    (b'{"id": "' + b"x" * 256 + b'"}', 422, "INVALID_REQUEST"),
    (b'{"id": "EV\\u0000"}', 422, "VALIDATION_ERROR"),
    (b'{"id": "EV_1", "room": {"name": "\\u0000"}}', 422, "VALIDATION_ERROR"),
    (b" " * (256 * 1024 + 1), 413, "PAYLOAD_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "status", "word"), BROKEN, ids=lambda value: str(value)[:40])
async def test_bodies_that_livekit_would_not_send(
    online: httpx.AsyncClient, body: bytes, status: int, word: str
) -> None:
    answer = await tell(online, body)
    assert answer.status_code == status, answer.text
    assert (answer.json()["outcome"] if status == 200 else slug(answer)) == word
