"""Events that tell of wallets, of tickets, and of what operators should see; the harness holds all against structs."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from app.realtime.events import EVENTS
from tests.conftest import Connect
from tests.support.events import channel_faults, event_faults
from tests.support.money import (
    Tip,
    Transfer,
    World,
    lapse,
    make_world,
    person,
    set_fee,
    set_rate,
    tips,
    transfer,
    transfer_batch,
    unguarded,
)
from tests.support.postgres import Connection
from tests.support.webhooks import endpoint

HOLD = "SELECT hold_id FROM api.place_hold($1, $2, interval '1 hour')"
WALLET = ("wallet_id", "balance", "held", "spendable", "version", "change")


@pytest.fixture
async def world(db: Connection) -> World:
    """With nothing told of it."""
    made = await make_world(db)
    async with unguarded(db):
        await db.execute("DELETE FROM core.outbox")
    return made


async def _told(conn: Connection, *types: str) -> list[tuple[str, list[str], dict[str, Any]]]:
    rows = await conn.fetch(
        "SELECT type, channels, payload FROM core.outbox WHERE type = ANY ($1::text[]) ORDER BY id", list(types)
    )
    return [(row["type"], row["channels"], json.loads(row["payload"])) for row in rows]


async def _wallets(conn: Connection) -> list[tuple[Any, ...]]:
    """What owners were told, and each time to whom."""
    told = await _told(conn, "wallet.changed")
    owners = {str(row["id"]): f"user:{row['owner_id']}" for row in await conn.fetch("SELECT * FROM core.wallets")}
    assert [channels for _, channels, _ in told] == [[owners[payload["wallet_id"]]] for _, _, payload in told]
    return [tuple(UUID(p[f]) if f == "wallet_id" else p[f] for f in WALLET) for _, _, p in told]


async def _as_it_is(conn: Connection, wallet: UUID) -> tuple[Any, ...]:
    row = await conn.fetchrow(
        "SELECT id, balance, held, balance - held - minimum, version FROM core.wallets WHERE id = $1", wallet
    )
    assert row is not None
    return tuple(row)


@pytest.mark.parametrize("batch", [False, True], ids=["one", "batch"])
async def test_both_sides_of_a_transfer_are_told(world: World, app_conn: Connection, batch: bool) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=7)
    await (transfer_batch(app_conn, [request]) if batch else transfer(app_conn, request))
    told = sorted(await _wallets(world.db), key=lambda row: int(row[1]))
    assert told == [
        (*await _as_it_is(world.db, world.alice.wallet), -7),
        (*await _as_it_is(world.db, world.bob.wallet), 7),
    ]
    assert [row[1] for row in told] == [93, 107]
    (last,) = await world.db.fetch("SELECT type FROM core.outbox ORDER BY id DESC LIMIT 1")
    assert last["type"] == "transfer.posted"


async def test_a_batch_tells_of_each_wallet_once_as_it_leaves_it(world: World, app_conn: Connection) -> None:
    await set_fee(world.db, 1000)
    sent = [
        Tip(sender=who.id, creator=world.creator.id, amount=10) for who in (world.alice, world.bob) for _ in range(3)
    ]
    await tips(app_conn, [*sent, Tip(sender=world.alice.id, creator=world.creator.id, amount=1000)])
    told = {row[0]: row for row in await _wallets(world.db)}
    assert len(await _wallets(world.db)) == 3, "and nobody of the revenue wallet"
    assert told[world.creator.wallet] == (*await _as_it_is(world.db, world.creator.wallet), 54)
    assert told[world.alice.wallet] == (*await _as_it_is(world.db, world.alice.wallet), -30)
    assert told[world.bob.wallet] == (*await _as_it_is(world.db, world.bob.wallet), -30)


async def test_what_is_refused_or_repeated_tells_nothing(world: World, app_conn: Connection) -> None:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=7, key="k")
    too_much = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1000)
    await transfer_batch(app_conn, [request, request, too_much])
    assert len(await _wallets(world.db)) == 2
    await transfer(app_conn, request)
    await transfer_batch(app_conn, [request, too_much])
    assert len(await _wallets(world.db)) == 2


async def test_what_comes_in_and_goes_out_at_once_is_a_change_of_nothing(world: World, app_conn: Connection) -> None:
    there = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=7)
    back = Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=7)
    await transfer_batch(app_conn, [there, back])
    assert [(row[1], row[5]) for row in await _wallets(world.db)] == [(100, 0), (100, 0)]


async def test_holds_and_minimum_change_a_wallet(world: World, app_conn: Connection) -> None:
    wallet = world.alice.wallet
    hold = await app_conn.fetchval(HOLD, wallet, 60)
    await app_conn.fetch("SELECT * FROM api.capture_hold($1, $2, 20)", hold, world.bob.wallet)
    await app_conn.fetch("SELECT * FROM api.release_hold($1)", hold)
    await app_conn.fetch("SELECT * FROM api.set_wallet_minimum($1, 5, 'a reserve')", wallet)
    version = (await _as_it_is(world.db, wallet))[4]
    assert [row[1:] for row in await _wallets(world.db) if row[0] == wallet] == [
        (100, 60, 40, version - 1, 0),
        (80, 40, 40, version, -20),
        (80, 0, 80, version, 0),
        (80, 0, 75, version, 0),
    ]
    holds = await _told(world.db, "hold.placed", "hold.captured", "hold.released")
    assert [(p["status"], p["captured"], p["released"]) for _, _, p in holds] == [
        ("open", 0, 0),
        ("open", 20, 0),
        ("released", 20, 40),
    ]
    assert (holds[1][2]["paid"], {channel for _, channels, _ in holds for channel in channels}) == (
        20,
        {f"user:{world.alice.id}"},
    )


async def test_what_expires_on_the_way_to_a_capture_is_told_before_it(world: World, app_conn: Connection) -> None:
    kept, lapsed = [await app_conn.fetchval(HOLD, world.alice.wallet, amount) for amount in (50, 20)]
    await lapse(world.db, lapsed)
    await app_conn.fetch("SELECT * FROM api.capture_hold($1, $2)", kept, world.bob.wallet)
    assert [row[1:4] for row in await _wallets(world.db) if row[0] == world.alice.wallet] == [
        (100, 50, 50),
        (100, 70, 30),
        (100, 50, 50),  # never as if what is about to be paid were there to be spent
        (50, 0, 50),
    ]


async def test_a_hold_that_expires_gives_back(world: World, app_conn: Connection, connect: Connect) -> None:
    await lapse(world.db, await app_conn.fetchval(HOLD, world.alice.wallet, 60))
    assert await (await connect("scheduler")).fetchval("SELECT api.expire_holds()") == 1
    assert [row[1:4] for row in await _wallets(world.db)] == [(100, 60, 40), (100, 0, 100)]
    ((_, _, hold),) = await _told(world.db, "hold.expired")
    assert (hold["status"], hold["amount"], hold["released"]) == ("expired", 60, 60)


async def test_owner_and_operators_hear_of_a_frozen_wallet(world: World, app_conn: Connection) -> None:
    owner, wallet = f"user:{world.alice.id}", world.alice.wallet
    await app_conn.fetch("SELECT * FROM api.freeze_wallet($1, 'odd', 'debits')", wallet)
    await app_conn.fetch("SELECT * FROM api.unfreeze_wallet($1, 'it was she')", wallet)
    await transfer(app_conn, Transfer(source=wallet, target=world.bob.wallet, amount=100))
    await app_conn.fetch("SELECT * FROM api.close_wallet($1, 'asked for')", wallet)
    told = await _told(world.db, "wallet.frozen", "wallet.unfrozen", "wallet.closed")
    assert [(kind, channels, p["status_before"], p["status"]) for kind, channels, p in told] == [
        ("wallet.frozen", [owner, "ops"], "active", "debits_frozen"),
        ("wallet.unfrozen", [owner, "ops"], "debits_frozen", "active"),
        ("wallet.closed", [owner, "ops"], "active", "closed"),
    ]
    assert all("reason" not in payload for _, _, payload in told), "that is for operators"


async def test_operators_hear_of_a_system_wallet(world: World, app_conn: Connection) -> None:
    rewards = await world.db.fetchval(
        "SELECT id FROM core.wallets WHERE purpose = 'rewards' AND asset = 'TOKEN' ORDER BY shard LIMIT 1"
    )
    await app_conn.fetch("SELECT * FROM api.freeze_wallet($1, 'odd', 'all')", rewards)
    ((_, channels, payload),) = await _told(world.db, "wallet.frozen")
    assert (channels, payload["owner_id"]) == (["ops"], None)


async def test_viewers_hear_of_tickets_that_come_back(world: World, app_conn: Connection) -> None:
    await set_fee(world.db, 1000)
    stream = await app_conn.fetchval(
        "SELECT stream_id FROM api.create_stream($1, 'Show', 'show', 'private', 30)", world.creator.id
    )
    bought = [
        await app_conn.fetchval("SELECT ticket_id FROM api.buy_ticket($1, $2)", who.id, stream)
        for who in (world.alice, world.bob)
    ]
    await app_conn.fetch("SELECT * FROM api.cancel_stream($1, 'ill')", stream)
    told = await _told(world.db, "ticket.refunded")
    creator = f"creator:{world.creator.id}"
    assert sorted((channels, p["ticket_id"], p["price"], p["reason"]) for _, channels, p in told) == sorted(
        ([f"user:{who.id}", creator], str(ticket), 30, "ill")
        for who, ticket in zip((world.alice, world.bob), bought, strict=True)
    )
    assert {p["creator_id"] for _, _, p in await _told(world.db, "ticket.sold", "ticket.refunded")} == {
        str(world.creator.id)
    }
    # the payment and the fee of each
    assert len(await _told(world.db, "transfer.refunded")) == 4


async def test_operators_hear_of_adjustments(world: World, app_conn: Connection) -> None:
    ask = "SELECT adjustment_id FROM api.request_adjustment($1, $2, 5, 'paid twice', NULL, $3)"
    for decide in ("api.approve_adjustment($1, $2)", "api.reject_adjustment($1, 'no', $2)"):
        asked = await app_conn.fetchval(ask, world.alice.wallet, world.bob.wallet, world.admin.id)
        await app_conn.fetch(f"SELECT * FROM {decide}", asked, world.second_admin.id)
    told = await _told(world.db, "adjustment.requested", "adjustment.approved", "adjustment.rejected")
    assert [(kind, channels, p["status"]) for kind, channels, p in told] == [
        ("adjustment.requested", ["ops"], "pending"),
        ("adjustment.approved", ["ops"], "approved"),
        ("adjustment.requested", ["ops"], "pending"),
        ("adjustment.rejected", ["ops"], "rejected"),
    ]


@pytest.mark.breaks_ledger
async def test_operators_hear_of_books_that_do_not_balance(world: World, dba_conn: Connection) -> None:
    await dba_conn.fetch("SELECT * FROM api.run_audit()")
    assert await _told(world.db, "audit.failed") == []
    async with unguarded(world.db):
        await world.db.execute("UPDATE core.wallets SET balance = balance + 1 WHERE id = $1", world.alice.wallet)
    audit = await dba_conn.fetchrow("SELECT * FROM api.run_audit()")
    assert audit is not None
    ((_, channels, payload),) = await _told(world.db, "audit.failed")
    assert (channels, payload["audit_id"], payload["violations"]) == (
        ["ops"],
        str(audit["audit_id"]),
        audit["violations"],
    )
    assert sum(payload["rules"].values()) == audit["violations"] > 0


async def test_operators_hear_of_a_job_that_fails_for_the_third_time(world: World) -> None:
    for outcome in ("failed", "failed", "failed", "timeout", "done", "failed", "done"):
        await world.db.execute(
            """
            INSERT INTO core.job_runs AS r (
                job, every_seconds, process, started_at, finished_at, outcome, items, seconds, failures_in_a_row,
                last_error, next_run_at
            )
            VALUES (
                'j', 1, 'p', now(), now(), $1, CASE $1 WHEN 'done' THEN 0 END, 1, ($1 <> 'done')::integer, 'E', now()
            )
            ON CONFLICT (job) DO UPDATE SET
                outcome = excluded.outcome, items = excluded.items,
                failures_in_a_row = CASE $1 WHEN 'done' THEN 0 ELSE r.failures_in_a_row + 1 END""",
            outcome,
        )
    told = await _told(world.db, "job.failed", "job.recovered")
    assert [(kind, channels, p["outcome"], p["failures_in_a_row"]) for kind, channels, p in told] == [
        ("job.failed", ["ops"], "failed", 3),
        ("job.recovered", ["ops"], "done", 4),
    ]


@pytest.mark.makes_events
@pytest.mark.parametrize(
    ("kind", "channels", "payload", "fault"),
    [
        ("tip.sent", "{creator:00000000-0000-7000-8000-000000000001}", "{}", "missing required field"),
        ("user.unbanned", "{}", None, "no channel"),
        ("user.unbanned", "{ops}", None, "not to ops"),
        ("user.unbanned", "{creator:x}", None, "not to creator:x"),
        ("user.unbanned", "{creator:00000000-0000-7000-8000-000000000001}", '{"more": 1}', "unknown field `more`"),
        ("user.lost", "{ops}", "{}", "not among"),
    ],
)
async def test_the_harness_finds_what_does_not_fit(
    db: Connection, kind: str, channels: str, payload: str | None, fault: str
) -> None:
    fitting = {"creator_id": str(UUID(int=1)), "user_id": str(UUID(int=2))}
    body = json.dumps(fitting | json.loads(payload or "{}")) if kind == "user.unbanned" else payload
    await db.execute(
        "INSERT INTO core.outbox (type, channels, payload) VALUES ($1, $2::text::text[], $3)", kind, channels, body
    )
    (found,) = await event_faults(db)
    assert found.startswith(f"{kind}: ")
    assert fault in found


def test_a_channel_has_an_id_unless_it_is_one_for_all() -> None:
    frozen, someone = EVENTS["wallet.frozen"], f"user:{UUID(int=1)}"
    assert channel_faults(frozen, [someone, "ops"]) == []
    assert channel_faults(frozen, ["user"]) == ["not to user"]
    assert channel_faults(frozen, [f"ops:{UUID(int=1)}"]) != []
    assert channel_faults(frozen, ["ops", "ops"]) != []


async def test_limits_of_velocity_tell_nothing_of_what_they_refuse(world: World, app_conn: Connection) -> None:
    await set_rate(world.db, "velocity_count_minute", 1, "count")
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1)
    outcomes = await transfer_batch(app_conn, [request, request])
    assert [row["error"] for row in outcomes] == [None, "VELOCITY_LIMIT"]
    assert sorted(row[5] for row in await _wallets(world.db)) == [-1, 1]


async def test_a_webhook_that_is_gone(db: Connection) -> None:
    user = await person(db, "user")
    made, _ = await endpoint(db, user.id, "https://example.com/hook")
    await db.execute("SELECT api.test_webhook_endpoint($1)", made)
    (row,) = await db.fetch("SELECT delivery_id FROM api.lease_webhooks()")
    await db.execute("SELECT api.finish_webhook($1, 1, 410, 'gone', 5)", row["delivery_id"])
    events = await db.fetch("SELECT channels FROM core.outbox WHERE type = 'webhook.disabled'")
    assert [event["channels"] for event in events] == [[f"user:{user.id}"]]
