"""api.set_rate, api.end_rate, core._rate: what is in force when, and that the past stays as it was."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.sql.refusals import NOBODY
from tests.support.money import Tip, World, refused, tip, without_rate, written
from tests.support.postgres import Connection

SET = "SELECT * FROM api.set_rate($1, $2, $3, $4, $5, $6, $7, $8)"
END = "SELECT * FROM api.end_rate($1, $2, $3)"


def _set(name: str, value: object, **more: Any) -> tuple[Any, ...]:
    fields = {"asset": None, "scope": None, "valid_from": None, "valid_to": None, "note": None, "actor": None} | more
    return (name, None if value is None else Decimal(str(value)), *fields.values())


async def _rate(conn: Connection, name: str, asset: str | None = None, scope: str | None = None) -> Decimal:
    value: Decimal = await conn.fetchval("SELECT core._rate($1, $2, clock_timestamp(), $3)", name, asset, scope)
    return value


async def test_from_now_on_and_audited(world: World, app_conn: Connection) -> None:
    row = await app_conn.fetchrow(SET, *_set("platform_fee", 250, asset="TOKEN", note="why", actor=world.admin.id))
    assert row is not None
    assert (row["value"], row["unit"], row["note"], row["valid_to"]) == (250, "bps", "why", None)
    assert row["created_by"] == str(world.admin.id)
    assert await _rate(world.db, "platform_fee", "TOKEN") == 250
    act = await world.db.fetchrow("SELECT * FROM api.audit_log WHERE action = 'rate.set'")
    assert act is not None
    details = json.loads(act["details"])
    assert act["actor_id"] == world.admin.id
    assert (details["rate"], details["value"], details["value_before"]) == ("platform_fee", 250, 0)


async def test_tips_use_it_at_once_and_old_tips_keep_theirs(world: World, app_conn: Connection) -> None:
    first = await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=20, key="a"))
    await app_conn.fetch(SET, *_set("platform_fee", 1000, asset="TOKEN"))
    second = await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=20, key="b"))
    again = await tip(app_conn, Tip(sender=world.alice.id, creator=world.creator.id, amount=20, key="a"))
    assert [row["platform_fee"] for row in (first, second, again)] == [0, 2, 0]


async def test_of_asset_and_scope_the_nearest_counts(world: World, app_conn: Connection) -> None:
    for value, more in ((100, {}), (200, {"asset": "EUR"}), (900, {"scope": "ambassador"})):
        await app_conn.fetch(SET, *_set("referral", value, **more))
    assert await _rate(world.db, "referral", "EUR") == 200
    assert await _rate(world.db, "referral", "EUR", "ambassador") == 900
    assert await _rate(world.db, "referral", "EUR", "nobody") == 200
    assert await _rate(world.db, "referral", "TOKEN") == 500, "the seed is for TOKEN"


async def test_a_rate_with_an_end_gives_way_to_the_one_before(world: World, app_conn: Connection) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    later = soon + timedelta(days=1)
    await app_conn.fetch(SET, *_set("call_block", 10, valid_from=soon, valid_to=later))
    query = "SELECT core._rate('call_block', NULL, $1)"
    moments = (soon - timedelta(seconds=1), soon, later - timedelta(seconds=1), later)
    assert [await world.db.fetchval(query, moment) for moment in moments] == [30, 10, 10, 30]


async def test_the_same_again_changes_nothing_and_another_value_is_refused(world: World, app_conn: Connection) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    first = await app_conn.fetchrow(SET, *_set("call_block", 10, valid_from=soon))
    before = await written(world.db)
    assert await app_conn.fetchrow(SET, *_set("call_block", 10, valid_from=soon)) == first
    found = await refused(app_conn, SET, *_set("call_block", 11, valid_from=soon))
    assert (found.code, found.slug, found.facts["value"]) == ("TS319", "RATE_EXISTS", 10)
    assert await written(world.db) == before


async def test_a_repeated_setting_from_now_on_is_one(world: World, app_conn: Connection) -> None:
    first = await app_conn.fetchrow(SET, *_set("platform_fee", 250, asset="TOKEN"))
    before = await written(world.db)
    assert await app_conn.fetchrow(SET, *_set("platform_fee", 250, asset="TOKEN")) == first
    assert await written(world.db) == before
    until = datetime.now(UTC) + timedelta(days=1)
    again = await app_conn.fetchrow(SET, *_set("platform_fee", 250, asset="TOKEN", valid_to=until))
    assert again is not None
    assert again["valid_to"] == until, "with an end it is another setting"
    assert await _rate(world.db, "platform_fee", "TOKEN") == 250


async def test_a_repeated_setting_that_is_in_force_by_now_is_no_rewriting(world: World, app_conn: Connection) -> None:
    moment = await world.db.fetchval("SELECT clock_timestamp() + interval '200 ms'")
    first = await app_conn.fetchrow(SET, *_set("call_block", 10, valid_from=moment))
    await world.db.execute("SELECT pg_sleep(0.3)")
    assert await app_conn.fetchrow(SET, *_set("call_block", 10, valid_from=moment)) == first
    assert (await refused(app_conn, SET, *_set("call_block", 11, valid_from=moment))).slug == "INVALID_REQUEST"


async def test_only_administrators_set_and_end(world: World, app_conn: Connection) -> None:
    rate: UUID = await world.db.fetchval("SELECT id FROM core.rates WHERE name = 'call_block'")
    assert (await refused(app_conn, SET, *_set("call_block", 1, actor=world.bob.id))).slug == "FORBIDDEN"
    assert (await refused(app_conn, SET, *_set("call_block", 1, actor=world.suspended.id))).slug == "USER_SUSPENDED"
    assert (await refused(app_conn, END, rate, None, world.bob.id)).slug == "FORBIDDEN"


async def test_ended_it_is_gone(world: World, app_conn: Connection) -> None:
    limit = await app_conn.fetchval("SELECT rate_id FROM (" + SET + ") AS r", *_set("velocity_count_day", 0))
    tip_ = Tip(sender=world.alice.id, creator=world.creator.id, amount=1)
    query = "SELECT api.send_tip($1, $2, $3)"
    assert (await refused(app_conn, query, tip_.sender, tip_.creator, 1)).slug == "VELOCITY_LIMIT"
    ended = await app_conn.fetchrow(END, limit, None, world.admin.id)
    assert ended is not None
    assert ended["valid_to"] is not None
    await tip(app_conn, tip_)
    assert await world.db.fetchval("SELECT actor_id FROM api.audit_log WHERE action = 'rate.ended'") == world.admin.id
    assert (await refused(app_conn, END, limit, None, None)).slug == "INVALID_REQUEST"


PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
REFUSED: dict[str, tuple[tuple[Any, ...], str, str | None]] = {
    "unknown": (_set("platform_fees", 1), "RATE_NOT_FOUND", None),
    "null name": ((None, Decimal(1), None, None, None, None, None, None), "RATE_NOT_FOUND", None),
    "unknown asset": (_set("platform_fee", 1, asset="GOLD"), "ASSET_NOT_FOUND", None),
    "the past": (_set("platform_fee", 1, valid_from=PAST), "INVALID_REQUEST", "valid_from"),
    "ends before it begins": (_set("platform_fee", 1, valid_from=FUTURE, valid_to=PAST), "INVALID_REQUEST", "valid_to"),
    "below nothing": (_set("platform_fee", -1), "INVALID_REQUEST", "value"),
    "no value": (_set("platform_fee", None), "INVALID_REQUEST", "value"),
    "not a number": (_set("platform_fee", "NaN"), "INVALID_REQUEST", "value"),
    "infinite": (_set("token_value", "1e15"), "INVALID_REQUEST", "value"),
    "more than all": (_set("platform_fee", 10001), "INVALID_REQUEST", "value"),
    "for ever and a day": (_set("adjustment_valid", 36501), "INVALID_REQUEST", "value"),
    "more than a century": (_set("call_grace", 36500 * 86400 + 1), "INVALID_REQUEST", "value"),
    "more than an integer": (_set("call_low_balance", 2**31), "INVALID_REQUEST", "value"),
    "half a second": (_set("call_block", "0.5"), "INVALID_REQUEST", "value"),
    "a scope it has not": (_set("call_block", 1, scope="tip"), "INVALID_REQUEST", "scope"),
    "no scope at all": (_set("referral", 1, scope="No"), "INVALID_REQUEST", "scope"),
    "long note": (_set("platform_fee", 1, note="n" * 501), "INVALID_REQUEST", "note"),
    "unknown actor": (_set("platform_fee", 1, actor=NOBODY), "USER_NOT_FOUND", None),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(world: World, app_conn: Connection, name: str) -> None:
    arguments, slug, field = REFUSED[name]
    before = await written(world.db)
    rates = await world.db.fetch("SELECT * FROM core.rates ORDER BY id")
    found = await refused(app_conn, SET, *arguments)
    assert (found.slug, found.facts.get("field")) == (slug, field)
    assert await written(world.db) == before
    assert await world.db.fetch("SELECT * FROM core.rates ORDER BY id") == rates


@pytest.mark.parametrize("moment", ["10000-01-01 00:00:00+00", "294276-12-31 23:59:59.999999+00"])
async def test_rates_are_of_years_that_everybody_can_write(app_conn: Connection, moment: str) -> None:
    for field in ("valid_from", "valid_to"):
        found = await refused(app_conn, f"SELECT api.set_rate('platform_fee', 1, p_{field} => '{moment}')")
        assert (found.slug, found.facts["field"]) == ("INVALID_REQUEST", field)
    assert (
        await app_conn.fetchval("SELECT r.value FROM api.set_rate('platform_fee', 1, p_valid_to => 'infinity') AS r")
        == 1
    )


async def test_ending_what_cannot_end(world: World, app_conn: Connection) -> None:
    rate: UUID = await world.db.fetchval("SELECT id FROM core.rates WHERE name = 'call_block'")
    for late in ("infinity", "10000-01-01 00:00:00+00", "294276-12-31 23:59:59.999999+00"):
        assert (await refused(app_conn, f"SELECT api.end_rate($1, '{late}')", rate)).slug == "INVALID_REQUEST"
    for arguments, slug in (
        ((NOBODY, None, None), "RATE_NOT_FOUND"),
        ((rate, PAST, None), "INVALID_REQUEST"),
        ((rate, None, NOBODY), "USER_NOT_FOUND"),
        ((rate, None, world.suspended.id), "USER_SUSPENDED"),
    ):
        assert (await refused(app_conn, END, *arguments)).slug == slug


async def test_without_the_rate_it_is_a_configuration_error(world: World, app_conn: Connection) -> None:
    await without_rate(world.db, "adjustment_valid")
    before = await written(world.db)
    found = await refused(
        app_conn, "SELECT api.request_adjustment($1, $2, 1, 'why')", world.alice.wallet, world.bob.wallet
    )
    assert (found.code, found.slug, found.facts["rate"]) == ("TS801", "CONFIGURATION_ERROR", "adjustment_valid")
    assert await written(world.db) == before


@pytest.mark.parametrize(
    "statement", ["UPDATE core.rates SET value = 1", "DELETE FROM core.rates", "TRUNCATE core.rates"]
)
async def test_not_even_a_superusers_slip_rewrites_the_past(db: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await db.execute(statement)
    assert caught.value.sqlstate == "TS901"


@pytest.mark.parametrize("table", ["audit_log", "adjustments"])
async def test_nor_what_people_did(db: Connection, table: str) -> None:
    for statement in (
        f"DELETE FROM core.{table}",
        f"TRUNCATE core.{table}",
        f"UPDATE core.{table} SET created_at = now()",
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await db.execute(statement.format(f"core.{table}"))
        assert caught.value.sqlstate == "TS901"


async def test_two_settings_at_once_are_one_after_the_other(world: World, connect: Connect) -> None:
    sessions = [await connect("app") for _ in range(4)]
    await asyncio.gather(*(conn.fetch(SET, *_set("call_block", n + 1)) for n, conn in enumerate(sessions)))
    acts = await world.db.fetch(
        "SELECT (details ->> 'value')::int AS value, (details ->> 'value_before')::int AS before"
        " FROM api.audit_log WHERE action = 'rate.set'"
    )
    assert {row["before"] for row in acts} | {int(await _rate(world.db, "call_block"))} == {
        30,
        *(row["value"] for row in acts),
    }
