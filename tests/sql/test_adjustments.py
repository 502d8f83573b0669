"""api.request_adjustment, api.approve_adjustment, api.reject_adjustment: movements by hand take two people."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import MAX_AMOUNT, World, balance, person, raised, refused, set_status, unguarded, written
from tests.support.postgres import Connection

REQUEST = "SELECT * FROM api.request_adjustment($1, $2, $3, $4, $5, $6)"
APPROVE = "SELECT * FROM api.approve_adjustment($1, $2)"
REJECT = "SELECT * FROM api.reject_adjustment($1, $2, $3)"
Arguments = tuple[Any, ...]


def _request(world: World, amount: int | None = 30, **more: Any) -> Arguments:
    fields = {
        "source": world.alice.wallet,
        "target": world.bob.wallet,
        "amount": amount,
        "reason": "paid twice",
        "key": None,
        "actor": world.admin.id,
    } | more
    return tuple(fields.values())


async def _asked(conn: Connection, arguments: Arguments) -> UUID:
    row = await conn.fetchrow(REQUEST, *arguments)
    assert row is not None
    asked: UUID = row["adjustment_id"]
    return asked


async def _expire(world: World, adjustment: UUID) -> None:
    async with unguarded(world.db):
        await world.db.execute(
            "UPDATE core.adjustments SET created_at = now() - interval '8 days', expires_at = now() - interval '1 day'"
            " WHERE id = $1",
            adjustment,
        )


async def test_a_long_time_to_decide(world: World, app_conn: Connection) -> None:
    await world.db.execute("SELECT api.set_rate('adjustment_valid', 36500)")
    row = await app_conn.fetchrow(REQUEST, *_request(world))
    assert row is not None
    assert row["status"] == "pending"
    assert (row["expires_at"] - row["created_at"]).days == 36500


async def test_two_people_move_it(world: World, app_conn: Connection) -> None:
    row = await app_conn.fetchrow(REQUEST, *_request(world))
    assert row is not None
    assert (row["status"], row["amount"], row["asset"], row["requested_by"]) == ("pending", 30, "TOKEN", world.admin.id)
    assert (row["expires_at"] - row["created_at"]).days == 7
    assert await balance(world.db, world.bob.wallet) == 100, "nothing moves before the second person"
    done = await app_conn.fetchrow(APPROVE, row["adjustment_id"], world.second_admin.id)
    assert done is not None
    assert (done["status"], done["decided_by"]) == ("approved", world.second_admin.id)
    kept = await world.db.fetchrow("SELECT * FROM api.transfers WHERE transfer_id = $1", done["transfer_id"])
    assert kept is not None
    assert (kept["kind"], kept["reference"], kept["amount"], kept["actor_id"]) == (
        "adjustment",
        "paid twice",
        30,
        world.second_admin.id,
    )
    acts = await world.db.fetch(
        "SELECT action, actor_id FROM api.audit_log WHERE subject_id = $1", row["adjustment_id"]
    )
    assert [tuple(act) for act in acts] == [
        ("adjustment.requested", world.admin.id),
        ("adjustment.approved", world.second_admin.id),
    ]


async def test_the_same_person_cannot(world: World, app_conn: Connection) -> None:
    asked = await _asked(app_conn, _request(world))
    before = await written(world.db)
    assert (await refused(app_conn, APPROVE, asked, world.admin.id)).slug == "SAME_PERSON"
    assert await written(world.db) == before


async def test_two_logins_can_and_one_cannot(world: World, app_conn: Connection, dba_conn: Connection) -> None:
    asked = await _asked(app_conn, _request(world, actor=None))
    assert (await refused(app_conn, APPROVE, asked, None)).slug == "SAME_PERSON"
    done = await dba_conn.fetchrow(APPROVE, asked, None)
    assert done is not None
    assert (done["requested_db_user"], done["decided_db_user"]) == ("tessera_app", "tessera_test_dba")


async def test_a_persons_own_login_is_one_person_whoever_it_names(
    world: World, app_conn: Connection, dba_conn: Connection
) -> None:
    for asks, approves in ((None, world.admin.id), (world.admin.id, None), (world.admin.id, world.second_admin.id)):
        asked = await _asked(dba_conn, _request(world, 1, actor=asks))
        assert (await refused(dba_conn, APPROVE, asked, approves)).slug == "SAME_PERSON"
        assert len(await app_conn.fetch(APPROVE, asked, world.second_admin.id)) == 1


async def test_only_administrators_decide(world: World, app_conn: Connection) -> None:
    asked = await _asked(app_conn, _request(world))
    before = await written(world.db)
    assert (await refused(app_conn, APPROVE, asked, world.bob.id)).slug == "FORBIDDEN"
    assert (await refused(app_conn, REJECT, asked, "no", world.bob.id)).slug == "FORBIDDEN"
    assert await written(world.db) == before


async def test_rejected_it_stays_so(world: World, app_conn: Connection) -> None:
    asked = await _asked(app_conn, _request(world))
    row = await app_conn.fetchrow(REJECT, asked, "not so", world.admin.id)
    assert row is not None
    assert (row["status"], row["decision_reason"], row["transfer_id"]) == ("rejected", "not so", None)
    found = await refused(app_conn, APPROVE, asked, world.second_admin.id)
    assert (found.slug, found.facts["adjustment_status"]) == ("ADJUSTMENT_CLOSED", "rejected")
    assert (await refused(app_conn, REJECT, asked, "again", world.second_admin.id)).slug == "ADJUSTMENT_CLOSED"


async def test_too_late(world: World, app_conn: Connection) -> None:
    asked = await _asked(app_conn, _request(world))
    await _expire(world, asked)
    assert await app_conn.fetchval("SELECT status FROM api.adjustments") == "expired"
    for query, arguments in (
        (APPROVE, (asked, world.second_admin.id)),
        (REJECT, (asked, "late", world.second_admin.id)),
    ):
        found = await refused(app_conn, query, *arguments)
        assert (found.slug, found.facts["adjustment_status"]) == ("ADJUSTMENT_CLOSED", "expired")


async def test_what_cannot_move_may_be_approved_later(world: World, app_conn: Connection) -> None:
    asked = await _asked(app_conn, _request(world, 101))
    assert (await refused(app_conn, APPROVE, asked, world.second_admin.id)).slug == "INSUFFICIENT_TOKENS"
    await set_status(world.db, world.bob.wallet, "frozen")
    assert (await refused(app_conn, APPROVE, asked, world.second_admin.id)).slug == "WALLET_FROZEN"
    await set_status(world.db, world.bob.wallet, "active")
    await world.db.fetch("SELECT api.grant_tokens($1, 1, 'one more')", world.alice.id)
    assert len(await app_conn.fetch(APPROVE, asked, world.second_admin.id)) == 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no reason": ({"reason": None}, "INVALID_REQUEST"),
    "blank reason": ({"reason": "  "}, "INVALID_REQUEST"),
    "long reason": ({"reason": "r" * 256}, "INVALID_REQUEST"),
    "nothing": ({"amount": 0}, "INVALID_AMOUNT"),
    "no amount": ({"amount": None}, "INVALID_AMOUNT"),
    "too much": ({"amount": MAX_AMOUNT + 1}, "INVALID_AMOUNT"),
    "no payer": ({"source": NOBODY}, "WALLET_NOT_FOUND"),
    "no payee": ({"target": None}, "WALLET_NOT_FOUND"),
    "unknown actor": ({"actor": NOBODY}, "USER_NOT_FOUND"),
    "empty key": ({"key": ""}, "IDEMPOTENCY_KEY_INVALID"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_that_cannot_be(world: World, app_conn: Connection, name: str) -> None:
    changes, slug = REFUSED[name]
    before = await written(world.db)
    assert (await refused(app_conn, REQUEST, *_request(world, **changes))).slug == slug
    assert await written(world.db) == before
    assert await world.db.fetch("SELECT * FROM core.adjustments") == []


async def test_more_requests_that_cannot_be(world: World, app_conn: Connection) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"target": world.alice.wallet}, "SELF_TRANSFER"),
        ({"target": world.bob_eur}, "ASSET_MISMATCH"),
        ({"actor": world.suspended.id}, "USER_SUSPENDED"),
        ({"actor": world.alice.id}, "FORBIDDEN"),
    ]
    for changes, slug in cases:
        assert (await refused(app_conn, REQUEST, *_request(world, **changes))).slug == slug
    for query, arguments in (
        (APPROVE, (NOBODY, world.second_admin.id)),
        (REJECT, (NOBODY, "r", world.second_admin.id)),
    ):
        assert (await refused(app_conn, query, *arguments)).slug == "ADJUSTMENT_NOT_FOUND"
    asked = await _asked(app_conn, _request(world))
    assert (await refused(app_conn, APPROVE, asked, world.suspended.id)).slug == "USER_SUSPENDED"
    assert (await refused(app_conn, APPROVE, asked, NOBODY)).slug == "USER_NOT_FOUND"
    assert (await refused(app_conn, REJECT, asked, " ", world.second_admin.id)).slug == "INVALID_REQUEST"


async def test_the_key_asks_once(world: World, app_conn: Connection) -> None:
    first = await app_conn.fetchrow(REQUEST, *_request(world, key="k"))
    assert await app_conn.fetchrow(REQUEST, *_request(world, key="k")) == first
    assert (await refused(app_conn, REQUEST, *_request(world, 31, key="k"))).slug == "IDEMPOTENCY_KEY_REUSED"
    assert await world.db.fetchval("SELECT count(*) FROM core.adjustments") == 1


async def test_two_approvals_at_once_have_one_winner(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(2)]
    third = await person(world.db, "third_admin", roles=["admin"])

    async def attempt(conn: Connection, asked: UUID, actor: UUID) -> str:
        try:
            await conn.fetch(APPROVE, asked, actor)
        except asyncpg.PostgresError as error:
            return raised(error).slug
        return "done"

    for n in range(200):
        there: dict[str, Any] = {"source": world.bob.wallet, "target": world.alice.wallet} if n % 2 else {}
        asked = await _asked(world.db, _request(world, **{"amount": 100, **there}))
        actors = (world.second_admin.id, third.id)
        outcomes = await asyncio.gather(*(attempt(*pair) for pair in zip(sessions, [asked] * 2, actors, strict=True)))
        assert sorted(outcomes) == ["ADJUSTMENT_CLOSED", "done"]


async def test_twins_at_once_ask_once(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(4)]
    rows = await asyncio.gather(*(_asked(conn, _request(world, key="k")) for conn in sessions))
    assert len(set(rows)) == 1
