"""Changing a stream, its chat, its viewers, and bans, over HTTP."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from tests.api.people import Person, api, register, slug
from tests.api.test_tips import fund
from tests.support.postgres import Connection

NOBODY = "00000000-0000-7000-8000-00000000dead"
FAR_CURSOR = urlsafe_b64encode(json.dumps(["0001-01-01T00:00:00+14:00", NOBODY]).encode()).decode().rstrip("=")
STREAM = {"title": "Late show", "channel": "late-show", "visibility": "private", "ticket_price": 30, "seats": 2}


class Cast(msgspec.Struct):
    """A creator with a private stream that is live, Ada who has a ticket, and Ben who has none."""

    creator: Person
    ada: Person
    ben: Person
    path: str


async def ask(
    client: httpx.AsyncClient, method: str, person: Person, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    """A request in somebody's name."""
    return await client.request(method, api(path), json=body, headers={**person.headers, **headers})


@pytest.fixture
async def cast(client: httpx.AsyncClient, db: Connection) -> Cast:
    """Who is there."""
    creator, ada, ben = [await register(client) for _ in range(3)]
    await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", creator.id)
    await fund(db, ada, 100)
    made = await ask(client, "POST", creator, "/streams", STREAM)
    path = f"/streams/{made.json()['stream_id']}"
    await ask(client, "POST", creator, f"{path}/start")
    bought = await ask(client, "POST", ada, f"{path}/tickets/checkout", **{"Idempotency-Key": "k"})
    assert bought.status_code == 201, bought.text
    return Cast(creator, ada, ben, path)


async def test_a_stream_is_changed_by_its_owner(client: httpx.AsyncClient, cast: Cast) -> None:
    before = (await ask(client, "GET", cast.ada, cast.path)).json()
    changes = {"title": "Later show", "ticket_price": 40, "starts_at": "2030-01-01T20:00:00+01:00"}
    done = await ask(client, "PATCH", cast.creator, cast.path, changes)
    assert done.status_code == 200, done.text
    assert done.json() == before | changes | {"starts_at": "2030-01-01T19:00:00Z"}
    cleared = await ask(client, "PATCH", cast.creator, cast.path, {"starts_at": None, "seats": None})
    assert (cleared.json()["starts_at"], cleared.json()["seats"], cleared.json()["seats_left"]) == (None, None, None)
    assert (await ask(client, "PATCH", cast.creator, cast.path, {})).json() == cleared.json()
    few = await ask(client, "PATCH", cast.creator, cast.path, {"seats": 1})
    assert (few.status_code, few.json()["seats_left"]) == (200, 0)
    assert slug(await ask(client, "PATCH", cast.ada, cast.path, {"title": "Mine"})) == "NOT_STREAM_OWNER"
    assert slug(await ask(client, "PATCH", cast.creator, f"/streams/{NOBODY}", {})) == "STREAM_NOT_FOUND"
    await ask(client, "POST", cast.creator, f"{cast.path}/end")
    ended = await ask(client, "PATCH", cast.creator, cast.path, {"title": "Over"})
    assert (ended.status_code, slug(ended)) == (409, "STREAM_ENDED")


async def test_fewer_seats_than_tickets(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    await fund(db, cast.ben, 100)
    await ask(client, "POST", cast.ben, f"{cast.path}/tickets/checkout", **{"Idempotency-Key": "k"})
    answer = await ask(client, "PATCH", cast.creator, cast.path, {"seats": 1})
    assert (answer.status_code, slug(answer), answer.json()["seats_sold"]) == (409, "SEATS_SOLD", 2)


BAD: list[tuple[Any, str]] = [
    ({"title": None}, "VALIDATION_ERROR"),
    ({"title": ""}, "VALIDATION_ERROR"),
    ({"title": "a\x00b"}, "VALIDATION_ERROR"),
    ({"title": "   "}, "INVALID_REQUEST"),
    ({"visibility": "secret"}, "VALIDATION_ERROR"),
    ({"ticket_price": None}, "VALIDATION_ERROR"),
    ({"ticket_price": -1}, "VALIDATION_ERROR"),
    ({"ticket_price": 2**63}, "VALIDATION_ERROR"),
    ({"ticket_price": 1.5}, "VALIDATION_ERROR"),
    ({"seats": 0}, "VALIDATION_ERROR"),
    ({"seats": 2**63}, "VALIDATION_ERROR"),
    ({"starts_at": "soon"}, "VALIDATION_ERROR"),
    ({"starts_at": "0001-01-01T00:00:00+14:00"}, "INVALID_REQUEST"),
    ({"starts_at": "9999-12-31T23:59:59-14:00"}, "INVALID_REQUEST"),
    ({"sales_from": "2030-01-02T00:00:00Z", "sales_to": "2030-01-01T00:00:00Z"}, "INVALID_REQUEST"),
    ({"channel": "another"}, "VALIDATION_ERROR"),
    ({"status": "ended"}, "VALIDATION_ERROR"),
    ([], "VALIDATION_ERROR"),
]


@pytest.mark.parametrize(("changes", "error"), BAD, ids=str)
async def test_changes_that_cannot_be(client: httpx.AsyncClient, cast: Cast, changes: Any, error: str) -> None:
    assert slug(await ask(client, "PATCH", cast.creator, cast.path, changes)) == error


async def test_nan_is_not_json(client: httpx.AsyncClient, cast: Cast) -> None:
    headers = {**cast.creator.headers, "Content-Type": "application/json"}
    answer = await client.patch(api(cast.path), content=b'{"ticket_price": NaN}', headers=headers)
    assert slug(answer) == "MALFORMED_JSON"


async def test_a_chat(client: httpx.AsyncClient, cast: Cast) -> None:
    path = f"{cast.path}/messages"
    for n in range(3):
        posted = await ask(client, "POST", cast.ada, path, {"body": f"m{n}"})
        assert posted.status_code == 201, posted.text
        assert set(posted.json()) == {"message_id", "created_at"}
    page = (await ask(client, "GET", cast.ada, f"{path}?limit=2")).json()
    assert [item["body"] for item in page["items"]] == ["m2", "m1"]
    assert page["items"][0] == {
        "message_id": posted.json()["message_id"],
        "user_id": str(cast.ada.id),
        "username": cast.ada.username,
        "body": "m2",
        "created_at": posted.json()["created_at"],
    }
    rest = (await ask(client, "GET", cast.creator, f"{path}?cursor={page['next_cursor']}")).json()
    assert ([item["body"] for item in rest["items"]], rest["next_cursor"]) == (["m0"], None)
    assert slug(await ask(client, "GET", cast.ada, f"{path}?cursor=bad")) == "VALIDATION_ERROR"
    for method, body in (("GET", None), ("POST", {"body": "m"})):
        refused = await ask(client, method, cast.ben, path, body)
        assert (refused.status_code, slug(refused)) == (403, "NO_ACCESS_TO_STREAM")
        assert slug(await ask(client, method, cast.ben, f"/streams/{NOBODY}/messages", body)) == "STREAM_NOT_FOUND"
        assert (await client.request(method, api(path), json=body)).status_code == 401


async def test_a_message_with_a_key_is_posted_once(client: httpx.AsyncClient, cast: Cast) -> None:
    path, key = f"{cast.path}/messages", {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(ask(client, "POST", cast.ada, path, {"body": "once"}, **key) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 4
    other = await ask(client, "POST", cast.ada, path, {"body": "twice"}, **key)
    assert (other.status_code, slug(other)) == (409, "IDEMPOTENCY_KEY_REUSED")
    bad = await ask(client, "POST", cast.ada, path, {"body": "m"}, **{"Idempotency-Key": "a b"})
    assert slug(bad) == "IDEMPOTENCY_KEY_INVALID"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "VALIDATION_ERROR"),
        ({"body": None}, "VALIDATION_ERROR"),
        ({"body": ""}, "VALIDATION_ERROR"),
        ({"body": "  "}, "INVALID_REQUEST"),
        ({"body": "m" * 501}, "VALIDATION_ERROR"),
        ({"body": "a\x00b"}, "VALIDATION_ERROR"),
        ({"body": 1}, "VALIDATION_ERROR"),
        ({"body": "m", "user_id": NOBODY}, "VALIDATION_ERROR"),
    ],
)
async def test_messages_that_cannot_be(client: httpx.AsyncClient, cast: Cast, body: Any, error: str) -> None:
    assert slug(await ask(client, "POST", cast.ada, f"{cast.path}/messages", body)) == error


async def test_too_many_messages(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    await db.execute("SELECT api.set_rate('chat_messages_minute', 0)")
    answer = await ask(client, "POST", cast.ada, f"{cast.path}/messages", {"body": "m"})
    assert (answer.status_code, slug(answer)) == (429, "CHAT_LIMIT")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


async def test_messages_are_removed(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    path = f"{cast.path}/messages"

    async def post() -> str:
        return f"{path}/{(await ask(client, 'POST', cast.ada, path, {'body': 'm'})).json()['message_id']}"

    message = await post()
    refused = await ask(client, "DELETE", cast.ben, message)
    assert (refused.status_code, slug(refused)) == (403, "FORBIDDEN")
    assert slug(await ask(client, "DELETE", cast.ada, f"{path}/{NOBODY}")) == "MESSAGE_NOT_FOUND"
    for person in (cast.ada, cast.ada, cast.creator):
        assert (await ask(client, "DELETE", person, message)).status_code == 204
    await db.execute("UPDATE core.users SET roles = '{moderator}' WHERE id = $1", cast.ben.id)
    assert (await ask(client, "DELETE", cast.ben, await post())).status_code == 204
    assert (await ask(client, "GET", cast.ada, path)).json()["items"] == []
    assert (await client.delete(api(message))).status_code == 401


async def test_bans(client: httpx.AsyncClient, cast: Cast) -> None:
    bans = "/creators/me/bans"
    banned = await ask(client, "PUT", cast.creator, f"{bans}/{cast.ada.id}", {"reason": "shouts"})
    assert (banned.status_code, banned.json()["reason"]) == (200, "shouts")
    assert (await ask(client, "PUT", cast.creator, f"{bans}/{cast.ada.id}", {})).json() == banned.json()
    refused = await ask(client, "POST", cast.ada, f"{cast.path}/messages", {"body": "m"})
    assert (refused.status_code, slug(refused)) == (403, "BANNED")
    await ask(client, "PUT", cast.creator, f"{bans}/{cast.ben.id}", {})
    page = (await ask(client, "GET", cast.creator, f"{bans}?limit=1")).json()
    assert [item["user_id"] for item in page["items"]] == [str(cast.ben.id)]
    rest = (await ask(client, "GET", cast.creator, f"{bans}?cursor={page['next_cursor']}")).json()
    assert rest == {"items": [banned.json()], "next_cursor": None}
    for bad in ("bad", "WzEsMl0", FAR_CURSOR):
        assert slug(await ask(client, "GET", cast.creator, f"{bans}?cursor={bad}")) == "VALIDATION_ERROR"
    for _ in range(2):
        assert (await ask(client, "DELETE", cast.creator, f"{bans}/{cast.ada.id}")).status_code == 204
    assert (await ask(client, "POST", cast.ada, f"{cast.path}/messages", {"body": "m"})).status_code == 201


async def test_bans_that_cannot_be(client: httpx.AsyncClient, cast: Cast) -> None:
    bans = "/creators/me/bans"
    assert slug(await ask(client, "PUT", cast.creator, f"{bans}/{cast.creator.id}", {})) == "SELF_BAN"
    assert slug(await ask(client, "PUT", cast.creator, f"{bans}/{uuid4()}", {})) == "USER_NOT_FOUND"
    for body in ({"reason": ""}, {"reason": "r" * 256}, {"reason": "a\x00b"}, {"surprise": 1}):
        assert slug(await ask(client, "PUT", cast.creator, f"{bans}/{cast.ada.id}", body)) == "VALIDATION_ERROR"
    assert slug(await ask(client, "PUT", cast.creator, f"{bans}/{cast.ada.id}", {"reason": " "})) == "INVALID_REQUEST"
    for method, path in (("GET", bans), ("PUT", f"{bans}/{cast.ben.id}"), ("DELETE", f"{bans}/{cast.ben.id}")):
        sent: dict[str, str] | None = {} if method == "PUT" else None
        assert slug(await ask(client, method, cast.ada, path, sent)) == "FORBIDDEN"
        assert (await client.request(method, api(path), json=sent)).status_code == 401


async def test_viewers_and_tips_are_shown(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    path = f"{cast.path}/watch"
    beats = await asyncio.gather(*(ask(client, "POST", cast.ada, path) for _ in range(5)))
    assert [beat.status_code for beat in beats] == [200] * 5, beats[0].text
    assert set(beats[0].json()) == {"viewers", "seen_until"}
    refused = await ask(client, "POST", cast.ben, path)
    assert (refused.status_code, slug(refused)) == (403, "NO_ACCESS_TO_STREAM")
    assert slug(await ask(client, "POST", cast.ben, f"/streams/{NOBODY}/watch")) == "STREAM_NOT_FOUND"
    assert (await client.post(api(path))).status_code == 401
    await db.execute("SELECT api.count_viewers()")
    tip = {"creator_id": str(cast.creator.id), "amount": 20, "context": {"stream_id": cast.path.rpartition("/")[2]}}
    sent = await ask(client, "POST", cast.ada, "/tips/send", tip, **{"Idempotency-Key": "t"})
    assert sent.status_code == 201, sent.text
    shown = (await ask(client, "GET", cast.ben, cast.path)).json()
    assert (shown["viewers"], shown["peak_viewers"], shown["total_tips"]) == (1, 1, 20)
    assert (await ask(client, "POST", cast.ada, path)).json()["viewers"] == 1
    await ask(client, "POST", cast.creator, f"{cast.path}/end")
    over = await ask(client, "POST", cast.ada, path)
    assert (over.status_code, slug(over)) == (409, "STREAM_NOT_LIVE")


async def test_a_key_needs_the_scope(client: httpx.AsyncClient, cast: Cast) -> None:
    made = await ask(client, "POST", cast.ada, "/api-keys", {"name": "k", "scopes": ["streams:read"]})
    headers = {"X-API-Key": made.json()["key"]}
    assert (await client.get(api(f"{cast.path}/messages"), headers=headers)).status_code == 200
    answer = await client.post(api(f"{cast.path}/messages"), json={"body": "m"}, headers=headers)
    assert (slug(answer), answer.json()["required"]) == ("INSUFFICIENT_SCOPE", "chat:write")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_times_outside_of_time(client: httpx.AsyncClient, cast: Cast, moment: str) -> None:
    body = STREAM | {"channel": "another", "starts_at": moment}
    assert (await ask(client, "POST", cast.creator, "/streams", body)).status_code == 422
