"""Seals: whatever of the sealed history changes, is lost or is added, by whomever, shows."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from app.commands import _seals
from app.commands._seals import Anchor, Checked, check_lines
from scheduler.jobs.seal_entries import seal_entries, verify_seals
from scheduler.metrics import SEAL_LAG, SEAL_VIOLATIONS, SEALED_BLOCK
from scheduler.registry import JobContext, Outcome
from tests.conftest import Connect
from tests.support.money import Tip, Transfer, World, refused, tip, transfer, transfer_batch, unguarded, until_waiting
from tests.support.postgres import LOGINS, Clone, Connection

SEAL = "SELECT * FROM api.seal_entries($1, $2)"
NO_MARGIN = timedelta(0)
PLAIN = "(SELECT t.id FROM core.transfers AS t WHERE t.kind = 'gift')"
EUROS = """(
    SELECT w.id FROM core.wallets AS w JOIN core.users AS u ON u.id = w.owner_id
    WHERE u.username = 'alice' AND w.asset = 'EUR')"""


async def seal(conn: Connection, limit: int = 20_000) -> list[asyncpg.Record]:
    """Seal all there is. Transactions of other databases on the server hold sealing back, so it may take a while."""
    sealed = []
    for _ in range(2000):
        found = await conn.fetch(SEAL, limit, NO_MARGIN)
        sealed += found
        if not found:
            if await conn.fetchval("SELECT api.seal_lag()") is None:
                return sealed
            await asyncio.sleep(0.01)
    raise AssertionError("there is always something left to seal")


async def broken(conn: Connection) -> list[str]:
    """Rules that the seals say are broken."""
    return [row["rule"] for row in await conn.fetch("SELECT * FROM api.verify_seals()")]


async def _some_money(world: World) -> None:
    await transfer(
        world.db,
        Transfer(
            source=world.alice.wallet,
            target=world.bob.wallet,
            amount=5,
            kind="gift",
            reference="r",
            metadata='{"n": 1}',
        ),
    )
    await tip(world.db, Tip(sender=world.bob.id, creator=world.creator.id, amount=7, key="k"))
    await world.db.execute("SELECT api.freeze_wallet($1, 'why', 'all')", world.creator.wallet)


async def test_blocks_follow_each_other_and_hold_everything(world: World, dba_conn: Connection) -> None:
    await _some_money(world)
    first = await seal(dba_conn)
    assert first[0]["previous"] == "00" * 32
    await transfer(world.db, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=1))
    second = await seal(dba_conn)
    assert await dba_conn.fetch(SEAL, 10, NO_MARGIN) == []
    blocks = await dba_conn.fetch("SELECT * FROM api.seals ORDER BY block")
    assert blocks == first + second
    assert [row["block"] for row in blocks] == list(range(1, len(blocks) + 1))
    for before, after in pairwise(blocks):
        assert (after["from_id"], after["previous"]) == (before["to_id"], before["digest"])
    for kind, table in (("transfers", "transfers"), ("wallets", "wallets"), ("acts", "audit_log")):
        assert sum(row[kind] for row in blocks) == await world.db.fetchval(f"SELECT count(*) FROM core.{table}")
    assert await broken(dba_conn) == []


async def test_blocks_are_as_large_as_one_says(world: World, dba_conn: Connection) -> None:
    pay = [Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1) for _ in range(25)]
    await transfer_batch(world.db, pay)
    blocks = await seal(dba_conn, limit=10)
    assert max(row["transfers"] for row in blocks) == 10
    assert max(row["wallets"] for row in blocks) <= 10
    assert sum(row["transfers"] for row in blocks) == await world.db.fetchval("SELECT count(*) FROM core.transfers")
    assert await broken(dba_conn) == []
    last = blocks[-1]["block"]
    assert await dba_conn.fetch("SELECT * FROM api.verify_seals(2, $1)", last) == []
    assert await dba_conn.fetch("SELECT * FROM api.verify_seals($1, $2)", -(2**63), 2**63 - 1) == []


@pytest.mark.parametrize("margin", ["NULL", "'-1 s'", "'1 day 1 s'", "'100 years'", "'290000 years'"])
async def test_a_margin_is_a_day_at_most(world: World, dba_conn: Connection, margin: str) -> None:
    found = await refused(dba_conn, f"SELECT * FROM api.seal_entries(p_margin => {margin}::interval)")
    assert (found.slug, found.facts["field"]) == ("INVALID_REQUEST", "p_margin")
    assert await dba_conn.fetch("SELECT * FROM api.seal_entries(p_margin => '1 day')") == []
    assert await world.db.fetchval("SELECT count(*) FROM core.seals") == 0


SET_TRANSFER = "UPDATE core.transfers SET {} WHERE kind = 'gift'"
TRANSFERS, WALLETS, ACTS = (f"sealed_{what}_are_unchanged" for what in ("transfers", "wallets", "acts"))
ENTRIES = "sealed_transfers_have_two_entries"
CHANGES: dict[str, tuple[str, set[str]]] = {
    **{
        f"transfer {change}": (SET_TRANSFER.format(change), {TRANSFERS})
        for change in (
            "amount = 6",
            "kind = 'loan'",
            "reference = NULL",
            "reference = 's'",
            "metadata = NULL",
            """metadata = '{"n": 2}'""",
            "asset = 'EUR'",
            "actor_id = core.uuid7()",
            "db_user = 'x'",
            "event_at = created_at",
            "created_at = created_at + interval '1 microsecond'",
            "from_seq = from_seq + 100",
            "to_wallet_id = from_wallet_id, from_wallet_id = to_wallet_id",
        )
    },
    "transfer gone": (f"DELETE FROM core.transfers WHERE id = {PLAIN}", {TRANSFERS, ENTRIES}),
    "transfer moved to now": (f"UPDATE core.transfers SET id = core.uuid7() WHERE id = {PLAIN}", {TRANSFERS, ENTRIES}),
    "transfer slipped in": (
        "INSERT INTO core.transfers SELECT (overlay(t.id::text placing '0000' from 33))::uuid, t.from_wallet_id,"
        " t.to_wallet_id, t.amount, 90, 90, t.created_at, t.actor_id, t.asset, t.kind, t.db_user"
        f" FROM core.transfers AS t WHERE t.id = {PLAIN}",
        {TRANSFERS, ENTRIES},
    ),
    "entry's amount": (f"UPDATE core.entries SET amount = amount * 2 WHERE transfer_id = {PLAIN}", {TRANSFERS}),
    "entry's balance": (
        f"UPDATE core.entries SET balance = balance + 1 WHERE transfer_id = {PLAIN} AND amount > 0",
        {TRANSFERS},
    ),
    "entry's time": (
        f"UPDATE core.entries SET created_at = created_at - interval '1 second' WHERE transfer_id = {PLAIN}",
        {TRANSFERS},
    ),
    "entry gone": (f"DELETE FROM core.entries WHERE transfer_id = {PLAIN} AND amount < 0", {TRANSFERS, ENTRIES}),
    "entry slipped in": (
        f"INSERT INTO core.entries SELECT wallet_id, 99, transfer_id, amount, balance, created_at FROM core.entries"
        f" WHERE transfer_id = {PLAIN} AND amount > 0",
        {ENTRIES},
    ),
    "entry given to another wallet": (
        f"UPDATE core.entries SET wallet_id = core.uuid7() WHERE transfer_id = {PLAIN} AND amount > 0",
        {TRANSFERS},
    ),
    "wallet given to another": (
        f"UPDATE core.wallets SET owner_id = (SELECT u.id FROM core.users AS u WHERE u.username = 'creator')"
        f" WHERE id = {EUROS}",
        {WALLETS},
    ),
    "wallet of another asset": (f"UPDATE core.wallets SET asset = 'XAU' WHERE id = {EUROS}", {WALLETS}),
    "wallet gone": ("DELETE FROM core.wallets WHERE asset = 'EUR'", {WALLETS}),
    "wallet's age": ("UPDATE core.wallets SET created_at = '2020-01-01' WHERE asset = 'EUR'", {WALLETS}),
    "act by somebody else": ("UPDATE core.audit_log SET db_user = 'x' WHERE action = 'wallet.frozen'", {ACTS}),
    "act with other details": ("UPDATE core.audit_log SET details = '{}' WHERE action = 'wallet.frozen'", {ACTS}),
    "act gone": ("DELETE FROM core.audit_log WHERE action = 'wallet.frozen'", {ACTS}),
    "seal's count": (
        "UPDATE core.seals SET transfers = transfers + 1 WHERE block = 1",
        {TRANSFERS, "seal_is_its_digest"},
    ),
    "seal's digest": (
        "UPDATE core.seals SET digest = sha256('') WHERE block = 1",
        {"seal_is_its_digest", "seal_follows_the_one_before"},
    ),
    "seal's time": (
        "UPDATE core.seals SET sealed_at = sealed_at - interval '1 day' WHERE block = 1",
        {"seal_is_its_digest"},
    ),
    "first seal gone": ("DELETE FROM core.seals WHERE block = 1", {"seal_follows_the_one_before"}),
    "a range left out": (
        "UPDATE core.seals SET from_id = core._uuid_floor(core._uuid_time(to_id) - interval '1 ms'), transfers = 0"
        " WHERE block = 2",
        {"seal_is_its_digest", "seal_follows_the_one_before"},
    ),
}


@pytest.mark.breaks_ledger
@pytest.mark.parametrize("name", CHANGES)
async def test_whatever_a_superuser_changes_shows(world: World, dba_conn: Connection, name: str) -> None:
    await _some_money(world)
    await seal(dba_conn)
    await transfer(world.db, Transfer(source=world.bob.wallet, target=world.alice.wallet, amount=1))
    await seal(dba_conn)
    statement, rules = CHANGES[name]
    assert await broken(dba_conn) == []
    async with unguarded(world.db):
        status = await world.db.execute(statement)
    assert not status.endswith(" 0"), "nothing was changed"
    found = set(await broken(dba_conn))
    assert rules <= found if name == "a range left out" else rules == found


@pytest.mark.breaks_ledger
async def test_not_even_who_seals_anew_deceives_an_anchor(world: World, dba_conn: Connection, tmp_path: Path) -> None:
    await _some_money(world)
    await seal(dba_conn)
    kept = (await _export(dba_conn, tmp_path / "kept")).newest
    assert kept is not None
    async with unguarded(world.db):
        await world.db.execute(SET_TRANSFER.format("reference = 'x'"))
        await world.db.execute("DELETE FROM core.seals")
    assert set(await broken(dba_conn)) == set()
    await seal(dba_conn)
    assert await broken(dba_conn) == [], "the seals by themselves fit"
    found = await _export(dba_conn, tmp_path / "forged", kept.anchor)
    assert [problem.rule for problem in found.problems] == ["seal_is_the_anchored_one"]


async def test_nothing_that_an_open_transaction_may_add_is_sealed_before(
    world: World, dba_conn: Connection, connect: Connect
) -> None:
    slow = await connect("app")
    await seal(dba_conn)
    begun = slow.transaction()
    await begun.start()
    await transfer(slow, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1, key="slow"))
    await world.db.fetch("SELECT api.grant_tokens($1, 1, 'later than the slow one')", world.creator.id)
    for _ in range(5):
        assert sum(row["transfers"] for row in await dba_conn.fetch(SEAL, 10, NO_MARGIN)) == 0
    await begun.commit()
    assert sum(row["transfers"] for row in await seal(dba_conn)) == 2
    assert await broken(dba_conn) == []


async def test_an_id_is_no_older_than_the_wait_for_a_lock(world: World, dba_conn: Connection, connect: Connect) -> None:
    """Two wait in a row; the first has its turn and others are sealed before the second has written anything."""
    pay = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1)
    holder, first, second = await connect("superuser"), await connect("app"), await connect("app")
    await seal(dba_conn)
    held, begun = holder.transaction(), first.transaction()
    await held.start()
    await holder.execute("SELECT FROM core.wallets WHERE id = $1 FOR NO KEY UPDATE", world.alice.wallet)
    await begun.start()
    one = asyncio.create_task(transfer(first, pay))
    await until_waiting(world.db, first)
    two = asyncio.create_task(transfer_batch(second, [pay, pay]))
    await until_waiting(world.db, second)
    await world.db.fetch("SELECT api.grant_tokens($1, 1, 'meanwhile')", world.creator.id)
    await asyncio.sleep(0.002)  # another millisecond, and so another id
    await dba_conn.fetch(SEAL, 10, NO_MARGIN)
    await held.rollback()
    await one
    for _ in range(20):
        await dba_conn.fetch(SEAL, 10, NO_MARGIN)
    await begun.commit()
    await two
    await seal(dba_conn)
    assert await broken(dba_conn) == []


@pytest.mark.parametrize("function", ["open_wallet($1, 'GOLD')", "open_system_wallet('escrow', 'GOLD')"])
async def test_a_wallet_is_no_older_than_the_wait_for_its_twin(
    world: World, dba_conn: Connection, connect: Connect, function: str
) -> None:
    """Of two who open the same wallet one waits; that one's id must not be of a time that was sealed meanwhile."""
    await world.db.execute("SELECT api.create_asset('GOLD', 2, 'Gold')")
    first, second = await connect("dba"), await connect("dba")
    statement = f"SELECT api.{function}"
    owner = [world.alice.id] if "$1" in function else []
    await seal(dba_conn)
    one, two = first.transaction(), second.transaction()
    await one.start()
    await first.execute(statement, *owner)
    await two.start()
    waiting = asyncio.create_task(second.execute(statement, *owner))
    await until_waiting(world.db, second)
    await world.db.fetch("SELECT api.grant_tokens($1, 1, 'meanwhile')", world.creator.id)
    await asyncio.sleep(0.002)  # another millisecond, and so another id
    await dba_conn.fetch(SEAL, 10, NO_MARGIN)
    await one.rollback()
    await waiting
    for _ in range(20):
        await dba_conn.fetch(SEAL, 10, NO_MARGIN)
    await two.commit()
    await seal(dba_conn)
    assert await broken(dba_conn) == []


@pytest.mark.parametrize("reference", ["Grüße", "日本"])
async def test_what_the_clients_encoding_is_makes_no_difference(
    world: World, dba_conn: Connection, connect: Connect, reference: str
) -> None:
    latin = await connect("dba", client_encoding="LATIN1")
    pay = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1, reference=reference)
    for sealer in (dba_conn, latin):
        await transfer(world.db, pay)
        await seal(sealer)
    for conn in (dba_conn, latin):
        assert await conn.fetch("SELECT s.rule FROM api.verify_seals() AS s") == []


@pytest.mark.breaks_ledger
async def test_what_follows_a_quiet_end_of_a_detached_month_is_checked(world: World, dba_conn: Connection) -> None:
    """The block begins in the detached month, and all it holds is in the one after."""
    await _some_money(world)
    await seal(dba_conn)
    await asyncio.sleep(0.002)
    async with unguarded(world.db):
        await world.db.execute("UPDATE core.partitioned SET attached_from = clock_timestamp() WHERE books")
    await asyncio.sleep(0.002)
    await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1, kind="later"))
    await seal(dba_conn)
    assert await broken(dba_conn) == []
    async with unguarded(world.db):
        await world.db.execute("UPDATE core.transfers SET reference = 'forged' WHERE kind = 'later'")
    assert await broken(dba_conn) == [TRANSFERS]


@pytest.mark.parametrize("who", ["app", "scheduler"])
async def test_services_do_not_date_or_sign_acts(dba_conn: Connection, connect: Connect, who: str) -> None:
    conn = await connect(who)
    act = "INSERT INTO core.audit_log ({}, action, details) VALUES ({}, 'made.up', '{{}}')"
    for column, value in (("id", "core.uuid7()"), ("created_at", "now()"), ("db_user", "'somebody'")):
        assert (await refused(conn, act.format(column, value))).code == "42501"
    await conn.execute(act.format("actor_id", "NULL"))
    await seal(dba_conn)
    assert await broken(dba_conn) == []


async def test_detached_months_are_passed_over(world: World, dba_conn: Connection, tmp_path: Path) -> None:
    await _some_money(world)
    await seal(dba_conn)
    async with unguarded(world.db):
        await world.db.execute("UPDATE core.partitioned SET keep = '-4 months'")
    await dba_conn.execute("SELECT api.detach_month('books')")
    assert await world.db.fetchval("SELECT count(*) FROM core.transfers") == 0
    assert await broken(dba_conn) == []
    found = await _export(dba_conn, tmp_path / "books")
    assert (found.problems, found.transfers) == ([], 0)
    await dba_conn.execute("SELECT api.attach_month('books')")
    assert await broken(dba_conn) == []
    acts = await world.db.fetch("SELECT db_user, details ->> 'what' FROM api.audit_log WHERE action ~ '^months[.]'")
    assert [act[1] for act in acts] == ["books", "books"]
    assert {act[0] for act in acts} == {LOGINS["dba"]}


async def test_two_who_seal_at_once(world: World, connect: Connect) -> None:
    await _some_money(world)
    sessions = [await connect("scheduler"), await connect("dba")]
    await asyncio.gather(*(seal(session, limit=2) for session in sessions))
    assert await broken(sessions[1]) == []


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_in_a_transaction_of_ones_own(world: World, dba_conn: Connection, level: Any) -> None:
    await _some_money(world)
    async with dba_conn.transaction(isolation=level):
        await dba_conn.fetch(SEAL, 10, NO_MARGIN)
        await transfer(dba_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))
        await dba_conn.fetch(SEAL, 10, NO_MARGIN)
    await seal(dba_conn)
    assert await broken(dba_conn) == []


async def test_money_does_not_wait_for_sealing(world: World, dba_conn: Connection, app_conn: Connection) -> None:
    await _some_money(world)
    async with dba_conn.transaction():
        for _ in range(2):
            await dba_conn.fetch(SEAL, 10, NO_MARGIN)
        await app_conn.execute("SET lock_timeout = 1")
        await transfer(app_conn, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))


@pytest.mark.parametrize(
    ("limit", "margin"), [(0, NO_MARGIN), (None, NO_MARGIN), (1, None), (1, timedelta(seconds=-1))]
)
async def test_refused(world: World, dba_conn: Connection, limit: int | None, margin: timedelta | None) -> None:
    found = await refused(dba_conn, SEAL, limit, margin)
    assert (found.slug, found.facts["field"]) == ("INVALID_REQUEST", "p_limit" if limit != 1 else "p_margin")


@pytest.mark.parametrize("margin", ["60 years", "300000 years", "-1 year +362 days", "-1 month"])
async def test_no_margin_reaches_into_the_future(world: World, dba_conn: Connection, margin: str) -> None:
    """Before 1970 there are no ids, and a month more may be less in days."""
    found = await refused(dba_conn, "SELECT api.seal_entries(10, $1::text::interval)", margin)
    assert (found.slug, found.facts["field"]) == ("INVALID_REQUEST", "p_margin")


@pytest.mark.parametrize("who", [*LOGINS, "owner", "superuser"])
async def test_nobody_changes_seals(world: World, connect: Connect, dba_conn: Connection, who: str) -> None:
    await seal(dba_conn)
    before = await world.db.fetch("SELECT * FROM core.seals")
    conn = await connect("migrator" if who == "owner" else who)
    if who == "owner":
        await conn.execute("SET ROLE tessera_owner")
    for statement in (
        "UPDATE core.seals SET sealed_at = now()",
        "DELETE FROM core.seals",
        "TRUNCATE core.seals",
        "INSERT INTO core.seals SELECT block + 1, to_id, from_id, 0, 0, 0, digest, digest, digest, now(),"
        " digest, digest FROM core.seals",
    ):
        with pytest.raises(asyncpg.PostgresError) as error:
            await conn.execute(statement)
        assert error.value.sqlstate in ("TS901", "42501")
    assert await world.db.fetch("SELECT * FROM core.seals") == before


async def _export(conn: Connection, path: Path, *anchors: Anchor) -> Checked:
    with _seals.opened(path, "wb") as file:
        await _seals.export(conn, file)
    with _seals.opened(path, "rb") as file:
        return check_lines(file, anchors)


async def test_a_file_is_checked_without_the_database(world: World, dba_conn: Connection, tmp_path: Path) -> None:
    await _some_money(world)
    await seal(dba_conn, limit=3)
    newest = await dba_conn.fetchrow("SELECT * FROM api.seals ORDER BY block DESC LIMIT 1")
    assert newest is not None
    found = await _export(dba_conn, tmp_path / "books.jsonl.gz", Anchor(newest["block"], newest["digest"]))
    assert found.problems == []
    assert found.transfers == await world.db.fetchval("SELECT count(*) FROM core.transfers")
    assert found.newest is not None
    assert found.newest.anchor == (newest["block"], newest["digest"])
    assert gzip.decompress((tmp_path / "books.jsonl.gz").read_bytes()).startswith(b'{"format":"tessera-seals/1"}')


@pytest.fixture
async def lines(world: World, dba_conn: Connection, tmp_path: Path) -> list[bytes]:
    """An exported file."""
    await _some_money(world)
    await seal(dba_conn, limit=4)
    assert (await _export(dba_conn, tmp_path / "books")).problems == []
    return (tmp_path / "books").read_bytes().splitlines(keepends=True)


def _rules(lines: list[bytes]) -> set[str]:
    return {problem.rule for problem in check_lines(lines).problems}


async def test_every_value_of_every_line_of_a_file_counts(lines: list[bytes]) -> None:
    """Each value is replaced by another one of its kind, one at a time."""

    def other(value: Any) -> Any:
        if isinstance(value, int):
            return value + 1
        if isinstance(value, str):
            at = len(value) - 1
            return value[:at] + ("0" if value[at] != "0" else "1")
        return "00000000-0000-7000-8000-000000000000" if value is None else None

    tried = 0
    for n, line in enumerate(lines[1:], 1):
        row = msgspec.json.decode(line)
        places = range(len(row[1])) if isinstance(row, list) else list(row["seal"])
        for place in places:
            values = row[1] if isinstance(row, list) else row["seal"]
            kept = values[place]
            values[place] = other(kept)
            changed = [*lines[:n], msgspec.json.encode(row) + b"\n", *lines[n + 1 :]]
            with suppress(ValueError):  # no value of its kind
                assert _rules(changed), (n, place)
            values[place] = kept
            tried += 1
    assert tried > 200


async def test_lines_that_are_gone_doubled_or_moved_show(lines: list[bytes]) -> None:
    for n in range(1, len(lines)):
        try:
            assert n == len(lines) - 1 or _rules([*lines[:n], *lines[n + 1 :]]), n
            assert _rules([*lines[:n], lines[n], *lines[n:]]), n
        except ValueError:
            assert n == 1, "rows before the first block"


async def test_files_that_are_none(lines: list[bytes]) -> None:
    for wrong in (
        [],
        [b"{}"],
        [b"not json"],
        [b'{"format":"other/1"}'],
        [lines[0], b'["transfer",[1]]'],
        [lines[0], b"[]"],
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            check_lines(wrong)
    for text in ("", "1", "1:zz", "x:" + "0" * 64, "1:" + "0" * 63, "-1:" + "0" * 64):
        with pytest.raises(ValueError, match=r"BLOCK:DIGEST|hexadecimal"):
            Anchor.parse(text)


async def test_the_jobs(world: World, database: Clone, dba_conn: Connection) -> None:
    await _some_money(world)
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=1)
    try:
        context = JobContext(pool, database.settings())
        await seal(dba_conn)
        await transfer(world.db, Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=1))
        outcome = await seal_entries(context)
        assert isinstance(outcome, Outcome)
        assert outcome.items == 0, "it is too young"
        assert SEAL_LAG._value.get() > 0
        assert await verify_seals(context) == 0
        assert SEAL_VIOLATIONS._value.get() == 0
        assert SEALED_BLOCK is not None
    finally:
        await pool.close()
