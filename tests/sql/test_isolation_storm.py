"""Every money function at once, at every isolation level: no wrong total, no lost update, failures are clean retries.

Sessions come in pairs. Both of a pair make the same calls with the same idempotency keys at the same time, each in
transactions of its own, which it begins again after 40001 or 40P01 and after nothing else. Afterwards what the database
holds is compared with what the sessions were told, effect by effect.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import pytest

from tests.conftest import Connect
from tests.support.money import Person, person, raised
from tests.support.postgres import Connection, violations

LEVELS = ["read_committed", "repeatable_read", "serializable"]
PAIRS = 4
ROUNDS = {1: 4, 3: 2}
"""By the number of calls in a transaction."""
MOST = 20
"""Rounds, where something was refused each time until then: who meets whom is a matter of chance."""
RECENT = 10
"""So many of the newest holds and adjustments are worked on, so that sessions meet."""
START = 80
LIMITS = (100, 200)
"""Least and most that a wallet may pay in a day by plain transfers; the storm sets it anew all the time."""
PATIENT = {"lock_timeout": "0", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
CLEAN = {"40001", "40P01"}
SHUT = {"WALLET_FROZEN", "WALLET_CLOSED"}
SHORT = {"INSUFFICIENT_TOKENS", "VELOCITY_LIMIT", *SHUT}
CLOSED = {"HOLD_CLOSED", "HOLD_EXCEEDED", "VELOCITY_LIMIT", *SHUT}
RARE = {"capture_hold", "release_hold", "approve_adjustment", "reject_adjustment", "set_referrer", "close_wallet"}
"""They are done now and then: mostly another session has been there before."""


class Call(NamedTuple):
    """A call of a function of the contract, and the refusals that there may be."""

    kind: str
    query: str
    arguments: tuple[Any, ...]
    refusals: set[str]
    key: str | None = None


class Told(NamedTuple):
    """What a session was told about a call in the end: rows, or the slug of a refusal."""

    call: Call
    rows: list[dict[str, Any]]
    refusal: str | None


class Known(msgspec.Struct):
    """What there is to work on, as the sessions get to know it, and what they were told."""

    people: list[Person]
    euros: list[UUID]
    admin: Person
    second: Person
    spares: list[Person]
    liquidity: dict[str, UUID]
    holds: list[UUID] = []
    transfers: list[UUID] = []
    adjustments: list[UUID] = []
    told: list[tuple[Told, Told]] = []
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    retries: Counter[str] = msgspec.field(default_factory=Counter)

    def learn(self, told: Told) -> None:
        for row in told.rows:
            if told.call.kind == "place_hold":
                self.holds.append(row["hold_id"])
            elif told.call.kind == "request_adjustment":
                self.adjustments.append(row["adjustment_id"])
            elif told.call.kind in ("transfer", "post_journal", "send_tip", "capture_hold"):
                self.transfers.append(row.get("tip_id") or row["transfer_id"])
        closed = told.refusal in ("HOLD_CLOSED", "ADJUSTMENT_CLOSED")
        for pool in (self.holds, self.adjustments):
            if closed and len(pool) > 1 and told.call.arguments[0] in pool:
                pool.remove(told.call.arguments[0])


Make = Callable[[random.Random, Known, str], Call]
CALLS: dict[str, Make] = {}


def _kind(make: Make) -> Make:
    CALLS[make.__name__.strip("_")] = make
    return make


def _call(query: str, *arguments: Any, refusals: set[str], key: str | None = None) -> Call:
    return Call(query.partition("(")[0], f"SELECT * FROM api.{query}", arguments, refusals, key)


def _two(rng: random.Random, known: Known) -> tuple[Person, Person]:
    one, two = rng.sample(known.people, 2)
    return one, two


@_kind
def _transfer(rng: random.Random, known: Known, key: str) -> Call:
    one, two = _two(rng, known)
    what = "transfer($1, $2, $3, p_key => $4, p_actor => $5)"
    arguments = (one.wallet, two.wallet, rng.randint(1, 40), key, one.id)
    return _call(what, *arguments, refusals=SHORT, key=key)


@_kind
def _send_tip(rng: random.Random, known: Known, key: str) -> Call:
    one, two = _two(rng, known)
    return _call("send_tip($1, $2, $3, $4)", one.id, two.id, rng.randint(1, 40), key, refusals=SHORT, key=key)


@_kind
def _post_journal(rng: random.Random, known: Known, key: str) -> Call:
    """An exchange: tokens for euros."""
    number = rng.randrange(len(known.people))
    amount = rng.randint(1, 40)
    legs = [
        (known.people[number].wallet, known.liquidity["TOKEN"], amount, "TOKEN", "exchange", None),
        (known.liquidity["EUR"], known.euros[number], amount * 500, "EUR", "exchange", None),
    ]
    return _call("post_journal($1::api.journal_leg[], $2)", legs, key, refusals=SHORT, key=key)


@_kind
def _place_hold(rng: random.Random, known: Known, key: str) -> Call:
    lasts = rng.choice([timedelta(milliseconds=5), *[timedelta(hours=1)] * 3])
    arguments = (rng.choice(known.people).wallet, rng.randint(1, 60), lasts, key)
    return _call("place_hold($1, $2, $3, $4)", *arguments, refusals=SHORT, key=key)


@_kind
def _capture_hold(rng: random.Random, known: Known, key: str) -> Call:
    arguments = (
        rng.choice(known.holds[-RECENT:]),
        rng.choice(known.spares).wallet,
        rng.choice([None, rng.randint(1, 30)]),
        rng.random() < 0.3,
    )
    return _call("capture_hold($1, $2, $3, $4, $5)", *arguments, key, refusals=CLOSED, key=key)


@_kind
def _release_hold(rng: random.Random, known: Known, key: str) -> Call:
    return _call("release_hold($1, $2)", rng.choice(known.holds[-RECENT:]), key, refusals={"HOLD_CLOSED"}, key=key)


@_kind
def _expire_holds(rng: random.Random, known: Known, key: str) -> Call:
    return _call("expire_holds()", refusals=set())


@_kind
def _refund_transfer(rng: random.Random, known: Known, key: str) -> Call:
    policy = rng.choice(["refuse", "within_balance", "create_debt"])
    arguments = (rng.choice(known.transfers), rng.choice([None, rng.randint(1, 20)]), key, policy)
    return _call("refund_transfer($1, $2, $3, $4)", *arguments, refusals=SHORT | {"REFUND_EXCEEDED"}, key=key)


@_kind
def _credit_with_referral(rng: random.Random, known: Known, key: str) -> Call:
    arguments = (rng.choice(known.people).id, rng.randint(1, 100), key)
    return _call("credit_with_referral($1, $2, 'TOKEN', 'a reward', $3)", *arguments, refusals=SHUT, key=key)


@_kind
def _grant_tokens(rng: random.Random, known: Known, key: str) -> Call:
    arguments = (rng.choice(known.people).id, rng.randint(1, 40), key)
    return _call("grant_tokens($1, $2, 'for a test', $3)", *arguments, refusals=SHUT, key=key)


@_kind
def _set_referrer(rng: random.Random, known: Known, key: str) -> Call:
    one, two = _two(rng, known)
    return _call("set_referrer($1, $2)", one.id, two.id, refusals={"REFERRER_SET", "REFERRAL_CIRCLE"})


@_kind
def _request_adjustment(rng: random.Random, known: Known, key: str) -> Call:
    one, two = _two(rng, known)
    arguments = (one.wallet, two.wallet, rng.randint(1, 30), key, known.admin.id)
    return _call("request_adjustment($1, $2, $3, 'a slip', $4, $5)", *arguments, refusals=set(), key=key)


@_kind
def _approve_adjustment(rng: random.Random, known: Known, key: str) -> Call:
    arguments = (rng.choice(known.adjustments[-RECENT:]), known.second.id)
    return _call("approve_adjustment($1, $2)", *arguments, refusals=SHORT | {"ADJUSTMENT_CLOSED"})


@_kind
def _reject_adjustment(rng: random.Random, known: Known, key: str) -> Call:
    arguments = (rng.choice(known.adjustments[-RECENT:]), known.second.id)
    return _call("reject_adjustment($1, 'no', $2)", *arguments, refusals={"ADJUSTMENT_CLOSED"})


@_kind
def _freeze_wallet(rng: random.Random, known: Known, key: str) -> Call:
    arguments = (rng.choice(known.people).wallet, rng.choice(["debits", "all"]))
    return _call("freeze_wallet($1, 'for a test', $2)", *arguments, refusals=set())


@_kind
def _unfreeze_wallet(rng: random.Random, known: Known, key: str) -> Call:
    return _call("unfreeze_wallet($1, 'for a test')", known.people[rng.randrange(3)].wallet, refusals=set())


@_kind
def _close_wallet(rng: random.Random, known: Known, key: str) -> Call:
    """A wallet that captures are paid to: empty, or refused; closed, it must stay as it is."""
    return _call("close_wallet($1, 'for a test')", rng.choice(known.spares).wallet, refusals={"WALLET_NOT_EMPTY"})


@_kind
def _set_rate(rng: random.Random, known: Known, key: str) -> Call:
    """The limit, or the referrers' share; hardly ever a value that is in force."""
    if rng.random() < 0.5:
        arguments: tuple[Any, ...] = ("velocity_amount_day", rng.randint(*LIMITS), None, "transfer")
    else:
        arguments = ("referral", rng.randint(1, 9999), "TOKEN", None)
    return _call("set_rate($1, $2, $3, $4)", *arguments, refusals=set())


async def _say(conn: Connection, call: Call, known: Known) -> Told:
    """Make a call in a savepoint. Raises what is a reason to begin the transaction again."""
    try:
        async with conn.transaction():
            return Told(call, [dict(row) for row in await conn.fetch(call.query, *call.arguments)], None)
    except asyncpg.PostgresError as error:
        refusal = raised(error)
        if refusal.code in CLEAN:
            raise
        if refusal.slug not in call.refusals:
            known.failures[f"{call.kind}: {refusal.code} {refusal.slug}"] += 1
        return Told(call, [], refusal.slug)


async def _tell(conn: Connection, level: str, calls: list[Call], known: Known) -> list[Told]:
    """Make calls in one transaction, again while it fails cleanly."""
    for _ in range(2000):
        try:
            async with conn.transaction(isolation=level):  # type: ignore[arg-type]
                told = [await _say(conn, call, known) for call in calls]
        except asyncpg.PostgresError as error:
            code = raised(error).code
            if code not in CLEAN:
                raise
            known.retries[code] += 1
        else:
            return told
    raise AssertionError(f"never done: {calls}")


async def _pair(number: int, conns: list[Connection], level: str, size: int, rounds: range, known: Known) -> None:
    """Rounds of all functions, each in an order of its own, both sessions of the pair making the same calls at once."""
    rng = random.Random(f"{level} {number} {rounds}")  # noqa: S311
    for n in rounds:
        kinds = [*CALLS, "transfer", "transfer", "place_hold", "capture_hold", "unfreeze_wallet", "unfreeze_wallet"]
        rng.shuffle(kinds)
        for place in range(0, len(kinds), size):
            chunk = enumerate(kinds[place : place + size], place)
            calls = [CALLS[kind](rng, known, f"{number}-{n}-{at}") for at, kind in chunk]
            told = await asyncio.gather(*(_tell(conn, level, calls, known) for conn in conns))
            for one, two in zip(*told, strict=True):
                known.told.append((one, two))
                known.learn(one if one.refusal is None else two)


async def _known(db: Connection) -> Known:
    """People with tokens and euros, something of everything to begin with, and a limit in force from the start."""
    await db.fetch("SELECT api.create_asset('EUR', 4, 'Euro')")
    people = [await person(db, f"person{n}", tokens=START, roles=["creator"]) for n in range(3)]
    known = Known(
        people=people,
        euros=[await db.fetchval("SELECT wallet_id FROM api.open_wallet($1, 'EUR')", who.id) for who in people],
        admin=await person(db, "admin", roles=["admin"]),
        second=await person(db, "second", roles=["admin"]),
        spares=[await person(db, f"spare{n}") for n in range(30)],
        liquidity={
            asset: await db.fetchval(
                "SELECT wallet_id FROM api.open_system_wallet('liquidity', $1, -1000000000)", asset
            )
            for asset in ("TOKEN", "EUR")
        },
    )
    await db.fetch("SELECT api.set_rate('velocity_amount_day', $1, NULL, 'transfer')", LIMITS[1])
    rng = random.Random("at first")  # noqa: S311
    for kind in ("transfer", "place_hold", "request_adjustment"):
        [told] = await _tell(db, LEVELS[0], [CALLS[kind](rng, known, f"first {kind}")], known)
        assert told.refusal is None
        known.learn(told)
        known.told.append((told, Told(told.call, [], "never asked")))
    return known


def _effects(known: Known, kinds: dict[str, tuple[str, ...]]) -> Counter[UUID]:
    """How often each of these ids was told as new, in these columns of these kinds of calls."""
    count: Counter[UUID] = Counter()
    for pair in known.told:
        for told in pair:
            for row in told.rows:
                if not row.get("replayed", False):
                    count.update(row[column] for column in kinds.get(told.call.kind, ()) if row[column] is not None)
    return count


async def _ids(db: Connection, query: str) -> Counter[UUID]:
    return Counter(row[0] for row in await db.fetch(query))


MOVES = {
    "transfer": ("transfer_id",),
    "send_tip": ("tip_id",),
    "post_journal": ("transfer_id",),
    "capture_hold": ("transfer_id",),
    "refund_transfer": ("transfer_id",),
    "credit_with_referral": ("transfer_id", "match_transfer_id"),
    "grant_tokens": ("transfer_id",),
    "approve_adjustment": ("transfer_id",),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", ROUNDS, ids=["single calls", "three in a transaction"])
async def test_everything_at_once(db: Connection, connect: Connect, level: str, size: int) -> None:
    before = await _ids(db, "SELECT id FROM core.rates")
    known = await _known(db)
    granted = await _ids(db, "SELECT id FROM core.transfers WHERE kind = 'grant'")
    # several calls in a transaction lock in no common order, so they do meet in circles: let that be found soon
    await db.execute(f"ALTER DATABASE {await db.fetchval('SELECT current_database()')} SET deadlock_timeout = '20ms'")
    conns = [[await connect("app", **PATIENT) for _ in range(2)] for _ in range(PAIRS)]
    clean = ({"40P01"} if size > 1 else set()) | ({"40001"} if level != "read_committed" else set())
    rounds = range(ROUNDS[size])
    while rounds and rounds.stop <= MOST:
        pairs = enumerate(conns)
        await asyncio.gather(*(_pair(number, pair, level, size, rounds, known) for number, pair in pairs))
        rounds = range(rounds.stop, rounds.stop + bool(_missing(known) or clean - set(known.retries)))

    assert known.failures == Counter()
    assert set(known.retries) == clean
    assert await violations(db) == []
    await _totals(db)
    await _history(db)
    await _once(db, known, granted)
    await _limits(db)
    await _rates(db, before, known)


async def _totals(db: Connection) -> None:
    sums = await db.fetch("SELECT asset, sum(balance)::bigint AS total FROM core.wallets GROUP BY asset")
    assert {row["asset"]: row["total"] for row in sums} == {"TOKEN": 0, "EUR": 0}
    assert (
        await db.fetch("""
        SELECT h.id FROM core.holds AS h LEFT JOIN core.captures AS c ON c.hold_id = h.id
        GROUP BY h.id HAVING coalesce(sum(c.amount), 0) <> h.captured OR h.captured + h.released > h.amount""")
        == []
    )
    assert (
        await db.fetch("""
        SELECT t.id FROM core.refunds AS r JOIN core.transfers AS t ON t.id = r.original_id
        GROUP BY t.id HAVING sum(r.amount) > t.amount""")
        == []
    )


async def _history(db: Connection) -> None:
    """Positions without gaps, balances that add up, in each wallet; and the wallet as its last entry left it."""
    assert (
        await db.fetch("""
        SELECT w.id
        FROM core.wallets AS w
        LEFT JOIN (
            SELECT
                e.wallet_id, e.seq, e.balance, row_number() OVER history AS place, sum(e.amount) OVER history AS total
            FROM core.entries AS e WINDOW history AS (PARTITION BY e.wallet_id ORDER BY e.seq)
        ) AS e ON e.wallet_id = w.id
        GROUP BY w.id
        HAVING NOT bool_and(e.seq = e.place AND e.balance = e.total)
        OR w.version <> coalesce(max(e.seq), 0)
        OR w.balance <> coalesce(sum(e.balance) FILTER (WHERE e.seq = w.version), 0)
        """)
        == []
    )
    spent = "SELECT count(*) FROM core.wallets WHERE status = 'closed' AND (balance, held, debt) <> (0, 0, 0)"
    assert await db.fetchval(spent) == 0


async def _once(db: Connection, known: Known, granted: Counter[UUID]) -> None:
    """What was told as done is there, once, and nothing else is; both of a pair were told the same."""
    moved = _effects(known, MOVES)
    assert set(moved.values()) == {1}
    assert moved + granted == await _ids(db, "SELECT id FROM core.transfers")
    held = _effects(known, {"place_hold": ("hold_id",)})
    assert held == await _ids(db, "SELECT id FROM core.holds")
    requested = set(_effects(known, {"request_adjustment": ("adjustment_id",)}))
    assert requested == set(await _ids(db, "SELECT id FROM core.adjustments"))
    decided = _effects(known, {"approve_adjustment": ("adjustment_id",), "reject_adjustment": ("adjustment_id",)})
    assert set(decided.values()) == {1}
    keys = {told.call.key for pair in known.told for told in pair if told.call.key is not None and told.rows}
    assert keys == {row["key"] for row in await db.fetch("SELECT key FROM core.idempotency_keys")}
    for one, two in known.told:
        if one.call.key is not None and one.rows and two.rows:
            assert _plain(one) == _plain(two)
            new = [row["replayed"] for row in (one.rows[0], two.rows[0]) if "replayed" in row]
            assert sorted(new) in ([False, True], [])
    assert _missing(known) == set()


def _missing(known: Known) -> set[str]:
    """What was refused each time."""
    done = {told.call.kind for pair in known.told for told in pair if told.refusal is None}
    return set(CALLS) - RARE - done


def _plain(told: Told) -> list[dict[str, Any]]:
    """Rows without what differs between an answer and its repetition. An adjustment is returned as it is by now."""
    if told.call.kind == "request_adjustment":
        return [{"adjustment_id": row["adjustment_id"]} for row in told.rows]
    return [{name: value for name, value in row.items() if name != "replayed"} for row in told.rows]


async def _limits(db: Connection) -> None:
    """The counters are what was paid since their window began, and never more than the highest limit there was."""
    counters = await db.fetch("""
        SELECT c.used, (
            SELECT coalesce(sum(t.amount), 0)::bigint FROM core.transfers AS t
            WHERE t.from_wallet_id = c.wallet_id AND t.kind = 'transfer' AND t.created_at >= c.since
        ) AS paid
        FROM core.velocity_counters AS c""")
    assert counters
    assert [row["used"] for row in counters] == [row["paid"] for row in counters]
    assert max(row["used"] for row in counters) <= LIMITS[1]


async def _rates(db: Connection, before: Counter[UUID], known: Known) -> None:
    """Each rate that was told is there, and each setting knew of the one before it."""
    told = set(_effects(known, {"set_rate": ("rate_id",)}))
    limit = "SELECT id FROM core.rates WHERE name = 'velocity_amount_day' ORDER BY valid_from LIMIT 1"
    first = await db.fetchval(limit)
    assert told | set(before) | {first} == set(await _ids(db, "SELECT id FROM core.rates"))
    assert (
        await db.fetch("""
        SELECT r.name, r.valid_from, r.previous, l.details ->> 'value_before' AS known
        FROM (
            SELECT
                r.name, r.valid_from, r.value, r.note,
                lag(r.value) OVER (PARTITION BY r.name, r.asset, r.scope ORDER BY r.valid_from) AS previous
            FROM core.rates AS r
        ) AS r
        JOIN core.audit_log AS l ON l.action = 'rate.set' AND l.details ->> 'rate' = r.name
            AND (l.details ->> 'valid_from')::timestamptz = r.valid_from
        WHERE (l.details ->> 'value_before')::numeric IS DISTINCT FROM r.previous""")
        == []
    )
