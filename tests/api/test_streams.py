"""Streams and tickets over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from tests.api.people import Person, api, register, slug
from tests.api.test_tips import fund
from tests.support.postgres import Connection

NOBODY = "00000000-0000-7000-8000-00000000dead"
STREAM = {"title": "Late show", "channel": "late-show", "visibility": "private", "ticket_price": 30, "seats": 2}


class Cast(msgspec.Struct):
    """A creator with a private stream, and two fans with 100 tokens each."""

    creator: Person
    ada: Person
    ben: Person
    stream: str


async def post(
    client: httpx.AsyncClient, person: Person, path: str, body: dict[str, Any] | None = None, key: str | None = None
) -> httpx.Response:
    """A POST, with a key of its own unless one is given."""
    headers = {**person.headers, "Idempotency-Key": key or uuid4().hex}
    return await client.post(api(path), json=body, headers=headers)


@pytest.fixture
async def cast(client: httpx.AsyncClient, db: Connection) -> Cast:
    """Who is there."""
    creator, ada, ben = [await register(client) for _ in range(3)]
    await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", creator.id)
    for fan in (ada, ben):
        await fund(db, fan, 100)
    made = await post(client, creator, "/streams", STREAM)
    assert made.status_code == 201, made.text
    return Cast(creator, ada, ben, made.json()["stream_id"])


async def get(client: httpx.AsyncClient, person: Person, path: str) -> httpx.Response:
    """A GET."""
    return await client.get(api(path), headers=person.headers)


async def test_a_ticket_lets_one_in(client: httpx.AsyncClient, cast: Cast) -> None:
    path = f"/streams/{cast.stream}"
    assert (await get(client, cast.ada, f"{path}/access")).json() == {"has_access": False, "reason": "no_ticket"}
    answers = await asyncio.gather(*(post(client, cast.ada, f"{path}/tickets/checkout", key="k") for _ in range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8, answers[0].text
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 7
    assert (answers[0].json()["price"], answers[0].json()["new_balance"]) == (30, 70)
    assert (await get(client, cast.ada, f"{path}/access")).json() == {"has_access": True, "reason": "ticket_purchased"}
    assert (await get(client, cast.creator, f"{path}/access")).json()["reason"] == "owner"
    again = await post(client, cast.ada, f"{path}/tickets/checkout")
    assert (again.status_code, slug(again)) == (409, "TICKET_ALREADY_PURCHASED")
    assert again.json()["ticket_id"] == answers[0].json()["ticket_id"]
    assert (await get(client, cast.ben, path)).json()["seats_left"] == 1
    own = await post(client, cast.creator, f"{path}/tickets/checkout")
    assert (own.status_code, slug(own)) == (422, "OWN_STREAM")


async def test_a_stream_from_beginning_to_end(client: httpx.AsyncClient, cast: Cast) -> None:
    path = f"/streams/{cast.stream}"
    for act in ("start", "end"):
        assert slug(await post(client, cast.ada, f"{path}/{act}")) == "NOT_STREAM_OWNER"
    assert slug(await post(client, cast.creator, f"{path}/end")) == "STREAM_NOT_LIVE"
    assert (await post(client, cast.creator, f"{path}/start")).json()["status"] == "live"
    live = (await get(client, cast.ada, "/streams?status=live")).json()["items"]
    assert [stream["stream_id"] for stream in live] == [cast.stream]
    ended = await post(client, cast.creator, f"{path}/end")
    assert ended.json()["status"] == "ended"
    again = await post(client, cast.creator, f"{path}/end")
    assert (again.status_code, again.content) == (200, ended.content)
    assert slug(await post(client, cast.ada, f"{path}/end")) == "NOT_STREAM_OWNER"
    assert slug(await post(client, cast.creator, f"{path}/start")) == "STREAM_ENDED"
    # nobody is to think that its tickets were given back
    assert slug(await post(client, cast.creator, f"{path}/cancel", {"reason": "late"})) == "STREAM_ENDED"
    theirs = (await get(client, cast.ada, f"/creators/{cast.creator.id}/streams?status=ended&limit=1")).json()["items"]
    assert [stream["stream_id"] for stream in theirs] == [cast.stream]
    closed = await post(client, cast.ben, f"{path}/tickets/checkout")
    assert (closed.status_code, slug(closed), closed.json()["reason"]) == (409, "SALES_CLOSED", "ended")


async def test_cancelled_the_money_comes_back(client: httpx.AsyncClient, cast: Cast, db: Connection) -> None:
    path = f"/streams/{cast.stream}"
    await post(client, cast.ada, f"{path}/tickets/checkout")
    assert slug(await post(client, cast.ada, f"{path}/cancel", {"reason": "mine"})) == "NOT_STREAM_OWNER"
    done = await post(client, cast.creator, f"{path}/cancel", {"reason": "ill"})
    assert (done.status_code, done.json()["status"]) == (200, "ended")
    assert (await get(client, cast.ada, "/monetization/balance")).json()["balance"] == 100
    act = await db.fetchrow("SELECT actor_id, request_id FROM api.audit_log WHERE action = 'stream.cancelled'")
    assert act is not None
    assert (act["actor_id"], act["request_id"]) == (cast.creator.id, done.headers["X-Request-ID"])
    again = await post(client, cast.creator, f"{path}/cancel", {"reason": "ill"})
    assert (again.status_code, again.content) == (200, done.content)
    assert await db.fetchval("SELECT count(*) FROM core.audit_log WHERE action = 'stream.cancelled'") == 1
    assert slug(await post(client, cast.ada, f"{path}/cancel", {"reason": "mine"})) == "NOT_STREAM_OWNER"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"title": ""}, "VALIDATION_ERROR"),
    ({"title": "   "}, "INVALID_REQUEST"),
    ({"title": "\t\n"}, "INVALID_REQUEST"),
    ({"title": "ö" * 101}, "INVALID_REQUEST"),
    ({"channel": "No"}, "VALIDATION_ERROR"),
    ({"channel": "late-show"}, "CHANNEL_TAKEN"),
    ({"visibility": "secret"}, "VALIDATION_ERROR"),
    ({"ticket_price": -1}, "VALIDATION_ERROR"),
    ({"ticket_price": 2**63}, "VALIDATION_ERROR"),
    ({"ticket_price": 1.5}, "VALIDATION_ERROR"),
    ({"ticket_price": "NaN"}, "VALIDATION_ERROR"),
    ({"seats": 0}, "VALIDATION_ERROR"),
    ({"sales_from": "2030-01-02T00:00:00Z", "sales_to": "2030-01-01T00:00:00Z"}, "INVALID_REQUEST"),
    ({"starts_at": "soon"}, "VALIDATION_ERROR"),
    ({"surprise": 1}, "VALIDATION_ERROR"),
]


@pytest.mark.parametrize(("change", "error"), BAD, ids=str)
async def test_streams_that_cannot_be(
    client: httpx.AsyncClient, cast: Cast, change: dict[str, Any], error: str
) -> None:
    assert slug(await post(client, cast.creator, "/streams", STREAM | {"channel": "another"} | change)) == error


async def test_who_may_and_what_is_not_there(client: httpx.AsyncClient, cast: Cast) -> None:
    assert slug(await post(client, cast.ada, "/streams", STREAM | {"channel": "another"})) == "FORBIDDEN"
    for path in (f"/streams/{NOBODY}/start", f"/streams/{NOBODY}/end", f"/streams/{NOBODY}/tickets/checkout"):
        assert slug(await post(client, cast.ada, path)) == "STREAM_NOT_FOUND"
    for path in (f"/streams/{NOBODY}", f"/streams/{NOBODY}/access"):
        assert slug(await get(client, cast.ada, path)) == "STREAM_NOT_FOUND"
    assert (await client.post(api(f"/streams/{cast.stream}/tickets/checkout"))).status_code == 401
    answer = await client.post(api(f"/streams/{cast.stream}/tickets/checkout"), headers=cast.ada.headers)
    assert slug(answer) == "IDEMPOTENCY_KEY_REQUIRED"
    assert (await get(client, cast.ada, "/streams/none")).status_code == 404
    poor = await register(client)
    broke = await post(client, poor, f"/streams/{cast.stream}/tickets/checkout")
    assert (broke.status_code, broke.json()["shortfall"]) == (402, 30)
