"""A batch is what its items are one by one: in one call, in calls of one, and in single calls of the other function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.stage import EFFORT, Stage, amounts, drafts, resolve
from tests.support.money import Tip, Transfer, person, raised, set_fee, tip, tips, transfer, transfer_batch
from tests.support.postgres import Clone, Connection

BOOKS = """
    SELECT w.id, w.balance, w.version, w.lifetime_earned, w.lifetime_spent, e.entries
    FROM core.wallets AS w
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(e.seq, e.amount, e.balance)::text ORDER BY e.seq) AS entries
        FROM core.entries AS e WHERE e.wallet_id = w.id
    ) AS e ON true
    ORDER BY w.id"""
COUNTS = """
    SELECT (SELECT count(*) FROM core.transfers), (SELECT count(*) FROM core.idempotency_keys),
        (SELECT count(*) FROM core.tips), (SELECT sum(platform_fee) FROM core.tips)"""
TOLD = """
    SELECT payload ->> 'wallet_id', sum((payload ->> 'change')::bigint),
        (array_agg(payload - 'change' ORDER BY id DESC))[1]
    FROM core.outbox WHERE type = 'wallet.changed' GROUP BY 1 ORDER BY 1"""
"""What owners know: their wallets in the end, and all changes together."""

Answers = list[dict[str, Any]]


@pytest.fixture
def stage(database: Clone) -> Iterator[Stage]:
    """Where the examples run."""
    stage = Stage(database)
    yield stage
    stage.close()


def _plain(rows: Answers, identity: str) -> Answers:
    """Without what differs from run to run: times, and ids but for which of them are the same."""
    first: dict[UUID, int] = {}
    plain = []
    for n, row in enumerate(rows):
        kept = {k: v for k, v in row.items() if k not in ("ord", "created_at", identity)}
        id_ = row.get(identity)
        plain.append({**kept, "same as": first.setdefault(id_, n) if id_ else None})
    return plain


class Run:
    """One way to send the requests, undone afterwards: its answers and the books they left."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._undo = conn.transaction()

    async def __aenter__(self) -> Run:
        await self._undo.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._undo.rollback()

    async def books(self) -> list[Any]:
        """What there is now, without ids of transfers."""
        return [tuple(row) for query in (BOOKS, COUNTS, TOLD) for row in await self._conn.fetch(query)]


async def _alone(conn: Connection, call: Any, request: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """One request through the function that raises."""
    savepoint = conn.transaction()
    await savepoint.start()
    try:
        row = await call(conn, request)
    except asyncpg.PostgresError as error:
        await savepoint.rollback()
        refusal = raised(error)
        empty = dict.fromkeys(fields)
        return {**empty, "replayed": False, "error_code": refusal.code, "error": refusal.slug, "facts": refusal.facts}
    await savepoint.commit()
    return {**{field: row[field] for field in fields}, "replayed": row["replayed"], "error_code": None, "error": None}


def _without_facts(rows: Answers, fields: tuple[str, ...]) -> Answers:
    return [{k: row[k] for k in (*fields, "replayed", "error_code", "error")} for row in rows]


async def _transfers_agree(conn: Connection, requests: list[Transfer]) -> None:
    fields = ("transfer_id", "from_balance", "to_balance")
    async with Run(conn) as run:
        at_once: Answers = [dict(row) for row in await transfer_batch(conn, requests)]
        books = await run.books()
    async with Run(conn) as run:
        one_by_one: Answers = [dict((await transfer_batch(conn, [request]))[0]) for request in requests]
        assert _plain(one_by_one, "transfer_id") == _plain(at_once, "transfer_id")
        assert await run.books() == books
    async with Run(conn) as run:
        singles = [await _alone(conn, transfer, request, fields) for request in requests]
        assert _plain(_without_facts(singles, fields), "transfer_id") == _plain(
            _without_facts(at_once, fields), "transfer_id"
        )
        assert await run.books() == books


def test_transfers(stage: Stage) -> None:
    ids, ledger = stage.run(stage.cast())
    stage.run(transfer_batch(stage.conn, [Transfer(source=ids["mint"], target=ids["ann"], amount=50)]))

    @settings(max_examples=50 * EFFORT)
    @given(st.lists(drafts(), min_size=1, max_size=20))
    def check(batch: list[dict[str, Any]]) -> None:
        stage.run(_transfers_agree(stage.conn, [resolve(draft, ids, ledger) for draft in batch]))

    check()


async def _tips_agree(conn: Connection, bps: int, requests: list[Tip]) -> None:
    fields = ("tip_id", "amount", "creator_cut", "platform_fee", "new_balance")
    outer = conn.transaction()
    await outer.start()
    try:
        await set_fee(conn, bps)
        async with Run(conn) as run:
            at_once: Answers = [dict(row) for row in await tips(conn, requests)]
            books = await run.books()
        async with Run(conn) as run:
            one_by_one: Answers = [dict((await tips(conn, [request]))[0]) for request in requests]
            assert _plain(one_by_one, "tip_id") == _plain(at_once, "tip_id")
            assert await run.books() == books
        async with Run(conn) as run:
            singles = [await _alone(conn, tip, request, fields) for request in requests]
            assert _plain(_without_facts(singles, fields), "tip_id") == _plain(
                _without_facts(at_once, fields), "tip_id"
            )
            assert await run.books() == books
    finally:
        await outer.rollback()


def test_tips(stage: Stage) -> None:
    async def cast() -> list[UUID]:
        people = [await person(stage.conn, name, tokens=60, roles=["creator"]) for name in ("fay", "gil", "hal")]
        return [*(p.id for p in people), (await person(stage.conn, "ida", tokens=200)).id, UUID(int=1)]

    people = stage.run(cast())
    draft = st.builds(
        Tip,
        sender=st.sampled_from(people),
        creator=st.sampled_from(people),
        amount=amounts(),
        key=st.sampled_from([None, None, "a", "b", "c"]),
        message=st.sampled_from([None, None, None, "x" * 501]),
    )

    @settings(max_examples=50 * EFFORT)
    @given(bps=st.sampled_from([0, 1, 250, 5000, 9999, 10000]), batch=st.lists(draft, min_size=1, max_size=12))
    def check(bps: int, batch: list[Tip]) -> None:
        stage.run(_tips_agree(stage.conn, bps, batch))

    check()
