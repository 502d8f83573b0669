"""Tips over HTTP: what they answer, what they refuse, and that a repeated key does nothing twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.people import Person, api, register, slug
from tests.support.money import without_rate
from tests.support.postgres import Connection


async def fund(db: Connection, person: Person, amount: int) -> None:
    """Tokens for somebody, as an operator grants them."""
    await db.execute("SELECT api.grant_tokens($1, $2, 'test', $3)", person.id, amount, f"fund-{uuid4()}")


async def creator_of(client: httpx.AsyncClient) -> Person:
    """A new creator."""
    person = await register(client)
    response = await client.post(
        api("/dashboard/profile/creator"), json={"rate_per_minute": 60}, headers=person.headers
    )
    assert response.status_code == 200, response.text
    return person


async def tip(
    client: httpx.AsyncClient, sender: Person, creator: UUID, amount: int, key: str, **more: Any
) -> httpx.Response:
    """A tip."""
    body = {"creator_id": str(creator), "amount": amount, **more}
    return await client.post(api("/tips/send"), json=body, headers={**sender.headers, "Idempotency-Key": key})


async def test_a_tip_moves_tokens_and_says_how(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    stream = await client.post(api("/streams"), json={"title": "Show", "channel": "show"}, headers=creator.headers)
    where = {"stream_id": stream.json()["stream_id"]}
    response = await tip(client, fan, creator.id, 30, "a", message="bravo", context=where)
    assert response.status_code == 201, response.text
    receipt = response.json()
    assert set(receipt) == {"tip_id", "amount", "creator_cut", "platform_fee", "new_balance"}
    assert (receipt["amount"], receipt["creator_cut"], receipt["platform_fee"], receipt["new_balance"]) == (
        30,
        30,
        0,
        70,
    )
    sent = (await client.get(api("/tips/sent"), headers=fan.headers)).json()
    received = (await client.get(api("/tips/received"), headers=creator.headers)).json()
    assert sent == received
    assert [(item["tip_id"], item["message"]) for item in sent["items"]] == [(receipt["tip_id"], "bravo")]
    event = await db.fetchrow(
        "SELECT type, channels, payload->>'amount' AS amount FROM core.outbox WHERE type = 'tip.sent'"
    )
    assert event is not None
    assert event["amount"] == "30"
    assert f"creator:{creator.id}" in event["channels"]
    assert any(channel.startswith("stream:") for channel in event["channels"])


async def test_a_repeated_key_gets_the_same_bytes(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    first = await tip(client, fan, creator.id, 10, "same")
    await tip(client, fan, creator.id, 5, "between")
    again = await tip(client, fan, creator.id, 10, "same")
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await tip(client, fan, creator.id, 11, "same")
    assert (other.status_code, slug(other)) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert await db.fetchval("SELECT count(*) FROM core.tips") == 2


async def test_eight_at_once_make_one_tip(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    answers = await asyncio.gather(*(tip(client, fan, creator.id, 10, "race") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await db.fetchval("SELECT count(*) FROM core.tips") == 1


async def test_two_users_with_the_same_key_do_not_meet(client: httpx.AsyncClient, db: Connection) -> None:
    ada, ben, creator = await register(client), await register(client), await creator_of(client)
    for fan in (ada, ben):
        await fund(db, fan, 20)
    one, two = await asyncio.gather(*(tip(client, fan, creator.id, 10, "k") for fan in (ada, ben)))
    assert (one.status_code, two.status_code) == (201, 201)
    assert one.json()["tip_id"] != two.json()["tip_id"]


async def test_too_little_says_how_much_is_missing(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 20)
    answer = await tip(client, fan, creator.id, 50, "k")
    assert (answer.status_code, slug(answer)) == (402, "INSUFFICIENT_TOKENS")
    assert {name: answer.json()[name] for name in ("required", "current", "shortfall")} == {
        "required": 50,
        "current": 20,
        "shortfall": 30,
    }
    await fund(db, fan, 30)
    assert (await tip(client, fan, creator.id, 50, "k")).status_code == 201, "a refusal does not use the key up"


async def test_one_refusal_in_a_batch_hurts_nobody_else(client: httpx.AsyncClient, db: Connection) -> None:
    rich, poor, creator = await register(client), await register(client), await creator_of(client)
    await fund(db, rich, 1000)
    answers = await asyncio.gather(
        *(tip(client, poor if number % 5 == 0 else rich, creator.id, 3, f"k{number}") for number in range(40))
    )
    assert [answer.status_code for answer in answers] == [402 if number % 5 == 0 else 201 for number in range(40)]
    balances = sorted(answer.json()["new_balance"] for answer in answers if answer.status_code == 201)
    assert balances == [1000 - 3 * sold for sold in range(32, 0, -1)]


async def test_the_fee_comes_from_the_rates(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    await db.execute("INSERT INTO core.rates (name, asset, value, unit) VALUES ('platform_fee', 'TOKEN', 1000, 'bps')")
    receipt = (await tip(client, fan, creator.id, 55, "k")).json()
    assert (receipt["creator_cut"], receipt["platform_fee"], receipt["new_balance"]) == (50, 5, 45)
    again = (await tip(client, fan, creator.id, 55, "k")).json()
    assert again == receipt


async def test_without_a_rate_nothing_moves(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    await without_rate(db, "platform_fee")
    answer = await tip(client, fan, creator.id, 55, "k")
    assert (answer.status_code, slug(answer)) == (503, "CONFIGURATION_ERROR")
    assert await db.fetchval("SELECT count(*) FROM core.tips") == 0


async def test_who_can_be_tipped(client: httpx.AsyncClient, db: Connection) -> None:
    fan, other, creator = await register(client), await register(client), await creator_of(client)
    await fund(db, fan, 100)
    await fund(db, creator, 100)
    assert slug(await tip(client, fan, other.id, 1, "a")) == "CREATOR_NOT_FOUND"
    assert slug(await tip(client, fan, uuid4(), 1, "b")) == "CREATOR_NOT_FOUND"
    assert slug(await tip(client, creator, creator.id, 1, "c")) == "SELF_TRANSFER"
    both = {"stream_id": str(uuid4()), "call_id": str(uuid4())}
    assert slug(await tip(client, fan, creator.id, 1, "d", context=both)) == "INVALID_REQUEST"
    nowhere = {"stream_id": str(uuid4())}
    assert slug(await tip(client, fan, creator.id, 1, "f", context=nowhere)) == "STREAM_NOT_FOUND"
    await db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", creator.id)
    assert slug(await tip(client, fan, creator.id, 1, "e")) == "CREATOR_NOT_FOUND"


async def test_stats(client: httpx.AsyncClient, db: Connection) -> None:
    creator = await creator_of(client)
    fans = [await register(client) for _ in range(7)]
    for number, fan in enumerate(fans):
        await fund(db, fan, 100)
        for turn in range(2):
            assert (await tip(client, fan, creator.id, number + 1, f"k{turn}")).status_code == 201
    for period in ("24h", "7d", "30d", "all"):
        stats = (await client.get(api(f"/tips/stats/{creator.id}?period={period}"), headers=fans[0].headers)).json()
        assert (stats["count"], stats["sum"], stats["max"], stats["unique_tippers"]) == (14, 56, 7, 7)
        assert stats["average"] == "4.00"
        assert [(row["username"], row["total"]) for row in stats["top"]] == [
            (fans[number].username, 2 * number + 2) for number in (6, 5, 4, 3, 2)
        ]
    assert slug(await client.get(api(f"/tips/stats/{fans[0].id}"), headers=fans[0].headers)) == "CREATOR_NOT_FOUND"
    assert (await client.get(api(f"/tips/stats/{creator.id}?period=1y"), headers=fans[0].headers)).status_code == 422


async def test_lists_go_on_with_the_cursor(client: httpx.AsyncClient, db: Connection) -> None:
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    for number in range(5):
        await tip(client, fan, creator.id, number + 1, f"k{number}")
    seen: list[int] = []
    cursor = None
    while True:
        params = {"limit": 2, **({} if cursor is None else {"cursor": cursor})}
        page = (await client.get(api("/tips/sent"), params=params, headers=fan.headers)).json()
        seen += [item["amount"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [5, 4, 3, 2, 1]


KEY = {"Idempotency-Key": "k"}
JSON_TYPE = {"Content-Type": "application/json"}


def body(**changes: Any) -> dict[str, Any]:
    """A good tip, changed."""
    good = {"creator_id": "01920000-0000-7000-8000-000000000001", "amount": 5}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


@pytest.mark.parametrize(
    ("request_body", "headers", "status", "error"),
    [
        (b'{"creator_id": "01920000-0000-7000-8000-000000000001", "amount": NaN}', KEY, 400, "MALFORMED_JSON"),
        (b'{"creator_id": ', KEY, 400, "MALFORMED_JSON"),
        (
            b'{"creator_id": "01920000-0000-7000-8000-000000000001", "amount": 5, "message": "\xff\xfe"}',
            KEY,
            400,
            "MALFORMED_JSON",
        ),
        (b"", KEY, 422, "VALIDATION_ERROR"),
        (b"[" * 100_000, KEY, 413, "PAYLOAD_TOO_LARGE"),
        (b"x" * 10_000_000, KEY, 413, "PAYLOAD_TOO_LARGE"),
        (b"[" * 50_000, KEY, None, None),
        (body(amount="5"), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=1.5), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=2**63), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=10**15 + 1), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=-1), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=0), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=True), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=None), KEY, 422, "VALIDATION_ERROR"),
        (body(amount=...), KEY, 422, "VALIDATION_ERROR"),
        (body(price=1), KEY, 422, "VALIDATION_ERROR"),
        (body(sender_id="01920000-0000-7000-8000-000000000002"), KEY, 422, "VALIDATION_ERROR"),
        (body(creator_id="me"), KEY, 422, "VALIDATION_ERROR"),
        (body(creator_id=5), KEY, 422, "VALIDATION_ERROR"),
        (body(message="x" * 501), KEY, 422, "VALIDATION_ERROR"),
        (body(message="a\x00b"), KEY, 422, "VALIDATION_ERROR"),
        (body(message=["x"]), KEY, 422, "VALIDATION_ERROR"),
        (body(context={"stream_id": "s"}), KEY, 422, "VALIDATION_ERROR"),
        (body(context={"clip_id": "s"}), KEY, 422, "VALIDATION_ERROR"),
        (b"[]", KEY, 422, "VALIDATION_ERROR"),
        (b"null", KEY, 422, "VALIDATION_ERROR"),
        (body(), {}, 400, "IDEMPOTENCY_KEY_REQUIRED"),
        (body(), {"Idempotency-Key": ""}, 422, "IDEMPOTENCY_KEY_INVALID"),
        (body(), {"Idempotency-Key": "a b"}, 422, "IDEMPOTENCY_KEY_INVALID"),
        (body(), {"Idempotency-Key": "k" * 256}, 422, "IDEMPOTENCY_KEY_INVALID"),
        (body(), {**KEY, "Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (body(), KEY, 404, "CREATOR_NOT_FOUND"),
    ],
)
async def test_a_malformed_tip_is_answered_and_changes_nothing(
    client: httpx.AsyncClient,
    db: Connection,
    request_body: bytes | dict[str, Any],
    headers: dict[str, str],
    status: int | None,
    error: str | None,
) -> None:
    fan = await register(client)
    await fund(db, fan, 100)
    sent: dict[str, Any] = {"content": request_body} if isinstance(request_body, bytes) else {"json": request_body}
    answer = await client.post(api("/tips/send"), headers={**fan.headers, **JSON_TYPE, **headers}, **sent)
    assert 400 <= answer.status_code < 500
    found = slug(answer)
    if status is not None:
        assert (answer.status_code, found) == (status, error)
    assert await db.fetchval("SELECT count(*) FROM core.tips") == 0
    assert await db.fetchval("SELECT balance FROM core.wallets WHERE owner_id = $1", fan.id) == 100


async def test_other_peoples_money_cannot_be_spent(client: httpx.AsyncClient, db: Connection) -> None:
    """There is no way to name a payer, and nobody sees another's tips."""
    fan, thief, creator = await register(client), await register(client), await creator_of(client)
    await fund(db, fan, 100)
    assert (await tip(client, thief, creator.id, 1, "k")).status_code == 402
    assert (await tip(client, fan, creator.id, 1, "k")).status_code == 201
    assert (await client.get(api("/tips/sent"), headers=thief.headers)).json()["items"] == []
    assert (await client.post(api("/tips/send"), json=body(), headers=KEY)).status_code == 401


async def test_relays_get_a_hint_after_the_commit(client: httpx.AsyncClient, db: Connection) -> None:
    """In a transaction of its own: when the hint is heard, the event is there."""
    fan, creator = await register(client), await creator_of(client)
    await fund(db, fan, 100)
    hinted = asyncio.Event()
    await db.add_listener("tessera_outbox", lambda *_: hinted.set())
    assert (await tip(client, fan, creator.id, 30, "a")).status_code == 201
    await asyncio.wait_for(hinted.wait(), 20)
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'tip.sent'") == 1
