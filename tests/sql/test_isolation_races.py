"""Two sessions want what only one can have, at every isolation level: one wins, the other is refused or starts again.

Each race is run twice: once the second session waits for the first one's locks, once it only has an older snapshot.
Under read committed it then decides by what the first one left. At the two higher levels its snapshot does not show
that, so it must fail with 40001, whatever it was about to decide, and decide rightly when it begins again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Connect
from tests.support.calls import ask_for, elapse
from tests.support.money import Person, lapse, person, raised, set_rate, until_waiting
from tests.support.postgres import Connection

WAYS = ["waits", "looks"]
LEVELS = ["read_committed", "repeatable_read", "serializable"]
levels = pytest.mark.parametrize("level", LEVELS)
AGAIN = "40001"
TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
NEVER_SET = [f"{what}_{window}" for what in ("amount", "count") for window in ("minute", "hour", "day")]
VELOCITY_RATES = "SELECT count(*) FROM core.rates WHERE name LIKE 'velocity%'"


class Call(NamedTuple):
    """A call of a function of the contract."""

    query: str
    arguments: tuple[Any, ...]

    def flat(self) -> tuple[Any, ...]:
        """As a connection's methods take it."""
        return (self.query, *self.arguments)


class Race(NamedTuple):
    """Two calls, and what the second says (a slug) or returns (some of its columns) when the first has been."""

    first: Call
    second: Call
    answer: str | dict[str, Any]


class Scene(NamedTuple):
    """The payer has 100 tokens, the payee none."""

    db: Connection
    payer: Person
    payee: Person
    admin: Person
    second: Person

    @property
    def key(self) -> str:
        """An idempotency key of this scene's own."""
        return f"key of {self.payer.id}"

    def pay(self, amount: int, key: str | None = None) -> Call:
        return _call("transfer($1, $2, $3, p_key => $4)", self.payer.wallet, self.payee.wallet, amount, key)

    def hold(self, amount: int, key: str | None = None) -> Call:
        return _call("place_hold($1, $2, interval '1 hour', $3)", self.payer.wallet, amount, key)

    def journal(self, amount: int, key: str | None = None) -> Call:
        legs = [(self.payer.wallet, self.payee.wallet, amount, "TOKEN", None, None)]
        return _call("post_journal($1::api.journal_leg[], $2)", legs, key)

    def tip(self, amount: int) -> Call:
        return _call("send_tip($1, $2, $3)", self.payer.id, self.payee.id, amount)

    def reward(self, amount: int, key: str | None = None) -> Call:
        return _call("credit_with_referral($1, $2, 'TOKEN', 'for a test', $3)", self.payee.id, amount, key)

    def capture(self, hold: UUID, amount: int | None = None, key: str | None = None) -> Call:
        return _call("capture_hold($1, $2, $3, p_key => $4)", hold, self.payee.wallet, amount, key)

    def approve(self, adjustment: UUID) -> Call:
        return _call("approve_adjustment($1, $2)", adjustment, self.second.id)

    def request(self, key: str | None = None) -> Call:
        return _call(
            "request_adjustment($1, $2, 60, 'for a test', $3, $4)",
            self.payer.wallet,
            self.payee.wallet,
            key,
            self.admin.id,
        )

    async def held(self, amount: int) -> UUID:
        """A hold of the payer's."""
        value: UUID = await self.value(self.hold(amount), "hold_id")
        return value

    async def paid(self, amount: int) -> UUID:
        """A transfer to the payee."""
        value: UUID = await self.value(self.pay(amount), "transfer_id")
        return value

    async def requested(self) -> UUID:
        """An adjustment: 60 from payer to payee."""
        value: UUID = await self.value(self.request(), "adjustment_id")
        return value

    async def value(self, call: Call, column: str) -> Any:
        row = await self.db.fetchrow(*call.flat())
        assert row is not None
        return row[column]


def _call(what: str, *arguments: Any) -> Call:
    return Call(f"SELECT * FROM api.{what}", arguments)


def _release(hold: UUID, key: str | None = None) -> Call:
    return _call("release_hold($1, $2)", hold, key)


def _refund(original: UUID, amount: int | None, policy: str = "refuse", key: str | None = None) -> Call:
    return _call("refund_transfer($1, $2, $3, $4)", original, amount, key, policy)


def _freeze(wallet: UUID, mode: str = "debits") -> Call:
    return _call("freeze_wallet($1, 'for a test', $2)", wallet, mode)


def _close(wallet: UUID) -> Call:
    return _call("close_wallet($1, 'for a test')", wallet)


def _reject(adjustment: UUID) -> Call:
    return _call("reject_adjustment($1, 'for a test')", adjustment)


def _refer(user: Person, referrer: Person) -> Call:
    return _call("set_referrer($1, $2)", user.id, referrer.id)


def _rate(name: str, value: int, at: datetime | None = None) -> Call:
    return _call("set_rate($1, $2, p_valid_from => $3)", name, value, at)


EXPIRE = _call("expire_holds()")

Make = Callable[[Scene], Awaitable[Race]]
RACES: dict[str, dict[str, Make]] = {}
"""By what they are about: those of a group share a database, each with people of its own."""


def _race(group: str, name: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        races = RACES.setdefault(group, {})
        assert name not in races
        races[name] = make
        return make

    return add


@_race("holds", "capture, capture")
async def _(scene: Scene) -> Race:
    call = scene.capture(await scene.held(60))
    return Race(call, call, "HOLD_CLOSED")


@_race("holds", "capture of a part, capture of more than is left")
async def _(scene: Scene) -> Race:
    hold = await scene.held(60)
    return Race(scene.capture(hold, 40), scene.capture(hold, 40), "HOLD_EXCEEDED")


@_race("holds", "capture, release")
async def _(scene: Scene) -> Race:
    hold = await scene.held(60)
    return Race(scene.capture(hold), _release(hold), "HOLD_CLOSED")


@_race("holds", "release, capture")
async def _(scene: Scene) -> Race:
    hold = await scene.held(60)
    return Race(_release(hold), scene.capture(hold), "HOLD_CLOSED")


@_race("holds", "expiry, capture")
async def _(scene: Scene) -> Race:
    hold = await scene.held(60)
    await lapse(scene.db, hold)
    return Race(EXPIRE, scene.capture(hold), "HOLD_CLOSED")


@_race("holds", "expiry, expiry")
async def _(scene: Scene) -> Race:
    await lapse(scene.db, await scene.held(60))
    return Race(EXPIRE, EXPIRE, {"expire_holds": 0})


@_race("holds", "a spend that closes an expired hold, expiry")
async def _(scene: Scene) -> Race:
    await lapse(scene.db, await scene.held(60))
    return Race(scene.pay(100), EXPIRE, {"expire_holds": 0})


@_race("refunds", "refund of all, refund of all")
async def _(scene: Scene) -> Race:
    call = _refund(await scene.paid(60), None)
    return Race(call, call, "REFUND_EXCEEDED")


@_race("refunds", "refund of a part, refund of more than is left")
async def _(scene: Scene) -> Race:
    original = await scene.paid(60)
    return Race(_refund(original, 40), _refund(original, 40), "REFUND_EXCEEDED")


@_race("refunds", "refund, refund within a balance that has shrunk")
async def _(scene: Scene) -> Race:
    original = await scene.paid(60)
    await scene.db.fetch("SELECT api.transfer($1, $2, 10)", scene.payee.wallet, scene.admin.wallet)
    return Race(
        _refund(original, 40), _refund(original, None, "within_balance"), {"amount": 10, "owed": 0, "refundable": 10}
    )


@_race("refunds", "refund, refund that owes what the first took")
async def _(scene: Scene) -> Race:
    original = await scene.paid(60)
    await scene.db.fetch("SELECT api.transfer($1, $2, 10)", scene.payee.wallet, scene.admin.wallet)
    return Race(_refund(original, 40), _refund(original, None, "create_debt"), {"amount": 20, "owed": 10})


@_race("adjustments", "approval, approval")
async def _(scene: Scene) -> Race:
    call = scene.approve(await scene.requested())
    return Race(call, call, "ADJUSTMENT_CLOSED")


@_race("adjustments", "approval, rejection")
async def _(scene: Scene) -> Race:
    adjustment = await scene.requested()
    return Race(scene.approve(adjustment), _reject(adjustment), "ADJUSTMENT_CLOSED")


@_race("adjustments", "rejection, approval")
async def _(scene: Scene) -> Race:
    adjustment = await scene.requested()
    return Race(_reject(adjustment), scene.approve(adjustment), "ADJUSTMENT_CLOSED")


@_race("last tokens", "the last tokens: transfer, journal")
async def _(scene: Scene) -> Race:
    return Race(scene.pay(100), scene.journal(1), "INSUFFICIENT_TOKENS")


@_race("last tokens", "the last tokens: journal, hold")
async def _(scene: Scene) -> Race:
    return Race(scene.journal(100), scene.hold(1), "INSUFFICIENT_TOKENS")


@_race("last tokens", "the last tokens: hold, transfer")
async def _(scene: Scene) -> Race:
    return Race(scene.hold(100), scene.pay(1), "INSUFFICIENT_TOKENS")


@_race("last tokens", "the last tokens: hold, approval")
async def _(scene: Scene) -> Race:
    return Race(scene.hold(41), scene.approve(await scene.requested()), "INSUFFICIENT_TOKENS")


@_race("last tokens", "a reserve, transfer")
async def _(scene: Scene) -> Race:
    reserve = _call("set_wallet_minimum($1, 100, 'for a test')", scene.payer.wallet)
    return Race(reserve, scene.pay(1), "INSUFFICIENT_TOKENS")


async def _stream(scene: Scene, seats: int | None = None) -> UUID:
    made = _call("create_stream($1, 'Show', $2, 'private', 10, $3)", scene.payee.id, f"show-{scene.payee.id}", seats)
    value: UUID = await scene.value(made, "stream_id")
    return value


def _buy(who: Person, stream: UUID) -> Call:
    return _call("buy_ticket($1, $2)", who.id, stream)


@_race("tickets", "the last seat")
async def _(scene: Scene) -> Race:
    stream = await _stream(scene, 1)
    return Race(_buy(scene.payer, stream), _buy(scene.admin, stream), "SOLD_OUT")


@_race("tickets", "sale, end by cancelling, any number of seats")
async def _(scene: Scene) -> Race:
    stream = await _stream(scene)
    return Race(_buy(scene.payer, stream), _call("cancel_stream($1, 'ill')", stream), {"status": "ended"})


@_race("tickets", "end by cancelling, sale")
async def _(scene: Scene) -> Race:
    stream = await _stream(scene)
    return Race(_call("cancel_stream($1, 'ill')", stream), _buy(scene.payer, stream), "SALES_CLOSED")


@_race("tickets", "two tickets of one viewer")
async def _(scene: Scene) -> Race:
    stream = await _stream(scene)
    return Race(_buy(scene.payer, stream), _buy(scene.payer, stream), "TICKET_ALREADY_PURCHASED")


async def _ringing(scene: Scene) -> UUID:
    await ask_for(scene.db, scene.payee, 20)
    value: UUID = await scene.value(_call("open_call($1, $2)", scene.payer.id, scene.payee.id), "call_id")
    return value


async def _active(scene: Scene) -> UUID:
    call = await _ringing(scene)
    await scene.value(_on("accept_call", call), "status")
    await elapse(scene.db, call, 40)
    return call


def _on(what: str, call: UUID) -> Call:
    return _call(f"{what}($1)", call)


def _beat(scene: Scene, call: UUID) -> Call:
    return _call("beat_calls($1::api.call_beat[])", [(call, scene.payer.id)])


@_race("calls", "two who call one")
async def _(scene: Scene) -> Race:
    await ask_for(scene.db, scene.payee, 20)
    await scene.db.fetch("SELECT api.grant_tokens($1, 100, 'for a test')", scene.admin.id)
    opened = [_call("open_call($1, $2)", who.id, scene.payee.id) for who in (scene.payer, scene.admin)]
    return Race(opened[0], opened[1], "CREATOR_BUSY")


@_race("calls", "answer, answer")
async def _(scene: Scene) -> Race:
    call = _on("accept_call", await _ringing(scene))
    return Race(call, call, {"status": "active", "blocks": 1})


@_race("calls", "refusal, answer")
async def _(scene: Scene) -> Race:
    call = await _ringing(scene)
    return Race(_on("decline_call", call), _on("accept_call", call), "CALL_ENDED")


@_race("calls", "metering, metering")
async def _(scene: Scene) -> Race:
    call = _on("meter_call_block", await _active(scene))
    return Race(call, call, {"status": "active", "blocks_paid": 0})


@_race("calls", "metering, end")
async def _(scene: Scene) -> Race:
    call = await _active(scene)
    return Race(_on("meter_call_block", call), _on("end_call", call), {"status": "ended", "blocks": 2, "billed": 20})


@_race("calls", "end, metering")
async def _(scene: Scene) -> Race:
    call = await _active(scene)
    return Race(_on("end_call", call), _on("meter_call_block", call), {"status": "ended", "blocks_paid": 0})


@_race("calls", "pause, metering")
async def _(scene: Scene) -> Race:
    call = await _active(scene)
    return Race(_on("pause_call", call), _on("meter_call_block", call), {"status": "paused", "blocks_paid": 0})


@_race("calls", "end, pause")
async def _(scene: Scene) -> Race:
    call = await _active(scene)
    return Race(_on("end_call", call), _on("pause_call", call), "CALL_ENDED")


@_race("calls", "end, end")
async def _(scene: Scene) -> Race:
    call = _on("end_call", await _active(scene))
    return Race(call, call, {"status": "ended", "blocks": 2})


@_race("calls", "end, a sign of life")
async def _(scene: Scene) -> Race:
    call = await _active(scene)
    return Race(_on("end_call", call), _beat(scene, call), {"status": "ended", "blocks": 2})


@_race("calls", "a sign of life, metering")
async def _(scene: Scene) -> Race:
    call = await _active(scene)
    await elapse(scene.db, call, 90, seen=False)
    return Race(_beat(scene, call), _on("meter_call_block", call), {"status": "active", "blocks_paid": 4})


@_race("shut wallets", "freeze, transfer")
async def _(scene: Scene) -> Race:
    return Race(_freeze(scene.payer.wallet), scene.pay(1), "WALLET_FROZEN")


@_race("shut wallets", "transfer, freeze")
async def _(scene: Scene) -> Race:
    return Race(scene.pay(1), _freeze(scene.payer.wallet), {"status": "debits_frozen", "balance": 99})


@_race("shut wallets", "freeze, end of the freeze")
async def _(scene: Scene) -> Race:
    thaw = _call("unfreeze_wallet($1, 'for a test')", scene.payer.wallet)
    return Race(_freeze(scene.payer.wallet), thaw, {"status": "active"})


@_race("shut wallets", "freeze, hold")
async def _(scene: Scene) -> Race:
    return Race(_freeze(scene.payer.wallet), scene.hold(1), "WALLET_FROZEN")


@_race("shut wallets", "freeze, capture")
async def _(scene: Scene) -> Race:
    hold = await scene.held(60)
    return Race(_freeze(scene.payer.wallet), scene.capture(hold), "WALLET_FROZEN")


@_race("shut wallets", "freeze of the payee, reward")
async def _(scene: Scene) -> Race:
    return Race(_freeze(scene.payee.wallet, "all"), scene.reward(10), "WALLET_FROZEN")


@_race("shut wallets", "freeze of the payee, refund")
async def _(scene: Scene) -> Race:
    original = await scene.paid(60)
    return Race(_freeze(scene.payee.wallet), _refund(original, None), "WALLET_FROZEN")


@_race("shut wallets", "close, transfer")
async def _(scene: Scene) -> Race:
    return Race(_close(scene.payee.wallet), scene.pay(1), "WALLET_CLOSED")


@_race("shut wallets", "close, reward")
async def _(scene: Scene) -> Race:
    return Race(_close(scene.payee.wallet), scene.reward(1), "WALLET_CLOSED")


@_race("shut wallets", "reward, close")
async def _(scene: Scene) -> Race:
    return Race(scene.reward(1), _close(scene.payee.wallet), "WALLET_NOT_EMPTY")


@_race("shut wallets", "referrer's wallet closed, reward")
async def _(scene: Scene) -> Race:
    referrer = await person(scene.db, f"referrer_{scene.payer.id.hex[-12:]}")
    await scene.db.fetch(*_refer(scene.payee, referrer).flat())
    return Race(_close(referrer.wallet), scene.reward(100), {"match_skipped": "wallet_not_open", "match_amount": 0})


@_race("limits", "a limit of amounts: transfer, transfer")
async def _(scene: Scene) -> Race:
    await _limit(scene, "velocity_amount_day", 50, "minor_units")
    return Race(scene.pay(30), scene.pay(30), "VELOCITY_LIMIT")


@_race("limits", "a limit of amounts: capture, journal")
async def _(scene: Scene) -> Race:
    hold = await scene.held(30)
    await _limit(scene, "velocity_amount_day", 50, "minor_units")
    return Race(scene.capture(hold), scene.journal(30), "VELOCITY_LIMIT")


@_race("limits", "a limit of numbers: tip, approval")
async def _(scene: Scene) -> Race:
    adjustment = await scene.requested()
    await _limit(scene, "velocity_count_day", 1, "count")
    return Race(scene.tip(1), scene.approve(adjustment), "VELOCITY_LIMIT")


@_race("referrers", "referrer, another referrer")
async def _(scene: Scene) -> Race:
    return Race(_refer(scene.payer, scene.payee), _refer(scene.payer, scene.admin), "REFERRER_SET")


@_race("referrers", "referrer, the other way round")
async def _(scene: Scene) -> Race:
    return Race(_refer(scene.payer, scene.payee), _refer(scene.payee, scene.payer), "REFERRAL_CIRCLE")


@_race("rates", "rate, the same rate")
async def _(scene: Scene) -> Race:
    call = _rate("referral", 10 + await _rates(scene))
    return Race(call, call, {"value": call.arguments[1]})


@_race("rates", "the first of a rate, another at the same moment")
async def _(scene: Scene) -> Race:
    name = f"velocity_{NEVER_SET[await scene.db.fetchval(VELOCITY_RATES)]}"
    return Race(_rate(name, 10, TOMORROW), _rate(name, 20, TOMORROW), "RATE_EXISTS")


@_race("rates", "end of a rate, the same rate")
async def _(scene: Scene) -> Race:
    call = _rate("referral", 1000 + await _rates(scene))
    ended = await scene.value(call, "rate_id")
    return Race(_call("end_rate($1)", ended), call, {"value": call.arguments[1], "valid_to": None})


@_race("rates", "rate, another at the same moment")
async def _(scene: Scene) -> Race:
    at = TOMORROW + timedelta(days=await _rates(scene))
    return Race(_rate("referral", 10, at), _rate("referral", 20, at), "RATE_EXISTS")


@_race("new wallets", "asset, the same asset")
async def _(scene: Scene) -> Race:
    call = _call("create_asset($1, 2, 'for a test')", f"A{scene.payer.id.hex[-12:].upper()}")
    return Race(call, call, "ASSET_EXISTS")


@_race("new wallets", "wallet, the same wallet")
async def _(scene: Scene) -> Race:
    asset = f"A{scene.payer.id.hex[-12:].upper()}"
    await scene.db.fetch("SELECT api.create_asset($1, 2, 'for a test')", asset)
    call = _call("open_wallet($1, $2)", scene.payer.id, asset)
    return Race(call, call, {"balance": 0, "asset": asset})


@_race("new wallets", "system wallet, more shards of it")
async def _(scene: Scene) -> Race:
    asset = f"A{scene.payer.id.hex[-12:].upper()}"
    await scene.db.fetch("SELECT api.create_asset($1, 2, 'for a test')", asset)
    first, second = (_call("open_system_wallet('escrow', $1, 0, $2)", asset, shards) for shards in (1, 2))
    return Race(first, second, {"shard": 0, "asset": asset})


TWINS: dict[str, Callable[[Scene], Awaitable[Call]]] = {}


def _twin(make: Callable[[Scene], Awaitable[Call]]) -> None:
    TWINS[make.__name__.strip("_")] = make


@_twin
async def _transfer(scene: Scene) -> Call:
    return scene.pay(60, scene.key)


@_twin
async def _place_hold(scene: Scene) -> Call:
    return scene.hold(60, scene.key)


@_twin
async def _capture_hold(scene: Scene) -> Call:
    return scene.capture(await scene.held(60), 30, scene.key)


@_twin
async def _release_hold(scene: Scene) -> Call:
    return _release(await scene.held(60), scene.key)


@_twin
async def _refund_transfer(scene: Scene) -> Call:
    return _refund(await scene.paid(60), 30, "within_balance", scene.key)


@_twin
async def _post_journal(scene: Scene) -> Call:
    return scene.journal(60, scene.key)


@_twin
async def _credit_with_referral(scene: Scene) -> Call:
    return scene.reward(60, scene.key)


@_twin
async def _grant_tokens(scene: Scene) -> Call:
    return _call("grant_tokens($1, 60, 'for a test', $2)", scene.payer.id, scene.key)


@_twin
async def _send_tip(scene: Scene) -> Call:
    return _call("send_tip($1, $2, 60, $3)", scene.payer.id, scene.payee.id, scene.key)


@_twin
async def _request_adjustment(scene: Scene) -> Call:
    return scene.request(scene.key)


async def _limit(scene: Scene, name: str, value: int, unit: str) -> None:
    """A velocity limit, unless it is there: the counters are those of a wallet."""
    if not await scene.db.fetchval("SELECT count(*) FROM core.rates WHERE name = $1", name):
        await set_rate(scene.db, name, value, unit)


async def _rates(scene: Scene) -> int:
    """How many rows the rate `referral` has."""
    value: int = await scene.db.fetchval("SELECT count(*) FROM core.rates WHERE name = 'referral'")
    return value


async def _scene(db: Connection, name: str) -> Scene:
    return Scene(
        db,
        await person(db, f"payer_{name}", tokens=100),
        await person(db, f"payee_{name}", roles=["creator"]),
        await person(db, f"admin_{name}", roles=["admin"]),
        await person(db, f"second_{name}", roles=["admin"]),
    )


async def _say(conn: Connection, call: Call) -> list[asyncpg.Record] | str:
    """What became of a call: its rows, or the slug of a refusal, or the SQLSTATE of another failure."""
    try:
        return list(await conn.fetch(*call.flat()))
    except asyncpg.PostgresError as error:
        refusal = raised(error)
        return refusal.slug if refusal.code.startswith("TS") else refusal.code


async def _again(conn: Connection, level: str, call: Call) -> list[asyncpg.Record] | str:
    """The same call in a transaction of its own."""
    transaction = conn.transaction(isolation=level)  # type: ignore[arg-type]
    await transaction.start()
    said = await _say(conn, call)
    await (transaction.rollback() if isinstance(said, str) else transaction.commit())
    return said


class Ran(NamedTuple):
    """What the first call returned, what the second said at first, and what in the end."""

    first: list[asyncpg.Record]
    second: str
    end: list[asyncpg.Record] | str


class Stage(NamedTuple):
    """Two sessions, and one that watches."""

    db: Connection
    one: Connection
    two: Connection

    async def run(self, level: str, way: str, race: Race, between: Call | None = None) -> Ran:
        """One call after the other, whose transaction began before it. `between` happens before the first commits."""
        transactions = [conn.transaction(isolation=level) for conn in (self.one, self.two)]  # type: ignore[arg-type]
        for conn, transaction in zip((self.one, self.two), transactions, strict=True):
            await transaction.start()
            await conn.fetch("SELECT 1 FROM api.wallets LIMIT 1")  # takes the snapshot
        first = await _say(self.one, race.first)
        assert not isinstance(first, str), first
        waiting = asyncio.create_task(_say(self.two, race.second)) if way == "waits" else None
        if waiting is not None:
            await until_waiting(self.db, self.two)
        if between is not None:
            await self.db.fetch(*between.flat())
        await transactions[0].commit()
        second = await (waiting or _say(self.two, race.second))
        refused = isinstance(second, str)
        await (transactions[1].rollback() if refused else transactions[1].commit())
        end = await _again(self.two, level, race.second) if second == AGAIN else second
        return Ran(first, str(second) if refused else "done", end)


@pytest.fixture
async def stage(db: Connection, connect: Connect) -> Stage:
    return Stage(db, await connect("app"), await connect("app"))


async def _everywhere(stage: Stage, races: dict[str, Make]) -> AsyncIterator[tuple[tuple[str, str, str], Race, Ran]]:
    """Run races anew at every level in both ways. At the higher levels the second must have begun again."""
    for number, ((name, make), level, way) in enumerate(itertools.product(races.items(), LEVELS, WAYS)):
        where = (name, level, way)
        race = await make(await _scene(stage.db, str(number)))
        ran = await stage.run(level, way, race)
        assert (where, ran.second == AGAIN) == (where, level != "read_committed"), ran
        yield where, race, ran


@pytest.mark.parametrize("group", RACES)
async def test_one_wins(stage: Stage, group: str) -> None:
    async for where, race, ran in _everywhere(stage, RACES[group]):
        if isinstance(race.answer, str):
            assert (where, ran.end) == (where, race.answer)
        else:
            assert not isinstance(ran.end, str), (where, ran.end)
            assert (where, {column: ran.end[0][column] for column in race.answer}) == (where, race.answer)


async def test_the_same_request_twice_is_one(stage: Stage) -> None:
    def twins(make: Callable[[Scene], Awaitable[Call]]) -> Make:
        async def race(scene: Scene) -> Race:
            call = await make(scene)
            return Race(call, call, {})

        return race

    async for where, _, ran in _everywhere(stage, {name: twins(make) for name, make in TWINS.items()}):
        assert not isinstance(ran.end, str), (where, ran.end)
        assert (where, [_without(row) for row in ran.first]) == (where, [_without(row) for row in ran.end])
        if "replayed" in ran.first[0]:
            assert (where, ran.first[0]["replayed"], ran.end[0]["replayed"]) == (where, False, True)


def _without(row: asyncpg.Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "replayed"}


async def test_one_key_for_two_requests_that_share_no_lock(stage: Stage) -> None:
    async def two_holds(scene: Scene) -> Race:
        await scene.db.fetch("SELECT api.grant_tokens($1, 10, 'for a test')", scene.admin.id)
        other = _call("place_hold($1, 5, interval '1 hour', $2)", scene.admin.wallet, scene.key)
        return Race(scene.hold(5, scene.key), other, "IDEMPOTENCY_KEY_REUSED")

    async for where, race, ran in _everywhere(stage, {"two holds": two_holds}):
        assert (where, ran.end) == (where, race.answer)


@levels
async def test_a_limit_set_while_a_payment_waits_holds_for_it(stage: Stage, level: str) -> None:
    scene = await _scene(stage.db, level)
    race = Race(scene.pay(10), scene.pay(60), "VELOCITY_LIMIT")
    ran = await stage.run(level, "waits", race, _rate("velocity_amount_day", 50))
    assert ran.second == ("VELOCITY_LIMIT" if level == "read_committed" else AGAIN)
    assert ran.end == "VELOCITY_LIMIT"


@levels
async def test_a_capture_in_time_is_not_undone_by_expiry(stage: Stage, level: str) -> None:
    """The hold's time passes while the capture has not been committed."""
    scene = await _scene(stage.db, level)
    for milliseconds in (100, 1000, 10_000):  # until one is long enough for this machine
        hold = await scene.value(
            _call("place_hold($1, 60, make_interval(secs => $2))", scene.payer.wallet, milliseconds / 1000), "hold_id"
        )
        transaction = stage.one.transaction(isolation=level)  # type: ignore[arg-type]
        await transaction.start()
        if await _say(stage.one, scene.capture(hold, 40)) != "HOLD_CLOSED":
            break
        await transaction.rollback()
    await stage.db.fetch(
        "SELECT pg_sleep(extract(epoch FROM h.expires_at - clock_timestamp())) FROM core.holds AS h WHERE h.id = $1",
        hold,
    )
    waiting = asyncio.create_task(_again(stage.two, level, EXPIRE))
    await until_waiting(stage.db, stage.two)
    await transaction.commit()
    said = await waiting
    if level != "read_committed":
        assert said == AGAIN
        said = await _again(stage.two, level, EXPIRE)
    assert not isinstance(said, str), said
    assert said[0]["expire_holds"] == 1
    left = await stage.db.fetchrow("SELECT status, captured, released FROM core.holds WHERE id = $1", hold)
    assert left is not None
    assert tuple(left) == ("expired", 40, 20)
